"""Cubes of any size, read block by block into memory that does not grow with them."""

import math
import mmap
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np

from stellarssl._utils.exceptions import InputError
from stellarssl._utils.progress import progress
from stellarssl._utils.quantities import as_quantity
from stellarssl.cubes import Cube

__all__ = ["Block", "Plan", "Voxels", "available_memory", "make_plan", "read_block", "run_blocks"]

_BLOCK = 1 << 21
"""Voxels of a block where memory allows more: a few to each thread even for a small cube."""

_MAPPED = 1 << 28
"""Bytes of a mapped file that may stay in this process's memory."""

_TOUCHED = 1 << 24
"""Bytes of a larger one that are read before they are given back."""

_PER_VOXEL = 12
"""Bytes: the values, their levels, states and mask, a file's page and what is set aside."""


@dataclass(frozen=True)
class Block:
    """A part of the map that is worked on at once.

    Attributes
    ----------
    rows, columns : slice
        The pixels that it answers for.
    read_rows, read_columns : slice
        The pixels that it needs to see: with the margin that the mask may grow from.
    """

    rows: slice
    columns: slice
    read_rows: slice
    read_columns: slice


@dataclass(frozen=True)
class Plan:
    """How a cube is going to be read.

    Attributes
    ----------
    shape : tuple of int
        Channels that are read, and the map's pixels.
    rows, columns : int
        Pixels of a block.
    margin : int
        Pixels that are read on each side of a block besides.
    n_threads : int
        Blocks that are worked on at once.
    memory : int
        Bytes that they take.
    memory_limit : int
        Bytes that they may take.
    """

    shape: tuple[int, int, int]
    rows: int
    columns: int
    margin: int
    n_threads: int
    memory: int
    memory_limit: int

    @property
    def blocks(self) -> list[Block]:
        """The blocks, row by row."""
        _, n_y, n_x = self.shape
        return [
            Block(rows, columns, self._wider(rows, n_y), self._wider(columns, n_x))
            for rows in _pieces(n_y, self.rows)
            for columns in _pieces(n_x, self.columns)
        ]

    def _wider(self, pixels: slice, n: int) -> slice:
        return slice(max(pixels.start - self.margin, 0), min(pixels.stop + self.margin, n))

    def __str__(self) -> str:
        n_blocks = math.ceil(self.shape[1] / self.rows) * math.ceil(self.shape[2] / self.columns)
        return (
            f"{n_blocks} blocks of {self.rows} x {self.columns} pixels and {self.shape[0]} channels"
            f" (margin {self.margin}), {self.n_threads} at once; {self.memory / 1e6:.0f} MB of"
            f" {self.memory_limit / 1e6:.0f} MB; one pass after a noise sample; no scratch space"
        )


