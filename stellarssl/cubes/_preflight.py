"""The report on a cube before any work is done on it."""

import warnings

import astropy.units as u
import numpy as np
from astropy.wcs.utils import proj_plane_pixel_scales
from radio_beam import Beam

from stellarssl._utils.geometry import TILE_WIDTH, beam_width
from stellarssl.cubes._cube import Cube
from stellarssl.cubes._read import assemble, missing_error, open_with_options
from stellarssl.cubes._sample import quick_noise, sample_values
from stellarssl.cubes._sources import Source
from stellarssl.cubes.options import ReadOptions
from stellarssl.exceptions import InputError, MissingInputError, StellarSSLWarning
from stellarssl.tracers import Tracer, get_tracer, tracer_frequency

__all__ = ["preflight"]

_FEWEST_BEAMS = 3
_KINDS = {
    "atomic": "its gas is atomic, the library's molecular (atomic_tracer)",
    "opaque": "the line saturates in dense gas (opaque_tracer)",
}


def preflight(
    cube: object,
    *,
    unit: u.UnitBase | str | None = None,
    beam: Beam | u.Quantity | str | None = None,
    rest_value: u.Quantity | str | None = None,
    distance: u.Quantity | str | None = None,
    hdu: int | str | None = None,
    tracer: Tracer | u.Quantity | str | None = "auto",
) -> str:
    """Say what a cube is, and what would be refused and why, without working on it.

    Parameters
    ----------
    cube : path-like, HDU, HDUList, SpectralCube or `Cube`
        As `read_cube` takes it.
    unit, beam, rest_value, distance, hdu : optional
        As `read_cube` takes them.
    tracer : str, `~astropy.units.Quantity`, `~stellarssl.Tracer` or None, optional
        As `~stellarssl.moment_maps` takes it.

    Returns
    -------
    report : str
        Lines of text. The noise is from at most some 3 x 10^5 values.

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
    >>> print(preflight(cube, unit="K", beam="72 arcsec", distance="140 pc", tracer="C18O"))
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
    """
    options = ReadOptions(unit=unit, beam=beam, rest_value=rest_value, distance=distance, hdu=hdu)
    source, options = open_with_options(cube, options)
    facts = _size(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made, missing, doubts = assemble(source, options, tracer_frequency(tracer))
    except InputError as error:
        return _text(source.name, facts, [("everything", str(error))])
    facts += [*_spectral(made), *_line(made), *_brightness(made), *_scales(made)]
    column, refused = _products(made, tracer)
    notes = dict.fromkeys([*made.notes, *(doubt.text for doubt in doubts)])
    if missing:
        refused.insert(0, ("everything", str(missing_error(made, missing))))
    return _text(source.name, [*facts, *column, *(("note", note) for note in notes)], refused)


def _text(name: str, facts: list[tuple[str, str]], refused: list[tuple[str, str]]) -> str:
    """Lay the report out."""
    lines = [name, *(f"  {label:10s} {text}" for label, text in facts)]
    if refused:
        lines.append("refused")
    return "\n".join([*lines, *(f"  {what:10s} {why}" for what, why in refused)])


def _unstated(argument: str, what: str = "") -> str:
    return str(StellarSSLWarning(f"{what}not stated", [argument]))


def _size(source: Source) -> list[tuple[str, str]]:
    """Describe what can be said before any option is applied."""
    shape = source.data.shape
    dtype = np.dtype(source.data.dtype)
    volume = np.prod(shape, dtype=np.float64) * dtype.itemsize
    size = f"{volume / 1e9:.3g} GB" if volume > 1e9 else f"{volume / 1e6:.3g} MB"
    wcs = source.axes.wcs.celestial
    center = wcs.pixel_to_world((shape[2] - 1) / 2, (shape[1] - 1) / 2)
    place = f"({center.frame.name}) around {center.to_string(precision=3)} deg"
    return [
        ("size", f"{' x '.join(map(str, shape))} (v, y, x), {dtype.name}, {size}"),
        ("sky", f"{', '.join(wcs.wcs.ctype)} {place}, pixel {_pixel(source):.3g}"),
    ]


def _pixel(source: Source) -> u.Quantity:
    """Return the side of a pixel of the mean area."""
    sides = proj_plane_pixel_scales(source.axes.wcs.celestial) * u.deg
    return np.sqrt(sides[0] * sides[1]).to(u.arcsec)


def _spectral(cube: Cube) -> list[tuple[str, str]]:
    axes, (first, last) = cube.origin.axes, cube.velocity[[0, -1]]
    frame = cube.specsys or "frame not stated"
    if np.isfinite(first):
        label, span = "velocity", f"{first:.6g} to {last:.6g} km/s"
        about = f"{axes.kind}, {cube.velocity_convention}, {frame}"
        width = f"{cube.channel_width.value:.4g} km/s"
    else:
        label, ends = "frequency", axes.spectral[[0, -1]].to(u.GHz)
        span, about = f"{ends[0].value:.9g} to {ends[1].value:.9g} GHz", f"{axes.kind}, {frame}"
        width = f"{abs(ends[1] - ends[0]).to(u.kHz) / (len(cube.velocity) - 1):.4g}"
    return [(label, f"{span} ({about}), {len(cube.velocity)} channels of {width}")]


def _line(cube: Cube) -> list[tuple[str, str]]:
    if cube.rest_value is None:
        return [("line", _unstated("rest_value", "rest frequency "))]
    try:
        name = get_tracer("auto", rest_value=cube.rest_value).name
    except InputError:
        name = "no line whose hydrogen column is known"
    return [("line", f"{cube.rest_value:.6g} ({name})")]


def _brightness(cube: Cube) -> list[tuple[str, str]]:
    scale = f" ({cube.temperature_scale})" if cube.temperature_scale else ""
    unit = cube.unit and f"{cube.unit.to_string('fits')}{scale}"
    beam = _unstated("beam")
    if cube.beam is not None:
        major, minor = (axis.to_value(u.arcsec) for axis in (cube.beam.major, cube.beam.minor))
        width = (beam_width(cube.beam) / _pixel(cube.origin)).to_value(u.dimensionless_unscaled)
        varies = ", the smallest common one of all channels" if cube.beam_varies else ""
        beam = f"{major:.3g} x {minor:.3g} arcsec, {width:.2g} pixels{varies}"
    return [("unit", unit or _unstated("unit")), ("beam", beam), ("noise", _noise(cube))]


def _noise(cube: Cube) -> str:
    factor = float(cube.kelvin_factor[len(cube.kelvin_factor) // 2])
    noise, unit = quick_noise(sample_values(cube.data)), "K"
    if np.isfinite(factor):
        noise *= factor
    else:
        unit = "as stored" if cube.unit is None else cube.unit.to_string("fits")
    if noise == 0:
        return "none in a sample: noise-free"
    return f"{noise:.3g} {unit} in a channel, from a sample" if np.isfinite(noise) else "unknown"


def _beams_per_tile(cube: Cube) -> float | None:
    """Return how many beams lie side by side across a tile; None if that is not known."""
    if cube.distance is None or cube.beam is None:
        return None
    width = beam_width(cube.beam).to_value(u.rad) * cube.distance
    return float(TILE_WIDTH / width)


def _scales(cube: Cube) -> list[tuple[str, str]]:
    if cube.distance is None:
        return [("distance", _unstated("distance"))]
    pixel = _pixel(cube.origin).to_value(u.rad) * cube.distance
    text = f"{cube.distance:.5g} ({cube.distance_origin}): pixel {pixel:.3g}"
    beams = _beams_per_tile(cube)
    across = "" if beams is None else f", {beams:.3g} beams across a tile of {TILE_WIDTH:g}"
    return [("distance", text + across)]


def _products(
    cube: Cube, tracer: Tracer | u.Quantity | str | None
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return what is known of the column, and what of columns and masses is refused."""
    facts, refused = [], []
    if cube.temperature_scale in ("T_A*", "T_R*") and cube.efficiency is None:
        rule = f"must be given, as values are {cube.temperature_scale}"
        refused.append(("everything", str(MissingInputError("efficiency", rule))))
    kind = None
    try:
        line = get_tracer(tracer, rest_value=cube.rest_value)
    except InputError as error:
        refused.append(("columns", str(error)))
    else:
        if line is None:
            refused.append(("columns", "the tracer None gives no column"))
        else:
            kind = line.kind
            factor = f"{line.n_h_per_w.value:.3g} cm-2 for each K km/s"
            facts.append(("column", f"N_H = {factor} ({line.name}, {kind})"))
    if cube.distance is None:
        rule = "must be given, as the header has none"
        refused.append(("masses", str(MissingInputError("distance", rule))))
    beams = _beams_per_tile(cube)
    if beams is not None and beams < _FEWEST_BEAMS:
        rule = f"{beams:.2g} beams across a tile are fewer than {_FEWEST_BEAMS} (coarse_beam)"
        refused.append(("masses", rule))
    if kind in _KINDS:
        refused.append(("masses", _KINDS[kind]))
    return facts, refused
