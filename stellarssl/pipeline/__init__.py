"""The whole way from a cube to masses and segments.

`info` is imported at once, and all else on first use (:pep:`562`), because it needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from stellarssl.pipeline.info import info
from stellarssl.pipeline.report import Report

if TYPE_CHECKING:
    from stellarssl.pipeline.analysis import Analysis, analyze, segment
    from stellarssl.pipeline.demo import compare, demo_files
    from stellarssl.pipeline.masses import estimate_mass, group_by_observation, write_masses
    from stellarssl.pipeline.positions import PositionsLike, Sources, read_sources

__all__ = [
    "Analysis",
    "PositionsLike",
    "Report",
    "Sources",
    "analyze",
    "compare",
    "demo_files",
    "estimate_mass",
    "group_by_observation",
    "info",
    "read_sources",
    "segment",
    "write_masses",
]

_MODULE_OF = {
    "Analysis": "analysis",
    "PositionsLike": "positions",
    "Sources": "positions",
    "analyze": "analysis",
    "compare": "demo",
    "demo_files": "demo",
    "estimate_mass": "masses",
    "group_by_observation": "masses",
    "read_sources": "positions",
    "segment": "analysis",
    "write_masses": "masses",
}


def __getattr__(name: str) -> object:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
