"""Observe position-position-velocity tiles: opacity, channels, beam, missing scales and noise."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np

from stellarssl._utils.geometry import TILE_CHANNEL_WIDTH, TILE_N_H_PER_W, TILE_PIXEL
from stellarssl.exceptions import InputError
from stellarssl.observe.observation import Observation

__all__ = [
    "TILE_CHANNEL_WIDTH",
    "TILE_N_H_PER_W",
    "ObservedTiles",
    "beam_matrix",
    "center_peak",
    "observe_tiles",
]

_FWHM = np.sqrt(8 * np.log(2))
_KMS = u.km / u.s


@dataclass(frozen=True, eq=False)
class ObservedTiles:
    """Simulated tiles as a telescope shows them.

    Attributes
    ----------
    cubes : `~numpy.ndarray`
        Float32, shape (n, v, y, x): brightness [K], noise included.
    velocity : `~numpy.ndarray`
        Float64, shape (v,): centers of the channels relative to the star [km/s].
    rms : `~numpy.ndarray`
        Float32, shape (n,): noise of a channel of each tile [K]; zero without noise.
    """

    cubes: np.ndarray
    velocity: np.ndarray
    rms: np.ndarray


def observe_tiles(
    cubes: np.ndarray,
    pixel_size: u.Quantity,
    observation: Observation,
    *,
    rows: np.ndarray,
    seed: int,
    snr: float | None = None,
    largest_scale: float | None = None,
) -> ObservedTiles:
    r"""Show simulated tiles as a telescope would, with a given signal-to-noise ratio at the star.

    In this order:

    1. Opacity: with the observation's column of unit opacity per velocity, N_1, the brightness T
       of a voxel becomes :math:`T_1 (1 - e^{-T / T_1})` with :math:`T_1 = N_1 / f` and f the
       tiles' ``TILE_N_H_PER_W`` (Mangum & Shirley 2015, equations 24 and 80). Brightness stays on
       the scale of a thin line.
    2. Channels: brightness is averaged over the observation's channels, symmetric about the star's
       velocity. Channels narrower than 0.125 km/s are not made.
    3. Beam: a Gaussian. At an edge it averages what lies inside the tile.
    4. Missing scales: the tile smoothed to ``largest_scale`` is subtracted.
    5. Noise, correlated over the beam and independent between channels. Its level follows ``snr``,
       not a number of kelvins, so that a factor on the brightness changes nothing.

    Parameters
    ----------
    cubes : `~numpy.ndarray`
        Brightness [K], shape (n, v, y, x), in channels of 0.125 km/s about the star's velocity.
    pixel_size : `~astropy.units.Quantity`
        Side of a pixel, a length.
    observation : Observation
        Telescope. ``beam_pixels``, ``channel_width`` and ``opaque_column`` are used; ``rms`` and
        ``column_limit`` are not.
    rows : `~numpy.ndarray`
        Number of each tile in the library, shape (n,), not negative. The noise of a tile depends
        on its number and on ``seed`` only, not on the other tiles.
    seed : int
        Random seed, not negative.
    snr : float, optional
        Peak at the center of the tile (see `center_peak`) over the noise of a channel of
        0.125 km/s. By default there is no noise.
    largest_scale : float, optional
        Largest scale (FWHM) that an interferometer shows, in pixels of 0.0078 pc. By default all
        are shown. A scale wider than the tile is ignored, since the tile does not hold the gas
        that would have to be subtracted.

    Returns
    -------
    observed : ObservedTiles
        Cubes, velocities and noise.

    Raises
    ------
    InputError
        If an argument has the wrong shape or is out of range.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> cubes = np.zeros((1, 96, 32, 32), dtype="f4")
    >>> cubes[:, 40:56, 10:22, 10:22] = 3
    >>> telescope = Observation(3, 0.1, 0.25, 0.1, 1e21)
    >>> observed = observe_tiles(
    ...     cubes, 0.0078125 * u.pc, telescope, rows=np.array([0]), seed=0, snr=10)
    >>> observed.cubes.shape, observed.rms.round(3)
    ((1, 48, 32, 32), array([0.212], dtype=float32))
    """
    cubes, rows = np.asarray(cubes, dtype=np.float32), np.asarray(rows)
    _check(cubes, rows, seed, snr, largest_scale)
    scale = (TILE_PIXEL / pixel_size).to_value(u.dimensionless_unscaled)
    average, velocity = _channels(cubes.shape[1], observation.channel_width)
    seen = _through_opacity(cubes, observation.opaque_column)
    if average is not None:
        n, n_v, n_y, n_x = seen.shape
        seen = (average @ seen.reshape(n, n_v, -1)).reshape(n, -1, n_y, n_x)
    seen = _convolve(seen, observation.beam_pixels * scale)
    if largest_scale is not None and largest_scale * scale < min(seen.shape[2:]):
        seen = seen - _convolve(seen, largest_scale * scale)
    rms = np.zeros(len(seen), dtype=np.float32)
    if snr is not None:
        width = abs(velocity[1] - velocity[0]) / TILE_CHANNEL_WIDTH.to_value(_KMS)
        rms[:] = center_peak(seen) / (snr * np.sqrt(width))
        _add_noise(seen, rms, observation.beam_pixels * scale, rows, seed)
    return ObservedTiles(seen, velocity, rms)


def center_peak(cubes: np.ndarray) -> np.ndarray:
    """Measure the peak of the spectrum in the center of each tile.

    Parameters
    ----------
    cubes : `~numpy.ndarray`
        Brightness, shape (n, v, y, x); y and x even.

    Returns
    -------
    peak : `~numpy.ndarray`
        Largest channel of the mean of the four central pixels, shape (n,), not below zero.
    """
    y, x = cubes.shape[2] // 2, cubes.shape[3] // 2
    spectrum = cubes[:, :, y - 1 : y + 1, x - 1 : x + 1].mean(axis=(2, 3))
    return np.maximum(spectrum.max(axis=1), 0)


def beam_matrix(n_pixels: int, fwhm: float) -> np.ndarray:
    """Tabulate the convolution of a row of pixels with a Gaussian.

    Parameters
    ----------
    n_pixels : int
        Number of pixels in the row.
    fwhm : float
        Full width at half maximum [pixels]; zero for none.

    Returns
    -------
    matrix : `~numpy.ndarray`
        Float64, shape (n_pixels, n_pixels). Each line sums to one: where the Gaussian reaches
        beyond the row, it averages what lies inside.

    Examples
    --------
    >>> beam_matrix(2, 0)
    array([[1., 0.],
           [0., 1.]])
    """
    if fwhm == 0:
        return np.eye(n_pixels)
    apart = np.subtract.outer(np.arange(n_pixels), np.arange(n_pixels)) * (_FWHM / fwhm)
    matrix = np.exp(-(apart**2) / 2)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _check(
    cubes: np.ndarray,
    rows: np.ndarray,
    seed: int,
    snr: float | None,
    largest_scale: float | None,
) -> None:
    if cubes.ndim != 4 or min(cubes.shape) == 0:
        raise InputError("cubes", "must have shape (n, v, y, x)", cubes.shape)
    if rows.shape != (len(cubes),) or rows.dtype.kind not in "iu" or rows.min() < 0:
        rule = f"must hold {len(cubes)} integers that are not negative, one for each cube"
        raise InputError("rows", rule, rows)
    if seed < 0:
        raise InputError("seed", "must not be negative", seed)
    for name, value in (("snr", snr), ("largest_scale", largest_scale)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(name, "must be finite and above zero, or None", value)


def _through_opacity(cubes: np.ndarray, opaque_column: float) -> np.ndarray:
    if opaque_column == 0:
        return cubes
    unit = np.float32(opaque_column / TILE_N_H_PER_W.to_value(u.cm**-2 / (u.K * _KMS)))
    return -unit * np.expm1(cubes / -unit)


def _channels(n_channels: int, width: float) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the matrix that averages over channels, None if there is none, and their velocity."""
    own = TILE_CHANNEL_WIDTH.to_value(_KMS)
    width = max(width, own)
    n_wide = int(np.ceil(n_channels * own / width - 1e-6))
    velocity = (np.arange(n_wide) - (n_wide - 1) / 2) * width
    if width == own:
        return None, velocity
    centers = (np.arange(n_channels) - (n_channels - 1) / 2) * own
    low = np.maximum.outer(velocity - width / 2, centers - own / 2)
    high = np.minimum.outer(velocity + width / 2, centers + own / 2)
    return (np.maximum(high - low, 0) / width).astype(np.float32), velocity


