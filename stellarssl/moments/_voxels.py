"""A cube's values on their way to the compiled loops: viewed where they lie, or copied."""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stellarssl.cubes import Cube
from stellarssl.moments._view import View, copy, view_of

__all__ = ["Voxels", "read_block"]

_MAPPED = 1 << 28
"""Bytes of a mapped file that may stay in this process's memory."""

_TOUCHED = 1 << 24
"""Bytes of a larger one that are touched before they are given back."""

_AROUND = 1 << 21
"""Bytes that the system maps beside those that are touched: since Linux 6.18 its largest page."""


def read_block(array: object, channels: slice, rows: slice, columns: slice) -> np.ndarray:
    """Read a part of a cube.

    Parameters
    ----------
    array : array-like, shape (v, y, x)
        numpy, a memory map, dask, or anything else that is read by slicing.
    channels, rows, columns : slice
        Which part.

    Returns
    -------
    part : ndarray
        A copy, C-contiguous and native-endian: float32, or uint8 if the array is boolean.
    """
    part = array[channels, rows, columns]
    if hasattr(part, "compute"):
        # The threads are ours: one more pool in each would only contend.
        part = part.compute(scheduler="synchronous")
    part = np.asarray(part)
    if part.dtype == bool:
        return np.array(part, order="C").view(np.uint8)
    return np.array(part, dtype=np.float32, order="C")


@dataclass(frozen=True, eq=False)
class Voxels:
    """A cube's values as the compiled loops take them.

    Attributes
    ----------
    cube : `~stellarssl.Cube`
        Whose they are.
    factor : ndarray
        (v,) float64: what takes a value to K of main-beam temperature.
    silent : ndarray of bool
        (v,): channels that cannot be brought to K.
    mapping : `~mmap.mmap` or None
        The file behind the values, where it is large and mapped read-only. Its pages would count as
        this process's memory, which would then grow with the cube: they are given back as soon
        as they are read. The system goes on caching them.
    file : `~pathlib.Path` or None
        The same file, where its place is known and the values are plain floats: whole rows are read
        from it, which takes half as long as mapping them and giving pages back.
    """

    cube: Cube
    factor: np.ndarray
    silent: np.ndarray
    mapping: mmap.mmap | None
    file: Path | None

    @classmethod
    def of(cls, cube: Cube, efficiency: float) -> "Voxels":
        """Take a cube's values, to be divided by an efficiency."""
        silent = ~np.isfinite(cube.kelvin_factor)
        factor = np.where(silent, 1.0, cube.kelvin_factor / efficiency)
        mapping = _mapping(cube.data)
        return cls(cube, factor, silent, mapping, _file(cube, mapping))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return self.cube.shape

    @property
    def chunk_rows(self) -> int:
        """Rows that can only be read together."""
        return max(self.cube.data.chunks[1]) if hasattr(self.cube.data, "chunks") else 1

    def view(self, runs: list[slice], rows: slice, columns: slice) -> tuple[View, np.ndarray]:
        """See a part of the cube, NaN where there is nothing.

        Parameters
        ----------
        runs : list of slice
            Channels.
        rows, columns : slice
            Pixels.

        Returns
        -------
        view : `View`
            Of the values where they lie, if they are floats that no mask covers, else of a copy.
        channels : ndarray of int
            Those of the view that were asked for.
        """
        self.cube.check_unchanged()
        wanted = np.concatenate([np.arange(run.start, run.stop) for run in runs])
        view = view_of(self.cube.data, slice(0, self.shape[0]), rows, columns)
        plain = view is not None and self.cube.valid is None and not self.silent[wanted].any()
        if plain and self._touched(wanted.size, rows) <= _TOUCHED:
            return view, wanted
        shape = wanted.size, rows.stop - rows.start, columns.stop - columns.start
        whole = self.file is not None and shape[2] == self.shape[2]
        # As in the file: what is made of the block swaps bytes on the way.
        block = np.empty(shape, self.cube.data.dtype if whole else np.float32)
        end = 0
        for run in runs:
            start, end = end, end + run.stop - run.start
            if whole:
                self._read(run, rows, block[start:end])
            else:
                self._copy(run, rows, columns, block[start:end])
        block[self.silent[wanted]] = np.nan
        each = (slice(0, n) for n in block.shape)
        return view_of(block, *each), np.arange(wanted.size)

    def _touched(self, n_channels: int, rows: slice) -> int:
        """Return how much of a mapped file is mapped when a part is read."""
        if self.mapping is None:
            return 0
        row = self.shape[2] * np.dtype(self.cube.data.dtype).itemsize
        each = (rows.stop - rows.start) * row + _AROUND
        return n_channels * min(each, self.shape[1] * row)

    def _read(self, run: slice, rows: slice, block: np.ndarray) -> None:
        """Read whole rows from the file."""
        first = self.cube.data.ctypes.data - np.frombuffer(self.mapping, np.uint8).ctypes.data
        _, n_y, n_x = self.shape
        with self.file.open("rb", buffering=0) as file:
            for v, channel in zip(range(run.start, run.stop), block, strict=True):
                os.preadv(file.fileno(), [channel], first + 4 * n_x * (n_y * v + rows.start))

    def _copy(self, run: slice, rows: slice, columns: slice, block: np.ndarray) -> None:
        """Copy a part."""
        step = len(block)
        if self.mapping is not None:
            step = max(_TOUCHED // self._touched(1, rows), 1)
        for start in range(0, len(block), step):
            part = block[start : start + step]
            channels = slice(run.start + start, run.start + start + len(part))
            view = view_of(self.cube.data, channels, rows, columns)
            if view is None:
                part[:] = read_block(self.cube.data, channels, rows, columns)
            else:
                copy(view, part.view(np.uint32))
            self.release()
            if self.cube.valid is not None:
                part[read_block(self.cube.valid, channels, rows, columns) == 0] = np.nan

    def release(self) -> None:
        """Give a mapped file's pages back."""
        if self.mapping is not None:
            self.mapping.madvise(mmap.MADV_DONTNEED)


def _mapping(array: object) -> mmap.mmap | None:
    """Return the read-only mapped file that a large array is a view of; None if it is not."""
    array = getattr(array, "raw", array)  # of integers that are scaled where they are sliced
    if not isinstance(array, np.ndarray) or array.flags.writeable or array.nbytes < _MAPPED:
        return None
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) and hasattr(array, "madvise") else None


def _file(cube: Cube, mapping: mmap.mmap | None) -> Path | None:
    """Return the path of the file that is mapped as a whole, if the values are plain floats."""
    stamp = cube.origin.stamp
    if mapping is None or stamp is None or not hasattr(os, "preadv"):
        return None
    plain = view_of(cube.data, slice(0, None), slice(0, None)) is not None
    return stamp.path if plain and stamp.state[0][0] == len(mapping) else None
