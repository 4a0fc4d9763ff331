"""Clouds as a dataset: made when they are asked for, or read from shards."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from stellarssl._utils.brightness import MAX_BRIGHTNESS, decode_brightness, encode_brightness
from stellarssl._utils.geometry import TILE_PIXELS
from stellarssl.exceptions import InputError
from stellarssl.pretrain.clouds.physics import GAS_RADII, Cloud, cloud_at
from stellarssl.pretrain.clouds.projection import N_CHANNELS, project, project_maps
from stellarssl.pretrain.clouds.recipe import CloudRecipe, draw_layers, read_recipe
from stellarssl.pretrain.fractals.draws import Draws
from stellarssl.pretrain.fractals.shards import (
    OFFSETS,
    ShardKind,
    check_counts,
    open_shards,
    write_shards,
)

__all__ = ["CloudDataset", "CloudTile", "render_clouds"]

_AXES = "xyz"
_FORMAT = 1
_RENDERER = 1  # raised when the same seed and index give another cloud
_OFFSETS = np.reshape(OFFSETS, (3, 1, 1)).astype(np.float32)


class CloudTile(NamedTuple):
    """A cloud along one line of sight, with its labels.

    Attributes
    ----------
    maps : ndarray of float32
        log10 N_H [cm^-2], v_los relative to the star and sigma_v [km/s]: shape (3, size, size).
    ppv : ndarray of float32 or None
        Brightness [K], shape (96, size, size), as in `CloudImage`; None where only maps are asked
        for.
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

    Tile i shows cloud i // 3 along the axis x, y or z, so that tiles that are made on the fly
    should be read in ascending order, or in groups of three.

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
    path : path-like, optional
        Folder written by `render_clouds` with the same options and at least ``n`` tiles.
    verify : bool, optional
        Whether the checksums of the shards are compared with the manifest's when they are opened.
    device : str, optional
        Device that computes clouds on the fly.

    Raises
    ------
    InputError
        If an option is out of range, the recipe breaks a rule, or ``path`` holds other clouds.
    ShardError
        If a shard is missing or damaged.

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
        path: str | os.PathLike | None = None,
        verify: bool = False,
        device: str = "cpu",
    ) -> None:
        self.n, self.size, self.seed, self.cubes, self.device = n, size, seed, cubes, device
        self.recipe = recipe if isinstance(recipe, CloudRecipe) else read_recipe(recipe)
        self.path = path
        check_counts(n=n)
        _check(size, seed)
        self._last: tuple[int, Cloud] | None = None
        self._shards = self._open(verify=verify)

    def _open(self, *, verify: bool = False) -> list[np.ndarray] | None:
        if self.path is None:
            return None
        shards, options = open_shards(self.path, _SHARDS, verify=verify)
        own = _options(self.recipe, size=self.size, seed=self.seed)
        for name, value in own.items():
            if options[name] != value:
                rule = f"must be that of the clouds in {self.path}, {options[name]!r}"
                raise InputError(name, rule, value)
        if options["n"] < self.n:
            rule = f"must be at most the {options['n']} tiles in {self.path}"
            raise InputError("n", rule, self.n)
        self._shard_size = options["shard_size"]
        return shards

    def __getstate__(self) -> dict:
        """Leave out the memory maps and the last cloud: each process opens its own."""
        return self.__dict__ | {"_last": None, "_shards": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._shards = self._open()

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> CloudTile:
        if not -self.n <= index < self.n:
            raise IndexError(f"tile {index} of {self.n}")
        index = int(index) % self.n
        return self._make(index) if self._shards is None else self._read(index)

    def _make(self, index: int) -> CloudTile:
        number, side = divmod(index, len(_AXES))
        if self._last is None or self._last[0] != number:
            self._last = number, cloud_at(self.recipe, self.seed, number, device=self.device)
        cloud = self._last[1]
        layers = draw_layers(self.recipe.layers, Draws(self.seed, number, 1, side))
        rng = np.random.default_rng([self.seed, number, 1, side])
        ppv = None
        if self.cubes:
            cube, maps = project(cloud, _AXES[side], layers=layers, rng=rng)
            ppv = _middle(cube, self.size)
        else:
            maps = project_maps(cloud, _AXES[side], layers=layers, rng=rng)
        log_mass, gas_masses = float(np.log10(cloud.star_mass)), cloud.gas_masses
        return CloudTile(
            _middle(maps, self.size), ppv, log_mass, gas_masses.astype(np.float32), bool(layers)
        )

    def _read(self, index: int) -> CloudTile:
        shard, place = divmod(index, self._shard_size)
        row = self._shards[shard][place]  # type: ignore[index]
        return CloudTile(
            maps=row["maps"].astype(np.float32) + _OFFSETS,
            ppv=decode_brightness(row["ppv"]) if self.cubes else None,
            log_mass=float(row["log_mass"]),
            gas_masses=np.array(row["gas_masses"]),
            has_layers=bool(row["has_layers"]),
        )


def render_clouds(
    path: str | os.PathLike,
    n: int,
    *,
    recipe: CloudRecipe | str | os.PathLike | None = None,
    size: int = TILE_PIXELS,
    seed: int = 0,
    n_workers: int = 1,
    shard_size: int = 300,
    progress: bool = False,
) -> Path:
    """Render clouds to memory-mapped files, going on where an earlier call was stopped.

    Parameters
    ----------
    path : path-like
        Folder of the shards; made if need be. The shards there are checked and kept.
    n : int
        Number of tiles. A finished folder of full shards may be extended.
    recipe : CloudRecipe or path-like, optional
        Ranges that clouds are drawn from, or a TOML file. By default the shipped recipe.
    size : int, optional
        Pixels along a side, as for `CloudDataset`.
    seed : int, optional
        Tile i depends on ``(seed, i)`` and on the recipe only.
    n_workers : int, optional
        Number of processes.
    shard_size : int, optional
        Number of tiles in a file; best a multiple of three. A tile takes 0.4 MB.
    progress : bool, optional
        Whether there is a progress bar.

    Returns
    -------
    path : `~pathlib.Path`
        The folder. Maps are stored in half precision, brightness in 8 bits as the shipped
        simulations are, and cut at 316 K.

    Raises
    ------
    InputError
        If an option is out of range, or the folder holds clouds of other options.
    ShardError
        If a file cannot be written or a worker is killed; what is finished is kept.
    """
    recipe = recipe if isinstance(recipe, CloudRecipe) else read_recipe(recipe)
    check_counts(n=n, n_workers=n_workers, shard_size=shard_size)
    _check(size, seed)
    options = _options(recipe, size=size, seed=seed) | {
        "n": n, "shard_size": shard_size, "ranges": asdict(recipe),
    }  # fmt: skip
    options = json.loads(json.dumps(options))  # as a manifest holds them
    return write_shards(path, options, _SHARDS, n_workers=n_workers, progress=progress)


def _check(size: int, seed: int) -> None:
    if not (isinstance(seed, int) and seed >= 0):
        raise InputError("seed", "must be a whole number that is not negative", seed)
    if not (isinstance(size, int) and 2 <= size <= TILE_PIXELS and size % 2 == 0):
        rule = f"must be an even number of at most {TILE_PIXELS} pixels, the width of a cloud"
        raise InputError("size", rule, size)


def _options(recipe: CloudRecipe, *, size: int, seed: int) -> dict[str, Any]:
    """Return what a tile of given index depends on, in JSON types."""
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()
    return {
        "format": _FORMAT,
        "renderer": _RENDERER,
        "kind": "clouds",
        "recipe": digest,
        "size": size,
        "seed": seed,
    }


def _row(options: dict) -> np.dtype:
    size = options["size"]
    return np.dtype(
        [
            ("maps", "<f2", (3, size, size)),
            ("ppv", "u1", (N_CHANNELS, size, size)),
            ("log_mass", "<f4"),
            ("gas_masses", "<f4", (len(GAS_RADII),)),
            ("has_layers", "?"),
        ]
    )


def _render(rows: np.ndarray, low: int, high: int, options: dict) -> None:
    recipe = CloudRecipe.from_dict(options["ranges"])
    tiles = CloudDataset(high, recipe=recipe, size=options["size"], seed=options["seed"])
    for row, index in zip(rows, range(low, high), strict=True):
        tile = tiles[index]
        row["maps"] = tile.maps - _OFFSETS
        if tile.ppv is not None:
            row["ppv"] = encode_brightness(np.clip(tile.ppv, 0, MAX_BRIGHTNESS))
        row["log_mass"], row["gas_masses"] = tile.log_mass, tile.gas_masses
        row["has_layers"] = tile.has_layers


_SHARDS = ShardKind("clouds", _row, _render)


def _middle(images: torch.Tensor, size: int) -> np.ndarray:
    """Cut the middle of images."""
    start = (TILE_PIXELS - size) // 2
    cut = images[..., start : start + size, start : start + size]
    return np.ascontiguousarray(cut.cpu().numpy())
