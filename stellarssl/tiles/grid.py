"""Resampling of a whole map to tile pixels, north up."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from reproject.mosaicking import find_optimal_celestial_wcs

from stellarssl._utils.bands import row_bands
from stellarssl._utils.geometry import TILE_PIXEL
from stellarssl._utils.quantities import as_distance, as_quantity
from stellarssl._utils.stages import stage
from stellarssl.exceptions import InputError
from stellarssl.moments import MomentMaps
from stellarssl.tiles._fields import Fields, physical_maps, summable_fields
from stellarssl.tiles._sampling import sample_tiles

__all__ = ["GridMaps", "north_up_grid", "tile_grid"]

_BLOCK = 64
_MAX_PIXELS = 8192**2


@dataclass(frozen=True)
class GridMaps:
    """A map on tile pixels; any cut-out of 64 x 64 pixels corresponds to a tile.

    Attributes
    ----------
    maps : `~numpy.ndarray`
        Float32, shape (3, ny, nx), finite: log10 N_H [cm^-2], v_los relative to ``v_los``,
        sigma_v [km/s], filled where nothing is detected as in `TileSet`.
    detected, covered : `~numpy.ndarray`
        Boolean, shape (ny, nx): pixels with detected gas; pixels that the map covers.
    snr : `~numpy.ndarray`
        Float32, shape (ny, nx): column over its error, zero where undetected, inf if noise-free.
    wcs : `~astropy.wcs.WCS`
        Coordinates of the pixels: north up, TAN, ICRS.
    v_los : `~astropy.units.Quantity`
        Column-weighted mean of the map, which was subtracted, km/s; NaN if nothing is detected.
    pixel : `~astropy.units.Quantity`
        Side of a pixel: a length, or the angle of the map's own pixels without a distance.
    """

    maps: np.ndarray
    detected: np.ndarray
    covered: np.ndarray
    snr: np.ndarray
    wcs: WCS
    v_los: u.Quantity
    pixel: u.Quantity

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.detected.shape


def north_up_grid(maps: MomentMaps, pixel: u.Quantity) -> tuple[WCS, tuple[int, int]]:
    """Compute the smallest north-up grid that contains a map.

    Parameters
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Maps that the grid contains.
    pixel : `~astropy.units.Quantity`
        Side of a pixel, an angle.

    Returns
    -------
    wcs : `~astropy.wcs.WCS`
        Gnomonic (TAN), ICRS.
    shape : tuple of int
        Number of rows and columns.
    """
    return find_optimal_celestial_wcs(
        [(maps.shape, maps.wcs)], frame="icrs", projection="TAN", resolution=pixel
    )


@stage("tiles")
def tile_grid(
    maps: MomentMaps,
    *,
    distance: u.Quantity | str | None = None,
    pixel: u.Quantity | str = TILE_PIXEL,
) -> GridMaps:
    """Resample a whole map to tile pixels.

    Values are averaged and filled as in `make_tiles`.

    Parameters
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Moment maps with a tracer.
    distance : `~astropy.units.Quantity` or str, optional
        Distance of the cloud; by default that of the maps. Without either, pixels are as large as
        those of the map.
    pixel : `~astropy.units.Quantity` or str, optional
        Side of a pixel, a length.

    Returns
    -------
    grid : GridMaps
        The map on a north-up grid that contains all of it.

    Raises
    ------
    MissingInputError
        If the maps have no tracer.
    InputError
        If the grid would have more than 8192 x 8192 pixels.
    """
    distance = as_distance(distance, maps.distance, required=False)
    if distance is None:
        side = np.sqrt(proj_plane_pixel_area(maps.wcs)) * u.deg
        pixel = side.to(u.arcsec)
    else:
        pixel = as_quantity("pixel", pixel, u.pc)
        side = (pixel / distance).to_value(u.dimensionless_unscaled) * u.rad
    fields = summable_fields(maps)
    n_pixels = maps.shape[0] * maps.shape[1] * proj_plane_pixel_area(maps.wcs)
    n_pixels /= side.to_value(u.deg) ** 2
    if n_pixels > _MAX_PIXELS:
        raise InputError(
            "distance",
            f"gives a grid of {n_pixels:.2g} tile pixels (limit {_MAX_PIXELS:.2g}); crop the map",
            str(distance),
        )
    wcs, shape = north_up_grid(maps, side)
    return GridMaps(**_sample(maps, fields, wcs, shape), wcs=wcs, pixel=pixel)


def _mean_velocity(fields: Fields) -> float:
    """Compute the column-weighted mean velocity of the map; NaN if nothing is detected."""
    shape = fields.maps.shape
    column, momentum = sum(
        fields.block(range(band.start, band.stop), range(shape[1]))[..., 2:4].sum(axis=(0, 1))
        for band in row_bands(shape)
    )
    return fields.v_reference + momentum / column if column > 0 else np.nan


def _sample(
    maps: MomentMaps, fields: Fields, wcs: WCS, shape: tuple[int, int]
) -> dict[str, np.ndarray | u.Quantity]:
    """Fill the grid block by block."""
    ny, nx = shape
    n_x = -(-nx // _BLOCK)
    v_los = _mean_velocity(fields)
    grid = {
        "maps": np.empty((3, ny, nx), dtype=np.float32),
        "detected": np.empty(shape, dtype=bool),
        "covered": np.empty(shape, dtype=bool),
        "snr": np.empty(shape, dtype=np.float32),
        "v_los": v_los * u.km / u.s,
    }
    n_blocks = -(-ny // _BLOCK) * n_x

    def directions(blocks: np.ndarray, t: np.ndarray) -> SkyCoord:
        y, x = np.divmod(blocks, n_x)
        y, x = (_BLOCK * axis[:, None] + (_BLOCK - 1) / 2 + t for axis in (y, x))
        return wcs.pixel_to_world(*np.broadcast_arrays(x[:, None, :], y[:, :, None]))

    for blocks, means in sample_tiles(
        fields.block, maps.shape, maps.wcs, directions, n_blocks, _BLOCK
    ):
        part = physical_maps(means, fields, v_los)
        for i, (y, x) in enumerate(zip(*np.divmod(blocks, n_x), strict=True)):
            there = np.s_[..., _BLOCK * y : _BLOCK * (y + 1), _BLOCK * x : _BLOCK * (x + 1)]
            for name in ("maps", "detected", "covered", "snr"):
                target = grid[name][there]
                target[:] = getattr(part, name)[i][..., : target.shape[-2], : target.shape[-1]]
    return grid
