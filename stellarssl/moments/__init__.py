"""From a cube to column density, velocity and velocity dispersion, in one pass over it."""

from stellarssl.moments.batch import CubeMoments, cube_moments
from stellarssl.moments.blocks import Plan
from stellarssl.moments.core import moment_maps, moment_plan
from stellarssl.moments.footprint import source_footprint
from stellarssl.moments.maps import MomentMaps
from stellarssl.moments.options import MomentKeywords, MomentOptions

__all__ = [
    "CubeMoments",
    "MomentKeywords",
    "MomentMaps",
    "MomentOptions",
    "Plan",
    "cube_moments",
    "moment_maps",
    "moment_plan",
    "source_footprint",
]
