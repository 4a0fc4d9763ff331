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
    ("position_from_peak", False, "The position is a column peak, not a catalogd star."),
    ("partial_coverage", False, "Less than 95 % of the tile lies on the map."),
    ("off_map", True, "Less than half of the tile lies on the map, or its center does not."),
    ("no_signal", True, "Nothing is detected in the tile."),
    ("low_snr", False, "The peak of the integrated intensity has S/N below 5."),
    ("out_of_distribution", True, "Unlike anything in the library (ood_pvalue below 0.05)."),
    ("above_library", True, "Estimated above 8 Msun, where the library has no physics."),
    ("no_column", True, "There is no tracer, hence no column."),
    ("atomic_tracer", True, "The library is molecular gas; the tracer is atomic."),
    ("opaque_tracer", True, "The tracer saturates in gas as dense as a protostar's."),
    ("missing_flux", True, "The interferometer does not recover scales as wide as a tile."),
    ("resolution_mismatch", False, "Beam more than 0.2 dex from the library's observation."),
    ("coarse_beam", True, "Fewer than three beams fit in a tile."),
    ("beam_varies", False, "Beam areas differ by more than 5 % between channels."),
    ("distance_from_header", False, "The distance is the header's, not the user's."),
    ("model_based_interval", False, "The interval rests on the neighbors' spread alone."),
    ("starless_like", False, "More like the library's starless peaks (star_probability < 0.5)."),
    ("no_starless_reference", False, "No starless rows in the library: no star_probability."),
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
    """Spell bit masks out.

    Parameters
    ----------
    flags : iterable of int
        Bit masks.

    Returns
    -------
    words : list of str
        The names of the bits that are set, joined by commas; empty where none is.

    Examples
    --------
    >>> flag_words([0, flag_bit("off_map") | flag_bit("low_snr")])
    ['', 'off_map,low_snr']
    """
    return [
        ",".join(flag.name for flag in FLAGS if flag.bit & value)
        for value in np.atleast_1d(np.asarray(list(flags), dtype=np.int64))
    ]
