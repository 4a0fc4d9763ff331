"""`info`: what a cube is, and what would be refused and why, before any work is done on it."""

import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Unpack

import astropy.units as u
import numpy as np
from astropy.table import Table
from astropy.wcs.utils import proj_plane_pixel_scales

from stellarssl._utils.geometry import TILE_PIXELS, TILE_WIDTH, beam_width
from stellarssl._utils.options import accepts, option_of
from stellarssl.cubes import Cube, CubeLike
from stellarssl.cubes._sample import quick_noise, sample_values
from stellarssl.cubes.read import assemble, missing_error, open_with_options
from stellarssl.cubes.sources import Source
from stellarssl.exceptions import InputError, MissingInputError, StellarSSLError
from stellarssl.moments import MomentKeywords, MomentOptions
from stellarssl.moments.arrays import as_footprint, as_mask, image_shape
from stellarssl.moments.blocks import make_plan
from stellarssl.moments.footprint import beam_pixels
from stellarssl.moments.noise import noise_array
from stellarssl.moments.options import as_efficiency
from stellarssl.pipeline.report import NEEDED_BY, Report
from stellarssl.tracers import Tracer, get_tracer, tracer_frequency

__all__ = ["info"]

_CALIBRATION = Path(__file__).parents[1] / "data" / "library" / "calibration.ecsv"
_NO_SKILL, _TYPICAL_SNR = 0.05, 10.0
_NEEDED_SCALE = 28 * TILE_WIDTH / TILE_PIXELS
"""Diameter of the rings that masses use."""
_KINDS = {
    "atomic": "its gas is atomic, the library's molecular (atomic_tracer)",
    "opaque": "the line saturates in dense gas (opaque_tracer)",
}


@accepts(MomentOptions)
def info(cube: CubeLike, **options: Unpack[MomentKeywords]) -> Report:
    """Report what a cube is, and what would be refused and why, without working on it.

    Headers and a sample of at most some 10^6 values of the cube are read, and the map of a
    ``footprint``. An option that breaks a rule is reported as a reason and then left out.

    Parameters
    ----------
    cube : path-like, HDU, HDUList, SpectralCube or `~stellarssl.Cube`
        As `~stellarssl.read_cube` takes it.
    **options
        Options of reading and measuring.

    Returns
    -------
    report : `Report`
        Its text is a summary.

    Raises
    ------
    InputError
        If there is nothing to report on: no such file, a broken one, or no cube in it.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "VRAD",
    ...     "CUNIT3": "m/s", "CDELT1": -0.01, "CDELT2": 0.01, "CDELT3": 100.0, "CRPIX3": 1.0})
    >>> cube = fits.PrimaryHDU(np.ones((4, 8, 8), "f4"), header)
    >>> print(info(cube, unit="K", beam="72 arcsec", distance="140 pc", tracer="C18O"))
    HDU
      size       4 x 8 x 8 (v, y, x), float32, 0.00102 MB
      sky        RA---TAN, DEC--TAN (icrs) around 359.955 0.045 deg, pixel 36 arcsec
      velocity   0 to 0.3 km/s (VRAD, radio, frame not stated), 4 channels of 0.1 km/s
      line       109.782 GHz (C18O(1-0))
      unit       K
      beam       72 x 72 arcsec, 2 pixels
      noise      none in a sample: noise-free
      distance   140 pc (argument): pixel 0.0244 pc, 10.2 beams across a tile of 0.5 pc
      column     N_H = 1.18e+22 cm-2 for each K km/s (C18O(1-0), molecular)
      note       the rest frequency is the tracer's, 109.782173 GHz
    >>> list(info(cube, unit="K", tracer="C18O").refused)
    ['masses']
    """
    refusals = _Refusals()
    checked = _check_each(MomentOptions(**options), refusals)
    source, checked = _open(cube, checked, refusals)
    report = Report(refused=refusals.products, **_size(source))
    found = _assemble(source, checked, refusals)
    if found is None:
        return report
    made, missing, notes = found
    efficiency = _efficiency(made, checked, refusals)
    missing = {name: what for name, what in missing.items() if name not in refusals.parameters}
    if missing:
        refusals.add("moments", missing_error(made, missing))
    tracer = _tracer(made, checked, refusals)
    report = replace(
        report,
        **_spectral(made),
        **_line(made),
        unit=made.unit,
        temperature_scale=made.temperature_scale,
        efficiency=efficiency,
        beam=made.beam,
        beam_varies=made.beam_varies,
        distance=made.distance,
        distance_origin=made.distance_origin,
        beams_per_tile=_beams_per_tile(made),
        max_recoverable_scale=checked.max_recoverable_scale,
        tracer=tracer,
        notes=notes,
        **_arrays(made, checked, efficiency, refusals),
    )
    _check_masses(report, refusals)
    return report


