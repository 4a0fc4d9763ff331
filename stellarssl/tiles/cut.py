"""Cutting of tiles from a map, around given positions or on an overlapping grid."""

from collections.abc import Sequence

import astropy.units as u
import numpy as np
from astropy.coordinates import ICRS, CartesianRepresentation, SkyCoord

from stellarssl._utils.geometry import TILE_PIXELS, TILE_WIDTH, beam_width
from stellarssl._utils.quantities import as_distance, as_quantity
from stellarssl._utils.stages import stage
from stellarssl.exceptions import InputError
from stellarssl.moments import MomentMaps
from stellarssl.tiles._fields import physical_maps, summable_fields
from stellarssl.tiles._sampling import sample_tiles
from stellarssl.tiles.grid import north_up_grid
from stellarssl.tiles.tileset import TileSet

__all__ = ["make_tiles"]


@stage("tiles")
def make_tiles(
    maps: MomentMaps,
    positions: SkyCoord | None = None,
    *,
    distance: u.Quantity | str | None = None,
    width: u.Quantity | str = TILE_WIDTH,
    n_pixels: int = TILE_PIXELS,
    step: u.Quantity | str | None = None,
    position_error: u.Quantity | str | None = None,
    ids: Sequence[str] | None = None,
) -> TileSet:
    """Cut tiles of one physical width from a map.

    A tile pixel holds the mean of N_H, N_H v and N_H (v^2 + sigma^2) over its area, turned back
    into column, velocity and dispersion: flux is conserved, and velocity differences that the tile
    does not resolve become dispersion. The map is interpolated linearly between pixel centers.

    Parameters
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Moment maps with a tracer.
    positions : `~astropy.coordinates.SkyCoord`, optional
        Centers of the tiles, in any frame. A tile off the map has zero coverage. By default a grid
        of positions over the map.
    distance : `~astropy.units.Quantity` or str, optional
        Distance of all sources, or one value per position; by default that of the maps.
    width : `~astropy.units.Quantity` or str, optional
        Side of a tile, a length.
    n_pixels : int, optional
        Number of pixels along a side, even.
    step : `~astropy.units.Quantity` or str, optional
        Spacing of the grid of positions, a length; by default half the width. Cannot be combined
        with ``positions``.
    position_error : `~astropy.units.Quantity` or str, optional
        Uncertainty of the positions, an angle or a length; one value, or one per position.
    ids : sequence of str, optional
        Names of the tiles; by default they are numbered from 1.

    Returns
    -------
    tiles : TileSet
        One tile per position, in the same order.

    Raises
    ------
    MissingInputError
        If the maps have no tracer, or no distance is known.
    InputError
        If an argument is invalid.
    """
    if n_pixels < 2 or n_pixels % 2:
        raise InputError("n_pixels", "must be an even number, at least 2", n_pixels)
    width = as_quantity("width", width, u.pc)
    distance = as_distance(distance, maps.distance)
    if positions is None:
        positions = _grid_positions(maps, distance, step, width)
    elif step is not None:
        raise InputError("step", "cannot be combined with positions", step)
    positions = _checked_positions(positions)
    n = len(positions)
    distance = _one_each("distance", distance, n)
    error = _one_each("position_error", _as_length(position_error, distance), n)
    if ids is not None and (len(ids) != n or len(set(ids)) != n):
        raise InputError("ids", f"must be {n} different names, one per position", list(ids))
    beam = maps.beam
    pixel = (width / n_pixels / distance).to_value(u.dimensionless_unscaled)
    parts = _sample(maps, positions, pixel, n_pixels)
    return TileSet(
        **parts,
        id=np.array(ids if ids is not None else np.arange(1, n + 1), dtype=str),
        skycoord=positions,
        distance=distance,
        position_error=error,
        beams_per_tile=np.full(n, np.nan)
        if beam is None
        else pixel * n_pixels / beam_width(beam).to_value(u.rad),
        width=width,
        meta=dict(maps.meta),
    )


