"""`MomentMaps` as a FITS file that any tool opens."""

import json
import os
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from radio_beam import Beam

from stellarssl._utils.output import atomic_path
from stellarssl.exceptions import InputError
from stellarssl.tracers import Tracer

__all__ = ["read_maps", "write_maps"]

_IMAGES = {
    "MOMENT0": "moment0",
    "V_LOS": "v_los",
    "SIGMA_V": "sigma_v",
    "PEAK": "peak",
    "NOISE": "noise",
    "M0_LIMIT": "moment0_limit",
}
_ERRORS = {
    "ERR_MOMENT0": "moment0",
    "ERR_V_LOS": "v_los",
    "ERR_SIGMA_V": "sigma_v",
    "ERR_N_H": "n_h",
}
_FLAGS = {"DETECTED": "detected", "COVERED": "covered"}
_QUANTITIES = ("distance", "channel_width", "sigma_instrument", "max_recoverable_scale")
_TABLE = "STELLARSSL_META"


def write_maps(maps: Any, path: str | os.PathLike, *, overwrite: bool) -> Path:
    """Write all fields of moment maps.

    Parameters
    ----------
    maps : `MomentMaps`
        What is written. With a tracer the column is, too, as an image ``N_H``.
    path : path-like
        Where to.
    overwrite : bool
        Whether a file that is there may be replaced.

    Returns
    -------
    path : `~pathlib.Path`
        The file that was written.
    """
    images = {} if maps.tracer is None else {"N_H": maps.n_h}
    images |= {name: getattr(maps, field) for name, field in _IMAGES.items()}
    images |= {name: maps.errors.get(field) for name, field in _ERRORS.items()}
    header = _common_header(maps)
    hdus = [fits.PrimaryHDU()]
    hdus += [_image(name, value, header) for name, value in images.items() if value is not None]
    hdus += [_image(name, getattr(maps, field), header) for name, field in _FLAGS.items()]
    hdus.append(_table(maps))
    needed = 0 if str(path).endswith(".gz") else sum(hdu.filebytes() for hdu in hdus)
    with atomic_path(path, overwrite=overwrite, needed=needed) as temporary:
        fits.HDUList(hdus).writeto(temporary)
    return Path(path)


def _common_header(maps: Any) -> fits.Header:
    header = maps.wcs.to_header(relax=True)
    if maps.beam is not None:
        header["BMAJ"] = (maps.beam.major.to_value(u.deg), "[deg] major axis of the beam, FWHM")
        header["BMIN"] = (maps.beam.minor.to_value(u.deg), "[deg] minor axis of the beam, FWHM")
        header["BPA"] = (maps.beam.pa.to_value(u.deg), "[deg] its position angle")
    return header


def _image(name: str, value: u.Quantity | np.ndarray, header: fits.Header) -> fits.ImageHDU:
    if isinstance(value, u.Quantity):
        hdu = fits.ImageHDU(value.value.astype(np.float32), header, name=name)
        hdu.header["BUNIT"] = value.unit.to_string("fits")
    else:
        hdu = fits.ImageHDU(value.astype(np.uint8), header, name=name)
    return hdu


def _table(maps: Any) -> fits.BinTableHDU:
    """Return all that is no image as JSON, an entry a row."""
    entries = {f"meta.{name}": value for name, value in maps.meta.items()}
    entries |= {name: _text(getattr(maps, name)) for name in _QUANTITIES}
    if maps.tracer is not None:
        fields = maps.tracer.__dataclass_fields__
        entries |= {f"tracer.{name}": _text(getattr(maps.tracer, name)) for name in fields}
    names, values = zip(*((k, json.dumps(v)) for k, v in entries.items()), strict=True)
    columns = [
        fits.Column(name, f"{max(map(len, texts))}A", array=np.array(texts))
        for name, texts in (("NAME", names), ("VALUE", values))
    ]
    return fits.BinTableHDU.from_columns(columns, name=_TABLE)


def _text(value: object) -> object:
    """Return quantities as a pair of number and unit, everything else as it is."""
    if isinstance(value, u.Quantity):
        return {"value": np.asarray(value.value, float).tolist(), "unit": value.unit.to_string()}
    return value


def _value(entry: object) -> object:
    if isinstance(entry, dict):
        return u.Quantity(entry["value"], entry["unit"])
    return entry


def read_maps(path: str | os.PathLike) -> dict:
    """Read the fields of moment maps.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    fields : dict
        What `MomentMaps` takes.

    Raises
    ------
    InputError
        If it is not there, or no such file.
    """
    if not Path(path).exists():
        raise InputError("path", "must be a file that is there", str(path))
    rule = "must be a whole file that MomentMaps.write wrote"
    try:
        with fits.open(path, memmap=False) as hdus:
            table = hdus[_TABLE].data
            entries = {row["NAME"]: _value(json.loads(row["VALUE"])) for row in table}
            header = hdus["MOMENT0"].header
            fields = {
                field: _quantity(hdus[name]) for name, field in _IMAGES.items() if name in hdus
            }
            fields["errors"] = {
                field: _quantity(hdus[name]) for name, field in _ERRORS.items() if name in hdus
            }
            fields |= {field: hdus[name].data.astype(bool) for name, field in _FLAGS.items()}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError("path", f"{rule} ({error})", str(path)) from error
    fields |= {name: entries[name] for name in _QUANTITIES}
    fields["wcs"] = WCS(header)
    fields["beam"] = Beam.from_fits_header(header) if "BMAJ" in header else None
    fields["meta"] = _under("meta", entries)
    tracer = _under("tracer", entries)
    fields["tracer"] = Tracer(**tracer) if tracer else None
    return fields


def _quantity(hdu: fits.ImageHDU) -> u.Quantity:
    return hdu.data.astype(np.float32) * u.Unit(hdu.header["BUNIT"])


def _under(prefix: str, entries: dict) -> dict:
    start = len(prefix) + 1
    return {k[start:]: v for k, v in entries.items() if k.startswith(f"{prefix}.")}
