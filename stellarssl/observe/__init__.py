"""Observe simulations as a telescope would.

Data are never sharpened to match a simulation; the simulation is degraded to match the data. An
`Observation` describes the telescope. `observe_tiles` and `observe_cube` apply it to
position-position-velocity cubes, `observe_maps` to maps of the moments. `smooth_moments` and
`add_background` act on such maps in the three sums that can be averaged and added.
"""

from stellarssl.observe.observation import Observation, observe_cube, observe_maps
from stellarssl.observe.ppv import (
    TILE_CHANNEL_WIDTH,
    TILE_N_H_PER_W,
    ObservedTiles,
    center_peak,
    observe_tiles,
)
from stellarssl.observe.sums import add_background, smooth_moments

__all__ = [
    "TILE_CHANNEL_WIDTH",
    "TILE_N_H_PER_W",
    "Observation",
    "ObservedTiles",
    "add_background",
    "center_peak",
    "observe_cube",
    "observe_maps",
    "observe_tiles",
    "smooth_moments",
]
