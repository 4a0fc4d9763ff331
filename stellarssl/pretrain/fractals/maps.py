"""One map of an iterated function system."""

import math
from dataclasses import dataclass
from typing import Any

from stellarssl.exceptions import InputError
from stellarssl.pretrain.fractals.variations import VARIATIONS

__all__ = ["IDENTITY", "FlameMap"]

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The affine map that changes nothing."""


def _numbers(name: str, values: Any, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise InputError(name, f"must be {count} numbers", values) from error
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(name, f"must be {count} finite numbers", values)
    return numbers


@dataclass(frozen=True)
class FlameMap:
    """One map of the system: affine, then a sum of variations, then an affine ``post``.

    Attributes
    ----------
    affine : tuple of 6 float
        a ... f of x' = a x + b y + c, y' = d x + e y + f.
    variations : tuple of (str, float, tuple of float)
        Name, weight and parameters; parameters left out have their defaults.
    weight : float
        Probability, up to normalization.
    color : float
        What the color coordinate is drawn to, 0-1.
    color_speed : float
        How far it is drawn, 0-1.
    post : tuple of 6 float
        As ``affine``.
    """

    affine: tuple[float, ...] = IDENTITY
    variations: tuple[tuple[str, float, tuple[float, ...]], ...] = (("linear", 1.0, ()),)
    weight: float = 1.0
    color: float = 0.5
    color_speed: float = 0.5
    post: tuple[float, ...] = IDENTITY

    def __post_init__(self) -> None:
        for name in ("affine", "post"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), 6))
        for name in ("weight", "color", "color_speed"):
            object.__setattr__(self, name, _numbers(name, [getattr(self, name)], 1)[0])
        if self.weight < 0:
            raise InputError("weight", "must not be negative", self.weight)
        kinds = []
        for name, weight, own in self.variations:
            if name not in VARIATIONS:
                raise InputError("variations", "must be among the known ones", name)
            defaults = [parameter.default for parameter in VARIATIONS[name].parameters]
            values = _numbers(name, own, len(own)) if len(own) <= len(defaults) else None
            if values is None:
                raise InputError(name, f"must have at most {len(defaults)} parameters", own)
            kinds.append((name, *_numbers(name, [weight], 1), values + tuple(defaults[len(own) :])))
        object.__setattr__(self, "variations", tuple(kinds))
