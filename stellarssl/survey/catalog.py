"""Which of many sources lie on a cube."""

import hashlib

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from scipy.spatial import KDTree

from stellarssl.pipeline import Sources

__all__ = ["Catalog", "digest"]

_EDGE_POINTS = 33
_MARGIN = 1.02  # between the points of an edge the sky may bulge a little


class Catalog:
    """Sources in a tree on the unit sphere: a cube looks at those about it, not at a million.

    Parameters
    ----------
    sources : `~stellarssl.pipeline.Sources`
        All of the survey.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._tree = KDTree(_unit_vectors(sources.skycoord))

    def on(self, wcs: WCS, shape: tuple[int, int]) -> Sources | None:
        """Return the sources whose positions lie on an image.

        Parameters
        ----------
        wcs : `~astropy.wcs.WCS`
            Of the sky, 2-D.
        shape : tuple of int
            Rows and columns.

        Returns
        -------
        sources : `~stellarssl.pipeline.Sources` or None
            In the order of the catalog; None if there are none.
        """
        near = self._near(wcs, shape)
        if near.size == 0:
            return None
        x, y = wcs.world_to_pixel(self._sources.skycoord[near])
        inside = (np.abs(x - (shape[1] - 1) / 2) <= shape[1] / 2) & (
            np.abs(y - (shape[0] - 1) / 2) <= shape[0] / 2
        )
        return self._sources[near[inside]] if inside.any() else None

    def _near(self, wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
        """Return the rows within the circle about an image; all where an edge is no sky."""
        ny, nx = shape
        along = np.linspace(0, 1, _EDGE_POINTS)
        x = np.concatenate([along, along, 0 * along, 0 * along + 1, [0.5]]) * nx - 0.5
        y = np.concatenate([0 * along, 0 * along + 1, along, along, [0.5]]) * ny - 0.5
        rim = _unit_vectors(wcs.pixel_to_world(x, y))
        if not np.isfinite(rim).all():
            return np.arange(len(self._sources))
        radius = _MARGIN * np.linalg.norm(rim - rim[-1], axis=1).max()
        return np.sort(np.array(self._tree.query_ball_point(rim[-1], radius), dtype=np.intp))


def _unit_vectors(coord: SkyCoord) -> np.ndarray:
    """Return directions as float64 (n, 3), ICRS."""
    sphere = coord.icrs.represent_as("unitspherical")
    return np.moveaxis(sphere.to_cartesian().xyz.to_value(u.one), 0, -1)


def digest(sources: Sources) -> str:
    """Return the sha256 of all that is known of sources.

    Parameters
    ----------
    sources : `~stellarssl.pipeline.Sources`
        The sources.

    Returns
    -------
    digest : str
        64 hexadecimal digits.
    """
    told = hashlib.sha256("\n".join(sources.id).encode())
    coord = sources.skycoord.icrs
    known = (sources.distance, sources.position_error, sources.velocity_range)
    for values in (coord.ra, coord.dec, *known):
        told.update(b"-" if values is None else np.ascontiguousarray(values.value).tobytes())
    return told.hexdigest()
