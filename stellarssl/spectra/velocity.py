"""The velocity of a source, and spectra resampled to channels around it."""

import numpy as np
from scipy import ndimage, signal

__all__ = [
    "CHANNEL",
    "WIDEST_CHANNEL",
    "channel_offsets",
    "resample",
    "source_velocity",
]

CHANNEL = 0.125
"""Width of the channels of source spectra [km/s]."""

WIDEST_CHANNEL = 1.0
"""Width of the widest channels of a cube whose lines are resolved [km/s]."""

_SMOOTHING = 0.5  # km/s, FWHM
_APART = 1.0  # km/s
_EDGE = 1.0  # km/s
_DETECTED = 3.0  # errors
_SECOND = 4.0  # errors; noise in a band of 100 channels reaches 4 in one spectrum of 500


def channel_offsets(half_width: float) -> np.ndarray:
    """Return the channel centers of source spectra.

    Parameters
    ----------
    half_width : float
        Half the width of the spectra [km/s].

    Returns
    -------
    offsets : ndarray of float64
        Ascending velocities relative to the source [km/s].
    """
    n = round(2 * half_width / CHANNEL)
    return (np.arange(n) - (n - 1) / 2) * CHANNEL


def source_velocity(
    velocity: np.ndarray, spectrum: np.ndarray, error: float, least: float = 0.0
) -> tuple[float, bool, bool]:
    """Find the velocity of a source from its spectrum.

    Parameters
    ----------
    velocity : ndarray of float64
        Channel centers, shape (v,), evenly spaced in either direction [km/s].
    spectrum : ndarray of float64
        Brightness [K]; NaN where there are no data.
    error : float
        Standard deviation of a channel of the spectrum [K].
    least : float, optional
        Brightness that the peak must exceed in any case [K].

    Returns
    -------
    velocity : float
        Center of the strongest peak of the spectrum smoothed to 0.5 km/s (FWHM, a Gaussian; wider
        channels are not smoothed), from a parabola through three channels [km/s]. NaN if
        the peak is not above three times the error of the smoothed spectrum and ``least``.
    several_components : bool
        Whether a second peak, more than 1 km/s away, is at least half as high, and higher than
        four times the error of the smoothed spectrum.
    at_band_edge : bool
        Whether there are data for less than 1 km/s on one side of the source.
    """
    smooth, smooth_error = _smoothed(velocity, spectrum, error)
    top = int(np.argmax(smooth))
    if not smooth[top] > max(_DETECTED * smooth_error, least):
        return np.nan, False, False
    step = velocity[1] - velocity[0]
    center = velocity[top] + step * _vertex(smooth, top)
    peaks, _ = signal.find_peaks(smooth, height=max(smooth[top] / 2, _SECOND * smooth_error))
    several = bool((np.abs(velocity[peaks] - center) > _APART).any())
    band = velocity[np.isfinite(spectrum)]
    room = min(center - band.min(), band.max() - center) + abs(step) / 2
    return float(center), several, bool(room < _EDGE)


def _smoothed(velocity: np.ndarray, spectrum: np.ndarray, error: float) -> tuple[np.ndarray, float]:
    """Smooth to 0.5 km/s; channels without data become zero and do not contribute."""
    width = abs(velocity[1] - velocity[0])
    finite = np.isfinite(spectrum)
    filled = np.where(finite, spectrum, 0.0)
    if width >= _SMOOTHING:
        return filled, error
    sigma = np.sqrt(_SMOOTHING**2 - width**2) / np.sqrt(8 * np.log(2)) / width
    weight = ndimage.gaussian_filter1d(finite.astype(float), sigma, mode="constant")
    total = ndimage.gaussian_filter1d(filled, sigma, mode="constant")
    smooth = np.where(finite, total / np.where(finite, weight, 1.0), 0.0)
    # The sum of the squared weights of a normalized Gaussian is 1 / (2 sqrt(pi) sigma).
    return smooth, error * min(1.0, 1 / np.sqrt(2 * np.sqrt(np.pi) * sigma))


def _vertex(values: np.ndarray, top: int) -> float:
    """Return the offset, in channels, of the vertex of the parabola through a maximum."""
    if not 0 < top < len(values) - 1:
        return 0.0
    before, middle, after = values[top - 1 : top + 2]
    curvature = before - 2 * middle + after
    return float((before - after) / (2 * curvature)) if curvature < 0 else 0.0


def resample(
    velocity: np.ndarray, center: float, spectra: np.ndarray, error: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Resample spectra to channels of 0.125 km/s around a velocity, with the flux conserved.

    Channels of the cube that are at most 0.125 km/s wide are averaged with their overlap as
    weights. The spectrum of wider channels is interpolated linearly between their centers, and
    the interpolated spectrum is averaged over each new channel. Neither sharpens the line.

    Parameters
    ----------
    velocity : ndarray of float64
        Channel centers of the cube, shape (v,) [km/s].
    center : float
        Velocity in the middle of the new channels [km/s].
    spectra : ndarray of float64
        Shape (rings, v) [K]; NaN where there are no data.
    error : ndarray of float64
        Standard deviation of a channel, shape (rings,); channels are taken as independent [K].
    n : int
        Number of new channels.

    Returns
    -------
    spectra, error : ndarray of float64
        Shape (rings, n) [K]; NaN beyond the band and where a contributing channel is NaN.
    """
    matrix = _resampling_matrix(velocity, center, n)
    finite = np.isfinite(spectra)
    missing = (~finite).astype(float) @ matrix.T > 1e-9
    missing |= matrix.sum(axis=1) < 1 - 1e-6
    values = np.where(finite, spectra, 0.0) @ matrix.T
    errors = error[:, None] * np.sqrt(np.square(matrix).sum(axis=1))
    return np.where(missing, np.nan, values), np.where(missing, np.nan, errors)


def _resampling_matrix(velocity: np.ndarray, center: float, n: int) -> np.ndarray:
    """Return the weights of the channels of a cube in each new channel, shape (n, v)."""
    width = abs(velocity[-1] - velocity[0]) / (len(velocity) - 1)
    edges = center + (np.arange(n + 1) - n / 2) * CHANNEL
    offset = (edges[:, None] - velocity) / width
    if width <= CHANNEL * (1 + 1e-6):
        share = np.clip(offset + 0.5, 0, 1)  # integral of a box of unit width
    else:
        side = np.clip(offset, -1, 1)  # integral of a triangle, as linear interpolation has
        share = np.where(side < 0, (1 + side) ** 2 / 2, 1 - (1 - side) ** 2 / 2)
    return np.diff(share, axis=0) * (width / CHANNEL)
