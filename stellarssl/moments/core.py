"""`moment_maps`: noise, then mask and moments in one pass over the cube; and the plan of it."""

import astropy.units as u
import numpy as np
from astropy.constants import k_B
from astropy.wcs import WCS
from radio_beam import Beam

from stellarssl._utils.provenance import provenance
from stellarssl._utils.quantities import as_quantity, as_range
from stellarssl._utils.stages import stage
from stellarssl.cubes import Cube, read_cube
from stellarssl.exceptions import InputError, MissingInputError, NoSignalError
from stellarssl.moments._estimate import Noise, find_noise, noise_array
from stellarssl.moments._pass import Result, measure
from stellarssl.moments._voxels import Voxels
from stellarssl.moments.blocks import Plan, make_plan
from stellarssl.moments.footprint import beam_pixels
from stellarssl.moments.maps import MomentMaps
from stellarssl.tracers import Tracer, get_tracer

__all__ = ["as_efficiency", "moment_maps", "moment_plan"]

_KMS = u.km / u.s
_COLD = 10 * u.K


@stage("moments")
def moment_maps(  # noqa: PLR0913
    cube: object,
    *,
    tracer: Tracer | u.Quantity | str | None = "auto",
    velocity_range: u.Quantity | str | None = None,
    mask: object = None,
    noise: u.Quantity | str | None = None,
    footprint: np.ndarray | None = None,
    efficiency: float | None = None,
    unit: u.UnitBase | str | None = None,
    beam: Beam | u.Quantity | str | None = None,
    rest_value: u.Quantity | str | None = None,
    distance: u.Quantity | str | None = None,
    hdu: int | str | None = None,
    excitation_temperature: u.Quantity | str | None = None,
    abundance: float | None = None,
    max_recoverable_scale: u.Quantity | str | None = None,
    memory_limit: u.Quantity | str | int | None = None,
    n_threads: int | None = None,
    progress: bool = False,
) -> MomentMaps:
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
    tracer : str, `~stellarssl.Tracer`, `~astropy.units.Quantity` or None, optional
        What turns brightness into a column, see `~stellarssl.tracers.get_tracer`. By default the
        known line at the rest frequency; None for no column.
    velocity_range : `~astropy.units.Quantity` or str, optional
        Two velocities. Channels whose centers lie outside are left out; the noise is measured on
        all.
    mask : array-like of bool, shape (v, y, x), optional
        What is signal, in the order of the cube's channels; NaN and what the cube masks is not.
    noise : `~astropy.units.Quantity` or str, optional
        Standard deviation of a voxel: a number, a map (y, x) or a cube (v, y, x), on the scale of
        the stored values, in K or in their unit. Measured by default.
    footprint : array of bool, shape (y, x), optional
        Pixels that are wanted, such as `~stellarssl.source_footprint` marks. Only the blocks that
        hold some are read, and a bounded sample of the noise; elsewhere nothing is covered. What
        is wanted comes out as without it, but for ``moment0_limit``, which is for the typical line
        of these pixels.
    efficiency : float, optional
        T_A* over T_mb, by which values are divided. Needed for a cube in T_A* whose header does
        not state it.
    unit, beam, rest_value, distance, hdu
        What the header leaves out, see `~stellarssl.read_cube`.
    excitation_temperature, abundance
        What the tracer takes for granted, see `~stellarssl.tracers.get_tracer`.
    max_recoverable_scale : `~astropy.units.Quantity` or str, optional
        The largest angle that an interferometer sees.
    memory_limit : `~astropy.units.Quantity`, str or int, optional
        What the blocks may take, such as ``"4 GB"`` or a number of bytes. A quarter of what is
        free by default.
    n_threads : int, optional
        Blocks that are worked on at once; by default one a processor.
    progress : bool, optional
        Whether there is a progress bar.

    Returns
    -------
    maps : `MomentMaps`
        NaN where nothing is detected. The same for every memory limit and number of threads.

    Raises
    ------
    InputError
        If an option does not suit the cube.
    MissingInputError
        If the cube leaves out what is needed; the message names the argument.
    NoSignalError
        If nothing rises above the noise.
    ChangedInputError
        If the cube's file changes before all is read.
    """
    cube = read_cube(
        cube,
        unit=unit,
        beam=beam,
        rest_value=rest_value,
        distance=distance,
        hdu=hdu,
        tracer=None if isinstance(tracer, u.Quantity) or tracer == "auto" else tracer,
    )
    tracer = get_tracer(
        tracer,
        rest_value=cube.rest_value,
        excitation_temperature=excitation_temperature,
        abundance=abundance,
    )
    efficiency = _efficiency(cube, efficiency)
    scale = as_quantity("max_recoverable_scale", max_recoverable_scale, u.arcsec)
    voxels = Voxels.of(cube, efficiency)
    channels = _channels(cube, velocity_range)
    mask = _check_mask(mask, cube.shape)
    given = noise_array(noise, cube.shape, cube.unit)
    plan = _plan(cube, channels, mask, given, footprint, memory_limit, n_threads)
    width = beam_pixels(cube)
    noise = find_noise(
        voxels,
        given,
        reference=_reference_pixel(cube.wcs),
        beam_pixels=width,
        plan=plan,
        show=progress,
    )
    result = measure(
        voxels,
        noise,
        mask,
        velocity=cube.velocity,
        channels=channels,
        beam_pixels=width,
        plan=plan,
        show=progress,
    )
    _check_signal(result, is_made=mask is None)
    meta = _meta(cube, tracer, noise, result) | {
        "mask": "made" if mask is None else "given",
        "efficiency": efficiency,
        "velocity_low": float(cube.velocity[channels].min()),
        "velocity_high": float(cube.velocity[channels].max()),
        "n_channels": channels.stop - channels.start,
    }
    return _assemble(cube, tracer, noise, result, scale, meta)


def moment_plan(
    cube: object,
    *,
    velocity_range: u.Quantity | str | None = None,
    mask: object = None,
    noise: u.Quantity | str | None = None,
    footprint: np.ndarray | None = None,
    memory_limit: u.Quantity | str | int | None = None,
    n_threads: int | None = None,
    **reading: object,
) -> Plan:
    """Say how `moment_maps` would read a cube, without reading it.

    Parameters
    ----------
    cube : path-like, HDU, SpectralCube or `~stellarssl.Cube`
        The cube.
    velocity_range, mask, noise, footprint, memory_limit, n_threads : optional
        As `moment_maps` takes them.
    **reading
        As `~stellarssl.read_cube` takes them.

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
    cube = read_cube(cube, **reading)
    mask = _check_mask(mask, cube.shape)
    given = noise_array(noise, cube.shape, cube.unit)
    channels = _channels(cube, velocity_range)
    return _plan(cube, channels, mask, given, footprint, memory_limit, n_threads)