class _Refusals:
    """Collects the reasons that speak against products."""

    def __init__(self) -> None:
        self.products: dict[str, list[StellarSSLError]] = {}

    def add(self, product: str, error: StellarSSLError) -> None:
        """Refuse a product, and all that are made from it."""
        for each in NEEDED_BY[product]:
            self.products.setdefault(each, []).append(error)

    @property
    def parameters(self) -> set[str]:
        """Names of the options that are refused already."""
        errors = [each for errors in self.products.values() for each in errors]
        return {each.parameter for each in errors if isinstance(each, InputError)}


def _check_each(options: MomentOptions, refusals: _Refusals) -> MomentOptions:
    """Check options one by one; replace what breaks a rule by its default."""
    values: dict[str, Any] = {}
    for each in fields(options):
        value = getattr(options, each.name)
        try:
            values[each.name] = None if value is None else option_of(each).parse(value)
        except InputError as error:
            refusals.add("moments", error)
            values[each.name] = each.default
    return MomentOptions(**values)


def _open(
    cube: CubeLike, options: MomentOptions, refusals: _Refusals
) -> tuple[Source, MomentOptions]:
    """Open a cube; without the option ``hdu`` if that is what is wrong."""
    try:
        return open_with_options(cube, options)
    except InputError as error:
        if error.parameter != "hdu" or options.hdu is None:
            raise
        refusals.add("moments", error)
    return open_with_options(cube, replace(options, hdu=None))


def _assemble(
    source: Source, options: MomentOptions, refusals: _Refusals
) -> tuple[Cube, dict[str, str], tuple[str, ...]] | None:
    """Apply the options that suit the cube; None if it cannot be used even without the others."""
    reading = options.reading()
    line = tracer_frequency(options.tracer)
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made, missing, doubts = assemble(source, reading, line)
        except InputError as error:
            refusals.add("moments", error)
            if getattr(reading, error.parameter, None) is None:
                return None
            reading = replace(reading, **{error.parameter: None})
            continue
        notes = dict.fromkeys([*made.notes, *(doubt.text for doubt in doubts)])
        return made, missing, tuple(notes)


def _size(source: Source) -> dict[str, Any]:
    """Return what can be said before any option is applied."""
    wcs, shape = source.axes.wcs.celestial, source.data.shape
    return {
        "source": source.name,
        "shape": tuple(int(n) for n in shape),
        "dtype": np.dtype(source.data.dtype).name,
        "sky_axes": tuple(wcs.wcs.ctype),
        "center": wcs.pixel_to_world((shape[2] - 1) / 2, (shape[1] - 1) / 2),
        "pixel": _pixel(source),
    }


def _pixel(source: Source) -> u.Quantity:
    """Return the side of a square of the pixels' mean area."""
    sides = proj_plane_pixel_scales(source.axes.wcs.celestial) * u.deg
    return np.sqrt(sides[0] * sides[1]).to(u.arcsec)


