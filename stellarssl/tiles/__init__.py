"""Tiles of one physical size, cut from moment maps, and their statistics."""

from stellarssl.tiles.cut import make_tiles
from stellarssl.tiles.features import RADII, WIDEST, source_statistics, usable_radii
from stellarssl.tiles.grid import GridMaps, tile_grid
from stellarssl.tiles.peaks import column_peaks, peak_pixels
from stellarssl.tiles.rings import RING_EDGES, covered_radius, mass_dynamical, ring_statistics
from stellarssl.tiles.statistics import APERTURES, TileStatistics, tile_statistics
from stellarssl.tiles.tileset import TileSet, gas_mass, tile_wcs

__all__ = [
    "APERTURES",
    "RADII",
    "RING_EDGES",
    "WIDEST",
    "GridMaps",
    "TileSet",
    "TileStatistics",
    "column_peaks",
    "covered_radius",
    "gas_mass",
    "make_tiles",
    "mass_dynamical",
    "peak_pixels",
    "ring_statistics",
    "source_statistics",
    "tile_grid",
    "tile_statistics",
    "tile_wcs",
    "usable_radii",
]
