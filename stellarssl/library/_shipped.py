"""Read library files: every checksum inside the file, and that of a shipped file as a whole."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.utils.exceptions import AstropyWarning

from stellarssl.exceptions import InputError

__all__ = ["SHIPPED", "check_file", "open_fits", "read_table", "row_index", "rows_without"]

SHIPPED = Path(__file__).parents[1] / "data" / "library"
"""Directory of the shipped files."""


def check_file(path: Path, sha256: str) -> None:
    """Refuse a shipped file that is not the one that the package was made with.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.
    sha256 : str
        Checksum of the whole file.

    Raises
    ------
    InputError
        If the file is missing or has another checksum.
    """
    if not path.is_file():
        raise InputError("library", "file not found; reinstall stellarssl", str(path))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        rule = f"the shipped file {path} is damaged or changed; reinstall stellarssl"
        raise InputError("library", f"{rule} (SHA-256 should be {sha256})", found)


@contextmanager
def open_fits(path: Path, content: str) -> Iterator[fits.HDUList]:
    """Open a library file; what goes wrong while it is read is an `InputError`.

    Parameters
    ----------
    path : `~pathlib.Path`
        A FITS file.
    content : str
        What it must hold, for the message.

    Yields
    ------
    hdus : `~astropy.io.fits.HDUList`
        The open file.

    Raises
    ------
    InputError
        If the file is missing, truncated, damaged or does not hold ``content``.
    """
    if not path.is_file():
        raise InputError("library", "file not found", str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)  # checksums and truncation only warn
            # astropy leaves a file that it opened itself open if it raises
            with path.open("rb") as file, fits.open(file, checksum=True) as hdus:
                yield hdus
    except (OSError, KeyError, ValueError, TypeError, IndexError, AstropyWarning) as error:
        rule = f"must be an undamaged FITS file of {content} ({error})"
        raise InputError("library", rule, str(path)) from error


def read_table(hdu: fits.BinTableHDU, text: tuple[str, ...]) -> QTable:
    """Read the labels of a library.

    Parameters
    ----------
    hdu : `~astropy.io.fits.BinTableHDU`
        The table.
    text : tuple of str
        Columns that hold names.

    Returns
    -------
    table : `~astropy.table.QTable`
        Without metadata; NaN stays NaN.
    """
    table = QTable.read(hdu, mask_invalid=False)
    table.meta.clear()
    for name in text:
        table[name] = table[name].astype(str)
    return table


def row_index(rows: np.ndarray | slice, n_rows: int) -> np.ndarray:
    """Turn a selection of rows into their indices.

    Parameters
    ----------
    rows : ndarray or slice
        Boolean mask, indices or slice.
    n_rows : int
        Number of rows that there are.

    Returns
    -------
    index : ndarray of int
        At least one.

    Raises
    ------
    InputError
        If no row is selected or ``rows`` does not fit.
    """
    try:
        index = np.atleast_1d(np.arange(n_rows)[rows])
    except IndexError as error:
        raise InputError("rows", f"must select among the {n_rows} rows") from error
    if not index.size:
        raise InputError("rows", "must leave at least one row", 0)
    return index


def rows_without(sim: str | Sequence[str], known: np.ndarray) -> np.ndarray:
    """Mark the rows of all simulations but some.

    Parameters
    ----------
    sim : str or sequence of str
        Names of the simulations to leave out.
    known : ndarray of str
        The simulation of each row.

    Returns
    -------
    rows : ndarray of bool
        True for the rows that stay.

    Raises
    ------
    InputError
        If a simulation is not among those of the rows.
    """
    names = [sim] if isinstance(sim, str) else list(sim)
    for name in names:
        if name not in known:
            raise InputError("sim", f"must be among {', '.join(np.unique(known))}", name)
    return ~np.isin(known, names)
