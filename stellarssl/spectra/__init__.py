"""Mean spectra in rings around sources: line profile against physical radius."""

from stellarssl.spectra.extract import source_spectra, spectra_from_arrays
from stellarssl.spectra.rings import RING_EDGES, ring_radii
from stellarssl.spectra.source_spectra import SourceSpectra
from stellarssl.spectra.statistics import spectrum_statistics
from stellarssl.spectra.velocity import WIDEST_CHANNEL

__all__ = [
    "RING_EDGES",
    "WIDEST_CHANNEL",
    "SourceSpectra",
    "ring_radii",
    "source_spectra",
    "spectra_from_arrays",
    "spectrum_statistics",
]
