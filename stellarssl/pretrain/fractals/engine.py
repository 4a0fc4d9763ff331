"""The chaos game, played by a pool of points at a time."""

from typing import Any

import numpy as np
from numba import njit

from stellarssl.pretrain.fractals._blocks import N_UNIFORMS, call_block
from stellarssl.pretrain.fractals._math import floor

__all__ = ["POOL", "new_pool", "play", "splitmix"]

POOL = 1024
"""Points that move together."""

_DECKS = 8
_DECK = POOL // _DECKS
_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True}


@njit(**_OPTIONS)
def splitmix(state):
    """Return 64 bits scrambled from ``state`` (Steele, Lea & Flood 2014).

    Parameters
    ----------
    state : uint64
        Any 64 bits.

    Returns
    -------
    bits : uint64
        Scrambled bits.
    """
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(**_OPTIONS)
def _fill_uniform(lanes, out, n):
    """Fill ``out`` with numbers in [0, 1): xorshift128+, one generator a lane (Vigna 2017)."""
    for i in range(n):
        a, b = lanes[0, i], lanes[1, i]
        out[i] = np.float64(np.int64((a + b) >> np.uint64(12))) * (0.5**52)
        a ^= a << np.uint64(23)
        lanes[0, i] = b
        lanes[1, i] = a ^ b ^ (a >> np.uint64(18)) ^ (b >> np.uint64(5))


@njit(**_OPTIONS)
def new_pool(seed):
    """Return points in the square of side two, and random generators: one a point and one more.

    Parameters
    ----------
    seed : int
        Seed of the generators.

    Returns
    -------
    points : ndarray of float64, shape (3, POOL)
        Positions x and y, from -1 to 1, and colors, from 0 to 1.
    lanes : ndarray of uint64, shape (2, POOL + 1)
        States of the generators.
    """
    lanes, points = np.empty((2, POOL + 1), np.uint64), np.empty((3, POOL))
    state = np.uint64(seed)
    for i in range(POOL + 1):
        for k in range(2):
            state += np.uint64(0x9E3779B97F4A7C15)
            lanes[k, i] = splitmix(state)
    for k in range(3):
        _fill_uniform(lanes, points[k], POOL)
    points[:2] = 2 * points[:2] - 1
    return points, lanes


@njit(**_OPTIONS)
def _riffle(points, bits, out):
    """Cut each of eight decks anywhere and deal from all in turn: a point may come anywhere."""
    for place in range(_DECKS):
        low = ((place + bits) & (_DECKS - 1)) * _DECK
        cut = (bits >> (3 + 7 * place)) & (_DECK - 1)
        for i in range(_DECK - cut):
            out[_DECKS * i + place] = points[low + cut + i]
        for i in range(cut):
            out[_DECKS * (_DECK - cut + i) + place] = points[low + i]


@njit(**_OPTIONS)
def _stay(old_x, old_y, x, y):
    """Leave points where they were that would go to infinity."""
    lost = 0
    for i in range(POOL):
        lost += 0 if (abs(x[i]) < 1e10) & (abs(y[i]) < 1e10) else 1
    if lost == 0:
        return
    for i in range(POOL):
        good = (abs(x[i]) < 1e10) & (abs(y[i]) < 1e10)
        x[i] = x[i] if good else old_x[i]
        y[i] = y[i] if good else old_y[i]


@njit(**_OPTIONS)
def _apply_map(k, program, lanes, work, points, moved, low, high):
    """Apply map ``k`` to some points: affine, the sum of its variations, post transform, color."""
    affine, post, has_post, color, first, address, n_uniforms, weight, parameters = program
    n = high - low
    x, y, old = points[0, low:high], points[1, low:high], points[2, low:high]
    out_x, out_y, new = moved[0, low:high], moved[1, low:high], moved[2, low:high]
    tx, ty = work[0], work[1]
    a, b, c, d, e, f = affine[k]
    hue, speed = color[k]
    for i in range(n):
        tx[i] = a * x[i] + b * y[i] + c
        ty[i] = d * x[i] + e * y[i] + f
        out_x[i] = 0.0
        out_y[i] = 0.0
        new[i] = old[i] + speed * (hue - old[i])
    uniforms = work[2:].ravel()
    for j in range(first[k], first[k + 1]):
        for m in range(n_uniforms[j]):
            _fill_uniform(lanes, uniforms[m * n : (m + 1) * n], n)
        call_block(
            address[j], n, tx.ctypes.data, ty.ctypes.data, uniforms.ctypes.data,
            parameters[j].ctypes.data, weight[j], out_x.ctypes.data, out_y.ctypes.data,
        )  # fmt: skip
    if has_post[k]:
        a, b, c, d, e, f = post[k]
        for i in range(n):
            u, v = out_x[i], out_y[i]
            out_x[i] = a * u + b * v + c
            out_y[i] = d * u + e * v + f


