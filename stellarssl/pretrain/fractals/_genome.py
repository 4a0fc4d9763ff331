"""What a flame is made of."""

import math
from dataclasses import dataclass

import numpy as np

from stellarssl.pretrain.fractals._blocks import N_PARAMETERS, block_address
from stellarssl.pretrain.fractals._variations import VARIATIONS

__all__ = ["Draws", "FlameGenome", "FlameMap"]

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class Draws:
    """Random numbers that are the same on every machine: PCG64's uniform doubles, nothing else.

    Parameters
    ----------
    *key : int
        Seeds, none negative.
    """

    def __init__(self, *key: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(self._generator.random())

    def normal(self, mean: float = 0.0, sigma: float = 1.0) -> float:
        """Sum of twelve uniforms: only additions, so that no library's logarithm enters."""
        return mean + sigma * (sum(self._generator.random(12).tolist()) - 6.0)

    def integer(self, low: int, high: int) -> int:
        """Of ``low .. high``, both included."""
        return low + int(self._generator.random() * (high + 1 - low))

    def choice(self, items):
        return items[self.integer(0, len(items) - 1)]


@dataclass(frozen=True)
class FlameMap:
    """One map of the system: affine, then a sum of variations, then an affine ``post``.

    Attributes
    ----------
    affine : tuple of 6 float
        a ... f of x' = a x + b y + c, y' = d x + e y + f.
    variations : tuple of (str, float, tuple of float)
        Name, weight and parameters.
    weight : float
        Probability, up to normalisation.
    color : float
        What the colour coordinate is drawn to, 0-1.
    color_speed : float
        How far, 0-1.
    post : tuple of 6 float
        As ``affine``.
    """

    affine: tuple[float, ...] = IDENTITY
    variations: tuple[tuple[str, float, tuple[float, ...]], ...] = (("linear", 1.0, ()),)
    weight: float = 1.0
    color: float = 0.5
    color_speed: float = 0.5
    post: tuple[float, ...] = IDENTITY


@dataclass(frozen=True)
class FlameGenome:
    """The numbers that fix a flame.

    Attributes
    ----------
    maps : tuple of FlameMap
        The iterated function system.
    final : FlameMap or None
        Applied to what is drawn, not to the orbit.
    """

    maps: tuple[FlameMap, ...]
    final: FlameMap | None = None

    @classmethod
    def random(cls, seed: int, index: int = 0, attempt: int = 0) -> "FlameGenome":
        draws = Draws(seed, index, attempt, 0)
        n_maps = draws.integer(2, 6)
        maps = tuple(_random_map(draws, k / (n_maps - 1)) for k in range(n_maps))
        final = _random_map(draws, 0.5, speed=0.0) if draws.uniform() < 0.15 else None
        return cls(maps, final)

    def program(self):
        """Return the arrays that the renderer reads and the maps' cumulated probabilities."""
        maps = self.maps if self.final is None else (*self.maps, self.final)
        operations = [(m, *v) for m in maps for v in m.variations]
        parameters = np.zeros((len(operations), N_PARAMETERS))
        for row, (m, _, _, own) in zip(parameters, operations, strict=True):
            row[:6] = m.affine
            row[6 : 6 + len(own)] = own
        kinds = [VARIATIONS[name] for _, name, _, _ in operations]
        program = (
            np.array([m.affine for m in maps]),
            np.array([m.post for m in maps]),
            np.array([m.post != IDENTITY for m in maps], dtype=np.uint8),
            np.array([(m.color, m.color_speed) for m in maps]),
            np.cumsum([0] + [len(m.variations) for m in maps]),
            np.array([block_address(kind) for kind in kinds]),
            np.array([kind.n_uniforms for kind in kinds]),
            np.array([weight for _, _, weight, _ in operations]),
            parameters,
        )
        weights = np.array([m.weight for m in self.maps])
        return program, np.cumsum(weights / weights.sum())


def _random_map(draws: Draws, color: float, speed: float | None = None) -> FlameMap:
    names = draws.integer(1, 3)
    picked = {draws.choice(tuple(VARIATIONS)): draws.uniform(0.1, 1.0) for _ in range(names)}
    if draws.uniform() < 0.5:
        picked["linear"] = picked.get("linear", 0.0) + draws.uniform(0.2, 1.5)
    total = sum(picked.values())
    return FlameMap(
        affine=_random_affine(draws, 0.8, 0.8),
        variations=tuple(
            (name, weight / total, _random_parameters(draws, name))
            for name, weight in sorted(picked.items())
        ),
        weight=draws.uniform(0.3, 1.0),
        color=min(1.0, max(0.0, draws.normal(color, 0.1))),
        color_speed=draws.uniform(0.3, 0.7) if speed is None else speed,
        post=_random_affine(draws, 0.9, 0.3) if draws.uniform() < 0.3 else IDENTITY,
    )


def _random_parameters(draws: Draws, name: str) -> tuple[float, ...]:
    return tuple(
        float(draws.integer(int(own.low), int(own.high)))
        if own.whole
        else draws.uniform(own.low, own.high)
        for own in VARIATIONS[name].parameters
    )


def _random_affine(draws: Draws, size: float, shift: float) -> tuple[float, ...]:
    """Turn, stretch, turn: singular values between 0.3 and 1 times ``size``, more or less."""
    first, second = draws.uniform(-math.pi, math.pi), draws.uniform(-math.pi, math.pi)
    big = size * draws.uniform(0.5, 1.2)
    small = big * draws.uniform(0.4, 1.0) * (1 if draws.uniform() < 0.7 else -1)
    c1, s1, c2, s2 = math.cos(first), math.sin(first), math.cos(second), math.sin(second)
    a, b = big * c1 * c2 - small * s1 * s2, -big * c1 * s2 - small * s1 * c2
    d, e = big * s1 * c2 + small * c1 * s2, -big * s1 * s2 + small * c1 * c2
    return (a, b, draws.normal(0, shift), d, e, draws.normal(0, shift))
