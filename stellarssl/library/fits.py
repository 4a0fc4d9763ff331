"""Reading and writing of libraries as FITS files."""

import json
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.utils.exceptions import AstropyWarning

from stellarssl._utils.output import atomic_path
from stellarssl.encoder import Features
from stellarssl.exceptions import InputError
from stellarssl.library.tokens import TokenStatistics
from stellarssl.tiles import TileStatistics

__all__ = ["STEP", "read", "write"]

STEP = 0.002
"""Rounding of maps in dex and in km/s, far below what a telescope resolves."""

_CHANNELS = (("LOG_N_H", "dex(cm-2)"), ("V_LOS", "km/s"), ("SIGMA_V", "km/s"))
_TOKENS = ("mean", "components", "scale")


def write(fields: dict, path: Path, *, overwrite: bool) -> None:
    """Write a library to a FITS file.

    Parameters
    ----------
    fields : dict
        The fields of a `ReferenceLibrary` by name, as `read` returns them.
    path : `~pathlib.Path`
        The file to write.
    overwrite : bool
        Whether to replace an existing file.
    """
    hdus = [fits.PrimaryHDU()]
    hdus[0].header["LONGSTRN"] = "OGIP 1.0"
    hdus[0].header["META"] = json.dumps(fields["meta"])
    for channel, (name, unit) in enumerate(_CHANNELS):
        hdus.append(_compressed(fields["maps"][:, channel], name, unit))
    hdus.append(fits.table_to_hdu(fields["table"]))
    hdus[-1].name = "TABLE"
    statistics = fields["statistics"]
    hdus.append(_image(statistics.array, "SCALARS", NAMES=json.dumps(statistics.names)))
    if (features := fields.get("features")) is not None:
        blocks = json.dumps({name: [s.start, s.stop] for name, s in features.blocks.items()})
        cards = {"ENCODER": features.encoder_sha256, "DTYPE": features.dtype, "BLOCKS": blocks}
        hdus.append(_image(features.array, "FEATURES", **cards))
    if (tokens := fields.get("tokens")) is not None:
        for name in _TOKENS:
            array = getattr(tokens, name)
            hdus.append(_image(array, f"TOKEN_{name}", ENCODER=tokens.encoder_sha256))
    with atomic_path(path, overwrite=overwrite) as temporary:
        fits.HDUList(hdus).writeto(temporary, checksum=True)


def read(path: Path) -> dict:
    """Read a library from a FITS file.

    Parameters
    ----------
    path : `~pathlib.Path`
        A file written by `write`.

    Returns
    -------
    fields : dict
        The fields of a `ReferenceLibrary` by name.

    Raises
    ------
    InputError
        If the file is missing or truncated, or does not hold a library.
    """
    rule = "must name a library that ReferenceLibrary.write wrote"
    if not path.is_file():
        raise InputError("library", f"{rule}; there is no such file", str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)  # astropy only warns of a truncated file
            with fits.open(path, memmap=False) as hdus:
                return _fields(hdus)
    except (OSError, KeyError, ValueError, TypeError, IndexError, AstropyWarning) as error:
        raise InputError("library", f"{rule} ({error})", str(path)) from error


def _fields(hdus: fits.HDUList) -> dict:
    names = {hdu.name for hdu in hdus}
    channels = [hdus[name].data.astype(np.float32) for name, _ in _CHANNELS]
    statistics = hdus["SCALARS"]
    fields = {
        "table": QTable.read(hdus["TABLE"], mask_invalid=False),
        "maps": np.stack(channels, axis=1),
        "statistics": TileStatistics(
            tuple(json.loads(statistics.header["NAMES"])), _native(statistics.data)
        ),
        "meta": json.loads(hdus[0].header["META"]),
    }
    fields["table"].meta.clear()
    for name in ("sim", "group", "clump", "axis"):
        fields["table"][name] = np.asarray(fields["table"][name]).astype(str)
    if "FEATURES" in names:
        header = hdus["FEATURES"].header
        blocks = {name: slice(*ends) for name, ends in json.loads(header["BLOCKS"]).items()}
        array = _native(hdus["FEATURES"].data)
        fields["features"] = Features(array, blocks, header["ENCODER"], header["DTYPE"])
    if "TOKEN_MEAN" in names:
        arrays = {name: _native(hdus[f"TOKEN_{name}"].data) for name in _TOKENS}
        sha256 = hdus["TOKEN_MEAN"].header["ENCODER"]
        fields["tokens"] = TokenStatistics(**arrays, encoder_sha256=sha256)
    return fields


def _native(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


def _image(array: np.ndarray, name: str, **cards: str) -> fits.ImageHDU:
    hdu = fits.ImageHDU(array, name=name)
    hdu.header.update({"LONGSTRN": "OGIP 1.0"} | cards)
    return hdu


def _compressed(array: np.ndarray, name: str, unit: str) -> fits.CompImageHDU:
    """Round to whole steps and compress without further loss."""
    steps = np.round(array.astype(np.float64) / STEP).astype(np.int32)
    hdu = fits.CompImageHDU(
        steps, name=name, compression_type="RICE_1", tile_shape=(1, *array.shape[1:])
    )
    hdu.header["BSCALE"] = STEP
    hdu.header["BUNIT"] = unit
    return hdu
