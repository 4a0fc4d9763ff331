"""Libraries and the encoder, given as objects, names or files."""

import os

from stellarssl.encoder import Encoder
from stellarssl.exceptions import InputError
from stellarssl.library import PPVTiles, ReferenceLibrary, has_tiles

__all__ = ["as_encoder", "as_library", "as_tiles"]


def as_encoder(encoder: Encoder | str | os.PathLike | None) -> Encoder:
    """Return an encoder; None is the shipped one.

    Parameters
    ----------
    encoder : `~stellarssl.Encoder`, str, path-like or None
        An encoder, or what `~stellarssl.Encoder.from_pretrained` loads.

    Returns
    -------
    encoder : `~stellarssl.Encoder`
        The encoder itself, or the one that was loaded.

    Raises
    ------
    InputError
        If it is something else or cannot be loaded.
    """
    if encoder is None:
        return Encoder.from_pretrained()
    if isinstance(encoder, Encoder):
        return encoder
    if not isinstance(encoder, str | os.PathLike):
        rule = "must be an Encoder, a shipped name or a .safetensors file"
        raise InputError("encoder", rule, type(encoder).__name__)
    try:
        return Encoder.from_pretrained(encoder)
    except InputError as error:
        raise InputError("encoder", error.rule, error.value, error.arguments) from error


def as_library(library: ReferenceLibrary | str | os.PathLike | None) -> ReferenceLibrary:
    """Return a reference library; None is the shipped one.

    Parameters
    ----------
    library : `~stellarssl.ReferenceLibrary`, path-like or None
        A library, or a file that `~stellarssl.ReferenceLibrary.write` wrote.

    Returns
    -------
    library : `~stellarssl.ReferenceLibrary`
        The library itself, or the one that was read.

    Raises
    ------
    InputError
        If it is something else or cannot be read.
    """
    if library is None:
        return ReferenceLibrary.default()
    if isinstance(library, ReferenceLibrary):
        return library
    if not isinstance(library, str | os.PathLike):
        rule = "must be a ReferenceLibrary, PPVTiles or a file that their write() wrote"
        raise InputError("library", rule, type(library).__name__)
    try:
        return ReferenceLibrary.read(library)
    except InputError as error:
        raise InputError("library", error.rule, error.value, error.arguments) from error


def as_tiles(
    library: PPVTiles | ReferenceLibrary | str | os.PathLike | None,
) -> PPVTiles | ReferenceLibrary:
    """Return a library of either kind; None is the shipped position-position-velocity tiles.

    Parameters
    ----------
    library : `~stellarssl.library.PPVTiles`, `~stellarssl.ReferenceLibrary`, path-like or None
        A library, or a file that its ``write`` wrote.

    Returns
    -------
    library : `~stellarssl.library.PPVTiles` or `~stellarssl.ReferenceLibrary`
        The library itself, or the one that was read.

    Raises
    ------
    InputError
        If it is something else or cannot be read.
    """
    if library is None:
        return PPVTiles.default()
    if isinstance(library, PPVTiles):
        return library
    if isinstance(library, str | os.PathLike) and has_tiles(library):
        return PPVTiles.read(library)
    return as_library(library)
