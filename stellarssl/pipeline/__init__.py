"""The whole way from a cube to masses and segments.

`info` is imported at once, and all else on first use (:pep:`562`), because it needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from stellarssl.pipeline.info import info
from stellarssl.pipeline.report import Report

if TYPE_CHECKING:
    from stellarssl.pipeline.analysis import Analysis, analyze, segment
    from stellarssl.pipeline.comparison import Comparison
    from stellarssl.pipeline.demo import compare, demo_files
    from stellarssl.pipeline.masses import (
        estimate_mass,
        mass_of_sources,
        telescopes_of,
        write_masses,
    )
    from stellarssl.pipeline.measured import group_by_telescope, measure_sources
    from stellarssl.pipeline.options import MassKeywords, MassOptions
    from stellarssl.pipeline.positions import PositionsLike, Sources, read_sources

__all__ = [
    "Analysis",
    "Comparison",
    "MassKeywords",
    "MassOptions",
    "PositionsLike",
    "Report",
    "Sources",
    "analyze",
    "compare",
    "demo_files",
    "estimate_mass",
    "group_by_telescope",
    "info",
    "mass_of_sources",
    "measure_sources",
    "read_sources",
    "segment",
    "telescopes_of",
    "write_masses",
]

_MODULE_OF = {
    "Analysis": "analysis",
    "Comparison": "comparison",
    "PositionsLike": "positions",
    "MassKeywords": "options",
    "MassOptions": "options",
    "Sources": "positions",
    "analyze": "analysis",
    "compare": "demo",
    "demo_files": "demo",
    "estimate_mass": "masses",
    "group_by_telescope": "measured",
    "mass_of_sources": "masses",
    "measure_sources": "measured",
    "read_sources": "positions",
    "segment": "analysis",
    "telescopes_of": "masses",
    "write_masses": "masses",
}


def __getattr__(name: str) -> object:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
