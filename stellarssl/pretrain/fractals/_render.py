"""One flame from its seed and index."""

import numpy as np

from stellarssl._utils.exceptions import InputError, StellarSSLError
from stellarssl.pretrain.fractals._genome import Draws, FlameGenome
from stellarssl.pretrain.fractals._images import MomentImage, moment_image

__all__ = ["KINDS", "render_flame", "render_indexed"]

KINDS = ("moments",)
_ATTEMPTS = 100


def render_flame(
    genome: FlameGenome,
    *,
    size: int = 96,
    n_points: int = 100_000,
    seed: int = 0,
) -> MomentImage | None:
    """Render a genome.

    Parameters
    ----------
    genome : FlameGenome
        The flame.
    size : int, optional
        Pixels along a side.
    n_points : int, optional
        Steps of the chaos game.
    seed : int, optional
        Of the game, the frame, the gains and the offsets.

    Returns
    -------
    image : MomentImage or None
        None if the flame is a few points, goes to infinity, or leaves the frame empty.
    """
    return moment_image(genome, Draws(seed, 1), size=size, n_points=n_points)


def render_indexed(
    index: int,
    *,
    kind: str = "moments",
    size: int = 96,
    n_points: int = 100_000,
    seed: int = 0,
) -> np.ndarray:
    """Render flame ``index`` of a series: the first acceptable one of its attempts.

    Parameters
    ----------
    index : int
        Which.
    kind, size, n_points, seed
        As in `FlameDataset`.

    Returns
    -------
    maps : ndarray of float32, shape (3, size, size)
        log10 N_H [cm^-2], v_los and sigma_v [km/s].
    """
    if kind not in KINDS:
        raise InputError("kind", f"must be one of {', '.join(KINDS)}", kind)
    for attempt in range(_ATTEMPTS):
        genome = FlameGenome.random(seed, index, attempt)
        image = moment_image(genome, Draws(seed, index, attempt, 1), size=size, n_points=n_points)
        if image is not None:
            return image.maps
    raise StellarSSLError(f"no acceptable flame in {_ATTEMPTS} attempts (seed {seed}, index {index})")
