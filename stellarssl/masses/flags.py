"""Quality flags of a mass: one bit each, defined here and nowhere else."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stellarssl.exceptions import InputError

__all__ = ["FLAGS", "Flag", "flag_bit", "flag_words", "masking_bits"]


@dataclass(frozen=True)
class Flag:
    """One quality flag.

    Attributes
    ----------
    bit : int
        Its value in the bit mask, a power of two.
    name : str
        The word in ``flag_words``.
    masks : bool
        Whether the mass of a row that carries it is masked.
    description : str
        What it says, in one sentence.
    """

    bit: int
    name: str
    masks: bool
    description: str


_DEFINITIONS = (
    ("position_from_peak", False, "The position is a peak of the column, none that was given."),
    ("partial_coverage", False, "Less than 95 % of the tile lies on the map."),
    ("off_map", True, "The map covers less than 0.02 pc around the source."),
    ("no_signal", True, "Nothing is detected in the tile."),
    ("low_snr", False, "The line at the source has a signal-to-noise ratio below 5."),
    ("novel", True, "Unlike the stars of the library (novelty_pvalue below 0.05)."),
    ("no_skill", True, "Beam, noise or field leave no skill (r2_simulation of 0.05 or less)."),
    ("no_column", False, "No factor turns the line into a column; columns are masked."),
    ("unknown_line", True, "It is not known whether the line is optically thin."),
    ("atomic_tracer", True, "The library is molecular gas; the tracer is atomic."),
    ("opaque_tracer", True, "The tracer saturates in gas as dense as a protostar's."),
    ("missing_flux", True, "The interferometer does not recover the scales in use."),
    ("beam_varies", False, "Beam areas differ by more than 5 % between channels."),
    ("distance_from_header", False, "The distance is the header's, not the user's."),
    ("uncalibrated_interval", False, "No simulation was left out to calibrate the interval."),
    ("upper_limit_cut", False, "The upper limit ends at the library's largest mass, 8 Msun."),
    ("starless_like", False, "A candidate more like starless gas (star_probability below 0.5)."),
    ("no_starless_reference", False, "The library has no starless gas to compare candidates with."),
    ("blended", False, "Another source lies within the beam or within 0.023 pc."),
    ("several_components", False, "A second velocity component is at least half as strong."),
    ("line_at_band_edge", False, "The band ends less than 1 km/s from the source's velocity."),
    ("column_outside_library", False, "No star of the library has such a column in its center."),
    ("smoothed_to_tile", False, "The beam is below 0.0078 pc; the data were smoothed to that."),
    ("maps_only", False, "No spectra were used, only maps."),
)

FLAGS = tuple(Flag(1 << i, *definition) for i, definition in enumerate(_DEFINITIONS))
"""All flags, lowest bit first."""

_BY_NAME = {flag.name: flag for flag in FLAGS}


def flag_bit(name: str) -> int:
    """Return the bit of a flag.

    Parameters
    ----------
    name : str
        A flag's name.

    Returns
    -------
    bit : int
        A power of two.

    Raises
    ------
    InputError
        If there is no such flag.
    """
    if name not in _BY_NAME:
        raise InputError("flag", f"must be one of {', '.join(_BY_NAME)}", name)
    return _BY_NAME[name].bit


def masking_bits() -> int:
    """Return the union of the flags that mask a mass.

    Returns
    -------
    bits : int
        A bit mask.
    """
    return sum(flag.bit for flag in FLAGS if flag.masks)


def flag_words(flags: Iterable[int]) -> list[str]:
    """Return the names of the flags in bit masks.

    Parameters
    ----------
    flags : iterable of int
        Bit masks.

    Returns
    -------
    words : list of str
        Names of the bits that are set, joined by commas; empty where none is set.

    Examples
    --------
    >>> flag_words([0, flag_bit("off_map") | flag_bit("low_snr")])
    ['', 'off_map,low_snr']
    """
    return [
        ",".join(flag.name for flag in FLAGS if flag.bit & value)
        for value in np.atleast_1d(np.asarray(list(flags), dtype=np.int64))
    ]