def _spectral(cube: Cube) -> dict[str, Any]:
    axes, ends = cube.origin.axes, cube.velocity[[0, -1]]
    found = {
        "spectral_axis": axes.kind,
        "specsys": cube.specsys,
        "channels": (cube.channels.start, cube.channels.stop),
    }
    if np.isfinite(ends[0]):
        return found | {
            "velocity": ends * u.km / u.s,
            "velocity_convention": cube.velocity_convention,
            "channel_width": cube.channel_width,
        }
    frequency = axes.spectral[[0, -1]].to(u.GHz)
    width = abs(frequency[1] - frequency[0]).to(u.kHz) / (len(cube.velocity) - 1)
    return found | {"frequency": frequency, "channel_width": width}


def _line(cube: Cube) -> dict[str, Any]:
    if cube.rest_value is None:
        return {}
    try:
        line = get_tracer("auto", rest_value=cube.rest_value)
    except InputError:
        line = None
    return {"rest_value": cube.rest_value, "line": line and line.name}


def _efficiency(cube: Cube, options: MomentOptions, refusals: _Refusals) -> float | None:
    """Return what values are divided by; None where they are main-beam temperatures already."""
    if options.efficiency is not None:
        try:
            return as_efficiency(options.efficiency, cube.unit, cube.temperature_scale)
        except InputError as error:
            refusals.add("moments", error)
    if cube.temperature_scale not in ("T_A*", "T_R*"):
        return None
    if cube.efficiency is None and "efficiency" not in refusals.parameters:
        rule = f"must be given, as values are {cube.temperature_scale}"
        refusals.add("moments", MissingInputError("efficiency", rule))
    return cube.efficiency


def _tracer(cube: Cube, options: MomentOptions, refusals: _Refusals) -> Tracer | None:
    """Return the tracer, with those of the options about it that suit it."""
    lte: dict[str, Any] = {
        "excitation_temperature": options.excitation_temperature,
        "abundance": options.abundance,
    }
    while True:
        try:
            tracer = get_tracer(options.tracer, rest_value=cube.rest_value, **lte)
        except InputError as error:
            # moment_maps does without a column where nobody has named the tracer
            auto = isinstance(options.tracer, str) and options.tracer == "auto"
            optional = auto and isinstance(error, MissingInputError)
            refusals.add("columns" if optional else "moments", error)
            if lte.get(error.parameter) is None:
                return None
            lte[error.parameter] = None
            continue
        if tracer is None and "tracer" not in refusals.parameters:
            refusals.add("columns", StellarSSLError("the tracer None gives no column"))
        return tracer


def _arrays(
    cube: Cube, options: MomentOptions, efficiency: float | None, refusals: _Refusals
) -> dict[str, Any]:
    """Return what is known of mask and noise, and the plan with the footprint."""
    mask = _accepted(lambda: _check_mask(options.mask, cube.shape), refusals)
    given = _accepted(lambda: _check_noise(options.noise, cube), refusals)
    noise, origin = _noise(cube, efficiency) if given is None else given[:2]
    wanted = _accepted(lambda: as_footprint(options.footprint, cube.shape[1:]), refusals)
    channels = cube.channels
    plan = _accepted(
        lambda: make_plan(
            (channels.stop - channels.start, *cube.shape[1:]),
            margin=0 if mask is not None else int(beam_pixels(cube)),
            voxel_bytes=4 if given is not None and given[2] else 0,
            memory_limit=options.memory_limit,
            n_threads=options.n_threads,
            wanted=wanted,
        ),
        refusals,
    )
    return {"mask": mask, "noise": noise, "noise_origin": origin, "plan": plan}


def _accepted(work: Callable[[], Any], refusals: _Refusals) -> Any:
    """Return the result of a check; None, and a reason, if it fails."""
    try:
        return work()
    except InputError as error:
        refusals.add("moments", error)
        return None


def _check_mask(mask: object, shape: tuple[int, int, int]) -> str | None:
    if isinstance(mask, Path):
        found, _ = image_shape("mask", mask)
        if found != shape:
            rule = f"must be a boolean array of the cube's shape {shape}"
            raise InputError("mask", rule, found)
        return mask.name
    return None if as_mask(mask, shape) is None else "argument"


