"""The sources of a cube: files, HDUs and spectral-cube; values are read where they are used."""

import math
import os
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from astropy.io import fits
from radio_beam import Beam, Beams
from spectral_cube import SpectralCube
from spectral_cube.base_class import MultiBeamMixinClass
from spectral_cube.dask_spectral_cube import DaskSpectralCubeMixin
from spectral_cube.spectral_cube import BaseSpectralCube
from spectral_cube.utils import NoBeamError

from stellarssl.cubes._axes import Axes, read_axes
from stellarssl.cubes._beams import beam_table, header_beam
from stellarssl.cubes._files import FileArray, ScaledArray, Scaling, Stamp
from stellarssl.cubes.headers import repair_header
from stellarssl.exceptions import InputError

__all__ = ["Source", "SourceLike", "check_hdu", "open_source", "pick_hdu"]

_IMAGES = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)

SourceLike: TypeAlias = (
    str
    | os.PathLike
    | fits.PrimaryHDU
    | fits.ImageHDU
    | fits.CompImageHDU
    | fits.HDUList
    | BaseSpectralCube
)
"""What a cube can be opened from: a FITS file or CASA image, an HDU, an HDUList, a SpectralCube."""


@dataclass(frozen=True, eq=False)
class Source:
    """A cube as it lies in a file or in memory, before any option is applied.

    Attributes
    ----------
    data : array-like
        (v, y, x), read by slicing: a `FileArray`, an array, a `ScaledArray`, or dask.
    valid : array-like or None
        Boolean (v, y, x): a mask besides NaN.
    header : `~astropy.io.fits.Header`
        As it was.
    axes : `Axes`
        From the mended header.
    unit : str
        The brightness unit as it was stated, or an empty string.
    beam : `~radio_beam.Beam`, `~radio_beam.Beams` or None
        Of the header, the beam table or the SpectralCube.
    name : str
        Short, for messages.
    path : str
        What the cube was given as.
    repairs : tuple of str
        What was mended, and the user should know.
    notes : tuple of str
        What the user may know.
    given : `~spectral_cube.SpectralCube` or None
        The one that was given.
    stamp : `Stamp` or None
        Of the file that values are still read from; None if they are in memory.
    """

    data: Any
    valid: Any
    header: fits.Header
    axes: Axes
    unit: str
    beam: Beam | Beams | None
    name: str
    path: str
    repairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    given: SpectralCube | None = None
    stamp: Stamp | None = None


class _Included:
    """The mask of a SpectralCube, worked out where it is sliced."""

    dtype, ndim = np.dtype(bool), 3

    def __init__(self, cube: SpectralCube, data: np.ndarray) -> None:
        self._mask, self._data, self._wcs, self.shape = cube.mask, data, cube.wcs, cube.shape

    def __getitem__(self, view: object) -> np.ndarray:
        return np.asarray(self._mask.include(data=self._data, wcs=self._wcs, view=view))


def open_source(cube: SourceLike, hdu: int | str | None) -> Source:
    """Open whatever a cube is given as.

    Parameters
    ----------
    cube : path-like, HDU, HDUList or SpectralCube
        The cube.
    hdu : int or str, optional
        Which HDU of a file or HDUList.

    Returns
    -------
    source : `Source`
        Not read yet, but for compressed files.

    Raises
    ------
    InputError
        If it is not there, broken, or no cube.
    """
    if isinstance(cube, (str, os.PathLike)):
        return _from_path(Path(cube), hdu)
    if isinstance(cube, fits.HDUList):
        path = cube.filename() or "HDUList"
        return _from_hdus(cube, hdu, str(path))
    if hdu is not None:
        raise InputError("hdu", "applies to a file or an HDUList only", hdu)
    if isinstance(cube, _IMAGES):
        return _from_hdus(fits.HDUList([cube]), 0, "HDU")
    if isinstance(cube, BaseSpectralCube):
        return _from_spectral_cube(cube)
    rule = "must be a path, an HDU, an HDUList, a SpectralCube or a Cube"
    raise InputError("cube", rule, type(cube).__name__)


