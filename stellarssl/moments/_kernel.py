"""The numbers themselves: compiled loops over plain arrays, vectorised along x.

All kernels see a block as ``(channel, pixel)`` or ``(channel, y, x)``, C-contiguous, with NaN where
there is nothing, and release the GIL, so that threads work on several blocks at once. Pixels are
taken in batches, so that a batch's channels and sums stay in the processor's cache; within a batch
every loop runs along contiguous memory.
"""

import numpy as np

from stellarssl._utils.compiled import compiled

__all__ = ["classify", "compiled", "covered", "grow", "link", "moment_sums"]

# Gaussian noise exceeds these multiples of sigma with chances of 2e-2, 1e-3, 3e-5 and 1e-9.
LOW, FAIR, HIGH, SURE = (np.float32(level) for level in (2.0, 3.1, 4.0, 6.0))
ZERO, ONE, INFINITY = np.float32(0), np.float32(1), np.float32(np.inf)
BROAD, CORE, ABOVE_ZERO = 1, 2, 4

# Channels that a core grows by.
REACH = 3

# A batch's values and masks, in bytes: half of a common second-level cache.
_BATCH = 1 << 19


@compiled
def _width(n_channels: int) -> int:
    """Return how many pixels make a batch."""
    return max(64, min(1024, _BATCH // (5 * n_channels)))


@compiled
def covered(data: np.ndarray, first: int, seen: np.ndarray) -> None:
    """Mark the pixels that have a finite value in some channel.

    Parameters
    ----------
    data : ndarray of float32, shape (v, p)
        Values.
    first : int
        The pixel of ``data`` that is the first of ``seen``.
    seen : ndarray of uint8, shape (n,)
        Set to 1 or 0.
    """
    seen[:] = 0
    for v in range(data.shape[0]):
        n_seen = 0
        for p in range(seen.size):
            seen[p] |= np.uint8(abs(data[v, first + p]) < INFINITY)
            n_seen += seen[p]
        if n_seen == seen.size:
            break


@compiled
def classify(data: np.ndarray, sigma: np.ndarray, ratio: np.ndarray, level: np.ndarray) -> float:
    """Count how many of five levels each value exceeds: zero, and four of significance.

    Parameters
    ----------
    data : ndarray of float32, shape (v, p)
        Values.
    sigma : ndarray of float32, shape (1, p) or (v, p)
        Noise. Where it is zero, every value above zero is of level 5.
    ratio : ndarray of float32, shape (v,)
        What takes value / noise to the same unit.
    level : ndarray of uint8, shape (v, p)
        Set to 0 ... 5.

    Returns
    -------
    peak : float
        The largest value / noise.
    """
    n_channels, n_pixels = data.shape
    peak = np.zeros(n_pixels, np.float32)
    for v in range(n_channels):
        noise = sigma[v if sigma.shape[0] > 1 else 0]
        for p in range(n_pixels):
            snr = data[v, p] * ratio[v] / noise[p]
            level[v, p] = (
                np.uint8(snr > ZERO)
                + np.uint8(snr > LOW)
                + np.uint8(snr > FAIR)
                + np.uint8(snr > HIGH)
                + np.uint8(snr > SURE)
            )
            peak[p] = max(peak[p], snr)
    return peak.max()


@compiled
def _mark_runs(level: np.ndarray, least: int, length: int, bit: int, state: np.ndarray) -> None:
    """Set ``bit`` in all runs along v of at least ``length`` values of level ``least`` or more."""
    n_channels, n_pixels = level.shape
    run = np.empty(n_pixels, np.uint8)
    for v in range(n_channels - length + 1):
        run[:] = bit
        for k in range(length):
            for p in range(n_pixels):
                run[p] = run[p] if level[v + k, p] >= least else np.uint8(0)
        for k in range(length):
            for p in range(n_pixels):
                state[v + k, p] |= run[p]


@compiled
def link(level: np.ndarray, extra: int, state: np.ndarray) -> None:
    """Find the voxels of cores and those that may join one.

    Parameters
    ----------
    level : ndarray of uint8, shape (v, p)
        As `classify` sets it.
    extra : int
        By how many channels the runs are longer than in uncorrelated noise.
    state : ndarray of uint8, shape (v, p)
        Set to a union of ``CORE`` (above 6 sigma, in 2 consecutive channels above 4 or in 3 above
        3.1: all as rare in noise), ``BROAD`` (in 2 consecutive channels above 2) and
        ``ABOVE_ZERO``.
    """
    n_channels, n_pixels = level.shape
    width = _width(n_channels)
    for start in range(0, n_pixels, width):
        part = level[:, start : start + width]
        out = state[:, start : start + width]
        out[:] = 0
        _mark_runs(part, 5, 1, CORE, out)
        _mark_runs(part, 4, 2 + extra, CORE, out)
        _mark_runs(part, 3, 3 + extra, CORE, out)
        _mark_runs(part, 2, 2 + extra, BROAD, out)
        _mark_runs(part, 1, 1, ABOVE_ZERO, out)


@compiled
def _near(state: np.ndarray, v: int, near: np.ndarray) -> bool:
    """Set ``near`` (y, x) where a core is within ``REACH`` channels of ``v``; say if any is."""
    near[:] = 0
    n_cores = 0
    for k in range(max(v - REACH, 0), min(v + REACH + 1, state.shape[0])):
        for y in range(near.shape[0]):
            for x in range(near.shape[1]):
                near[y, x] |= state[k, y, x] & np.uint8(CORE)
                n_cores += near[y, x]
    return n_cores > 0


@compiled
def _distances(near: np.ndarray, far: int, distance: np.ndarray) -> None:
    """Set the distance along a row to the nearest core, ``far`` at most."""
    distance[:] = far
    if not _any(near):
        return
    last = far
    for x in range(near.size):
        last = 0 if near[x] else min(last + 1, far)
        distance[x] = last
    last = far
    for x in range(near.size - 1, -1, -1):
        last = 0 if near[x] else min(last + 1, far)
        distance[x] = min(distance[x], last)


@compiled
def grow(state: np.ndarray, half_widths: np.ndarray, top: int, mask: np.ndarray) -> None:
    """Grow the cores within ``REACH`` channels and a disc on the sky.

    Parameters
    ----------
    state : ndarray of uint8, shape (v, y, x)
        As `link` sets it, with a margin of rows on either side where the map has them.
    half_widths : ndarray of uint8, shape (2 r + 1,)
        The disc: how far it reaches along x, in pixels, in each of its rows.
    top : int
        The row of ``state`` that is the first of ``mask``.
    mask : ndarray of uint8, shape (v, rows, x)
        Set to 1 or 0: cores, what is broad, and the wings of both, as far as they are above zero.
    """
    n_channels, n_state, n_x = state.shape
    radius = half_widths.size // 2
    near = np.empty((n_state, n_x), np.uint8)
    distance = np.empty((n_state, n_x), np.uint8)
    close = np.empty(n_x, np.uint8)
    for v in range(n_channels):
        mask[v] = 0
        if not _near(state, v, near):
            continue
        for y in range(n_state):
            _distances(near[y], half_widths[radius] + 1, distance[y])
        for y in range(mask.shape[1]):
            close[:] = 0
            for row in range(max(y + top - radius, 0), min(y + top + radius + 1, n_state)):
                reach = half_widths[row - (y + top) + radius]
                for x in range(n_x):
                    close[x] |= np.uint8(distance[row, x] <= reach)
            for x in range(n_x):
                # 1: signal; 2: signal if it is linked to some
                here = state[v, y + top, x]
                here &= np.uint8(CORE + (BROAD + ABOVE_ZERO) * close[x])
                linked = np.uint8(2) if here & np.uint8(ABOVE_ZERO) else np.uint8(0)
                mask[v, y, x] = np.uint8(1) if here & np.uint8(CORE + BROAD) else linked
    _add_wings(mask)


@compiled
def _add_wings(mask: np.ndarray) -> None:
    """Turn 2 into 1 within ``REACH`` unbroken channels of a 1, and into 0 elsewhere."""
    n_channels, n_y, n_x = mask.shape
    for sign in (1, -1):
        for y in range(n_y):
            left = np.zeros(n_x, np.uint8)
            for k in range(n_channels):
                v = k if sign > 0 else n_channels - 1 - k
                for x in range(n_x):
                    value = mask[v, y, x]
                    reached = (value >= 2) & (left[x] > 0)
                    less = np.uint8(left[x] - 1) if reached else np.uint8(0)
                    left[x] = np.uint8(REACH) if value == 1 else less
                    mask[v, y, x] = np.uint8(3) if reached else value
    for v in range(n_channels):
        for y in range(n_y):
            for x in range(n_x):
                mask[v, y, x] &= np.uint8(1)


@compiled
def moment_sums(data, mask, first, factor, u, sigma, sigma_factor, out):  # noqa: ANN001
    """Sum intensity, its central moments and their variances over the mask.

    Parameters
    ----------
    data : ndarray of float32, shape (v, p)
        Values.
    mask : ndarray of uint8, shape (v, n)
        Zero where a value is left out.
    first : int
        The pixel of ``data`` and ``sigma`` that is the first of ``mask``.
    factor : ndarray of float64, shape (v,)
        What takes a value to K.
    u : ndarray of float64, shape (v,)
        Velocity from a reference, in channels.
    sigma : ndarray of float32, shape (1, p) or (v, p)
        Noise.
    sigma_factor : ndarray of float64, shape (v,)
        What takes ``sigma`` to K.
    out : ndarray of float64, shape (8, n)
        Set to: number of values; largest T; sum of T; mean u; sum of T (u - mean)^2; and the sums
        over the mask of sigma^2 times 1, (u - mean)^2, (u - mean)^4.
    """
    n_channels, n_pixels = mask.shape
    width = _width(n_channels)
    scratch = np.empty((2, width), np.float32)
    sums = np.empty((3, width))
    rough = np.empty((6, width), np.float32)
    for start in range(0, n_pixels, width):
        n = min(width, n_pixels - start)
        here, there = slice(first + start, first + start + n), slice(start, start + n)
        value, noise = scratch[0, :n], scratch[1, :n]
        total, mean, spread = sums[0, :n], sums[1, :n], sums[2, :n]
        number, peak, centre = rough[0, :n], rough[1, :n], rough[2, :n]
        q0, q2, q4 = rough[3, :n], rough[4, :n], rough[5, :n]
        sums[:] = 0.0
        rough[:] = ZERO
        peak[:] = -INFINITY
        for v in range(n_channels):
            if _any(mask[v, there]):
                row = v if sigma.shape[0] > 1 else 0
                _select(data[v, here], mask[v, there], sigma[row, here], value, noise)
                _count(data[v, here], mask[v, there], np.float32(factor[v]), number, peak)
                _add(value, factor[v], u[v], total, mean)
                _add_squares(noise, np.float32(sigma_factor[v]), q0)
        mean /= total
        centre[:] = mean
        for v in range(n_channels):
            if _any(mask[v, there]):
                row = v if sigma.shape[0] > 1 else 0
                _select(data[v, here], mask[v, there], sigma[row, here], value, noise)
                _add_central(value, factor[v], u[v], mean, spread)
                s, w = np.float32(sigma_factor[v]), np.float32(u[v])
                _add_central_squares(noise, s, w, centre, q2, q4)
        out[:2, there] = rough[:2, :n]
        out[2:5, there] = sums[:, :n]
        out[5:, there] = rough[3:, :n]


@compiled
def _any(mask):  # noqa: ANN001, ANN202
    union = np.uint8(0)
    for p in range(mask.size):
        union |= mask[p]
    return union != 0


@compiled
def _select(data, mask, sigma, value, noise):  # noqa: ANN001
    for p in range(mask.size):
        x = data[p] if mask[p] != 0 else ZERO
        value[p] = x if abs(x) < INFINITY else ZERO
    for p in range(mask.size):
        x = sigma[p] if mask[p] != 0 else ZERO
        noise[p] = x if abs(data[p]) < INFINITY else ZERO


@compiled
def _count(data, mask, factor, number, peak):  # noqa: ANN001
    for p in range(mask.size):
        ok = (abs(data[p]) < INFINITY) & (mask[p] != 0)
        number[p] += ONE if ok else ZERO
    for p in range(mask.size):
        x = data[p] if mask[p] != 0 else -INFINITY
        x = x if abs(x) < INFINITY else -INFINITY
        peak[p] = max(peak[p], x * factor)


@compiled
def _add(value, factor, u, total, weighted):  # noqa: ANN001
    for p in range(value.size):
        t = np.float64(value[p]) * factor
        total[p] += t
        weighted[p] += t * u


@compiled
def _add_squares(noise, factor, total):  # noqa: ANN001
    for p in range(noise.size):
        s = noise[p] * factor
        total[p] += s * s


@compiled
def _add_central(value, factor, u, mean, spread):  # noqa: ANN001
    for p in range(value.size):
        d = u - mean[p]
        spread[p] += np.float64(value[p]) * factor * d * d


@compiled
def _add_central_squares(noise, factor, u, mean, q2, q4):  # noqa: ANN001
    for p in range(noise.size):
        d = u - mean[p]
        q = noise[p] * factor * d
        q2[p] += q * q
        q4[p] += q * q * d * d
