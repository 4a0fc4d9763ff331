"""Simulated gas with known stars, as simulated and as a telescope would observe it."""

from stellarssl.library.backgrounds import Backgrounds
from stellarssl.library.observing import (
    SNR_STEP,
    Telescope,
    central_column,
    encoded_rows,
    map_rows,
    observed_rows,
    rounded_snr,
)
from stellarssl.library.ppv import PPVTiles, has_tiles
from stellarssl.library.reference import DEFAULT_BLOCKS, N_VIEWS, ReferenceLibrary
from stellarssl.library.rows import LibraryRows
from stellarssl.library.tokens import TokenStatistics, token_statistics

__all__ = [
    "DEFAULT_BLOCKS",
    "N_VIEWS",
    "SNR_STEP",
    "Backgrounds",
    "LibraryRows",
    "PPVTiles",
    "ReferenceLibrary",
    "Telescope",
    "TokenStatistics",
    "central_column",
    "encoded_rows",
    "has_tiles",
    "map_rows",
    "observed_rows",
    "rounded_snr",
    "token_statistics",
]
