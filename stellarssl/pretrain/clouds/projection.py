"""Position-position-velocity cubes and moment maps of clouds."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from astropy import constants
from astropy import units as u

from stellarssl._utils.geometry import (
    TILE_CHANNEL_WIDTH,
    TILE_N_H_PER_W,
    TILE_PIXEL,
    TILE_PIXELS,
)
from stellarssl.exceptions import InputError
from stellarssl.pretrain.clouds.physics import Cloud, power_law_noise
from stellarssl.pretrain.clouds.recipe import Layer
from stellarssl.spectra.rings import RING_EDGES, Region, ring_areas

__all__ = ["N_CHANNELS", "CloudImage", "project", "project_maps", "ring_spectra"]

N_CHANNELS = 96
"""Number of velocity channels, symmetric about the star's velocity."""

_KMS = u.km / u.s
_WIDTH = TILE_CHANNEL_WIDTH.to_value(_KMS)
_SCALE = (TILE_N_H_PER_W * u.K * _KMS).to_value(u.cm**-2)
_COLUMN = (u.solMass / (1.4 * constants.m_p) / TILE_PIXEL**2).to_value(u.cm**-2) / _SCALE
_THERMAL = 0.054  # km/s: CO at 10 K
_FINE = 0.5 * _WIDTH  # channels that gas is gathered in
_MARGIN = 8  # of these beyond each end
_N_FINE = round(N_CHANNELS * _WIDTH / _FINE) + 2 * _MARGIN
_AXES = {"x": (2, 1, 0), "y": (0, 2, 1), "z": (1, 0, 2)}
_SHARED = 0.25  # variance that a profile gets at least, so that no share is negative [_FINE^2]
_NARROW, _MEDIUM = (_FINE * (each**2 - 2 * _SHARED) ** 0.5 for each in (1, 2))
"""Widest profiles that three fine channels can stand for, next to each other or every other one."""
_GROUPS = ((_NARROW, 1), (_MEDIUM, 1), (0.3, 3), (0.8, 8), (np.inf, 24))
"""Largest dispersion of a cell [km/s], and number of medium profiles that make up its own."""
_CHUNK = 32768  # cells that a processor works on at a time, so that all arrays stay in its cache


class CloudImage(NamedTuple):
    """A cloud seen along one line of sight.

    Attributes
    ----------
    ppv : `~torch.Tensor`
        Brightness [K] of optically thin gas, 1 K km/s for 1e22 hydrogen nuclei per cm^2: shape
        (96, y, x), in channels of 0.125 km/s about the star's velocity. The line has the thermal
        width of CO at 10 K. Gas beyond 6 km/s is not in it.
    maps : `~torch.Tensor`
        log10 N_H [cm^-2], v_los relative to the star and sigma_v [km/s] of all gas, without thermal
        width: shape (3, y, x).
    """

    ppv: torch.Tensor
    maps: torch.Tensor


class _Parcels(NamedTuple):
    """Gas along the line of sight to each pixel: flat pixel number, N [1e22 cm^-2], v, sigma."""

    pixel: torch.Tensor
    column: torch.Tensor
    velocity: torch.Tensor
    sigma: torch.Tensor


def project(
    cloud: Cloud,
    axis: str,
    *,
    layers: tuple[Layer, ...] = (),
    rng: np.random.Generator | None = None,
) -> CloudImage:
    """Project a cloud along one of its axes.

    The dispersion of a cell is that of its unresolved motion, with the velocity step across the
    cell added in quadrature as a uniform distribution.

    Parameters
    ----------
    cloud : Cloud
        Density and velocity.
    axis : {"x", "y", "z"}
        Line of sight. Rows and columns of the image are z and y, x and z, or y and x.
    layers : tuple of Layer, optional
        Gas in front of the cloud and behind it.
    rng : `~numpy.random.Generator`, optional
        Source of the structure of the layers; needed if there are any.

    Returns
    -------
    image : `CloudImage`
        Position-position-velocity cube and maps, on the device of the cloud.

    Raises
    ------
    InputError
        If there is no such axis, or layers have no ``rng``.

    Examples
    --------
    >>> from stellarssl.pretrain.clouds import cloud_at, read_recipe
    >>> image = project(cloud_at(read_recipe(), seed=0, index=3), "z")
    >>> tuple(image.ppv.shape), tuple(image.maps.shape)
    ((96, 64, 64), (3, 64, 64))
    """
    parcels = _line_of_sight(cloud, axis, layers, rng)
    return CloudImage(_cube(parcels), _maps(parcels))


