"""The mask: which voxels are signal, found by compiled loops over float32 blocks.

All loops release the GIL, so that threads work on several blocks at once, and run along contiguous
memory, so that they are vectorized.
"""

import math

import numpy as np

from stellarssl._utils.compiled import compiled

__all__ = ["classify", "find_signal", "grow", "link"]

# Gaussian noise exceeds these multiples of sigma with chances of 2e-2, 1e-3, 3e-5 and 1e-9.
LOW, FAIR, HIGH, SURE = (np.float32(level) for level in (2.0, 3.1, 4.0, 6.0))
ZERO = np.float32(0)
BROAD, CORE, ABOVE_ZERO = 1, 2, 4

# Number of channels that a core grows by.
REACH = 3

_MOST_EXTRA = 2
"""Most channels that runs are lengthened by; Hanning smoothing needs this many."""

# Pixels that are linked at once, so that all their channels stay in the processor's cache.
_BATCH = 1024


def find_signal(
    data: np.ndarray,
    sigma: np.ndarray,
    ratio: np.ndarray,
    *,
    kappa: float,
    beam_pixels: float,
    rows: slice,
) -> tuple[np.ndarray, float]:
    """Find the signal of a block.

    Parameters
    ----------
    data : ndarray of float32, shape (v, y, x)
        Values, with a margin of one beam around the pixels that the result is needed for.
    sigma : ndarray of float32, shape (1 or v, y, x)
        Noise of the values.
    ratio : ndarray of float32, shape (v,)
        Factors that convert value / noise to the same unit.
    kappa : float
        Variance of a sum over channels relative to that of independent channels.
    beam_pixels : float
        Distance on the sky by which a core grows.
    rows : slice
        Rows that the mask is needed for.

    Returns
    -------
    mask : ndarray of uint8, shape (v, rows, x)
        1 where a voxel is signal, else 0.
    peak : float
        Largest value / noise.
    """
    n_channels, n_y, n_x = data.shape
    level, state = np.empty((2, n_channels, n_y, n_x), np.uint8)
    flat = n_channels, n_y * n_x
    peak = classify(data.reshape(flat), sigma.reshape(len(sigma), -1), ratio, level.reshape(flat))
    # where neighboring channels share their noise, longer runs are as rare
    extra = min(math.floor(kappa + 0.5) - 1, _MOST_EXTRA)
    link(level.reshape(flat), extra, state.reshape(flat))
    offsets = np.arange(-int(beam_pixels), int(beam_pixels) + 1)
    disc = np.sqrt(beam_pixels**2 - offsets**2).astype(np.uint8)
    mask = np.empty((n_channels, rows.stop - rows.start, n_x), np.uint8)
    grow(state, disc, rows.start, mask)
    return mask, peak


@compiled
def classify(data, sigma, ratio, level):  # noqa: ANN001, ANN201
    """Count how many of five levels each value exceeds: zero, and four of significance.

    Parameters
    ----------
    data : ndarray of float32, shape (v, p)
        Values.
    sigma : ndarray of float32, shape (1 or v, p)
        Noise of the values. Where it is zero, every value above zero is of level 5.
    ratio : ndarray of float32, shape (v,)
        Factors that convert value / noise to the same unit.
    level : ndarray of uint8, shape (v, p)
        Set to 0 ... 5.

    Returns
    -------
    peak : float
        Largest value / noise.
    """
    peaks = np.zeros(level.shape[1], np.float32)
    for v in range(level.shape[0]):
        noise = sigma[v if sigma.shape[0] > 1 else 0]
        for p in range(level.shape[1]):
            snr = data[v, p] * ratio[v] / noise[p]
            level[v, p] = (
                np.uint8(snr > ZERO)
                + np.uint8(snr > LOW)
                + np.uint8(snr > FAIR)
                + np.uint8(snr > HIGH)
                + np.uint8(snr > SURE)
            )
            peaks[p] = max(peaks[p], snr)
    return peaks.max()


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
    width = max(64, min(_BATCH, (1 << 19) // (5 * n_channels)))
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
def _any(mask):  # noqa: ANN001, ANN202
    union = np.uint8(0)
    for p in range(mask.size):
        union |= mask[p]
    return union != 0
