"""Means of a map over the pixels of another grid, many tiles at a time.

A tile pixel holds the mean of the map over its area. The map is taken as bilinear between its
pixel centers, and the mean over a tile pixel as that over k x k points, k being the number of map
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
# Tiles whose centers lie in a square of so many map pixels are worked on together, with the part of
# the map that they reach.
_SQUARE = 512
_ALL = (-np.inf, np.inf)


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
    """Chebyshev nodes over a tile, in tile pixels from its center."""
    angle = np.pi * (2 * np.arange(_N_NODES) + 1) / (2 * _N_NODES)
    return -np.cos(angle) * n_pixels / 2


def _points(n_pixels: int, k: int) -> np.ndarray:
    """Centers of the k sub-pixels of each tile pixel, in tile pixels from the tile's center."""
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


def _squares(tiles: np.ndarray, xy: np.ndarray) -> list[np.ndarray]:
    """Group tiles by the square of the map that their centers lie in."""
    centers = xy[:, tiles, _N_NODES // 2, _N_NODES // 2]
    keys = np.unique(centers // _SQUARE, axis=1, return_inverse=True)[1].ravel()
    order = np.argsort(keys, kind="stable")
    return np.split(tiles[order], np.cumsum(np.bincount(keys))[:-1])


def _in_bins(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Turn coordinates in map pixels into those in bins of ``factor`` of them."""
    return (pixels - (factor - 1) / 2) / factor


def _reach(outlines: np.ndarray, n: int) -> range:
    """Give the bins, of n and a frame of one, that points within outlines need.

    Two more are taken than that, since an outline may bulge between the points that are known.
    """
    low, high = outlines.min() - 2, outlines.max() + 4
    return range(*np.clip([low, high], -1, n + 1).astype(int))


def _binned(block: Callable, factor: int, y: range, x: range) -> np.ndarray:
    """Average a map over bins of ``factor`` x ``factor`` pixels, a few rows of them at a time."""
    if factor == 1 or not (y and x):
        return block(y, x)
    height = max(_SQUARE**2 // (len(x) * factor**2), 1)
    columns = range(x.start * factor, x.stop * factor)
    rows = []
    for start in range(y.start, y.stop, height):
        part = block(range(start * factor, min(start + height, y.stop) * factor), columns)
        part = part.reshape(-1, factor, len(x), factor, part.shape[2])
        rows.append(part.mean(axis=(1, 3)))
    return np.concatenate(rows)


def sample_tiles(
    block: Callable[[range, range], np.ndarray],
    shape: tuple[int, int],
    wcs: WCS,
    sky: Callable[[np.ndarray, np.ndarray], SkyCoord],
    n_tiles: int,
    n_pixels: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Take the means of a map over the pixels of many tiles, a batch at a time.

    No more of the map is held at once than tiles near each other reach, except for a tile across
    the edge or seam of a projection, for which it is the whole.

    Parameters
    ----------
    block : callable
        ``block(y, x)``: the map in those rows and columns, float64 of shape (len(y), len(x),
        n_fields), finite, zero beyond the map.
    shape : tuple of int
        Rows and columns of the map.
    wcs : `~astropy.wcs.WCS`
        The map's, celestial.
    sky : callable
        ``sky(tiles, t)``: the positions of the points (t[j], t[i]) of the tiles with those indices,
        t in tile pixels from the center, x then y ascending with array index; shape (n, j, i).
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
    ends = _lagrange(nodes, np.linspace(-n_pixels / 2, n_pixels / 2, 9))
    for factor, k, is_smooth in sorted(set(zip(bins, fine, smooth, strict=True))):
        members = np.flatnonzero((bins == factor) & (fine == k) & (smooth == is_smooth))
        points = _points(n_pixels, k)
        basis = _lagrange(nodes, points)
        for group in _squares(members, xy) if is_smooth else [members]:
            outlines = ends @ xy[:, group] @ ends.T if is_smooth else np.array([_ALL, _ALL])
            reach = [
                _reach(_in_bins(axis, factor), -(-n // factor))
                for axis, n in zip(outlines, shape[::-1], strict=True)
            ]
            source = _binned(block, factor, *reach[::-1])
            n_batches = -(-len(group) * len(points) ** 2 // _BATCH_POINTS)
            for tiles in np.array_split(group, n_batches):
                if is_smooth:
                    pixels = basis @ xy[:, tiles] @ basis.T
                else:
                    pixels = wcs.world_to_pixel(sky(tiles, points))
                # rounded by + 1 wherever the part starts: a pixel does not depend on that
                x, y = (
                    _in_bins(axis, factor) + 1 - (near.start + 1)
                    for axis, near in zip(pixels, reach, strict=True)
                )
                means = np.empty((source.shape[2], len(tiles), n_pixels, n_pixels))
                _mean_over_pixels(source, x, y, k, means)
                yield tiles, means
