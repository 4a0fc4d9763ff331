"""What all kinds of image have in common: the scouts, the frame, the game."""

from typing import NamedTuple

import numpy as np
from numba import njit

from stellarssl.pretrain.fractals.draws import Draws
from stellarssl.pretrain.fractals.engine import POOL, new_pool, play
from stellarssl.pretrain.fractals.genome import FlameGenome

__all__ = ["FlameImage", "Frame", "RejectedError", "accumulate", "camera_frame", "play_flame"]

_BURN_IN = 20
_N_SCOUTS = 8
_CELLS = 32
_COVER = 16
_MOST = 5.0
_NOWHERE = (0.0, 0.0, 0.0)
_NO_PALETTE = np.empty((0, 3))


class FlameImage(NamedTuple):
    """A flame that was rendered.

    Attributes
    ----------
    maps : ndarray of float32, shape (3, size, size)
        ``moments``, ``affine``, ``fbm``: log10 N_H [cm^-2], v_los and sigma_v [km/s]. ``rgb``: red,
        green and blue, 0-1.
    valid : ndarray of bool, shape (size, size)
        Where there are enough points (``rgb``: any).
    """

    maps: np.ndarray
    valid: np.ndarray


class Frame(NamedTuple):
    """A square of the plane that is shown.

    Attributes
    ----------
    left, bottom : float
        Its lower left corner.
    scale : float
        Pixels per unit of length.
    """

    left: float
    bottom: float
    scale: float


class RejectedError(Exception):
    """A flame is not worth an image; the message says why."""


@njit(cache=True, error_model="numpy", nogil=True)
def _extent(orbit):
    """Return the middle of the central 94 % of the points in x and y, and their larger width."""
    x, y = np.sort(orbit[0, ::3]), np.sort(orbit[1, ::3])
    low, high = int(0.03 * x.size), int(0.97 * x.size)
    width = max(x[high] - x[low], y[high] - y[low], 1e-9)
    return 0.5 * (x[low] + x[high]), 0.5 * (y[low] + y[high]), width


@njit(cache=True, error_model="numpy", nogil=True)
def _densest(orbit, x0, y0, width):
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


def _pick_frame(orbit: np.ndarray, draws: Draws, size: int, widths: tuple[float, ...]) -> Frame:
    """Choose what part of the plane is shown.

    A flame's extent holds 94 % of its points in x and in y. Seven frames of ten are centered on the
    densest place, as tiles are on a protostar, the others on the middle; ``widths`` are the ranges
    of the frame's width in extents, in the one case and in the other.
    """
    x, y, extent = _extent(orbit)
    narrow, wide = draws.uniform(*widths[:2]), draws.uniform(*widths[2:])
    if draws.uniform() < 0.7:
        x, y = _densest(orbit, x, y, extent)
        wide = narrow
    width = wide * extent
    return Frame(x - width / 2, y - width / 2, size / width)


@njit(cache=True, error_model="numpy", nogil=True)
def _count(orbit, left, bottom, scale, counts):
    """Count points in square cells of ``1 / scale``."""
    n = counts.shape[0]
    counts[:] = 0.0
    for i in range(orbit.shape[1]):
        u, v = (orbit[0, i] - left) * scale, (orbit[1, i] - bottom) * scale
        if (u >= 0) & (u < n) & (v >= 0) & (v < n):
            counts[int(v), int(u)] += 1.0


def _zoom_in(
    orbit: np.ndarray, frame: Frame, size: int, n_points: int, hit: float
) -> tuple[Frame, int]:
    """Narrow the frame until a share ``hit`` of its pixels can be expected to be hit.

    So many steps are foreseen that ``n_points`` fall into the frame, but no more than five times as
    many. Points are taken to fall at random within each of 16 x 16 cells that the scouts count.
    """
    counts = np.empty((_COVER, _COVER))
    for _ in range(7):
        _count(orbit, frame.left, frame.bottom, frame.scale * _COVER / size, counts)
        n_steps = int(n_points * min(_MOST, orbit.shape[1] / max(counts.sum(), 1.0)))
        per_pixel = counts * n_steps / orbit.shape[1] * (_COVER / size) ** 2
        if (1 - np.exp(-per_pixel)).mean() >= hit:
            return frame, n_steps
        margin = size / frame.scale / 8
        frame = Frame(frame.left + margin, frame.bottom + margin, frame.scale / 0.75)
    raise RejectedError("no frame can be expected to be covered")


def camera_frame(genome: FlameGenome, size: int) -> Frame:
    """Return the square that the genome's camera is pointed at, as wide as its image's short side.

    Parameters
    ----------
    genome : FlameGenome
        With a camera.
    size : int
        Pixels along a side.

    Returns
    -------
    frame : Frame
        The square.
    """
    camera = genome.camera
    width = min(camera.size) / camera.scale
    x, y = camera.center
    return Frame(x - width / 2, y - width / 2, size / width)


