"""What is measured on each segment."""

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from stellarssl.moments import MomentMaps
from stellarssl.tiles import gas_mass

__all__ = ["pixel_areas", "segment_table"]

_BAND, _CHUNK = 256, 1 << 17  # rows, and pixels, whose directions are held at once


def segment_table(
    labels: np.ndarray,
    kinds: np.ndarray,
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
    kinds : ndarray of int, shape (ny, nx)
        The kind of each pixel.
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
    ids = np.arange(1, labels.max(initial=0) + 1)
    where = np.flatnonzero(labels)
    label = labels.flat[where] - 1

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(label, values, minlength=len(ids))

    def measured(quantity: u.Quantity, unit: u.UnitBase) -> np.ndarray:
        return quantity.to_value(unit).flat[where].astype(np.float64)

    n_h = measured(maps.n_hi, u.cm**-2)
    v, sigma = measured(maps.v_los, u.km / u.s), measured(maps.sigma_v, u.km / u.s)
    pixel = pixel_areas(maps.wcs, maps.shape).flat[where]
    weight = n_h * pixel
    v_mean = total(weight * v) / total(weight)
    # where noise left no line width, a pixel tells of the motion only
    narrow = np.where(np.isfinite(sigma), weight, 0)
    with np.errstate(invalid="ignore"):
        inside = total(narrow * np.nan_to_num(sigma) ** 2) / total(narrow)
    variance = total(weight * (v - v_mean[label]) ** 2) / total(weight) + inside
    solid_angle = total(pixel) * u.sr
    mean_n_h = total(weight) / total(pixel)
    area = solid_angle * (np.nan * u.pc if distance is None else distance.to(u.pc)) ** 2 / u.sr
    mass = gas_mass(np.log10(mean_n_h).reshape(-1, 1, 1, 1), np.sqrt(area))
    peak = np.zeros(len(ids))
    np.maximum.at(peak, label, n_h)
    n_pixels = total(np.ones(len(where)))
    return QTable(
        {
            "id": ids,
            "kind": _most_frequent(kinds.flat[where], label, len(ids)),
            "skycoord": _centers(where, label, weight, len(ids), maps),
            "n_pixels": n_pixels.astype(int),
            "solid_angle": solid_angle.to(u.arcmin**2),
            "area": Masked(area, mask=distance is None),
            "mean_n_h": mean_n_h * u.cm**-2,
            "peak_n_h": peak * u.cm**-2,
            "v_los": v_mean * u.km / u.s,
            "sigma_v": np.sqrt(variance) * u.km / u.s,
            "gas_mass": Masked(mass, mask=distance is None),
        }
        | {
            f"component_{i}": total(component.flat[where]) / n_pixels
            for i, component in enumerate(components, start=1)
        }
    )


def pixel_areas(wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Measure the solid angle of each pixel, whatever the projection.

    Half the cross product of the directions' differences along the two diagonals.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Celestial.
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    areas : ndarray
        Shape ``shape``, sr. Pixels that reach over the rim of the sky have the area that they
        have in the projection.
    """
    areas = np.full(shape, proj_plane_pixel_area(wcs) * (np.pi / 180) ** 2)
    for start in range(0, shape[0], _BAND):
        band = areas[start : start + _BAND]
        y, x = np.mgrid[: band.shape[0] + 1, : shape[1] + 1] - 0.5
        corners = wcs.pixel_to_world(x, y + start).cartesian.xyz.value
        rising = corners[:, 1:, 1:] - corners[:, :-1, :-1]
        falling = corners[:, 1:, :-1] - corners[:, :-1, 1:]
        exact = np.linalg.norm(np.cross(rising, falling, axis=0), axis=0) / 2
        np.copyto(band, exact, where=np.isfinite(exact))
    return areas


def _most_frequent(kinds: np.ndarray, label: np.ndarray, n: int) -> np.ndarray:
    """Say which kind most pixels of each label are of."""
    n_kinds = kinds.max(initial=0) + 1
    counts = np.bincount(label * n_kinds + kinds, minlength=n * n_kinds)
    return counts.reshape(n, n_kinds).argmax(axis=1)


def _centers(
    where: np.ndarray, label: np.ndarray, weight: np.ndarray, n: int, maps: MomentMaps
) -> SkyCoord:
    """Find the weighted mean directions of labels."""
    sums = np.zeros((3, n))
    for start in range(0, len(where), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        y, x = np.divmod(where[chunk], maps.shape[1])
        directions = maps.wcs.pixel_to_world(x, y).icrs.cartesian.xyz.value
        for axis, values in enumerate(directions):
            sums[axis] += np.bincount(label[chunk], weight[chunk] * values, minlength=n)
    center = SkyCoord(*sums, representation_type="cartesian", frame="icrs")
    return SkyCoord(center.spherical.lon, center.spherical.lat, frame="icrs")
