"""What is measured on each segment."""

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from stellarssl._utils.bands import row_bands
from stellarssl.moments import MomentMaps
from stellarssl.tiles import gas_mass

__all__ = ["pixel_areas", "segment_table"]


def segment_table(
    labels: np.ndarray,
    classes: np.ndarray,
    components: np.ndarray,
    maps: MomentMaps,
    distance: u.Quantity | None,
) -> QTable:
    """Measure segments.

    Means are weighted by the column; ``sigma_v`` is the dispersion of the segment's summed line, so
    that velocity differences within the segment count.

    Parameters
    ----------
    labels : ndarray of int, shape (ny, nx)
        1 ... n; 0 is background. Labelled pixels are detected.
    classes : ndarray of int, shape (ny, nx)
        The class of each pixel.
    components : ndarray, shape (3, ny, nx)
        Finite where there is a label.
    maps : `~stellarssl.moments.MomentMaps`
        With a tracer.
    distance : `~astropy.units.Quantity` or None
        For areas and masses, which are masked without it.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per label, as described in `~stellarssl.segmentation.Segmentation`.
    """
    n, n_classes = labels.max(initial=0), classes.max(initial=0) + 1
    v_zero = maps.v_los[labels > 0].mean() if n else 0 * u.km / u.s
    sums, votes, peak = np.zeros((13, n)), np.zeros(n * n_classes, dtype=int), np.zeros(n)
    for band in row_bands(labels.shape):
        y, x = np.nonzero(labels[band])
        where = y + band.start, x
        label = labels[where] - 1
        n_h, summands = _summands(where, components, maps, v_zero)
        sums += [np.bincount(label, values, minlength=n) for values in summands]
        np.maximum.at(peak, label, n_h)
        votes += np.bincount(label * n_classes + classes[where], minlength=len(votes))
    n_pixels, pixel, weight, v, v2, narrow, inside = sums[:7]
    with np.errstate(invalid="ignore"):
        variance = np.maximum(v2 / weight - (v / weight) ** 2, 0) + inside / narrow
    solid_angle, mean_n_h = pixel * u.sr, weight / pixel
    area = solid_angle * (np.nan * u.pc if distance is None else distance.to(u.pc)) ** 2 / u.sr
    mass = gas_mass(np.log10(mean_n_h).reshape(-1, 1, 1, 1), np.sqrt(area))
    center = SkyCoord(*sums[7:10], representation_type="cartesian", frame="icrs").spherical
    return QTable(
        {
            "id": np.arange(1, n + 1),
            "class_id": votes.reshape(n, n_classes).argmax(axis=1),
            "skycoord": SkyCoord(center.lon, center.lat, frame="icrs"),
            "n_pixels": n_pixels.astype(int),
            "solid_angle": solid_angle.to(u.arcmin**2),
            "area": Masked(area, mask=distance is None),
            "mean_n_h": mean_n_h * u.cm**-2,
            "peak_n_h": peak * u.cm**-2,
            "v_los": v / weight * u.km / u.s + v_zero,
            "sigma_v": np.sqrt(variance) * u.km / u.s,
            "gas_mass": Masked(mass, mask=distance is None),
        }
        | {f"component_{i}": total / n_pixels for i, total in enumerate(sums[10:], start=1)}
    )


def _summands(
    where: tuple[np.ndarray, np.ndarray],
    components: np.ndarray,
    maps: MomentMaps,
    v_zero: u.Quantity,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the columns of pixels, and what a segment's measures are sums of."""
    kms = u.km / u.s
    y, x = where
    n_h = (maps.moment0[where].astype(float) * maps.tracer.n_h_per_w).to_value(u.cm**-2)
    v = (maps.v_los[where].astype(float) - v_zero).to_value(kms)
    sigma = maps.sigma_v[where].to_value(kms).astype(float)
    pixel = pixel_areas(maps.wcs, y, x)
    weight = n_h * pixel
    # where noise left no line width, a pixel tells of the motion only
    narrow = np.where(np.isfinite(sigma), weight, 0)
    directions = maps.wcs.pixel_to_world(x, y).icrs.cartesian.xyz.value
    return n_h, [
        np.ones(len(y)),
        pixel,
        weight,
        weight * v,
        weight * v**2,
        narrow,
        narrow * np.nan_to_num(sigma) ** 2,
        *(weight * directions),
        *components[:, y, x],
    ]


def pixel_areas(wcs: WCS, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Measure the solid angles of pixels, whatever the projection.

    Half the cross product of the directions' differences along the two diagonals.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Celestial.
    y, x : ndarray of int
        Rows and columns.

    Returns
    -------
    areas : ndarray
        sr. Pixels that reach over the rim of the sky have the area that they have in the
        projection.
    """
    low_left, low_right, high_left, high_right = (
        wcs.pixel_to_world(x + dx, y + dy).cartesian.xyz.value
        for dy in (-0.5, 0.5)
        for dx in (-0.5, 0.5)
    )
    rising, falling = high_right - low_left, low_right - high_left
    exact = np.linalg.norm(np.cross(rising, falling, axis=0), axis=0) / 2
    flat = proj_plane_pixel_area(wcs) * (np.pi / 180) ** 2
    return np.where(np.isfinite(exact), exact, flat)
