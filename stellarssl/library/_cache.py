"""Features of observed libraries, kept between runs."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from astropy.config.paths import get_cache_dir
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from stellarssl._utils.output import atomic_path
from stellarssl.encoder import Features

__all__ = ["folder", "key", "load", "save"]

_LIMIT_BYTES = 1_000_000_000


def folder() -> Path:
    """Return where features are kept.

    Returns
    -------
    path : `~pathlib.Path`
        ``stellarssl`` in astropy's cache folder (see `astropy.config.paths.get_cache_dir`).
    """
    return Path(get_cache_dir()) / "stellarssl"


def key(*parts: str) -> str:
    """Return the name under which features are kept.

    Parameters
    ----------
    *parts : str
        All that they depend on.

    Returns
    -------
    key : str
        64 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load(key: str) -> Features | None:
    """Return features that were kept.

    Parameters
    ----------
    key : str
        Of `key`.

    Returns
    -------
    features : `~stellarssl.encoder.Features` or None
        None where there are none, or the file is damaged.
    """
    path = folder() / f"{key}.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            record = json.loads(file.metadata()["features"])
            array = file.get_tensor("array")
        path.touch()  # what is used last is dropped last
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    blocks = {name: slice(*ends) for name, ends in record["blocks"].items()}
    return Features(array, blocks, record["encoder_sha256"], record["dtype"])


def save(key: str, features: Features) -> None:
    """Keep features; where the disk refuses, they are computed again next time.

    Parameters
    ----------
    key : str
        Of `key`.
    features : `~stellarssl.encoder.Features`
        What to keep.
    """
    record = {
        "blocks": {name: [s.start, s.stop] for name, s in features.blocks.items()},
        "encoder_sha256": features.encoder_sha256,
        "dtype": features.dtype,
    }
    array = np.ascontiguousarray(features.array)
    try:
        with atomic_path(folder() / f"{key}.safetensors", overwrite=True) as temporary:
            save_file({"array": array}, temporary, metadata={"features": json.dumps(record)})
        _forget_old()
    except (OSError, SafetensorError):
        return


def _forget_old() -> None:
    """Drop the files that were not used for longest until the rest fit the limit."""
    files = [(entry.stat(), entry.path) for entry in os.scandir(folder()) if entry.is_file()]
    total = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda file: file[0].st_mtime):
        if total <= _LIMIT_BYTES:
            return
        Path(path).unlink(missing_ok=True)
        total -= status.st_size
