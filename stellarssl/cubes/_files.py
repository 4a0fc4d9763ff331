"""FITS images in files, read where they are sliced and never mapped into memory."""

import operator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from stellarssl.cubes._axes import Axes
from stellarssl.exceptions import ChangedInputError

__all__ = ["FileArray", "ScaledArray", "Scaling", "Stamp"]


_GAP = 4096
"""Numbers between two lines that are read and left out, as that is faster than to skip them."""


@dataclass(frozen=True)
class Stamp:
    """Size and time of change of a file, or of the files in a directory.

    Attributes
    ----------
    path : `~pathlib.Path`
        Path of the file or directory.
    state : tuple of int
        Bytes and time of change [ns] of each file.
    """

    path: Path
    state: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        """Record the present state of a file."""
        return cls(path, _state(path))

    def check(self) -> None:
        """Raise a `ChangedInputError` if the file is not in the recorded state."""
        if (now := _state(self.path)) == self.state:
            return
        sizes = [sum(size for size, _ in state) for state in (self.state, now)]
        how = (
            "its time of change is another"
            if sizes[0] == sizes[1]
            else f"{sizes[0]} bytes then, {sizes[1]} now"
        )
        raise ChangedInputError("cube", f"changed since it was opened ({how})", str(self.path))


def _state(path: Path) -> tuple[tuple[int, int], ...]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    try:
        found = [file.stat() for file in files]
    except FileNotFoundError:
        return ()
    return tuple((file.st_size, file.st_mtime_ns) for file in found)


@dataclass(frozen=True)
class Scaling:
    """BSCALE, BZERO and BLANK of an image.

    Attributes
    ----------
    scale, zero : float
        A value is ``scale`` times the stored number plus ``zero``.
    blank : int or None
        The stored number that means that there is no value.
    dtype : `~numpy.dtype`
        Type of the values: float32 if it holds the stored numbers exactly, else float64.
    """

    scale: float
    zero: float
    blank: int | None
    dtype: np.dtype

    @classmethod
    def of(cls, header: fits.Header, stored: np.dtype) -> "Scaling | None":
        """Read the scaling of stored numbers from a header; None if they are the values.

        Parameters
        ----------
        header : `~astropy.io.fits.Header`
            Header of the image.
        stored : dtype
            Type of the numbers, in a file or as `astropy.io.fits` returns them.

        Returns
        -------
        scaling : `Scaling` or None
            Factor, offset and blank value.
        """
        scale, zero = float(header.get("BSCALE", 1)), float(header.get("BZERO", 0))
        blank = header.get("BLANK") if stored.kind in "iu" else None
        if stored.kind == ("i" if stored.itemsize == 1 else "u"):
            # FITS has no such type: astropy has added BZERO and left it in the header
            blank = None if blank is None else blank + round(zero)
            scale, zero = 1.0, 0.0
        if stored.kind == "f" and (scale, zero) == (1, 0):
            return None
        exact = stored.itemsize <= 2 or (stored.kind == "f" and stored.itemsize == 4)
        return cls(scale, zero, blank, np.dtype("f4" if exact else "f8"))

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """Return the values of stored numbers.

        Parameters
        ----------
        stored : ndarray
            Numbers as they are in the file.

        Returns
        -------
        values : ndarray of float
            Scaled values; blank ones are NaN.
        """
        values = (stored * self.scale + self.zero).astype(self.dtype)
        if self.blank is None:
            return values
        return np.where(stored == self.blank, self.dtype.type(np.nan), values)


class ScaledArray:
    """Stored numbers in memory, scaled where they are sliced.

    Parameters
    ----------
    stored : ndarray
        Numbers as stored.
    scaling : `Scaling`
        What turns them into values.
    """

    def __init__(self, stored: np.ndarray, scaling: Scaling) -> None:
        self.shape, self.ndim, self.dtype = stored.shape, stored.ndim, scaling.dtype
        self._stored, self._scaling = stored, scaling

    def __getitem__(self, view: Any) -> np.ndarray:
        return self._scaling.apply(np.asarray(self._stored[view]))

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001
        return np.asarray(self[...], dtype=dtype)


