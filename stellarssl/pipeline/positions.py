"""Where the stars are: every form that positions may have, turned into one."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io.registry import IORegistryError
from astropy.table import QTable, Table
from regions import Regions

from stellarssl.exceptions import InputError, StellarSSLWarning

__all__ = ["PositionsLike", "Sources", "read_sources"]

_FORMS = "must be a SkyCoord, a table, a catalog file or a DS9/CRTF region file"
_REGION_FILES = {".reg": "ds9", ".ds9": "ds9", ".crtf": "crtf", ".crtf.gz": "crtf"}


@dataclass(frozen=True)
class Sources:
    """Positions with what is known of each.

    Attributes
    ----------
    id : tuple of str
        One name a source, all different.
    skycoord : `~astropy.coordinates.SkyCoord`
        Shape (n,).
    distance : `~astropy.units.Quantity` or None
        pc, shape (n,); None where the catalog has none.
    distance_error : `~astropy.units.Quantity` or None
        One standard deviation of the distances, pc, shape (n,).
    position_error : `~astropy.units.Quantity` or None
        An angle, shape (n,).
    velocity_range : `~astropy.units.Quantity` or None
        km/s, shape (n, 2): the window that the source's gas lies in.
    """

    id: tuple[str, ...]
    skycoord: SkyCoord
    distance: u.Quantity | None = None
    position_error: u.Quantity | None = None
    velocity_range: u.Quantity | None = None
    distance_error: u.Quantity | None = None

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.id)

    def __getitem__(self, rows: np.ndarray) -> "Sources":
        """Give some of the sources, by a boolean mask or indices."""
        rows = np.arange(len(self))[rows]
        known = {
            name: None if value is None else value[rows]
            for name, value in (
                ("distance", self.distance),
                ("position_error", self.position_error),
                ("velocity_range", self.velocity_range),
                ("distance_error", self.distance_error),
            )
        }
        return Sources(tuple(self.id[i] for i in rows), self.skycoord[rows], **known)


PositionsLike: TypeAlias = SkyCoord | Table | Sources | str | os.PathLike
"""Anything that `read_sources` takes: coordinates, a table, a catalog file or a region file."""


def read_sources(positions: PositionsLike) -> Sources:
    """Turn any form of positions into `Sources`.

    Parameters
    ----------
    positions : `~astropy.coordinates.SkyCoord`, `~astropy.table.Table`, path-like or `Sources`
        A table has a ``skycoord`` column or ``ra`` and ``dec``, and may have ``id``, ``distance``,
        ``distance_error``, ``position_error`` and ``velocity_range``, each with its unit. A path
        names a catalog that astropy reads, or a region file, of which the centers are taken.

    Returns
    -------
    sources : `Sources`
        At least one.

    Raises
    ------
    InputError
        If the form, a column or a unit is not understood, or if there is no position.
    """
    if isinstance(positions, Sources):
        return positions
    if isinstance(positions, SkyCoord):
        coord = positions.reshape(-1)
        return _checked(Sources(_numbered(len(coord)), coord))
    if isinstance(positions, Table):
        return _checked(_from_table(positions))
    if isinstance(positions, str | os.PathLike):
        return _checked(_from_file(Path(positions)))
    raise InputError("positions", _FORMS, type(positions).__name__)


def _numbered(n: int) -> tuple[str, ...]:
    return tuple(str(i + 1) for i in range(n))


def _checked(sources: Sources) -> Sources:
    if len(sources) == 0:
        raise InputError("positions", "must hold at least one position", 0)
    if len(set(sources.id)) < len(sources):
        raise InputError("positions", "must have ids that are all different", list(sources.id)[:9])
    return sources


def _from_file(path: Path) -> Sources:
    if not path.is_file():
        raise InputError("positions", f"must name a file that exists; {_FORMS}", str(path))
    if path.suffix.lower() in _REGION_FILES:
        return _from_regions(path)
    try:
        table = QTable.read(path)
    except (IORegistryError, ValueError, OSError, TypeError) as error:
        rule = "must name a catalog that astropy reads by its ending (.ecsv, .fits, .vot, .csv)"
        raise InputError("positions", rule, str(path)) from error
    if path.suffix.lower() == ".csv":  # the one format that keeps no units
        _assume_parsecs(table, path)
    return _from_table(table)


def _assume_parsecs(table: QTable, path: Path) -> None:
    for name in table.colnames:
        if name.lower() == "distance" and table[name].dtype.kind in "if":
            table[name].unit = u.pc
            text = f"{path.name}: the column {name} states no unit and is read as pc"
            warnings.warn(StellarSSLWarning(text), stacklevel=2)


def _from_regions(path: Path) -> Sources:
    try:
        regions = Regions.read(path, format=_REGION_FILES[path.suffix.lower()])
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise InputError(
            "positions", f"must be a readable region file ({error})", str(path)
        ) from error
    centers, names = [], []
    for i, region in enumerate(regions):
        center = getattr(region, "center", None)
        if not isinstance(center, SkyCoord):
            rule = "must hold sky regions with a center (point, circle, ellipse, box)"
            raise InputError("positions", rule, type(region).__name__)
        centers.append(center.icrs)
        names.append(str(region.meta.get("text") or region.meta.get("label") or i + 1))
    if not centers:
        raise InputError("positions", "must hold at least one position", str(path))
    unique = names if len(set(names)) == len(names) else _numbered(len(names))
    return Sources(tuple(unique), SkyCoord(centers))


def _from_table(table: Table) -> Sources:
    names = {name.lower(): name for name in table.colnames}
    coord = _coordinates(table, names)
    ids = _numbered(len(table))
    for candidate in ("id", "name", "source", "source_id"):
        if candidate in names:
            ids = tuple(str(value) for value in table[names[candidate]])
            break
    columns = {
        key: _column(table, names, key, unit)
        for key, unit in (
            ("distance", u.pc),
            ("position_error", u.arcsec),
            ("velocity_range", u.km / u.s),
            ("distance_error", u.pc),
        )
    }
    window = columns["velocity_range"]
    if window is not None and (window.ndim != 2 or window.shape[1] != 2):
        raise InputError("velocity_range", "must hold two values a source", window.shape)
    return Sources(ids, coord, **columns)


def _coordinates(table: Table, names: dict[str, str]) -> SkyCoord:
    for candidate in ("skycoord", "sky_coord", "coord"):
        if candidate in names and isinstance(table[names[candidate]], SkyCoord):
            return table[names[candidate]]
    if "ra" in names and "dec" in names:
        ra, dec = (table[names[key]] for key in ("ra", "dec"))
        _check_filled("ra", ra)
        _check_filled("dec", dec)
        # a column without a unit holds degrees, as in every catalog service
        angles = [
            u.Quantity(np.ma.getdata(axis), getattr(axis, "unit", None) or u.deg)
            for axis in (ra, dec)
        ]
        return SkyCoord(*angles, frame="icrs")
    rule = "must have a 'skycoord' column (SkyCoord) or 'ra' and 'dec'"
    raise InputError("positions", rule, table.colnames)


def _column(table: Table, names: dict[str, str], key: str, unit: u.Unit) -> u.Quantity | None:
    if key not in names:
        return None
    column = table[names[key]]
    if getattr(column, "unit", None) is None:
        raise InputError(key, f"must be a column with a unit convertible to {unit}", column.dtype)
    _check_filled(key, column)
    try:
        return u.Quantity(column).to(unit)
    except u.UnitConversionError as error:
        raise InputError(key, f"must be convertible to {unit}", str(column.unit)) from error


def _check_filled(key: str, column: Any) -> None:
    """Refuse a column in which the value of a source is masked, as an empty field of a CSV is."""
    mask = np.asarray(getattr(column, "mask", False))
    if mask.any():
        rows = np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1)) + 1
        raise InputError(key, "must have a value in each row", f"none in row {rows[0]}")