@njit(**_OPTIONS)
def _step(program, cumulated, moved, lanes, work, points):
    """Shuffle the points of ``moved`` into ``points`` and send them back, each through a map.

    A stretch of the pool is as long as its map is probable, and a point's place after the shuffle
    does not depend on its past: its path is a fair chaos game.
    """
    state = lanes[0, POOL]
    lanes[0, POOL] = state + np.uint64(2)
    bits = np.int64(splitmix(state) >> np.uint64(1))
    offset = np.float64(np.int64(splitmix(state + np.uint64(1)) >> np.uint64(12))) * (0.5**52)
    for k in range(3):
        _riffle(moved[k], bits, points[k])
    low = 0
    for k in range(cumulated.size):
        high = POOL if k + 1 == cumulated.size else min(POOL, int(cumulated[k] * POOL + offset))
        if high > low:
            _apply_map(k, program, lanes, work, points, moved, low, high)
            low = high
    _stay(points[0], points[1], moved[0], moved[1])


@njit(**_OPTIONS)
def _find_pixels(points, n, frame, size, pixel):
    """Write each point's place in the image; what is outside has the place after the last."""
    x0, y0, scale = frame
    outside, x, y = float(size * size), points[0], points[1]
    for i in range(n):
        u, v = (x[i] - x0) * scale, (y[i] - y0) * scale
        inside = (u >= 0) & (u < size) & (v >= 0) & (v < size)
        pixel[i] = np.uint64(np.int64(floor(v) * size + floor(u) if inside else outside))


@njit(**_OPTIONS)
def _bin(color, n, pixel, palette, sums):
    """Add points to ``sums[pixel]``: 1, c, c^2 and 0, or with a palette 1, red, green, blue."""
    # four sums side by side are read, added to and written as one vector
    if palette.shape[0] == 0:
        for i in range(n):
            k, c = pixel[i], color[i]
            s0, s1 = sums[k, 0] + 1.0, sums[k, 1] + c
            s2, s3 = sums[k, 2] + c * c, sums[k, 3] + 0.0
            sums[k, 0], sums[k, 1], sums[k, 2], sums[k, 3] = s0, s1, s2, s3
        return
    top = palette.shape[0] - 1
    for i in range(n):
        k, shade = pixel[i], palette[int(min(max(color[i], 0.0), 1.0) * top + 0.5)]
        s0, s1 = sums[k, 0] + 1.0, sums[k, 1] + shade[0]
        s2, s3 = sums[k, 2] + shade[1], sums[k, 3] + shade[2]
        sums[k, 0], sums[k, 1], sums[k, 2], sums[k, 3] = s0, s1, s2, s3


@njit(**_OPTIONS)
def play(program, cumulated, points, lanes, n_points, frame, size, palette, sums, orbit):
    """Let the pool make ``n_points`` steps in all; bin them, or fill ``orbit`` if it has room.

    The last map, beyond ``cumulated``, is the final one: it moves what is drawn, not the points.

    Parameters
    ----------
    program : tuple of ndarray
        Compiled maps: addresses and parameters of their variations.
    cumulated : ndarray of float64
        Cumulated probabilities of the maps.
    points : ndarray of float64, shape (3, POOL)
        Points x, y and color; moved in place.
    lanes : ndarray of uint64, shape (2, POOL + 1)
        States of the generators; advanced in place.
    n_points : int
        Number of points to draw.
    frame : ndarray of float64
        Transformation from positions to pixels.
    size : int
        Edge of the image [pixels].
    palette : ndarray of float64, shape (n, 3)
        Colors; empty to sum the color coordinate and its square instead.
    sums : ndarray of float64, shape (pixels, 4)
        Counts and sums of colors; added to in place.
    orbit : ndarray of float64, shape (3, n)
        Receives the points that are drawn instead of ``sums``, unless it is empty.
    """
    n_maps = cumulated.size
    has_final = program[0].shape[0] > n_maps
    shuffled, drawn = np.empty((3, POOL)), np.empty((3, POOL))
    work, pixel = np.empty((2 + N_UNIFORMS, POOL)), np.empty(POOL, np.uint64)
    for done in range(0, n_points, POOL):
        _step(program, cumulated, points, lanes, work, shuffled)
        shown = points
        if has_final:
            _apply_map(n_maps, program, lanes, work, points, drawn, 0, POOL)
            shown = drawn
        n = min(POOL, n_points - done)
        if orbit.shape[1] > 0:
            orbit[:, done : done + n] = shown[:, :n]
        else:
            _find_pixels(shown, n, frame, size, pixel)
            _bin(shown[2], n, pixel, palette, sums)
