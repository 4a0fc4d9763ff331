"""What a segmentation is, and its files."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from matplotlib.image import imsave
from regions import Regions

from stellarssl._utils.output import atomic_path
from stellarssl.exceptions import InputError, OutputExistsError
from stellarssl.segmentation.polygons import crtf_text, label_regions, label_rings

__all__ = ["Segmentation"]

_FILES = (
    "rgb.png",
    "labels.fits",
    "components.fits",
    "segments.reg",
    "segments.crtf",
    "segments.ecsv",
)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A map of the gas's structure.

    Attributes
    ----------
    rgb : ndarray
        float32 (ny, nx, 3), 0-1: the three components as colors, 0 being the 1st and 1 the 99th
        percentile of the library, so that colors mean the same in every cube. White where
        nothing is detected.
    labels : ndarray
        int32 (ny, nx): which segment each pixel belongs to, 0 is none. This is the record, from
        which regions are made.
    components : ndarray
        float32 (3, ny, nx): the components themselves, in the units of ``rgb`` but not clipped;
        NaN where nothing is detected.
    wcs : `~astropy.wcs.WCS`
        Celestial, that of the maps.
    table : `~astropy.table.QTable`
        A row per segment, largest first: ``id`` (its label, and its region's name), ``class_id`` (1
        has the highest mean column), ``skycoord`` (column-weighted center), ``n_pixels``,
        ``solid_angle``, ``area``, ``mean_n_h``, ``peak_n_h``, ``v_los`` and ``sigma_v`` of the
        summed line, ``gas_mass`` (1.4 m_p per hydrogen nucleus), and the mean ``component_1``,
        ``component_2`` and ``component_3``. Without a distance ``area`` and ``gas_mass`` are
        masked.
    """

    rgb: np.ndarray
    labels: np.ndarray
    components: np.ndarray
    wcs: WCS
    table: QTable

    @property
    def rings(self) -> dict[int, list[np.ndarray]]:
        """Outlines of the segments in pixels: for each id the rim and then the holes."""
        return label_rings(self.labels)

    def to_regions(self) -> Regions:
        """Outline the segments as polygons on the sky.

        Returns
        -------
        regions : `~regions.Regions`
            In the order of the table, the id in ``meta`` as ``text`` and ``label``. The pixel
            centers inside are the segment's pixels, holes included: a doubled cut joins a hole to
            the rim.
        """
        return label_regions(self.labels, self.wcs)

    def write(self, directory: str | os.PathLike, *, overwrite: bool = False) -> list[Path]:
        """Write all products.

        ``rgb.png`` (transparent where nothing is detected, row 0 at the bottom), ``labels.fits``,
        ``components.fits``, ``segments.reg`` (DS9), ``segments.crtf`` (CASA), ``segments.ecsv``.

        Parameters
        ----------
        directory : path-like
            Is made where it is missing.
        overwrite : bool, optional
            Whether files that are there may be replaced.

        Returns
        -------
        paths : list of `~pathlib.Path`
            The files.

        Raises
        ------
        OutputExistsError
            If one of the files exists and ``overwrite`` is false; then none is written.
        InputError
            If ``directory`` is a file.
        """
        directory = Path(directory)
        if directory.exists() and not directory.is_dir():
            raise InputError("directory", "must not be a file", str(directory))
        paths = [directory / name for name in _FILES]
        if not overwrite and (there := [path for path in paths if path.exists()]):
            raise OutputExistsError(f"{there[0]} exists and is not replaced", ["overwrite"])
        regions = self.to_regions()
        writers = (
            self._write_png,
            lambda path: self._hdu(self.labels, "segment").writeto(path, checksum=True),
            lambda path: self._hdu(self.components, "component").writeto(path, checksum=True),
            # ten decimals: below a microarcsecond, so that no pixel changes sides
            lambda path: regions.write(path, format="ds9", precision=10),
            lambda path: path.write_text(crtf_text(regions), encoding="ascii"),
            lambda path: self.table.write(path, format="ascii.ecsv"),
        )
        for path, write in zip(paths, writers, strict=True):
            with atomic_path(path, overwrite=overwrite) as temporary:
                write(temporary)
        return paths

    def _write_png(self, path: Path) -> None:
        opaque = np.isfinite(self.components).all(axis=0)[..., None]
        imsave(path, np.concatenate([self.rgb, opaque], axis=2), origin="lower")

    def _hdu(self, data: np.ndarray, btype: str) -> fits.PrimaryHDU:
        header = self.wcs.to_header()
        if data.ndim == 3:
            header["WCSAXES"] = 3
            header.update({"CTYPE3": "COMPONENT", "CRPIX3": 1.0, "CRVAL3": 1.0, "CDELT3": 1.0})
        header["BTYPE"] = btype
        return fits.PrimaryHDU(data, header)
