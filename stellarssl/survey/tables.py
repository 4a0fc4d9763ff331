"""One catalog of all cubes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import QTable, Table, vstack
from astropy.units import Quantity
from astropy.utils.masked import Masked

from stellarssl._utils.output import atomic_path
from stellarssl._utils.provenance import provenance
from stellarssl.masses import write_table
from stellarssl.survey._records import storing

__all__ = ["in_order", "merge_masses", "write_cubes"]


def in_order(tables: Sequence[QTable], rows: Sequence[np.ndarray]) -> QTable:
    """Stack tables and bring their rows into the order of the catalog.

    Parameters
    ----------
    tables : sequence of `~astropy.table.QTable`
        Of `~stellarssl.estimate_mass`.
    rows : sequence of ndarray
        Where in the catalog each table's rows belong.

    Returns
    -------
    table : `~astropy.table.QTable`
        All rows.
    """
    if len(tables) == 1:
        return tables[0]
    stacked = vstack(list(tables), metadata_conflicts="silent")
    return stacked[np.argsort(np.concatenate(rows))]


def merge_masses(output: Path, folders: Sequence[str]) -> dict[str, int]:
    """Write the masses of all cubes as ``masses.ecsv``, the record, and ``masses.fits``.

    Parameters
    ----------
    output : `~pathlib.Path`
        The survey's folder.
    folders : sequence of str
        Those of the cubes that have masses.

    Returns
    -------
    n_masses : dict of int
        By folder, how many of its masses are not masked.
    """
    paths = [output / "masses.ecsv", output / "masses.fits"]
    tables = [_read(output, folder) for folder in folders]
    with storing(output):
        if not tables:
            for path in paths:
                path.unlink(missing_ok=True)
            return {}
        merged = vstack(tables, metadata_conflicts="silent") if len(tables) > 1 else tables[0]
        merged.meta = provenance() | _common_meta([table.meta for table in tables])
        for path in paths:
            write_table(merged, path, overwrite=True)
    known = merged["cube"][~merged["mass"].mask]
    return dict(zip(*np.unique(known, return_counts=True), strict=True))


def _read(output: Path, folder: str) -> QTable:
    table = QTable.read(output / folder / "masses.ecsv")
    for name in table.colnames:
        # a column in which nothing is masked is read as plain, which does not stack on a masked one
        if isinstance(table[name], Quantity) and not isinstance(table[name], Masked):
            table[name] = Masked(table[name])
    table.add_column([folder] * len(table), name="cube", index=0)
    return table


def _common_meta(metas: Sequence[dict]) -> dict:
    """Keep what all cubes agree on."""
    first, *others = metas
    return {
        name: value
        for name, value in first.items()
        if all(name in meta and meta[name] == value for meta in others)
    }


def write_cubes(output: Path, rows: Sequence[dict]) -> Table:
    """Write ``cubes.ecsv``: how each cube fared.

    Parameters
    ----------
    output : `~pathlib.Path`
        The survey's folder.
    rows : sequence of dict
        ``cube``, ``folder``, ``status``, ``reason``, ``n_sources``, ``n_masses``.

    Returns
    -------
    table : `~astropy.table.Table`
        The same.
    """
    table = Table(rows=list(rows))
    path = output / "cubes.ecsv"
    with storing(path), atomic_path(path, overwrite=True) as temporary:
        table.write(temporary, format="ascii.ecsv")
    return table
