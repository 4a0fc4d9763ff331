"""The noise of a cube: given, or measured from a bounded sample of channels.

An estimate is made cell by cell of the map, from values below zero alone: a line adds to what is
above zero only, so that even a band that is full of lines shows its noise below zero.
"""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from scipy import ndimage

from stellarssl._utils.compiled import compiled
from stellarssl.cubes import Cube
from stellarssl.exceptions import InputError
from stellarssl.moments.blocks import Plan, run_blocks, runs
from stellarssl.moments.footprint import beam_pixels
from stellarssl.moments.reading import read_block, read_part

__all__ = [
    "CellGrid",
    "Noise",
    "channel_correlation_factor",
    "fill_cells",
    "find_noise",
    "noise_array",
    "sample_channels",
]

_RUNS, _RUN = 4, 10
"""The sample of a long cube: number of runs, and consecutive channels in each."""

_SAMPLE = 64
"""Largest number of channels of which all are sampled."""

_LAGS = 4
"""Largest distance, in channels, at which their correlation is measured."""

_LEAST = 16
"""Number of negative values that a cell must have; with fewer it takes its neighbors' noise."""

_STRIP = 1 << 25
"""Bytes of the sample that are read at once."""

_LATTICE = 8
"""Cells along y, and along x, in which the correlation between channels is measured."""

_NEAR = 16
"""Longest gap of cells that is measured rather than skipped."""

ZERO, ONE, THREE = np.float32(0), np.float32(1), np.float32(3)
_FOR_MEDIAN = 512
_NORMAL = 1.482602  # sigma over the median of |x| of a Gaussian
_CLIP = 3.5
_KEPT = 0.9939  # what a Gaussian's variance keeps when cut at 3.5 sigma


def sample_channels(n_channels: int) -> list[slice]:
    """Return the runs of consecutive channels that the noise is sampled from.

    Parameters
    ----------
    n_channels : int
        In the cube.

    Returns
    -------
    runs : list of slice
        The whole band of a short cube, else four runs of ten channels evenly over the band, clear
        of its ends.
    """
    if n_channels <= _SAMPLE:
        return [slice(0, n_channels)]
    starts = (n_channels * (np.arange(_RUNS) + 0.5) / _RUNS - _RUN / 2).astype(int)
    return [slice(int(start), int(start) + _RUN) for start in starts]


