"""Summary statistics of tiles in circular apertures."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stellarssl._utils.geometry import TILE_PIXELS
from stellarssl.exceptions import InputError

__all__ = ["APERTURES", "TileStatistics", "tile_statistics"]

APERTURES = (2, 4, 8, 16, 32)
"""Radii of the apertures, in tile pixels."""

_QUANTITIES = ("column", "dispersion", "velocity", "gradient")
_NAMES = (*(f"{name}_{radius}" for radius in APERTURES for name in _QUANTITIES), "peak", "spread")


@dataclass(frozen=True)
class TileStatistics:
    """Statistics of many tiles, with their names.

    Attributes
    ----------
    names : tuple of str
        Name of each column of ``array``.
    array : `~numpy.ndarray`
        Float32, shape (n_tiles, n_statistics). Finite, except for rings that are not covered.
    """

    names: tuple[str, ...]
    array: np.ndarray

    def __len__(self) -> int:
        return len(self.array)


@lru_cache(maxsize=8)
def _apertures(n_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels in each aperture (n_apertures, n_pixels**2) and all offsets (2, ...)."""
    axis = np.arange(n_pixels) - (n_pixels - 1) / 2
    y, x = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    inside = np.hypot(x, y) <= np.array(APERTURES)[:, None] * n_pixels / TILE_PIXELS
    return inside.astype(float), np.stack([x, y])


def _gradient(weight: np.ndarray, v: np.ndarray, xy: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Fit a plane to ``v`` by weighted least squares in each aperture; return its gradient."""
    total = weight @ inside.T
    mean = {
        key: ((weight * value) @ inside.T) / total
        for key, value in {
            "x": xy[0],
            "y": xy[1],
            "v": v,
            "xx": xy[0] ** 2,
            "yy": xy[1] ** 2,
            "xy": xy[0] * xy[1],
            "xv": xy[0] * v,
            "yv": xy[1] * v,
        }.items()
    }
    xx, yy, xy_, xv, yv = (
        mean[a + b] - mean[a] * mean[b] for a, b in ("xx", "yy", "xy", "xv", "yv")
    )
    determinant = xx * yy - xy_**2
    # all weight on one line or pixel: the plane is not determined, and the gradient is set to zero
    singular = determinant <= 1e-6 * (xx + yy) ** 2
    determinant = np.where(singular, 1.0, determinant)
    slope = np.hypot(xv * yy - yv * xy_, yv * xx - xv * xy_) / determinant
    return np.where(singular, 0.0, slope)


def tile_statistics(
    maps: np.ndarray, detected: np.ndarray | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Measure 22 summary statistics of tiles.

    In circles of 2, 4, 8, 16 and 32 pixels about the center (of a tile of 64 pixels; in proportion
    for others): ``column_R``, log10 of the mean column; ``dispersion_R``, the column-weighted root
    mean square of ``sigma_v``; ``velocity_R``, the absolute column-weighted mean velocity relative
    to the tile's (absolute, because a mirrored sky holds the same stars); ``gradient_R``, the
    length of the slope of the column-weighted least-squares plane through ``v_los``. Over the whole
    tile: ``peak``, log10 of the highest column, and ``spread``, the standard deviation of log10 of
    the column.

    Parameters
    ----------
    maps : `~numpy.ndarray`
        Shape (n, 3, n_pixels, n_pixels): log10 N_H [cm^-2], v_los, sigma_v [km/s], finite.
    detected : `~numpy.ndarray`, optional
        Boolean, shape (n, n_pixels, n_pixels). Velocities and dispersions of other pixels do not
        count, unless an aperture holds no detected pixel. Columns of other pixels count as they
        stand, which is the detection limit.

    Returns
    -------
    names : tuple of str
        22 names.
    array : `~numpy.ndarray`
        Float32, shape (n, 22): columns in dex(cm^-2), velocities and dispersions in km/s, gradients
        in km/s per pixel, the spread in dex.

    Raises
    ------
    InputError
        If ``maps`` has another shape or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.zeros((1, 3, 64, 64), dtype="f4")
    >>> maps[:, 0], maps[:, 2] = 22, 0.5
    >>> names, array = tile_statistics(maps)
    >>> dict(zip(names, array[0].tolist()))["dispersion_8"]
    0.5
    """
    maps = np.asarray(maps)
    if maps.ndim != 4 or maps.shape[1] != 3 or maps.shape[2] != maps.shape[3]:
        raise InputError("maps", "must have shape (n, 3, n_pixels, n_pixels)", maps.shape)
    if not np.isfinite(maps).all():
        raise InputError("maps", "must be finite; fill undetected pixels with the detection limit")
    if detected is None:
        detected = np.ones((len(maps), *maps.shape[2:]), dtype=bool)
    array = np.empty((len(maps), len(_NAMES)), dtype=np.float32)
    for start in range(0, len(maps), 256):
        rows = slice(start, start + 256)
        array[rows] = _measure(maps[rows].astype(np.float64), detected[rows])
    return _NAMES, array


def _measure(maps: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """Measure a batch of tiles; arguments as in `tile_statistics`."""
    inside, xy = _apertures(maps.shape[-1])
    log_column, v, sigma = maps.reshape(len(maps), 3, -1).swapaxes(0, 1)
    column = 10.0**log_column
    mean_column = (column @ inside.T) / inside.sum(axis=1)
    sums = {}
    for key, weight in (("all", column), ("detected", column * detected.reshape(len(maps), -1))):
        total = weight @ inside.T
        with np.errstate(invalid="ignore", divide="ignore"):
            sums[key] = (
                total,
                np.stack(
                    [
                        np.sqrt(((weight * sigma**2) @ inside.T) / total),
                        np.abs(((weight * v) @ inside.T) / total),
                        _gradient(weight, v, xy, inside),
                    ]
                ),
            )
    kinematics = np.where(sums["detected"][0] > 0, sums["detected"][1], sums["all"][1])
    blocks = np.concatenate([np.log10(mean_column)[None], kinematics]).transpose(1, 2, 0)
    ends = np.stack([log_column.max(axis=1), log_column.std(axis=1)], axis=1)
    return np.concatenate([blocks.reshape(len(maps), -1), ends], axis=1)
