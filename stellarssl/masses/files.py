"""The mass table as a file: ECSV is the record, FITS and VOTable are exports."""

import os
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.io.votable.tree import Param, VOTableFile
from astropy.table import QTable

from stellarssl._utils.output import atomic_path
from stellarssl.exceptions import InputError

__all__ = ["write_table"]

_SUFFIXES = (".ecsv", ".fits", ".vot", ".xml")


def write_table(table: QTable, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """Write a table; the ending of the name says how.

    ``.ecsv`` keeps all. ``.fits``, ``.vot`` and ``.xml`` are exports for other programs: positions
    become ``ra`` and ``dec`` (ICRS, degrees), and ``meta`` header cards or parameters. Columns,
    units and masks survive in each.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        Of `mass_table`.
    path : path-like
        Where to.
    overwrite : bool, optional
        Whether a file that is there may be replaced.

    Returns
    -------
    path : `~pathlib.Path`
        The file that was written.

    Raises
    ------
    InputError
        If the ending is none of these.
    OutputExistsError
        If the file exists and ``overwrite`` is false.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise InputError("path", f"must end in one of {', '.join(_SUFFIXES)}", str(path))
    with atomic_path(path, overwrite=overwrite) as temporary:
        if path.suffix == ".ecsv":
            table.write(temporary, format="ascii.ecsv")
        elif path.suffix == ".fits":
            _fits(table).writeto(temporary, checksum=True)
        else:
            _votable(table).to_xml(str(temporary))
    return path


def _flat(table: QTable) -> QTable:
    """Replace positions by two columns of degrees; leave ``meta`` out."""
    flat = QTable()
    for name in table.colnames:
        if name == "skycoord":
            flat["ra"], flat["dec"] = table[name].icrs.ra, table[name].icrs.dec
        else:
            flat[name] = table[name]
    return flat


def _flat_meta(meta: dict) -> dict[str, str | int | float | bool]:
    """Keep what a header card can hold; spell the rest out in ASCII."""
    plain: dict[str, str | int | float | bool] = {}
    for key, value in meta.items():
        if isinstance(value, np.generic):
            value = value.item()  # noqa: PLW2901
        if isinstance(value, bool | int) or (isinstance(value, float) and np.isfinite(value)):
            plain[key] = value
        else:
            plain[key] = str(value).encode("ascii", "replace").decode().replace("\n", " ")
    return plain


def _fits(table: QTable) -> fits.HDUList:
    hdu = fits.table_to_hdu(_flat(table))
    hdu.name = "MASSES"
    hdu.header["LONGSTRN"] = "OGIP 1.0"
    for key, value in _flat_meta(table.meta).items():
        hdu.header[f"HIERARCH {key.upper().replace('-', '_')}"] = value
    return fits.HDUList([fits.PrimaryHDU(), hdu])


def _votable(table: QTable) -> VOTableFile:
    file = from_table(_flat(table))
    first = file.get_first_table()
    for key, value in _flat_meta(table.meta).items():
        first.params.append(Param(file, name=key, datatype="char", arraysize="*", value=str(value)))
    return file
