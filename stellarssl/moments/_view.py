"""Numbers where they lie: a part of a cube, in a file's own bytes, as compiled loops take it."""

from typing import NamedTuple

import numpy as np

from stellarssl._utils.compiled import compiled

__all__ = ["View", "copy", "load", "view_of"]

_BITS = {("f", 4): np.uint32, ("b", 1): np.uint8, ("u", 1): np.uint8}


class View(NamedTuple):
    """A part (v, y, x) of an array of 4-byte floats or of flags.

    Attributes
    ----------
    flat : ndarray of uint32 or uint8, shape (n,)
        The whole array's bits, read-only.
    swapped : bool
        Whether bytes are in the other order than the processor's, as in FITS.
    first : int
        The item that is the part's first.
    channel, row : int
        Items from one to the next; 0 where one serves all.
    """

    flat: np.ndarray
    swapped: bool
    first: int
    channel: int
    row: int


def view_of(
    array: object, channels: slice, rows: slice, columns: slice = slice(0, None)
) -> View | None:
    """View a part of an array without touching it.

    Parameters
    ----------
    array : array-like, shape (v, y, x)
        Perhaps float32 in any byte order, bool or uint8. One channel serves all.
    channels, rows, columns : slice
        Which part.

    Returns
    -------
    view : `View` or None
        None if the array is of another kind, or not contiguous.
    """
    if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
        return None
    bits = _BITS.get((array.dtype.kind, array.itemsize))
    if bits is None:
        return None
    flat = array.reshape(-1).view(np.ndarray).view(bits)
    flat.flags.writeable = False  # one compiled version serves all arrays
    n_v, n_y, n_x = array.shape
    channel = n_y * n_x if n_v > 1 else 0
    first = channels.start * channel + rows.start * n_x + columns.start
    return View(flat, not array.dtype.isnative, first, channel, n_x)


@compiled
def load(bits, swapped, words):  # noqa: ANN001
    """Copy the bits of floats in the processor's byte order.

    Parameters
    ----------
    bits : ndarray of uint32, shape (n,)
        A part of `View.flat`.
    swapped : bool
        Whether its bytes are in the other order.
    words : ndarray of uint32
        The first n are set.
    """
    if swapped:
        for i in range(bits.size):
            x = bits[i]
            words[i] = (x >> 24) | ((x >> 8) & 0xFF00) | ((x << 8) & 0xFF0000) | (x << 24)
    else:
        for i in range(bits.size):
            words[i] = bits[i]


@compiled
def copy(view, words):  # noqa: ANN001
    """Copy a part.

    Parameters
    ----------
    view : `View` of float32
        Where it begins.
    words : ndarray of uint32, shape (v, y, x)
        Set to its bits, in the processor's byte order.
    """
    for v in range(words.shape[0]):
        for y in range(words.shape[1]):
            first = view.first + v * view.channel + y * view.row
            load(view.flat[first : first + words.shape[2]], view.swapped, words[v, y])