@dataclass(frozen=True)
class CellGrid:
    """Square cells over a map, anchored to its reference pixel so that a cutout has the same.

    Attributes
    ----------
    size : int
        Of a cell, in pixels.
    origin : tuple of int
        The first pixel (y, x) of the first cell, zero or below.
    shape : tuple of int
        Cells along y and x.
    """

    size: int
    origin: tuple[int, int]
    shape: tuple[int, int]

    @classmethod
    def over(
        cls, map_shape: tuple[int, int], reference: tuple[float, float], beam_pixels: float
    ) -> "CellGrid":
        """Lay cells of eight pixels, or three beams, over a map.

        Parameters
        ----------
        map_shape : tuple of int
            Pixels (y, x).
        reference : tuple of float
            The reference pixel (y, x), 0-based.
        beam_pixels : float
            Width of the beam.
        """
        size = int(np.clip(np.ceil(3 * beam_pixels), 8, 64))
        origin = tuple(int(np.floor(pixel)) % size for pixel in reference)
        origin = tuple(first - size if first else 0 for first in origin)
        shape = tuple(-(-(n - first) // size) for n, first in zip(map_shape, origin, strict=True))
        return cls(size, origin, shape)

    def edges(self, axis: int, n_pixels: int) -> np.ndarray:
        """Return the pixels at which cells begin along y (0) or x (1), and the map's end."""
        first = self.origin[axis] + self.size * np.arange(self.shape[axis] + 1)
        return np.clip(first, 0, n_pixels)

    def interpolate(self, cells: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Interpolate between the cells' centers.

        Parameters
        ----------
        cells : ndarray, shape (y, x) of cells
            Values.
        rows, columns : slice
            The pixels that are wanted.

        Returns
        -------
        values : ndarray of float32
            Values at the pixels; constant beyond the outermost centers.
        """
        (y, fy), (x, fx) = (
            self._between(pixels, axis) for axis, pixels in enumerate((rows, columns))
        )
        y1, x1 = (np.minimum(i + 1, n - 1) for i, n in zip((y, x), cells.shape, strict=True))
        along_x = cells[:, x] * (1 - fx) + cells[:, x1] * fx
        values = along_x[y] * (1 - fy[:, None]) + along_x[y1] * fy[:, None]
        return values.astype(np.float32)

    def _between(self, pixels: slice, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell before each pixel and how far the pixel is towards the next."""
        center = self.origin[axis] + (self.size - 1) / 2
        position = (np.arange(pixels.start, pixels.stop) - center) / self.size
        position = np.clip(position, 0, self.shape[axis] - 1)
        before = position.astype(int)
        return before, position - before


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
    given: object = None
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
        self.sums = np.zeros((*grid.shape, 2, _LAGS + 1))

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
            self.sigma[cells] = _measure_cells(
                data, self.factor, length, where, chosen[cells], self.sums[cells]
            )
            self.known[cells] = True

        run_blocks(work, self._strips(wanted), self.plan, "noise", show=self.show)

    def _strips(self, wanted: np.ndarray) -> list[tuple[slice, slice]]:
        """Return the cells that are read at once: some for each thread, whole chunks."""
        chunks = getattr(self.cube.data, "chunks", None)
        chunk = 1 if chunks is None else max(chunks[1])
        per_row = 4 * _SAMPLE * self.cube.shape[2] * self.grid.size
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


@compiled
def _measure_cells(data, factor, run, edges, chosen, sums):  # noqa: ANN001, ANN202
    """Measure the noise of cells, and its correlation between channels in some of them.

    Parameters
    ----------
    data : ndarray of float32, shape (v, y, x)
        Sampled values; runs of ``run`` consecutive channels, one after the other.
    factor : ndarray of float32, shape (v,)
        Factors that convert values to K.
    run : int
        Channels in a run.
    edges : tuple of ndarray of int
        First pixel of each cell, and the end of the last, along y and x.
    chosen : ndarray of bool, shape (y, x) of cells
        Where the correlation is measured.
    sums : ndarray of float64, shape (y, x, 2, _LAGS + 1) of cells
        Set where chosen: products at lags of 0 ... `_LAGS` channels over sigma^2, and the squares
        of the first value of each pair. Given that one value is below zero, the mean of the other
        is the correlation times the first, whatever the selection does to the first.

    Returns
    -------
    sigma : ndarray of float64, shape (y, x) of cells
        Noise [K]: the scatter about zero of what is below zero in channels that seem free of
        lines. A first guess is from the median of some values; then follows, twice, the root mean
        square of those within 3.5 sigma. NaN where too few values are below zero.
    """
    rows, columns = edges
    sigma = np.empty(chosen.shape)
    for i in range(rows.size - 1):
        sample = data[:, rows[i] : rows[i + 1]].copy()
        free = _free_channels(sample, columns)
        _scatter(sample, factor, free, columns, sigma[i])
        for cell in range(columns.size - 1):
            if chosen[i, cell] and sigma[i, cell] > 0:
                pixels = sample[:, :, columns[cell] : columns[cell + 1]]
                _products(pixels, factor, free[:, cell], run, sigma[i, cell], sums[i, cell])
    return sigma


@compiled
def _scatter(sample, factor, free, columns, sigma):  # noqa: ANN001
    """Set the noise of a row of cells."""
    limit = np.empty((sample.shape[0], sample.shape[2]), np.float32)
    for cell in range(sigma.size):
        part = sample[:, :, columns[cell] : columns[cell + 1]]
        step = max(part.size // _FOR_MEDIAN, 1)
        for k in (step, 1):
            sigma[cell] = _median_scatter(part, factor, free[:, cell], k)
            if sigma[cell] > 0:
                break
        if not sigma[cell] > 0:
            free[:, cell] = True
            sigma[cell] = _median_scatter(part, factor, free[:, cell], 1)
    for _ in range(2):
        for cell in range(sigma.size):
            for v in range(sample.shape[0]):
                cut = _CLIP * sigma[cell] if free[v, cell] else 0.0
                limit[v, columns[cell] : columns[cell + 1]] = cut
        squares, numbers = _clipped(sample, factor, limit)
        for cell in range(sigma.size):
            number = numbers[columns[cell] : columns[cell + 1]].sum()
            square = squares[columns[cell] : columns[cell + 1]].sum()
            sigma[cell] = np.sqrt(square / number / _KEPT) if number >= _LEAST else np.nan


@compiled
def _free_channels(sample, columns):  # noqa: ANN001, ANN202
    """Say which channels of which cells seem free of lines: a third or more is below zero."""
    n_channels, n_y, n_x = sample.shape
    free = np.empty((n_channels, columns.size - 1), np.bool_)
    below, above = np.empty(n_x, np.int32), np.empty(n_x, np.int32)
    for v in range(n_channels):
        below[:] = 0
        above[:] = 0
        for y in range(n_y):
            for x in range(n_x):
                below[x] += sample[v, y, x] < ZERO
                above[x] += sample[v, y, x] > ZERO
        for cell in range(columns.size - 1):
            pixels = slice(columns[cell], columns[cell + 1])
            free[v, cell] = 2 * below[pixels].sum() >= above[pixels].sum()
    return free


@compiled
def _median_scatter(part, factor, free, step):  # noqa: ANN001, ANN202
    """Return the scatter of values below zero from their median; NaN if they are too few."""
    n_channels, n_y, n_x = part.shape
    below = np.empty(part.size + 1, np.float32)
    n = 0
    for v in range(0, n_channels, step):
        if free[v]:
            for y in range(n_y):
                for x in range(n_x):
                    value = part[v, y, x] * factor[v]
                    below[n] = -value
                    n += (value < 0) & (value > -np.inf)  # as likely as not: no branch
    return _NORMAL * np.median(below[:n]) if n >= _LEAST else np.nan


@compiled
def _clipped(sample, factor, limit):  # noqa: ANN001, ANN202
    """Sum the squares, and count, in each column what lies within a limit below zero."""
    n_channels, n_y, n_x = sample.shape
    squares, numbers = np.zeros(n_x, np.float32), np.zeros(n_x, np.float32)
    for v in range(n_channels):
        for y in range(n_y):
            for x in range(n_x):
                value = sample[v, y, x] * factor[v]
                kept = (value < ZERO) & (value > -limit[v, x])
                squares[x] += value * value if kept else ZERO
                numbers[x] += ONE if kept else ZERO
    return squares, numbers


@compiled
def _products(sample, factor, free, run, sigma, sums):  # noqa: ANN001
    """Set products and squares of a cell, in units of sigma^2."""
    n_channels, n_y, n_x = sample.shape
    value = np.empty((n_channels, n_y * n_x), np.float32)
    for v in range(n_channels):
        scale = np.float32(factor[v] / sigma)
        for y in range(n_y):
            for x in range(n_x):
                value[v, y * n_x + x] = sample[v, y, x] * scale
    total = np.zeros((2, _LAGS + 1, n_y * n_x), np.float32)
    for v in range(n_channels):
        if free[v]:  # do not require the other channel to be free: that would bias the sample
            for lag in range(min(_LAGS + 1, run - v % run)):
                _add_products(value[v], value[v + lag], total[0, lag], total[1, lag])
    for lag in range(_LAGS + 1):
        for k in range(2):
            sums[k, lag] = 0.0
            for p in range(n_y * n_x):
                sums[k, lag] += total[k, lag, p]


@compiled
def _add_products(one, other, product, square):  # noqa: ANN001
    for p in range(one.size):
        a, b = one[p], other[p]
        kept = (a < ZERO) & (a > -THREE) & (b > -THREE) & (b < THREE)
        product[p] += a * b if kept else ZERO
        square[p] += a * a if kept else ZERO


def channel_correlation_factor(sums: np.ndarray) -> float:
    """Return by how much correlation between channels raises the variance of their sum.

    Parameters
    ----------
    sums : ndarray of float64, shape (2, _LAGS + 1)
        From `_measure_cells`.

    Returns
    -------
    kappa : float
        1 + 2 (rho_1 + rho_2 + ...), up to the first lag at which rho is below 0.05; 1 or more.
    """
    if sums[1, 0] == 0:
        return 1.0
    rho = sums[0, 1:] / np.maximum(sums[1, 1:], 1e-300)
    ends = np.flatnonzero(rho < 0.05)
    return 1 + 2 * float(np.sum(rho[: ends[0] if ends.size else None]))


def fill_cells(sigma: np.ndarray) -> np.ndarray:
    """Give cells without a measurement the noise of the nearest that has one.

    Parameters
    ----------
    sigma : ndarray of float64, shape (y, x) of cells
        Noise; NaN where there is none. Not all NaN.

    Returns
    -------
    filled : ndarray of float64
        Finite everywhere.
    """
    missing = np.isnan(sigma)
    if not missing.any():
        return sigma
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    return sigma[tuple(nearest)]
