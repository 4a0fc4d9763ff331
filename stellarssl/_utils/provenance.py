"""Where a number came from: versions and checksums."""

import hashlib
import os
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version

__all__ = ["file_sha256", "provenance"]

_RECORDED = ("stellarssl", "astropy", "numpy", "scikit-learn", "spectral-cube", "torch", "timm")


def file_sha256(path: str | os.PathLike) -> str:
    """Return the sha256 of a file's bytes.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    digest : str
        64 hexadecimal digits.
    """
    with open(path, "rb") as file:  # noqa: PTH123  (file_digest wants a raw file)
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance() -> dict[str, str]:
    """Return the date and the versions that a result's ``meta`` carries.

    Returns
    -------
    record : dict of str
        ``date`` (UTC, ISO 8601) and ``version_<package>``.
    """
    record = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    return record | {f"version_{name}": _version(name) for name in _RECORDED}


@cache
def _version(name: str) -> str:
    """Look a package up once: each search of the environment takes some milliseconds."""
    return version(name)
