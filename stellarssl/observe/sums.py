"""Smooth maps and add gas to them, in the three sums that can be averaged and added.

These are M0, M0 v and M0 (v^2 + sigma^2); mean velocity and dispersion follow from them.
"""

import numpy as np

from stellarssl.exceptions import InputError
from stellarssl.observe.ppv import beam_matrix

__all__ = ["add_background", "smooth_moments"]


def smooth_moments(maps: np.ndarray, beam_pixels: float) -> np.ndarray:
    """Smooth maps of column, velocity and dispersion to a beam.

    Velocity differences within the beam add to the dispersion. At an edge the beam averages what
    lies inside the map.

    Parameters
    ----------
    maps : `~numpy.ndarray`
        Shape (n, 3, y, x): log10 N_H [cm^-2], v_los, sigma_v [km/s].
    beam_pixels : float
        FWHM of the Gaussian beam [pixels]; zero for none.

    Returns
    -------
    maps : `~numpy.ndarray`
        Float32, same shape.

    Raises
    ------
    InputError
        If the maps have another shape, or the beam is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.zeros((1, 3, 1, 2))
    >>> maps[:, 1] = [-1, 1]
    >>> smooth_moments(maps, 100.0).round(2)[0, 2]
    array([[1., 1.]], dtype=float32)
    """
    _check_maps("maps", maps)
    if not (np.isfinite(beam_pixels) and beam_pixels >= 0):
        raise InputError("beam_pixels", "must be finite and not negative", beam_pixels)
    along_y, along_x = (beam_matrix(n, beam_pixels) for n in maps.shape[2:])
    return _from_sums(along_y @ _to_sums(maps) @ along_x.T)


def add_background(
    maps: np.ndarray, backgrounds: np.ndarray, *, velocity: np.ndarray | float = 0.0
) -> np.ndarray:
    """Add the gas of other lines of sight to tiles that hold only the gas about a star.

    Parameters
    ----------
    maps : `~numpy.ndarray`
        Shape (n, 3, y, x): log10 N_H [cm^-2], v_los, sigma_v [km/s].
    backgrounds : `~numpy.ndarray`
        Same shape, such as `~stellarssl.library.Backgrounds.draw` returns.
    velocity : float or `~numpy.ndarray`, optional
        Velocity that is added to each background, shape (n,) [km/s]: it takes the background's
        velocities to those of the maps.

    Returns
    -------
    maps : `~numpy.ndarray`
        Float32, same shape; velocities as in ``maps``.

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.zeros((1, 3, 1, 1))
    >>> add_background(maps, maps, velocity=2.0).round(3).ravel()
    array([0.301, 1.   , 1.   ], dtype=float32)
    """
    _check_maps("maps", maps)
    if np.shape(backgrounds) != maps.shape:
        rule = f"must have the shape of the maps, {maps.shape}"
        raise InputError("backgrounds", rule, np.shape(backgrounds))
    moved = np.array(backgrounds, dtype=np.float64)
    moved[:, 1] += np.broadcast_to(velocity, len(maps))[:, None, None]
    return _from_sums(_to_sums(maps) + _to_sums(moved))


def _check_maps(name: str, maps: np.ndarray) -> None:
    if np.ndim(maps) != 4 or maps.shape[1] != 3:
        raise InputError(name, "must have shape (n, 3, y, x)", np.shape(maps))


def _to_sums(maps: np.ndarray) -> np.ndarray:
    log_column, v, sigma = np.moveaxis(np.asarray(maps, dtype=np.float64), 1, 0)
    column = 10.0**log_column
    return np.stack([column, column * v, column * (v**2 + sigma**2)], axis=1)


def _from_sums(sums: np.ndarray) -> np.ndarray:
    column, momentum, energy = np.moveaxis(sums, 1, 0)
    v = momentum / column
    sigma = np.sqrt(np.maximum(energy / column - v**2, 0.0))
    return np.stack([np.log10(column), v, sigma], axis=1).astype(np.float32)
