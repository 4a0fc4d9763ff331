"""The ranges that synthetic clouds are drawn from, and the parameters of one cloud."""

import math
import os
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from stellarssl.exceptions import InputError
from stellarssl.pretrain.fractals.draws import Draws
from stellarssl.pretrain.preset import read_section

__all__ = ["CloudParameters", "CloudRecipe", "Layer", "Protostar", "draw_layers", "read_recipe"]

_DEFAULT = Path(__file__).parent / "default.toml"

_Range = tuple[float, float]


@dataclass(frozen=True)
class DensityRanges:
    """Density of the turbulent gas, a lognormal field.

    Attributes
    ----------
    slope : tuple of float
        Power of the wavenumber, with a minus sign, in the three-dimensional power spectrum of the
        Gaussian field.
    scatter : tuple of float
        Standard deviation of the natural logarithm of the density.
    ridge_chance : float
        Fraction of the clouds whose field is mixed with the ridges -abs(g) of a second field g.
    ridge_share : tuple of float
        Weight of the ridges.
    centered : float
        Fraction of the clouds that are shifted so that the densest cube of four cells is in the
        center.
    """

    slope: tuple[float, float]
    scatter: tuple[float, float]
    ridge_chance: float
    ridge_share: tuple[float, float]
    centered: float


@dataclass(frozen=True)
class GasRanges:
    """Mass of all gas in the cube of 0.5 pc.

    Attributes
    ----------
    mass : tuple of float
        Solar masses, distributed log-uniformly.
    """

    mass: tuple[float, float]


@dataclass(frozen=True)
class StarRanges:
    """The star in the center, and companions.

    Attributes
    ----------
    mass : tuple of float
        Solar masses, distributed log-uniformly.
    starless : float
        Fraction of the clouds without a star in the center.
    softening : tuple of float
        Radius inside of which gravity is softened [pc], distributed log-uniformly.
    drift : float
        Standard deviation of each component of the star's velocity relative to the gas around it
        [km/s].
    """

    mass: tuple[float, float]
    starless: float
    softening: tuple[float, float]
    drift: float


@dataclass(frozen=True)
class EnvelopeRanges:
    """The envelope of the star in the center; companions have the same, except for the share.

    Attributes
    ----------
    slope : tuple of float
        Power of the radius, with a minus sign, in the density beyond the core.
    core : tuple of float
        Radius inside of which the density is constant [pc], distributed log-uniformly.
    share : tuple of float
        Fraction of the gas, distributed log-uniformly.
    modulation : tuple of float
        Power of the turbulent density by which the envelope is multiplied.
    offset : float
        Standard deviation of each coordinate of the envelope's center relative to the star [pc].
    """

    slope: tuple[float, float]
    core: tuple[float, float]
    share: tuple[float, float]
    modulation: tuple[float, float]
    offset: float


@dataclass(frozen=True)
class CompanionRanges:
    """Further stars, each with its own envelope and motion.

    Attributes
    ----------
    number : int
        Largest number of companions.
    chance : float
        Probability of each of them.
    mass : tuple of float
        Solar masses, distributed log-uniformly.
    distance : tuple of float
        Distance from the center [pc], distributed log-uniformly.
    share : tuple of float
        Fraction of the gas in the envelope of each, distributed log-uniformly.
    """

    number: int
    chance: float
    mass: tuple[float, float]
    distance: tuple[float, float]
    share: tuple[float, float]


@dataclass(frozen=True)
class TurbulenceRanges:
    """Turbulent velocities, a Gaussian field.

    Attributes
    ----------
    slope : tuple of float
        As that of the density.
    dispersion : tuple of float
        Standard deviation of each component over the cube [km/s], distributed log-uniformly.
    """

    slope: tuple[float, float]
    dispersion: tuple[float, float]


@dataclass(frozen=True)
class MotionRanges:
    """Motion of the gas around each star.

    Attributes
    ----------
    infall : tuple of float
        Velocity of infall over that of free fall.
    infall_radius : tuple of float
        Radius within which gas falls in [pc], distributed log-uniformly.
    gas_gravity : tuple of float
        Fraction of the enclosed gas that adds to the gravity of the star.
    rotation : tuple of float
        Velocity of rotation at the equator over the Keplerian one.
    rotation_radius : tuple of float
        Radius within which gas rotates [pc], distributed log-uniformly.
    unresolved : tuple of float
        Dispersion within a cell over the Keplerian velocity, within the radius of infall.
    """

    infall: tuple[float, float]
    infall_radius: tuple[float, float]
    gas_gravity: tuple[float, float]
    rotation: tuple[float, float]
    rotation_radius: tuple[float, float]
    unresolved: tuple[float, float]


