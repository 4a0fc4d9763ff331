"""`SourceSpectra` as a FITS file."""

import json
import os
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable

from stellarssl._utils.geometry import TILE_PIXEL
from stellarssl._utils.output import atomic_path
from stellarssl.exceptions import InputError
from stellarssl.spectra.rings import RING_EDGES

__all__ = ["read_spectra", "write_spectra"]

_IMAGES = {"SPECTRA": "spectra", "ERROR": "error"}
_COLUMNS = (
    "id",
    "velocity",
    "covered",
    "background_ring",
    "several_components",
    "at_band_edge",
    "off_map",
)


def write_spectra(spectra: Any, path: str | os.PathLike, *, overwrite: bool) -> Path:
    """Write the spectra of sources.

    Parameters
    ----------
    spectra : `SourceSpectra`
        Spectra that are written: images ``SPECTRA`` and ``ERROR`` (source, ring, velocity), a table
        ``SOURCES`` with a row per source, a table ``RINGS``, and ``META`` with the provenance.
    path : path-like
        Name of the file.
    overwrite : bool
        Whether an existing file is replaced.

    Returns
    -------
    path : `~pathlib.Path`
        Path of the file.
    """
    table = QTable({name: getattr(spectra, name) for name in _COLUMNS})
    if spectra.skycoord is not None:
        table["ra"], table["dec"] = spectra.skycoord.ra, spectra.skycoord.dec
        table["distance"] = spectra.distance
    edges = np.array(RING_EDGES) * TILE_PIXEL
    rings = QTable({"radius_min": edges[:-1], "radius_max": edges[1:]})
    text = json.dumps(spectra.meta)
    meta = fits.Column("VALUE", f"{len(text)}A", array=[text])
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(),
            *(_image(spectra, name) for name in _IMAGES),
            fits.table_to_hdu(table, name="SOURCES"),
            fits.table_to_hdu(rings, name="RINGS"),
            fits.BinTableHDU.from_columns([meta], name="META"),
        ]
    )
    with atomic_path(path, overwrite=overwrite) as temporary:
        hdus.writeto(temporary)
    return Path(path)


def _image(spectra: Any, name: str) -> fits.ImageHDU:
    value = getattr(spectra, _IMAGES[name])
    hdu = fits.ImageHDU(value.to_value(u.K).astype(np.float32), name=name)
    offset = spectra.offset.to_value(u.km / u.s)
    hdu.header["BUNIT"] = "K"
    axes = (
        ("VOFFSET", "km/s", offset[0], offset[1] - offset[0], "relative to the source"),
        ("RING", "", 0.0, 1.0, "counted from the center; see the table RINGS"),
        ("SOURCE", "", 0.0, 1.0, "row of the table SOURCES"),
    )
    for i, (ctype, unit, value, step, comment) in enumerate(axes, 1):
        hdu.header[f"CTYPE{i}"] = ctype, comment
        hdu.header[f"CUNIT{i}"] = unit
        hdu.header[f"CRVAL{i}"], hdu.header[f"CDELT{i}"], hdu.header[f"CRPIX{i}"] = value, step, 1.0
    return hdu


def read_spectra(path: str | os.PathLike) -> dict:
    """Read the spectra of sources.

    Parameters
    ----------
    path : path-like
        Name of the file.

    Returns
    -------
    fields : dict
        Arguments of `SourceSpectra`.

    Raises
    ------
    InputError
        If the file does not exist or holds something else.
    """
    if not Path(path).exists():
        raise InputError("path", "file not found", str(path))
    try:
        with fits.open(path, memmap=False) as hdus:
            header = hdus["SPECTRA"].header
            values = {field: hdus[n].data.astype(np.float32) << u.K for n, field in _IMAGES.items()}
            table = QTable.read(hdus["SOURCES"])
            meta = json.loads(hdus["META"].data["VALUE"][0])
    except (OSError, KeyError, TypeError, ValueError) as error:
        rule = f"must be a complete file written by SourceSpectra.write ({error})"
        raise InputError("path", rule, str(path)) from error
    channels = np.arange(values["spectra"].shape[-1])
    offset = (header["CRVAL1"] + channels * header["CDELT1"]) * u.km / u.s
    columns = {name: table[name] for name in _COLUMNS}
    columns = {k: v if k == "velocity" else np.asarray(v) for k, v in columns.items()}
    sky = "ra" in table.colnames
    return {
        **values,
        **columns,
        "offset": offset,
        "id": columns["id"].astype(str),
        "skycoord": SkyCoord(table["ra"], table["dec"], frame="icrs") if sky else None,
        "distance": table["distance"] if sky else None,
        "meta": meta,
    }
