"""Smoothing of sums: of counts, and of counts times color."""

from typing import Any

import numpy as np
from numba import njit

from stellarssl.pretrain.fractals._math import exp, log

__all__ = ["add_adaptive_beam", "add_wide_beam"]

_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True}
_N_SCALES = 3
_ENOUGH = 16.0


@njit(**_OPTIONS)
def _blur(image, sigma, out):
    """Add ``image`` under a Gaussian beam to ``out``; mirrored at the edges."""
    size = image.shape[0]
    reach = min(int(3 * sigma + 1), size - 1)
    kernel = np.empty(2 * reach + 1)
    for k in range(2 * reach + 1):
        kernel[k] = exp(-0.5 * ((k - reach) / sigma) ** 2)
    kernel /= kernel.sum()
    row, wide = np.empty(size), np.empty(size + 2 * reach)
    for i in range(size):
        row[:] = 0.0
        for k in range(2 * reach + 1):
            j = i + k - reach
            source, share = image[min(max(j, -1 - j), 2 * size - 1 - j)], kernel[k]
            for x in range(size):
                row[x] += share * source[x]
        wide[reach : reach + size] = row
        for k in range(reach):
            wide[reach - 1 - k] = row[k]
            wide[reach + size + k] = row[size - 1 - k]
        target = out[i]
        for k in range(2 * reach + 1):
            part, share = wide[k : k + size], kernel[k]
            for x in range(size):
                target[x] += share * part[x]


@njit(**_OPTIONS)
def _box_down(image, reach, out):
    """Take the mean of 2 reach + 1 rows; mirrored at the edges."""
    size = image.shape[0]
    total = np.zeros(size)
    for k in range(-reach, reach + 1):
        total += image[min(max(k, -1 - k), 2 * size - 1 - k)]
    for i in range(size):
        new, old = i + reach + 1, i - reach
        ahead, behind = image[min(new, 2 * size - 1 - new)], image[max(old, -1 - old)]
        target = out[i]
        for x in range(size):
            target[x] = total[x] / (2 * reach + 1)
            total[x] += ahead[x] - behind[x]


@njit(**_OPTIONS)
def add_wide_beam(planes, sigma, share, out):
    """Add ``share`` of each plane under three box means each way, of ``sigma`` or nearly so.

    Parameters
    ----------
    planes : ndarray of float, shape (n, size, size)
        Images that are smoothed.
    sigma : float
        Standard deviation of the beam [pixels], below half the size.
    share : float
        Factor that the smoothed images are multiplied by.
    out : ndarray of float, shape (n, size, size)
        Images that the result is added to, in place.
    """
    reach = max(1, int(0.5 * np.sqrt(4 * sigma * sigma + 1)))
    b = np.empty_like(planes[0])
    for plane in range(planes.shape[0]):
        a = share * planes[plane]
        for _ in range(2):
            _box_down(a, reach, b)
            _box_down(b, reach, a)
            _box_down(a, reach, b)
            a[:] = b.T
        out[plane] += a


@njit(**_OPTIONS)
def add_adaptive_beam(planes, sigma, share, out):
    """Add ``share`` of each plane under a beam that is wider where counts are few.

    A pixel keeps the beam ``sigma`` where there are 16 points in it or more; where there are fewer
    its points pass on to beams of twice and four times that. Nothing is lost.

    Parameters
    ----------
    planes : ndarray of float, shape (n, size, size)
        Images that are smoothed, counts first.
    sigma : float
        Standard deviation of the beam [pixels].
    share : float
        Factor that the smoothed images are multiplied by.
    out : ndarray of float, shape (n, size, size)
        Images that the result is added to, in place.
    """
    size = planes.shape[1]
    pilot = np.zeros((size, size))
    _blur(planes[0], 1.5 * sigma, pilot)
    done, part, masked = np.zeros((size, size)), np.zeros((size, size)), np.empty((size, size))
    for k in range(_N_SCALES):
        for i in range(size):
            for j in range(size):
                steps = log(max(pilot[i, j], 1e-6) * 9 * sigma**2 / _ENOUGH) * 0.7213475204444817
                full = min(max(steps + 1 + k, 0.0), 1.0) if k + 1 < _N_SCALES else 1.0
                part[i, j] = share * max(full - done[i, j], 0.0)
                done[i, j] = max(full, done[i, j])
        for plane in range(planes.shape[0]):
            masked[:] = part * planes[plane]
            _blur(masked, sigma * 2**k, out[plane])
