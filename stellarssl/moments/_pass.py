"""The pass over the cube: mask and moments of one block after the other."""

import math
from dataclasses import dataclass

import numpy as np

from stellarssl.moments._estimate import Noise
from stellarssl.moments._view import View, view_of
from stellarssl.moments._voxels import Voxels, read_block
from stellarssl.moments.blocks import Block, Plan, run_blocks
from stellarssl.moments.kernels import IMAGES, covered, moments
from stellarssl.moments.signal import classify, grow, link

__all__ = ["Result", "measure"]

_MOST_EXTRA = 2
"""Channels: what Hanning smoothing needs."""


@dataclass(frozen=True, eq=False)
class Result:
    """Plain arrays, K and km/s.

    Attributes
    ----------
    images : dict of ndarray
        float32 (y, x): the moments, ``peak``, their errors ``e_...``, and ``noise``.
    detected, covered : ndarray of bool
        (y, x): detected, observed.
    line_channels : float
        Channels in the mask of the median detected pixel; 0 if there is none.
    peak_snr : float
        The largest value over noise; NaN if the mask was given.
    """

    images: dict[str, np.ndarray]
    detected: np.ndarray
    covered: np.ndarray
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
    images = np.full((len(IMAGES), *map_shape), np.nan, np.float32)
    sigmas = np.full(map_shape, np.nan, np.float32)
    covered = np.zeros(map_shape, bool)
    axis = _axis(velocity[channels])
    factors = voxels.factor[channels], noise.factor[channels]
    disc = _disc(beam_pixels)

    def work(block: Block) -> float:
        data, seen = voxels.view([channels], block.read_rows, block.read_columns)
        data = data._replace(first=data.first + int(seen[0]) * data.channel)
        sigma = noise.block(channels, block.read_rows, block.read_columns)
        peak = np.nan
        if mask is None:
            ratio = (factors[0] / factors[1]).astype(np.float32)
            made, peak = _make_mask(data, sigma, ratio, noise.kappa, disc, block)
            signal = view_of(made, slice(0, None), slice(0, None), _inner(block)[1])
        else:
            signal = view_of(mask, channels, block.rows, block.columns)
            if signal is None:
                own = read_block(mask, channels, block.rows, block.columns)
                signal = view_of(own, *(slice(0, None),) * 3)
        here = block.rows, block.columns
        found = _moments(data, signal, sigma, factors, axis, noise.kappa, block)
        images[(slice(None), *here)], sigmas[here], covered[here] = found
        voxels.release()
        return peak

    peaks = run_blocks(work, plan.blocks, plan, "moments", show=show)
    voxels.cube.check_unchanged()
    if plan.wanted is not None:
        images[:, ~plan.wanted] = sigmas[~plan.wanted] = np.nan
        covered &= plan.wanted
    named = dict(zip(IMAGES, images, strict=True)) | {"noise": sigmas}
    number = named.pop("number")
    detected = (number > 0) & (named["moment0"] > 0)
    return Result(
        images=named,
        detected=detected,
        covered=covered,
        line_channels=float(np.median(number[detected])) if detected.any() else 0.0,
        peak_snr=float(np.max(peaks)),
    )


def _shape(rows: slice, columns: slice) -> tuple[int, int]:
    return rows.stop - rows.start, columns.stop - columns.start


def _inner(block: Block) -> tuple[slice, slice]:
    """Return where, in what is read, the block's own pixels are."""
    top, left = (
        block.rows.start - block.read_rows.start,
        block.columns.start - block.read_columns.start,
    )
    n_rows, n_columns = _shape(block.rows, block.columns)
    return slice(top, top + n_rows), slice(left, left + n_columns)


def _axis(velocity: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return velocities in channels from a reference, that reference, and the channels' width."""
    reference = velocity[velocity.size // 2]
    width = (velocity[-1] - velocity[0]) / (velocity.size - 1)
    return (velocity - reference) / width, reference, width


def _lines(n_columns: int, *views: View) -> bool:
    """Say whether rows follow each other without a gap, so that they are as good as one."""
    return all(view.row == n_columns for view in views)


def _disc(radius: float) -> np.ndarray:
    """Return how far a disc reaches along x in each of its rows, in pixels."""
    rows = np.arange(-int(radius), int(radius) + 1)
    return np.sqrt(radius**2 - rows**2).astype(np.uint8)


def _make_mask(
    data: View,
    sigma: np.ndarray,
    ratio: np.ndarray,
    kappa: float,
    disc: np.ndarray,
    block: Block,
) -> tuple[np.ndarray, float]:
    """Return the mask of the block's rows, as wide as read, and the largest value over noise."""
    shape = _shape(block.read_rows, block.read_columns)
    level, state = np.empty((2, len(ratio), *shape), np.uint8)
    noise = view_of(sigma, *(slice(0, None),) * 3)
    flat = (len(ratio), shape[0] * shape[1])
    lines = (len(ratio), 1, flat[1]) if _lines(shape[1], data, noise) else level.shape
    peak = classify(data, noise, ratio, level.reshape(lines))
    # Where neighboring channels share their noise, longer runs are as rare.
    extra = min(math.floor(kappa + 0.5) - 1, _MOST_EXTRA)
    link(level.reshape(flat), extra, state.reshape(flat))
    rows, _ = _inner(block)
    mask = np.empty((len(ratio), rows.stop - rows.start, shape[1]), np.uint8)
    grow(state, disc, rows.start, mask)
    return mask, peak


def _moments(
    data: View,
    signal: View,
    sigma: np.ndarray,
    factors: tuple[np.ndarray, np.ndarray],
    axis: tuple[np.ndarray, float, float],
    kappa: float,
    block: Block,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the images of a block, its noise [K], and where it is covered."""
    rows, columns = _inner(block)
    data = data._replace(first=data.first + rows.start * data.row + columns.start)
    noise = view_of(sigma, slice(0, None), rows, columns)
    shape = _shape(rows, columns)
    lines = (1, shape[0] * shape[1]) if _lines(shape[1], data, signal, noise) else shape
    out = np.empty((len(IMAGES), *lines), np.float32)
    seen = np.empty(lines, bool)
    covered(data, len(axis[0]), seen)
    moments(data, signal, noise, factors, axis, kappa, out)
    inside = sigma[:, rows, columns] * factors[1][: len(sigma), None, None]
    each = inside[0] if len(inside) == 1 else np.sqrt(np.mean(inside**2, axis=0))
    return out.reshape(-1, *shape), each, seen.reshape(shape) & np.isfinite(each)
