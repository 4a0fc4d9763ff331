"""Simulated gas with known stars, as simulated and as a telescope would observe it."""

from stellarssl.library.backgrounds import Backgrounds
from stellarssl.library.ppv import PPVTiles
from stellarssl.library.reference import DEFAULT_BLOCKS, N_VIEWS, ReferenceLibrary
from stellarssl.library.tokens import TokenStatistics, token_statistics

__all__ = [
    "DEFAULT_BLOCKS",
    "N_VIEWS",
    "Backgrounds",
    "PPVTiles",
    "ReferenceLibrary",
    "TokenStatistics",
    "token_statistics",
]
