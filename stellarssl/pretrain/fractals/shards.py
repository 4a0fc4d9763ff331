"""Flames on disk: shards that are memory-mapped, a manifest that says what they are."""

import json
import multiprocessing
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from stellarssl._utils.output import atomic_path
from stellarssl._utils.progress import progress as progress_bar
from stellarssl._utils.provenance import file_sha256
from stellarssl.exceptions import InputError, StellarSSLError, StellarSSLWarning
from stellarssl.pretrain.fractals.render import check_options, render_indexed

__all__ = ["OFFSETS", "RENDERER", "ShardError", "open_shards", "read_manifest", "render_shards"]

OFFSETS = (22.0, 0.0, 0.0)
"""What is taken off each channel before it is stored in half precision: log N there, whose steps
would otherwise be 0.016."""

_MANIFEST = "manifest.json"
_FORMAT = 1
RENDERER = 1
"""Raised when the same seed and index give another image."""


class ShardError(StellarSSLError, OSError):
    """A shard is missing, damaged, or cannot be written."""


def read_manifest(path: str | os.PathLike) -> dict:
    """Read the manifest of a folder of shards.

    Parameters
    ----------
    path : path-like
        The folder.

    Returns
    -------
    manifest : dict
        ``options`` (what was asked for) and ``shards`` (name -> sha256).

    Raises
    ------
    ShardError
        If there is none or it cannot be read.
    """
    file = Path(path) / _MANIFEST
    try:
        manifest = json.loads(file.read_text())
        return {"options": dict(manifest["options"]), "shards": dict(manifest["shards"])}
    except FileNotFoundError as error:
        raise ShardError(f"{file} is not there: render flames with render_shards first") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{file} is not a manifest of flame shards: {error}") from error


def _write_manifest(path: Path, manifest: dict) -> None:
    with atomic_path(path / _MANIFEST, overwrite=True) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n")


def _shard_name(number: int) -> str:
    return f"flames-{number:05d}.npy"


def _shard_rows(number: int, options: dict) -> tuple[int, int]:
    low = number * options["shard_size"]
    return low, min(options["n"], low + options["shard_size"])


def _render_shard(path: Path, number: int, options: dict) -> tuple[str, str]:
    """Render one shard under a temporary name, then give it its own; return name and sha256."""
    low, high = _shard_rows(number, options)
    size, name = options["size"], _shard_name(number)
    rows = np.empty((high - low, 3, size, size), np.float16)
    for row, index in zip(rows, range(low, high), strict=True):
        image, _ = render_indexed(
            index,
            kind=options["kind"],
            size=size,
            n_points=options["n_points"],
            seed=options["seed"],
        )
        row[:] = image.maps - np.reshape(options["offsets"], (3, 1, 1))
    with atomic_path(path / name, overwrite=True) as temporary:
        np.save(temporary, rows)
        digest = file_sha256(temporary)
    return name, digest


def _extends(old: dict, new: dict) -> bool:
    """Whether ``new`` asks for the flames of ``old`` and more, so that its shards still hold."""
    more = new["n"] >= old["n"] and (new["n"] == old["n"] or old["n"] % old["shard_size"] == 0)
    return more and old | {"n": new["n"]} == new