def project_maps(
    cloud: Cloud,
    axis: str,
    *,
    layers: tuple[Layer, ...] = (),
    rng: np.random.Generator | None = None,
) -> torch.Tensor:
    """Project a cloud along one of its axes without a velocity axis, which is ten times faster.

    Parameters
    ----------
    cloud, axis, layers, rng
        As for `project`.

    Returns
    -------
    maps : `~torch.Tensor`
        The maps of `project`, shape (3, y, x).

    Raises
    ------
    InputError
        As for `project`.
    """
    return _maps(_line_of_sight(cloud, axis, layers, rng))


def ring_spectra(ppv: torch.Tensor) -> torch.Tensor:
    """Measure mean spectra in the rings around the star.

    Parameters
    ----------
    ppv : `~torch.Tensor`
        Cubes of whole tiles, shape (..., v, 64, 64).

    Returns
    -------
    spectra : `~torch.Tensor`
        Shape (..., 8, v). `~stellarssl.spectra_from_arrays` measures the same, but about the
        velocity of the line's peak.

    Examples
    --------
    >>> bool((ring_spectra(torch.ones(96, 64, 64)) - 1).abs().max() < 1e-5)
    True
    """
    return (_ring_weights(ppv.device) @ ppv.flatten(-2).mT).to(ppv.dtype)


@cache
def _ring_weights(device: torch.device) -> torch.Tensor:
    middle = (TILE_PIXELS - 1) / 2
    region = Region.around((middle, middle), (1.0, 1.0), (TILE_PIXELS, TILE_PIXELS))
    weights = np.zeros((len(RING_EDGES) - 1, TILE_PIXELS, TILE_PIXELS), dtype=np.float32)
    weights[:, region.rows, region.columns] = region.weights() / ring_areas()[:, None, None]
    return torch.from_numpy(weights).flatten(1).to(device)


def _line_of_sight(
    cloud: Cloud, axis: str, layers: tuple[Layer, ...], rng: np.random.Generator | None
) -> list[_Parcels]:
    """List the gas of a cloud and of layers."""
    if axis not in _AXES:
        raise InputError("axis", f"must be one of {', '.join(_AXES)}", axis)
    parcels = [_parcels(cloud, axis)]
    mean = float(parcels[0].column.sum()) / TILE_PIXELS**2
    for layer in layers:
        if rng is None:
            raise InputError("rng", "must be given for layers", arguments=["rng"])
        parcels.append(_layer_parcels(layer, mean, rng, cloud.density.device))
    return parcels


def _parcels(cloud: Cloud, axis: str) -> _Parcels:
    """List the cells of a cloud by line of sight."""
    along = cloud.velocity["xyz".index(axis)]
    fields = (cloud.density, along, cloud.unresolved)
    density, velocity, unresolved = (each.permute(_AXES[axis]).contiguous() for each in fields)
    step = torch.gradient(velocity, dim=2)[0]
    sigma = torch.sqrt(unresolved**2 + step**2 / 12)
    pixel = torch.arange(TILE_PIXELS**2, device=density.device).repeat_interleave(TILE_PIXELS)
    return _Parcels(pixel, density.view(-1) * _COLUMN, velocity.view(-1), sigma.view(-1))


def _layer_parcels(
    layer: Layer, mean_column: float, rng: np.random.Generator, device: torch.device
) -> _Parcels:
    """Draw the column and velocity of a layer in each pixel."""
    shape = (TILE_PIXELS, TILE_PIXELS)
    column = torch.exp(layer.scatter * power_law_noise(shape, layer.slope, rng, device))
    column = column * (layer.column * mean_column / column.mean())
    between = layer.dispersion * layer.coherence**0.5
    velocity = layer.velocity + between * power_law_noise(shape, layer.slope, rng, device)
    within = layer.dispersion * (1 - layer.coherence) ** 0.5
    pixel = torch.arange(TILE_PIXELS**2, device=device)
    sigma = torch.full((TILE_PIXELS**2,), within, device=device)
    return _Parcels(pixel, column.flatten(), velocity.flatten(), sigma)


