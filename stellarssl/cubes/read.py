"""`read_cube`: what a source says, what the arguments add, and what is still missing."""

import warnings
from typing import Any, TypeVar, Unpack

import astropy.units as u
import numpy as np
from radio_beam import Beam, Beams

from stellarssl._utils.options import accepts
from stellarssl._utils.stages import stage
from stellarssl.cubes._axes import channel_velocities
from stellarssl.cubes._beams import common_beam
from stellarssl.cubes._sample import sample_values
from stellarssl.cubes.cube import Cube, CubeLike
from stellarssl.cubes.headers import (
    header_distance,
    header_efficiency,
    header_number,
    parse_brightness,
)
from stellarssl.cubes.options import ReadKeywords, ReadOptions
from stellarssl.cubes.sources import Source, open_source
from stellarssl.exceptions import InputError, MissingInputError, StellarSSLWarning

__all__ = ["assemble", "missing_error", "open_cube", "open_with_options", "read_cube"]

_Options = TypeVar("_Options", bound=ReadOptions)
_KMS = u.km / u.s
_WIDTH_TOLERANCE = 0.01
_BRIGHT = 1e4  # K; thermal lines stay below, masers and wrong units do not
_FAST = 1000  # km/s


@accepts(ReadOptions)
def read_cube(cube: CubeLike, **options: Unpack[ReadKeywords]) -> Cube:
    """Open a radio cube without reading, converting or convolving it as a whole.

    Parameters
    ----------
    cube : path-like, HDU, HDUList, SpectralCube or `Cube`
        FITS file (also compressed), CASA image, or a cube that is open already. A `Cube` is
        returned with the options applied. Stokes and other axes of length one are dropped.
    **options
        Options of reading.

    Returns
    -------
    cube : `Cube`
        Axes, units and beam are in order; the values have not been read.

    Raises
    ------
    InputError
        If the file is missing or broken, or does not hold a cube, or an option breaks a rule.
    MissingInputError
        If the header lacks something that is needed; one sentence names all arguments that
        supply it.

    Warns
    -----
    StellarSSLWarning
        If something was repaired; it is also listed in ``cube.notes``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "VRAD",
    ...     "CUNIT3": "m/s", "CDELT1": -0.01, "CDELT2": 0.01, "CDELT3": -100.0, "CRPIX3": 1.0,
    ...     "RESTFRQ": 110.2013543e9, "BUNIT": "mK", "BMAJ": 0.02})
    >>> cube = read_cube(fits.PrimaryHDU(np.ones((4, 8, 8), "f4"), header), distance="140 pc")
    >>> cube.velocity, cube.channel_width, cube.kelvin_factor[0]
    (array([ 0. , -0.1, -0.2, -0.3]), <Quantity 0.1 km / s>, np.float64(0.001))
    """
    return open_cube(cube, ReadOptions(**options))


@stage("cube")
def open_cube(cube: CubeLike, options: ReadOptions, *, line: u.Quantity | None = None) -> Cube:
    """Open a cube with a set of options.

    Parameters
    ----------
    cube : path-like, HDU, HDUList, SpectralCube or `Cube`
        As `read_cube` takes it.
    options : `~stellarssl.cubes.ReadOptions`
        What the user adds.
    line : `~astropy.units.Quantity`, optional
        Rest frequency of the line that the user names, used where neither an option nor the
        header states one.

    Returns
    -------
    cube : `Cube`
        As `read_cube` returns it.
    """
    options = options.reading()
    if isinstance(cube, Cube) and not options.given() and (line is None or _has_rest(cube)):
        return cube
    source, options = open_with_options(cube, options)
    made, missing, doubts = assemble(source, options, line)
    texts = [doubt.text for doubt in doubts]
    if not isinstance(cube, Cube):
        texts = [*source.repairs, *texts]
    if texts:
        arguments = [name for doubt in doubts for name in doubt.arguments]
        message = StellarSSLWarning(f"{source.name}: {'; '.join(texts)}", arguments)
        warnings.warn(message, stacklevel=2)
    if missing:
        raise missing_error(made, missing)
    return made


def _has_rest(cube: Cube) -> bool:
    return cube.rest_value is not None


def missing_error(cube: Cube, missing: dict[str, str]) -> MissingInputError:
    """Return the one sentence that names all that is missing.

    Parameters
    ----------
    cube : `~stellarssl.cubes.Cube`
        The cube that lacks something.
    missing : dict
        Description of what is missing, by the name of the argument that supplies it.

    Returns
    -------
    error : `~stellarssl.exceptions.MissingInputError`
        An error for the caller to raise.
    """
    *first, last = (f"no {what}" for what in missing.values())
    listed = f"{', '.join(first)} and {last}" if first else last
    rule = f"must be given, as {cube.origin.name} states {listed}"
    return MissingInputError(", ".join(missing), rule)


