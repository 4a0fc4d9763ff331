"""The geometry of a tile, and the width of a beam."""

import astropy.units as u
import numpy as np
from radio_beam import Beam

__all__ = [
    "TILE_CHANNEL_WIDTH",
    "TILE_N_H_PER_W",
    "TILE_PIXEL",
    "TILE_PIXELS",
    "TILE_WIDTH",
    "beam_width",
]

TILE_WIDTH = 0.5 * u.pc
"""Side of a tile, the physical size that the library and the encoder work with."""

TILE_PIXELS = 64
"""Number of pixels along a side of a tile."""

TILE_PIXEL = TILE_WIDTH / TILE_PIXELS
"""Side of a tile pixel, 0.0078125 pc."""

TILE_CHANNEL_WIDTH = 0.125 * u.km / u.s
"""Channel width of simulated tiles, and of the channels that signal-to-noise ratios refer to."""

TILE_N_H_PER_W = 1e22 * u.cm**-2 / (u.K * u.km / u.s)
"""Hydrogen nuclei per integrated brightness of simulated tiles, whose gas is optically thin."""


def beam_width(beam: Beam) -> u.Quantity:
    """Compute the full width at half maximum of the circular beam of the same area.

    Parameters
    ----------
    beam : `~radio_beam.Beam`
        Beam with a major and a minor axis (FWHM).

    Returns
    -------
    width : `~astropy.units.Quantity`
        Geometric mean of the two axes, an angle.

    Examples
    --------
    >>> beam_width(Beam(major=8 * u.arcsec, minor=2 * u.arcsec))
    <Quantity 4. arcsec>
    """
    return np.sqrt(beam.major * beam.minor)
