"""Which part of the sky a cube in a file covers, without a look at its values."""

import os
import warnings
import zlib
from pathlib import Path

from astropy.io import fits
from astropy.wcs import WCS

from stellarssl.cubes._axes import read_axes
from stellarssl.cubes.headers import repair_header
from stellarssl.cubes.sources import open_source, pick_hdu
from stellarssl.exceptions import InputError

__all__ = ["read_sky"]


def read_sky(
    cube: str | os.PathLike, *, hdu: int | str | None = None
) -> tuple[WCS, tuple[int, int]]:
    """Return the sky of a cube from its header alone.

    Parameters
    ----------
    cube : path-like
        A FITS file, of which the header is read and nothing else; or a CASA image.
    hdu : int or str, optional
        Which HDU of a file; the first with three axes by default.

    Returns
    -------
    wcs : `~astropy.wcs.WCS`
        The sky's two axes, x longitude, y latitude, as in `Cube`.
    shape : tuple of int
        Rows and columns.

    Raises
    ------
    InputError
        If there is no such file, it is broken, or it is no cube.
    """
    path = Path(cube)
    if not path.is_file():
        source = open_source(path, hdu)
        return source.axes.wcs.celestial, source.data.shape[1:]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, mode="denywrite", do_not_scale_image_data=True) as hdus:
                image = _cube_of(hdus, hdu)
                header, shape = image.header.copy(), image.shape
    except InputError:
        raise
    except (EOFError, OSError, TypeError, KeyError, IndexError, ValueError, zlib.error) as error:
        raise InputError("cube", f"must be a whole FITS file: {error}", str(path)) from error
    if len(shape) < 3:
        rule = "must have an image of three axes; a map has no spectral axis"
        raise InputError("cube", rule, shape)
    axes = read_axes(repair_header(header)[0], shape)
    longitude, latitude, _ = axes.order
    return axes.wcs.celestial, (shape[-1 - latitude], shape[-1 - longitude])


def _cube_of(hdus: fits.HDUList, hdu: int | str | None) -> fits.ImageHDU:
    """Go no further into the file than the HDU that is wanted."""
    if hdu is not None:
        return hdus[pick_hdu(hdus, hdu)[0]]
    images = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
    return next((e for e in hdus if isinstance(e, images) and len(e.shape) >= 3), hdus[0])
