"""Moments of many small cubes whose noise is known, such as observed simulated tiles."""

from dataclasses import dataclass

import numpy as np

from stellarssl.exceptions import InputError
from stellarssl.moments.kernels import IMAGES, moment_images
from stellarssl.moments.signal import find_signal

__all__ = ["CubeMoments", "cube_moments"]


@dataclass(frozen=True, eq=False)
class CubeMoments:
    """Moments of cubes as plain arrays.

    Attributes
    ----------
    images : dict of ndarray
        Float32 (n, y, x), NaN where nothing is detected: ``moment0`` [K km/s], ``v_los``,
        ``sigma_v`` [km/s], ``peak`` [K], their errors ``e_moment0``, ``e_v_los``, ``e_sigma_v``,
        and ``number``, the number of channels in the mask.
    detected : ndarray of bool
        Shape (n, y, x).
    limit : ndarray of float32
        Shape (n,): three sigma of the sum over as many channels as the median detected pixel of the
        cube has [K km/s]. Without noise it is the smallest detected moment.
    """

    images: dict[str, np.ndarray]
    detected: np.ndarray
    limit: np.ndarray


def cube_moments(
    cubes: np.ndarray,
    rms: np.ndarray,
    velocity: np.ndarray,
    *,
    beam_pixels: float,
) -> CubeMoments:
    """Compute the mask and the moments of small cubes, as `moment_maps` does for one cube.

    The mask and the moments are those of `moment_maps` with the same ``noise``, independent between
    channels. Nothing else of it is done for each cube.

    Parameters
    ----------
    cubes : ndarray of float32
        Brightness [K], shape (n, v, y, x).
    rms : ndarray
        Noise of a channel of each cube [K], shape (n,); zero for a cube without noise.
    velocity : ndarray
        Centers of the channels [km/s], shape (v,), evenly spaced.
    beam_pixels : float
        Full width at half maximum of the beam [pixels].

    Returns
    -------
    moments : CubeMoments
        Images, detections and limits.

    Raises
    ------
    InputError
        If the shapes do not fit or a noise is negative.

    Examples
    --------
    >>> import numpy as np
    >>> velocity = np.linspace(-2, 2, 41)
    >>> line = 5 * np.exp(-((velocity - 0.5) ** 2) / (2 * 0.3**2))
    >>> cubes = np.tile(line[None, :, None, None], (2, 1, 8, 8)).astype("f4")
    >>> moments = cube_moments(cubes, np.array([0.1, 0.1]), velocity, beam_pixels=3)
    >>> moments.images["v_los"][:, 4, 4].round(3)
    array([0.5, 0.5], dtype=float32)
    """
    _check(cubes, rms, velocity)
    n, n_channels, n_y, n_x = cubes.shape
    images = np.empty((n, len(IMAGES), n_y, n_x), dtype=np.float32)
    ones, sigma = np.ones(n_channels), np.empty((1, n_y, n_x), dtype=np.float32)
    ratio = ones.astype(np.float32)
    reference = velocity[n_channels // 2]
    width = (velocity[-1] - velocity[0]) / (n_channels - 1)
    axis = (velocity - reference) / width, reference, width
    for i, cube in enumerate(np.ascontiguousarray(cubes, dtype=np.float32)):
        sigma[:] = rms[i]
        mask, _ = find_signal(
            cube, sigma, ratio, kappa=1.0, beam_pixels=beam_pixels, rows=slice(0, n_y)
        )
        images[i] = moment_images(cube, mask, sigma, (ones, ones), axis, 1.0)[0][: len(IMAGES)]
    named = dict(zip(IMAGES, np.moveaxis(images, 1, 0), strict=True))
    detected = (named["number"] > 0) & (named["moment0"] > 0)
    return CubeMoments(named, detected, _limits(named, detected, rms, abs(width)))


def _limits(
    images: dict[str, np.ndarray], detected: np.ndarray, rms: np.ndarray, width: float
) -> np.ndarray:
    limit = np.zeros(len(rms), dtype=np.float32)
    for i, found in enumerate(detected):
        if found.any() and rms[i] > 0:
            limit[i] = 3 * rms[i] * width * np.sqrt(np.median(images["number"][i][found]))
        elif found.any():
            limit[i] = images["moment0"][i][found].min()
        else:
            limit[i] = 3 * rms[i] * width
    return limit


def _check(cubes: np.ndarray, rms: np.ndarray, velocity: np.ndarray) -> None:
    if np.ndim(cubes) != 4 or cubes.shape[1] < 2:
        raise InputError("cubes", "must have shape (n, v, y, x) with two channels or more",
                         np.shape(cubes))  # fmt: skip
    if np.shape(velocity) != (cubes.shape[1],):
        rule = f"must hold one velocity for each of the {cubes.shape[1]} channels"
        raise InputError("velocity", rule, np.shape(velocity))
    if np.shape(rms) != (len(cubes),) or not np.all(np.asarray(rms) >= 0):
        raise InputError("rms", f"must hold {len(cubes)} values that are not negative", rms)