@dataclass(frozen=True)
class LayerRanges:
    """Gas in front of the cube and behind it.

    Attributes
    ----------
    chance : float
        Fraction of the maps that have layers.
    number : int
        Number of layers of these maps.
    column : tuple of float
        Mean column of all layers over that of the cube, distributed log-uniformly.
    velocity : float
        Standard deviation of the velocity of a layer relative to the star [km/s].
    dispersion : tuple of float
        Velocity dispersion of a layer [km/s].
    slope : tuple of float
        Power of the wavenumber, with a minus sign, in the two-dimensional power spectra of the
        layer's log column and velocity.
    scatter : tuple of float
        Standard deviation of the natural logarithm of a layer's column.
    coherence : tuple of float
        Fraction of the variance of the velocities that lies between lines of sight.
    """

    chance: float
    number: int
    column: tuple[float, float]
    velocity: float
    dispersion: tuple[float, float]
    slope: tuple[float, float]
    scatter: tuple[float, float]
    coherence: tuple[float, float]


@dataclass(frozen=True)
class Protostar:
    """A star, its envelope and the motion that it causes.

    Attributes
    ----------
    mass : float
        Solar masses; zero for an envelope without a star.
    position : tuple of 3 float
        Relative to the center of the cube [pc].
    softening : float
        Radius inside of which gravity is softened [pc].
    share : float
        Fraction of the gas that is in the envelope.
    slope, core, modulation : float
        Shape of the envelope, see ``EnvelopeRanges``.
    offset : tuple of 3 float
        Center of the envelope relative to the star [pc].
    infall, infall_radius, gas_gravity, rotation, rotation_radius, unresolved : float
        Motion of the gas, see ``MotionRanges``.
    axis : tuple of 3 float
        Unit vector of the rotation.
    """

    mass: float
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    softening: float = 0.01
    share: float = 0.0
    slope: float = 2.0
    core: float = 0.01
    modulation: float = 0.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    infall: float = 0.0
    infall_radius: float = 0.1
    gas_gravity: float = 0.0
    rotation: float = 0.0
    rotation_radius: float = 0.1
    unresolved: float = 0.0
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class CloudParameters:
    """What one cloud is made of.

    Attributes
    ----------
    gas_mass : float
        All gas in the cube [solar masses].
    slope, scatter, ridge_share : float
        Turbulent density, see ``DensityRanges``.
    centered : bool
        Whether the densest cube of four cells is shifted to the center.
    turbulence_slope, turbulence : float
        Slope and dispersion [km/s] of the turbulent velocities.
    stars : tuple of `Protostar`
        The one in the center, then companions.
    drift : tuple of 3 float
        Velocity of the gas around the star relative to the star [km/s].

    Raises
    ------
    InputError
        If there is no gas, a number is not finite, or the envelopes hold more than all gas.
    """

    gas_mass: float
    slope: float = 3.6
    scatter: float = 1.8
    ridge_share: float = 0.0
    centered: bool = False
    turbulence_slope: float = 3.8
    turbulence: float = 0.5
    stars: tuple[Protostar, ...] = (Protostar(0.0),)
    drift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        for values in (vars(self), *(vars(star) for star in self.stars)):
            for name, value in values.items():
                if name != "stars" and not np.isfinite(value).all():
                    raise InputError(name, "must be finite", value)
        if self.gas_mass <= 0:
            raise InputError("gas_mass", "must be above zero: a cloud needs gas", self.gas_mass)
        if sum(star.share for star in self.stars) > 1:
            shares = [star.share for star in self.stars]
            raise InputError("share", "must not add up to more than 1", shares)


