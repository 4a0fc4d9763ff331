"""Masks, noise and footprints that are given as arrays or as FITS files."""

import os
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits

from stellarssl.exceptions import InputError

__all__ = ["as_footprint", "as_mask", "check_flags", "check_noise", "image_shape", "noise_quantity"]


def check_flags(name: str, value: Any, n_axes: int) -> Any:
    """Check a mask or a footprint as far as that is possible without the cube.

    Parameters
    ----------
    name : {"mask", "footprint"}
        Name of the option.
    value : path-like or array-like of bool
        Array or FITS file.
    n_axes : int
        Number of axes that it must have.

    Returns
    -------
    value : `~pathlib.Path` or array-like
        An existing file, or a boolean array.

    Raises
    ------
    InputError
        If the file does not exist, or the array has another type or number of axes.
    """
    if isinstance(value, str | os.PathLike):
        return _existing(name, value)
    if not hasattr(value, "dtype"):
        value = np.asarray(value)
    rule = f"must be a boolean array with {n_axes} axes, or a FITS file"
    if value.dtype != bool:
        raise InputError(name, rule, f"dtype {value.dtype}")
    if len(value.shape) != n_axes:
        raise InputError(name, rule, value.shape)
    return value


def check_noise(value: Any) -> Path | u.Quantity:
    """Check a noise as far as that is possible without the cube.

    Parameters
    ----------
    value : path-like, str or `~astropy.units.Quantity`
        FITS file, or a number, map or cube with a unit.

    Returns
    -------
    value : `~pathlib.Path` or `~astropy.units.Quantity`
        An existing file, or a quantity with a unit.

    Raises
    ------
    InputError
        If it is neither.
    """
    rule = "must be a quantity with a unit, such as '0.1 K', or a FITS file"
    if isinstance(value, os.PathLike):
        return _existing("noise", value)
    if isinstance(value, str):
        try:
            value = u.Quantity(value)
        except (TypeError, ValueError):
            if not Path(value).is_file():
                raise InputError("noise", rule, value) from None
            return Path(value).absolute()
    try:
        noise = u.Quantity(value)
    except TypeError as error:
        raise InputError("noise", rule, type(value).__name__) from error
    if noise.unit == u.dimensionless_unscaled:
        raise InputError("noise", rule, "a number without a unit")
    if np.any(noise.value < 0) or not np.any(np.isfinite(noise.value)):
        raise InputError("noise", "must be finite and not below zero", noise)
    return noise


def _existing(name: str, path: str | os.PathLike) -> Path:
    path = Path(path)
    if not path.is_file():
        raise InputError(name, "file not found", str(path))
    return path.absolute()


def image_shape(name: str, path: Path) -> tuple[tuple[int, ...], str]:
    """Return the shape of the first image of a FITS file, from its header alone.

    Parameters
    ----------
    name : str
        Name of the option, for the error.
    path : `~pathlib.Path`
        FITS file.

    Returns
    -------
    shape : tuple of int
        In the order of numpy, without axes of length one in front.
    unit : str
        The header's BUNIT; empty if there is none.

    Raises
    ------
    InputError
        If the file cannot be read or holds no image.
    """
    try:
        with fits.open(path) as hdus:
            hdu = _first_image(hdus)
            shape, unit = tuple(hdu.shape), hdu.header.get("BUNIT", "")
    except (OSError, ValueError, TypeError, StopIteration) as error:
        raise InputError(name, "must be a FITS file that holds an image", str(path)) from error
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape, unit


def _first_image(hdus: fits.HDUList) -> fits.ImageHDU:
    return next(hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2)


def _read_image(name: str, path: Path) -> tuple[np.ndarray, str]:
    """Return the first image of a FITS file, without axes of length one in front, and its unit."""
    try:
        with fits.open(path) as hdus:
            hdu = _first_image(hdus)
            data, unit = np.asarray(hdu.data), hdu.header.get("BUNIT", "")
    except (OSError, ValueError, TypeError, StopIteration) as error:
        raise InputError(name, "must be a FITS file that holds an image", str(path)) from error
    while data.ndim > 2 and data.shape[0] == 1:
        data = data[0]
    return data, unit


def _read_flags(name: str, path: Path) -> np.ndarray:
    data, _ = _read_image(name, path)
    flags = data == 1
    if not np.all(flags | (data == 0)):
        raise InputError(name, "must hold zeros and ones only", str(path))
    return flags


def as_mask(mask: Any, shape: tuple[int, int, int]) -> Any:
    """Return a mask that fits a cube; None stays None.

    Parameters
    ----------
    mask : `~pathlib.Path`, array-like of bool or None
        From `check_flags`.
    shape : tuple of int
        Shape (v, y, x) of the cube.

    Returns
    -------
    mask : array-like of bool or None
        Of that shape.

    Raises
    ------
    InputError
        If it has another shape, or the file cannot be used.
    """
    if isinstance(mask, Path):
        mask = _read_flags("mask", mask)
    if mask is not None and mask.shape != shape:
        rule = f"must be a boolean array of the cube's shape {shape}"
        raise InputError("mask", rule, mask.shape)
    return mask


def as_footprint(footprint: Any, shape: tuple[int, int]) -> np.ndarray | None:
    """Return a footprint that fits a map; None stays None.

    Parameters
    ----------
    footprint : `~pathlib.Path`, array of bool or None
        From `check_flags`.
    shape : tuple of int
        Shape (y, x) of the map.

    Returns
    -------
    footprint : ndarray of bool or None
        Of that shape, with at least one pixel.

    Raises
    ------
    InputError
        If it has another shape or is empty, or the file cannot be used.
    """
    if footprint is None:
        return None
    if isinstance(footprint, Path):
        footprint = _read_flags("footprint", footprint)
    footprint = np.asarray(footprint)
    if footprint.shape != shape:
        rule = f"must be a boolean array of the map's shape {shape}"
        raise InputError("footprint", rule, footprint.shape)
    if not footprint.any():
        raise InputError("footprint", "must hold a pixel")
    return footprint


def noise_quantity(noise: Path | u.Quantity | None) -> u.Quantity | None:
    """Return a noise as a quantity, read from its file if need be; None stays None.

    Parameters
    ----------
    noise : `~pathlib.Path`, `~astropy.units.Quantity` or None
        From `check_noise`.

    Returns
    -------
    noise : `~astropy.units.Quantity` or None
        With the unit that the file's BUNIT states.

    Raises
    ------
    InputError
        If the file cannot be used.
    """
    if not isinstance(noise, Path):
        return noise
    data, unit = _read_image("noise", noise)
    if not unit:
        raise InputError("noise", "must state its unit in the header (BUNIT)", str(noise))
    try:
        return check_noise(u.Quantity(data, unit))
    except (TypeError, ValueError) as error:
        raise InputError("noise", "must have a BUNIT that is a unit", unit) from error
