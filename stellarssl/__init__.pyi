# Types of the names that __init__.py resolves on first use; a test compares the two lists.
from stellarssl import (
    cli,
    cubes,
    encoder,
    evaluate,
    exceptions,
    library,
    masses,
    moments,
    observe,
    pipeline,
    plots,
    pretrain,
    report,
    segmentation,
    spectra,
    survey,
    tiles,
    tracers,
)
from stellarssl._utils.stages import (
    profile,
)
from stellarssl.cubes import (
    Cube,
    ReadOptions,
    read_cube,
)
from stellarssl.encoder import (
    Encoder,
    EncoderSpec,
)
from stellarssl.exceptions import (
    StellarSSLError,
    StellarSSLWarning,
)
from stellarssl.library import (
    ReferenceLibrary,
)
from stellarssl.masses import (
    MassEstimator,
)
from stellarssl.moments import (
    MomentMaps,
    MomentOptions,
    moment_maps,
    moment_plan,
    source_footprint,
)
from stellarssl.observe import (
    Observation,
)
from stellarssl.pipeline import (
    Analysis,
    analyze,
    compare,
    demo_files,
    estimate_mass,
    info,
    segment,
    write_masses,
)
from stellarssl.report import (
    write_comparison,
    write_figures,
)
from stellarssl.segmentation import (
    PCASegmenter,
    Segmentation,
)
from stellarssl.spectra import (
    SourceSpectra,
    source_spectra,
    spectra_from_arrays,
)
from stellarssl.tiles import (
    TileSet,
    make_tiles,
)
from stellarssl.tracers import (
    Tracer,
)

__version__: str

__all__ = [
    "Analysis",
    "Cube",
    "Encoder",
    "EncoderSpec",
    "MassEstimator",
    "MomentMaps",
    "MomentOptions",
    "Observation",
    "PCASegmenter",
    "ReadOptions",
    "ReferenceLibrary",
    "Segmentation",
    "SourceSpectra",
    "StellarSSLError",
    "StellarSSLWarning",
    "TileSet",
    "Tracer",
    "analyze",
    "cli",
    "compare",
    "cubes",
    "demo_files",
    "encoder",
    "estimate_mass",
    "evaluate",
    "exceptions",
    "info",
    "library",
    "make_tiles",
    "masses",
    "moment_maps",
    "moment_plan",
    "moments",
    "observe",
    "pipeline",
    "plots",
    "pretrain",
    "profile",
    "read_cube",
    "report",
    "segment",
    "segmentation",
    "source_footprint",
    "source_spectra",
    "spectra",
    "spectra_from_arrays",
    "survey",
    "tiles",
    "tracers",
    "write_comparison",
    "write_figures",
    "write_masses",
]
