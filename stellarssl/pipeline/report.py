"""`Report`: what a cube is and what would be refused, as text, as JSON and as attributes."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import singledispatch
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from radio_beam import Beam

from stellarssl._utils.geometry import TILE_WIDTH, beam_width
from stellarssl.exceptions import StellarSSLError, StellarSSLWarning
from stellarssl.moments import Plan
from stellarssl.tracers import Tracer

__all__ = ["NEEDED_BY", "Report"]

_Spell = Callable[[StellarSSLError | StellarSSLWarning], str]
NEEDED_BY = {
    "moments": ("moments", "columns", "masses", "segments"),
    "columns": ("columns", "masses", "segments"),
    "masses": ("masses",),
}
"""Which products are refused together with a product, as they are made from it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What a cube is, and which products would be refused; made by `info`.

    What is not known is None. ``str(report)`` is a summary for people.

    Attributes
    ----------
    source : str
        Name of the file, or the kind of object.
    shape : tuple of int
        Number of channels, rows and columns (v, y, x).
    dtype : str
        Type of the stored values.
    sky_axes : tuple of str
        CTYPE of the two axes of the sky.
    center : `~astropy.coordinates.SkyCoord`
        Center of the map.
    pixel : `~astropy.units.Quantity`
        Side of a square of the pixels' mean area [arcsec].
    spectral_axis : str or None
        Kind of the spectral axis, such as ``"VRAD"`` or ``"FREQ"``.
    velocity : `~astropy.units.Quantity` or None
        Velocities of the first and the last channel [km/s].
    frequency : `~astropy.units.Quantity` or None
        Frequencies of the first and the last channel [GHz], where no velocity is known.
    velocity_convention, specsys : str or None
        Convention and frame of the velocities.
    channels : tuple of int or None
        First channel that maps are made of, and the one after the last, counted from zero.
    channel_width : `~astropy.units.Quantity` or None
        Width of a channel [km/s or kHz].
    rest_value : `~astropy.units.Quantity` or None
        Rest frequency.
    line : str or None
        Name of the known line at the rest frequency.
    unit : `~astropy.units.UnitBase` or None
        Unit of the stored values.
    temperature_scale : {"T_mb", "T_A*", "T_R*"} or None
        Temperature scale, where the unit states it.
    efficiency : float or None
        Number by which values are divided to be main-beam temperatures.
    beam : `~radio_beam.Beam` or None
        Beam, or the smallest common one of all channels.
    beam_varies : bool
        Whether the beam areas of channels differ by more than 5 %.
    noise : `~astropy.units.Quantity` or None
        Standard deviation of a voxel: the median of what was given, or measured in a sample.
    noise_origin : str or None
        ``"sample"``, ``"argument"``, or the name of a file, which is not read.
    distance : `~astropy.units.Quantity` or None
        Distance [pc].
    distance_origin : {"argument", "header"} or None
        Where the distance comes from.
    beams_per_tile : float or None
        Number of beams side by side across a tile of 0.5 pc.
    max_recoverable_scale : `~astropy.units.Quantity` or None
        Largest angle that the interferometer recovers [arcsec].
    mask : str or None
        ``"argument"`` or the name of a file, where a mask is given.
    tracer : `~stellarssl.Tracer` or None
        Line or factor that gives the column.
    plan : `~stellarssl.moments.Plan` or None
        How the cube would be read.
    notes : tuple of str
        What was repaired or assumed, and what looks wrong.
    refused : dict of str
        The errors that speak against each of ``"moments"``, ``"columns"``, ``"masses"`` and
        ``"segments"``; a product that can be made is left out.
    """

    source: str
    shape: tuple[int, int, int]
    dtype: str
    sky_axes: tuple[str, str]
    center: SkyCoord
    pixel: u.Quantity
    spectral_axis: str | None = None
    velocity: u.Quantity | None = None
    frequency: u.Quantity | None = None
    velocity_convention: str | None = None
    specsys: str | None = None
    channels: tuple[int, int] | None = None
    channel_width: u.Quantity | None = None
    rest_value: u.Quantity | None = None
    line: str | None = None
    unit: u.UnitBase | None = None
    temperature_scale: str | None = None
    efficiency: float | None = None
    beam: Beam | None = None
    beam_varies: bool = False
    noise: u.Quantity | None = None
    noise_origin: str | None = None
    distance: u.Quantity | None = None
    distance_origin: str | None = None
    beams_per_tile: float | None = None
    max_recoverable_scale: u.Quantity | None = None
    mask: str | None = None
    tracer: Tracer | None = None
    plan: Plan | None = None
    notes: tuple[str, ...] = ()
    refused: dict[str, list[StellarSSLError]] = field(default_factory=dict)

    @property
    def is_refused(self) -> bool:
        """Whether neither moments nor masses nor segments can be made."""
        return all(self.refused.get(each) for each in ("moments", "masses", "segments"))

    def __str__(self) -> str:
        return self.text()

    def text(self, spell: _Spell = str) -> str:
        """Return the report as lines of text.

        Parameters
        ----------
        spell : callable, optional
            Returns the text of an error or warning; `str` names arguments as Python does.

        Returns
        -------
        text : str
            A reason that refuses several products is shown once.
        """
        lines = [self.source, *(f"  {label:10s} {text}" for label, text in _facts(self, spell))]
        lines += [f"  {'note':10s} {note}" for note in self.notes]
        if self.refused:
            lines.append("refused")
        shown: list[StellarSSLError] = []
        for product in NEEDED_BY:
            label = "everything" if product == "moments" else product
            for reason in self.refused.get(product, []):
                if not any(reason is each for each in shown):
                    shown.append(reason)
                    lines.append(f"  {label:10s} {spell(reason)}")
        return "\n".join(lines)

    def to_json(self, spell: _Spell = str) -> dict[str, Any]:
        """Return the report in JSON types.

        Parameters
        ----------
        spell : callable, optional
            Returns the text of an error; `str` names arguments as Python does.

        Returns
        -------
        plain : dict of str
            One entry for each attribute. A quantity has ``value`` and ``unit``, and what is not
            finite is None.
        """
        plain = {each.name: _plain(getattr(self, each.name)) for each in fields(self)}
        reasons = {name: [spell(each) for each in errors] for name, errors in self.refused.items()}
        return plain | {"refused": reasons}


def _facts(report: Report, spell: _Spell) -> list[tuple[str, str]]:
    """Return the lines of the report that describe the cube."""
    volume = np.prod(report.shape, dtype=np.float64) * np.dtype(report.dtype).itemsize
    size = f"{volume / 1e9:.3g} GB" if volume > 1e9 else f"{volume / 1e6:.3g} MB"
    center = report.center
    place = f"({center.frame.name}) around {center.to_string(precision=3)} deg"
    facts = [
        ("size", f"{' x '.join(map(str, report.shape))} (v, y, x), {report.dtype}, {size}"),
        ("sky", f"{', '.join(report.sky_axes)} {place}, pixel {report.pixel:.3g}"),
    ]
    if report.spectral_axis is None:
        return facts
    facts += [*_spectral_facts(report), *_brightness_facts(report, spell)]
    facts += _scale_facts(report, spell)
    if report.tracer is not None:
        factor = f"{report.tracer.n_h_per_w.value:.3g} cm-2 for each K km/s"
        facts.append(("column", f"N_H = {factor} ({report.tracer.name}, {report.tracer.kind})"))
    return facts


def _spectral_facts(report: Report) -> list[tuple[str, str]]:
    about = report.specsys or "frame not stated"
    n_channels = report.shape[0]
    width = u.Quantity(report.channel_width)
    if report.velocity is not None:
        label, (first, last) = "velocity", report.velocity.to_value(u.km / u.s)
        span, step = f"{first:.6g} to {last:.6g} km/s", f"{width.to_value(u.km / u.s):.4g} km/s"
        about = f"{report.velocity_convention}, {about}"
    else:
        label, (first, last) = "frequency", u.Quantity(report.frequency).to_value(u.GHz)
        span, step = f"{first:.9g} to {last:.9g} GHz", f"{width.to_value(u.kHz):.4g} kHz"
    text = f"{span} ({report.spectral_axis}, {about}), {n_channels} channels of {step}"
    facts = [(label, text)]
    start, stop = report.channels or (0, n_channels)
    if stop - start < n_channels:
        facts.append(("used", f"channels {start} to {stop - 1} of 0 to {n_channels - 1}"))
    return facts


def _brightness_facts(report: Report, spell: _Spell) -> list[tuple[str, str]]:
    if report.rest_value is None:
        line = _unstated("rest_value", spell, "rest frequency ")
    else:
        name = report.line or "no line whose hydrogen column is known"
        line = f"{report.rest_value:.6g} ({name})"
    scale = f" ({report.temperature_scale})" if report.temperature_scale else ""
    unit = report.unit and f"{report.unit.to_string('fits')}{scale}"
    beam = _unstated("beam", spell)
    if report.beam is not None:
        major, minor = (axis.to_value(u.arcsec) for axis in (report.beam.major, report.beam.minor))
        width = (beam_width(report.beam) / report.pixel).to_value(u.dimensionless_unscaled)
        varies = ", the smallest common one of all channels" if report.beam_varies else ""
        beam = f"{major:.3g} x {minor:.3g} arcsec, {width:.2g} pixels{varies}"
    facts = [("line", line), ("unit", unit or _unstated("unit", spell)), ("beam", beam)]
    if report.efficiency is not None:
        facts.append(("efficiency", f"values are divided by {report.efficiency:g}"))
    if report.mask is not None:
        facts.append(("mask", f"given ({report.mask})"))
    return [*facts, ("noise", _noise_text(report))]


def _noise_text(report: Report) -> str:
    noise, origin = report.noise, report.noise_origin
    if origin != "sample":
        median = "" if noise is None else f"{noise.value:.3g} {noise.unit.to_string('fits')} "
        return f"{median}given ({origin})"
    if noise is None:
        return "unknown"
    if noise.value == 0:
        return "none in a sample: noise-free"
    unit = noise.unit.to_string("fits") or "as stored"
    return f"{noise.value:.3g} {unit} in a channel, from a sample"


def _scale_facts(report: Report, spell: _Spell) -> list[tuple[str, str]]:
    text = _unstated("distance", spell)
    if report.distance is not None:
        pixel = report.pixel.to_value(u.rad) * report.distance
        text = f"{report.distance:.5g} ({report.distance_origin}): pixel {pixel:.3g}"
        if report.beams_per_tile is not None:
            text += f", {report.beams_per_tile:.3g} beams across a tile of {TILE_WIDTH:g}"
    facts = [("distance", text)]
    if report.max_recoverable_scale is not None:
        facts.append(("recovered", f"scales up to {report.max_recoverable_scale:.4g}"))
    return facts


def _unstated(argument: str, spell: _Spell, what: str = "") -> str:
    return spell(StellarSSLWarning(f"{what}not stated", [argument]))


@singledispatch
def _plain(value: object) -> Any:
    """Return a field of a report in JSON types."""
    return value


@_plain.register
def _(value: float) -> float | None:
    return value if np.isfinite(value) else None


@_plain.register(tuple)
@_plain.register(list)
def _(value: tuple | list) -> list:
    return [_plain(each) for each in value]


@_plain.register(np.ndarray)
@_plain.register(np.generic)
def _(value: np.ndarray | np.generic) -> Any:
    return _plain(value.tolist())


@_plain.register
def _(value: u.UnitBase) -> str:
    return value.to_string("fits")


@_plain.register
def _(value: u.Quantity) -> dict[str, Any]:
    return {"value": _plain(value.value), "unit": str(value.unit)}


@_plain.register
def _(value: SkyCoord) -> dict[str, Any]:
    position = value.spherical
    lon, lat = (angle.to_value(u.deg) for angle in (position.lon, position.lat))
    return {"frame": value.frame.name, "lon": float(lon), "lat": float(lat), "unit": "deg"}


@_plain.register
def _(value: Beam) -> dict[str, Any]:
    axes = {"major": value.major.to(u.arcsec), "minor": value.minor.to(u.arcsec)}
    axes["pa"] = value.pa.to(u.deg)
    return {name: _plain(u.Quantity(axis)) for name, axis in axes.items()}


@_plain.register
def _(value: Tracer) -> dict[str, Any]:
    return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}


@_plain.register
def _(value: Plan) -> dict[str, Any]:
    names = ("shape", "rows", "columns", "margin", "n_threads", "memory", "memory_limit")
    plain = {name: _plain(getattr(value, name)) for name in names}
    return plain | {"n_blocks": len(value.blocks)}
