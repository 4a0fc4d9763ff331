"""New maps: by chance, by mutation, between two genomes."""

from dataclasses import replace
from math import pi

from stellarssl.pretrain.fractals._math import cos, sin
from stellarssl.pretrain.fractals.draws import Draws
from stellarssl.pretrain.fractals.maps import IDENTITY, FlameMap
from stellarssl.pretrain.fractals.variations import VARIATIONS

__all__ = [
    "interpolate_final",
    "interpolate_maps",
    "mutate_maps",
    "random_affine_maps",
    "random_maps",
]

_NAMES = tuple(sorted(VARIATIONS))
_Maps = tuple[FlameMap, ...]


def random_maps(draws: Draws) -> tuple[_Maps, FlameMap | None]:
    """Draw two to eight maps, and a final one in 15 % of the cases.

    Colors are spread evenly over the maps, give or take 0.1.

    Parameters
    ----------
    draws : Draws
        The source of chance.

    Returns
    -------
    maps : tuple of FlameMap
        The system.
    final : FlameMap or None
        It leaves colors alone.
    """
    n_maps = draws.integer(2, 8)
    maps = tuple(_random_map(draws, k / (n_maps - 1)) for k in range(n_maps))
    final = _random_map(draws, 0.5, color_speed=0.0) if draws.uniform() < 0.15 else None
    return maps, final


def random_affine_maps(draws: Draws) -> _Maps:
    """Draw two to eight contracting affine maps (see `FlameGenome.random_affine`).

    Parameters
    ----------
    draws : Draws
        The source of chance.

    Returns
    -------
    maps : tuple of FlameMap
        Of the linear variation.
    """
    n_maps, maps = draws.integer(2, 8), []
    for k in range(n_maps):
        a, b, c, d, e, f = (draws.uniform(-1, 1) for _ in range(6))
        total, determinant = a * a + b * b + d * d + e * e, a * e - b * d
        # the larger singular value
        largest = (0.5 * (total + max(total**2 - 4 * determinant**2, 0.0) ** 0.5)) ** 0.5
        shrink = min(1.0, draws.uniform(0.5, 0.95) / largest)
        affine = (shrink * a, shrink * b, c, shrink * d, shrink * e, f)
        weight = max(shrink**2 * abs(determinant), 0.01)
        maps.append(FlameMap(affine, weight=weight, color=k / (n_maps - 1)))
    return tuple(maps)


def _random_map(draws: Draws, color: float, color_speed: float | None = None) -> FlameMap:
    picked = {draws.choice(_NAMES): draws.uniform(0.1, 1.0) for _ in range(draws.integer(1, 3))}
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
        color_speed=draws.uniform(0.3, 0.7) if color_speed is None else color_speed,
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
    """Turn, stretch, turn: the larger singular value is 0.5-1.2 times ``size``."""
    first, second = draws.uniform(-pi, pi), draws.uniform(-pi, pi)
    big = size * draws.uniform(0.5, 1.2)
    small = big * draws.uniform(0.4, 1.0) * (1 if draws.uniform() < 0.7 else -1)
    c1, s1, c2, s2 = cos(first), sin(first), cos(second), sin(second)
    a, b = big * c1 * c2 - small * s1 * s2, -big * c1 * s2 - small * s1 * c2
    d, e = big * s1 * c2 + small * c1 * s2, -big * s1 * s2 + small * c1 * c2
    return (a, b, draws.normal(0, shift), d, e, draws.normal(0, shift))


def mutate_maps(maps: _Maps, draws: Draws, strength: float) -> _Maps:
    """Change one of the maps in one way of four.

    Parameters
    ----------
    maps : tuple of FlameMap
        The parent's.
    draws : Draws
        The source of chance.
    strength : float
        Standard deviation of what is added to coefficients.

    Returns
    -------
    maps : tuple of FlameMap
        The child's.
    """
    chosen = draws.integer(0, len(maps) - 1)
    old, way = maps[chosen], draws.integer(0, 3)
    if way == 0:
        new = replace(old, affine=tuple(draws.normal(value, strength) for value in old.affine))
    elif way == 1:
        name = draws.choice(_NAMES)
        kept = tuple(entry for entry in old.variations if entry[0] != name)[:2]
        entry = (name, draws.uniform(0.1, 1.0), _random_parameters(draws, name))
        new = replace(old, variations=(*kept, entry))
    elif way == 2:
        new = replace(old, color=draws.uniform(), weight=old.weight * draws.uniform(0.5, 2.0))
    else:
        new = replace(old, post=tuple(draws.normal(value, strength) for value in old.post))
    return (*maps[:chosen], new, *maps[chosen + 1 :])


def _between(first: tuple[float, ...], second: tuple[float, ...], t: float) -> tuple[float, ...]:
    return tuple((1 - t) * a + t * b for a, b in zip(first, second, strict=True))


def _interpolate(first: FlameMap, second: FlameMap, t: float) -> FlameMap:
    ours = {name: (weight, own) for name, weight, own in first.variations}
    theirs = {name: (weight, own) for name, weight, own in second.variations}
    variations = []
    for name in sorted(ours | theirs):
        weight, own = ours.get(name, (0.0, theirs.get(name, (0, ()))[1]))
        other_weight, other_own = theirs.get(name, (0.0, own))
        blend = _between((weight, *own), (other_weight, *other_own), t)
        variations.append((name, blend[0], blend[1:]))
    numbers = ("weight", "color", "color_speed")
    pair = [tuple(getattr(side, name) for name in numbers) for side in (first, second)]
    return FlameMap(
        affine=_between(first.affine, second.affine, t),
        variations=tuple(variations),
        post=_between(first.post, second.post, t),
        **dict(zip(numbers, _between(*pair, t), strict=True)),
    )


def interpolate_maps(first: _Maps, second: _Maps, t: float) -> _Maps:
    """Go part of the way between two systems, map by map; a lone map fades by its weight.

    Parameters
    ----------
    first, second : tuple of FlameMap
        The systems at ``t`` = 0 and 1.
    t : float
        0-1.

    Returns
    -------
    maps : tuple of FlameMap
        As many as the longer system has, fewer those of no weight.
    """
    n = max(len(first), len(second))
    ours = first + tuple(replace(m, weight=0.0) for m in second[len(first) : n])
    theirs = second + tuple(replace(m, weight=0.0) for m in first[len(second) : n])
    between = (_interpolate(a, b, t) for a, b in zip(ours, theirs, strict=True))
    return tuple(m for m in between if m.weight > 0)


def interpolate_final(first: FlameMap | None, second: FlameMap | None, t: float) -> FlameMap | None:
    """Go part of the way between two final maps; where there is none, from the identity.

    Parameters
    ----------
    first, second : FlameMap or None
        At ``t`` = 0 and 1.
    t : float
        0-1.

    Returns
    -------
    final : FlameMap or None
        None if both are.
    """
    if first is None and second is None:
        return None
    nothing = FlameMap(color_speed=0.0)
    return _interpolate(first or nothing, second or nothing, t)
