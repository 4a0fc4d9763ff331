"""Rings around a source: their edges, and the area of each pixel that lies in each of them."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from photutils.geometry import circular_overlap_grid

from stellarssl._utils.geometry import TILE_PIXEL
from stellarssl.cubes import Cube

__all__ = [
    "COVERED",
    "RING_EDGES",
    "Region",
    "background_ring",
    "locate",
    "ring_areas",
    "ring_radii",
]

RING_EDGES = (0.0, 1.5, 3.0, 5.0, 8.0, 12.0, 16.0, 22.0, 30.0)
"""Radii that bound the eight rings, in tile pixels; the innermost ring is a disc."""

COVERED = 0.5
"""Fraction of a ring's area that must have data for the ring to be used."""

_NEAREST_BACKGROUND = 0.1 * u.pc
"""Mean radius below which a ring is too close to the source to be its background."""


def ring_radii() -> u.Quantity:
    """Compute the mean radius of each ring, halfway between its two edges.

    Returns
    -------
    radii : `~astropy.units.Quantity`
        Shape (8,), pc.

    Examples
    --------
    >>> ring_radii()[-1]
    <Quantity 0.203125 pc>
    """
    edges = np.array(RING_EDGES)
    return (edges[1:] + edges[:-1]) / 2 * TILE_PIXEL


def ring_areas() -> np.ndarray:
    """Compute the area of each ring.

    Returns
    -------
    areas : ndarray of float64
        Shape (8,), in squared tile pixels.
    """
    return np.pi * np.diff(np.square(RING_EDGES))


def background_ring(covered: np.ndarray) -> np.ndarray:
    """Find the ring that is taken as background: the outermost that is at least half covered.

    Parameters
    ----------
    covered : ndarray
        Fraction of the area of each ring that has data, shape (..., 8).

    Returns
    -------
    ring : ndarray of int
        Index of the ring, shape (...); -1 where its mean radius is below 0.1 pc.

    Examples
    --------
    >>> background_ring(np.array([[1, 1, 1, 1, 1, 0.5, 0.3, 0.0], [1, 1, 0, 0, 0, 0, 0, 0]]))
    array([ 5, -1])
    """
    used = np.asarray(covered) >= COVERED
    last = used.shape[-1] - 1 - np.argmax(used[..., ::-1], axis=-1)
    far = used.any(axis=-1) & (ring_radii() >= _NEAREST_BACKGROUND)[last]
    return np.where(far, last, -1)


@dataclass(frozen=True, eq=False)
class Region:
    """The part of an image that the rings around one source cover.

    Attributes
    ----------
    center : tuple of float
        Position (x, y) of the source in the image, in pixels; the center of the first pixel is 0.
    pixel : tuple of float
        Sides (x, y) of an image pixel at the source's distance, in tile pixels.
    rows, columns : slice
        Bounding box of the outermost ring, clipped to the image. Empty slices if the rings lie
        outside of the image.
    """

    center: tuple[float, float]
    pixel: tuple[float, float]
    rows: slice
    columns: slice

    @classmethod
    def around(
        cls, center: tuple[float, float], pixel: tuple[float, float], shape: tuple[int, int]
    ) -> "Region":
        """Clip the bounding box of the outermost ring to an image of a given shape (y, x).

        Parameters
        ----------
        center : tuple of float
            Position (x, y) of the source in the image [pixels].
        pixel : tuple of float
            Sides (x, y) of an image pixel at the source's distance [tile pixels].
        shape : tuple of int
            Shape (y, x) of the image.

        Returns
        -------
        region : `Region`
            The rings and their box, which is empty where a number is not finite.
        """
        if not np.isfinite([*center, *pixel]).all():
            return cls(center, pixel, slice(0, 0), slice(0, 0))
        columns, rows = (
            _clipped(middle, RING_EDGES[-1] / side, n)
            for middle, side, n in zip(center, pixel, shape[::-1], strict=True)
        )
        return cls(center, pixel, rows, columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of the box."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def empty(self) -> bool:
        """Whether the rings lie outside of the image."""
        return 0 in self.shape

    def weights(self) -> np.ndarray:
        """Compute the area of each pixel of the box inside each ring.

        Returns
        -------
        weights : ndarray of float64
            Shape (8, y, x), in squared tile pixels: the exact overlap of pixel and ring. The sum
            over the pixels of a ring that lies inside the image is the area of the ring.
        """
        n_y, n_x = self.shape
        (x, y), (dx, dy) = self.center, self.pixel
        left, bottom = (self.columns.start - 0.5 - x) * dx, (self.rows.start - 0.5 - y) * dy
        extent = (left, left + n_x * dx, bottom, bottom + n_y * dy)
        discs = [circular_overlap_grid(*extent, n_x, n_y, edge, 1, 1) for edge in RING_EDGES[1:]]
        # Rounding errors of the differences are up to 1e-16 below zero.
        return np.maximum(np.diff(discs, axis=0, prepend=0.0), 0.0) * (dx * dy)


def _clipped(middle: float, reach: float, n: int) -> slice:
    start = np.clip(np.floor(middle - reach + 0.5), 0, n)
    stop = np.clip(np.floor(middle + reach + 0.5) + 1, 0, n)
    return slice(int(start), max(int(start), int(stop)))


def locate(cube: Cube, positions: SkyCoord, distance: u.Quantity) -> list[Region]:
    """Find the rings around sources on a map.

    Parameters
    ----------
    cube : `~stellarssl.Cube`
        Cube with the celestial WCS. Its pixels may have two different sides, but right angles.
    positions : `~astropy.coordinates.SkyCoord`
        Positions of the sources, shape (n,).
    distance : `~astropy.units.Quantity`
        Distances of the sources, shape (n,).

    Returns
    -------
    regions : list of `Region`
        One per source.
    """
    reach = (RING_EDGES[-1] * TILE_PIXEL / distance).to_value(u.dimensionless_unscaled) * u.rad
    steps = [positions.directional_offset_by(angle * u.deg, reach) for angle in (90, 0)]
    with np.errstate(invalid="ignore", divide="ignore"):
        center, east, north = (
            np.array(cube.wcs.world_to_pixel(place)) for place in (positions, *steps)
        )
        jacobian = np.stack([east - center, north - center], axis=1) / RING_EDGES[-1]
        (xx, xy), (yx, yy) = jacobian
        determinant = np.abs(xx * yy - xy * yx)
        # Lengths of the columns of the inverse: the sky distance of one step in x and in y.
        sides = np.hypot(yy, yx) / determinant, np.hypot(xx, xy) / determinant
    return [
        Region.around((x, y), (dx, dy), cube.shape[1:])
        for x, y, dx, dy in zip(*center, *sides, strict=True)
    ]