def open_with_options(cube: CubeLike, options: _Options) -> tuple[Source, _Options]:
    """Return the source of a cube, and the options together with those it was read with.

    Parameters
    ----------
    cube : path-like, HDU, SpectralCube or `~stellarssl.cubes.Cube`
        The cube.
    options : `~stellarssl.cubes.ReadOptions`
        Options of this call.

    Returns
    -------
    source : `Source`
        Where the values are read from.
    options : `~stellarssl.cubes.ReadOptions`
        The options of this call, completed by those of ``cube``.
    """
    if not isinstance(cube, Cube):
        return open_source(cube, options.hdu), options
    if options.hdu is not None:
        raise InputError("hdu", "applies to a file or an HDUList only", options.hdu)
    return cube.origin, options.over(cube.options)


def assemble(
    source: Source, options: ReadOptions, line: u.Quantity | None = None
) -> tuple[Cube, dict[str, str], list[StellarSSLWarning]]:
    """Apply options to a source.

    Parameters
    ----------
    source : `Source`
        What was opened.
    options : `~stellarssl.cubes.ReadOptions`
        What the user adds.
    line : `~astropy.units.Quantity`, optional
        Rest frequency to use where neither the options nor the header state one.

    Returns
    -------
    cube : `Cube`
        With None and NaN for what is not known.
    missing : dict of str
        The arguments without which it is of no use, and what each supplies.
    doubts : list of StellarSSLWarning
        What looks wrong, with the arguments that correct it.

    Raises
    ------
    InputError
        If an option, a unit, the channels or the values cannot be used.
    """
    options = options.check()
    notes = [*source.repairs, *source.notes]
    axes = source.axes
    if axes.specsys in ("TOPOCENT", "GEOCENTR"):
        notes.append(f"velocities are as observed ({axes.specsys}), in no common frame")
    unit, scale = _unit(source, options, notes)
    beam, areas, varies = _beam(source, options, notes)
    rest = _rest_value(source, options, line, notes)
    velocity, frequency = channel_velocities(axes, rest)
    width = _channel_width(velocity)
    factor = _kelvin_factor(unit, frequency, areas, len(velocity))
    distance, distance_origin = _distance(source, options, notes)
    channels = _channels(velocity, width, options.velocity_range)
    doubts = _doubts(source, velocity, factor)
    made = Cube(
        data=source.data,
        valid=source.valid,
        velocity=velocity,
        velocity_convention=axes.convention,
        channels=channels,
        channel_width=width,
        kelvin_factor=factor,
        unit=unit,
        temperature_scale=scale,
        efficiency=header_efficiency(source.header),
        beam=beam,
        beam_varies=varies,
        rest_value=rest,
        distance=distance,
        distance_origin=distance_origin,
        specsys=axes.specsys,
        wcs=axes.wcs.celestial,
        header=source.header,
        source=source.path,
        notes=tuple(dict.fromkeys([*notes, *(doubt.text for doubt in doubts)])),
        origin=source,
        options=options,
    )
    return made, _missing(made), doubts


def _missing(cube: Cube) -> dict[str, str]:
    """Return the arguments that a cube cannot do without, and what each supplies."""
    flux = cube.unit is not None and not cube.unit.is_equivalent(u.K)
    per_beam = flux and cube.unit.is_equivalent(u.Jy / u.beam)
    wanted = {}
    if cube.unit is None:
        wanted["unit"] = "brightness unit"
    # Without a unit nobody knows whether the others are needed: all are asked for at once.
    if cube.beam is None and (cube.unit is None or per_beam):
        wanted["beam"] = "beam"
    unplaced = not np.isfinite(cube.velocity).any()
    if cube.rest_value is None and (cube.unit is None or flux or unplaced):
        hint = header_number(cube.header, "FREQ0")
        wanted["rest_value"] = "rest frequency of the line" + (
            f" (but FREQ0 = {hint:.12g})" if hint else ""
        )
    return wanted


def _unit(
    source: Source, options: ReadOptions, notes: list[str]
) -> tuple[u.UnitBase | None, str | None]:
    """Return the brightness unit and the temperature scale."""
    text = (source.unit if options.unit is None else options.unit).strip()
    if not text:
        return None, None
    unit, scale, repaired = parse_brightness(text)
    if repaired:
        notes.append(f"unit {text!r} was read as {unit.to_string('fits')!r}")
    return unit, scale