def _maps(parcels: list[_Parcels]) -> torch.Tensor:
    """Return log10 N_H, v_los and sigma_v of all gas in each pixel."""
    total = torch.zeros((3, TILE_PIXELS**2), device=parcels[0].column.device)
    for each in parcels:
        first = each.column * each.velocity
        second = each.column * (each.velocity**2 + each.sigma**2)
        lines = (TILE_PIXELS**2, -1)  # parcels are ordered by pixel
        total += torch.stack(
            [value.view(lines).sum(1) for value in (each.column, first, second)]
        )  # fmt: skip
    column, first, second = total
    velocity = first / column
    sigma = torch.sqrt((second / column - velocity**2).clamp_min(0))
    maps = torch.stack((torch.log10(column * _SCALE), velocity, sigma))
    return maps.view(3, TILE_PIXELS, TILE_PIXELS)


def _cube(parcels: list[_Parcels]) -> torch.Tensor:
    """Return the brightness in each channel of each pixel."""
    device = parcels[0].column.device
    fine = torch.zeros(TILE_PIXELS**2 * _N_FINE, device=device)
    for each in parcels:
        step = _CHUNK if device.type == "cpu" else len(each.column)
        for part in zip(*(values.split(step) for values in each), strict=True):
            _deposit(fine, _Parcels(*part))
    cube = fine.view(TILE_PIXELS**2, _N_FINE) @ _response(device)
    return cube.T.reshape(N_CHANNELS, TILE_PIXELS, TILE_PIXELS).contiguous()


def _deposit(fine: torch.Tensor, parcels: _Parcels) -> None:
    """Share parcels of gas among fine channels, in place."""
    low = -1.0
    for high, number in _GROUPS:
        chosen = ((parcels.sigma > low) & (parcels.sigma <= high)).nonzero().squeeze(1)
        if len(chosen):
            apart = 1 if high == _NARROW else 2
            _share(fine, _Parcels(*(values[chosen] for values in parcels)), number, apart)
        low = high


def _share(fine: torch.Tensor, parcels: _Parcels, number: int, apart: int) -> None:
    """Share parcels of gas among fine channels, in place, each as so many narrow profiles.

    A profile is shared among three channels, so many channels apart, such that its mass, mean and
    variance are kept, but for a constant variance that `_response` takes off the thermal one.
    """
    narrow = parcels.sigma.clamp(max=_MEDIUM)
    velocity = parcels.velocity
    if number > 1:
        wide = torch.sqrt(parcels.sigma**2 - narrow**2)
        velocity = velocity[:, None] + wide[:, None] * _nodes(number, fine.device)
        narrow = narrow[:, None]
    place = (velocity / _FINE + (_N_FINE - 1) / 2).clamp(apart, _N_FINE - 1 - apart)
    middle = place.round()
    away = place - middle
    second = ((narrow / _FINE) ** 2 + away**2 + _SHARED) / apart**2
    away = away / apart
    column = parcels.column / number
    index = parcels.pixel * _N_FINE
    if number > 1:
        column, index = column[:, None], index[:, None]
    index = (index + middle.long()).flatten()
    fine.scatter_add_(0, index, (column * (1 - second)).flatten())
    fine.scatter_add_(0, index + apart, (column * (second + away) / 2).flatten())
    fine.scatter_add_(0, index - apart, (column * (second - away) / 2).flatten())


@cache
def _nodes(number: int, device: torch.device) -> torch.Tensor:
    """Return equally likely values of a normal variable, with variance 1."""
    quantiles = (torch.arange(number, dtype=torch.float64) + 0.5) / number
    values = torch.special.ndtri(quantiles)
    return (values / values.std(correction=0)).float().to(device)


@cache
def _response(device: torch.device) -> torch.Tensor:
    """Return the share of each fine channel's gas in each channel, per km/s: (fine, channel)."""
    center = (torch.arange(_N_FINE, dtype=torch.float64) - (_N_FINE - 1) / 2) * _FINE
    edges = (torch.arange(N_CHANNELS + 1, dtype=torch.float64) - N_CHANNELS / 2) * _WIDTH
    sigma = (_THERMAL**2 - _SHARED * _FINE**2) ** 0.5
    below = torch.special.ndtr((edges - center[:, None]) / sigma)
    return ((below[:, 1:] - below[:, :-1]) / _WIDTH).float().to(device)
