"""The whole way from a cube to masses and segments."""

from stellarssl.pipeline.analysis import Analysis, analyze, segment
from stellarssl.pipeline.demo import compare, demo_files
from stellarssl.pipeline.masses import estimate_mass, group_by_observation, write_masses
from stellarssl.pipeline.positions import PositionsLike, Sources, read_sources

__all__ = [
    "Analysis",
    "PositionsLike",
    "Sources",
    "analyze",
    "compare",
    "demo_files",
    "estimate_mass",
    "group_by_observation",
    "read_sources",
    "segment",
    "write_masses",
]