def _adopt(path: Path, manifest: dict) -> list[int]:
    """Take stock of what is there: return the numbers of the shards that are to be rendered.

    A shard that was finished but not written into the manifest is taken up; one that is damaged
    or lost is not.
    """
    options, recorded, todo = manifest["options"], manifest["shards"], []
    manifest["shards"] = {}
    for number in range(-(-options["n"] // options["shard_size"])):
        file = path / _shard_name(number)
        digest = file_sha256(file) if file.exists() else None
        if digest is None or recorded.get(file.name, digest) != digest:
            if digest is not None:
                message = f"{file} was damaged (sha256) and is rendered again"
                warnings.warn(message, StellarSSLWarning, stacklevel=3)
            todo.append(number)
        else:
            manifest["shards"][file.name] = digest
    return todo


def render_shards(
    path: str | os.PathLike,
    n: int,
    *,
    kind: str = "moments",
    size: int | None = None,
    n_points: int | None = None,
    seed: int = 0,
    n_workers: int = 1,
    shard_size: int = 2000,
    progress: bool = False,
) -> Path:
    """Render flames to memory-mapped files, going on where an earlier call was stopped.

    Parameters
    ----------
    path : path-like
        Folder of the shards; made if need be. The shards there are checked and kept.
    n : int
        How many flames. A finished folder of full shards may be extended.
    kind : {"moments", "rgb", "affine", "fbm"}, optional
        What kind of image.
    size : int, optional
        Pixels along a side; 96, or 336 for ``rgb``.
    n_points : int, optional
        Steps of the chaos game; 1e5, or 1e6 for ``rgb``.
    seed : int, optional
        Flame ``i`` depends on ``(seed, i)`` alone.
    n_workers : int, optional
        Processes.
    shard_size : int, optional
        Flames a file.
    progress : bool, optional
        Whether there is a progress bar.

    Returns
    -------
    path : `~pathlib.Path`
        The folder.

    Raises
    ------
    InputError
        If the folder holds flames of other options.
    ShardError
        If the disk is full, a file cannot be written or a worker is killed; what is finished is
        kept.
    """
    path = Path(path)
    size, n_points = check_options(kind, size, n_points)
    for name, value in (("n", n), ("n_workers", n_workers), ("shard_size", shard_size)):
        if not (isinstance(value, int) and value >= 1):
            raise InputError(name, "must be a whole number above zero", value)
    options = {
        "format": _FORMAT, "renderer": RENDERER, "n": n, "kind": kind, "size": size,
        "n_points": n_points, "seed": seed, "shard_size": shard_size,
        "offsets": list(OFFSETS) if kind != "rgb" else [0.0, 0.0, 0.0],
    }  # fmt: skip
    manifest = {"options": options, "shards": {}}
    if (path / _MANIFEST).exists():
        manifest = read_manifest(path)
        if not _extends(manifest["options"], options):
            raise InputError(
                "path", f"must not hold flames of other options ({manifest['options']})", options
            )
        manifest["options"] = options
    try:
        path.mkdir(parents=True, exist_ok=True)
        todo = _adopt(path, manifest)
        _write_manifest(path, manifest)
        for name, digest in progress_bar(
            _render_all(path, todo, options, n_workers), "flames", total=len(todo), show=progress
        ):
            manifest["shards"][name] = digest
            _write_manifest(path, manifest)
    except OSError as error:
        reason = error.strerror or error
        raise ShardError(
            f"{path}: cannot write flames ({reason}); finished shards are kept"
        ) from error
    except BrokenProcessPool as error:
        raise ShardError(
            f"{path}: a worker was killed; finished shards are kept, call again to go on"
        ) from error
    return path


def _render_all(
    path: Path, todo: list[int], options: dict, n_workers: int
) -> Iterator[tuple[str, str]]:
    if n_workers == 1:
        yield from (_render_shard(path, number, options) for number in todo)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        jobs = [pool.submit(_render_shard, path, number, options) for number in todo]
        for job in jobs:
            yield job.result()


def open_shards(path: str | os.PathLike, *, verify: bool = False) -> tuple[list[np.ndarray], dict]:
    """Map all shards of a folder into memory.

    Parameters
    ----------
    path : path-like
        The folder.
    verify : bool, optional
        Whether the files' checksums are compared with the manifest's.

    Returns
    -------
    shards : list of ndarray
        Memory maps, float16, (n, 3, size, size).
    options : dict
        The manifest's.

    Raises
    ------
    ShardError
        If a shard is missing or damaged.
    """
    path = Path(path)
    manifest = read_manifest(path)
    options, shards = manifest["options"], []
    for number in range(-(-options["n"] // options["shard_size"])):
        low, high = _shard_rows(number, options)
        file = path / _shard_name(number)
        expected = manifest["shards"].get(file.name)
        if expected is None:
            raise ShardError(f"{file} is not rendered yet: call render_shards again to go on")
        if verify and file_sha256(file) != expected:
            raise ShardError(f"{file} is damaged (sha256): delete it and call render_shards again")
        try:
            rows = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ShardError(
                f"{file} is missing or damaged: delete it and call render_shards again"
            ) from error
        if rows.shape != (high - low, 3, options["size"], options["size"]):
            raise ShardError(f"{file} is damaged: delete it and call render_shards again")
        shards.append(rows)
    return shards, options