def _convolve(cubes: np.ndarray, fwhm: float) -> np.ndarray:
    """Convolve images with a Gaussian [pixels], first along x, then along y."""
    along_y, along_x = (beam_matrix(n, fwhm).astype(np.float32) for n in cubes.shape[2:])
    return along_y @ (cubes.reshape(-1, cubes.shape[3]) @ along_x.T).reshape(cubes.shape)


def _add_noise(
    cubes: np.ndarray, rms: np.ndarray, fwhm: float, rows: np.ndarray, seed: int
) -> None:
    """Add noise in place, with the correlation that white noise has after the beam."""
    along_y, along_x = (_correlation_root(n, fwhm) for n in cubes.shape[2:])
    shape = (cubes.shape[1], along_y.shape[1], along_x.shape[1])
    for i, row in enumerate(rows):
        white = np.random.default_rng([seed, int(row)]).standard_normal(shape, dtype=np.float32)
        cubes[i] += rms[i] * (along_y @ (white @ along_x.T))


def _correlation_root(n_pixels: int, fwhm: float) -> np.ndarray:
    """Return A with A A^T the correlation of noise between pixels; its lines have length one.

    White noise that is convolved with a Gaussian of dispersion s has the correlation
    exp(-d^2 / 4 s^2). No pixels beyond the edges are needed, and few columns for a wide beam.
    """
    if fwhm == 0:
        return np.eye(n_pixels, dtype=np.float32)
    apart = np.subtract.outer(np.arange(n_pixels), np.arange(n_pixels)) * (_FWHM / fwhm)
    values, vectors = np.linalg.eigh(np.exp(-(apart**2) / 4))
    kept = values > 1e-6 * values[-1]
    root = vectors[:, kept] * np.sqrt(values[kept])
    return (root / np.linalg.norm(root, axis=1, keepdims=True)).astype(np.float32)
