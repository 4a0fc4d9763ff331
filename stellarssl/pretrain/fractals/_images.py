"""From points to moment images: framing, smoothing in the sums, physical units."""

from typing import NamedTuple

import numpy as np
from numba import njit

from stellarssl.pretrain.fractals._engine import POOL, new_pool, play
from stellarssl.pretrain.fractals._genome import Draws, FlameGenome

__all__ = ["MomentImage", "moment_image"]

_MIN_POINTS = 3.0
_SCALES = (1.0, 2.0, 4.0)
_ENVELOPES = (1 / 24, 1 / 10, 1 / 4)
_BURN_IN = 20
_N_SCOUTS = 8 * POOL


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


def _pick_frame(orbit: np.ndarray, draws: Draws, size: int) -> tuple[float, float, float]:
    """Choose what part of the plane is shown: (left, lower edge, pixels per unit).

    The flame's extent holds 94 % of the points in x and in y. Seven frames of ten are centred on
    its densest place, as tiles are on a protostar, and 0.25-0.8 extents wide; the others show 0.7-1.2
    extents about the middle.
    """
    inner = [np.quantile(values, (0.03, 0.97)) for values in orbit[:2]]
    extent = max(*(high - low for low, high in inner), 1e-9)
    centre, width = [m.mean() for m in inner], extent * draws.uniform(0.7, 1.2)
    narrow = extent * draws.uniform(0.25, 0.8)
    if draws.uniform() < 0.7:
        edges = [np.linspace(m - extent / 2, m + extent / 2, 33) for m in centre]
        n = np.histogram2d(orbit[0], orbit[1], edges)[0]
        cell = np.unravel_index(n.argmax(), n.shape)
        near = np.ones(orbit.shape[1], bool)
        for values, edge, k in zip(orbit, edges, cell, strict=False):
            near &= (values >= edge[k]) & (values <= edge[k + 1])
        centre, width = [np.median(values[near]) for values in orbit[:2]], narrow
    return centre[0] - width / 2, centre[1] - width / 2, size / width


