"""The noise of a cube: given, or measured from a bounded sample of channels."""

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from scipy import ndimage

from stellarssl.cubes import Cube
from stellarssl.exceptions import InputError
from stellarssl.moments.blocks import Plan, run_blocks, runs
from stellarssl.moments.cells import (
    LAGS,
    SAMPLE,
    CellGrid,
    channel_correlation_factor,
    fill_cells,
    measure_cells,
    sample_channels,
)
from stellarssl.moments.footprint import beam_pixels
from stellarssl.moments.reading import read_block, read_part

__all__ = [
    "Noise",
    "find_noise",
    "noise_array",
]

_STRIP = 1 << 25
"""Bytes of the sample that are read at once."""

_LATTICE = 8
"""Cells along y, and along x, in which the correlation between channels is measured."""

_NEAR = 16
"""Longest gap of cells that is measured rather than skipped."""


@dataclass(frozen=True, eq=False)
class Noise:
    """The standard deviation of every voxel, worked out where it is needed.

    Attributes
    ----------
    factor : ndarray of float64, shape (v,)
        Factors that convert it to K.
    kappa : float
        Variance of a sum over channels relative to that of independent channels.
    origin : {"measured", "given", "none"}
        Where it is from; ``"none"`` means that the cube is noise-free.
    given : array-like or None
        Noise that was given, of shape (1, 1, 1), (1, y, x) or (v, y, x).
    grid : `CellGrid` or None
        Cells in which it was measured.
    cells : ndarray of float64 or None
        Noise of the cells [K].
    """

    factor: np.ndarray
    kappa: float
    origin: str
    given: Any = None
    grid: CellGrid | None = None
    cells: np.ndarray | None = None

    def block(self, channels: slice, rows: slice, columns: slice) -> np.ndarray:
        """Return the noise of a block.

        Parameters
        ----------
        channels, rows, columns : slice
            Part of the cube.

        Returns
        -------
        sigma : ndarray of float32, shape (1 or v, y, x)
            Standard deviation; one channel stands for all if they have the same noise.
        """
        if self.given is None:
            return self.grid.interpolate(self.cells, rows, columns)[None]
        if self.given.size == 1:
            shape = (1, rows.stop - rows.start, columns.stop - columns.start)
            return np.full(shape, self.given.item(), np.float32)
        each = channels if self.given.shape[0] > 1 else slice(0, 1)
        return read_part(self.given, each, rows, columns)


def find_noise(
    cube: Cube, given: u.Quantity | None, factor: np.ndarray, plan: Plan, *, show: bool
) -> Noise:
    """Return the noise that was given, or measure it.

    Parameters
    ----------
    cube : `~stellarssl.Cube`
        The cube.
    given : `~astropy.units.Quantity` or None
        Noise of shape (1, 1, 1), (1, y, x) or (v, y, x). The correlation between channels is
        measured in any case.
    factor : ndarray of float64, shape (v,)
        Factors that convert values to K.
    plan : `~stellarssl.moments.Plan`
        The blocks, which say where noise is needed, and how much is read at once.
    show : bool
        Whether a progress bar is shown.

    Returns
    -------
    noise : `Noise`
        Noise of any block.
    """
    x, y = cube.wcs.wcs.crpix
    grid = CellGrid.over(cube.shape[1:], (y - 1, x - 1), beam_pixels(cube))
    sample = _CellSample(cube, grid, factor, plan, show)
    lattice = np.ix_(*(_evenly(n) for n in grid.shape))
    chosen = np.zeros(grid.shape, bool)
    chosen[lattice] = True
    needed = _needed(grid, plan)
    sample.measure(chosen if given is not None else chosen | needed, chosen)
    kappa = channel_correlation_factor(sample.sums[lattice].sum(axis=(0, 1)))
    ones = np.ones(cube.shape[0])
    if given is not None:
        factor = ones if given.unit.is_equivalent(u.K) else factor
        return Noise(factor, kappa, "given", given=given.value)
    cells = sample.fill(needed)
    origin = "none" if cells is None else "measured"
    cells = np.zeros(grid.shape) if cells is None else cells
    return Noise(ones, kappa, origin, grid=grid, cells=cells)


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


class _CellSample:
    """Noise of the cells as far as it is known, and products of neighboring channels."""

    def __init__(
        self,
        cube: Cube,
        grid: CellGrid,
        factor: np.ndarray,
        plan: Plan,
        show: bool,  # noqa: FBT001
    ) -> None:
        self.cube, self.grid, self.plan, self.show = cube, grid, plan, show
        self.bands = sample_channels(cube.shape[0])
        self.factor = np.concatenate([factor[band] for band in self.bands]).astype(np.float32)
        self.sigma = np.full(grid.shape, np.nan)
        self.known = np.zeros(grid.shape, bool)
        self.sums = np.zeros((*grid.shape, 2, LAGS + 1))

    def measure(self, wanted: np.ndarray, chosen: np.ndarray) -> None:
        """Measure cells, and the correlation between channels in those that are chosen."""
        edges = [self.grid.edges(axis, self.cube.shape[1 + axis]) for axis in (0, 1)]
        length = self.bands[0].stop - self.bands[0].start

        def work(cells: tuple[slice, slice]) -> None:
            y, x = (
                edge[part.start : part.stop + 1] for edge, part in zip(edges, cells, strict=True)
            )
            pixels = slice(int(y[0]), int(y[-1])), slice(int(x[0]), int(x[-1]))
            parts = [read_block(self.cube, band, *pixels) for band in self.bands]
            data = parts[0] if len(parts) == 1 else np.concatenate(parts)
            where = y - y[0], x - x[0]
            self.sigma[cells] = measure_cells(
                data, self.factor, length, where, chosen[cells], self.sums[cells]
            )
            self.known[cells] = True

        run_blocks(work, self._strips(wanted), self.plan, "noise", show=self.show)

    def _strips(self, wanted: np.ndarray) -> list[tuple[slice, slice]]:
        """Return the cells that are read at once: some for each thread, whole chunks."""
        chunks = getattr(self.cube.data, "chunks", None)
        chunk = 1 if chunks is None else max(chunks[1])
        per_row = 4 * SAMPLE * self.cube.shape[2] * self.grid.size
        fitting = min(_STRIP, self.plan.memory_limit // (4 * self.plan.n_threads)) // per_row
        shared = -(-self.grid.shape[0] // (2 * self.plan.n_threads))
        n = max(min(fitting, max(shared, chunk // self.grid.size)), 1)
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


def noise_array(given: Any, shape: tuple[int, int, int], unit: u.UnitBase) -> u.Quantity | None:
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