def _beam(
    source: Source, options: ReadOptions, notes: list[str]
) -> tuple[Beam | None, u.Quantity | None, bool]:
    """Return the common beam, the beam's area in each channel, and whether it varies."""
    # checked options hold a Beam, not a text
    beam: Any = source.beam if options.beam is None else options.beam
    if isinstance(beam, Beams):
        shared, varies = common_beam(beam)
        count = int(np.sum(~np.isfinite(beam.sr.value)))
        if count:
            notes.append(f"{count} channels have no beam")
        if varies:
            notes.append("the beam varies with the channel by more than 5 % in area")
        return shared, u.Quantity(beam.sr.value, u.sr), varies
    if beam is None:
        notes.append("no beam is known")
        return None, None, False
    return beam, u.Quantity(beam.sr.value, u.sr), False


def _rest_value(
    source: Source, options: ReadOptions, line: u.Quantity | None, notes: list[str]
) -> u.Quantity | None:
    """Return the option's rest frequency, else the header's, else that of the named line."""
    if options.rest_value is not None:
        return options.rest_value
    if source.axes.rest is not None:
        return source.axes.rest.to(u.GHz)
    if line is None:
        notes.append("no rest frequency is known")
        return None
    notes.append(f"the rest frequency is the tracer's, {line:.9g}")
    return line


def _channel_width(velocity: np.ndarray) -> u.Quantity:
    """Return the mean distance of channels; refuse those that are not evenly spaced."""
    if len(velocity) < 2:
        raise InputError("cube", "must have two channels or more", len(velocity))
    steps = np.diff(velocity)
    mean = (velocity[-1] - velocity[0]) / len(steps)
    if mean == 0 or np.any(np.abs(steps / mean - 1) > _WIDTH_TOLERANCE):
        rule = f"must have channels of one width to {_WIDTH_TOLERANCE:.0%} (resample it first)"
        raise InputError("cube", rule, f"{steps.min():.4g} to {steps.max():.4g} km/s")
    return abs(mean) * _KMS


def _channels(velocity: np.ndarray, width: u.Quantity, limits: u.Quantity | None) -> slice:
    """Return the channels whose centers lie in the range of velocities."""
    if limits is None or not np.isfinite(velocity).any():
        return slice(0, len(velocity))
    low, high = limits.value
    inside = np.flatnonzero((velocity >= low) & (velocity <= high))
    if inside.size < 2:
        ends = f"{velocity.min():.5g} to {velocity.max():.5g} km/s"
        rule = f"must hold two channels or more of {width:.4g} in {ends}"
        raise InputError("velocity_range", rule, f"{low:g} {high:g} km/s")
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _kelvin_factor(
    unit: u.UnitBase | None, frequency: u.Quantity | None, areas: u.Quantity | None, n: int
) -> np.ndarray:
    """Return what a stored value in each channel is multiplied by to be K (Rayleigh-Jeans)."""
    if unit is None:
        return np.full(n, np.nan)
    if unit.is_equivalent(u.K):
        return np.full(n, unit.to(u.K))
    per_beam = unit.is_equivalent(u.Jy / u.beam)
    if frequency is None or (per_beam and areas is None):
        return np.full(n, np.nan)
    brightness = u.brightness_temperature(frequency, areas if per_beam else None)
    return u.Quantity(np.ones(n), unit).to_value(u.K, equivalencies=brightness)


def _distance(
    source: Source, options: ReadOptions, notes: list[str]
) -> tuple[u.Quantity | None, str | None]:
    """Return the argument's distance, else the header's if it states its unit."""
    if options.distance is not None:
        return options.distance, "argument"
    distance = header_distance(source.header)
    if distance is not None:
        notes.append(f"the distance is the header's, {distance:g}")
        return distance, "header"
    if "DISTANCE" in source.header:
        notes.append("the header's DISTANCE states no unit and was left out")
    return None, None


def _doubts(source: Source, velocity: np.ndarray, factor: np.ndarray) -> list[StellarSSLWarning]:
    """Return what looks wrong in velocities and values."""
    doubts = []
    # values that dask would have to compute first are left to the pass over the cube
    sample = np.empty(0) if hasattr(source.data, "dask") else sample_values(source.data)
    finite = np.isfinite(sample)
    if sample.size == np.prod(source.data.shape) and not finite.any():
        raise InputError("cube", "must hold finite values; all are NaN", source.name)
    peak = np.max(np.abs(sample), where=finite, initial=0) * factor[len(factor) // 2]
    if peak > _BRIGHT:
        text = f"values reach {peak:.3g} K: is the unit right?"
        doubts.append(StellarSSLWarning(text, ["unit"]))
    if source.axes.kind == "FREQ" and np.abs(velocity).min() > _FAST:
        text = f"all channels are more than {_FAST} km/s from the rest frequency: is it right?"
        doubts.append(StellarSSLWarning(text, ["rest_value"]))
    return doubts
