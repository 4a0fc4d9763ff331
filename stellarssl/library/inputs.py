"""Validation of the maps and labels from which a library is made."""

from collections.abc import Sequence

import astropy.units as u
import numpy as np
from astropy.table import QTable

from stellarssl._utils.geometry import TILE_PIXELS
from stellarssl._utils.quantities import as_quantity
from stellarssl.exceptions import InputError

__all__ = ["labelled", "stacked"]

_COLUMNS = (
    "sim", "star", "group", "clump", "output", "time", "axis", "mass", "age", "has_star", "depth",
    "from_peak",
)  # fmt: skip


def stacked(n_h: u.Quantity, v_los: u.Quantity, sigma_v: u.Quantity) -> np.ndarray:
    """Check maps and stack them, velocities relative to each map's column-weighted mean.

    Parameters
    ----------
    n_h : `~astropy.units.Quantity`
        Maps, shape (n, 64, 64), in a unit convertible to cm^-2.
    v_los : `~astropy.units.Quantity`
        Maps, shape (n, 64, 64), in a unit convertible to km/s.
    sigma_v : `~astropy.units.Quantity`
        Maps, shape (n, 64, 64), in a unit convertible to km/s.

    Returns
    -------
    maps : ndarray of float32, shape (n, 3, 64, 64)
        log10 of the column [cm^-2], velocity and dispersion [km/s].
    """
    arrays = []
    for name, value, unit in (("n_h", n_h, u.cm**-2), ("v_los", v_los, u.km / u.s),
                              ("sigma_v", sigma_v, u.km / u.s)):  # fmt: skip
        try:
            array = u.Quantity(value).to_value(unit).astype(np.float64)
        except (u.UnitConversionError, TypeError) as error:
            raise InputError(name, f"must be maps in a unit convertible to {unit}") from error
        if array.ndim != 3 or array.shape[1:] != (TILE_PIXELS, TILE_PIXELS):
            raise InputError(
                name, f"must have shape (n, {TILE_PIXELS}, {TILE_PIXELS})", array.shape
            )
        if not np.isfinite(array).all():
            raise InputError(name, "must be finite everywhere")
        arrays.append(array)
    if len({len(array) for array in arrays}) > 1:
        raise InputError("n_h", "must be as many maps as v_los and sigma_v", len(arrays[0]))
    column, velocity, sigma = arrays
    if not (column > 0).all() or not (sigma >= 0).all():
        raise InputError("n_h", "must be above zero, and sigma_v not below it")
    mean = (column * velocity).sum(axis=(1, 2)) / column.sum(axis=(1, 2))
    velocity = velocity - mean[:, None, None]
    return np.stack([np.log10(column), velocity, sigma], axis=1).astype(np.float32)


def labelled(
    n: int, mass: u.Quantity, group: Sequence, clump: Sequence | None, columns: dict
) -> QTable:
    """Check labels and put them into a table with every column.

    Parameters
    ----------
    n : int
        Number of maps.
    mass : `~astropy.units.Quantity`
        Mass of the star in each map; NaN where there is none.
    group : sequence
        Star or starless position that each map shows.
    clump : sequence or None
        Clump that each map belongs to; by default its group.
    columns : dict
        Further columns by name, such as ``sim`` or ``age``.

    Returns
    -------
    labels : `~astropy.table.QTable`
        One row for each map.
    """
    mass = as_quantity("mass", mass, u.solMass, positive=False)
    has_star = np.isfinite(mass.value)
    if not (mass.value[has_star] > 0).all():
        raise InputError("mass", "must be above zero, or NaN where there is no star")
    optional = {
        "sim": np.full(n, "user"),
        "star": np.where(has_star, 0, -1),
        "output": np.zeros(n, dtype=int),
        "time": np.full(n, np.nan) * u.Myr,
        "axis": np.full(n, ""),
        "age": np.full(n, np.nan) * u.Myr,
        "depth": np.full(n, 0.5) * u.pc,
        "from_peak": np.zeros(n, dtype=bool),
    }
    for name in columns:
        if name not in optional:
            raise InputError("columns", f"must be among {', '.join(optional)}", name)
    values = optional | columns
    for name, unit in (("time", u.Myr), ("age", u.Myr), ("depth", u.pc)):
        values[name] = as_quantity(name, values[name], unit, positive=False)
    values |= {
        "group": group,
        "clump": group if clump is None else clump,
        "mass": mass,
        "has_star": has_star,
    }
    table = QTable()
    for name in _COLUMNS:
        if np.shape(values[name]) != (n,):
            rule = f"must hold one value for each of the {n} maps"
            raise InputError(name, rule, np.shape(values[name]))
        text = name in ("sim", "group", "clump", "axis")
        table[name] = np.asarray(values[name]).astype(str) if text else values[name]
    _check_groups(table)
    return table


def _check_groups(table: QTable) -> None:
    """Refuse a name that stands for two things, as a star's number in two runs would."""
    n_groups = len(np.unique(table["group"]))
    for name in ("sim", "clump", "has_star"):
        pairs = set(zip(table["group"], table[name].astype(str), strict=True))
        if len(pairs) > n_groups:
            names = [group for group, _ in pairs]
            twice = next(group for group in names if names.count(group) > 1)
            raise InputError("group", f"must name rows of the same {name}", str(twice))
