"""Tiles of one physical size, cut from moment maps in the quantities that may be averaged."""

from stellarssl.tiles._cut import make_tiles
from stellarssl.tiles._grid import GridMaps, tile_grid
from stellarssl.tiles._peaks import column_peaks, peak_pixels
from stellarssl.tiles._statistics import APERTURES, TileStatistics, tile_statistics
from stellarssl.tiles._tileset import TileSet, gas_mass, tile_wcs

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