def _from_path(path: Path, hdu: int | str | None) -> Source:
    if not path.exists():
        raise InputError("cube", "must be a file that is there", str(path))
    if path.is_dir():
        if not (path / "table.dat").exists():
            raise InputError("cube", "is a folder, and no CASA image", str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                image = SpectralCube.read(str(path), format="casa_image")
            except Exception as error:
                raise InputError("cube", f"is a broken CASA image: {error}", str(path)) from error
        return _from_spectral_cube(image, path)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            stamp = Stamp.of(path)
            with fits.open(path, memmap=False, do_not_scale_image_data=True) as hdus:
                source = _from_hdus(hdus, hdu, str(path), stamp if _is_plain(path) else None)
    except InputError:
        raise
    except (EOFError, OSError, TypeError, KeyError, ValueError, zlib.error) as error:
        raise InputError("cube", f"must be a whole FITS file: {error}", str(path)) from error
    if any("truncated" in str(warning.message) for warning in caught):
        raise InputError("cube", "is truncated: shorter than its header says", str(path))
    return source


def check_hdu(hdu: int | str | None) -> None:
    """Refuse what can be no file's HDU.

    Parameters
    ----------
    hdu : int, str or None
        Its number or its name.

    Raises
    ------
    InputError
        If it is something else.
    """
    if hdu is not None and not isinstance(hdu, int | np.integer | str):
        raise InputError("hdu", "must be a number or a name", hdu)


def pick_hdu(hdus: fits.HDUList, hdu: int | str | None) -> tuple[int, str | None]:
    """Find the cube among HDUs.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        Of a file.
    hdu : int, str or None
        Which one; the first with three axes by default.

    Returns
    -------
    index : int
        Its number.
    note : str or None
        What the user may know if there was a choice.

    Raises
    ------
    InputError
        If it is not there.
    """
    check_hdu(hdu)
    if hdu is not None:
        try:
            hdus[hdu]
            return hdus.index_of(hdu), None
        except (KeyError, IndexError) as error:
            names = ", ".join(f"{i} ({each.name})" for i, each in enumerate(hdus))
            raise InputError("hdu", f"must be one of {names}", hdu) from error
    sizes = {i: len(each.shape) for i, each in enumerate(hdus) if isinstance(each, _IMAGES)}
    found = [i for i, n_axes in sizes.items() if n_axes >= 3]
    if not found:
        rule = "must have an image of three axes; a map has no spectral axis"
        raise InputError("cube", rule, [hdus[i].shape for i in sizes])
    note = f"HDU {found[0]}, the first of {len(found)} cubes, was read; hdu chooses another"
    return found[0], note if len(found) > 1 else None


def _is_plain(path: Path) -> bool:
    """Return whether a file begins as an uncompressed FITS file does, whatever its name."""
    with path.open("rb") as file:
        return file.read(6) == b"SIMPLE"


def _from_hdus(
    hdus: fits.HDUList, hdu: int | str | None, path: str, stamp: Stamp | None = None
) -> Source:
    """Take the cube among HDUs; with a stamp, its values are left in that uncompressed file."""
    index, choice = pick_hdu(hdus, hdu)
    image = hdus[index]
    if not isinstance(image, _IMAGES) or isinstance(image, fits.GroupsHDU) or not image.shape:
        raise InputError("hdu", "must hold an image", index)
    header = image.header.copy()
    mended, repairs = repair_header(header)
    axes = read_axes(mended, image.shape)
    in_file = stamp is not None and not isinstance(image, fits.CompImageHDU)
    data = _file_array(image, axes, stamp) if in_file else _array(image, axes)
    beam, unread = header_beam(header)
    beams = beam_table(hdus, data.shape[0])
    repairs += [text for text in (choice, unread if beams is None else None) if text]
    plain = in_file or (Path(path).is_file() and _is_plain(Path(path)))
    compressed = isinstance(image, fits.CompImageHDU) or (Path(path).is_file() and not plain)
    return Source(
        data=data,
        valid=None,
        header=header,
        axes=axes,
        unit=str(header.get("BUNIT", "")).strip(),
        beam=beam if beams is None else beams,
        name=Path(path).name,
        path=path,
        repairs=tuple(repairs),
        notes=("compressed, so that it is held in memory",) if compressed else (),
        stamp=(stamp or Stamp.of(Path(path))) if plain and not compressed else None,
    )


def _file_array(image: fits.ImageHDU, axes: Axes, stamp: Stamp) -> FileArray:
    """Leave the values of an image in its file, and check that the file is long enough."""
    stored = np.dtype(fits.BITPIX2DTYPE[image.header["BITPIX"]]).newbyteorder(">")
    start = image.fileinfo()["datLoc"]
    if start + stored.itemsize * math.prod(image.shape) > stamp.state[0][0]:
        rule = "is truncated: shorter than its header says"
        raise InputError("cube", rule, str(stamp.path))
    scaling = Scaling.of(image.header, stored)
    return FileArray(stamp, start, stored, image.shape, axes, scaling)


def _array(image: fits.ImageHDU, axes: Axes) -> np.ndarray | ScaledArray:
    """Take the values of an image as astropy has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        data = axes.arrange(image.data)
    scaling = Scaling.of(image.header, data.dtype)
    return data if scaling is None else ScaledArray(data, scaling)


def _from_spectral_cube(cube: SpectralCube, path: Path | None = None) -> Source:
    header = cube.header
    mended, repairs = repair_header(header)
    plain = getattr(cube.mask, "_function", None) is np.isfinite
    if isinstance(cube, DaskSpectralCubeMixin):
        # The one lazy door that cubes with a beam per channel have, too; the mask comes as NaN.
        data, valid = cube._get_filled_data(fill=np.nan), None  # noqa: SLF001
    else:
        data = cube.unmasked_data[:].value
        valid = None if plain or cube.mask is None else _Included(cube, data)
    if isinstance(cube, MultiBeamMixinClass):
        beam = cube.unmasked_beams
    else:
        try:
            beam = cube.beam if cube.beam.sr > 0 else None
        except NoBeamError:
            beam = None
    unit = cube.unit.to_string() or str(cube.meta.get("BUNIT", ""))
    return Source(
        data=data,
        valid=valid,
        header=header,
        axes=read_axes(mended, cube.shape),
        unit=unit.strip(),
        beam=beam,
        name=type(cube).__name__ if path is None else path.name,
        path=type(cube).__name__ if path is None else str(path),
        repairs=tuple(repairs),
        given=cube,
        stamp=None if path is None else Stamp.of(path),
    )
