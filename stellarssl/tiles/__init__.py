"""Tiles of one physical size, cut from moment maps in the quantities that may be averaged."""

from stellarssl.tiles.cut import make_tiles
from stellarssl.tiles.grid import GridMaps, tile_grid
from stellarssl.tiles.peaks import column_peaks, peak_pixels
from stellarssl.tiles.statistics import APERTURES, TileStatistics, tile_statistics
from stellarssl.tiles.tileset import TileSet, gas_mass, tile_wcs

__all__ = [
    "APERTURES",
    "GridMaps",
    "TileSet",
    "TileStatistics",
    "column_peaks",
    "gas_mass",
    "make_tiles",
    "peak_pixels",
    "tile_grid",
    "tile_statistics",
    "tile_wcs",
]
