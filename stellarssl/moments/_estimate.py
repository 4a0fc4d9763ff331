"""The noise of a cube: given, or measured from a sample of it before all else."""

from collections.abc import Callable
from dataclasses import dataclass

import astropy.units as u
import numpy as np

from stellarssl._utils.exceptions import InputError
from stellarssl.moments._noise import (
    N_LAGS,
    SAMPLE,
    CellGrid,
    correlation_length,
    fill_cells,
    measure_cells,
    sample_channels,
)
from stellarssl.moments._stream import Plan, Voxels, read_block, run_blocks

__all__ = ["Noise", "find_noise", "noise_array"]

_STRIP = 1 << 25
"""Bytes of the sample that are read at once."""

_FEW_STRIPS = 4
_CORRELATION_CELLS = 64
"""Cells that the correlation between channels is measured in."""


@dataclass(frozen=True)
class Noise:
    """The standard deviation of every voxel, without holding it.

    Attributes
    ----------
    block : callable
        Takes slices (channels, rows, columns), returns float32 (1 or v, y, x).
    factor : ndarray
        (v,) what takes it to K.
    kappa : float
        Variance of a sum over channels, over that of independent ones.
    origin : {"measured", "given", "none"}
        Where it is from; ``"none"``: the cube is noise-free.
    """

    block: Callable
    factor: np.ndarray
    kappa: float
    origin: str


def find_noise(
    voxels: Voxels,
    given: u.Quantity | None,
    *,
    reference: tuple[float, float],
    beam_pixels: float,
    plan: Plan,
    show: bool,
) -> Noise:
    """Return the noise that was given, or measure it.

    Parameters
    ----------
    voxels : `Voxels`
        The cube.
    given : `~astropy.units.Quantity` or None
        From `noise_array`. The correlation between channels is measured in any case.
    reference : tuple of float
        The map's reference pixel (y, x), 0-based.
    beam_pixels : float
        Width of the beam.
    plan : `Plan`
        How much is read at once.
    show : bool
        Whether there is a progress bar.

    Returns
    -------
    noise : `Noise`
        For any block.
    """
    grid = CellGrid.over(voxels.shape[1:], reference, beam_pixels)
    strips = _strips(voxels, grid, plan)
    if given is not None:
        strips = strips[:: max(len(strips) // _FEW_STRIPS, 1)]
    cells, kappa = _measure_cells(voxels, grid, strips, plan, show=show)
    ones = np.ones(voxels.shape[0])
    if given is not None:
        factor = ones if given.unit.is_equivalent(u.K) else voxels.factor
        return Noise(_array_blocks(given.value), factor, kappa, "given")
    if np.isnan(cells).all():
        cells, origin = np.zeros(grid.shape), "none"
    else:
        cells, origin = fill_cells(cells), "measured"
    return Noise(
        lambda _, rows, columns: grid.interpolate(cells, rows, columns)[None], ones, kappa, origin
    )


def _strips(voxels: Voxels, grid: CellGrid, plan: Plan) -> list[range]:
    """Return the rows of cells that are read at once: some for each thread, whole chunks."""
    per_row = 4 * SAMPLE * voxels.shape[2] * grid.size
    fitting = min(_STRIP, plan.memory_limit // (4 * plan.n_threads)) // per_row
    shared = -(-grid.shape[0] // (2 * plan.n_threads))
    n = max(min(fitting, max(shared, voxels.chunk_rows // grid.size)), 1)
    return [range(i, min(i + n, grid.shape[0])) for i in range(0, grid.shape[0], n)]


def _measure_cells(
    voxels: Voxels, grid: CellGrid, strips: list[range], plan: Plan, *, show: bool
) -> tuple[np.ndarray, float]:
    """Return the noise of cells [K], NaN where there is none, and kappa."""
    runs = sample_channels(voxels.shape[0])
    run_length = runs[0].stop - runs[0].start
    factor = np.concatenate([voxels.factor[run] for run in runs]).astype(np.float32)
    n_measured = sum(len(strip) for strip in strips) * grid.shape[1]
    stride = max(n_measured // _CORRELATION_CELLS, 1)
    y, x = (grid.edges(axis, voxels.shape[1 + axis]) for axis in (0, 1))
    cells = np.full(grid.shape, np.nan)

    def work(strip: range) -> np.ndarray:
        sums = np.zeros((2, N_LAGS + 1))
        top, bottom = y[strip.start], y[strip.stop]
        rows, columns = slice(top, bottom), slice(0, voxels.shape[2])
        sample = [voxels.read(run, rows, columns) for run in runs]
        sample = sample[0] if len(sample) == 1 else np.concatenate(sample)
        for i in strip:
            part = np.ascontiguousarray(sample[:, y[i] - top : y[i + 1] - top])
            measure_cells(part, factor, run_length, x, stride, cells[i], sums)
        return sums

    sums = run_blocks(work, strips, plan, "noise", show=show)
    return cells, correlation_length(np.sum(sums, axis=0))


def noise_array(given: object, shape: tuple[int, int, int], unit: u.UnitBase) -> u.Quantity | None:
    """Check the argument ``noise``.

    Parameters
    ----------
    given : object
        What was given; None stays None.
    shape : tuple of int
        Of the cube.
    unit : `~astropy.units.UnitBase`
        Of the cube.

    Returns
    -------
    noise : `~astropy.units.Quantity` or None
        In K or ``unit``, of shape (1, 1, 1), (1, y, x) or (v, y, x).

    Raises
    ------
    InputError
        If it is something else, or below zero.
    """
    if given is None:
        return None
    rule = f"must be a quantity in K or {unit}: a number, a map {shape[1:]} or a cube {shape}"
    try:
        noise = u.Quantity(given)
    except TypeError as error:
        raise InputError("noise", rule, type(given).__name__) from error
    wanted = next((w for w in (u.K, unit) if noise.unit.is_equivalent(w)), None)
    if wanted is None:
        raise InputError("noise", rule, f"unit {str(noise.unit) or 'none'}")
    if noise.shape not in ((), shape[1:], shape):
        raise InputError("noise", rule, noise.shape)
    noise = noise.to(wanted)
    if np.any(noise.value < 0) or not np.any(np.isfinite(noise.value)):
        raise InputError("noise", "must be finite and not below zero", noise)
    return noise.reshape((1,) * (3 - noise.ndim) + noise.shape)


def _array_blocks(array: np.ndarray) -> Callable:
    def block(channels: slice, rows: slice, columns: slice) -> np.ndarray:
        if array.size == 1:
            shape = (1, rows.stop - rows.start, columns.stop - columns.start)
            return np.full(shape, array.item(), np.float32)
        each = channels if array.shape[0] > 1 else slice(0, 1)
        return read_block(array, each, rows, columns)

    return block
