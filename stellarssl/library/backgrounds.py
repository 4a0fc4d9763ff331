"""Gas on whole lines of sight through simulated clouds, to be added to tiles of small depth."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from astropy.io import fits
from astropy.table import QTable

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

__all__ = ["Backgrounds"]

_SHA256 = "32f19a0765b1f07af956a5e98646e0efbb2985936c8c92e6b7ccc260794ac7fc"
_STEP = {"LOG_N_H": 0.01, "V_LOS": 0.01, "SIGMA_V": 0.005}
_UNIT = {"LOG_N_H": "dex(cm-2)", "V_LOS": "km/s", "SIGMA_V": "km/s"}
_TEXT = ("sim", "axis")


@dataclass(frozen=True, eq=False)
class Backgrounds:
    """Maps of all gas on lines of sight through simulated clouds, at random positions.

    Made by `default` or `read`.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        One row per map: ``sim``, ``output``, ``time``, ``axis`` of the line of sight, and ``x`` and
        ``y``, the first pixel in the map of the whole box.
    maps : `~numpy.ndarray`
        Float32, shape (n, 3, 64, 64), pixels of 0.0078 pc: log10 N_H [cm^-2], v_los relative to
        the simulated box and sigma_v without thermal width [km/s].
    meta : dict
        Description of the simulations: str, float, int or bool.
    """

    table: QTable
    maps: np.ndarray
    meta: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.maps)

    def __repr__(self) -> str:
        sims = ", ".join(np.unique(self.table["sim"]))
        return f"<Backgrounds: {len(self)} maps of {sims}>"

    @classmethod
    def default(cls) -> "Backgrounds":
        """Return the shipped backgrounds.

        Returns
        -------
        backgrounds : Backgrounds
            Lines of sight through four simulated clouds; see the user guide. The file is read
            once, and the maps are read-only.

        Raises
        ------
        InputError
            If the shipped file is missing or damaged.
        """
        return _default(cls)

    @classmethod
    def read(cls, path: str | os.PathLike) -> Self:
        """Read backgrounds from a file that `write` wrote.

        Parameters
        ----------
        path : path-like
            FITS file.

        Returns
        -------
        backgrounds : Backgrounds
            The maps in the file.

        Raises
        ------
        InputError
            If the file is missing, truncated, damaged or holds something else.
        """
        with open_fits(Path(path), "backgrounds that Backgrounds.write wrote") as hdus:
            channels = [hdus[name].data.astype(np.float32) for name in _STEP]
            return cls(
                table=read_table(hdus["TABLE"], _TEXT),
                maps=np.stack(channels, axis=1),
                meta=json.loads(hdus[0].header["META"]),
            )

    def write(self, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write the backgrounds to a FITS file, rounded to 0.01 dex, 0.01 and 0.005 km/s.

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
        hdus = [fits.PrimaryHDU()]
        hdus[0].header.update({"LONGSTRN": "OGIP 1.0", "META": json.dumps(self.meta)})
        for channel, (name, step) in enumerate(_STEP.items()):
            steps = np.round(self.maps[:, channel].astype(np.float64) / step).astype(np.int16)
            hdu = fits.CompImageHDU(
                steps, name=name, compression_type="RICE_1", tile_shape=(1, *steps.shape[1:])
            )
            hdu.header.update({"BSCALE": step, "BUNIT": _UNIT[name]})
            hdus.append(hdu)
        hdus.append(fits.table_to_hdu(self.table))
        hdus[-1].name = "TABLE"
        with atomic_path(path, overwrite=overwrite) as temporary:
            fits.HDUList(hdus).writeto(temporary, checksum=True)
        return Path(path)

    def select(self, rows: np.ndarray | slice) -> Self:
        """Return some of the maps.

        Parameters
        ----------
        rows : `~numpy.ndarray` or slice
            Boolean mask or indices.

        Returns
        -------
        backgrounds : Backgrounds
            The selected maps.

        Raises
        ------
        InputError
            If no row is selected or ``rows`` does not fit.
        """
        index = row_index(rows, len(self))
        return replace(self, table=self.table[index], maps=self.maps[index])

    def exclude(self, *, sim: str | Sequence[str]) -> Self:
        """Return the maps of all simulations but some.

        Parameters
        ----------
        sim : str or sequence of str
            Names of the simulations to leave out.

        Returns
        -------
        backgrounds : Backgrounds
            The other maps.

        Raises
        ------
        InputError
            If there is no such simulation, or no other.
        """
        return self.select(rows_without(sim, np.asarray(self.table["sim"])))

    def draw(self, rows: Sequence[int], *, seed: int) -> np.ndarray:
        """Draw a random background for each of some library rows.

        Each background is turned by a random multiple of 90 degrees and mirrored at random.

        Parameters
        ----------
        rows : sequence of int
            Numbers of the library rows, not negative. A row with the same number and seed gets the
            same background, whatever other rows there are.
        seed : int
            Random seed.

        Returns
        -------
        maps : `~numpy.ndarray`
            Float32, shape (len(rows), 3, 64, 64), as in ``maps``.

        Raises
        ------
        InputError
            If a row or the seed is negative.

        Examples
        --------
        >>> Backgrounds.default().draw([0, 1], seed=0).shape
        (2, 3, 64, 64)
        """
        rows = np.asarray(rows, dtype=np.int64)
        if seed < 0 or (rows < 0).any():
            raise InputError("rows", "rows and seed must not be negative", (rows.min(), seed))
        drawn = np.empty((len(rows), *self.maps.shape[1:]), dtype=np.float32)
        for out, row in zip(drawn, rows, strict=True):
            rng = np.random.default_rng([seed, row])
            image = np.rot90(self.maps[rng.integers(len(self))], rng.integers(4), axes=(1, 2))
            out[:] = image[:, :, ::-1] if rng.integers(2) else image
        return drawn


@cache
def _default(cls: type[Backgrounds]) -> Backgrounds:
    path = SHIPPED / "backgrounds.fits"
    check_file(path, _SHA256)
    backgrounds = cls.read(path)
    backgrounds.maps.setflags(write=False)
    return backgrounds