@dataclass(frozen=True)
class Layer:
    """A layer of gas in front of a cube or behind it.

    Attributes
    ----------
    column : float
        Mean column over that of the cube.
    velocity : float
        Mean velocity relative to the star [km/s].
    dispersion : float
        Velocity dispersion [km/s].
    slope, scatter, coherence : float
        Structure, see ``LayerRanges``.
    """

    column: float
    velocity: float = 0.0
    dispersion: float = 0.3
    slope: float = 3.0
    scatter: float = 0.0
    coherence: float = 0.0


@dataclass(frozen=True)
class CloudRecipe:
    """All ranges that clouds are drawn from; the sections of a TOML file.

    Read by `read_recipe`. Ranges are distributed uniformly, if the section does not say otherwise.
    """

    density: DensityRanges
    gas: GasRanges
    star: StarRanges
    envelope: EnvelopeRanges
    companions: CompanionRanges
    turbulence: TurbulenceRanges
    motion: MotionRanges
    layers: LayerRanges

    @classmethod
    def from_dict(cls, record: dict) -> "CloudRecipe":
        """Build a recipe from its sections, refusing what it does not know.

        Parameters
        ----------
        record : dict
            Sections as dicts of numbers and of pairs of numbers.

        Returns
        -------
        recipe : `CloudRecipe`
            The ranges.

        Raises
        ------
        InputError
            If a section or key is missing or unknown, or a value is out of range.
        """
        known: dict[str, Any] = {each.name: each.type for each in fields(cls)}
        if unknown := sorted(set(record) - set(known)):
            raise InputError("recipe", f"has sections {', '.join(known)} and no others", unknown)
        sections: dict[str, Any] = {}
        for name, kind in known.items():
            sections[name] = read_section(name, kind, record.get(name, {}))
            for each in fields(sections[name]):
                _check(f"[{name}] {each.name}", each.name, getattr(sections[name], each.name))
        return cls(**sections)

    def draw(self, seed: int, index: int) -> CloudParameters:
        """Draw the parameters of a cloud.

        Parameters
        ----------
        seed, index : int
            The parameters depend on these two and on the recipe only.

        Returns
        -------
        parameters : `CloudParameters`
            Parameters within the ranges. Shares of envelopes are reduced together where they
            would add up to more than 0.8.

        Examples
        --------
        >>> parameters = read_recipe().draw(seed=0, index=3)
        >>> 10 <= parameters.gas_mass <= 140
        True
        """
        draws = Draws(seed, index, 0)
        ridges = draws.uniform() < self.density.ridge_chance
        ridge_share = draws.uniform(*self.density.ridge_share)
        return CloudParameters(
            gas_mass=_log_uniform(draws, self.gas.mass),
            slope=draws.uniform(*self.density.slope),
            scatter=draws.uniform(*self.density.scatter),
            ridge_share=ridge_share if ridges else 0.0,
            centered=draws.uniform() < self.density.centered,
            turbulence_slope=draws.uniform(*self.turbulence.slope),
            turbulence=_log_uniform(draws, self.turbulence.dispersion),
            drift=_normals(draws, self.star.drift),
            stars=self._draw_stars(draws),
        )

    def _draw_stars(self, draws: Draws) -> tuple[Protostar, ...]:
        companions = self.companions
        has_star = draws.uniform() >= self.star.starless
        mass = _log_uniform(draws, self.star.mass)
        share = _log_uniform(draws, self.envelope.share)
        stars = [self._draw_star(draws, mass if has_star else 0.0, share, (0.0, 0.0, 0.0))]
        for _ in range(companions.number):
            if draws.uniform() < companions.chance:
                distance = _log_uniform(draws, companions.distance)
                x, y, z = (distance * part for part in _direction(draws))
                mass = _log_uniform(draws, companions.mass)
                share = _log_uniform(draws, companions.share)
                stars.append(self._draw_star(draws, mass, share, (x, y, z)))
        return _within(stars, 0.8)

    def _draw_star(
        self, draws: Draws, mass: float, share: float, position: tuple[float, float, float]
    ) -> Protostar:
        motion, envelope = self.motion, self.envelope
        return Protostar(
            mass=mass,
            position=position,
            softening=_log_uniform(draws, self.star.softening),
            share=share,
            slope=draws.uniform(*envelope.slope),
            core=_log_uniform(draws, envelope.core),
            modulation=draws.uniform(*envelope.modulation),
            offset=_normals(draws, envelope.offset),
            infall=draws.uniform(*motion.infall),
            infall_radius=_log_uniform(draws, motion.infall_radius),
            gas_gravity=draws.uniform(*motion.gas_gravity),
            rotation=draws.uniform(*motion.rotation),
            rotation_radius=_log_uniform(draws, motion.rotation_radius),
            unresolved=draws.uniform(*motion.unresolved),
            axis=_direction(draws),
        )


