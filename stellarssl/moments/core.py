"""`moment_maps`: noise, then mask and moments in one pass over the cube; and the plan of it."""

import warnings
from typing import Unpack

import astropy.units as u
import numpy as np
from astropy.constants import k_B
from astropy.wcs import WCS

from stellarssl._utils.options import accepts
from stellarssl._utils.provenance import provenance
from stellarssl._utils.stages import stage
from stellarssl.cubes import Cube
from stellarssl.exceptions import InputError, MissingInputError, NoSignalError, StellarSSLWarning
from stellarssl.moments._estimate import Noise, find_noise, noise_array
from stellarssl.moments._pass import Result, measure
from stellarssl.moments._voxels import Voxels
from stellarssl.moments.arrays import as_footprint, as_mask, noise_quantity
from stellarssl.moments.blocks import Plan, make_plan
from stellarssl.moments.footprint import beam_pixels
from stellarssl.moments.maps import MomentMaps
from stellarssl.moments.options import MomentKeywords, MomentOptions, as_efficiency
from stellarssl.tracers import Tracer, get_tracer

__all__ = ["measure_moments", "moment_maps", "moment_plan"]

_KMS = u.km / u.s
_COLD = 10 * u.K


@stage("moments")
@accepts(MomentOptions)
def moment_maps(cube: object, **options: Unpack[MomentKeywords]) -> MomentMaps:
    r"""Measure column density, velocity and velocity dispersion, with their errors, from a cube.

    Noise comes first, from a bounded sample of channels in small cells of the map. What counts as
    signal then follows from it, unless ``mask`` says so: a core, as rare in noise as a value above
    6 sigma (above 6 sigma, two consecutive channels above 4, or three above 3.1); within three
    channels and one beam of a core, what is above 2 sigma in two consecutive channels; and the
    wings of both along the line, as far as they are above zero. Where there is no noise, signal is
    what is above zero. Over the signal,

    .. math::

        M_0 = \sum T\,\delta v, \quad v = \frac{\sum T v}{\sum T}, \quad
        \sigma_v^2 = \frac{\sum T (v - \bar v)^2}{\sum T}.

    The cube is read block by block, with the memory of a few blocks.

    Parameters
    ----------
    cube : path-like, HDU, SpectralCube, DaskSpectralCube or `~stellarssl.Cube`
        As `~stellarssl.read_cube` takes it.
    **options
        Options of reading and measuring.

    Returns
    -------
    maps : `MomentMaps`
        NaN where nothing is detected. The same for every memory limit and number of threads.

    Raises
    ------
    InputError
        If an option breaks a rule or does not suit the cube.
    MissingInputError
        If the cube leaves out what is needed; the message names the argument.
    UnknownLineError
        If ``tracer`` is a name that is not known.
    NoSignalError
        If nothing rises above the noise.
    ChangedInputError
        If the cube's file changes before all is read.

    Warns
    -----
    StellarSSLWarning
        If ``tracer`` is ``"auto"`` and the line is not known, or needs an abundance that is not
        given: the maps then have no column, as with ``tracer=None``.
    """
    return measure_moments(cube, MomentOptions(**options))


def measure_moments(cube: object, options: MomentOptions) -> MomentMaps:
    """Do what `moment_maps` does, with its options as one object."""
    options = options.check()
    cube = options.open(cube)
    tracer = _tracer(cube, options)
    efficiency = _efficiency(cube, options.efficiency)
    voxels = Voxels.of(cube, efficiency)
    channels = cube.channels
    mask = as_mask(options.mask, cube.shape)
    given = noise_array(noise_quantity(options.noise), cube.shape, cube.unit)
    plan = _plan(cube, mask, given, options)
    width = beam_pixels(cube)
    noise = find_noise(
        voxels,
        given,
        reference=_reference_pixel(cube.wcs),
        beam_pixels=width,
        plan=plan,
        show=options.progress,
    )
    result = measure(
        voxels,
        noise,
        mask,
        velocity=cube.velocity,
        channels=channels,
        beam_pixels=width,
        plan=plan,
        show=options.progress,
    )
    _check_signal(result, is_made=mask is None)
    meta = _meta(cube, tracer, noise, result) | {
        "mask": "made" if mask is None else "given",
        "efficiency": efficiency,
        "velocity_low": float(cube.velocity[channels].min()),
        "velocity_high": float(cube.velocity[channels].max()),
        "n_channels": channels.stop - channels.start,
    }
    return _assemble(cube, tracer, noise, result, options.max_recoverable_scale, meta)


@accepts(MomentOptions)
def moment_plan(cube: object, **options: Unpack[MomentKeywords]) -> Plan:
    """Describe how `moment_maps` would read a cube, without reading it.

    Parameters
    ----------
    cube : path-like, HDU, SpectralCube or `~stellarssl.Cube`
        As `~stellarssl.read_cube` takes it.
    **options
        Options of reading and measuring.

    Returns
    -------
    plan : `~stellarssl.moments.Plan`
        Blocks, memory, passes and scratch space; `str` says it in a line.

    Raises
    ------
    InputError
        If an option does not suit the cube, or memory does not suffice.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "VRAD",
    ...     "CUNIT3": "m/s", "CDELT1": -0.01, "CDELT2": 0.01, "CDELT3": 100.0, "CRPIX3": 1.0,
    ...     "BUNIT": "K", "BMAJ": 0.025})
    >>> cube = fits.PrimaryHDU(np.ones((4, 32, 32), "f4"), header)
    >>> print(moment_plan(cube, memory_limit="1 MB", n_threads=1))
    1 blocks of 32 x 32 pixels and 4 channels (margin 2), 1 at once; 0 MB of 1 MB; one pass after \
a noise sample; no scratch space
    """
    checked = MomentOptions(**options).check()
    cube = checked.open(cube)
    mask = as_mask(checked.mask, cube.shape)
    given = noise_array(noise_quantity(checked.noise), cube.shape, cube.unit)
    return _plan(cube, mask, given, checked)


