"""A library as a FITS file: compressed maps, labels, statistics, features, token statistics."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.utils.exceptions import AstropyWarning

from stellarssl._utils.output import atomic_path
from stellarssl.encoder import Features
from stellarssl.exceptions import InputError
from stellarssl.library._tokens import TokenStatistics
from stellarssl.tiles import TileStatistics

if TYPE_CHECKING:
    from stellarssl.library._library import ReferenceLibrary

__all__ = ["STEP", "read", "write"]

STEP = 0.002
"""What maps are rounded to, in dex and in km/s: far below what a telescope can tell."""

_CHANNELS = (("LOG_N_H", "dex(cm-2)"), ("V_LOS", "km/s"), ("SIGMA_V", "km/s"))
_TOKENS = ("mean", "components", "scale")


def write(library: "ReferenceLibrary", path: Path, *, overwrite: bool) -> None:
    """Write a library.

    Parameters
    ----------
    library : ReferenceLibrary
        As simulated.
    path : `~pathlib.Path`
        Where to.
    overwrite : bool
        Whether a file that is there may be replaced.
    """
    hdus = [fits.PrimaryHDU()]
    hdus[0].header["LONGSTRN"] = "OGIP 1.0"
    hdus[0].header["META"] = json.dumps(library.meta)
    for channel, (name, unit) in enumerate(_CHANNELS):
        hdus.append(_compressed(library.maps[:, channel], name, unit))
    hdus.append(fits.table_to_hdu(library.table))
    hdus[-1].name = "TABLE"
    hdus.append(
        _image(library.statistics.array, "SCALARS", NAMES=json.dumps(library.statistics.names))
    )
    if (features := library.features) is not None:
        blocks = json.dumps({name: [s.start, s.stop] for name, s in features.blocks.items()})
        cards = {"ENCODER": features.encoder_sha256, "DTYPE": features.dtype, "BLOCKS": blocks}
        hdus.append(_image(features.array, "FEATURES", **cards))
    if (tokens := library.tokens) is not None:
        for name in _TOKENS:
            array = getattr(tokens, name)
            hdus.append(_image(array, f"TOKEN_{name}", ENCODER=tokens.encoder_sha256))
    with atomic_path(path, overwrite=overwrite) as temporary:
        fits.HDUList(hdus).writeto(temporary, checksum=True)


def read(path: Path) -> dict:
    """Read what `write` wrote.

    Parameters
    ----------
    path : `~pathlib.Path`
        A FITS file.

    Returns
    -------
    fields : dict
        What a ReferenceLibrary is made of.

    Raises
    ------
    InputError
        If the file is missing, truncated or something else.
    """
    rule = "must name a library that ReferenceLibrary.write wrote"
    if not path.is_file():
        raise InputError("library", f"{rule}; there is no such file", str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)  # a truncated file is but warned of
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
