r"""A turbulent cloud with a star inside, in three dimensions: density and velocity on 64^3 cells.

The cloud fills the cube of a tile, 0.5 pc with cells of 0.0078 pc. It is drawn from a recipe and
not from a simulation: nothing evolves, and no equation of motion is solved. Each ingredient is a
known approximation.

Turbulence.
    Supersonic isothermal turbulence has a nearly lognormal density (Vazquez-Semadeni 1994, ApJ 423,
    681; Federrath et al. 2010, A&A 512, A81) and velocities with a power-law spectrum, steeper for
    shocks than for incompressible flow (Larson 1981, MNRAS 194, 809; McKee & Ostriker 2007, ARA&A
    45, 565). Here the logarithm of the density is a Gaussian field, or a Gaussian field g mixed
    with the ridges -abs(h) of a second one, which makes filaments. The velocity is a Gaussian
    field.

Envelope.
    The gas that collapses onto a star has a density of :math:`r^{-3/2}` inside the expansion wave
    and of :math:`r^{-2}` outside (Shu 1977, ApJ 214, 488), flatter within the core radius:
    :math:`\rho \propto (r^2 + r_c^2)^{-p/2}`, multiplied by a power of the turbulent density.

Gravity.
    With Plummer's softening e, the velocity of free fall is :math:`v_f^2 = 2 G M(r) / \sqrt{r^2 +
    e^2}`, where M(r) is the star and a fraction of the gas within r, and the Keplerian velocity
    about the star of mass m is :math:`v_K^2 = G m / \sqrt{r^2 + e^2}`.

Infall and rotation.
    Gas falls in with a fraction of :math:`v_f` and rotates with a fraction of :math:`v_K` about any
    axis, within a radius each (Ulrich 1976, ApJ 210, 377, has both along one orbit; here they are
    independent). Magnetohydrodynamic models fall in with 0.2 to 0.5 of free fall
    (arXiv:2501.17492). Both are proportional to :math:`\mathbf{r} / \sqrt{r^2 + e^2}`, zero at the
    star, and end with :math:`\exp(-(r / R)^4)`.

Unresolved motion.
    A dispersion within each cell, a fraction of :math:`v_K` within the radius of infall, stands for
    what a cell does not resolve.

Companions have all of this about themselves. The star is in the center of the cube, the corner of
eight cells, and velocities are relative to it.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from astropy import constants
from astropy import units as u

from stellarssl._utils.geometry import TILE_PIXEL, TILE_PIXELS
from stellarssl.exceptions import InputError
from stellarssl.pretrain.clouds.recipe import CloudParameters, CloudRecipe, Protostar

__all__ = ["GAS_RADII", "Cloud", "cloud_at", "make_cloud", "power_law_noise"]

GAS_RADII = (0.015, 0.03, 0.06, 0.12)
"""Radii about the star within which the gas mass of a cloud is given [pc]."""

_CELL = TILE_PIXEL.to_value(u.pc)
_G = constants.G.to_value(u.pc / u.solMass * (u.km / u.s) ** 2)
_BLOCK = 4  # cells along the side of the cube that is shifted to the center
_REST = 2 * _CELL  # pc: Gaussian weight of the gas whose mean velocity the star has
_SLAB = 16  # planes that a processor works on at a time, so that arrays stay in its cache


@dataclass(frozen=True, eq=False)
class Cloud:
    """Gas on a cube of cells around a star.

    Attributes
    ----------
    density : `~torch.Tensor`
        Mass of the gas in each cell [solar masses], shape (x, y, z).
    velocity : `~torch.Tensor`
        Velocity relative to the star along x, y and z [km/s], shape (3, x, y, z).
    unresolved : `~torch.Tensor`
        Velocity dispersion within each cell along each axis [km/s], shape (x, y, z).
    parameters : CloudParameters
        What the cloud is made of.

    Raises
    ------
    InputError
        If there is no gas or a value is not finite.
    """

    density: torch.Tensor
    velocity: torch.Tensor
    unresolved: torch.Tensor
    parameters: CloudParameters

    def __post_init__(self) -> None:
        for name in ("density", "velocity", "unresolved"):
            if not bool(torch.isfinite(getattr(self, name).sum())):
                raise InputError(name, "must be finite")
        if not bool(self.density.sum() > 0):
            raise InputError("density", "must not be zero everywhere: a cloud needs gas")

    @property
    def star_mass(self) -> float:
        """Mass of the star in the center [solar masses]; NaN without a star."""
        return self.parameters.stars[0].mass or float("nan")

    @property
    def gas_masses(self) -> np.ndarray:
        """Gas within each of ``GAS_RADII`` of the star [solar masses], shape (4,)."""
        r = _squared_distance(_axes((0.0, 0.0, 0.0), self.density.device)).sqrt()
        return np.array([float(self.density[r < radius].sum()) for radius in GAS_RADII])


def cloud_at(
    recipe: CloudRecipe, seed: int, index: int, *, device: torch.device | str = "cpu"
) -> Cloud:
    """Make one of an endless series of clouds.

    Parameters
    ----------
    recipe : CloudRecipe
        The ranges that the parameters are drawn from.
    seed, index : int
        The cloud depends on these two and on the recipe only. Its random numbers do not depend on
        the device.
    device : `~torch.device` or str, optional
        Device that computes the cloud and keeps it.

    Returns
    -------
    cloud : `Cloud`
        Cloud ``index`` of the series ``seed``.

    Examples
    --------
    >>> from stellarssl.pretrain.clouds import read_recipe
    >>> cloud = cloud_at(read_recipe(), seed=0, index=3)
    >>> bool(abs(cloud.density.sum() / cloud.parameters.gas_mass - 1) < 1e-4)
    True
    """
    rng = np.random.default_rng([seed, index])
    return make_cloud(recipe.draw(seed, index), rng, device=device)


def make_cloud(
    parameters: CloudParameters,
    rng: np.random.Generator,
    *,
    device: torch.device | str = "cpu",
) -> Cloud:
    """Make the cloud of given parameters.

    Parameters
    ----------
    parameters : CloudParameters
        What the cloud is made of.
    rng : `~numpy.random.Generator`
        Source of the turbulent fields.
    device : `~torch.device` or str, optional
        Device that computes the cloud and keeps it.

    Returns
    -------
    cloud : `Cloud`
        Density and velocity.
    """
    device = torch.device(device)
    density = _make_density(parameters, rng, device)
    velocity = _turbulence(parameters, density, rng)
    variance = torch.zeros_like(density)
    for star in parameters.stars:
        _add_motion(star, density, velocity, variance)
    return Cloud(density, velocity, variance.sqrt(), parameters)


def power_law_noise(
    shape: tuple[int, ...], slope: float, rng: np.random.Generator, device: torch.device
) -> torch.Tensor:
    """Draw a periodic Gaussian field with a power-law spectrum.

    Parameters
    ----------
    shape : tuple of int
        Shape of the field, even along the last axis.
    slope : float
        Power of the wavenumber, with a minus sign, in the power spectrum.
    rng : `~numpy.random.Generator`
        Source of random numbers.
    device : `~torch.device`
        Device of the field.

    Returns
    -------
    field : `~torch.Tensor`
        Field of zero mean and unit variance.
    """
    log_k, weight = _wavenumbers(shape, device)
    normals = rng.standard_normal((*log_k.shape, 2), dtype=np.float32)
    modes = torch.view_as_complex(torch.from_numpy(normals).to(device))
    amplitude = weight * torch.exp(-slope / 2 * log_k)
    field = torch.fft.irfftn(modes.mul_(amplitude), s=shape)
    return field.div_(field.square().mean().sqrt())


@cache
def _wavenumbers(shape: tuple[int, ...], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log of the wavenumber, and the weight of each mode of the half space.

    In the planes of the half space that are their own mirror image, the inverse transform takes the
    mean of each mode and its mirror's conjugate, which halves the variance; the weight makes up for
    it. The mean of the field has weight zero.
    """
    axes = [torch.fft.fftfreq(n) * n for n in shape[:-1]]
    last = torch.arange(shape[-1] // 2 + 1)
    squared = torch.stack(torch.meshgrid(*axes, last.float(), indexing="ij")).square().sum(0)
    weight = torch.ones_like(squared)
    weight[..., 0] = weight[..., -1] = 2**0.5
    weight.view(-1)[0] = 0.0
    return (0.5 * torch.log(squared.clamp_min(1))).to(device), weight.to(device)


def _make_density(
    parameters: CloudParameters, rng: np.random.Generator, device: torch.device
) -> torch.Tensor:
    """Return the gas mass of each cell: turbulent gas and envelopes."""
    shape = (TILE_PIXELS,) * 3
    field = power_law_noise(shape, parameters.slope, rng, device)
    if parameters.ridge_share:
        ridges = -power_law_noise(shape, parameters.slope, rng, device).abs()
        ridges = (ridges - ridges.mean()) / ridges.std(correction=0)
        field = (1 - parameters.ridge_share) * field + parameters.ridge_share * ridges
        field = field / field.std(correction=0)
    field *= parameters.scatter
    gas = torch.exp(field)
    if parameters.centered:
        shifts = _shifts_of_densest(gas)
        field, gas = (torch.roll(each, shifts, (0, 1, 2)) for each in (field, gas))
    gas *= (1 - sum(star.share for star in parameters.stars)) / gas.sum()
    for star in parameters.stars:
        if star.share:
            envelope = _envelope(star, field)
            gas += envelope.mul_(star.share / envelope.sum())
    return gas.mul_(parameters.gas_mass)


def _shifts_of_densest(density: torch.Tensor) -> list[int]:
    """Return the shifts that bring the densest cube of four cells to the center."""
    means = torch.nn.functional.avg_pool3d(density[None, None], _BLOCK)[0, 0]
    densest = np.unravel_index(int(means.argmax()), tuple(means.shape))
    middle = (TILE_PIXELS - _BLOCK) // 2
    return [middle - _BLOCK * int(place) for place in densest]


def _envelope(star: Protostar, log_density: torch.Tensor) -> torch.Tensor:
    """Return the density of an envelope, up to a factor; ``log_density`` is that of turbulence."""
    center = tuple(x + dx for x, dx in zip(star.position, star.offset, strict=True))
    axes = _axes(center, log_density.device)
    envelope = torch.empty_like(log_density)
    for slab in _slabs(log_density.device):
        squared = _squared_distance((axes[0][slab], *axes[1:])) + star.core**2
        power = star.modulation * log_density[slab] - star.slope / 2 * torch.log(squared)
        torch.exp(power, out=envelope[slab])
    return envelope


def _slabs(device: torch.device) -> list[slice]:
    """Return the parts of the first axis that are worked on at a time."""
    step = _SLAB if device.type == "cpu" else TILE_PIXELS
    return [slice(start, start + step) for start in range(0, TILE_PIXELS, step)]


def _axes(
    center: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the coordinates of the cells relative to a point [pc], broadcast along each axis."""
    x, y, z = (
        (torch.arange(TILE_PIXELS, device=device) - (TILE_PIXELS - 1) / 2) * _CELL - middle
        for middle in center
    )
    return x[:, None, None], y[None, :, None], z[None, None, :]


def _squared_distance(axes: tuple[torch.Tensor, ...]) -> torch.Tensor:
    x, y, z = axes
    return x**2 + y**2 + z**2


def _turbulence(
    parameters: CloudParameters, density: torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    """Return turbulent velocities, relative to a star that moves with the gas around it."""
    shape, device = (TILE_PIXELS,) * 3, density.device
    weight = torch.exp(
        _squared_distance(_axes((0.0, 0.0, 0.0), device)) / (-2 * _REST**2)
    ) * density  # fmt: skip
    weight = weight / weight.sum()
    velocity = torch.empty((3, *shape), device=device)
    for component, drift in zip(velocity, parameters.drift, strict=True):
        field = power_law_noise(shape, parameters.turbulence_slope, rng, device)
        rest = float((weight * field).sum())
        component[:] = field.sub_(rest).mul_(parameters.turbulence).add_(drift)
    return velocity


def _add_motion(
    star: Protostar, density: torch.Tensor, velocity: torch.Tensor, variance: torch.Tensor
) -> None:
    """Add infall, rotation and unresolved motion about one star, in place."""
    device = density.device
    axes = _axes(star.position, device)
    enclosed = _enclosed_masses(density, axes) * star.gas_gravity + star.mass
    spin = star.axis
    reach = 2.1 * max(star.infall_radius, star.rotation_radius)  # where the taper is 4e-9
    for slab in _slabs(device):
        place = (axes[0][slab], *axes[1:])
        if float(place[0].abs().min()) > reach:
            continue
        squared = _squared_distance(place)
        softened = torch.sqrt(squared + star.softening**2)
        taper = _taper(squared, star.infall_radius)
        inward = taper * torch.sqrt(2 * _G * enclosed[_shell(squared)] / softened)
        inward *= -star.infall / softened
        kepler = torch.sqrt(_G * star.mass / softened)
        around = _taper(squared, star.rotation_radius) * kepler * (star.rotation / softened)
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            across = spin[j] * place[k] - spin[k] * place[j]
            velocity[i, slab] += inward * place[i] + around * across
        variance[slab] += (star.unresolved * taper * kepler) ** 2


def _taper(squared: torch.Tensor, radius: float) -> torch.Tensor:
    """Return exp(-(r / radius)^4), but not so small that arithmetic becomes slow."""
    return torch.exp(-((squared / radius**2) ** 2).clamp(max=60))


def _shell(squared: torch.Tensor) -> torch.Tensor:
    """Return the number of the shell, half a cell thick, that holds each squared distance."""
    return (torch.sqrt(squared) * (2 / _CELL)).long()


def _enclosed_masses(density: torch.Tensor, axes: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the gas mass within the middle of each shell around a point."""
    masses = torch.zeros(4 * 2 * TILE_PIXELS, device=density.device)
    for slab in _slabs(density.device):
        shell = _shell(_squared_distance((axes[0][slab], *axes[1:])))
        masses.scatter_add_(0, shell.flatten(), density[slab].flatten())
    return masses.cumsum(0) - masses / 2