@njit(cache=True, error_model="numpy", nogil=True)
def _blur(image, sigma, out):  # noqa: ANN001, ANN202
    """Add the Gaussian-smoothed square ``image`` to ``out``; mirrored at the edges."""
    size = image.shape[0]
    reach = min(int(3 * sigma + 1), size - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    row, wide = np.empty(size), np.empty(size + 2 * reach)
    for i in range(size):
        row[:] = 0.0
        for k in range(2 * reach + 1):
            j = i + k - reach
            j = min(max(j, -1 - j), 2 * size - 1 - j)
            for x in range(size):
                row[x] += kernel[k] * image[j, x]
        wide[reach : reach + size] = row
        for k in range(reach):
            wide[reach - 1 - k] = row[k]
            wide[reach + size + k] = row[size - 1 - k]
        for k in range(2 * reach + 1):
            for x in range(size):
                out[i, x] += kernel[k] * wide[x + k]


@njit(cache=True, error_model="numpy", nogil=True)
def _box_down(image, reach, out):  # noqa: ANN001, ANN202
    """Mean of 2 reach + 1 rows; mirrored at the edges."""
    size = image.shape[0]
    total = np.zeros(size)
    for k in range(-reach, reach + 1):
        for x in range(size):
            total[x] += image[min(max(k, -1 - k), 2 * size - 1 - k), x]
    for i in range(size):
        new, old = i + reach + 1, i - reach
        new, old = min(new, 2 * size - 1 - new), max(old, -1 - old)
        for x in range(size):
            out[i, x] = total[x] / (2 * reach + 1)
            total[x] += image[new, x] - image[old, x]


@njit(cache=True, error_model="numpy", nogil=True)
def _blur_wide(image, sigma, out):  # noqa: ANN001, ANN202
    """Add ``image`` under three box means each way, of variance ``sigma`` squared or nearly so."""
    reach = max(1, int(0.5 * np.sqrt(4 * sigma**2 + 1)))
    a, b = image.copy(), np.empty_like(image)
    for _ in range(2):
        for _ in range(3):
            _box_down(a, reach, b)
            a, b = b, a
        b[:] = a.T
        a, b = b, a
    out += a


def _smooth(sums: np.ndarray, sigma: float, envelopes: tuple[float, ...]) -> np.ndarray:
    """Spread each pixel's sums over a beam that is wider where points are few.

    Shares of all, ``envelopes``, are spread over wide beams: the medium that a cloud lies in.
    """
    pilot = np.zeros(sums.shape[1:])
    _blur(sums[0], 1.5 * sigma, pilot)
    fill = np.log2(np.maximum(pilot, 1e-6) * 9 * sigma**2 / 16.0)
    shares, share = [], np.zeros_like(fill)
    for k in range(len(_SCALES)):
        # full above 16 points a beam, none below 4; a beam of twice the width for a quarter of that
        full = np.clip(fill / 2 + 1 + k, 0.0, 1.0) if k + 1 < len(_SCALES) else np.ones_like(fill)
        shares.append((1.0 - sum(envelopes)) * np.maximum(full - share, 0.0))
        share = np.maximum(full, share)
    out = np.zeros_like(sums)
    for plane, smooth in zip(sums, out, strict=True):
        for factor, part in zip(_SCALES, shares, strict=True):
            _blur(part * plane, factor * sigma, smooth)
        for share, scale in zip(envelopes, _ENVELOPES, strict=True):
            _blur_wide(share * plane, scale * sums.shape[1], smooth)
    return out


def _physical(sums: np.ndarray, valid: np.ndarray, draws: Draws) -> np.ndarray:
    """Return log N_H, v_los, sigma_v: offsets and gains are drawn once for the flame."""
    n = np.maximum(sums[0], 1e-12)
    color = sums[1] / n
    spread = np.sqrt(np.maximum(sums[2] / n - color * color, 0.0))
    log_n = np.log10(n)
    wanted = 0.40 * np.exp(draws.normal(0.0, 0.3))
    gain = np.clip(wanted / max(log_n[valid].std(), 0.05), 0.4, 2.5)
    column = draws.normal(22.0, 0.45) + gain * (log_n - np.median(log_n[valid]))
    column = np.clip(column, 20.4, 24.5)
    weight = 10.0 ** (column - 22.0) * valid
    mean = (weight * color).sum() / weight.sum()
    width = np.hypot(color[valid].std(), np.median(spread[valid]))
    stretch = 0.52 * np.exp(draws.normal(0.0, 0.45)) / max(width, 0.03)
    v = np.clip(stretch * (color - mean) + draws.normal(0.0, 0.4), -3.0, 3.0)
    instrument = draws.uniform(0.1, 0.2)
    sigma = np.clip(np.hypot(stretch * spread, instrument), 0.1, 2.8)
    floor = column[valid].min()
    maps = np.stack(
        [
            np.where(valid, column, floor),
            np.where(valid, v, 0.0),
            np.where(valid, sigma, instrument),
        ]
    )
    return maps.astype(np.float32)


def moment_image(genome: FlameGenome, draws: Draws, *, size: int, n_points: int):
    """Render a flame's moments, or None where it is not worth an image."""
    program, cumulated = genome.program()
    points, lanes = new_pool(draws.integer(0, 2**52))
    nowhere, no_sums, no_orbit = (0.0, 0.0, 0.0), np.zeros((0, 4)), np.zeros((3, 0))
    orbit = np.empty((3, _BURN_IN * POOL))
    play(program, cumulated, points, lanes, orbit.shape[1], nowhere, 0, no_sums, orbit)
    orbit = orbit[:, :_N_SCOUTS]
    play(program, cumulated, points, lanes, _N_SCOUTS, nowhere, 0, no_sums, orbit)
    if not (np.abs(orbit) < 1e6).all():
        orbit = orbit[:, (np.abs(orbit) < 1e6).all(0)]
        if orbit.shape[1] < _N_SCOUTS // 2:
            return None
    frame = _pick_frame(orbit, draws, size)
    sums = np.zeros((size * size + 1, 4))
    play(program, cumulated, points, lanes, n_points, frame, size, sums, no_orbit)
    sums = sums[:-1]
    if sums[:, 0].sum() < 0.2 * n_points or sums[:, 0].max() > 0.05 * n_points:
        return None
    sigma = 2.0 ** draws.uniform(-0.6, 1.0) * size / 96
    envelope = 10.0 ** draws.uniform(-2.0, -0.3)
    parts = [draws.uniform(0.2, 1.0) for _ in _ENVELOPES]
    envelopes = tuple(envelope * part / sum(parts) for part in parts)
    sums = _smooth(np.ascontiguousarray(sums.reshape(size, size, 4)[..., :3].transpose(2, 0, 1)), sigma, envelopes)
    valid = sums[0] * (4 * np.pi * sigma**2) >= _MIN_POINTS
    if valid.mean() < 0.6:
        return None
    return MomentImage(_physical(sums, valid, draws), valid)
