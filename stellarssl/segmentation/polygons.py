"""Labels to polygons and sky regions, pixel by pixel the same."""

import warnings
from itertools import pairwise

import numpy as np
from astropy.wcs import WCS
from contourpy import FillType, contour_generator
from regions import PolygonSkyRegion, RegionMeta, Regions
from scipy import ndimage

from stellarssl.exceptions import StellarSSLWarning

__all__ = ["crtf_text", "label_polygons", "label_regions", "label_rings"]


def label_polygons(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Trace each label's outline as one ring, its holes joined to it as keyholes.

    The outline runs midway between the centers of the pixels inside and outside, and the doubled
    cuts that join a hole to it run along pixel edges, so that no pixel center is nearer to a ring
    than a third of a pixel: which centers lie inside gives the label's pixels back.

    Parameters
    ----------
    labels : ndarray of int, shape (ny, nx)
        0 is background. The pixels of a label touch each other along edges.

    Returns
    -------
    polygons : dict of int to ndarray
        For each label (n, 2) vertices ``x, y`` in pixels, 0-based; the first is not repeated.

    Examples
    --------
    >>> label_polygons(np.array([[0, 0, 0], [0, 7, 0], [0, 0, 0]]))[7].tolist()
    [[0.5, 1.0], [1.0, 0.5], [1.5, 1.0], [1.0, 1.5]]
    """
    polygons = {}
    for label, (outer, *holes) in label_rings(labels).items():
        for hole in holes:
            outer = _join(outer, hole)  # noqa: PLW2901
        polygons[label] = _drop_collinear(outer)
    return polygons


def label_rings(labels: np.ndarray) -> dict[int, list[np.ndarray]]:
    """Trace each label's rim and holes.

    Parameters
    ----------
    labels : ndarray of int, shape (ny, nx)
        As in `label_polygons`.

    Returns
    -------
    rings : dict of int to list of ndarray
        For each label the rim and then the holes, (n, 2) vertices ``x, y``, all of them midway
        between two pixel centers; the rim runs one way round and the holes the other.
    """
    rings = {}
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        mask = np.pad(labels[box] == label, 1).astype(float)
        (points,), (offsets,) = contour_generator(z=mask, fill_type=FillType.OuterOffset).filled(
            0.5, 2.0
        )
        points = points + np.array([box[1].start - 1, box[0].start - 1])
        rings[label] = [points[start : stop - 1] for start, stop in pairwise(offsets)]
    return rings


def label_regions(labels: np.ndarray, wcs: WCS) -> Regions:
    """Turn labels into sky polygons, the label being both ``text`` (DS9) and ``label`` (CRTF).

    Parameters
    ----------
    labels : ndarray of int, shape (ny, nx)
        As in `label_polygons`.
    wcs : `~astropy.wcs.WCS`
        Celestial, two-dimensional.

    Returns
    -------
    regions : `~regions.Regions`
        ICRS, ascending by label. A label whose outline leaves the sky (the rim of an all-sky
        projection) has none, with a warning.
    """
    polygons = label_polygons(labels)
    if not polygons:
        return Regions([])
    # all at once: a call for each of thousands of polygons takes a minute
    vertices = wcs.pixel_to_world(*np.concatenate(list(polygons.values())).T).icrs
    on_sky = np.isfinite(vertices.ra.deg + vertices.dec.deg)
    regions, end = [], 0
    for label, ring in polygons.items():
        start, end = end, end + len(ring)
        if not on_sky[start:end].all():
            warnings.warn(
                f"segment {label} has no region: its outline leaves the sky",
                StellarSSLWarning,
                stacklevel=2,
            )
            continue
        meta = RegionMeta({"text": str(label), "label": str(label)})
        regions.append(PolygonSkyRegion(vertices[start:end], meta=meta))
    return Regions(regions)


def crtf_text(regions: Regions) -> str:
    """Write labelled sky polygons in CASA's region text format.

    `regions` writes it too, but transforms vertex by vertex, which takes minutes for a large map.

    Parameters
    ----------
    regions : `~regions.Regions`
        Of `label_regions`.

    Returns
    -------
    text : str
        A polygon a line, ICRS, to ten decimals of a degree: no pixel changes sides.
    """
    lines = ["#CRTFv0", "global coord=ICRS"]
    for region in regions:
        degrees = zip(region.vertices.ra.deg, region.vertices.dec.deg, strict=True)
        vertices = ", ".join(f"[{ra:.10f}deg, {dec:.10f}deg]" for ra, dec in degrees)
        lines.append(f"poly[{vertices}], label='{region.meta['label']}'")
    return "\n".join(lines) + "\n"


def _join(outer: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Cut from the outer ring to a hole and back, along pixel edges.

    Vertices lie midway between two pixel centers, so one of their coordinates is a half-integer. A
    cut that leaves the hole along a vertex's half-integer row and reaches the outer ring along a
    vertex's half-integer column is half a pixel away from all centers.
    """
    row = np.flatnonzero(hole[:, 1] % 1 != 0)[0]
    columns = np.flatnonzero(outer[:, 0] % 1 != 0)
    column = columns[np.abs(outer[columns] - hole[row]).sum(axis=1).argmin()]
    bend = [[outer[column, 0], hole[row, 1]]]
    around = np.roll(hole, -row, axis=0)
    return np.concatenate([outer[: column + 1], bend, around, around[:1], bend, outer[column:]])


def _drop_collinear(ring: np.ndarray) -> np.ndarray:
    """Leave out the vertices at which a ring goes straight on, and repeated ones."""
    ring = ring[np.any(ring != np.roll(ring, 1, axis=0), axis=1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    straight = (cross == 0) & ((before * after).sum(axis=1) > 0)
    return ring[~straight]
