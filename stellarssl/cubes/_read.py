"""`read_cube`: what a source says, what the arguments add, and what is still missing."""

import warnings
from dataclasses import dataclass, fields, replace

import astropy.units as u
import numpy as np
from radio_beam import Beam, Beams

from stellarssl._utils.quantities import as_quantity
from stellarssl._utils.stages import stage
from stellarssl.cubes._axes import channel_velocities
from stellarssl.cubes._beams import as_beam, common_beam
from stellarssl.cubes._cube import Cube
from stellarssl.cubes._headers import (
    header_distance,
    header_efficiency,
    header_number,
    parse_brightness,
)
from stellarssl.cubes._sample import sample_values
from stellarssl.cubes._sources import Source, open_source
from stellarssl.exceptions import InputError, MissingInputError, StellarSSLWarning
from stellarssl.tracers import Tracer, tracer_frequency

__all__ = ["Options", "assemble", "missing_error", "open_with_options", "read_cube"]

_KMS = u.km / u.s
_WIDTH_TOLERANCE = 0.01
_BRIGHT = 1e4  # K; thermal lines stay below, masers and wrong units do not
_FAST = 1000  # km/s


@stage("cube")
def read_cube(
    cube: object,
    *,
    unit: u.UnitBase | str | None = None,
    beam: Beam | u.Quantity | str | None = None,
    rest_value: u.Quantity | str | None = None,
    distance: u.Quantity | str | None = None,
    hdu: int | str | None = None,
    tracer: Tracer | str | None = None,
) -> Cube:
    """Open a radio cube without reading, converting or convolving it as a whole.

    Parameters
    ----------
    cube : path-like, HDU, HDUList, SpectralCube or `Cube`
        FITS (also compressed), a CASA image, or one that is open already. A `Cube` comes back
        with the options applied. Stokes and other axes of length one are dropped.
    unit : unit-like, optional
        Brightness of the stored values: K, Jy/beam, Jy/sr or multiples; replaces the header's.
        As a string it may name the scale: ``"K (Ta*)"``.
    beam : `~radio_beam.Beam`, `~astropy.units.Quantity` or str, optional
        ``"46 arcsec"`` or ``"3.9 2.9 arcsec"`` (full width at half maximum); replaces the
        header's and holds for all channels.
    rest_value : `~astropy.units.Quantity` or str, optional
        Rest frequency of the line; replaces the header's.
    distance : `~astropy.units.Quantity` or str, optional
        Of the gas. Without it the header's card DISTANCE is taken, if it states its unit.
    hdu : int or str, optional
        Which HDU of a file; the first with three axes by default.
    tracer : `~stellarssl.Tracer` or str, optional
        A named line. Its rest frequency stands in where neither ``rest_value`` nor the header
        has one.

    Returns
    -------
    cube : `Cube`
        Axes, units and beam in order; the values still where they were.

    Raises
    ------
    InputError
        If there is no such file, it is broken, or it is no cube.
    MissingInputError
        If the header leaves out what is needed; one sentence names all arguments that supply it.

    Warns
    -----
    StellarSSLWarning
        If something was repaired; ``cube.notes`` has it, too.

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
    added = Options(unit, beam, rest_value, distance, tracer)
    if isinstance(cube, Cube) and hdu is None and added.empty:
        return cube
    source, options = open_with_options(cube, added, hdu=hdu)
    made, missing, doubts = assemble(source, options)
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


@dataclass(frozen=True)
class Options:
    """What a user adds to a header; None where the header stands."""

    unit: object = None
    beam: object = None
    rest_value: object = None
    distance: object = None
    tracer: object = None

    @property
    def empty(self) -> bool:
        """Whether nothing is added."""
        return all(getattr(self, each.name) is None for each in fields(self))

    def over(self, earlier: "Options") -> "Options":
        """Return these options, completed by earlier ones."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(earlier, **{name: v for name, v in values.items() if v is not None})


def missing_error(cube: Cube, missing: dict[str, str]) -> MissingInputError:
    """Return the one sentence that names all that is missing."""
    *first, last = (f"no {what}" for what in missing.values())
    listed = f"{', '.join(first)} and {last}" if first else last
    rule = f"must be given, as {cube.origin.name} states {listed}"
    return MissingInputError(", ".join(missing), rule)