def _pieces(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def available_memory() -> int:
    """Return the bytes that are free: the machine's, or those left to this control group.

    Returns
    -------
    available : int
        2 GB where the system does not say.
    """
    free = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    except OSError:
        pass
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            free.append(max(int(limit) - int((group / "memory.current").read_text()), 0))
    except (OSError, ValueError):
        pass
    return min(free, default=2 * 10**9)


def make_plan(
    shape: tuple[int, int, int],
    *,
    margin: int = 0,
    voxel_bytes: int = 0,
    memory_limit: u.Quantity | str | int | None = None,
    n_threads: int | None = None,
) -> Plan:
    """Cut a map into blocks: whole rows, which are contiguous in a file, where memory allows.

    Parameters
    ----------
    shape : tuple of int
        Channels and pixels (v, y, x).
    margin : int, optional
        Pixels that a block must see on each side.
    voxel_bytes : int, optional
        Bytes that are held a voxel besides the cube's and the mask's.
    memory_limit : `~astropy.units.Quantity`, str or int, optional
        Bytes; a quarter of what is free by default.
    n_threads : int, optional
        One a processor that this process may use, by default.

    Returns
    -------
    plan : `Plan`
        It only says; nothing is read.

    Raises
    ------
    InputError
        If the memory does not suffice for a single pixel and its margin, or an option has no
        meaning.
    """
    if n_threads is None:
        n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    elif isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1:
        raise InputError("n_threads", "must be a whole number of 1 or more", n_threads)
    limit = _bytes(memory_limit)
    n_v, n_y, n_x = shape
    per_pixel = n_v * (_PER_VOXEL + voxel_bytes)
    for threads in range(n_threads, 0, -1):  # fewer at once where memory is short
        pixels = limit // (threads * per_pixel)
        rows, columns = _block_shape(pixels, n_v, n_y, n_x, margin)
        if rows >= min(4 * margin, n_y) and columns >= min(4 * margin, n_x):
            break
    if rows < 1 or columns < 1:
        least = (1 + 2 * margin) ** 2 * per_pixel / 1e6
        raise InputError("memory_limit", f"must be {least:.3g} MB or more here", memory_limit)
    seen = min(rows + 2 * margin, n_y) * min(columns + 2 * margin, n_x)
    return Plan(shape, rows, columns, margin, threads, threads * seen * per_pixel, limit)


def _block_shape(pixels: int, n_v: int, n_y: int, n_x: int, margin: int) -> tuple[int, int]:
    """Return rows and columns of a block that holds some pixels, margins included."""
    rows = min(pixels // n_x, max(_BLOCK // (n_v * n_x), 6 * margin, 1) + 2 * margin, n_y)
    if rows >= min(6 * margin + 1, n_y):
        if rows == n_y:
            return rows, n_x
        # Odd, so that channels are not a power of two apart, which caches cannot hold.
        odd = (rows - 2 * margin) | 1
        return (odd if (odd + 2 * margin) * n_x <= pixels else odd - 2), n_x
    side = math.isqrt(pixels)
    rows = min(side, n_y)
    columns = min(pixels // max(rows, 1), n_x)
    return tuple(
        size if size == n else size - 2 * margin for size, n in ((rows, n_y), (columns, n_x))
    )


def _bytes(memory_limit: u.Quantity | str | int | None) -> int:
    if memory_limit is None:
        return available_memory() // 4
    if isinstance(memory_limit, int) and not isinstance(memory_limit, bool):
        if memory_limit < 1:
            raise InputError("memory_limit", "must be above zero", memory_limit)
        return memory_limit
    return int(as_quantity("memory_limit", memory_limit, u.byte).value)


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


def run_blocks(
    work: Callable, items: Iterable, plan: Plan, label: str, *, show: bool = False
) -> list:
    """Do some work on blocks, in threads.

    Parameters
    ----------
    work : callable
        Takes an item; releases the GIL for most of its time.
    items : iterable
        Of blocks.
    plan : `Plan`
        Says how many at once.
    label : str
        For the progress bar.
    show : bool, optional
        Whether there is one.

    Returns
    -------
    results : list
        In order.
    """
    items = list(items)
    with ThreadPoolExecutor(plan.n_threads) as pool:
        try:
            return list(progress(pool.map(work, items), label, total=len(items), show=show))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@dataclass(frozen=True, eq=False)
class Voxels:
    """A cube's values as the kernels take them.

    Attributes
    ----------
    data : array-like
        (v, y, x) as stored.
    valid : array-like or None
        Boolean (v, y, x).
    factor : ndarray
        (v,) float64: what takes a value to K of main-beam temperature.
    silent : ndarray of bool
        (v,): channels that cannot be brought to K.
    mapping : `~mmap.mmap` or None
        The file behind ``data``, where it is large and mapped read-only. Its pages would count as
        this process's memory, which would then grow with the cube: they are given back as soon
        as they are read. The system goes on caching them.
    """

    data: object
    valid: object
    factor: np.ndarray
    silent: np.ndarray
    mapping: mmap.mmap | None

    @classmethod
    def of(cls, cube: Cube, efficiency: float) -> "Voxels":
        """Take a cube's values, to be divided by an efficiency."""
        silent = ~np.isfinite(cube.kelvin_factor)
        factor = np.where(silent, 1.0, cube.kelvin_factor / efficiency)
        return cls(cube.data, cube.valid, factor, silent, _mapping(cube.data))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return self.data.shape

    @property
    def chunk_rows(self) -> int:
        """Rows that can only be read together."""
        return max(self.data.chunks[1]) if hasattr(self.data, "chunks") else 1

    def read(self, channels: slice, rows: slice, columns: slice) -> np.ndarray:
        """Read a part, float32, with NaN where there is nothing."""
        if self.mapping is None:
            block = read_block(self.data, channels, rows, columns)
        else:
            block = self._read_mapped(channels, rows, columns)
        if self.valid is not None:
            block[read_block(self.valid, channels, rows, columns) == 0] = np.nan
        block[self.silent[channels]] = np.nan
        return block

    def _read_mapped(self, channels: slice, rows: slice, columns: slice) -> np.ndarray:
        n_rows, n_columns = rows.stop - rows.start, columns.stop - columns.start
        block = np.empty((channels.stop - channels.start, n_rows, n_columns), np.float32)
        # The system maps more than is asked for: whole pages, and some beside them.
        step = max(_TOUCHED // (n_rows * self.shape[2] * self.data.itemsize), 1)
        for part in _pieces(len(block), step):
            there = slice(channels.start + part.start, channels.start + part.stop)
            block[part] = self.data[there, rows, columns]
            self.mapping.madvise(mmap.MADV_DONTNEED)
        return block


def _mapping(array: object) -> mmap.mmap | None:
    """Return the read-only mapped file that a large array is a view of; None if it is not."""
    if not isinstance(array, np.ndarray) or array.flags.writeable or array.nbytes < _MAPPED:
        return None
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) and hasattr(array, "madvise") else None
