"""From a cube to column density, velocity and velocity dispersion, in one pass over it."""

from stellarssl.moments._footprint import source_footprint
from stellarssl.moments._maps import MomentMaps
from stellarssl.moments._moments import moment_maps, moment_plan
from stellarssl.moments._plan import Plan
from stellarssl.moments.options import MomentKeywords, MomentOptions

__all__ = [
    "MomentKeywords",
    "MomentMaps",
    "MomentOptions",
    "Plan",
    "moment_maps",
    "moment_plan",
    "source_footprint",
]