def _checked_positions(positions: SkyCoord) -> SkyCoord:
    """Return positions as a one-dimensional array of ICRS coordinates."""
    if not isinstance(positions, SkyCoord):
        raise InputError("positions", "must be a SkyCoord", type(positions).__name__)
    icrs = positions.icrs
    ra, dec = np.atleast_1d(icrs.ra).ravel(), np.atleast_1d(icrs.dec).ravel()
    if not (np.isfinite(ra) & np.isfinite(dec)).all():
        raise InputError("positions", "must be finite", positions)
    return SkyCoord(ra, dec, frame="icrs")


def _one_each(name: str, value: u.Quantity, n: int) -> u.Quantity:
    """Return one value per tile: broadcast a single value, or check the number of values."""
    if value.shape not in ((), (1,), (n,)):
        raise InputError(name, f"must be one value, or one for each of {n} positions", value.shape)
    return u.Quantity(np.broadcast_to(value.value, n).copy(), value.unit)


def _as_length(error: u.Quantity | str | None, distance: u.Quantity) -> u.Quantity:
    """Convert a position error, an angle or a length, to pc."""
    if error is None:
        return u.Quantity(0.0, u.pc)
    try:
        angle = as_quantity("position_error", error, u.rad, positive=False)
    except InputError:
        length = as_quantity("position_error", error, u.pc, positive=False)
    else:
        length = angle.value * distance
    if not (length.value >= 0).all():
        raise InputError("position_error", "must be finite and not negative", error)
    return length


def _grid_positions(
    maps: MomentMaps, distance: u.Quantity, step: u.Quantity | str | None, width: u.Quantity
) -> SkyCoord:
    """Return a north-up grid of positions over the observed part of the map."""
    distance = as_distance(distance, None, one_value="for a grid of tiles")
    step = width / 2 if step is None else as_quantity("step", step, u.pc)
    angle = (step / distance).to_value(u.dimensionless_unscaled) * u.rad
    wcs, (ny, nx) = north_up_grid(maps, angle)
    y, x = np.mgrid[:ny, :nx]
    sky = wcs.pixel_to_world(x.ravel(), y.ravel())
    x, y = (np.round(axis).astype(int) for axis in maps.wcs.world_to_pixel(sky))
    inside = (x >= 0) & (y >= 0) & (x < maps.shape[1]) & (y < maps.shape[0])
    inside[inside] = maps.covered[y[inside], x[inside]]
    return sky[inside]


def _sample(
    maps: MomentMaps, positions: SkyCoord, pixel: np.ndarray, n_pixels: int
) -> dict[str, np.ndarray]:
    """Cut tiles whose pixels are ``pixel`` radians wide; return the fields of a TileSet."""
    fields = summable_fields(maps)
    center, east, north = _axes(positions)

    def directions(tiles: np.ndarray, t: np.ndarray) -> SkyCoord:
        """Invert the gnomonic projection about the center of each tile."""
        offset = pixel[tiles, None] * t
        xyz = (
            center[:, tiles, None, None]
            - east[:, tiles, None, None] * offset[:, None, :]
            + north[:, tiles, None, None] * offset[:, :, None]
        )
        return SkyCoord(ICRS(CartesianRepresentation(xyz)))

    n = len(positions)
    shape = (n, n_pixels, n_pixels)
    result = {
        "maps": np.empty((n, 3, n_pixels, n_pixels), dtype=np.float32),
        "detected": np.empty(shape, dtype=bool),
        "covered": np.empty(shape, dtype=bool),
        "coverage": np.empty(n),
        "detected_fraction": np.empty(n),
        "snr": np.empty(n),
        "v_los": np.empty(n) * u.km / u.s,
    }
    for rows, means in sample_tiles(fields.block, maps.shape, maps.wcs, directions, n, n_pixels):
        part = physical_maps(means, fields)
        for name in ("maps", "detected", "covered", "coverage"):
            result[name][rows] = getattr(part, name)
        result["detected_fraction"][rows] = part.detected.mean(axis=(1, 2))
        result["snr"][rows] = part.snr.max(axis=(1, 2))
        result["v_los"][rows] = part.v_los * u.km / u.s
    return result


def _axes(positions: SkyCoord) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return unit vectors (3, n) towards the positions, and towards east and north there."""
    ra, dec = positions.ra.rad, positions.dec.rad
    zero = np.zeros_like(ra)
    center = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    east = np.stack([-np.sin(ra), np.cos(ra), zero])
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    return center, east, north
