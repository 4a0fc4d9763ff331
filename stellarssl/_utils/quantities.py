"""Quantities at the border: checked and stripped on the way in."""

import astropy.units as u
import numpy as np

from stellarssl.exceptions import InputError

__all__ = ["as_quantity", "as_range"]


def as_quantity(
    name: str,
    value: object,
    unit: u.UnitBase | str,
    *,
    positive: bool = True,
    scalar: bool = False,
    equivalencies: list | None = None,
) -> u.Quantity | None:
    """Turn an argument into a quantity of the given unit.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : `~astropy.units.Quantity`, str or None
        ``"288 pc"`` and ``288 * u.pc`` are the same; None stays None. A bare number is refused.
    unit : unit-like
        What it is converted to.
    positive : bool, optional
        Whether values must be finite and above zero.
    scalar : bool, optional
        Whether it must be one value.
    equivalencies : list, optional
        Passed to `~astropy.units.Quantity.to`.

    Returns
    -------
    quantity : `~astropy.units.Quantity` or None
        In ``unit``.

    Raises
    ------
    InputError
        If it is a bare number, has another physical type, is not positive or not one value.
    """
    if value is None:
        return None
    unit = u.Unit(unit)
    rule = f"must be a quantity convertible to {unit.to_string()!r}, such as '10 {unit}'"
    try:
        quantity = u.Quantity(value)
        bare = isinstance(value, (int, float)) or (
            quantity.unit == u.dimensionless_unscaled and unit != u.dimensionless_unscaled
        )
        quantity = quantity.to(unit, equivalencies=equivalencies or [])
    except (TypeError, ValueError) as error:  # no quantity, no unit, or another kind of unit
        raise InputError(name, rule, value) from error
    if bare:
        raise InputError(name, rule, value)
    if positive and not np.all(np.isfinite(quantity.value) & (quantity.value > 0)):
        raise InputError(name, "must be finite and above zero", value)
    if scalar and not quantity.isscalar:
        raise InputError(name, "must be a single value", value)
    return quantity


def as_range(name: str, value: object, unit: u.UnitBase | str) -> u.Quantity | None:
    """Turn an argument into an ascending quantity of two values; None stays None.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : `~astropy.units.Quantity`, str or None
        Two values; as a string ``"-5 10 km/s"``.
    unit : unit-like
        What it is converted to.

    Returns
    -------
    limits : `~astropy.units.Quantity` or None
        Shape (2,), ascending, in ``unit``.

    Raises
    ------
    InputError
        If there are not two finite, different values of the right physical type.
    """
    if value is None:
        return None
    rule = f"must be two values with a unit convertible to {u.Unit(unit)}"
    given = value
    if isinstance(value, str):
        try:
            low, high, *words = value.split()
            value = u.Quantity([float(low), float(high)], " ".join(words))
        except (ValueError, TypeError) as error:
            raise InputError(name, rule, given) from error
    limits = as_quantity(name, value, unit, positive=False)
    if limits.shape != (2,) or not np.all(np.isfinite(limits)) or limits[0] == limits[1]:
        raise InputError(name, rule, given)
    return np.sort(limits)
