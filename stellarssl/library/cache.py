"""Cache of the features of libraries between runs."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
from astropy.config.paths import get_cache_dir
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from stellarssl._utils.output import atomic_path
from stellarssl.encoder import Features

__all__ = ["LIMIT_BYTES", "folder", "in_folder", "key", "load", "load_array", "save", "save_array"]

LIMIT_BYTES = 1_000_000_000
"""Size of the cache; the files that were not used for longest are deleted."""


_chosen: ContextVar[Path | None] = ContextVar("folder of the cache", default=None)


def folder() -> Path:
    """Return the folder of the cache.

    Returns
    -------
    path : `~pathlib.Path`
        The folder chosen by `in_folder`, or ``stellarssl`` in astropy's cache folder (see
        `astropy.config.paths.get_cache_dir`).
    """
    chosen = _chosen.get()
    return Path(get_cache_dir()) / "stellarssl" if chosen is None else chosen


@contextmanager
def in_folder(path: Path) -> Iterator[None]:
    """Keep features in another folder within a ``with`` block.

    Parameters
    ----------
    path : `~pathlib.Path`
        Folder, which is made when the first features are stored.
    """
    token = _chosen.set(path)
    try:
        yield
    finally:
        _chosen.reset(token)


def key(*parts: str) -> str:
    """Return the key under which features are stored.

    Parameters
    ----------
    *parts : str
        Everything that the features depend on.

    Returns
    -------
    key : str
        64 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load_array(key: str) -> tuple[np.ndarray, dict] | None:
    """Load an array from the cache.

    Parameters
    ----------
    key : str
        Key returned by `key`.

    Returns
    -------
    found : tuple of ndarray and dict, or None
        The array and its record; None if there is none or its file is damaged.
    """
    path = folder() / f"{key}.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            record = json.loads(file.metadata()["record"])
            array = file.get_tensor("array")
        path.touch()  # marks the file as used
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return array, record


def save_array(key: str, array: np.ndarray, record: dict) -> None:
    """Store an array in the cache, or do nothing if the disk cannot be written.

    Parameters
    ----------
    key : str
        Key returned by `key`.
    array : ndarray
        Array to store.
    record : dict
        What belongs to it, in JSON types.
    """
    try:
        with atomic_path(folder() / f"{key}.safetensors", overwrite=True) as temporary:
            tensors = {"array": np.ascontiguousarray(array)}
            save_file(tensors, temporary, metadata={"record": json.dumps(record)})
        _forget_old()
    except (OSError, SafetensorError):
        return


def load(key: str) -> Features | None:
    """Load features from the cache.

    Parameters
    ----------
    key : str
        Key returned by `key`.

    Returns
    -------
    features : `~stellarssl.encoder.Features` or None
        None if there are no such features or their file is damaged.
    """
    found = load_array(key)
    if found is None or "encoder_sha256" not in found[1]:
        return None
    array, record = found
    blocks = {name: slice(*ends) for name, ends in record["blocks"].items()}
    return Features(array, blocks, record["encoder_sha256"], record["dtype"])


def save(key: str, features: Features) -> None:
    """Store features in the cache, or do nothing if the disk cannot be written.

    Parameters
    ----------
    key : str
        Key returned by `key`.
    features : `~stellarssl.encoder.Features`
        The features to store.
    """
    record = {
        "blocks": {name: [s.start, s.stop] for name, s in features.blocks.items()},
        "encoder_sha256": features.encoder_sha256,
        "dtype": features.dtype,
    }
    save_array(key, features.array, record)


def _forget_old() -> None:
    """Delete the files that were not used for longest until the rest fit the limit."""
    files = [(entry.stat(), entry.path) for entry in os.scandir(folder()) if entry.is_file()]
    total = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda file: file[0].st_mtime):
        if total <= LIMIT_BYTES:
            return
        Path(path).unlink(missing_ok=True)
        total -= status.st_size
