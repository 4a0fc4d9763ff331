"""Colored images, as flame artists and the paper make them."""

import numpy as np

from stellarssl.pretrain.fractals.draws import Draws
from stellarssl.pretrain.fractals.genome import FlameGenome
from stellarssl.pretrain.fractals.images import FlameImage, Frame, RejectedError, play_flame
from stellarssl.pretrain.fractals.smoothing import add_adaptive_beam

__all__ = ["rgb_image"]

_N_COLORS = 256
_MIN_HIT = 0.8


def _palette(genome: FlameGenome, draws: Draws) -> np.ndarray:
    """Return 256 colors: the genome's, or steps between five to nine that are drawn."""
    drawn = draws.uniforms(draws.integer(5, 9), 3)
    knots = np.array(genome.palette) if genome.palette else drawn
    place = np.linspace(0, len(knots) - 1, _N_COLORS)
    return np.stack([np.interp(place, np.arange(len(knots)), channel) for channel in knots.T], -1)


def rgb_image(
    genome: FlameGenome,
    draws: Draws,
    *,
    size: int,
    n_points: int,
    frame: Frame | None = None,
    supersampling: int = 1,
    adaptive: bool = False,
    gamma: float = 2.2,
) -> FlameImage:
    """Render a flame in color: brightness goes with the logarithm of the density.

    Parameters
    ----------
    genome : FlameGenome
        The flame.
    draws : Draws
        Where the seed of the game, the frame and the palette come from.
    size : int
        Pixels along a side.
    n_points : int
        Steps of the chaos game.
    frame : Frame, optional
        What is shown, if it is not to be chosen.
    supersampling : int, optional
        Pixels of the histogram along a side of a pixel of the image.
    adaptive : bool, optional
        Whether pixels with few points are smoothed over a wider beam.
    gamma : float, optional
        Exponent of the display; above one it lifts what is faint.

    Returns
    -------
    image : FlameImage
        Red, green and blue, 0-1.

    Raises
    ------
    RejectedError
        If the game fails or less than 80 % of the pixels are hit.
    """
    fine = size * supersampling
    if frame is not None:
        frame = frame._replace(scale=frame.scale * supersampling)
    palette = _palette(genome, draws)
    sums = play_flame(
        genome, draws, size=fine, n_points=n_points, frame=frame, palette=palette,
        widths=(0.3, 0.8, 0.4, 1.0), hit=_MIN_HIT + 0.04, least=0.1,
    )  # fmt: skip
    valid = _binned(sums[0], supersampling) > 0
    if frame is None and valid.mean() < _MIN_HIT:
        raise RejectedError("less than 80 % of the pixels are hit")
    if adaptive:
        raw, sums = sums, np.zeros_like(sums)
        add_adaptive_beam(raw, 0.5 * supersampling, 1.0, sums)
    n = np.maximum(sums[0], 1e-12)
    light = np.log1p(n) / np.log1p(np.quantile(n, 0.999))
    colors = sums[1:] / n * np.minimum(light, 1.0) ** (1 / gamma) * (n > 1e-9)
    maps = np.stack([_binned(channel, supersampling) for channel in colors])
    return FlameImage(np.clip(maps, 0.0, 1.0).astype(np.float32), valid)


def _binned(image: np.ndarray, factor: int) -> np.ndarray:
    """Return the mean of blocks of ``factor`` x ``factor`` pixels."""
    size = image.shape[0] // factor
    return image.reshape(size, factor, size, factor).mean((1, 3))
