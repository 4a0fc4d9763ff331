"""The pass over the cube: mask and moments of one block after the other."""

import math
from dataclasses import dataclass

import numpy as np

from stellarssl.moments._estimate import Noise
from stellarssl.moments._kernel import classify, covered, grow, link, moment_sums
from stellarssl.moments._stream import Block, Plan, Voxels, read_block, run_blocks

__all__ = ["Result", "measure"]

_IMAGES = ("moment0", "v_los", "sigma_v", "peak", "e_moment0", "e_v_los", "e_sigma_v")

_MOST_EXTRA = 2
"""Channels: what Hanning smoothing needs."""


@dataclass(frozen=True, eq=False)
class Result:
    """Plain arrays, K and km/s.

    Attributes
    ----------
    images : dict of ndarray
        float32 (y, x): the moments, ``peak``, their errors ``e_...``, and ``noise``.
    mask, coverage : ndarray of bool
        (y, x): detected, observed.
    line_channels : float
        Channels in the mask of the median detected pixel; 0 if there is none.
    peak_snr : float
        The largest value over noise; NaN if the mask was given.
    """

    images: dict[str, np.ndarray]
    mask: np.ndarray
    coverage: np.ndarray
    line_channels: float
    peak_snr: float


def measure(
    voxels: Voxels,
    noise: Noise,
    mask: object,
    *,
    velocity: np.ndarray,
    channels: slice,
    beam_pixels: float,
    plan: Plan,
    show: bool,
) -> Result:
    """Make the mask, unless there is one, and the moments.

    Parameters
    ----------
    voxels : `Voxels`
        The cube.
    noise : `Noise`
        Its noise.
    mask : array-like of bool or None
        (v, y, x): what is signal.
    velocity : ndarray
        (v,) [km/s], evenly spaced.
    channels : slice
        Those that are looked at.
    beam_pixels : float
        How far a core may grow on the sky.
    plan : `Plan`
        The blocks.
    show : bool
        Whether there is a progress bar.

    Returns
    -------
    result : `Result`
        The same for every plan.
    """
    map_shape = voxels.shape[1:]
    images = {name: np.full(map_shape, np.nan, np.float32) for name in (*_IMAGES, "noise")}
    number = np.zeros(map_shape, np.float32)
    coverage = np.zeros(map_shape, bool)
    axis = _Axis.of(velocity[channels])
    disc = _disc(beam_pixels)

    def work(block: Block) -> float:
        rows, columns = block.read_rows, block.read_columns
        data = voxels.read(channels, rows, columns)
        sigma = noise.block(channels, rows, columns)
        ratio = noise.factor[channels], voxels.factor[channels]
        top = block.rows.start - rows.start
        n_rows = block.rows.stop - block.rows.start
        if mask is None:
            signal, peak = _make_mask(data, sigma, ratio, noise.kappa, disc, top, n_rows)
        else:
            signal, peak = read_block(mask, channels, block.rows, columns), np.nan
        left = block.columns.start - columns.start
        inside = slice(left, left + block.columns.stop - block.columns.start)
        found = _moments(data, signal, sigma, ratio, axis, noise.kappa, top)
        here = block.rows, block.columns
        for name, values in found.items():
            target = {"number": number, "coverage": coverage}.get(name)
            (images[name] if target is None else target)[here] = values[:, inside]
        return peak

    peaks = run_blocks(work, plan.blocks, plan, "moments", show=show)
    detected = (number > 0) & (images["moment0"] > 0)
    return Result(
        images=images,
        mask=detected,
        coverage=coverage,
        line_channels=float(np.median(number[detected])) if detected.any() else 0.0,
        peak_snr=float(np.max(peaks)),
    )


@dataclass(frozen=True, eq=False)
class _Axis:
    """Velocities as channels from a reference, in which sums lose nothing."""

    reference: float
    width: float
    u: np.ndarray

    @classmethod
    def of(cls, velocity: np.ndarray) -> "_Axis":
        reference = velocity[velocity.size // 2]
        width = (velocity[-1] - velocity[0]) / (velocity.size - 1)
        return cls(reference, width, (velocity - reference) / width)


def _disc(radius: float) -> np.ndarray:
    """Return how far a disc reaches along x in each of its rows, in pixels."""
    rows = np.arange(-int(radius), int(radius) + 1)
    return np.sqrt(radius**2 - rows**2).astype(np.uint8)


def _make_mask(
    data: np.ndarray,
    sigma: np.ndarray,
    factors: tuple[np.ndarray, np.ndarray],
    kappa: float,
    disc: np.ndarray,
    top: int,
    n_rows: int,
) -> tuple[np.ndarray, float]:
    """Return the mask (v, n_rows, x), uint8, and the largest value over noise."""
    n_v, n_y, n_x = data.shape
    level, state = np.empty((2, *data.shape), np.uint8)
    ratio = (factors[1] / factors[0]).astype(np.float32)
    flat = (n_v, n_y * n_x)
    peak = classify(data.reshape(flat), sigma.reshape(len(sigma), -1), ratio, level.reshape(flat))
    # Where neighbouring channels share their noise, longer runs are as rare.
    extra = min(math.floor(kappa + 0.5) - 1, _MOST_EXTRA)
    link(level.reshape(flat), extra, state.reshape(flat))
    mask = np.empty((n_v, n_rows, n_x), np.uint8)
    grow(state, disc, top, mask)
    return mask, peak


def _moments(
    data: np.ndarray,
    mask: np.ndarray,
    sigma: np.ndarray,
    factors: tuple[np.ndarray, np.ndarray],
    axis: _Axis,
    kappa: float,
    top: int,
) -> dict[str, np.ndarray]:
    """Return the images of the mask's rows."""
    n_v, n_rows, n_x = mask.shape
    first, n_pixels = top * n_x, n_rows * n_x
    sums = np.empty((8, n_pixels))
    seen = np.empty(n_pixels, np.uint8)
    data = data.reshape(n_v, -1)
    sigma = sigma.reshape(len(sigma), -1)
    covered(data, first, seen)
    moment_sums(data, mask.reshape(n_v, -1), first, factors[1], axis.u, sigma, factors[0], sums)
    number, peak, total, mean, spread, q0, q2, q4 = sums
    step = abs(axis.width)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = spread / total
        deviation = np.sqrt(variance)
        noise = np.sqrt(np.mean((sigma * factors[0][: len(sigma), None]) ** 2, axis=0))
        found = {
            "moment0": total * step,
            "v_los": axis.reference + axis.width * mean,
            "sigma_v": deviation * step,
            "peak": peak,
            "e_moment0": np.sqrt(kappa * q0) * step,
            "e_v_los": np.sqrt(kappa * q2) * step / abs(total),
            # The variance's error, over twice the deviation.
            "e_sigma_v": np.sqrt(kappa * (q4 - 2 * variance * q2 + variance**2 * q0))
            * step
            / (2 * abs(total) * deviation),
        }
    for values in found.values():
        values[(number == 0) | ~np.isfinite(values)] = np.nan
    found["e_sigma_v"][number < 2] = np.nan
    noise = noise[first : first + n_pixels]
    found |= {"number": number, "noise": noise, "coverage": (seen != 0) & np.isfinite(noise)}
    return {name: values.reshape(n_rows, n_x) for name, values in found.items()}
