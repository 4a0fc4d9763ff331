"""Simulated gas whose stars are known, and how a telescope would have seen it."""

from stellarssl.library._library import (
    DEFAULT_BLOCKS,
    ReferenceLibrary,
    embed_blocks,
)
from stellarssl.library._tokens import TokenStatistics
from stellarssl.library.backgrounds import Backgrounds
from stellarssl.library.ppv import PPVTiles

__all__ = [
    "DEFAULT_BLOCKS",
    "Backgrounds",
    "PPVTiles",
    "ReferenceLibrary",
    "TokenStatistics",
    "embed_blocks",
]
