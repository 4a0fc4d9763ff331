"""Flames as a dataset."""

import os

import numpy as np

from stellarssl.exceptions import InputError
from stellarssl.pretrain.fractals.render import check_options, render_indexed
from stellarssl.pretrain.fractals.shards import open_shards

__all__ = ["FlameDataset"]


class FlameDataset:
    """Flames by index: rendered when asked for, or read from shards.

    Parameters
    ----------
    n : int
        How many.
    kind : {"moments", "rgb", "affine", "fbm"}, optional
        What kind of image.
    size : int, optional
        Pixels along a side; 96, or 336 for ``rgb``.
    n_points : int, optional
        Steps of the chaos game; 1e5, or 1e6 for ``rgb``.
    seed : int, optional
        Flame ``i`` depends on ``(seed, i)`` alone.
    path : path-like, optional
        A folder that `render_shards` wrote with the same options and at least ``n`` flames.

    verify : bool, optional
        Whether the checksums of the shards are compared with the manifest's when they are opened.

    Raises
    ------
    InputError
        If an option is not of the listed ones or ``path`` holds other flames.
    ShardError
        If a shard is missing or damaged.

    Examples
    --------
    >>> flames = FlameDataset(10, size=32, n_points=20_000)
    >>> len(flames), flames[3].shape, flames[3].dtype
    (10, (3, 32, 32), dtype('float32'))
    """

    def __init__(
        self,
        n: int,
        *,
        kind: str = "moments",
        size: int | None = None,
        n_points: int | None = None,
        seed: int = 0,
        path: str | os.PathLike | None = None,
        verify: bool = False,
    ) -> None:
        size, n_points = check_options(kind, size, n_points)
        self.n, self.kind, self.size, self.n_points, self.seed = n, kind, size, n_points, seed
        self.path = path
        self._shards = self._open(verify=verify) if path is not None else None

    def _open(self, *, verify: bool = False) -> list[np.ndarray]:
        shards, options = open_shards(self.path, verify=verify)
        for name in ("kind", "size", "n_points", "seed"):
            if options[name] != getattr(self, name):
                raise InputError(
                    name, f"must be that of the flames in {self.path}, {options[name]!r}",
                    getattr(self, name),
                )  # fmt: skip
        if options["n"] < self.n:
            raise InputError(
                "n", f"must be at most the {options['n']} flames in {self.path}", self.n
            )
        self._shard_size = options["shard_size"]
        self._offsets = np.reshape(np.float32(options["offsets"]), (3, 1, 1))
        return shards

    def __getstate__(self) -> dict:
        """Leave the memory maps behind: a worker opens its own."""
        return {k: v for k, v in self.__dict__.items() if k != "_shards"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._shards = self._open() if self.path is not None else None

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> np.ndarray:
        if not -self.n <= index < self.n:
            raise IndexError(f"flame {index} of {self.n}")
        index = int(index) % self.n
        if self._shards is None:
            image, _ = render_indexed(
                index, kind=self.kind, size=self.size, n_points=self.n_points, seed=self.seed
            )
            return image.maps
        shard, row = divmod(index, self._shard_size)
        return self._shards[shard][row].astype(np.float32) + self._offsets
