"""The options of reading a cube, each defined once for functions, commands and documentation."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypedDict

import astropy.units as u
from radio_beam import Beam

from stellarssl._utils.options import Options, option
from stellarssl._utils.quantities import as_quantity, as_range
from stellarssl.cubes._beams import as_beam
from stellarssl.cubes.headers import parse_brightness
from stellarssl.cubes.sources import check_hdu

__all__ = ["ReadKeywords", "ReadOptions", "number_or_text"]

_KMS = u.km / u.s


class ReadKeywords(TypedDict, total=False):
    """Types of the keywords that `ReadOptions` describes, for type checkers."""

    unit: u.UnitBase | str | None
    beam: Beam | u.Quantity | str | None
    rest_value: u.Quantity | str | None
    distance: u.Quantity | str | None
    velocity_range: u.Quantity | str | None
    hdu: int | str | None


def _parse_unit(value: u.UnitBase | str) -> str:
    text = value.to_string() if isinstance(value, u.UnitBase) else str(value).strip()
    parse_brightness(text)
    return text


def _spell_unit(text: str) -> str:
    unit, scale, _ = parse_brightness(text)
    return str(unit) if scale is None else f"{unit} ({scale})"


def _parse_rest_value(value: object) -> u.Quantity | None:
    return as_quantity("rest_value", value, u.GHz, scalar=True, equivalencies=u.spectral())


def _parse_distance(value: object) -> u.Quantity | None:
    return as_quantity("distance", value, u.pc, scalar=True)


def _parse_velocity_range(value: object) -> u.Quantity | None:
    return as_range("velocity_range", value, _KMS)


def _parse_hdu(value: Any) -> int | str:
    check_hdu(value)
    return value if isinstance(value, str) else int(value)


def number_or_text(text: str) -> int | str:
    """Read a whole number from the command line; leave any other text.

    Parameters
    ----------
    text : str
        Word of the command line.

    Returns
    -------
    value : int or str
        The number, or the text itself.
    """
    return int(text) if text.removeprefix("-").isdecimal() else text


def _spell_beam(beam: Beam) -> str:
    axes = (axis.to_value(u.arcsec) for axis in (beam.major, beam.minor))
    major, minor = (f"{axis:.10g}" for axis in axes)
    return f"{major} x {minor} arcsec, PA {beam.pa.to_value(u.deg):.10g} deg"


def _spell_range(limits: u.Quantity) -> str:
    low, high = limits.to_value(_KMS).tolist()
    return f"{low} {high} km / s"


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadOptions(Options):
    """What a user adds to the header of a cube.

    None leaves the header's value in force. The fields, with their types and units, are listed
    under :ref:`options`.

    Examples
    --------
    >>> ReadOptions(distance="0.288 kpc", velocity_range="10 -5 km/s").canonical()["distance"]
    '288.0 pc'
    """

    unit: u.UnitBase | str | None = option(
        "unit-like",
        "Brightness unit of the stored values (K, Jy/beam, Jy/sr or multiples), which replaces the "
        "header's; it may include the temperature scale, as in 'K (Ta*)'",
        example="K",
        parse=_parse_unit,
        canonical=_spell_unit,
    )
    beam: Beam | u.Quantity | str | None = option(
        "`~radio_beam.Beam`, `~astropy.units.Quantity` or str",
        "Full width at half maximum of the beam, or its major and minor axes as in "
        "'3.9 2.9 arcsec', for all channels; it replaces the header's",
        example="46 arcsec",
        parse=as_beam,
        canonical=_spell_beam,
    )
    rest_value: u.Quantity | str | None = option(
        "`~astropy.units.Quantity` or str",
        "Rest frequency of the line, which replaces the header's",
        example="110.201354 GHz",
        parse=_parse_rest_value,
    )
    distance: u.Quantity | str | None = option(
        "`~astropy.units.Quantity` or str",
        "Distance to the gas; if left out, the header's card DISTANCE is used where it states "
        "its unit",
        example="288 pc",
        parse=_parse_distance,
    )
    velocity_range: u.Quantity | str | None = option(
        "`~astropy.units.Quantity` or str",
        "Two velocities; channels with centers outside are not used for the maps, but noise is "
        "measured on all channels",
        example="-5 10 km/s",
        parse=_parse_velocity_range,
        canonical=_spell_range,
    )
    hdu: int | str | None = option(
        "int or str",
        "Number or name of the HDU in the file; if left out, the first with three axes is read",
        example="1",
        parse=_parse_hdu,
        canonical=lambda hdu: hdu,
        word=number_or_text,
    )

    def reading(self) -> "ReadOptions":
        """Return only the options of reading, without those that a subclass adds.

        Returns
        -------
        options : ReadOptions
            With the same values.
        """
        return ReadOptions(**{each.name: getattr(self, each.name) for each in fields(ReadOptions)})

    def over(self, earlier: "ReadOptions") -> Self:
        """Return a copy with missing values filled from other options.

        Parameters
        ----------
        earlier : ReadOptions
            Options that a cube was opened with.

        Returns
        -------
        options : ReadOptions
            Of the same class as these.
        """
        values = {each.name: getattr(earlier, each.name) for each in fields(ReadOptions)}
        return replace(self, **{k: v for k, v in values.items() if getattr(self, k) is None})
