"""The options of making moment maps, defined once for functions, commands and documentation."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import astropy.units as u
import numpy as np

from stellarssl._utils.options import option
from stellarssl._utils.provenance import file_sha256
from stellarssl._utils.quantities import as_quantity
from stellarssl.cubes import Cube, CubeLike, ReadKeywords, ReadOptions
from stellarssl.cubes.headers import parse_brightness
from stellarssl.cubes.options import number_or_text
from stellarssl.cubes.read import open_cube
from stellarssl.exceptions import InputError
from stellarssl.moments.arrays import check_flags, check_noise
from stellarssl.moments.blocks import as_bytes, as_threads
from stellarssl.tracers import Tracer, get_tracer, tracer_frequency
from stellarssl.tracers.tracer import as_abundance

__all__ = ["MomentKeywords", "MomentOptions", "as_efficiency", "spell_array"]

_ANY_LINE = "13CO"
"""Stands for a line that is not known yet: it takes a temperature and an abundance."""


class MomentKeywords(ReadKeywords, total=False):
    """Types of the keywords that `MomentOptions` describes, for type checkers."""

    tracer: Tracer | u.Quantity | str | None
    mask: np.ndarray | str | os.PathLike | None
    noise: u.Quantity | str | os.PathLike | None
    efficiency: float | None
    excitation_temperature: u.Quantity | str | None
    abundance: float | None
    max_recoverable_scale: u.Quantity | str | None
    memory_limit: u.Quantity | str | int | None
    n_threads: int | None
    footprint: np.ndarray | str | os.PathLike | None
    progress: bool


def as_efficiency(
    efficiency: float, unit: u.UnitBase | None = None, scale: str | None = None
) -> float:
    """Check an efficiency.

    Parameters
    ----------
    efficiency : float
        Main-beam efficiency, T_A* over T_mb.
    unit : `~astropy.units.UnitBase`, optional
        Unit of the values, as far as it is known.
    scale : {"T_mb", "T_A*", "T_R*"}, optional
        Temperature scale of the values, as far as it is known.

    Returns
    -------
    efficiency : float
        The checked value.

    Raises
    ------
    InputError
        If it is not above 0 and at most 1, or values of this unit and scale need none.
    """
    if isinstance(efficiency, bool) or not isinstance(efficiency, (int, float, np.floating)):
        raise InputError("efficiency", "must be a number, T_A* over T_mb", efficiency)
    if not 0 < efficiency <= 1:
        raise InputError("efficiency", "must be above 0 and at most 1", efficiency)
    if scale == "T_mb" or (unit is not None and not unit.is_equivalent(u.K)):
        rule = f"applies to T_A*, not to a cube in {scale or unit}"
        raise InputError("efficiency", rule, efficiency)
    return float(efficiency)


def _parse_tracer(value: object) -> object:
    """Normalize the words "auto" and "none"; names and factors are checked by `get_tracer`."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return {"auto": "auto", "none": None}.get(word, value)


def _spell_tracer(tracer: object) -> str:
    return f"{tracer.name}, {tracer.n_h_per_w}" if isinstance(tracer, Tracer) else str(tracer)


def _parse_temperature(value: object) -> u.Quantity | None:
    return as_quantity("excitation_temperature", value, u.K, scalar=True)


def _parse_scale(value: object) -> u.Quantity | None:
    return as_quantity("max_recoverable_scale", value, u.arcsec, scalar=True)


def _check_memory(value: u.Quantity | str | int) -> u.Quantity | str | int:
    as_bytes(value)
    return value


