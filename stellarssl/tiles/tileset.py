"""Sets of tiles, with their gas masses and dynamical masses."""

from dataclasses import dataclass, fields, replace

import astropy.units as u
import numpy as np
from astropy import constants
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from stellarssl.tiles.rings import MASS_RADIUS, RING_EDGES, mass_dynamical, ring_statistics
from stellarssl.tiles.statistics import TileStatistics, tile_statistics

__all__ = ["TileSet", "gas_mass", "tile_wcs"]

_MEAN_MASS_PER_H = 1.4 * constants.m_p  # helium is a tenth of the hydrogen by number


def tile_wcs(center: SkyCoord, pixel: u.Quantity, n_pixels: int) -> WCS:
    """Construct the coordinates of a north-up grid about a position.

    Parameters
    ----------
    center : `~astropy.coordinates.SkyCoord`
        Center of the grid, a scalar. If ``n_pixels`` is even it is the corner shared by the four
        central pixels.
    pixel : `~astropy.units.Quantity`
        Side of a pixel, an angle.
    n_pixels : int
        Number of pixels along a side.

    Returns
    -------
    wcs : `~astropy.wcs.WCS`
        Gnomonic (TAN), ICRS, east to the left.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [center.icrs.ra.deg, center.icrs.dec.deg]
    wcs.wcs.crpix = [(n_pixels + 1) / 2] * 2
    wcs.wcs.cdelt = np.array([-1, 1]) * pixel.to_value(u.deg)
    wcs.array_shape = (n_pixels, n_pixels)
    return wcs


def gas_mass(maps: np.ndarray, pixel: u.Quantity, detected: np.ndarray | None = None) -> u.Quantity:
    """Compute the gas mass of tiles: 1.4 m_p times the column of hydrogen nuclei times the area.

    Parameters
    ----------
    maps : `~numpy.ndarray`
        Shape (n, 3, n_pixels, n_pixels); the first channel is log10 N_H [cm^-2].
    pixel : `~astropy.units.Quantity`
        Side of a pixel, a length; a scalar or one value per tile.
    detected : `~numpy.ndarray`, optional
        Boolean, shape (n, n_pixels, n_pixels): pixels that count. By default all do.

    Returns
    -------
    mass : `~astropy.units.Quantity`
        Shape (n,), in solar masses.

    Examples
    --------
    A tile of 0.5 pc with 1e22 cm^-2 everywhere:

    >>> import numpy as np, astropy.units as u
    >>> maps = np.zeros((1, 3, 64, 64)); maps[:, 0] = 22
    >>> gas_mass(maps, 0.5 / 64 * u.pc).round(1)
    <Quantity [28.] solMass>
    """
    column = 10.0 ** np.asarray(maps[:, 0], dtype=np.float64)
    if detected is not None:
        column = np.where(detected, column, 0.0)
    per_area = column.sum(axis=(1, 2)) * u.cm**-2
    return (per_area * pixel**2 * _MEAN_MASS_PER_H).to(u.solMass)


@dataclass(frozen=True)
class TileSet:
    """Square, north-up maps of one physical width about many positions.

    Attributes
    ----------
    maps : `~numpy.ndarray`
        Float32, shape (n, 3, n_pixels, n_pixels), finite: log10 N_H [cm^-2], v_los relative to
        the tile's, sigma_v [km/s]. Pixels where nothing is detected hold log10 of the local
        3-sigma column, zero, and the instrument's dispersion.
    detected, covered : `~numpy.ndarray`
        Boolean, shape (n, n_pixels, n_pixels): pixels with detected gas, and pixels that the map
        covers.
    id : `~numpy.ndarray`
        Names of the tiles, shape (n,), str.
    skycoord : `~astropy.coordinates.SkyCoord`
        Centers of the tiles, shape (n,), ICRS: the corners shared by the four central pixels.
    distance, position_error : `~astropy.units.Quantity`
        Distances and position errors, shape (n,), pc; the error is zero if it is not known.
    v_los : `~astropy.units.Quantity`
        Column-weighted mean velocities that were subtracted, shape (n,), km/s; NaN where nothing is
        detected.
    coverage, detected_fraction : `~numpy.ndarray`
        Shape (n,): fraction of the area that was observed, and of the pixels that are detected.
    beams_per_tile : `~numpy.ndarray`
        Shape (n,): width of the tile over that of the beam (geometric mean FWHM); NaN without a
        beam.
    snr : `~numpy.ndarray`
        Shape (n,): highest ratio of the column to its error; zero if nothing is detected, inf
        without noise.
    width : `~astropy.units.Quantity`
        Side of a tile, pc.
    meta : dict
        Metadata of the maps that the tiles were cut from.
    """

    maps: np.ndarray
    detected: np.ndarray
    covered: np.ndarray
    id: np.ndarray
    skycoord: SkyCoord
    distance: u.Quantity
    position_error: u.Quantity
    v_los: u.Quantity
    coverage: np.ndarray
    detected_fraction: np.ndarray
    beams_per_tile: np.ndarray
    snr: np.ndarray
    width: u.Quantity
    meta: dict

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, rows: slice | np.ndarray | int) -> "TileSet":
        """Return a subset of the tiles; ``rows`` is a slice, boolean mask, index or indices."""
        rows = np.atleast_1d(np.arange(len(self))[rows])
        shared = ("width", "meta")
        return replace(
            self,
            **{f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in shared},
        )

    @property
    def pixel(self) -> u.Quantity:
        """Side of a tile pixel, pc."""
        return self.width / self.maps.shape[-1]

    @property
    def gas_mass(self) -> u.Quantity:
        """Mass of the detected gas in each tile, solar masses; see `gas_mass`."""
        return gas_mass(self.maps, self.pixel, self.detected)

    @property
    def mass_dynamical_radius(self) -> u.Quantity:
        """Radius of the aperture of `mass_dynamical`, shape (n,), pc.

        It is 2 pixels of a tile of 0.5 pc (0.0156 pc), or half the beam where that is more.
        """
        half_beam = self.width / np.where(self.beams_per_tile > 0, self.beams_per_tile, np.inf) / 2
        return np.maximum(half_beam, MASS_RADIUS)

    @property
    def mass_dynamical(self) -> u.Quantity:
        """Dynamical mass 5 sigma^2 R / G at each center, solar masses; see `mass_dynamical`.

        R is `mass_dynamical_radius`. NaN where no pixel within it is detected.
        """
        return mass_dynamical(
            self.maps, self.pixel, radius=self.mass_dynamical_radius, detected=self.detected
        )

    def statistics(self) -> TileStatistics:
        """Measure 22 summary statistics of each tile; see `tile_statistics`.

        Returns
        -------
        statistics : TileStatistics
            One row per tile.
        """
        return TileStatistics(*tile_statistics(self.maps, self.detected))

    def ring_statistics(
        self, radii: tuple[float, float] = (RING_EDGES[0], RING_EDGES[-1])
    ) -> TileStatistics:
        """Measure the gas in rings around each center; see `~stellarssl.tiles.ring_statistics`.

        Parameters
        ----------
        radii : tuple of float, optional
            Inner and outer radius of the rings in use, in tile pixels.

        Returns
        -------
        statistics : TileStatistics
            One row per tile; NaN for rings that the map does not cover.
        """
        return ring_statistics(self.maps, self.detected, self.covered, radii=radii)

    def wcs(self, index: int) -> WCS:
        """Construct the celestial coordinates of the pixels of a tile.

        Parameters
        ----------
        index : int
            Index of the tile.

        Returns
        -------
        wcs : `~astropy.wcs.WCS`
            Coordinates of the pixels: north up, TAN, ICRS.
        """
        angle = (self.pixel / self.distance[index]).to_value(u.dimensionless_unscaled) * u.rad
        return tile_wcs(self.skycoord[index], angle, self.maps.shape[-1])
