"""Peaks of the column: candidates for embedded stars where there is no catalog."""

import warnings

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from photutils.detection import find_peaks
from photutils.utils.exceptions import NoDetectionsWarning
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.spatial import cKDTree

from stellarssl._utils.geometry import beam_width
from stellarssl._utils.quantities import as_distance, as_quantity
from stellarssl.moments import MomentMaps
from stellarssl.tiles.grid import tile_grid

__all__ = ["column_peaks", "peak_pixels"]

_SMOOTHING = 3.0  # pixels: the accretion zone of the simulations' stars is 6 wide
_SURROUNDINGS = 25.6  # pixels, 0.2 pc
_CONTRAST = 0.2
_EDGE = 6  # pixels from where the map ends that smoothing and a missing neighbor can mislead
_FWHM = np.sqrt(8 * np.log(2))


def peak_pixels(
    column: np.ndarray,
    *,
    min_separation: float,
    error: np.ndarray | float = 0.0,
    min_snr: float = 5.0,
    covered: np.ndarray | None = None,
    n_max: int | None = None,
    periodic: bool = False,
) -> np.ndarray:
    """Find the peaks of a column map on tile pixels.

    The map is smoothed to 3 pixels. A peak is higher than its eight neighbors, and exceeds its
    surroundings by 20 % and by ``min_snr`` errors. The surroundings are the map smoothed to 25.6
    pixels (0.2 pc), or to twice ``min_separation`` if that is more. Of two peaks closer than
    ``min_separation`` the higher is kept.

    Parameters
    ----------
    column : `~numpy.ndarray`
        Linear column, shape (ny, nx), finite.
    min_separation : float
        Smallest distance between two peaks, in pixels.
    error : `~numpy.ndarray` or float, optional
        Standard deviation of ``column``.
    min_snr : float, optional
        Smallest contrast of a peak, in errors.
    covered : `~numpy.ndarray`, optional
        Boolean, shape (ny, nx): pixels where the column is known. Other pixels are ignored in the
        smoothing, and no peak lies within 6 pixels of one.
    n_max : int, optional
        Largest number of peaks, highest first; by default all.
    periodic : bool, optional
        Whether the map is periodic, as a simulated box is.

    Returns
    -------
    peaks : `~numpy.ndarray`
        Integer pixel positions (x, y), shape (n, 2), highest smoothed column first.
    """
    mode = "wrap" if periodic else "constant"
    known = np.ones(column.shape) if covered is None else covered.astype(np.float64)

    def smoothed(fwhm: float) -> np.ndarray:
        sums, weights = (
            gaussian_filter(a, fwhm / _FWHM, mode=mode) for a in (column * known, known)
        )
        return sums / np.maximum(weights, 1e-9)

    smooth, around = smoothed(_SMOOTHING), smoothed(max(_SURROUNDINGS, 2 * min_separation))
    allowed = smooth - around > np.maximum(_CONTRAST * around, min_snr * error)
    if covered is not None:
        allowed &= binary_erosion(covered, iterations=_EDGE, border_value=periodic)
    # a frame of what lies across the edge, so that a peak may lie on the edge itself
    framed = np.pad(smooth, 1, mode="wrap" if periodic else "edge")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        found = find_peaks(framed, 0.0, box_size=3, mask=~np.pad(allowed, 1))
    if found is None:
        return np.empty((0, 2), dtype=int)
    xy = np.stack([found["x_peak"], found["y_peak"]], axis=1).astype(int) - 1
    xy = xy[np.argsort(-smooth[xy[:, 1], xy[:, 0]], kind="stable")]
    tree = cKDTree(xy, boxsize=column.shape[::-1] if periodic else None)
    kept = np.ones(len(xy), dtype=bool)
    for i, neighbors in enumerate(tree.query_ball_point(xy, min_separation)):
        if kept[i]:
            kept[[j for j in neighbors if j > i]] = False
    return xy[kept][:n_max]


def column_peaks(
    maps: MomentMaps,
    *,
    distance: u.Quantity | str | None = None,
    min_separation: u.Quantity | str = 0.1 * u.pc,
    min_snr: float = 5.0,
    n_max: int | None = None,
) -> SkyCoord:
    """Find candidates for embedded stars: the peaks of the hydrogen column.

    The map is resampled to tile pixels and searched by `peak_pixels`, like the maps of the library
    where it has tiles at peaks. In the simulated boxes, without noise and with a beam of 6 pixels,
    half of the stars lie within 2.8 pixels of a peak and 93 % within 12, and one peak in six has a
    star within 6. Most peaks are starless.

    Parameters
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Moment maps with a tracer.
    distance : `~astropy.units.Quantity` or str, optional
        Distance of the cloud; by default that of the maps.
    min_separation : `~astropy.units.Quantity` or str, optional
        Smallest distance between two peaks, a length; the beam, if that is wider.
    min_snr : float, optional
        Smallest contrast of a peak with its surroundings, in errors of the column.
    n_max : int, optional
        Largest number of peaks; by default all.

    Returns
    -------
    peaks : `~astropy.coordinates.SkyCoord`
        Positions of the peaks, ICRS, highest column first; may be empty.

    Raises
    ------
    MissingInputError
        If the maps have no tracer, or no distance is known.
    InputError
        If an argument is invalid.
    """
    distance = as_distance(distance, maps.distance, one_value="to look for peaks")
    separation = as_quantity("min_separation", min_separation, u.pc)
    grid = tile_grid(maps, distance=distance)
    if maps.beam is not None:
        beam = beam_width(maps.beam).to_value(u.rad) * distance
        separation = max(separation, beam)
    column = 10.0 ** grid.maps[0].astype(np.float64)
    with np.errstate(divide="ignore"):
        error = column / grid.snr  # inf where nothing is detected
    x, y = peak_pixels(
        column,
        min_separation=(separation / grid.pixel).to_value(u.dimensionless_unscaled),
        error=error,
        min_snr=min_snr,
        covered=grid.covered,
        n_max=n_max,
    ).T
    return grid.wcs.pixel_to_world(x, y)
