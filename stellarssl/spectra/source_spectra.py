"""`SourceSpectra`: mean spectra in rings around sources."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from matplotlib.figure import Figure

from stellarssl.plots import plot_spectra
from stellarssl.spectra.files import read_spectra, write_spectra
from stellarssl.spectra.rings import RING_EDGES, background_ring, ring_radii
from stellarssl.spectra.statistics import spectrum_statistics

__all__ = ["SourceSpectra"]


@dataclass(frozen=True, eq=False)
class SourceSpectra:
    """Mean spectra in eight rings around sources, relative to the velocity of each source.

    Made by `source_spectra` from a cube, or by `spectra_from_arrays` from simulated tiles.

    Attributes
    ----------
    spectra : `~astropy.units.Quantity`
        Float32, shape (n, 8, v): mean brightness temperature in each ring [K]. NaN in rings of
        which less than half is covered, beyond the band, and where there are no data.
    error : `~astropy.units.Quantity`
        Float32, shape (n, 8, v): standard deviation of ``spectra`` from noise [K]; NaN as there.
    offset : `~astropy.units.Quantity`
        Shape (v,): channel centers relative to the source, 0.125 km/s apart.
    covered : ndarray of float32
        Shape (n, 8): fraction of the area of each ring that has data.
    background_ring : ndarray of int
        Shape (n,): index of the ring that is taken as background, the outermost that is at
        least half covered; -1 where its mean radius is below 0.1 pc, so that there is none.
    velocity : `~astropy.units.Quantity`
        Shape (n,): velocity of the source [km/s]; NaN where no line is above three times the
        error, or there are no data. Without a velocity there are no spectra.
    several_components : ndarray of bool
        Shape (n,): whether a second peak more than 1 km/s away is at least half as high.
    at_band_edge : ndarray of bool
        Shape (n,): whether the band ends less than 1 km/s from the source.
    off_map : ndarray of bool
        Shape (n,): whether less than half of the innermost ring is covered; such a source has
        no velocity and no spectra.
    id : ndarray of str
        Shape (n,): names of the sources.
    skycoord : `~astropy.coordinates.SkyCoord` or None
        Shape (n,), ICRS: positions of the sources; None for simulated tiles.
    distance : `~astropy.units.Quantity` or None
        Shape (n,): distances of the sources [pc]; None for simulated tiles.
    meta : dict
        Provenance and the settings that the spectra were made with.
    """

    spectra: u.Quantity
    error: u.Quantity
    offset: u.Quantity
    covered: np.ndarray
    background_ring: np.ndarray
    velocity: u.Quantity
    several_components: np.ndarray
    at_band_edge: np.ndarray
    off_map: np.ndarray
    id: np.ndarray
    skycoord: SkyCoord | None
    distance: u.Quantity | None
    meta: dict

    def __len__(self) -> int:
        return len(self.spectra)

    def __getitem__(self, rows: slice | np.ndarray | int) -> "SourceSpectra":
        """Select sources by slice, boolean mask, index or indices."""
        rows = np.atleast_1d(np.arange(len(self))[rows])
        names = {f.name for f in fields(self)} - {"offset", "meta"}
        values = {name: getattr(self, name) for name in names}
        return replace(self, **{k: v[rows] for k, v in values.items() if v is not None})

    @property
    def radius(self) -> u.Quantity:
        """Mean radius of each ring, shape (8,), pc."""
        return ring_radii()

    @property
    def background(self) -> u.Quantity:
        """Background spectrum of each source, shape (n, v); zero where there is none."""
        return self._of_background(self.spectra)

    @property
    def subtracted(self) -> u.Quantity:
        """Spectra less the background, shape (n, 8, v).

        NaN in the background ring itself. Equal to ``spectra`` where there is no background.
        """
        difference = self.spectra - self.background[:, None]
        difference[self._is_background()] = np.nan
        return difference

    @property
    def subtracted_error(self) -> u.Quantity:
        """Standard deviation of ``subtracted``, shape (n, 8, v); the rings are independent."""
        error = np.hypot(self.error, self._of_background(self.error)[:, None])
        error[self._is_background()] = np.nan
        return error

    @property
    def snr(self) -> np.ndarray:
        """Peak of the innermost ring over its error there, shape (n,).

        Infinite without noise, NaN without spectra.
        """
        center, error = self.spectra[:, 0].value, self.error[:, 0].value
        filled = np.where(np.isfinite(center), center, -np.inf)
        each = np.arange(len(self)), filled.argmax(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return center[each] / error[each]

    def _of_background(self, values: u.Quantity) -> u.Quantity:
        chosen = values[np.arange(len(self)), self.background_ring]
        chosen[self.background_ring < 0] = 0 * u.K
        return chosen

    def _is_background(self) -> np.ndarray:
        return np.arange(self.spectra.shape[1]) == self.background_ring[:, None]

    def within(self, inner: float, outer: float) -> "SourceSpectra":
        """Keep the rings between two radii.

        The background is then the outermost ring kept that is at least half covered, if its mean
        radius is 0.1 pc or more.

        Parameters
        ----------
        inner, outer : float
            Radii in tile pixels of 0.0078125 pc. A ring that lies partly beyond them is not kept.

        Returns
        -------
        spectra : `SourceSpectra`
            The same sources; all other rings are NaN and not covered.
        """
        edges = np.array(RING_EDGES)
        kept = (edges[:-1] >= inner) & (edges[1:] <= outer)
        covered = np.where(kept, self.covered, 0).astype(np.float32)
        return replace(
            self,
            spectra=np.where(kept[:, None], self.spectra, np.nan),
            error=np.where(kept[:, None], self.error, np.nan),
            covered=covered,
            background_ring=background_ring(covered),
        )

    def statistics(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Measure the line profiles; see `spectrum_statistics`.

        Returns
        -------
        names : tuple of str
            Names of the statistics.
        array : ndarray of float32
            Shape (n, number of statistics); NaN where a statistic is not defined.
        """
        plain = self.spectra.value, self.error.value
        subtracted = self.subtracted.value, self.subtracted_error.value
        return spectrum_statistics(self.offset.value, plain, subtracted)

    def plot(self, index: int = 0) -> Figure:
        """Draw the spectra of one source; see `~stellarssl.plots.plot_spectra`.

        Parameters
        ----------
        index : int, optional
            Row of the source; the first by default.

        Returns
        -------
        figure : `~matplotlib.figure.Figure`
            Spectra in each ring, and a radius-velocity diagram.
        """
        return plot_spectra(self, index)

    def write(self, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write a FITS file with images of the spectra and errors and a table of the sources.

        Parameters
        ----------
        path : path-like
            Name of the file, which ends in ``.fits`` or ``.fits.gz``.
        overwrite : bool, optional
            Whether an existing file is replaced.

        Returns
        -------
        path : `~pathlib.Path`
            Path of the file.

        Raises
        ------
        OutputExistsError
            If the file exists and ``overwrite`` is false.
        """
        return write_spectra(self, path, overwrite=overwrite)

    @classmethod
    def read(cls, path: str | os.PathLike) -> "SourceSpectra":
        """Read a file that `write` wrote.

        Parameters
        ----------
        path : path-like
            Name of the file.

        Returns
        -------
        spectra : `SourceSpectra`
            The spectra that were written.

        Raises
        ------
        InputError
            If the file does not exist or holds something else.
        """
        return cls(**read_spectra(path))
