"""Encoder features of tiles and their provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stellarssl.exceptions import InputError

__all__ = ["Features", "block_names", "pool_tokens", "split_name"]

_POOLED = ("cls", "mean", "centre", "ring1", "ring2", "ring3")


@dataclass(frozen=True)
class Features:
    """Encoder features of tiles and their provenance.

    Attributes
    ----------
    array : ndarray
        float32 (n, d), one row for each tile.
    blocks : mapping of str to slice
        Columns of ``array`` by block name: ``"cls@0.5"`` is the class token of the 0.5 pc view,
        ``"mean"`` the mean of its patches, ``"centre"`` that of the central four of 8 x 8,
        ``"ring1"`` to ``"ring3"`` those of the square rings around them.
    encoder_sha256 : str
        Checksum of the encoder's weights.
    dtype : str
        Number format in which the network computed. Features of different weights or dtypes
        cannot be compared.
    """

    array: np.ndarray
    blocks: Mapping[str, slice]
    encoder_sha256: str
    dtype: str

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> "Features":
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
            Names of the blocks, in the order of the result.

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


def block_names(*widths: float) -> tuple[str, ...]:
    """Return the names of all blocks of features at some widths.

    Parameters
    ----------
    *widths : float
        Widths of the central part of the tile [pc].

    Returns
    -------
    names : tuple of str
        Six names for each width.

    Examples
    --------
    >>> block_names(0.125)
    ('cls@0.125', 'mean@0.125', 'centre@0.125', 'ring1@0.125', 'ring2@0.125', 'ring3@0.125')
    """
    return tuple(f"{pooled}@{width:g}" for width in widths for pooled in _POOLED)


def split_name(name: str) -> tuple[str, float]:
    """Split the name of a block into what is pooled and the width.

    Parameters
    ----------
    name : str
        Name of a block, such as ``"centre@0.125"``.

    Returns
    -------
    pooled : {"cls", "mean", "centre", "ring1", "ring2", "ring3"}
        Which tokens are averaged.
    width : float
        Width of the central part of the tile [pc].

    Raises
    ------
    InputError
        If it is not the name of a block.

    Examples
    --------
    >>> split_name("centre@0.125")
    ('centre', 0.125)
    """
    pooled, _, width = name.partition("@")
    try:
        if pooled in _POOLED:
            return pooled, float(width)
    except ValueError:
        pass
    rule = f"must be one of {', '.join(_POOLED)}, then @ and a width in pc, as in 'centre@0.125'"
    raise InputError("blocks", rule, name)


def pool_tokens(tokens: torch.Tensor, n_prefix: int, pooled: Sequence[str]) -> torch.Tensor:
    """Pool the tokens of images into blocks of `Features`.

    Parameters
    ----------
    tokens : `~torch.Tensor`
        Shape (n, n_prefix + g * g, d), the class token first.
    n_prefix : int
        Number of tokens before those of the patches.
    pooled : sequence of {"cls", "mean", "centre", "ring1", "ring2", "ring3"}
        Blocks to compute: the class token, the mean of all patches, or the mean of one of the
        four zones of equal breadth around the center.

    Returns
    -------
    blocks : `~torch.Tensor`
        Shape (n, number of blocks, d), in the given order.
    """
    patches = tokens[:, n_prefix:]
    grid = round(patches.shape[1] ** 0.5)
    offset = (torch.arange(grid, device=tokens.device) - (grid - 1) / 2).abs()
    zone = torch.maximum(offset[:, None], offset[None, :]).mul(8 / grid).floor().clamp(max=3)
    blocks = []
    for name in pooled:
        if name == "cls":
            blocks.append(tokens[:, 0])
            continue
        inside = torch.ones_like(zone) if name == "mean" else zone == _POOLED.index(name) - 2
        weights = inside.flatten() / inside.sum()
        blocks.append(torch.einsum("p,npd->nd", weights.to(tokens.dtype), patches))
    return torch.stack(blocks, dim=1)
