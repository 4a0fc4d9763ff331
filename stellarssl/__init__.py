"""Masses of stars embedded in dense gas, and the structure of that gas, from radio cubes.

The package namespace is resolved on first use (:pep:`562`), so that ``import stellarssl`` costs
next to nothing: neither astropy nor torch is imported until a name that needs them is asked for.
"""

from importlib import import_module

_ROOM_OF = {
    "Analysis": "pipeline",
    "Cube": "cubes",
    "Encoder": "encoder",
    "EncoderSpec": "encoder",
    "MassEstimator": "masses",
    "MomentMaps": "moments",
    "MomentOptions": "moments",
    "Observation": "observe",
    "PCASegmenter": "segmentation",
    "ReadOptions": "cubes",
    "ReferenceLibrary": "library",
    "Segmentation": "segmentation",
    "SourceSpectra": "spectra",
    "StellarSSLError": "exceptions",
    "StellarSSLWarning": "exceptions",
    "TileSet": "tiles",
    "Tracer": "tracers",
    "analyze": "pipeline",
    "compare": "pipeline",
    "demo_files": "pipeline",
    "estimate_mass": "pipeline",
    "info": "pipeline",
    "make_tiles": "tiles",
    "moment_maps": "moments",
    "moment_plan": "moments",
    "profile": "_utils.stages",
    "read_cube": "cubes",
    "segment": "pipeline",
    "source_footprint": "moments",
    "source_spectra": "spectra",
    "spectra_from_arrays": "spectra",
    "write_comparison": "report",
    "write_figures": "report",
    "write_masses": "pipeline",
}
_ROOMS = (
    "cli",
    "cubes",
    "encoder",
    "evaluate",
    "exceptions",
    "library",
    "masses",
    "moments",
    "observe",
    "pipeline",
    "plots",
    "pretrain",
    "report",
    "segmentation",
    "spectra",
    "survey",
    "tiles",
    "tracers",
)

__all__ = sorted([*_ROOM_OF, *_ROOMS])  # noqa: PLE0605


def __getattr__(name):  # noqa: ANN001, ANN202
    if name in _ROOM_OF:
        return getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name == "__version__":
        return import_module("importlib.metadata").version(__name__)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__():  # noqa: ANN202
    return sorted([*globals(), *__all__, "__version__"])
