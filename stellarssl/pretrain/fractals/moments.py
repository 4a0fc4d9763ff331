"""Moment images: a flame, or noise, as a telescope would see gas."""

from math import pi

import numpy as np

from stellarssl.pretrain.fractals.draws import Draws
from stellarssl.pretrain.fractals.genome import FlameGenome
from stellarssl.pretrain.fractals.images import FlameImage, Frame, RejectedError, play_flame
from stellarssl.pretrain.fractals.smoothing import add_adaptive_beam, add_wide_beam

__all__ = ["fbm_image", "moment_image"]

_MIN_POINTS = 3.0
_MIN_VALID = 0.6
_ENVELOPES = (1 / 24, 1 / 10, 1 / 4)


def _physical(
    log_n: np.ndarray, color: np.ndarray, spread: np.ndarray, valid: np.ndarray, draws: Draws
) -> np.ndarray:
    """Return log N_H, v_los, sigma_v: offsets and gains are drawn once for the image.

    Their distributions are those of 0.5 pc tiles of simulated star-forming gas.
    """
    good, good_color = log_n[valid], color[valid]
    wanted = 0.40 * np.exp(draws.normal(0.0, 0.3))
    gain = min(max(wanted / max(good.std(), 0.05), 0.4), 2.5)
    column = draws.normal(22.0, 0.45) + gain * (log_n - np.median(good))
    np.clip(column, 20.4, 24.5, out=column)
    weight = 10.0 ** (column[valid] - 22.0)
    mean = (weight * good_color).sum() / weight.sum()
    width = np.hypot(good_color.std(), np.median(spread[valid]))
    stretch = 0.52 * np.exp(draws.normal(0.0, 0.45)) / max(width, 0.03)
    v = np.clip(stretch * (color - mean) + draws.normal(0.0, 0.4), -3.0, 3.0)
    instrument = draws.uniform(0.1, 0.2)
    sigma = np.clip(np.hypot(stretch * spread, instrument), 0.1, 2.8)
    maps = np.stack([column, v, sigma])
    maps[:, ~valid] = np.array([[column[valid].min()], [0.0], [instrument]])
    return maps.astype(np.float32)


def moment_image(
    genome: FlameGenome, draws: Draws, *, size: int, n_points: int, frame: Frame | None = None
) -> FlameImage:
    """Render a flame's moments.

    Parameters
    ----------
    genome : FlameGenome
        The flame.
    draws : Draws
        Where the seed of the game, the frame, the beam, the gains and the offsets come from.
    size : int
        Pixels along a side.
    n_points : int
        Steps of the chaos game.
    frame : Frame, optional
        What is shown, if it is not to be chosen.

    Returns
    -------
    image : FlameImage
        log10 N_H, v_los, sigma_v.

    Raises
    ------
    RejectedError
        If the game fails or less than 60 % of the frame is detected.
    """
    sums = play_flame(genome, draws, size=size, n_points=n_points, frame=frame)[:3]
    sigma = 2.0 ** draws.uniform(-0.6, 1.0) * size / 96
    envelope = 10.0 ** draws.uniform(-2.0, -0.3)
    shares = draws.uniforms(len(_ENVELOPES)) + 0.25
    smooth = np.zeros_like(sums)
    add_adaptive_beam(sums, sigma, 1.0 - envelope, smooth)
    for share, scale in zip(shares / shares.sum(), _ENVELOPES, strict=True):
        add_wide_beam(sums, scale * size, envelope * share, smooth)
    valid = smooth[0] * (4 * pi * sigma**2) >= _MIN_POINTS
    if valid.mean() < _MIN_VALID:
        raise RejectedError("less than 60 % of the frame is detected")
    n = np.maximum(smooth[0], 1e-12)
    color = smooth[1] / n
    spread = np.sqrt(np.maximum(smooth[2] / n - color * color, 0.0))
    return FlameImage(_physical(np.log10(n), color, spread, valid, draws), valid)


def _fbm(draws: Draws, size: int) -> np.ndarray:
    """Return fractional Brownian noise of unit variance: random phases, a power law of k."""
    slope = draws.uniform(2.8, 4.4)
    k = np.hypot(np.fft.fftfreq(2 * size)[:, None], np.fft.rfftfreq(2 * size))
    k[0, 0] = np.inf
    phases = np.exp(2j * pi * draws.uniforms(*k.shape))
    field = np.fft.irfft2(k ** (-slope / 2) * phases, s=(2 * size, 2 * size))[:size, :size]
    return (field - field.mean()) / field.std()


def fbm_image(draws: Draws, *, size: int) -> FlameImage:
    """Make log N, v and log sigma of three fields of fractional Brownian noise.

    Parameters
    ----------
    draws : Draws
        Where spectra, phases, gains and offsets come from.
    size : int
        Pixels along a side.

    Returns
    -------
    image : FlameImage
        log10 N_H, v_los, sigma_v; half of a periodic field, so that nothing wraps round.
    """
    log_n, color, log_spread = (_fbm(draws, size) for _ in range(3))
    spread = 0.8 * np.exp(0.4 * log_spread)
    valid = np.ones((size, size), bool)
    return FlameImage(_physical(log_n, color, spread, valid, draws), valid)
