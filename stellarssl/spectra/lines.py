"""From sums over rings to the spectra of sources."""

from collections.abc import Sequence

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from stellarssl.exceptions import InputError
from stellarssl.spectra.rings import COVERED, RING_EDGES, background_ring, ring_areas
from stellarssl.spectra.source_spectra import SourceSpectra
from stellarssl.spectra.sums import RingSums
from stellarssl.spectra.velocity import channel_offsets, resample, source_velocity

__all__ = ["SourceLines"]

_FAINTEST = 1e-3
"""Peak above the background, relative to that of the whole line, below which it is ignored."""


class SourceLines:
    """Spectra of sources, filled in one by one.

    Parameters
    ----------
    n : int
        Number of sources.
    velocity : ndarray of float64
        Channel centers of the cube, shape (v,) [km/s].
    half_width : float
        Half the width of the resampled spectra [km/s].
    """

    def __init__(self, n: int, velocity: np.ndarray, half_width: float) -> None:
        self.velocity = velocity
        self.offset = channel_offsets(half_width)
        n_rings = len(RING_EDGES) - 1
        self.spectra = np.full((n, n_rings, len(self.offset)), np.nan, np.float32)
        self.error = self.spectra.copy()
        self.covered = np.zeros((n, n_rings), np.float32)
        self.background_ring = np.full(n, -1)
        self.center = np.full(n, np.nan)
        self.several_components = np.zeros(n, bool)
        self.at_band_edge = np.zeros(n, bool)

    def add(self, i: int, sums: RingSums, beam: float, noise: np.ndarray | float | None) -> None:
        """Turn the sums of one source into its spectra.

        Parameters
        ----------
        i : int
            Number of the source.
        sums : `RingSums`
            Sums over its rings.
        beam : float
            Solid angle of the beam at the distance of the source [squared tile pixels].
        noise : ndarray, float or None
            Standard deviation of a voxel, a map of the box or a number [K]; None to measure it.
        """
        weights = sums.region.weights() * sums.seen
        area = weights.sum(axis=(1, 2))
        self.covered[i] = area / ring_areas()
        used = self.covered[i] >= COVERED
        if not used[0]:
            return
        self.background_ring[i] = background_ring(self.covered[i])
        # A channel in which half of a ring's pixels are missing is not comparable with the others.
        known = used[:, None] & (sums.area >= COVERED * area[:, None]) & (sums.area > 0)
        mean = np.where(known, sums.total / np.where(known, sums.area, 1.0), np.nan)
        error = _ring_errors(weights, sums.noise() if noise is None else noise, beam, sums)
        self._set_velocity(i, mean, error)
        if np.isfinite(self.center[i]):
            self.spectra[i], self.error[i] = resample(
                self.velocity, self.center[i], mean, error, len(self.offset)
            )

    def _set_velocity(self, i: int, mean: np.ndarray, error: np.ndarray) -> None:
        """Find the velocity above the background, or else that of the line as a whole."""
        candidates = [(mean[0], error[0], 0.0)]
        if (ring := self.background_ring[i]) >= 0:
            # The difference of equal spectra is not zero, but rounding errors.
            least = _FAINTEST * np.nanmax(mean[0], initial=0.0)
            difference = mean[0] - mean[ring], np.hypot(error[0], error[ring]), least
            candidates.insert(0, difference)
        for spectrum, spectrum_error, least in candidates:
            found = source_velocity(self.velocity, spectrum, spectrum_error, least)
            if np.isfinite(found[0]):
                self.center[i], self.several_components[i], self.at_band_edge[i] = found
                return

    def result(
        self,
        *,
        ids: Sequence[str] | None,
        skycoord: SkyCoord | None,
        distance: u.Quantity | None,
        meta: dict,
    ) -> SourceSpectra:
        """Name the sources and give the numbers their units.

        Parameters
        ----------
        ids : sequence of str or None
            Names of the sources; None to number them from 1.
        skycoord : `~astropy.coordinates.SkyCoord` or None
            Positions of the sources.
        distance : `~astropy.units.Quantity` or None
            Distances of the sources.
        meta : dict
            Provenance.

        Returns
        -------
        spectra : `SourceSpectra`
            The result.
        """
        n = len(self.spectra)
        if ids is not None and (len(ids) != n or len(set(ids)) != n):
            raise InputError("ids", f"must be {n} different names, one per source", list(ids))
        return SourceSpectra(
            spectra=self.spectra << u.K,
            error=self.error << u.K,
            offset=self.offset << u.km / u.s,
            covered=self.covered,
            background_ring=self.background_ring,
            velocity=self.center << u.km / u.s,
            several_components=self.several_components,
            at_band_edge=self.at_band_edge,
            off_map=self.covered[:, 0] < COVERED,
            id=np.array(np.arange(1, n + 1) if ids is None else ids, dtype=str),
            skycoord=skycoord,
            distance=distance,
            meta=meta,
        )


def _ring_errors(
    weights: np.ndarray, noise: np.ndarray | float, beam: float, sums: RingSums
) -> np.ndarray:
    """Compute the standard deviation of the mean brightness in each ring, shape (8,).

    The pixels of one beam have the same noise, those of different beams independent noise, so
    that the variance of the mean is that of a pixel over the number of beams in the ring (over
    the number of pixels without a beam). It is never above that of a single pixel.
    """
    variance = np.broadcast_to(np.square(noise), weights.shape[1:])
    total = weights.sum(axis=(1, 2))
    total = np.where(total > 0, total, np.nan)
    pixel = np.prod(sums.region.pixel)
    single = (weights * variance).sum(axis=(1, 2))
    pixels = (weights**2 * variance).sum(axis=(1, 2))
    beams = pixels + max(beam - pixel, 0.0) * single
    return np.sqrt(np.minimum(beams / total, single) / total)