def draw_layers(ranges: LayerRanges, draws: Draws) -> tuple[Layer, ...]:
    """Draw the layers of one map.

    Parameters
    ----------
    ranges : LayerRanges
        Section ``layers`` of a recipe.
    draws : Draws
        Random numbers.

    Returns
    -------
    layers : tuple of `Layer`
        Empty for maps without layers.
    """
    if draws.uniform() >= ranges.chance:
        return ()
    total = _log_uniform(draws, ranges.column)
    parts = [draws.uniform() for _ in range(ranges.number)]
    return tuple(
        Layer(
            column=total * part / sum(parts),
            velocity=draws.normal(0.0, ranges.velocity),
            dispersion=draws.uniform(*ranges.dispersion),
            slope=draws.uniform(*ranges.slope),
            scatter=draws.uniform(*ranges.scatter),
            coherence=draws.uniform(*ranges.coherence),
        )
        for part in parts
    )


_PROBABILITIES = {"ridge_chance", "centered", "starless", "chance"}
_FRACTIONS = {"ridge_share", "share", "coherence", "gas_gravity"}
_POSITIVE = {
    "mass", "softening", "core", "distance", "dispersion", "infall_radius", "rotation_radius",
    "column", "share",
}  # fmt: skip


def read_recipe(path: str | os.PathLike | None = None) -> CloudRecipe:
    """Read the ranges that clouds are drawn from.

    Parameters
    ----------
    path : path-like, optional
        TOML file with all sections and keys of `CloudRecipe`. By default the shipped file.

    Returns
    -------
    recipe : `CloudRecipe`
        The ranges.

    Raises
    ------
    InputError
        If the file is missing or is not TOML, a section or key is missing or unknown, or a value is
        not finite or out of range.

    Examples
    --------
    >>> read_recipe().gas.mass
    (10.0, 140.0)
    """
    path = _DEFAULT if path is None else Path(path)
    if not path.is_file():
        raise InputError("recipe", f"file not found: {os.fspath(path)!r}")
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path.name}", f"must be TOML ({error})") from error
    return CloudRecipe.from_dict(record)


def _check(place: str, name: str, value: float | _Range) -> None:
    """Check one value of a recipe, or the two ends of a range."""
    ends = np.atleast_1d(value)
    if not np.isfinite(ends).all():
        raise InputError(place, "must be finite", value)
    if (np.diff(ends) < 0).any():
        raise InputError(place, "must be given as [lowest, highest]", value)
    if name in _POSITIVE and ends[0] <= 0:
        raise InputError(place, "must be above zero", value)
    if ends[0] < 0:
        raise InputError(place, "must not be negative", value)
    if name in _PROBABILITIES | _FRACTIONS and ends[-1] > 1:
        raise InputError(place, "must not be above 1", value)


def _log_uniform(draws: Draws, ends: _Range) -> float:
    low, high = (math.log(end) for end in ends)
    return math.exp(draws.uniform(low, high))


def _normals(draws: Draws, sigma: float) -> tuple[float, float, float]:
    x, y, z = (draws.normal(0.0, sigma) for _ in range(3))
    return x, y, z


def _direction(draws: Draws) -> tuple[float, float, float]:
    """Draw a unit vector, isotropic."""
    z, azimuth = draws.uniform(-1, 1), draws.uniform(0, 2 * math.pi)
    across = math.sqrt(1 - z**2)
    return across * math.cos(azimuth), across * math.sin(azimuth), z


def _within(stars: list[Protostar], limit: float) -> tuple[Protostar, ...]:
    """Reduce the shares of envelopes in proportion, so that they add up to ``limit`` at most."""
    factor = min(1.0, limit / max(sum(star.share for star in stars), 1e-9))
    return tuple(replace(star, share=factor * star.share) for star in stars)
