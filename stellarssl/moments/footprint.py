"""The pixels that sources need, so that nothing else is read."""

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from stellarssl._utils.compiled import compiled
from stellarssl._utils.geometry import TILE_WIDTH, beam_width
from stellarssl._utils.quantities import as_distance, as_quantity
from stellarssl.cubes import Cube, CubeLike, read_cube
from stellarssl.exceptions import InputError

__all__ = ["beam_pixels", "source_footprint"]

_EDGE = 2
"""Pixels that are added on each side, for interpolation."""


def source_footprint(
    cube: CubeLike,
    positions: SkyCoord,
    *,
    distance: u.Quantity | str | None = None,
    width: u.Quantity | str = TILE_WIDTH,
) -> np.ndarray:
    """Mark the pixels that the tiles of some sources need, for ``moment_maps(footprint=)``.

    Parameters
    ----------
    cube : path-like, HDU, SpectralCube or `~stellarssl.Cube`
        As `~stellarssl.read_cube` takes it.
    positions : `~astropy.coordinates.SkyCoord`
        Of the sources, in any frame; a million take about a second.
    distance : `~astropy.units.Quantity` or str, optional
        One, or one per position; by default that of the cube.
    width : `~astropy.units.Quantity` or str, optional
        The tiles' side, a length, as `~stellarssl.make_tiles` takes it.

    Returns
    -------
    footprint : ndarray of bool
        (y, x): true in a north-up square of that side about each position, and a beam and two
        pixels around it. Sources that are off the map add nothing.

    Raises
    ------
    MissingInputError
        If there is no distance.
    InputError
        If an argument breaks a rule.

    Examples
    --------
    Pixels of 36 arcsec and a tile of 0.1 pc at 140 pc, 4.1 pixels wide:

    >>> import numpy as np
    >>> from astropy.coordinates import SkyCoord
    >>> from astropy.io import fits
    >>> header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "VRAD",
    ...     "CUNIT3": "m/s", "CDELT1": -0.01, "CDELT2": 0.01, "CDELT3": 100.0, "CRPIX3": 1.0,
    ...     "CRPIX1": 16.0, "CRPIX2": 16.0, "BUNIT": "K"})
    >>> cube = fits.PrimaryHDU(np.ones((4, 32, 32), "f4"), header)
    >>> star = SkyCoord(0, 0, unit="deg")
    >>> footprint = source_footprint(cube, star, distance="140 pc", width="0.1 pc")
    >>> footprint.sum(axis=0).max()
    np.int64(11)
    """
    cube = read_cube(cube)
    if not isinstance(positions, SkyCoord):
        raise InputError("positions", "must be a SkyCoord", type(positions).__name__)
    positions = positions.reshape(-1)
    distances = as_distance(distance, cube.distance)
    if distances.size not in (1, len(positions)):
        raise InputError("distance", "must be one, or one per position", distances.shape)
    half = as_quantity("width", width, u.pc) / 2 / distances.reshape(-1)
    half = np.broadcast_to(half.to_value(u.dimensionless_unscaled), len(positions))
    around = beam_pixels(cube) + _EDGE
    return _boxes(*_extents(cube.wcs, positions.icrs, half, around), cube.shape[1:])


def beam_pixels(cube: Cube) -> float:
    """Return the width of the beam in pixels; 1 if it is not known, or smaller.

    Parameters
    ----------
    cube : `~stellarssl.cubes.Cube`
        The cube.

    Returns
    -------
    width : float
        Geometric mean of the axes of the beam [pixels], at least 1.
    """
    if cube.beam is None:
        return 1.0
    width = beam_width(cube.beam).to_value(u.deg)
    area = abs(np.linalg.det(cube.wcs.pixel_scale_matrix))
    return max(float(width / np.sqrt(area)), 1.0)


def _extents(
    wcs: WCS, icrs: SkyCoord, half: np.ndarray, around: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last pixel (x, y) of squares that reach ``half`` [rad] from icrs."""
    lon, lat = icrs.ra.rad, icrs.dec.rad
    north = np.where(lat > 0, -half, half)  # towards the equator, away from the pole
    east = half / np.maximum(np.cos(lat), 1e-6)
    places = SkyCoord([lon, lon, lon + east], [lat, lat + north, lat], unit="rad", frame="icrs")
    with np.errstate(invalid="ignore"):
        center, up, left = np.moveaxis(np.array(wcs.world_to_pixel(places)), 0, -1)
    reach = abs(up - center) + abs(left - center) + around
    return center - reach, center + reach


def _boxes(first: np.ndarray, last: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels (y, x) of boxes, as far as they are on the map."""
    n_y, n_x = shape
    n = np.array([n_x, n_y])
    seen = np.isfinite(first + last).all(axis=1)
    seen &= (last > -0.5).all(axis=1) & (first < n - 0.5).all(axis=1)
    start = np.clip(np.floor(first[seen] + 0.5), 0, n - 1).astype(int)
    stop = np.clip(np.floor(last[seen] + 0.5), 0, n - 1).astype(int) + 1
    footprint = np.empty(shape, bool)
    _paint(start, stop, footprint)
    return footprint


@compiled
def _paint(start, stop, footprint):  # noqa: ANN001
    """Mark boxes (x, y): count along both axes how many more have begun than have ended."""
    n_y, n_x = footprint.shape
    begun = np.zeros((n_y + 1, n_x + 1), np.int32)
    for i in range(len(start)):
        begun[start[i, 1], start[i, 0]] += 1
        begun[start[i, 1], stop[i, 0]] -= 1
        begun[stop[i, 1], start[i, 0]] -= 1
        begun[stop[i, 1], stop[i, 0]] += 1
    column = np.zeros(n_x, np.int32)
    for y in range(n_y):
        open_boxes = 0
        for x in range(n_x):
            column[x] += begun[y, x]
            open_boxes += column[x]
            footprint[y, x] = open_boxes > 0
