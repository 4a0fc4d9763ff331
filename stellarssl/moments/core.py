"""`moment_maps`: noise, then mask and moments in one pass over the cube; and the plan of it."""

import warnings
from typing import Unpack

import astropy.units as u
import numpy as np

from stellarssl._utils.options import accepts
from stellarssl._utils.stages import stage
from stellarssl.cubes import Cube, CubeLike
from stellarssl.exceptions import InputError, MissingInputError, NoSignalError, StellarSSLWarning
from stellarssl.moments.arrays import as_footprint, as_mask, noise_quantity
from stellarssl.moments.blocks import Block, Plan, make_plan, run_blocks
from stellarssl.moments.footprint import beam_pixels
from stellarssl.moments.kernels import IMAGES, moment_images
from stellarssl.moments.maps import MomentMaps, assemble_maps
from stellarssl.moments.noise import Noise, find_noise, noise_array
from stellarssl.moments.options import MomentKeywords, MomentOptions, as_efficiency
from stellarssl.moments.reading import read_block, read_part
from stellarssl.moments.signal import find_signal
from stellarssl.tracers import Tracer, get_tracer

__all__ = ["measure_moments", "moment_maps", "moment_plan"]


@accepts(MomentOptions)
def moment_maps(cube: CubeLike, **options: Unpack[MomentKeywords]) -> MomentMaps:
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


@stage("moments")
def measure_moments(cube: CubeLike, options: MomentOptions) -> MomentMaps:
    """Do what `moment_maps` does, with its options as one object.

    Parameters
    ----------
    cube : path-like, HDU, SpectralCube, DaskSpectralCube or `~stellarssl.Cube`
        As `~stellarssl.read_cube` takes it.
    options : `~stellarssl.moments.MomentOptions`
        Options of reading and measuring.

    Returns
    -------
    maps : `MomentMaps`
        As `moment_maps` returns them.
    """
    options = options.check()
    cube = options.open(cube)
    tracer = _tracer(cube, options)
    efficiency = _efficiency(cube, options.efficiency)
    mask = as_mask(options.mask, cube.shape)
    given = noise_array(noise_quantity(options.noise), cube.shape, cube.unit)
    plan = _plan(cube, mask, given, options)
    factor = np.where(np.isfinite(cube.kelvin_factor), cube.kelvin_factor / efficiency, 1.0)
    noise = find_noise(cube, given, factor, plan, show=options.progress)
    images = _measure(cube, noise, mask, factor, plan, show=options.progress)
    channels = cube.channels
    meta = {
        "mask": "made" if mask is None else "given",
        "efficiency": efficiency,
        "velocity_low": float(cube.velocity[channels].min()),
        "velocity_high": float(cube.velocity[channels].max()),
        "n_channels": channels.stop - channels.start,
    }
    return assemble_maps(cube, tracer, images, noise, options.max_recoverable_scale, meta)


def _measure(
    cube: Cube, noise: Noise, mask: object, factor: np.ndarray, plan: Plan, *, show: bool
) -> dict[str, np.ndarray]:
    """Make the mask, unless there is one, and the moments, block by block.

    Returns
    -------
    images : dict of ndarray, shape (y, x)
        float32 `IMAGES` and ``noise`` in K and km/s, and ``covered``.
    """
    names = (*IMAGES, "noise")
    images = np.full((len(names), *cube.shape[1:]), np.nan, np.float32)
    seen = np.zeros(cube.shape[1:], bool)
    channels = cube.channels
    velocity = cube.velocity[channels]
    width = (velocity[-1] - velocity[0]) / (velocity.size - 1)
    reference = velocity[velocity.size // 2]
    axis = (velocity - reference) / width, reference, width
    factors = factor[channels], noise.factor[channels]
    ratio = (factors[0] / factors[1]).astype(np.float32)
    reach = beam_pixels(cube)

    def work(block: Block) -> float:
        data = read_block(cube, channels, block.read_rows, block.read_columns)
        sigma = noise.block(channels, block.read_rows, block.read_columns)
        rows, columns = block.inner
        if mask is None:
            signal, peak = find_signal(
                data, sigma, ratio, kappa=noise.kappa, beam_pixels=reach, rows=rows
            )
        else:
            signal, peak = read_part(mask, channels, block.rows, block.columns), np.nan
        found, covered = moment_images(
            data, signal, sigma, factors, axis, noise.kappa, top=rows.start
        )
        here = block.rows, block.columns
        images[(slice(None), *here)] = found[..., columns]
        seen[here] = covered[:, columns]
        return peak

    peaks = run_blocks(work, plan.blocks, plan, "moments", show=show)
    cube.check_unchanged()
    if plan.wanted is not None:
        images[:, ~plan.wanted] = np.nan
        seen &= plan.wanted
    named = dict(zip(names, images, strict=True)) | {"covered": seen}
    _check_signal(named, float(np.max(peaks)), is_made=mask is None)
    return named


@accepts(MomentOptions)
def moment_plan(cube: CubeLike, **options: Unpack[MomentKeywords]) -> Plan:
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
        message = StellarSSLWarning(f"maps have no column: {error.text}", error.arguments)
        warnings.warn(message, stacklevel=2)
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


def _check_signal(images: dict[str, np.ndarray], peak: float, *, is_made: bool) -> None:
    if not images["covered"].any():
        raise InputError("cube", "must have finite values, with a beam and noise known for them")
    if not ((images["number"] > 0) & (images["moment0"] > 0)).any():
        reason = f"the peak is {peak:.1f} sigma" if is_made else "the mask holds none"
        raise NoSignalError(f"no signal: {reason}", ["mask", "noise"])
