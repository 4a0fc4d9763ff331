"""How a cube of any size is read: block by block, in memory that does not grow with it."""

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import astropy.units as u
import numpy as np

from stellarssl._utils.progress import progress
from stellarssl._utils.quantities import as_quantity
from stellarssl.exceptions import InputError

__all__ = [
    "Block",
    "Plan",
    "as_bytes",
    "as_threads",
    "available_memory",
    "make_plan",
    "run_blocks",
    "runs",
]

_BLOCK = 1 << 21
"""Voxels of a block where memory allows more: a few to each thread even for a small cube."""

_LARGEST = 1 << 24
"""Most voxels of a block, so that memory does not grow with the number of channels."""

_GAP = 1024
"""Unwanted pixels of a row that are skipped; fewer are read, as it is quicker."""

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

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the block's own pixels within those that are read."""
        top = self.rows.start - self.read_rows.start
        left = self.columns.start - self.read_columns.start
        return (
            slice(top, top + self.rows.stop - self.rows.start),
            slice(left, left + self.columns.stop - self.columns.start),
        )


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
    wanted : ndarray of bool or None
        (y, x): blocks without any of these pixels are left out.
    """

    shape: tuple[int, int, int]
    rows: int
    columns: int
    margin: int
    n_threads: int
    memory: int
    memory_limit: int

    wanted: np.ndarray | None = field(default=None, repr=False)

    @property
    def blocks(self) -> list[Block]:
        """The blocks, row by row."""
        _, n_y, n_x = self.shape
        return [
            Block(rows, columns, self._wider(rows, n_y), self._wider(columns, n_x))
            for rows in _pieces(n_y, self.rows)
            for stretch in self._stretches(rows)
            for columns in _pieces(stretch.stop, self.columns, stretch.start)
        ]

    def _stretches(self, rows: slice) -> list[slice]:
        if self.wanted is None:
            return [slice(0, self.shape[2])]
        return runs(self.wanted[rows].any(axis=0), _GAP)

    def _wider(self, pixels: slice, n: int) -> slice:
        return slice(max(pixels.start - self.margin, 0), min(pixels.stop + self.margin, n))

    def __str__(self) -> str:
        blocks = self.blocks
        n_v, n_y, n_x = self.shape
        seen = sum(
            (block.rows.stop - block.rows.start) * (block.columns.stop - block.columns.start)
            for block in blocks
        )
        share = "" if self.wanted is None else f", {seen / (n_y * n_x):.2g} of the map"
        return (
            f"{len(blocks)} blocks of {self.rows} x {self.columns} pixels and {n_v} channels"
            f" (margin {self.margin}){share}, {self.n_threads} at once;"
            f" {self.memory / 1e6:.0f} MB of {self.memory_limit / 1e6:.0f} MB;"
            " one pass after a noise sample; no scratch space"
        )


def _pieces(stop: int, size: int, start: int = 0) -> list[slice]:
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


def runs(flags: np.ndarray, gap: int = 0) -> list[slice]:
    """Return the stretches that are true, joined across gaps.

    Parameters
    ----------
    flags : ndarray of bool, shape (n,)
        What is wanted.
    gap : int, optional
        The longest that is joined.

    Returns
    -------
    stretches : list of slice
        In order.
    """
    true = np.flatnonzero(flags)
    if not true.size:
        return []
    ends = np.flatnonzero(np.diff(true) > gap + 1)
    starts = true[np.append(0, ends + 1)]
    return [
        slice(int(start), int(stop) + 1)
        for start, stop in zip(starts, true[np.append(ends, -1)], strict=True)
    ]


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
    wanted: np.ndarray | None = None,
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
    wanted : ndarray of bool, shape (y, x), optional
        Pixels besides which nothing need be read; all by default.

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
    n_threads = as_threads(n_threads)
    limit = as_bytes(memory_limit)
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
    return Plan(shape, rows, columns, margin, threads, threads * seen * per_pixel, limit, wanted)


def _block_shape(pixels: int, n_v: int, n_y: int, n_x: int, margin: int) -> tuple[int, int]:
    """Return rows and columns of a block that holds some pixels, margins included."""
    pixels = min(pixels, max(_LARGEST // n_v, (8 * margin + 1) ** 2))
    rows = min(pixels // n_x, max(_BLOCK // (n_v * n_x), 16 * margin, 1) + 2 * margin, n_y)
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


def as_threads(n_threads: int | None) -> int:
    """Check a number of threads.

    Parameters
    ----------
    n_threads : int or None
        None is one a processor that this process may use.

    Returns
    -------
    n_threads : int
        1 or more.

    Raises
    ------
    InputError
        If it is no such number.
    """
    if n_threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1:
        raise InputError("n_threads", "must be a whole number of 1 or more", n_threads)
    return n_threads


def as_bytes(memory_limit: u.Quantity | str | int | None) -> int:
    """Check an amount of memory.

    Parameters
    ----------
    memory_limit : `~astropy.units.Quantity`, str, int or None
        None is a quarter of what is free.

    Returns
    -------
    limit : int
        Bytes.

    Raises
    ------
    InputError
        If it is no amount of memory.
    """
    if memory_limit is None:
        return available_memory() // 4
    if isinstance(memory_limit, int) and not isinstance(memory_limit, bool):
        if memory_limit < 1:
            raise InputError("memory_limit", "must be above zero", memory_limit)
        return memory_limit
    return int(as_quantity("memory_limit", memory_limit, u.byte, scalar=True).value)


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
    if plan.n_threads == 1 or len(items) < 2:
        return list(progress(map(work, items), label, total=len(items), show=show))
    with ThreadPoolExecutor(plan.n_threads) as pool:
        try:
            return list(progress(pool.map(work, items), label, total=len(items), show=show))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
