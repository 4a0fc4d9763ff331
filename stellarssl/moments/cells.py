"""The noise of small cells of a map, measured in sampled channels.

It is measured from values below zero alone: a line adds to what is above zero only, so that even a
band that is full of lines shows its noise below zero.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from stellarssl._utils.compiled import compiled

__all__ = [
    "LAGS",
    "SAMPLE",
    "CellGrid",
    "channel_correlation_factor",
    "fill_cells",
    "measure_cells",
    "sample_channels",
]

_RUNS, _RUN = 4, 10
"""The sample of a long cube: number of runs, and consecutive channels in each."""

SAMPLE = 64
"""Largest number of channels of which all are sampled."""

LAGS = 4
"""Largest distance, in channels, at which their correlation is measured."""

_LEAST = 16
"""Number of negative values that a cell must have; with fewer it takes its neighbors' noise."""

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
    if n_channels <= SAMPLE:
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


@compiled
def measure_cells(data, factor, run, edges, chosen, sums):  # noqa: ANN001, ANN201
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
    sums : ndarray of float64, shape (y, x, 2, LAGS + 1) of cells
        Set where chosen: products at lags of 0 ... `LAGS` channels over sigma^2, and the squares
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
    total = np.zeros((2, LAGS + 1, n_y * n_x), np.float32)
    for v in range(n_channels):
        if free[v]:  # do not require the other channel to be free: that would bias the sample
            for lag in range(min(LAGS + 1, run - v % run)):
                _add_products(value[v], value[v + lag], total[0, lag], total[1, lag])
    for lag in range(LAGS + 1):
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
    sums : ndarray of float64, shape (2, LAGS + 1)
        From `measure_cells`.

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
