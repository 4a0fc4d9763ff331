"""Validation of quantities given as arguments."""

from typing import Any, Literal, overload

import astropy.units as u
import numpy as np

from stellarssl.exceptions import InputError, MissingInputError

__all__ = ["as_distance", "as_quantity", "as_range"]


@overload
def as_quantity(
    name: str,
    value: None,
    unit: u.UnitBase | str,
    *,
    positive: bool = True,
    scalar: bool = False,
    equivalencies: list | None = None,
) -> None: ...


@overload
def as_quantity(
    name: str,
    value: Any,
    unit: u.UnitBase | str,
    *,
    positive: bool = True,
    scalar: bool = False,
    equivalencies: list | None = None,
) -> u.Quantity: ...


def as_quantity(
    name: str,
    value: Any,
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


def as_range(name: str, value: Any, unit: u.UnitBase | str) -> u.Quantity | None:
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


@overload
def as_distance(
    distance: u.Quantity | str | None,
    known: u.Quantity | None,
    *,
    required: Literal[True] = True,
    one_value: str | None = None,
) -> u.Quantity: ...


@overload
def as_distance(
    distance: u.Quantity | str | None,
    known: u.Quantity | None,
    *,
    required: bool,
    one_value: str | None = None,
) -> u.Quantity | None: ...


def as_distance(
    distance: u.Quantity | str | None,
    known: u.Quantity | None,
    *,
    required: bool = True,
    one_value: str | None = None,
) -> u.Quantity | None:
    """Return the distance given as an argument, or else the distance that the data have.

    Parameters
    ----------
    distance : `~astropy.units.Quantity`, str or None
        The argument ``distance`` of the caller, one value or one per source.
    known : `~astropy.units.Quantity` or None
        Distance of the cube or of the moment maps.
    required : bool, optional
        Whether having neither is an error.
    one_value : str, optional
        The purpose that needs a single value, such as ``"for a grid of tiles"``. By default one
        value per source is accepted as well.

    Returns
    -------
    distance : `~astropy.units.Quantity` or None
        In pc; a scalar if ``one_value`` is given. None if there is none and it is not required.

    Raises
    ------
    MissingInputError
        If a distance is required and there is none.
    InputError
        If the distance is not a positive length, or has several values where one is needed.

    Examples
    --------
    >>> as_distance("0.14 kpc", None)
    <Quantity 140. pc>
    """
    distance = as_quantity("distance", known if distance is None else distance, u.pc)
    if distance is None:
        if required:
            rule = "must be given, such as '140 pc', because the data do not have one"
            raise MissingInputError("distance", rule)
        return None
    if one_value is None:
        return distance
    if distance.size != 1:
        raise InputError("distance", f"must be one value {one_value}", distance)
    return distance.reshape(())