class FileArray:
    """The cube (v, y, x) in an uncompressed FITS file, read where it is sliced.

    Slices and integers are allowed as indices. Each slicing opens the file, so that threads and
    processes can share an array.

    Parameters
    ----------
    stamp : `Stamp`
        The file, recorded before its header was read.
    start : int
        Position of the image's first byte.
    stored : `~numpy.dtype`
        Type of the stored numbers.
    shape : tuple of int
        Shape of the image, slowest axis first.
    axes : `~stellarssl.cubes._axes.Axes`
        Which axes of the image are which.
    scaling : `Scaling` or None
        What turns the numbers into values.
    """

    ndim = 3

    def __init__(
        self,
        stamp: Stamp,
        start: int,
        stored: np.dtype,
        shape: tuple[int, ...],
        axes: Axes,
        scaling: Scaling | None = None,
    ) -> None:
        steps = stored.itemsize * np.cumprod([1, *shape[:0:-1]], dtype=np.int64)  # in FITS order
        longitude, latitude, spectral = axes.order
        order = (spectral, latitude, longitude)
        self.shape = tuple(shape[-1 - axis] for axis in order)
        self.dtype = stored if scaling is None else scaling.dtype
        self._stamp, self._stored, self._scaling = stamp, stored, scaling
        self._start = start + int(sum(i * steps[axis] for axis, i in axes.stokes.items()))
        self._steps = tuple(int(steps[axis]) for axis in order)
        self._by_step = np.argsort(self._steps, kind="stable")[::-1]

    def __getitem__(self, view: Any) -> np.ndarray:
        wanted, kept = _ranges(view, self.shape)
        part = self._read(*((wanted[i], self._steps[i]) for i in self._by_step))
        return part.transpose(np.argsort(self._by_step))[kept]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001
        return np.asarray(self[...], dtype=dtype)

    def _read(
        self, slow: tuple[range, int], middle: tuple[range, int], fast: tuple[range, int]
    ) -> np.ndarray:
        """Read indices along three axes, each given with its step in bytes."""
        (planes, plane_step), (lines, line_step), (items, item_step) = slow, middle, fast
        first, last = min(items, default=0), max(items, default=0)
        apart, width = item_step // self._stored.itemsize, line_step // self._stored.itemsize
        length = (last - first) * apart + 1
        values = np.empty((len(planes), len(lines), length), self.dtype)
        if not (values.size and items):
            return values[:, :, : len(items)]
        joined = lines.step == 1 and 0 <= width - length <= _GAP
        buffer = np.empty((len(lines), width if joined else length), self._stored)
        with self._open() as file:
            for plane, out in zip(planes, values, strict=True):
                at = self._start + plane * plane_step + first * item_step
                is_final = self._scaling is None and buffer.shape == out.shape
                numbers = out if is_final else buffer
                if joined:
                    whole = numbers.reshape(-1)[: (len(lines) - 1) * width + length]
                    self._fill(file, at + lines[0] * line_step, whole)
                else:
                    for line, part in zip(lines, numbers, strict=True):
                        self._fill(file, at + line * line_step, part)
                if not is_final:
                    part = numbers[:, :length]
                    out[:] = part if self._scaling is None else self._scaling.apply(part)
        return values[:, :, :: items.step * apart]

    def _open(self) -> FileIO:
        try:
            return self._stamp.path.open("rb", buffering=0)
        except FileNotFoundError:
            self._stamp.check()
            raise

    def _fill(self, file: FileIO, first: int, numbers: np.ndarray) -> None:
        """Fill an array from a position on; refuse a file that ends before it is full."""
        file.seek(first)
        n_read = file.readinto(numbers)
        while n_read < numbers.nbytes:  # the system reads 2 GB at once
            more = file.readinto(numbers.view(np.uint8)[n_read:])
            if not more:
                self._stamp.check()
                raise ChangedInputError("cube", "ends too early", str(self._stamp.path))
            n_read += more


def _ranges(view: Any, shape: tuple[int, ...]) -> tuple[list[range], tuple]:
    """Return the indices along each axis, and an index that drops axes that had an integer."""
    parts = list(view) if isinstance(view, tuple) else [view]
    missing = [slice(None)] * (len(shape) + sum(part is Ellipsis for part in parts) - len(parts))
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = missing
    ranges, kept = [], []
    for part, n in zip(parts, shape, strict=True):
        if isinstance(part, slice):
            ranges.append(range(n)[part])
            kept.append(slice(None))
        else:
            i = range(n)[operator.index(part)]
            ranges.append(range(i, i + 1))
            kept.append(0)
    return ranges, tuple(kept)
