"""Clouds as a dataset: made when they are asked for, or read from shards."""

import os
from typing import NamedTuple

import numpy as np
import torch

from stellarssl._utils.geometry import TILE_PIXELS
from stellarssl.exceptions import InputError
from stellarssl.pretrain.clouds.physics import Cloud, cloud_at
from stellarssl.pretrain.clouds.projection import project, project_maps
from stellarssl.pretrain.clouds.recipe import CloudRecipe, draw_layers, read_recipe
from stellarssl.pretrain.fractals.draws import Draws

__all__ = ["CloudDataset", "CloudTile"]

_AXES = "xyz"


class CloudTile(NamedTuple):
    """A cloud along one line of sight, with its labels.

    Attributes
    ----------
    maps : ndarray of float32
        log10 N_H [cm^-2], v_los relative to the star and sigma_v [km/s]: shape (3, size, size).
    ppv : ndarray of float32 or None
        Brightness [K], shape (96, size, size), as in `CloudImage`; None where maps are asked for
        only.
    log_mass : float
        log10 of the star's mass [solar masses]; NaN without a star.
    gas_masses : ndarray of float32
        Gas within 0.015, 0.03, 0.06 and 0.12 pc of the star [solar masses], shape (4,). Layers do
        not count.
    has_layers : bool
        Whether there is gas in front of the cloud and behind it.
    """

    maps: np.ndarray
    ppv: np.ndarray | None
    log_mass: float
    gas_masses: np.ndarray
    has_layers: bool


class CloudDataset:
    """Projections of clouds by index, three of each cloud.

    Tile i shows cloud i // 3 along the axis x, y or z, so that tiles should be read in ascending
    order, or in groups of three.

    Parameters
    ----------
    n : int
        Number of tiles.
    recipe : CloudRecipe or path-like, optional
        Ranges that clouds are drawn from, or a TOML file. By default the shipped recipe.
    size : int, optional
        Pixels along a side of the tiles, an even number: the middle of the 64 pixels of a cloud.
    seed : int, optional
        Tile i depends on ``(seed, i)`` and on the recipe only.
    cubes : bool, optional
        Whether position-position-velocity cubes are made beside the maps.
    device : str, optional
        Device that computes clouds.

    Raises
    ------
    InputError
        If an option is out of range, or the recipe breaks a rule.

    Examples
    --------
    >>> clouds = CloudDataset(9, seed=1)
    >>> tile = clouds[4]
    >>> tile.maps.shape, tile.ppv.shape, len(tile.gas_masses)
    ((3, 64, 64), (96, 64, 64), 4)
    """

    def __init__(
        self,
        n: int,
        *,
        recipe: CloudRecipe | str | os.PathLike | None = None,
        size: int = TILE_PIXELS,
        seed: int = 0,
        cubes: bool = True,
        device: str = "cpu",
    ) -> None:
        if not (isinstance(size, int) and 2 <= size <= TILE_PIXELS and size % 2 == 0):
            rule = f"must be an even number of at most {TILE_PIXELS} pixels, the width of a cloud"
            raise InputError("size", rule, size)
        self.n, self.size, self.seed, self.cubes, self.device = n, size, seed, cubes, device
        self.recipe = recipe if isinstance(recipe, CloudRecipe) else read_recipe(recipe)
        self._last: tuple[int, Cloud] | None = None

    def __len__(self) -> int:
        return self.n

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_last": None}

    def __getitem__(self, index: int) -> CloudTile:
        if not -self.n <= index < self.n:
            raise IndexError(f"tile {index} of {self.n}")
        number, side = divmod(int(index) % self.n, len(_AXES))
        if self._last is None or self._last[0] != number:
            self._last = number, cloud_at(self.recipe, self.seed, number, device=self.device)
        cloud = self._last[1]
        layers = draw_layers(self.recipe.layers, Draws(self.seed, number, 1, side))
        rng = np.random.default_rng([self.seed, number, 1, side])
        view = project if self.cubes else project_maps
        image = view(cloud, _AXES[side], layers=layers, rng=rng)
        cut = slice((TILE_PIXELS - self.size) // 2, (TILE_PIXELS + self.size) // 2)
        ppv, maps = image if self.cubes else (None, image)
        return CloudTile(
            maps=_array(maps[:, cut, cut]),
            ppv=None if ppv is None else _array(ppv[:, cut, cut]),
            log_mass=float(np.log10(cloud.star_mass)),
            gas_masses=cloud.gas_masses.astype(np.float32),
            has_layers=bool(layers),
        )


def _array(values: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.cpu().numpy())