def _scout(program: tuple, cumulated: np.ndarray, seed: int) -> tuple:
    """Let a pool of points settle on the flame, and look where they are."""
    points, lanes = new_pool(seed)
    sums, orbit = np.zeros((1, 4)), np.empty((3, _BURN_IN * POOL))
    for n in (_BURN_IN * POOL, _N_SCOUTS * POOL):
        orbit = orbit[:, :n]
        play(program, cumulated, points, lanes, n, _NOWHERE, 0, _NO_PALETTE, sums, orbit)
    near = (np.abs(orbit[:2]) < 1e6).all(0)
    if near.mean() < 0.5:
        raise RejectedError("its points go to infinity")
    return points, lanes, (orbit if near.all() else orbit[:, near])


def play_flame(
    genome: FlameGenome,
    draws: Draws,
    *,
    size: int,
    n_points: int,
    widths: tuple[float, float, float, float] = (0.25, 0.8, 0.7, 1.2),
    frame: Frame | None = None,
    palette: np.ndarray = _NO_PALETTE,
    hit: float = 0.0,
    least: float = 0.2,
) -> np.ndarray:
    """Play the chaos game into pixels.

    Parameters
    ----------
    genome : FlameGenome
        The flame.
    draws : Draws
        Where the seed of the game and the frame come from.
    size : int
        Pixels along a side.
    n_points : int
        Steps of the game.
    widths : tuple of 4 float, optional
        Ranges of the frame's width, in extents of the flame, where it is centered on the densest
        place (seven of ten), and where on the middle.
    frame : Frame, optional
        What is shown, if it is not to be chosen.
    palette : ndarray of float, shape (n, 3), optional
        Colors that are summed; without one the color coordinate and its square are.
    hit : float, optional
        Share of the pixels that must be expected to be hit. A frame that is to be chosen is
        narrowed for it, at most six times by a quarter, and the game goes on until ``n_points``
        fall into the frame, up to five times as long.
    least : float, optional
        Share of the points that must lie in the frame.

    Returns
    -------
    sums : ndarray of float, shape (4, size, size)
        Counts, and sums of c, of c^2 and zero; or of red, green and blue.

    Raises
    ------
    RejectedError
        If points go to infinity, no frame is covered, too few points are in it, or one pixel holds
        over 5 %.
    """
    program, cumulated = genome.program()
    points, lanes, orbit = _scout(program, cumulated, draws.integer(0, 2**52))
    if frame is None:
        frame = _pick_frame(orbit, draws, size, widths)
        if hit:
            frame, n_points = _zoom_in(orbit, frame, size, n_points, hit)
    u, v = (orbit[0] - frame.left) * frame.scale, (orbit[1] - frame.bottom) * frame.scale
    if ((u >= 0) & (u < size) & (v >= 0) & (v < size)).mean() < least:
        raise RejectedError("too few of its points are in the frame")
    sums, no_orbit = np.zeros((size * size + 1, 4)), np.empty((3, 0))
    play(program, cumulated, points, lanes, n_points, tuple(frame), size, palette, sums, no_orbit)
    if sums[:-1, 0].max() > 0.05 * n_points:
        raise RejectedError("a single pixel holds over 5 % of its points")
    return np.ascontiguousarray(sums[:-1].T).reshape(4, size, size)


def accumulate(
    genome: FlameGenome, frame: Frame, *, size: int, n_points: int, seed: int = 0
) -> np.ndarray:
    """Count a flame's points in the pixels of a frame, whatever the flame is like.

    Parameters
    ----------
    genome : FlameGenome
        The flame.
    frame : Frame
        What is shown.
    size : int
        Pixels along a side.
    n_points : int
        Steps of the game.
    seed : int, optional
        Of the game.

    Returns
    -------
    sums : ndarray of float, shape (3, size, size)
        Counts, and sums of the color coordinate and of its square; the first row is the lowest.
    """
    program, cumulated = genome.program()
    points, lanes = new_pool(seed)
    sums, orbit = np.zeros((size * size + 1, 4)), np.empty((3, _BURN_IN * POOL))
    play(
        program, cumulated, points, lanes, orbit.shape[1], _NOWHERE, 0, _NO_PALETTE, sums, orbit
    )  # fmt: skip
    orbit = orbit[:, :0]
    play(
        program, cumulated, points, lanes, n_points, tuple(frame), size, _NO_PALETTE, sums, orbit
    )  # fmt: skip
    return np.ascontiguousarray(sums[:-1, :3].T).reshape(3, size, size)
