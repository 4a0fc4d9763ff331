"""The shipped PPV tiles through a telescope, with masks and moments."""

from stellarssl.library import PPVTiles
from stellarssl.moments import cube_moments
from stellarssl.observe import Observation, observe_tiles

N_TILES = 320
TELESCOPE = Observation(
    beam_pixels=6.0, rms=0.1, channel_width=0.125, sigma_line=0.1, column_limit=1e21,
    opaque_column=5e22,
)  # fmt: skip


def time_observed_tiles(part):
    tiles = time_observed_tiles.tiles
    for rows, cubes in tiles.batches(32):
        if part == "decode":
            continue
        pixel_size = tiles.table["pixel_size"][rows[0]]
        seen = observe_tiles(cubes, pixel_size, TELESCOPE, rows=rows, seed=0, snr=10)
        if part == "moments":
            cube_moments(seen.cubes, seen.rms, seen.velocity, beam_pixels=TELESCOPE.beam_pixels)


def _setup(*_):
    time_observed_tiles.tiles = PPVTiles.default().select(slice(0, N_TILES))
    time_observed_tiles("moments")  # compiles


time_observed_tiles.params = ["decode", "observe", "moments"]
time_observed_tiles.param_names = ["up to"]
time_observed_tiles.setup = _setup
time_observed_tiles.timeout = 300
