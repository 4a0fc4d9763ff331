"""From points to moment images: framing, smoothing in the sums, physical units."""

from typing import NamedTuple

import numpy as np
from numba import njit

from stellarssl.pretrain.fractals._engine import POOL, new_pool, play
from stellarssl.pretrain.fractals._genome import Draws, FlameGenome
from stellarssl.pretrain.fractals._smooth import add_adaptive_beam, add_wide_beam

__all__ = ["MomentImage", "moment_image", "scout"]

_MIN_POINTS = 3.0
_MIN_VALID = 0.6
_ENVELOPES = (1 / 24, 1 / 10, 1 / 4)
_BURN_IN = 20
_N_SCOUTS = 8
_CELLS = 32


class MomentImage(NamedTuple):
    """A flame seen as a telescope sees gas.

    Attributes
    ----------
    maps : ndarray of float32, shape (3, size, size)
        log10 N_H [cm^-2], v_los and sigma_v [km/s].
    valid : ndarray of bool, shape (size, size)
        Where there are enough points.
    """

    maps: np.ndarray
    valid: np.ndarray


def scout(program: tuple, cumulated: np.ndarray, seed: int) -> tuple | None:
    """Let a pool of points settle on the flame, and look where they are.

    Parameters
    ----------
    program, cumulated
        From `FlameGenome.program`.
    seed : int
        Of the game.

    Returns
    -------
    points, lanes : ndarray
        The pool.
    orbit : ndarray of float, shape (3, n)
        x, y and colour of points.
    None
        If half of the points go to infinity.
    """
    points, lanes = new_pool(seed)
    sums, orbit = np.zeros((1, 4)), np.empty((3, _BURN_IN * POOL))
    for n in (_BURN_IN * POOL, _N_SCOUTS * POOL):
        orbit = orbit[:, :n]
        play(program, cumulated, points, lanes, n, (0.0, 0.0, 0.0), 0, sums, orbit)
    near = (np.abs(orbit[:2]) < 1e6).all(0)
    if near.mean() < 0.5:
        return None
    return points, lanes, (orbit if near.all() else orbit[:, near])


@njit(cache=True, error_model="numpy", nogil=True)
def _extent(orbit):  # noqa: ANN001, ANN202
    """Return the middle of the central 94 % of the points in x and y, and their larger width."""
    x, y = np.sort(orbit[0, ::3]), np.sort(orbit[1, ::3])
    low, high = int(0.03 * x.size), int(0.97 * x.size)
    width = max(x[high] - x[low], y[high] - y[low], 1e-9)
    return 0.5 * (x[low] + x[high]), 0.5 * (y[low] + y[high]), width


@njit(cache=True, error_model="numpy", nogil=True)
def _densest(orbit, x0, y0, width):  # noqa: ANN001, ANN202
    """Return the mean place of the points in the fullest of 32 x 32 cells."""
    cells = np.zeros((_CELLS * _CELLS, 3))
    scale = _CELLS / width
    for i in range(orbit.shape[1]):
        u = (orbit[0, i] - x0) * scale + 0.5 * _CELLS
        v = (orbit[1, i] - y0) * scale + 0.5 * _CELLS
        if (u >= 0) & (u < _CELLS) & (v >= 0) & (v < _CELLS):
            k = int(v) * _CELLS + int(u)
            cells[k, 0] += 1.0
            cells[k, 1] += orbit[0, i]
            cells[k, 2] += orbit[1, i]
    best = cells[cells[:, 0].argmax()]
    return best[1] / best[0], best[2] / best[0]


def _pick_frame(orbit: np.ndarray, draws: Draws, size: int) -> tuple[float, float, float]:
    """Choose what part of the plane is shown: (left, lower edge, pixels per unit).

    A flame's extent holds 94 % of its points in x and in y. Seven frames of ten are centred on the
    densest place, as tiles are on a protostar, and 0.25-0.8 extents wide; the others show 0.7-1.2
    extents about the middle.
    """
    x, y, extent = _extent(orbit)
    wide, narrow = extent * draws.uniform(0.7, 1.2), extent * draws.uniform(0.25, 0.8)
    if draws.uniform() < 0.7:
        x, y = _densest(orbit, x, y, extent)
        wide = narrow
    return x - wide / 2, y - wide / 2, size / wide


def _in_frame(orbit: np.ndarray, frame: tuple[float, float, float], size: int) -> float:
    u, v = (orbit[0] - frame[0]) * frame[2], (orbit[1] - frame[1]) * frame[2]
    return ((u >= 0) & (u < size) & (v >= 0) & (v < size)).mean()


def _physical(sums: np.ndarray, valid: np.ndarray, draws: Draws) -> np.ndarray:
    """Return log N_H, v_los, sigma_v: offsets and gains are drawn once for the flame."""
    n = np.maximum(sums[0], 1e-12)
    color = sums[1] / n
    spread = np.sqrt(np.maximum(sums[2] / n - color * color, 0.0))
    log_n = np.log10(n)
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
    genome: FlameGenome, draws: Draws, *, size: int, n_points: int
) -> MomentImage | None:
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

    Returns
    -------
    image : MomentImage or None
        None where it is not worth an image: points go to infinity, less than a fifth of them is in
        the frame, one pixel holds over 5 % of them, or less than 60 % of the frame is detected.
    """
    program, cumulated = genome.program()
    scouts = scout(program, cumulated, draws.integer(0, 2**52))
    if scouts is None:
        return None
    points, lanes, orbit = scouts
    frame = _pick_frame(orbit, draws, size)
    if _in_frame(orbit, frame, size) < 0.2:
        return None
    sums = np.zeros((size * size + 1, 4))
    play(program, cumulated, points, lanes, n_points, frame, size, sums, np.empty((3, 0)))
    counts = sums[:-1, 0]
    if counts.sum() < 0.2 * n_points or counts.max() > 0.05 * n_points:
        return None
    planes = np.ascontiguousarray(sums[:-1, :3].T).reshape(3, size, size)
    sigma = 2.0 ** draws.uniform(-0.6, 1.0) * size / 96
    envelope = 10.0 ** draws.uniform(-2.0, -0.3)
    shares = np.array([draws.uniform(0.2, 1.0) for _ in _ENVELOPES])
    smooth = np.zeros_like(planes)
    add_adaptive_beam(planes, sigma, 1.0 - envelope, smooth)
    for share, scale in zip(shares / shares.sum(), _ENVELOPES, strict=True):
        add_wide_beam(planes, scale * size, envelope * share, smooth)
    valid = smooth[0] * (4 * np.pi * sigma**2) >= _MIN_POINTS
    if valid.mean() < _MIN_VALID:
        return None
    return MomentImage(_physical(smooth, valid, draws), valid)
