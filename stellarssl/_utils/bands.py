"""Bands of rows, in which large images are processed to bound the memory needed."""

__all__ = ["BAND_PIXELS", "row_bands"]

BAND_PIXELS = 1 << 17
"""Largest number of pixels of a band, unless a single row has more."""


def row_bands(shape: tuple[int, int]) -> list[slice]:
    """Divide the rows of an image into bands of at most 131072 pixels.

    Parameters
    ----------
    shape : tuple of int
        Number of rows and columns of the image.

    Returns
    -------
    bands : list of slice
        Consecutive rows that together cover the image once. A band has at least one row.

    Examples
    --------
    >>> row_bands((3, 65536))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    n_rows, n_columns = shape
    height = max(BAND_PIXELS // max(n_columns, 1), 1)
    return [slice(start, min(start + height, n_rows)) for start in range(0, n_rows, height)]
