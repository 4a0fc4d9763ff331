"""The chaos game, played by a pool of points at a time."""

import numpy as np
from numba import njit

from stellarssl.pretrain.fractals._blocks import N_UNIFORMS, call_block

__all__ = ["POOL", "advance", "bin_points", "new_pool", "splitmix", "step"]

POOL = 1024
"""Points that move together; a power of two."""

_OPTIONS = {"cache": True, "error_model": "numpy", "nogil": True}


@njit(**_OPTIONS)
def splitmix(state):  # noqa: ANN001, ANN201
    """Return the next 64 random bits after ``state`` (Steele, Lea & Flood 2014)."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(**_OPTIONS)
def new_pool(seed):  # noqa: ANN001, ANN201
    """Return points in the square of side two, and one random generator for each."""
    lanes = np.empty((2, POOL), np.uint64)
    points = np.empty((3, POOL))
    state = np.uint64(seed)
    for i in range(POOL):
        for k in range(2):
            state += np.uint64(0x9E3779B97F4A7C15)
            lanes[k, i] = splitmix(state)
    for k in range(3):
        fill_uniform(lanes, points[k], POOL)
    points[:2] = 2 * points[:2] - 1
    return points, lanes


@njit(**_OPTIONS)
def fill_uniform(lanes, out, n):  # noqa: ANN001, ANN201
    """Fill ``out`` with numbers in [0, 1): xorshift128+, one generator a lane (Vigna 2017)."""
    for i in range(n):
        a, b = lanes[0, i], lanes[1, i]
        out[i] = np.float64(np.int64((a + b) >> np.uint64(12))) * (0.5**52)
        a ^= a << np.uint64(23)
        lanes[0, i] = b
        lanes[1, i] = a ^ b ^ (a >> np.uint64(18)) ^ (b >> np.uint64(5))


@njit(**_OPTIONS)
def _apply_map(k, program, uniforms, lanes, tx, ty, ox, oy, n):  # noqa: ANN001, ANN202, PLR0913
    """Add up the variations of map ``k`` at ``tx, ty`` and apply its post transform."""
    _, post, has_post, _, first, address, n_uniforms, weight, parameters = program
    ox[:n] = 0.0
    oy[:n] = 0.0
    for j in range(first[k], first[k + 1]):
        for m in range(n_uniforms[j]):
            fill_uniform(lanes, uniforms[m * n : (m + 1) * n], n)
        call_block(
            address[j], n, tx.ctypes.data, ty.ctypes.data, uniforms.ctypes.data,
            parameters[j].ctypes.data, weight[j], ox.ctypes.data, oy.ctypes.data,
        )  # fmt: skip
    if has_post[k]:
        a, b, c, d, e, f = post[k]
        for i in range(n):
            x, y = ox[i], oy[i]
            ox[i] = a * x + b * y + c
            oy[i] = d * x + e * y + f


@njit(**_OPTIONS)
def step(program, cdf, points, moved, work, lanes, turn):  # noqa: ANN001, ANN201, PLR0913
    """Move all points once, from ``points`` to ``moved``.

    Places are shuffled by an odd multiplier, then each stretch of the pool, as long as its
    probability, goes through one map: every point's path is a fair chaos game.
    """
    affine, _, _, colour, _, _, _, _, _ = program
    draw = splitmix(np.uint64(turn) ^ lanes[0, 0])
    multiplier = np.int64(draw >> np.uint64(32)) | 1
    shift = np.int64(draw & np.uint64(POOL - 1))
    offset = (draw >> np.uint64(11)) * (0.5**53)
    tx, ty, uniforms = work[0], work[1], work[2 : 2 + N_UNIFORMS].ravel()
    low = 0
    for k in range(cdf.size):
        high = min(POOL, int(cdf[k] * POOL + offset))
        if k == cdf.size - 1:
            high = POOL
        n = high - low
        if n <= 0:
            continue
        a, b, c, d, e, f = affine[k]
        hue, speed = colour[k]
        for i in range(n):
            j = ((low + i) * multiplier + shift) & (POOL - 1)
            x, y = points[0, j], points[1, j]
            tx[i] = a * x + b * y + c
            ty[i] = d * x + e * y + f
            moved[2, low + i] = points[2, j] + speed * (hue - points[2, j])
        _apply_map(k, program, uniforms, lanes, tx, ty, moved[0, low:high], moved[1, low:high], n)
        low = high
    _catch(moved, shift)


@njit(**_OPTIONS)
def _catch(points, shift):  # noqa: ANN001, ANN202
    """Put points that went to infinity back into the square of side two."""
    for i in range(POOL):
        x, y = points[0, i], points[1, i]
        good = (abs(x) < 1e10) & (abs(y) < 1e10)
        t = ((i + shift) & (POOL - 1)) * (2.0 / POOL) - 1.0
        s = ((i * 389 + shift) & (POOL - 1)) * (2.0 / POOL) - 1.0
        points[0, i] = x if good else t
        points[1, i] = y if good else s


@njit(**_OPTIONS)
def bin_points(points, n, frame, size, sums):  # noqa: ANN001, ANN201
    """Add the first ``n`` points to ``sums[pixel] = (count, sum c, sum c^2)``."""
    x0, y0, scale = frame
    for i in range(n):
        x = (points[0, i] - x0) * scale
        y = (points[1, i] - y0) * scale
        if (x >= 0) & (x < size) & (y >= 0) & (y < size):
            k = int(y) * size + int(x)
            c = points[2, i]
            sums[k, 0] += 1.0
            sums[k, 1] += c
            sums[k, 2] += c * c


@njit(**_OPTIONS)
def play(program, cdf, points, lanes, n_points, frame, size, sums, orbit):  # noqa: ANN001, ANN201, PLR0913
    """Let the pool make ``n_points`` steps in all; bin them, or write them to ``orbit``.

    The last map, beyond ``cdf``, is the final one: it moves what is drawn, not the points.
    """
    n_maps = cdf.size
    has_final = program[0].shape[0] > n_maps
    other, drawn, work = np.empty_like(points), np.empty_like(points), np.empty((9, POOL))
    uniforms = work[2 : 2 + N_UNIFORMS].ravel()
    done = turn = 0
    while done < n_points:
        turn += 1
        step(program, cdf, points, other, work, lanes, turn)
        points, other = other, points
        shown = points
        if has_final:
            a, b, c, d, e, f = program[0][n_maps]
            hue, speed = program[3][n_maps]
            for i in range(POOL):
                x, y = points[0, i], points[1, i]
                work[0, i] = a * x + b * y + c
                work[1, i] = d * x + e * y + f
                drawn[2, i] = points[2, i] + speed * (hue - points[2, i])
            _apply_map(
                n_maps, program, uniforms, lanes, work[0], work[1], drawn[0], drawn[1], POOL
            )
            shown = drawn
        n = min(POOL, n_points - done)
        if orbit.shape[1] > 0:
            orbit[:, done : done + n] = shown[:, :n]
        else:
            bin_points(shown, n, frame, size, sums)
        done += n
    return points