def _plan(cube: Cube, mask: object, given: u.Quantity | None, options: MomentOptions) -> Plan:
    return make_plan(
        (cube.channels.stop - cube.channels.start, *cube.shape[1:]),
        margin=0 if mask is not None else int(beam_pixels(cube)),
        voxel_bytes=0 if given is None or given.shape[0] == 1 else 4,
        memory_limit=options.memory_limit,
        n_threads=options.n_threads,
        wanted=as_footprint(options.footprint, cube.shape[1:]),
    )


def _tracer(cube: Cube, options: MomentOptions) -> Tracer | None:
    """Return the tracer; none, with a warning, where nobody named one that can be used."""
    try:
        return get_tracer(
            options.tracer,
            rest_value=cube.rest_value,
            excitation_temperature=options.excitation_temperature,
            abundance=options.abundance,
        )
    except MissingInputError as error:
        if options.tracer != "auto":
            raise
        warnings.warn(f"maps have no column: {error}", StellarSSLWarning, stacklevel=2)
        return None


def _efficiency(cube: Cube, efficiency: float | None) -> float:
    """Return what values are divided by to be main-beam temperatures."""
    if efficiency is None:
        if cube.temperature_scale not in ("T_A*", "T_R*"):
            return 1.0
        if cube.efficiency is None:
            rule = f"must be given, as {cube.source} is in {cube.temperature_scale}"
            raise MissingInputError("efficiency", f"{rule}: T_A* over T_mb")
        return cube.efficiency
    return as_efficiency(efficiency, cube.unit, cube.temperature_scale)


def _reference_pixel(wcs: WCS) -> tuple[float, float]:
    x, y = wcs.wcs.crpix
    return y - 1, x - 1


def _check_signal(result: Result, *, is_made: bool) -> None:
    if not result.covered.any():
        raise InputError("cube", "must have finite values, with a beam and noise known for them")
    if not result.detected.any():
        reason = f"the peak is {result.peak_snr:.1f} sigma" if is_made else "the mask holds none"
        raise NoSignalError(f"no signal: {reason}; give mask= or noise= to look closer")


def _meta(cube: Cube, tracer: Tracer | None, noise: Noise, result: Result) -> dict:
    rest = cube.rest_value
    meta = provenance() | {
        "source": cube.source,
        "unit": cube.unit.to_string(),
        "notes": "; ".join(cube.notes),
        "specsys": cube.specsys,
        "velocity_convention": cube.velocity_convention,
        "rest_frequency_ghz": None if rest is None else float(rest.to_value(u.GHz)),
        "beam_varies": cube.beam_varies,
        "distance_origin": cube.distance_origin,
        "tracer": None if tracer is None else tracer.name,
        "noise": noise.origin,
        "kappa": noise.kappa,
        "line_channels": result.line_channels,
    }
    return {name: value for name, value in meta.items() if value is not None}


def _assemble(
    cube: Cube,
    tracer: Tracer | None,
    noise: Noise,
    result: Result,
    scale: u.Quantity | None,
    meta: dict,
) -> MomentMaps:
    """Give the numbers their units."""
    k_kms = u.K * _KMS
    image = result.images
    errors = {
        "moment0": image["e_moment0"] << k_kms,
        "v_los": image["e_v_los"] << _KMS,
        "sigma_v": image["e_sigma_v"] << _KMS,
    }
    if tracer is not None:
        column = image["e_moment0"] * tracer.n_h_per_w.value
        errors["n_h"] = column.astype(np.float32) << u.cm**-2
    return MomentMaps(
        moment0=image["moment0"] << k_kms,
        v_los=image["v_los"] << _KMS,
        sigma_v=image["sigma_v"] << _KMS,
        errors=errors,
        detected=result.detected,
        covered=result.covered,
        noise=image["noise"] << u.K,
        moment0_limit=_limit(result, noise, cube.channel_width) << k_kms,
        tracer=tracer,
        distance=cube.distance,
        beam=cube.beam,
        channel_width=cube.channel_width,
        wcs=cube.wcs,
        sigma_instrument=_sigma_instrument(tracer, cube.channel_width),
        max_recoverable_scale=scale,
        meta=meta,
        peak=image["peak"] << u.K,
    )


def _limit(result: Result, noise: Noise, width: u.Quantity) -> np.ndarray:
    """Return three sigma of the sum over as many channels as the typical line has [K km/s]."""
    sigma = result.images["noise"]
    if noise.origin == "none":
        return np.full_like(sigma, result.images["moment0"][result.detected].min())
    scale = 3 * width.to_value(_KMS) * np.sqrt(noise.kappa * result.line_channels)
    return sigma * np.float32(scale)


def _sigma_instrument(tracer: Tracer | None, width: u.Quantity) -> u.Quantity:
    """Return kT / m of the molecule at 10 K and dv^2 / 12, in quadrature."""
    thermal = 0 * _KMS if tracer is None else np.sqrt(k_B * _COLD / tracer.mass).to(_KMS)
    return np.hypot(thermal, width / np.sqrt(12)).to(_KMS)
