"""The noise of a cube: given, or measured from a sample of it before all else."""

from collections.abc import Callable
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from scipy import ndimage

from stellarssl.exceptions import InputError
from stellarssl.moments._voxels import Voxels, read_block
from stellarssl.moments.blocks import Plan, run_blocks, runs
from stellarssl.moments.noise import (
    N_LAGS,
    SAMPLE,
    CellGrid,
    channel_correlation_factor,
    fill_cells,
    measure_cells,
    sample_channels,
)

__all__ = ["Noise", "find_noise", "noise_array"]

_STRIP = 1 << 25
"""Bytes of the sample that are read at once."""

_LATTICE = 8
"""Cells along y, and along x, that the correlation between channels is measured in."""

_NEAR = 16
"""Cells that are measured rather than skipped."""


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
    sample = _Sample(voxels, grid, plan, show)
    lattice = np.ix_(*(_evenly(n) for n in grid.shape))
    chosen = np.zeros(grid.shape, bool)
    chosen[lattice] = True
    needed = _needed(grid, plan)
    sample.measure(chosen if given is not None else chosen | needed, chosen)
    kappa = channel_correlation_factor(sample.sums[lattice].sum(axis=(0, 1)))
    ones = np.ones(voxels.shape[0])
    if given is not None:
        factor = ones if given.unit.is_equivalent(u.K) else voxels.factor
        return Noise(_array_blocks(given.value), factor, kappa, "given")
    cells = sample.fill(needed)
    origin = "none" if cells is None else "measured"
    cells = np.zeros(grid.shape) if cells is None else cells
    return Noise(
        lambda _, rows, columns: grid.interpolate(cells, rows, columns)[None], ones, kappa, origin
    )


def _evenly(n: int) -> np.ndarray:
    """Return some of n cells, evenly over them."""
    return np.unique(((np.arange(_LATTICE) + 0.5) * n / _LATTICE).astype(int))


def _needed(grid: CellGrid, plan: Plan) -> np.ndarray:
    """Return the cells between whose centers the noise of the blocks is interpolated."""
    needed = np.zeros(grid.shape, bool)
    for block in plan.blocks:
        y, x = (
            slice(
                max((pixels.start - first) // grid.size - 1, 0),
                (pixels.stop - 1 - first) // grid.size + 2,
            )
            for pixels, first in zip(
                (block.read_rows, block.read_columns), grid.origin, strict=True
            )
        )
        needed[y, x] = True
    return needed


class _Sample:
    """What is known of the cells' noise."""

    def __init__(self, voxels: Voxels, grid: CellGrid, plan: Plan, show: bool) -> None:  # noqa: FBT001
        self.voxels, self.grid, self.plan, self.show = voxels, grid, plan, show
        self.sigma = np.full(grid.shape, np.nan)
        self.known = np.zeros(grid.shape, bool)
        self.sums = np.zeros((*grid.shape, 2, N_LAGS + 1))

    def measure(self, wanted: np.ndarray, chosen: np.ndarray) -> None:
        """Measure cells, and the correlation between channels in those that are chosen."""
        edges = [self.grid.edges(axis, self.voxels.shape[1 + axis]) for axis in (0, 1)]
        bands = sample_channels(self.voxels.shape[0])
        length = bands[0].stop - bands[0].start
        factor = np.concatenate([self.voxels.factor[band] for band in bands]).astype(np.float32)

        def work(cells: tuple[slice, slice]) -> None:
            y, x = (
                edge[part.start : part.stop + 1] for edge, part in zip(edges, cells, strict=True)
            )
            pixels = slice(int(y[0]), int(y[-1])), slice(int(x[0]), int(x[-1]))
            view, channels = self.voxels.view(bands, *pixels)
            origin = cells[0].start, cells[1].start
            edges_here = y - y[0], x - x[0]
            measure_cells(
                view, channels, factor, length, edges_here, origin, chosen, self.sigma, self.sums
            )
            self.voxels.release()
            self.known[cells] = True

        run_blocks(work, self._strips(wanted), self.plan, "noise", show=self.show)

    def _strips(self, wanted: np.ndarray) -> list[tuple[slice, slice]]:
        """Return the cells that are read at once: some for each thread, whole chunks."""
        per_row = 4 * SAMPLE * self.voxels.shape[2] * self.grid.size
        fitting = min(_STRIP, self.plan.memory_limit // (4 * self.plan.n_threads)) // per_row
        shared = -(-self.grid.shape[0] // (2 * self.plan.n_threads))
        n = max(min(fitting, max(shared, self.voxels.chunk_rows // self.grid.size)), 1)
        return [
            (slice(start, min(start + n, rows.stop)), columns)
            for rows in runs(wanted.any(axis=1))
            for start in range(rows.start, rows.stop, n)
            for columns in runs(wanted[start : min(start + n, rows.stop)].any(axis=0), _NEAR)
        ]

    def fill(self, needed: np.ndarray) -> np.ndarray | None:
        """Return the noise of the cells that are needed; None if there is none at all.

        Cells without a measurement take the nearest that has one: it is looked for further and
        further, so that it does not depend on which cells are needed.
        """
        missing = needed & np.isnan(self.sigma)
        reach = 1
        while missing.any() and not self.known.all():
            near = ndimage.distance_transform_edt(~missing) <= reach
            self.measure(near & ~self.known, np.zeros_like(needed))
            if np.isfinite(self.sigma).any():
                away = ndimage.distance_transform_edt(np.isnan(self.sigma))
                if away[missing].max() <= reach:
                    break
            reach *= 2
        return fill_cells(self.sigma) if np.isfinite(self.sigma).any() else None


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
