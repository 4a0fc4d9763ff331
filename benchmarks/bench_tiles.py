"""Tiles about many positions, against one call of reproject_interp for each."""

import time

import astropy.units as u
import numpy as np
from astropy.wcs import WCS
from reproject import reproject_interp

from stellarssl.moments import MomentMaps
from stellarssl.tiles import make_tiles, ring_statistics, tile_grid

SHAPE = (800, 800)
N_TILES, N_CALLS = 10_000, 100


def _maps():
    """A map of 23 arcsec pixels at 288 pc: 4.1 tile pixels each, turned by 20 degrees."""
    sky = WCS(naxis=2)
    sky.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    sky.wcs.crval = [52.0, 31.0]
    sky.wcs.crpix = [400.5, 400.5]
    sky.wcs.cdelt = [-23 / 3600, 23 / 3600]
    cosine, sine = np.cos(0.35), np.sin(0.35)
    sky.wcs.pc = [[cosine, -sine], [sine, cosine]]
    rng = np.random.default_rng(1)
    return MomentMaps.from_maps(
        n_h=rng.uniform(1, 3, SHAPE) * 1e22 * u.cm**-2,
        v_los=rng.normal(size=SHAPE) * u.km / u.s,
        sigma_v=rng.uniform(0.2, 0.8, SHAPE) * u.km / u.s,
        wcs=sky,
        distance=288 * u.pc,
    )


def _seconds(job, repeats=3):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return min(times)


def track_tiles_against_reproject_interp():
    """Whole tiles, of three channels with what is known of each, against one channel."""
    maps = _maps()
    rng = np.random.default_rng(2)
    positions = maps.wcs.pixel_to_world(*rng.uniform(40, 760, (2, N_TILES)))
    tiles = make_tiles(maps, positions[:N_CALLS])  # compiles, too
    column = maps.n_h.value

    def calls():
        for i in range(N_CALLS):
            reproject_interp((column, maps.wcs), tiles.wcs(i), shape_out=(64, 64))

    ours = _seconds(lambda: make_tiles(maps, positions)) / N_TILES
    return _seconds(calls) / N_CALLS / ours


track_tiles_against_reproject_interp.unit = "times faster"


def time_tiles(n):
    make_tiles(time_tiles.maps, time_tiles.positions[:n])


def time_whole_map_on_tile_pixels():
    tile_grid(time_tiles.maps)


def _setup(*_):
    time_tiles.maps = _maps()
    rng = np.random.default_rng(2)
    time_tiles.positions = time_tiles.maps.wcs.pixel_to_world(*rng.uniform(40, 760, (2, 1000)))


def time_ring_statistics_of_2000_tiles():
    ring_statistics(time_ring_statistics_of_2000_tiles.maps)


def _random_tiles():
    maps = np.random.default_rng(3).normal(size=(2000, 3, 64, 64)).astype("f4")
    time_ring_statistics_of_2000_tiles.maps = np.abs(maps)


time_ring_statistics_of_2000_tiles.setup = _random_tiles
time_tiles.params = [50, 1000]
time_tiles.param_names = ["tiles"]
time_tiles.setup = time_whole_map_on_tile_pixels.setup = _setup