def open_with_options(
    cube: object, options: Options, *, hdu: int | str | None
) -> tuple[Source, Options]:
    """Return what a cube is read from and all options that apply to it, earlier ones included."""
    if not isinstance(cube, Cube):
        return open_source(cube, hdu), options
    if hdu is not None:
        raise InputError("hdu", "applies to a file or an HDUList only", hdu)
    return cube.origin, options.over(cube.options)


def assemble(
    source: Source, options: Options
) -> tuple[Cube, dict[str, str], list[StellarSSLWarning]]:
    """Apply options to a source.

    Parameters
    ----------
    source : `Source`
        What was opened.
    options : `Options`
        What the user adds.

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
    notes = [*source.repairs, *source.notes]
    axes = source.axes
    if axes.specsys in ("TOPOCENT", "GEOCENTR"):
        notes.append(f"velocities are as observed ({axes.specsys}), in no common frame")
    unit, scale = _unit(source, options, notes)
    beam, areas, varies = _beam(source, options, notes)
    rest = _rest_value(source, options, notes)
    velocity, frequency = channel_velocities(axes, rest)
    width = _channel_width(velocity)
    factor = _kelvin_factor(unit, frequency, areas, len(velocity))
    distance, distance_origin = _distance(source, options, notes)
    doubts = _doubts(source, velocity, factor)
    made = Cube(
        data=source.data,
        valid=source.valid,
        velocity=velocity,
        velocity_convention=axes.convention,
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
    source: Source, options: Options, notes: list[str]
) -> tuple[u.UnitBase | None, str | None]:
    """Return the brightness unit and the temperature scale."""
    stated = source.unit if options.unit is None else options.unit
    text = stated.to_string() if isinstance(stated, u.UnitBase) else str(stated).strip()
    if not text:
        return None, None
    unit, scale, repaired = parse_brightness(text)
    if repaired:
        notes.append(f"unit {text!r} was read as {unit.to_string('fits')!r}")
    return unit, scale


def _beam(
    source: Source, options: Options, notes: list[str]
) -> tuple[Beam | None, u.Quantity | None, bool]:
    """Return the common beam, the beam's area in each channel, and whether it varies."""
    beam = as_beam(options.beam)
    if beam is None:
        beam = source.beam
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


def _rest_value(source: Source, options: Options, notes: list[str]) -> u.Quantity | None:
    """Return the argument's rest frequency, else the header's, else the named tracer's."""
    given, through = options.rest_value, u.spectral()
    rest = as_quantity("rest_value", given, u.GHz, scalar=True, equivalencies=through)
    if rest is not None:
        return rest
    if source.axes.rest is not None:
        return source.axes.rest.to(u.GHz)
    rest = tracer_frequency(options.tracer)
    if rest is None:
        notes.append("no rest frequency is known")
    else:
        notes.append(f"the rest frequency is the tracer's, {rest:.9g}")
    return rest


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
    source: Source, options: Options, notes: list[str]
) -> tuple[u.Quantity | None, str | None]:
    """Return the argument's distance, else the header's if it states its unit."""
    distance = as_quantity("distance", options.distance, u.pc, scalar=True)
    if distance is not None:
        return distance, "argument"
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
    # What dask would have to work out first may be anything; it is left to the pass over the cube.
    sample = np.empty(0) if hasattr(source.data, "dask") else sample_values(source.data)
    finite = np.isfinite(sample)
    if sample.size == np.prod(source.data.shape) and not finite.any():
        raise InputError("cube", "must hold finite values; all are NaN", source.name)
    peak = np.abs(sample[finite], dtype=np.float64).max(initial=0) * factor[len(factor) // 2]
    if peak > _BRIGHT:
        text = f"values reach {peak:.3g} K: is the unit right?"
        doubts.append(StellarSSLWarning(text, ["unit"]))
    if source.axes.kind == "FREQ" and np.abs(velocity).min() > _FAST:
        text = f"all channels are more than {_FAST} km/s from the rest frequency: is it right?"
        doubts.append(StellarSSLWarning(text, ["rest_value"]))
    return doubts
