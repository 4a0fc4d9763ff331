"""Weights and library: named by path and checksum, loaded once a process."""

import json
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from stellarssl._utils.output import atomic_path
from stellarssl.encoder import Encoder, Features
from stellarssl.exceptions import InputError
from stellarssl.library import ReferenceLibrary
from stellarssl.observe import Observation
from stellarssl.survey._records import checksum, storing
from stellarssl.tiles import TileStatistics

__all__ = ["Models", "find_models", "load_models", "observed_library", "write_observed"]


@dataclass(frozen=True)
class Models:
    """What is sent to a worker instead of weights and library.

    Attributes
    ----------
    encoder, library : str or None
        A shipped name or a path, the same for every worker; None is what is shipped.
    encoder_sha256, library_sha256 : str
        What must be found there.
    """

    encoder: str | None
    library: str | None
    encoder_sha256: str
    library_sha256: str


def find_models(encoder: str | os.PathLike | None, library: str | os.PathLike | None) -> Models:
    """Look weights and library up where the survey is started.

    Parameters
    ----------
    encoder : str or path-like or None
        As `~stellarssl.Encoder.from_pretrained` takes it.
    library : path-like or None
        As `~stellarssl.ReferenceLibrary.read` takes it.

    Returns
    -------
    models : `Models`
        With their checksums.

    Raises
    ------
    EncoderMismatchError
        If the library has no features of these weights.
    InputError
        If one of them cannot be read.
    """
    named = [None if each is None else _named(os.fspath(each)) for each in (encoder, library)]
    weights, reference = _load(*named)
    return Models(*named, weights.sha256, reference.sha256)


def _named(name: str) -> str:
    """Return a file's whole path, and a shipped name as it is."""
    return os.path.abspath(name) if Path(name).is_file() else name  # noqa: PTH100  (keeps links)


@lru_cache(maxsize=1)
def _load(encoder: str | None, library: str | None) -> tuple[Encoder, ReferenceLibrary]:
    weights = Encoder.from_pretrained() if encoder is None else Encoder.from_pretrained(encoder)
    reference = ReferenceLibrary.default() if library is None else ReferenceLibrary.read(library)
    # every worker gives the same masses, since it computes as the library's features were
    return reference.match_encoder(weights), reference


def load_models(models: Models) -> tuple[Encoder, ReferenceLibrary]:
    """Return weights and library, read once a process.

    Parameters
    ----------
    models : `Models`
        Which.

    Returns
    -------
    encoder : `~stellarssl.Encoder`
        Computing as the library's features were.
    library : `~stellarssl.ReferenceLibrary`
        As simulated.

    Raises
    ------
    InputError
        If they are not there, or are others than where the survey was started.
    """
    weights, reference = _load(models.encoder, models.library)
    for name, found, wanted in (
        ("encoder", weights.sha256, models.encoder_sha256),
        ("library", reference.sha256, models.library_sha256),
    ):
        if found != wanted:
            rule = f"must be the same for every worker, with the sha256 {wanted[:12]}"
            raise InputError(name, rule, found[:12])
    return weights, reference


def _observed_path(output: Path, models: Models, observation: Observation) -> Path:
    digest = checksum(models.encoder_sha256, models.library_sha256)
    return output / "observed" / f"{observation.key}-{digest[:12]}.npz"


def write_observed(output: Path, models: Models, observation: Observation) -> None:
    """Observe the library as a telescope does, once for all cubes and workers.

    Parameters
    ----------
    output : `~pathlib.Path`
        The survey's folder.
    models : `Models`
        Weights and library.
    observation : `~stellarssl.Observation`
        The telescope.
    """
    path = _observed_path(output, models, observation)
    if path.exists():
        return
    encoder, library = load_models(models)
    seen = library.observed(observation, encoder)
    with storing(path), atomic_path(path, overwrite=True) as temporary:
        np.savez(
            temporary,
            maps=seen.maps,
            detected=seen.detected,
            statistics=seen.statistics.array,
            features=seen.features.array,
            blocks=json.dumps({k: [v.start, v.stop] for k, v in seen.features.blocks.items()}),
        )


@lru_cache(maxsize=2)
def observed_library(output: Path, models: Models, observation: Observation) -> ReferenceLibrary:
    """Return what `write_observed` wrote, read once a process.

    Parameters
    ----------
    output, models, observation
        As for `write_observed`.

    Returns
    -------
    library : `~stellarssl.ReferenceLibrary`
        As observed.
    """
    encoder, library = load_models(models)
    with np.load(_observed_path(output, models, observation)) as file:
        maps, detected, statistics, features = (
            file[name] for name in ("maps", "detected", "statistics", "features")
        )
        blocks = json.loads(str(file["blocks"]))
    return replace(
        library,
        maps=maps,
        detected=detected,
        statistics=TileStatistics(library.statistics.names, statistics),
        features=Features(
            features,
            {name: slice(*ends) for name, ends in blocks.items()},
            encoder.sha256,
            encoder.dtype,
        ),
        observation=observation,
        meta=library.meta | {"simulated_sha256": library.sha256},
    )
