"""Weights and libraries: named by path and checksum, loaded once per process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from stellarssl.encoder import Encoder
from stellarssl.exceptions import InputError
from stellarssl.library import (
    PPVTiles,
    ReferenceLibrary,
    Telescope,
    cache,
    has_tiles,
    observed_rows,
)
from stellarssl.pipeline import Comparison, MassOptions

__all__ = ["Loaded", "Models", "find_models", "keep_observed", "load_models", "observe_once"]


@dataclass(frozen=True)
class Models:
    """What is sent to a worker instead of weights and libraries.

    Attributes
    ----------
    encoder, library : str or None
        A shipped name or a path, the same for every worker; None for what is shipped.
    reader, prior : str
        As for `~stellarssl.estimate_mass`.
    encoder_sha256, library_sha256 : str
        Checksums of the weights, and of the library that masses are read from.
    """

    encoder: str | None
    library: str | None
    reader: str
    prior: str
    encoder_sha256: str
    library_sha256: str


@dataclass(frozen=True, eq=False)
class Loaded:
    """Weights and libraries in memory.

    Attributes
    ----------
    encoder : `~stellarssl.Encoder`
        Encoder of segments, and of masses with the reader "knn".
    maps : `~stellarssl.ReferenceLibrary`
        Library that fixes the colors of segments.
    stars : `~stellarssl.library.PPVTiles` or `~stellarssl.ReferenceLibrary`
        Library that masses are read from.
    """

    encoder: Encoder
    maps: ReferenceLibrary
    stars: PPVTiles | ReferenceLibrary

    def comparison(self, models: Models, allowed: int) -> Comparison:
        """Return the reader and library of masses.

        Parameters
        ----------
        models : `Models`
            Names of the reader and the prior.
        allowed : int
            Flags in spite of which masses are shown, as a bit mask.

        Returns
        -------
        comparison : `~stellarssl.pipeline.Comparison`
            Without progress bars, on one thread.
        """
        encoder = self.encoder if models.reader == "knn" else None
        return Comparison(models.reader, models.prior, self.stars, encoder, allowed)


def find_models(options: MassOptions) -> Models:
    """Look up weights and libraries where the survey is started.

    Parameters
    ----------
    options : `~stellarssl.pipeline.MassOptions`
        Checked options.

    Returns
    -------
    models : `Models`
        With their checksums.

    Raises
    ------
    EncoderMismatchError
        If a library of maps has features of other weights, or none for the reader "knn".
    InputError
        If one of them cannot be read, or is no name or file.
    """
    if not isinstance(options.prior, str):
        raise InputError("prior", 'must be "library" or "flat" in a survey', repr(options.prior))
    named = [_named(name, getattr(options, name)) for name in ("encoder", "library")]
    loaded = _load(*named, options.reader)
    sha256 = loaded.encoder.sha256, loaded.stars.sha256
    return Models(*named, options.reader, options.prior, *sha256)


def _named(parameter: str, name: object) -> str | None:
    """Return the whole path of a file, and a shipped name as it is."""
    if name is None:
        return None
    if not isinstance(name, str | os.PathLike):
        rule = "must be a name or a file in a survey, which its workers can read"
        raise InputError(parameter, rule, repr(name))
    return os.path.abspath(name) if Path(name).is_file() else os.fspath(name)  # noqa: PTH100  (keeps links)


@lru_cache(maxsize=1)
def _load(encoder: str | None, library: str | None, reader: str) -> Loaded:
    weights = Encoder.from_pretrained() if encoder is None else Encoder.from_pretrained(encoder)
    stars: PPVTiles | ReferenceLibrary
    if library is not None and has_tiles(library):
        if reader == "knn":
            rule = 'must be a ReferenceLibrary of maps for reader="knn"'
            raise InputError("library", rule, library)
        maps, stars = ReferenceLibrary.default(), PPVTiles.read(library)
    elif library is not None:
        maps = stars = ReferenceLibrary.read(library)
    else:
        maps = ReferenceLibrary.default()
        stars = PPVTiles.default() if reader == "forest" else maps
    if reader == "knn":
        # every worker gives the same masses, since it computes as the library's features were
        weights = maps.match_encoder(weights)
    return Loaded(weights, maps.with_tokens(weights), stars)


def load_models(models: Models) -> Loaded:
    """Return weights and libraries, read once per process.

    Parameters
    ----------
    models : `Models`
        Their names.

    Returns
    -------
    loaded : `Loaded`
        Weights and libraries.

    Raises
    ------
    InputError
        If they do not exist, or differ from those where the survey was started.
    """
    loaded = _load(models.encoder, models.library, models.reader)
    for name, found, wanted in (
        ("encoder", loaded.encoder.sha256, models.encoder_sha256),
        ("library", loaded.stars.sha256, models.library_sha256),
    ):
        if found != wanted:
            rule = f"must be the same for every worker, with the sha256 {wanted[:12]}"
            raise InputError(name, rule, found[:12])
    return loaded


@contextmanager
def keep_observed(output: Path) -> Iterator[None]:
    """Keep the features of observed libraries in the survey's folder.

    Parameters
    ----------
    output : `~pathlib.Path`
        The survey's folder.
    """
    with cache.in_folder(output / "observed"):
        yield


def observe_once(output: Path, models: Models, telescope: Telescope) -> None:
    """Observe the library for all cubes and workers, and keep its features.

    Parameters
    ----------
    output : `~pathlib.Path`
        The survey's folder.
    models : `Models`
        Weights and libraries.
    telescope : `~stellarssl.library.Telescope`
        What the library is observed with.
    """
    stars = load_models(models).stars
    if isinstance(stars, PPVTiles):
        with keep_observed(output):
            observed_rows(stars, telescope)
