"""What an encoder says of a set of tiles."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from stellarssl.exceptions import InputError

__all__ = ["Features", "pool_tokens"]

_POOLED = ("cls", "mean", "centre", "ring1", "ring2", "ring3")


@dataclass(frozen=True)
class Features:
    """Features of tiles, and what made them.

    Attributes
    ----------
    array : ndarray
        float32 (n, d).
    blocks : mapping of str to slice
        Columns by name: ``"cls@0.5"`` is the class token of the 0.5 pc view, ``"mean"`` the mean
        of its patches, ``"centre"`` that of the central four of 8 x 8, ``"ring1"`` to ``"ring3"``
        of the square rings around them.
    encoder_sha256 : str
        Checksum of the weights.
    dtype : str
        What the network computed in. Features of different weights or dtypes are not to be
        compared.
    """

    array: np.ndarray
    blocks: Mapping[str, slice]
    encoder_sha256: str
    dtype: str

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: object) -> "Features":
        """Return the features of some tiles; ``rows`` is a slice, indices or a boolean array."""
        array = self.array[rows]
        if array.ndim != 2:
            raise InputError("rows", "must be a slice, a list of indices or a boolean array", rows)
        return Features(array, self.blocks, self.encoder_sha256, self.dtype)

    def select(self, *names: str) -> np.ndarray:
        """Return some blocks side by side.

        Parameters
        ----------
        *names : str
            Names of blocks, in the order wanted.

        Returns
        -------
        columns : ndarray
            float32 (n, sum of the blocks' lengths).

        Raises
        ------
        InputError
            If there is no such block.

        Examples
        --------
        >>> array = np.arange(6, dtype=np.float32).reshape(2, 3)
        >>> features = Features(array, {"cls@0.5": slice(0, 2), "mean@0.5": slice(2, 3)}, "", "")
        >>> features.select("mean@0.5").ravel().tolist()
        [2.0, 5.0]
        """
        for name in names:
            if name not in self.blocks:
                raise InputError("block", f"must be one of {', '.join(self.blocks)}", name)
        return np.concatenate([self.array[:, self.blocks[name]] for name in names], axis=1)


def block_slices(widths: tuple[float, ...], length: int) -> dict[str, slice]:
    """Return the columns of each block, width by width."""
    names = [f"{block}@{width:g}" for width in widths for block in _POOLED]
    return {name: slice(i * length, (i + 1) * length) for i, name in enumerate(names)}


def pool_tokens(tokens: torch.Tensor, n_prefix: int) -> torch.Tensor:
    """Pool the tokens of images into the blocks of `Features`.

    Parameters
    ----------
    tokens : `~torch.Tensor`
        Shape (n, n_prefix + g * g, d), the class token first.
    n_prefix : int
        Tokens before the patches.

    Returns
    -------
    pooled : `~torch.Tensor`
        Shape (n, 6, d): class token, mean, and the four zones of equal breadth around the center.
    """
    patches = tokens[:, n_prefix:]
    grid = round(patches.shape[1] ** 0.5)
    offset = (torch.arange(grid, device=tokens.device) - (grid - 1) / 2).abs()
    zone = torch.maximum(offset[:, None], offset[None, :]).mul(8 / grid).floor().clamp(max=3)
    weights = torch.stack([torch.ones_like(zone), *(zone == k for k in range(4))]).flatten(1)
    weights = (weights / weights.sum(1, keepdim=True)).to(tokens.dtype)
    pooled = torch.einsum("kp,npd->nkd", weights, patches)
    return torch.cat([tokens[:, :1], pooled], dim=1)
