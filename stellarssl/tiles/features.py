"""Features of a source: statistics of its rings and, if there are spectra, of its line."""

import numpy as np

from stellarssl.exceptions import InputError
from stellarssl.spectra import SourceSpectra
from stellarssl.tiles.rings import ring_statistics
from stellarssl.tiles.statistics import TileStatistics

__all__ = ["RADII", "WIDEST", "source_statistics", "usable_radii"]

WIDEST = (0.0, 14.0)
"""Inner and outer radius of the rings of a source that the map covers well, in tile pixels."""

_REACH = 1.15
"""Spectra come in other rings: one is used if it ends at 1.15 times the outer radius or before."""

RADII = (WIDEST, (0.0, 10.0), (0.0, 7.0), (0.0, 5.0), (0.0, 3.5), (0.0, 2.5))
"""Pairs of radii, in tile pixels, for which masses can be estimated, the widest first."""


def usable_radii(covered_radius: np.ndarray) -> np.ndarray:
    """Choose the widest pair of radii that each map covers.

    Parameters
    ----------
    covered_radius : ndarray
        Radius out to which each source is covered, shape (n,), in tile pixels, from
        `~stellarssl.tiles.covered_radius`.

    Returns
    -------
    index : ndarray of int
        Index into ``RADII``, shape (n,); -1 where less than the narrowest pair is covered.

    Examples
    --------
    >>> index = usable_radii(np.array([32.0, 5.0, 1.5]))
    >>> [RADII[i] if i >= 0 else None for i in index]
    [(0.0, 14.0), (0.0, 5.0), None]
    """
    fits = np.array([outer for _, outer in RADII]) <= np.asarray(covered_radius)[:, None]
    return np.where(fits.any(axis=1), fits.argmax(axis=1), -1)


def source_statistics(
    maps: np.ndarray,
    detected: np.ndarray | None = None,
    covered: np.ndarray | None = None,
    spectra: SourceSpectra | None = None,
    *,
    radii: tuple[float, float] = WIDEST,
) -> TileStatistics:
    """Measure a source within a pair of radii: its rings, and its spectra if there are any.

    The library and the data are measured by this one function. No statistic depends on the scale
    of the column or of the brightness.

    Parameters
    ----------
    maps : ndarray
        Shape (n, 3, 64, 64): log10 N_H [cm^-2], v_los, sigma_v [km/s] of tiles of 0.5 pc.
    detected, covered : ndarray of bool, optional
        Shape (n, 64, 64): pixels with detected gas, and pixels that were observed; all by default.
    spectra : `~stellarssl.spectra.SourceSpectra`, optional
        Spectra of the same n sources; by default the line is not measured.
    radii : tuple of float, optional
        Inner and outer radius, in tile pixels of 0.0078 pc.

    Returns
    -------
    statistics : TileStatistics
        The names begin with ``rings:`` or ``line:``; see `~stellarssl.tiles.ring_statistics` and
        `~stellarssl.spectra.spectrum_statistics`.

    Raises
    ------
    InputError
        If there are as many tiles as spectra in neither case, or the radii are not ring edges.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> statistics = source_statistics(rng.normal(size=(2, 3, 64, 64)) ** 2, radii=(0.0, 5.0))
    >>> statistics.names[0], len(statistics)
    ('rings: relative column within 0.012 pc', 2)
    """
    rings = ring_statistics(maps, detected, covered, radii=radii)
    names, arrays = [f"rings: {name}" for name in rings.names], [rings.array]
    if spectra is not None:
        if len(spectra) != len(maps):
            rule = f"must hold one source for each of the {len(maps)} tiles"
            raise InputError("spectra", rule, len(spectra))
        line_names, line = spectra.within(radii[0], _REACH * radii[1]).statistics()
        names += [f"line: {name}" for name in line_names]
        arrays.append(line)
    return TileStatistics(tuple(names), np.hstack(arrays).astype(np.float32))
