"""Moments and their errors over a mask, in one pass over the channels of a block."""

import numpy as np

from stellarssl._utils.compiled import compiled

__all__ = ["IMAGES", "moment_images"]

IMAGES = ("moment0", "v_los", "sigma_v", "peak", "e_moment0", "e_v_los", "e_sigma_v", "number")

_BATCH = 4096
"""Pixels that are summed at once, a multiple of eight: their sums stay in the processor's cache."""

INFINITY, NAN = np.float32(np.inf), np.float32(np.nan)


def moment_images(
    data: np.ndarray,
    mask: np.ndarray,
    sigma: np.ndarray,
    factors: tuple[np.ndarray, np.ndarray],
    axis: tuple[np.ndarray, float, float],
    kappa: float,
    *,
    top: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the moments of a block and their errors.

    Parameters
    ----------
    data : ndarray of float32, shape (v, y, x)
        Values, perhaps with more rows above and below than those that are wanted.
    mask : ndarray of uint8, shape (v, rows, x)
        Zero where a value is left out.
    sigma : ndarray of float32, shape (1 or v, y, x)
        Noise of the values.
    factors : tuple of ndarray of float64, shape (v,)
        Factors that convert values, and noise, to K.
    axis : tuple
        Velocities relative to a reference in channel widths, float64 (v,); the reference, and the
        width of a channel, which is negative if velocities descend [km/s].
    kappa : float
        Variance of a sum over channels relative to that of independent channels.
    top : int, optional
        Row of the values that is the first of the mask.

    Returns
    -------
    images : ndarray of float32, shape (9, rows, x)
        `IMAGES` in K and km/s, NaN where the mask is empty; then the noise of a channel.
    covered : ndarray of bool, shape (rows, x)
        Whether there is a finite value in some channel, and the noise is known.
    """
    n_channels, n_y, n_x = mask.shape
    n_pixels, first = n_y * n_x, top * n_x
    lines = data.reshape(n_channels, -1)
    mask = mask.reshape(n_channels, -1)
    mask = np.pad(mask, ((0, 0), (0, -n_pixels % 8))) if n_pixels % 8 else mask
    images = np.empty((len(IMAGES) + 1, n_y, n_x), np.float32)
    flat = images.reshape(len(images), -1)
    covered = np.empty(n_pixels, bool)
    _mark_covered(lines, first, covered)
    _moments(lines, mask, sigma.reshape(len(sigma), -1), first, factors, axis, kappa, flat)
    noise = sigma[:, top : top + n_y] * factors[1][: len(sigma), None, None]
    images[-1] = noise[0] if len(noise) == 1 else np.sqrt(np.mean(noise**2, axis=0))
    return images, covered.reshape(n_y, n_x) & np.isfinite(images[-1])


@compiled
def _mark_covered(data, first, seen):  # noqa: ANN001
    """Mark the pixels that have a finite value in some channel.

    Parameters
    ----------
    data : ndarray of float32, shape (v, p)
        Values.
    first : int
        Pixel of the values that is the first wanted one.
    seen : ndarray of bool, shape (q,)
        Set to whether a pixel has a finite value.
    """
    seen[:] = False
    for v in range(data.shape[0]):
        n_seen = 0
        for p in range(seen.size):
            seen[p] |= abs(data[v, first + p]) < INFINITY
            n_seen += seen[p]
        if n_seen == seen.size:
            break


@compiled
def _moments(data, mask, sigma, first, factors, axis, kappa, out):  # noqa: ANN001
    """Set moments and errors; arrays are those of `moment_images` with the pixels in one line.

    Sums of T and of the squared noise are taken times powers of the velocity from the first channel
    of each pixel's mask, so that no digits are lost, and moved to the mean at the end.

    Parameters
    ----------
    mask : ndarray of uint8, shape (v, q)
        With q the number of wanted pixels, padded to a multiple of eight.
    first : int
        Pixel of the values that is the first wanted one.
    out : ndarray of float32, shape (9, number of wanted pixels)
        The first eight rows are set.
    """
    n_channels, n_pixels = data.shape[0], out.shape[1]
    eights = mask.view(np.uint64)
    for start in range(0, n_pixels, _BATCH):
        stop = min(start + _BATCH, n_pixels)
        sums = np.zeros((_BATCH, 11))
        for v in range(n_channels):
            noise = sigma[v if sigma.shape[0] > 1 else 0]
            for eight in range(start // 8, (stop + 7) // 8):
                if eights[v, eight] == 0:
                    continue
                for p in range(8 * eight, 8 * eight + 8):
                    if mask[v, p] != 0 and abs(data[v, first + p]) < INFINITY:
                        value = np.float64(data[v, first + p]) * factors[0][v]
                        error = np.float64(noise[first + p]) * factors[1][v]
                        _add(value, error, axis[0][v], sums[p - start])
        for p in range(start, stop):
            _finish(sums[p - start], axis[1], axis[2], kappa, out[:, p])


@compiled
def _add(value, noise, velocity, sums):  # noqa: ANN001
    """Add a voxel to the sums of its pixel."""
    if sums[0] == 0.0:
        sums[1], sums[2] = velocity, value
    w = velocity - sums[1]
    sums[0] += 1.0
    sums[2] = max(sums[2], value)
    sums[3] += value
    sums[4] += value * w
    sums[5] += value * w * w
    term = noise * noise
    for k in range(6, 11):
        sums[k] += term
        term *= w


@compiled
def _finish(sums, reference, width, kappa, out):  # noqa: ANN001
    """Turn the sums of a pixel into `IMAGES`."""
    number, first, peak = sums[0], sums[1], sums[2]
    total, weighted, squared = sums[3], sums[4], sums[5]
    q0, q1, q2, q3, q4 = sums[6], sums[7], sums[8], sums[9], sums[10]
    if number == 0:
        out[:7] = NAN
        out[7] = 0
        return
    step = abs(width)
    mean = weighted / total
    variance = squared / total - mean * mean
    deviation = np.sqrt(variance)
    c2 = q2 + mean * (-2 * q1 + mean * q0)
    c4 = q4 + mean * (-4 * q3 + mean * (6 * q2 + mean * (-4 * q1 + mean * q0)))
    scatter = c4 - 2 * variance * c2 + variance * variance * q0
    out[0] = total * step
    out[1] = reference + width * (first + mean)
    out[2] = deviation * step
    out[3] = peak
    out[4] = np.sqrt(kappa * q0) * step
    out[5] = np.sqrt(kappa * c2) * step / abs(total)
    # the error of the variance, divided by twice the deviation
    out[6] = np.sqrt(kappa * scatter) * step / (2 * abs(total) * deviation)
    for k in range(7):
        if not abs(out[k]) < INFINITY or (k == 6 and number < 2):
            out[k] = NAN
    out[7] = number