def _check_noise(
    noise: Path | u.Quantity | None, cube: Cube
) -> tuple[u.Quantity | None, str, bool] | None:
    """Return the median of a given noise, its origin, and whether it differs between channels."""
    if noise is None:
        return None
    unit = u.K if cube.unit is None else cube.unit
    if not isinstance(noise, Path):
        array = u.Quantity(noise_array(noise, cube.shape, unit))
        return np.nanmedian(array), "argument", array.shape[0] > 1
    shape, text = image_shape("noise", noise)
    if not text:
        raise InputError("noise", "must state its unit in the header (BUNIT)", str(noise))
    try:
        stated = u.Unit(text)
    except ValueError as error:
        raise InputError("noise", "must have a BUNIT that is a unit", text) from error
    if not any(stated.is_equivalent(each) for each in (u.K, unit)):
        raise InputError("noise", f"must be in K or {unit}", text)
    if shape not in (cube.shape[1:], cube.shape):
        rule = f"must be a map {cube.shape[1:]} or a cube {cube.shape}"
        raise InputError("noise", rule, shape)
    return None, noise.name, len(shape) == 3


def _noise(cube: Cube, efficiency: float | None) -> tuple[u.Quantity | None, str]:
    """Return the noise of a sample, in main-beam temperature if that is possible."""
    factor = float(cube.kelvin_factor[len(cube.kelvin_factor) // 2])
    noise = quick_noise(sample_values(cube.data))
    if not np.isfinite(noise):
        return None, "sample"
    if np.isfinite(factor):
        return noise * factor / (efficiency or 1) * u.K, "sample"
    return noise * (u.dimensionless_unscaled if cube.unit is None else cube.unit), "sample"


def _beams_per_tile(cube: Cube) -> float | None:
    """Return how many beams lie side by side across a tile; None if that is not known."""
    if cube.distance is None or cube.beam is None:
        return None
    width = beam_width(cube.beam).to_value(u.rad) * cube.distance
    return float(TILE_WIDTH / width)


def _check_masses(report: Report, refusals: _Refusals) -> None:
    """Add the reasons that speak against masses."""
    if report.distance is None and "distance" not in refusals.parameters:
        rule = "must be given, as the header has none"
        refusals.add("masses", MissingInputError("distance", rule))
    skill = None if report.beams_per_tile is None else _skill(report.beams_per_tile)
    if skill is not None and skill <= _NO_SKILL:
        beam = TILE_WIDTH / report.beams_per_tile
        rule = f"a beam of {beam:.2g} leaves masses an R2 of {skill:.2f} (no_skill)"
        refusals.add("masses", StellarSSLError(rule))
    if report.tracer is not None and report.tracer.kind in _KINDS:
        refusals.add("masses", StellarSSLError(_KINDS[report.tracer.kind]))
    scale = report.max_recoverable_scale
    if scale is not None and report.distance is not None:
        recovered = scale.to_value(u.rad) * report.distance
        if recovered < _NEEDED_SCALE:
            rule = f"scales up to {recovered:.3g} are recovered, less than {_NEEDED_SCALE:.2g}"
            refusals.add("masses", StellarSSLError(f"{rule} (missing_flux)"))


def _skill(beams_per_tile: float) -> float | None:
    """Look up R2 by simulation for a beam at S/N 10, without loading what masses need."""
    if not _CALIBRATION.is_file():
        return None
    table = Table.read(_CALIBRATION, format="ascii.ecsv")
    known = (table["snr"] == _TYPICAL_SNR) & table["lines"] & (table["prior"] == "library")
    known &= (table["radius_min"] == 0) & (table["radius_max"] == table["radius_max"].max())
    table = table[known]
    beam = TILE_PIXELS / beams_per_tile
    nearest = np.argmin(np.abs(np.log(np.maximum(table["beam_pixels"], 0.5) / beam)))
    return float(table["r2_simulation"][nearest])