def _plan(
    cube: Cube,
    channels: slice,
    mask: object,
    given: u.Quantity | None,
    footprint: np.ndarray | None,
    memory_limit: u.Quantity | str | int | None,
    n_threads: int | None,
) -> Plan:
    return make_plan(
        (channels.stop - channels.start, *cube.shape[1:]),
        margin=0 if mask is not None else int(beam_pixels(cube)),
        voxel_bytes=0 if given is None or given.shape[0] == 1 else 4,
        memory_limit=memory_limit,
        n_threads=n_threads,
        wanted=_check_footprint(footprint, cube.shape[1:]),
    )


def _check_footprint(footprint: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray | None:
    if footprint is None:
        return None
    footprint = np.asarray(footprint)
    rule = f"must be a boolean array of the map's shape {shape}"
    if footprint.dtype != bool:
        raise InputError("footprint", rule, f"dtype {footprint.dtype}")
    if footprint.shape != shape:
        raise InputError("footprint", rule, footprint.shape)
    if not footprint.any():
        raise InputError("footprint", "must hold a pixel")
    return footprint


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


def as_efficiency(efficiency: float, unit: u.UnitBase | None, scale: str | None) -> float:
    """Check an efficiency.

    Parameters
    ----------
    efficiency : float
        T_A* over T_mb.
    unit : `~astropy.units.UnitBase` or None
        Of the values, as far as it is known.
    scale : {"T_mb", "T_A*", "T_R*"} or None
        Their temperature scale, as far as it is known.

    Returns
    -------
    efficiency : float
        The same.

    Raises
    ------
    InputError
        If it is no efficiency, or these values need none.
    """
    if isinstance(efficiency, bool) or not isinstance(efficiency, (int, float, np.floating)):
        raise InputError("efficiency", "must be a number, T_A* over T_mb", efficiency)
    if not 0 < efficiency <= 1:
        raise InputError("efficiency", "must be above 0 and at most 1", efficiency)
    if scale == "T_mb" or (unit is not None and not unit.is_equivalent(u.K)):
        rule = f"applies to T_A*, not to a cube in {scale or unit}"
        raise InputError("efficiency", rule, efficiency)
    return float(efficiency)


def _channels(cube: Cube, velocity_range: u.Quantity | str | None) -> slice:
    """Return the channels whose centers lie in the range."""
    limits = as_range("velocity_range", velocity_range, _KMS)
    if limits is None:
        return slice(0, cube.shape[0])
    low, high = limits.value
    inside = np.flatnonzero((cube.velocity >= low) & (cube.velocity <= high))
    if inside.size < 2:
        ends = f"{cube.velocity.min():.5g} to {cube.velocity.max():.5g} km/s"
        rule = f"must hold two channels or more of {cube.channel_width:.4g} in {ends}"
        raise InputError("velocity_range", rule, str(velocity_range))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _check_mask(mask: object, shape: tuple[int, int, int]) -> object:
    if mask is None:
        return None
    if not hasattr(mask, "dtype"):
        mask = np.asarray(mask)
    rule = f"must be a boolean array of the cube's shape {shape}"
    if mask.dtype != bool:
        raise InputError("mask", rule, f"dtype {mask.dtype}")
    if mask.shape != shape:
        raise InputError("mask", rule, mask.shape)
    return mask


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
