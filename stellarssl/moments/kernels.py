"""Moments and their errors over a mask, with one look at each voxel.

Every loop runs along contiguous memory and writes to one array, so that it is vectorised; four
channels are added at once, so that the sums are seldom fetched. The mask is sparse: where none of
eight pixels has signal in four channels, nothing is added.
"""

import numpy as np

from stellarssl._utils.compiled import compiled
from stellarssl.moments._view import load

__all__ = ["IMAGES", "covered", "moments"]

IMAGES = ("moment0", "v_los", "sigma_v", "peak", "e_moment0", "e_v_los", "e_sigma_v", "number")

ZERO, INFINITY, NAN = (np.float32(x) for x in (0, np.inf, np.nan))

# Pixels of a batch, whose sums stay in the processor's cache, and of its smallest part; channels
# that are added at once.
_BATCH, _LANES, _GROUP = 4096, 8, 4

# The sums of a batch are this far apart: not by a power of two, which caches cannot hold. Indices
# are unsigned, or else the compiled code looks for negative ones.
_SPAN = _BATCH + 40
_N_SUMS = 11
_FIRST, _PEAK, _TOTAL, _WEIGHTED, _SQUARED, _Q0, _Q1, _Q2, _Q3, _Q4 = (
    np.uint64(k * _SPAN) for k in range(1, _N_SUMS)
)
# The rows of a group: four channels of values, then four of noise; of its flags, by eights.
_ROW1, _ROW2, _ROW3, _ROW4, _ROW5, _ROW6, _ROW7 = (np.uint64(k * _SPAN) for k in range(1, 8))
_EIGHT1, _EIGHT2, _EIGHT3 = (np.uint64(k * _SPAN // 8) for k in range(1, 4))

_BLANK = np.uint32(0xFFFFFFFF)  # the bits of a NaN


@compiled
def covered(data, n_channels, seen):  # noqa: ANN001
    """Mark the pixels that have a finite value in some channel.

    Parameters
    ----------
    data : `View` of float32
        Values.
    n_channels : int
        How many.
    seen : ndarray of bool, shape (y, x)
        Set.
    """
    words = np.empty(_BATCH, np.uint32)
    value = words.view(np.float32)
    for y in range(seen.shape[0]):
        for start in range(0, seen.shape[1], _BATCH):
            part = seen[y, start : start + _BATCH]
            part[:] = False
            for v in range(n_channels):
                d = data.first + v * data.channel + y * data.row + start
                load(data.flat[d : d + part.size], data.swapped, words)
                n_seen = 0
                for p in range(part.size):
                    part[p] |= abs(value[p]) < INFINITY
                    n_seen += part[p]
                if n_seen == part.size:
                    break


@compiled
def moments(data, mask, sigma, factors, axis, kappa, out):  # noqa: ANN001
    """Measure a block.

    Sums of T and of the squared noise are taken times powers of the velocity from the first channel
    of each pixel's mask, where they lose nothing, and moved to the mean at the end.

    Parameters
    ----------
    data, sigma : `View` of float32
        Values and their noise.
    mask : `View` of uint8
        Zero where a value is left out.
    factors : tuple of ndarray of float64, shape (v,)
        What takes values, and noise, to K.
    axis : tuple
        Velocity from a reference in channels, float64 (v,); that reference, and the width of a
        channel, below zero if velocities descend [km/s].
    kappa : float
        Variance of a sum over channels, over that of independent ones.
    out : ndarray of float32, shape (8, y, x)
        Set to `IMAGES`; NaN where the mask holds nothing.
    """
    n_channels = factors[0].size
    # A number that is not known beforehand, or else the loop is unrolled, not vectorised.
    lanes = np.uint64(min(_LANES, out.shape[2]))
    terms = np.zeros((3, n_channels + _GROUP))
    terms[0, :n_channels], terms[1, :n_channels] = factors
    terms[2, :n_channels] = axis[0]
    words = np.empty(2 * _GROUP * _SPAN, np.uint32)
    kept = np.empty(_GROUP * _SPAN, np.uint8)
    sums = np.empty(_N_SUMS * _SPAN)
    parts = np.empty(_BATCH // _LANES, np.uint64)
    for y in range(out.shape[1]):
        for start in range(0, out.shape[2], _BATCH):
            size = min(_BATCH, out.shape[2] - start)
            used = size + _LANES
            sums.reshape((_N_SUMS, _SPAN))[:, :used] = 0.0
            sums[_PEAK : _PEAK + used] = -np.inf
            words.reshape((2 * _GROUP, _SPAN))[:, :used] = _BLANK
            kept.reshape((_GROUP, _SPAN))[:, :used] = 0
            for v in range(0, n_channels, _GROUP):
                if _fetch(data, mask, sigma, n_channels, v, y, start, size, words, kept):
                    n_parts = _with_signal(kept.view(np.uint64), size, parts)
                    group = terms[:, v : v + _GROUP]
                    _add(words.view(np.float32), parts[:n_parts], lanes, group, sums)
            _finish(sums, axis, kappa, out[:, y, start : start + size])


@compiled
def _fetch(data, mask, sigma, n_channels, group, y, start, size, words, kept):  # noqa: ANN001, ANN202
    """Copy a group of channels, NaN outside of the mask; say whether the mask holds anything."""
    anything = False
    for row in range(_GROUP):
        v = group + row
        here = slice(row * _SPAN, row * _SPAN + size)
        m = mask.first + v * mask.channel + y * mask.row + start
        if v < n_channels and _copy(mask.flat[m : m + size], kept[here]):
            anything = True
            d = data.first + v * data.channel + y * data.row + start
            _take(data.flat[d : d + size], data.swapped, kept[here], words[here])
        else:
            words[here] = _BLANK
            kept[here] = 0
        if v < n_channels and (sigma.channel != 0 or group == 0):
            s = sigma.first + v * sigma.channel + y * sigma.row + start
            load(sigma.flat[s : s + size], sigma.swapped, words[(_GROUP + row) * _SPAN :])
    return anything


@compiled
def _copy(mask, kept):  # noqa: ANN001, ANN202
    union = np.uint8(0)
    for i in range(mask.size):
        kept[i] = mask[i]
        union |= mask[i]
    return union != 0


@compiled
def _take(bits, swapped, kept, words):  # noqa: ANN001
    if swapped:
        for i in range(bits.size):
            x = bits[i]
            x = (x >> 24) | ((x >> 8) & 0xFF00) | ((x << 8) & 0xFF0000) | (x << 24)
            words[i] = x if kept[i] != 0 else _BLANK
    else:
        for i in range(bits.size):
            words[i] = bits[i] if kept[i] != 0 else _BLANK


@compiled
def _with_signal(flags, size, parts):  # noqa: ANN001, ANN202
    """List where the parts of a batch begin that have signal in a group; return how many."""
    n = 0
    for part in range(np.uint64(-(-size // _LANES))):
        parts[n] = part * np.uint64(_LANES)
        union = flags[part] | flags[part + _EIGHT1] | flags[part + _EIGHT2] | flags[part + _EIGHT3]
        n += union != 0  # as likely as not: no branch
    return n


@compiled
def _add(value, parts, lanes, terms, sums):  # noqa: ANN001
    """Add a group of channels to the sums of some parts of a batch."""
    f0, f1, f2, f3 = terms[0, 0], terms[0, 1], terms[0, 2], terms[0, 3]
    s0, s1, s2, s3 = terms[1, 0], terms[1, 1], terms[1, 2], terms[1, 3]
    u0, u1, u2, u3 = terms[2, 0], terms[2, 1], terms[2, 2], terms[2, 3]
    for start in parts:
        for i in range(lanes):
            p = start + i
            light = sums[p + _TOTAL], sums[p + _WEIGHTED], sums[p + _SQUARED]
            dark = sums[p + _Q0], sums[p + _Q1], sums[p + _Q2], sums[p + _Q3], sums[p + _Q4]
            state = (sums[p], sums[p + _FIRST], sums[p + _PEAK]) + light + dark  # noqa: RUF005
            state = _step(state, value[p], value[p + _ROW4], f0, s0, u0)
            state = _step(state, value[p + _ROW1], value[p + _ROW5], f1, s1, u1)
            state = _step(state, value[p + _ROW2], value[p + _ROW6], f2, s2, u2)
            state = _step(state, value[p + _ROW3], value[p + _ROW7], f3, s3, u3)
            sums[p], sums[p + _FIRST], sums[p + _PEAK] = state[:3]
            sums[p + _TOTAL], sums[p + _WEIGHTED], sums[p + _SQUARED] = state[3:6]
            sums[p + _Q0], sums[p + _Q1], sums[p + _Q2], sums[p + _Q3], sums[p + _Q4] = state[6:]


@compiled
def _step(state, value, noise, factor, sigma_factor, u):  # noqa: ANN001, ANN202
    """Add one voxel; NaN adds nothing."""
    number, first, peak, total, weighted, squared, q0, q1, q2, q3, q4 = state
    ok = abs(value) < INFINITY
    x = np.float64(value if ok else ZERO) * factor
    s = np.float64(noise if ok else ZERO) * sigma_factor
    first = u if number == 0.0 else first
    w = u - first
    g0 = s * s
    g1 = g0 * w
    g2 = g1 * w
    g3 = g2 * w
    height = x if ok else -np.inf
    return (
        number + (1.0 if ok else 0.0),
        first,
        max(peak, height),
        total + x,
        weighted + x * w,
        squared + x * w * w,
        q0 + g0,
        q1 + g1,
        q2 + g2,
        q3 + g3,
        q4 + g3 * w,
    )


@compiled
def _finish(sums, axis, kappa, out):  # noqa: ANN001
    """Turn sums into `IMAGES`."""
    _, reference, width = axis
    step = abs(width)
    for i in range(out.shape[1]):
        p = np.uint64(i)
        number, total = sums[p], sums[p + _TOTAL]
        q0, q1, q2, q3, q4 = (
            sums[p + _Q0],
            sums[p + _Q1],
            sums[p + _Q2],
            sums[p + _Q3],
            sums[p + _Q4],
        )
        mean = sums[p + _WEIGHTED] / total
        variance = sums[p + _SQUARED] / total - mean * mean
        deviation = np.sqrt(variance)
        c2 = q2 + mean * (-2 * q1 + mean * q0)
        c4 = q4 + mean * (-4 * q3 + mean * (6 * q2 + mean * (-4 * q1 + mean * q0)))
        scatter = c4 - 2 * variance * c2 + variance * variance * q0
        out[0, i] = total * step
        out[1, i] = reference + width * (sums[p + _FIRST] + mean)
        out[2, i] = deviation * step
        out[3, i] = sums[p + _PEAK]
        out[4, i] = np.sqrt(kappa * q0) * step
        out[5, i] = np.sqrt(kappa * c2) * step / abs(total)
        # the variance's error, over twice the deviation
        out[6, i] = np.sqrt(kappa * scatter) * step / (2 * abs(total) * deviation)
        for k in range(7):
            if number == 0 or not abs(out[k, i]) < INFINITY:
                out[k, i] = NAN
        if number < 2:
            out[6, i] = NAN
        out[7, i] = number
