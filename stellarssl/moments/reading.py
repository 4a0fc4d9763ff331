"""Blocks of a cube as C-contiguous float32 arrays, whatever the cube is read from."""

from typing import Any

import numpy as np

from stellarssl._utils.compiled import compiled
from stellarssl.cubes import Cube

__all__ = ["read_block", "read_part"]


def read_block(cube: Cube, channels: slice, rows: slice, columns: slice) -> np.ndarray:
    """Read a block of a cube.

    Parameters
    ----------
    cube : `~stellarssl.Cube`
        The cube.
    channels, rows, columns : slice
        Part of the cube that is read.

    Returns
    -------
    block : ndarray of float32, shape (v, y, x)
        Values in the cube's unit, C-contiguous. They are NaN where the cube's own mask excludes
        them, and in channels that cannot be converted to K.

    Raises
    ------
    ChangedInputError
        If the file has changed since it was opened, or ends too early.
    """
    cube.check_unchanged()
    block = read_part(cube.data, channels, rows, columns)
    block[~np.isfinite(cube.kelvin_factor[channels])] = np.nan
    if cube.valid is not None:
        block[read_part(cube.valid, channels, rows, columns) == 0] = np.nan
    return block


def read_part(array: Any, channels: slice, rows: slice, columns: slice) -> np.ndarray:
    """Read a part of anything that can be sliced.

    Parameters
    ----------
    array : array-like, shape (v, y, x)
        A numpy or dask array, or a file that is read by slicing.
    channels, rows, columns : slice
        Part that is read.

    Returns
    -------
    part : ndarray
        A copy, C-contiguous and native-endian: float32, or uint8 if the array is boolean.
    """
    part = array[channels, rows, columns]
    if hasattr(part, "compute"):
        # a pool of threads inside each of our threads would only compete for the processors
        part = part.compute(scheduler="synchronous")
    part = np.asarray(part)
    if part.dtype == bool:
        return np.array(part, order="C").view(np.uint8)
    is_read_from_file = not isinstance(array, np.ndarray) and part.flags.c_contiguous
    if is_read_from_file and part.flags.writeable and part.dtype == np.dtype(">f4"):
        _swap_bytes(part.reshape(-1).view(np.uint32))
        return part.view("=f4")
    return np.array(part, dtype=np.float32, order="C")


@compiled
def _swap_bytes(words):  # noqa: ANN001
    """Reverse the bytes of 32-bit words in place."""
    for i in range(words.size):
        x = words[i]
        words[i] = (x >> 24) | ((x >> 8) & 0xFF00) | ((x << 8) & 0xFF0000) | (x << 24)
