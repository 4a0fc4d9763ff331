"""Sums over rings, collected while a cube is read block by block."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stellarssl.cubes import Cube
from stellarssl.exceptions import InputError
from stellarssl.moments.reading import read_block
from stellarssl.spectra.rings import RING_EDGES, Region

__all__ = ["RingSums", "read_sums"]

_N_RINGS = len(RING_EDGES) - 1

_BAND = 4
"""Height of a row band in units of the highest box: each row is read at most 1.25 times."""

_LEAST = 16
"""Number of negative values below which a cube counts as free of noise."""


@dataclass(frozen=True, eq=False)
class RingSums:
    """Sums over the pixels of each ring around one source, on the channels of the cube.

    Attributes
    ----------
    region : `Region`
        Pixels of the rings.
    total : ndarray of float64
        Shape (8, v): brightness times area [K times squared tile pixels].
    area : ndarray of float64
        Shape (8, v): area of the pixels that have a value [squared tile pixels].
    seen : ndarray of bool
        Shape (y, x): pixels of the box that have a value in at least one channel.
    below, above : ndarray of int64
        Shape (v,): number of voxels of the box below and above zero.
    squares : ndarray of float64
        Shape (v,): sum of the squares of the voxels below zero [K^2].
    """

    region: Region
    total: np.ndarray
    area: np.ndarray
    seen: np.ndarray
    below: np.ndarray
    above: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, region: Region, n_channels: int) -> "RingSums":
        """Start from zero."""
        return cls(
            region,
            total=np.zeros((_N_RINGS, n_channels)),
            area=np.zeros((_N_RINGS, n_channels)),
            seen=np.zeros(region.shape, bool),
            below=np.zeros(n_channels, np.int64),
            above=np.zeros(n_channels, np.int64),
            squares=np.zeros(n_channels),
        )

    def add(self, channels: slice, box: np.ndarray) -> None:
        """Add some channels.

        Parameters
        ----------
        channels : slice
            Channels of the box, counted as in ``total``.
        box : ndarray of float64
            Shape (channels, y, x) [K]; NaN where there are no data.
        """
        weights = self.region.weights().reshape(_N_RINGS, -1)
        flat = box.reshape(len(box), -1)
        finite = np.isfinite(flat)
        values = np.where(finite, flat, 0.0)
        self.total[:, channels] = weights @ values.T
        complete = finite.all()
        self.area[:, channels] = weights.sum(axis=1)[:, None] if complete else weights @ finite.T
        self.seen[...] |= finite.any(axis=0).reshape(self.region.shape)
        self.below[channels] = (values < 0).sum(axis=1)
        self.above[channels] = (values > 0).sum(axis=1)
        self.squares[channels] = np.square(np.minimum(values, 0.0)).sum(axis=1)

    def noise(self) -> float:
        """Estimate the standard deviation of a voxel in the box.

        As for moment maps, only values below zero count, because lines add to values above zero
        only, and only channels in which at least a third of the voxels is below zero, if there are
        such channels.

        Returns
        -------
        noise : float
            Root mean square of the values below zero [K]; zero without noise.
        """
        free = 2 * self.below >= self.above
        if self.below[free].sum() < _LEAST:
            free[:] = True  # a band that is full of lines
        number = self.below[free].sum()
        return float(np.sqrt(self.squares[free].sum() / number)) if number >= _LEAST else 0.0


def read_sums(
    cube: Cube, regions: list[Region], factor: np.ndarray, memory_limit: float
) -> Iterator[tuple[int, RingSums]]:
    """Read the boxes of all sources and sum over their rings.

    Sources whose boxes overlap, within a band of rows, are read together, so that no voxel is
    read more often than the bands overlap.

    Parameters
    ----------
    cube : `~stellarssl.Cube`
        Cube that is read.
    regions : list of `Region`
        One per source.
    factor : ndarray of float64
        Shape (v,): factor from stored values to brightness temperatures [K].
    memory_limit : float
        Bytes that blocks and sums may take at once.

    Yields
    ------
    index : int
        Number of the source in ``regions``. Sources without any pixel are left out.
    sums : `RingSums`
        Complete sums of this source.

    Raises
    ------
    InputError
        If not even one channel of a group fits into the memory limit.
    """
    n_channels = cube.channels.stop - cube.channels.start
    largest = max((region.shape[0] * region.shape[1] for region in regions), default=0)
    each = 16 * (_N_RINGS + 2) * n_channels + largest  # bytes of the sums of one source
    at_once = max(int(memory_limit / 2 // each), 1)
    for group in _groups(regions, _chunk_rows(cube)):
        for start in range(0, len(group), at_once):
            members = group[start : start + at_once]
            sums = [RingSums.empty(regions[i], n_channels) for i in members]
            _add_group(sums, cube, factor, memory_limit / 2)
            yield from zip(members, sums, strict=True)


def _add_group(sums: list[RingSums], cube: Cube, factor: np.ndarray, memory: float) -> None:
    """Read the common box of some sources and add it to their sums."""
    channels, regions = cube.channels, [each.region for each in sums]
    rows, columns = (
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in ([r.rows for r in regions], [r.columns for r in regions])
    )
    step = _channels_at_once(rows, columns, regions, memory)
    for start in range(channels.start, channels.stop, step):
        stored = slice(start, min(start + step, channels.stop))
        block = read_block(cube, stored, rows, columns)
        for each in sums:
            own_rows, own_columns = each.region.rows, each.region.columns
            box = block[
                :,
                own_rows.start - rows.start : own_rows.stop - rows.start,
                own_columns.start - columns.start : own_columns.stop - columns.start,
            ]
            part = slice(stored.start - channels.start, stored.stop - channels.start)
            each.add(part, box * factor[stored, None, None])


def _groups(regions: list[Region], chunk_rows: int) -> Iterator[list[int]]:
    """Yield the sources that are read together: overlapping columns within a band of rows."""
    seen = sorted(
        (i for i, region in enumerate(regions) if not region.empty),
        key=lambda i: regions[i].rows.start,
    )
    height = max([_BAND * regions[i].shape[0] for i in seen] + [chunk_rows], default=0)
    while seen:
        end = regions[seen[0]].rows.start + height
        band = [i for i in seen if regions[i].rows.start < end]
        seen = seen[len(band) :]
        band.sort(key=lambda i: regions[i].columns.start)
        group: list[int] = []
        stop = 0
        for i in band:
            if group and regions[i].columns.start > stop:
                yield group
                group, stop = [], 0
            group.append(i)
            stop = max(stop, regions[i].columns.stop)
        yield group


def _chunk_rows(cube: Cube) -> int:
    """Return the number of rows that dask can only compute together."""
    return max(cube.data.chunks[1]) if hasattr(cube.data, "chunks") else 1


def _channels_at_once(
    rows: slice, columns: slice, regions: list[Region], memory_limit: float
) -> int:
    """Return how many channels of a group fit into memory."""
    largest = max(region.shape[0] * region.shape[1] for region in regions)
    pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
    fixed = 3 * 8 * _N_RINGS * largest  # the weights of one source and what they are made from
    each = 5 * pixels + 25 * largest  # values and mask; one box as float64, copies and mask
    step = int((memory_limit - fixed) // each)
    if step < 1:
        raise InputError(
            "memory_limit", f"must be at least {2 * (fixed + each) / 1e6:.3g} MB for these sources"
        )
    return step
