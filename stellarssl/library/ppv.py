"""Position-position-velocity tiles of simulated gas about its stars and about starless peaks."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Self

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable

from stellarssl._utils.brightness import (
    DEX,
    MAX_BRIGHTNESS,
    T0,
    decode_brightness,
    encode_brightness,
)
from stellarssl._utils.output import atomic_path
from stellarssl.exceptions import InputError
from stellarssl.library._shipped import (
    SHIPPED,
    check_file,
    open_fits,
    read_table,
    row_index,
    rows_without,
)
from stellarssl.observe.ppv import TILE_CHANNEL_WIDTH, TILE_N_H_PER_W

__all__ = [
    "PPVTiles",
    "decode_brightness",
    "encode_brightness",
    "has_tiles",
]

_SHA256 = "54d0a01a9c461fdd2f88753b659c441b32a6b5cf2f35ba300100dd31ae73a4a3"
_TEXT = ("sim", "group", "clump", "axis")


@dataclass(frozen=True, eq=False)
class PPVTiles:
    """Simulated position-position-velocity tiles, each with the star in its center or without one.

    Made by `default`, `read` or `from_cubes`. A tile holds all gas along the line of sight. It has
    32 x 32 pixels and 96 channels of 0.125 km/s; the velocity of the star is the edge between
    channels 47 and 48.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        One row per tile: ``sim``, ``output``, ``time``, ``axis`` of the line of sight; ``star``
        (-1 without one), ``mass`` of the sink and its ``age`` (NaN without a star), ``has_star``;
        ``group``, the name of the star or of the starless gas, the same at all times and along
        all axes; ``clump``, the name of everything that shares gas with it; ``pixel_size``;
        ``v_lsr``, the velocity of the tile's center in the simulated box; ``dx`` and ``dy``, the
        position of the star relative to the tile's center in pixels.
    codes : `~numpy.ndarray`
        Array of uint8, shape (n, y, x, v): brightness rounded as by ``encode_brightness``.
    saturated : `~astropy.table.QTable`
        Voxels brighter than the last code: ``row``, ``channel``, ``y``, ``x`` and the exact
        ``brightness``.
    meta : dict
        Description of the simulations: str, float, int or bool.
    """

    table: QTable
    codes: np.ndarray
    saturated: QTable
    meta: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        stars = len(np.unique(self.table["group"][self.table["has_star"]]))
        return f"<PPVTiles: {len(self)} tiles of {stars} stars, {self.sha256[:12]}>"

    @cached_property
    def sha256(self) -> str:
        """Checksum of the brightness and the labels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.codes).data)
        for table in (self.table, self.saturated):
            for name in sorted(table.colnames):
                column = np.asarray(table[name])
                kind = {"U": "S", "f": "<f8"}.get(column.dtype.kind, "<i8")
                digest.update(name.encode() + column.astype(kind).tobytes())
        return digest.hexdigest()

    @property
    def velocity(self) -> u.Quantity:
        """Velocity of each channel's center relative to the star, shape (v,)."""
        n_channels = self.codes.shape[-1]
        return (np.arange(n_channels) - (n_channels - 1) / 2) * TILE_CHANNEL_WIDTH

    @classmethod
    def default(cls) -> "PPVTiles":
        """Return the shipped tiles.

        Returns
        -------
        tiles : PPVTiles
            Tiles of five simulated clouds; see the user guide. The file is read once, and the
            arrays are read-only.

        Raises
        ------
        InputError
            If the shipped file is missing or damaged.
        """
        return _default(cls)

    @classmethod
    def from_cubes(cls, cubes: np.ndarray, table: QTable, *, meta: dict | None = None) -> Self:
        """Make tiles from cubes.

        Parameters
        ----------
        cubes : `~numpy.ndarray`
            Brightness [K], shape (n, v, y, x), where 1e22 hydrogen nuclei per cm^2 shine with
            1 K km/s.
        table : `~astropy.table.QTable`
            One row per cube, with the columns that the class lists.
        meta : dict, optional
            Description of the simulations.

        Returns
        -------
        tiles : PPVTiles
            The brightness rounded to 8 bits, except for saturated voxels.

        Raises
        ------
        InputError
            If the cubes are not four-dimensional, or the table has another length.
        """
        if cubes.ndim != 4 or len(cubes) != len(table):
            rule = f"must have shape ({len(table)}, v, y, x), one cube for each row of the table"
            raise InputError("cubes", rule, cubes.shape)
        row, channel, y, x = np.nonzero(cubes > MAX_BRIGHTNESS)
        saturated = QTable({"row": row, "channel": channel, "y": y, "x": x})
        saturated["brightness"] = cubes[row, channel, y, x].astype(np.float32) * u.K
        codes = np.ascontiguousarray(encode_brightness(cubes).transpose(0, 2, 3, 1))
        return cls(table, codes, saturated, dict(meta or {}))

    @classmethod
    def read(cls, path: str | os.PathLike) -> Self:
        """Read tiles from a file that `write` wrote.

        Parameters
        ----------
        path : path-like
            FITS file.

        Returns
        -------
        tiles : PPVTiles
            The tiles in the file.

        Raises
        ------
        InputError
            If the file is missing, truncated, damaged or holds something else.
        """
        with open_fits(Path(path), "PPV tiles that PPVTiles.write wrote") as hdus:
            return cls(
                table=read_table(hdus["TABLE"], _TEXT),
                codes=_summed(hdus["CODES"].data),
                saturated=read_table(hdus["SATURATED"], ()),
                meta=json.loads(hdus[0].header["META"]),
            )

    def write(self, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write the tiles to a FITS file, compressed without further loss.

        Parameters
        ----------
        path : path-like
            Name of the file.
        overwrite : bool, optional
            Whether an existing file is replaced.

        Returns
        -------
        path : `~pathlib.Path`
            Path of the file.
        """
        primary = fits.PrimaryHDU()
        primary.header.update({"LONGSTRN": "OGIP 1.0", "META": json.dumps(self.meta)})
        primary.header["T0"] = (T0, "[K] T = T0 * (10**(code * DEX / 255) - 1)")
        primary.header["DEX"] = (DEX, "[dex] see T0")
        primary.header["DV"] = (TILE_CHANNEL_WIDTH.value, "[km/s] channel width")
        primary.header["NHPERW"] = (TILE_N_H_PER_W.value, "[cm-2/(K km/s)] N_H per K km/s")
        codes = fits.CompImageHDU(
            _differences(self.codes),
            name="CODES",
            compression_type="GZIP_1",
            tile_shape=(1, *self.codes.shape[1:]),
        )
        codes.header["COMMENT"] = "Differences of codes modulo 256 along y, and of these along x."
        tables = [fits.table_to_hdu(table) for table in (self.table, self.saturated)]
        tables[0].name, tables[1].name = "TABLE", "SATURATED"
        with atomic_path(path, overwrite=overwrite) as temporary:
            fits.HDUList([primary, codes, *tables]).writeto(temporary, checksum=True)
        return Path(path)

    def select(self, rows: np.ndarray | slice) -> Self:
        """Return some of the tiles.

        Parameters
        ----------
        rows : `~numpy.ndarray` or slice
            Boolean mask or indices.

        Returns
        -------
        tiles : PPVTiles
            The selected tiles in the given order.

        Raises
        ------
        InputError
            If no row is selected or ``rows`` does not fit.
        """
        index = row_index(rows, len(self))
        old, new = _matches(np.asarray(self.saturated["row"]), index)
        saturated = self.saturated[old]
        saturated["row"] = new
        return replace(self, table=self.table[index], codes=self.codes[index], saturated=saturated)

    def exclude(self, *, sim: str | Sequence[str]) -> Self:
        """Return the tiles of all simulations but some.

        Parameters
        ----------
        sim : str or sequence of str
            Names of the simulations to leave out.

        Returns
        -------
        tiles : PPVTiles
            The other tiles.

        Raises
        ------
        InputError
            If there is no such simulation, or no other.
        """
        return self.select(rows_without(sim, np.asarray(self.table["sim"])))

    def decode(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return the brightness of some of the tiles.

        Parameters
        ----------
        rows : `~numpy.ndarray` or slice
            Boolean mask or indices.

        Returns
        -------
        cubes : `~numpy.ndarray`
            Float32, shape (n, v, y, x) [K].
        """
        index = row_index(rows, len(self))
        cubes = decode_brightness(self.codes[index]).transpose(0, 3, 1, 2)
        cubes = np.ascontiguousarray(cubes)
        old, new = _matches(np.asarray(self.saturated["row"]), index)
        place = (np.asarray(self.saturated[name])[old] for name in ("channel", "y", "x"))
        cubes[(new, *place)] = self.saturated["brightness"].value[old]
        return cubes

    def batches(self, size: int = 64) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Decode the tiles a few at a time; all tiles of a batch have one pixel size.

        Parameters
        ----------
        size : int, optional
            Largest number of tiles in a batch.

        Yields
        ------
        rows : `~numpy.ndarray`
            Row numbers, ascending within each pixel size.
        cubes : `~numpy.ndarray`
            Float32, shape (n, v, y, x) [K].

        Examples
        --------
        >>> tiles = PPVTiles.default().select(slice(0, 3))
        >>> [cubes.shape for rows, cubes in tiles.batches(2)]
        [(2, 96, 32, 32), (1, 96, 32, 32)]
        """
        pixel_size = self.table["pixel_size"].to_value(u.pc)
        for value in np.unique(pixel_size):
            own = np.flatnonzero(pixel_size == value)
            for start in range(0, len(own), size):
                rows = own[start : start + size]
                yield rows, self.decode(rows)


def has_tiles(path: str | os.PathLike) -> bool:
    """Tell whether a file holds position-position-velocity tiles.

    Parameters
    ----------
    path : path-like
        Any file.

    Returns
    -------
    found : bool
        True if it is a FITS file with the images of `PPVTiles.write`.
    """
    try:
        with Path(path).open("rb") as file, fits.open(file) as hdus:
            return "CODES" in hdus
    except OSError:
        return False


def _differences(codes: np.ndarray) -> np.ndarray:
    """Subtract from each pixel its neighbors, modulo 256, which compresses 13 % better."""
    for axis in (1, 2):
        first = np.zeros_like(codes.take([0], axis=axis))
        codes = np.diff(codes, axis=axis, prepend=first)
    return codes


def _summed(differences: np.ndarray) -> np.ndarray:
    """Undo `_differences`; adding one image line after the other is faster than `numpy.cumsum`."""
    codes = np.array(differences)
    for x in range(1, codes.shape[2]):
        codes[:, :, x] += codes[:, :, x - 1]
    for y in range(1, codes.shape[1]):
        codes[:, y] += codes[:, y - 1]
    return codes


def _matches(values: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List all pairs (i, j) with ``values[i] == index[j]``."""
    return np.nonzero(values[:, None] == index)


@cache
def _default(cls: type[PPVTiles]) -> PPVTiles:
    path = SHIPPED / "ppv_tiles.fits"
    check_file(path, _SHA256)
    tiles = cls.read(path)
    tiles.codes.setflags(write=False)
    return tiles