def _parse_progress(value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InputError("progress", "must be True or False", value)
    return bool(value)


def spell_array(value: object) -> str:
    """Describe an array or a file by its content, which is the same wherever it is stored.

    Parameters
    ----------
    value : `~pathlib.Path`, ndarray or `~astropy.units.Quantity`
        File, array or number.

    Returns
    -------
    text : str
        Checksum of the content; a number is written out.
    """
    if isinstance(value, Path):
        return f"file with sha256 {file_sha256(value)[:12]}"
    if isinstance(value, u.Quantity) and value.isscalar:
        return str(value)
    array = np.ascontiguousarray(value)
    unit = f" {value.unit}" if isinstance(value, u.Quantity) else ""
    return f"array {array.shape}{unit} with sha256 {hashlib.sha256(array.data).hexdigest()[:12]}"


@dataclass(frozen=True, kw_only=True, eq=False)
class MomentOptions(ReadOptions):
    """How `moment_maps` reads a cube and measures its moments.

    The fields, with their types, units and defaults, are listed under :ref:`options`.

    Examples
    --------
    >>> options = MomentOptions(distance="288 pc", max_recoverable_scale="2 arcmin")
    >>> options.canonical()["max_recoverable_scale"]
    '120.0 arcsec'
    >>> "memory_limit" in options.canonical()
    False
    """

    tracer: Tracer | u.Quantity | str | None = option(
        "str, `~stellarssl.Tracer`, `~astropy.units.Quantity` or None",
        "Line such as '13CO', or a column per brightness such as '1e22 cm-2 / (K km/s)'; 'auto' "
        "is the known line at the rest frequency, None (or 'none') gives no column",
        default="auto",
        example="13CO",
        parse=_parse_tracer,
        canonical=_spell_tracer,
    )
    mask: np.ndarray | str | os.PathLike | None = option(
        "array of bool with shape (v, y, x), or path-like",
        "Voxels that are signal, as an array in the order of the cube's channels or as a FITS file "
        "of zeros and ones; if left out, they are found above the noise",
        example="mask.fits",
        parse=lambda value: check_flags("mask", value, 3),
        canonical=spell_array,
    )
    noise: u.Quantity | str | os.PathLike | None = option(
        "`~astropy.units.Quantity`, str or path-like",
        "Standard deviation of a voxel in K or in the cube's unit: a number, a map (y, x), a cube "
        "(v, y, x), or a FITS file of either; if left out, it is measured",
        example="0.1 K",
        parse=check_noise,
        canonical=spell_array,
    )
    efficiency: float | None = option(
        "float",
        "Main-beam efficiency, T_A* over T_mb, by which values are divided; it is needed for a "
        "cube in T_A* if its header does not state it",
        example="0.5",
        word=float,
        parse=as_efficiency,
        canonical=float,
    )
    excitation_temperature: u.Quantity | str | None = option(
        "`~astropy.units.Quantity` or str",
        "Excitation temperature of a line with an LTE column; 10 K if left out",
        example="20 K",
        parse=_parse_temperature,
    )
    abundance: float | None = option(
        "float",
        "Number of molecules per H2 for a line with an LTE column; if left out, the line's own "
        "default",
        example="1e-7",
        word=float,
        parse=as_abundance,
        canonical=float,
    )
    max_recoverable_scale: u.Quantity | str | None = option(
        "`~astropy.units.Quantity` or str",
        "Largest angle that the interferometer recovers; masses on wider tiles are flagged",
        example="2 arcmin",
        parse=_parse_scale,
    )
    memory_limit: u.Quantity | str | int | None = option(
        "`~astropy.units.Quantity`, str or int",
        "Memory for the blocks that are read at once, such as '4 GB' or a number of bytes; a "
        "quarter of the free memory if left out",
        example="4 GB",
        word=number_or_text,
        parse=_check_memory,
        changes_numbers=False,
    )
    n_threads: int | None = option(
        "int",
        "Number of blocks that are worked on at once; one for each processor if left out",
        example="2",
        word=int,
        parse=as_threads,
        changes_numbers=False,
    )
    footprint: np.ndarray | str | os.PathLike | None = option(
        "array of bool with shape (y, x), or path-like",
        "Pixels that are wanted, as an array such as `~stellarssl.source_footprint` returns or as "
        "a FITS file of zeros and ones; only blocks that hold some of them are read",
        example="footprint.fits",
        parse=lambda value: check_flags("footprint", value, 2),
        canonical=spell_array,
        changes_numbers=False,
    )
    progress: bool = option(
        "bool",
        "Whether progress bars are shown",
        default=False,
        parse=_parse_progress,
        changes_numbers=False,
    )

    def check(self) -> Self:
        """Check all that can be checked without the cube.

        Returns
        -------
        options : MomentOptions
            Copy with normalized values. Checking it again changes nothing.

        Raises
        ------
        InputError
            If a value breaks a rule, or two options do not suit each other.
        """
        checked = super().check()
        if checked.unit is not None and checked.efficiency is not None:
            unit, scale, _ = parse_brightness(checked.unit)
            as_efficiency(checked.efficiency, unit, scale)
        auto = isinstance(checked.tracer, str) and checked.tracer == "auto"
        get_tracer(
            _ANY_LINE if auto else checked.tracer,
            rest_value=None if auto else checked.rest_value,
            excitation_temperature=checked.excitation_temperature,
            abundance=checked.abundance,
        )
        return checked

    def open(self, cube: CubeLike) -> Cube:
        """Open a cube with these options.

        Parameters
        ----------
        cube : path-like, HDU, HDUList, SpectralCube or `~stellarssl.Cube`
            As `~stellarssl.read_cube` takes it.

        Returns
        -------
        cube : `~stellarssl.Cube`
            Where neither ``rest_value`` nor the header states a rest frequency, it is that of
            the named tracer.
        """
        return open_cube(cube, self, line=tracer_frequency(self.tracer))
