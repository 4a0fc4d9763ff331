"""Statistics of patch tokens over the library, which fix the colors of segmentations."""

from dataclasses import dataclass

import numpy as np

from stellarssl.encoder import Encoder

__all__ = ["TokenStatistics", "token_statistics"]

_N_TILES = 384
_PERCENTILES = (1, 99)


@dataclass(frozen=True)
class TokenStatistics:
    """Mean and principal components of the patch tokens of simulated gas.

    Attributes
    ----------
    mean : ndarray
        float32 (g, g, d): the mean token at each place of the window.
    components : ndarray
        float32 (3, d): principal components of the tokens less that mean, each of unit length and
        with its largest element positive.
    scale : ndarray
        float32 (3, 2): the 1st and the 99th percentile of each component.
    encoder_sha256 : str
        Checksum of the encoder's weights.
    """

    mean: np.ndarray
    components: np.ndarray
    scale: np.ndarray
    encoder_sha256: str


def token_statistics(encoder: Encoder, maps: np.ndarray) -> TokenStatistics:
    """Compute the statistics of the patch tokens of tiles.

    The tiles of a library have their star in the center. The mean token would contain that star,
    and subtracting it would leave a hole in every window. Each tile is therefore shifted by a
    random offset and mirrored at its edges.

    Parameters
    ----------
    encoder : `~stellarssl.encoder.Encoder`
        Encoder that computes the tokens.
    maps : ndarray
        float32 (n, 3, 64, 64).

    Returns
    -------
    statistics : TokenStatistics
        Statistics of at most 384 of the tiles.
    """
    rows = np.unique(np.linspace(0, len(maps) - 1, min(len(maps), _N_TILES)).round().astype(int))
    tokens = encoder.patch_tokens(off_center(maps[rows])).astype(np.float64)
    mean = tokens.mean(axis=0)
    flat = (tokens - mean).reshape(-1, tokens.shape[-1])
    components = np.linalg.eigh(flat.T @ flat)[1][:, :-4:-1].T
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    components = components * np.sign(largest)
    scale = np.percentile(flat @ components.T, _PERCENTILES, axis=0).T
    return TokenStatistics(
        mean.astype(np.float32),
        components.astype(np.float32),
        scale.astype(np.float32),
        encoder.sha256,
    )


def off_center(maps: np.ndarray) -> np.ndarray:
    """Shift each map by a random offset of up to half its width, mirrored at the edges.

    Parameters
    ----------
    maps : ndarray
        Shape (n, channel, y, x).

    Returns
    -------
    shifted : ndarray
        Same shape; the offsets are the same in every run.
    """
    rng = np.random.default_rng(0)
    half = maps.shape[-1] // 2
    padded = np.pad(maps, ((0, 0), (0, 0), (half, half), (half, half)), mode="symmetric")
    offsets = rng.integers(0, 2 * half + 1, size=(len(maps), 2))
    n = maps.shape[-1]
    return np.stack([p[:, y : y + n, x : x + n] for p, (y, x) in zip(padded, offsets, strict=True)])
