"""Means of a map over the pixels of another grid, many tiles at a time.

A tile pixel holds the mean of the map over its area. The map is taken as bilinear between its
pixel centres, and the mean over a tile pixel as that over k x k points, k being the number of map
pixels that a tile pixel is wide, rounded up: where the map is coarser, k is one and the value is
that of `reproject.reproject_interp`; where it is finer, that of `reproject.reproject_exact`.
"""

from collections.abc import Callable, Iterator

import numba
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

__all__ = ["sample_tiles"]

# Over a tile the map's pixel coordinates are smooth functions, which five nodes an axis carry to
# 1e-8 pixel for tiles below 2 degrees: the projections are worked out at 25 points, not at 4096.
_N_NODES = 5
_BINNED_FROM = 8  # map pixels per tile pixel above which the map is binned first
_BATCH_POINTS = 2**18  # 15 MB of means where k is one


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mean_over_pixels(fields, x, y, k, out):  # noqa: ANN001
    """Fill ``out`` (f, n, h, w) with means of ``fields`` (ny, nx, f) at ``x, y`` (n, h*k, w*k)."""
    ny, nx, nf = fields.shape
    _, n, h, w = out.shape
    share = 1.0 / k**2
    out[:] = 0.0
    for i, row, column in np.ndindex((n, h * k, w * k)):
        xp, yp = x[i, row, column], y[i, row, column]
        # written so that NaN, which is where a point does not project, fails too
        if 0.0 <= xp < nx - 1 and 0.0 <= yp < ny - 1:
            x0, y0 = int(xp), int(yp)
            fx, fy = xp - x0, yp - y0
            lower, upper = share * (1.0 - fy), share * fy
            for f in range(nf):
                out[f, i, row // k, column // k] += lower * (
                    fields[y0, x0, f] * (1.0 - fx) + fields[y0, x0 + 1, f] * fx
                ) + upper * (fields[y0 + 1, x0, f] * (1.0 - fx) + fields[y0 + 1, x0 + 1, f] * fx)


def _nodes(n_pixels: int) -> np.ndarray:
    """Chebyshev nodes over a tile, in tile pixels from its centre."""
    angle = np.pi * (2 * np.arange(_N_NODES) + 1) / (2 * _N_NODES)
    return -np.cos(angle) * n_pixels / 2


def _points(n_pixels: int, k: int) -> np.ndarray:
    """Centres of the k sub-pixels of each tile pixel, in tile pixels from the tile's centre."""
    return (np.arange(n_pixels * k) + 0.5) / k - n_pixels / 2


def _lagrange(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Matrix (n_points, n_nodes) that carries values at nodes to points."""
    difference = points[:, None] - nodes
    basis = np.ones((len(points), len(nodes)))
    for i, node in enumerate(nodes):
        others = np.arange(len(nodes)) != i
        basis[:, i] = np.prod(difference[:, others] / (node - nodes[others]), axis=1)
    return basis


def _scale(xy: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Map pixels per tile pixel (the larger of two axes), and whether ``xy`` is smooth.

    ``xy`` has shape (2, n, 5, 5). Where a tile meets a projection's edge or seam it is not.
    """
    spacing = np.diff(nodes)
    rates = np.stack(
        [
            np.hypot(*np.diff(xy, axis=-1)) / spacing,
            np.hypot(*np.diff(xy.swapaxes(-1, -2), axis=-1)) / spacing,
        ]
    )
    rates = rates.reshape(2, xy.shape[1], _N_NODES * (_N_NODES - 1))
    smooth = (rates.max(axis=-1) < 2 * rates.min(axis=-1)).all(axis=0)  # False for NaN
    return np.median(rates, axis=-1).max(axis=0), smooth


def _binned(fields: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of ``factor`` x ``factor``; the frame of zeros is kept, one pixel wide."""
    if factor == 1:
        return fields
    inner = fields[1:-1, 1:-1]
    ny, nx, nf = inner.shape
    padded = np.pad(inner, ((0, -ny % factor), (0, -nx % factor), (0, 0)))
    blocks = padded.reshape(padded.shape[0] // factor, factor, -1, factor, nf)
    return np.pad(blocks.mean(axis=(1, 3)), ((1, 1), (1, 1), (0, 0)))


def sample_tiles(
    fields: np.ndarray,
    wcs: WCS,
    sky: Callable[[np.ndarray, np.ndarray], SkyCoord],
    n_tiles: int,
    n_pixels: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Take the means of a map over the pixels of many tiles, a batch at a time.

    Parameters
    ----------
    fields : `~numpy.ndarray`
        Float64, shape (ny + 2, nx + 2, n_fields), finite: the map in a frame of zeros.
    wcs : `~astropy.wcs.WCS`
        The map's, celestial.
    sky : callable
        ``sky(tiles, t)``: the positions of the points (t[j], t[i]) of the tiles with those indices,
        t in tile pixels from the centre, x then y ascending with array index; shape (n, j, i).
    n_tiles : int
        How many tiles there are.
    n_pixels : int
        Pixels along a tile's side.

    Yields
    ------
    tiles : `~numpy.ndarray`
        Which tiles; each tile comes once, in any order.
    means : `~numpy.ndarray`
        Float64, shape (n_fields, len(tiles), n_pixels, n_pixels).
    """
    nodes = _nodes(n_pixels)
    xy = np.stack(wcs.world_to_pixel(sky(np.arange(n_tiles), nodes)))
    scale, smooth = _scale(xy, nodes)
    bins = np.where(scale >= _BINNED_FROM, scale // (_BINNED_FROM / 2), 1).astype(int)
    # 1.001: rounding must not double the work where map and tile pixels are the same size
    fine = np.maximum(np.ceil(scale / bins / 1.001), 1)
    fine = np.where(np.isfinite(fine), fine, 1).astype(int)
    for factor in np.unique(bins):
        source = _binned(fields, factor)
        for k, is_smooth in sorted(set(zip(fine[bins == factor], smooth[bins == factor]))):  # noqa: B905
            members = np.flatnonzero((bins == factor) & (fine == k) & (smooth == is_smooth))
            points = _points(n_pixels, k)
            basis = _lagrange(nodes, points)
            n_batches = -(-len(members) * len(points) ** 2 // _BATCH_POINTS)
            for tiles in np.array_split(members, n_batches):
                if is_smooth:
                    x, y = basis @ xy[:, tiles] @ basis.T
                else:
                    x, y = wcs.world_to_pixel(sky(tiles, points))
                x, y = ((axis - (factor - 1) / 2) / factor + 1 for axis in (x, y))  # 1: the frame
                means = np.empty((fields.shape[2], len(tiles), n_pixels, n_pixels))
                _mean_over_pixels(source, x, y, k, means)
                yield tiles, means
