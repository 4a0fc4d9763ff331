"""Flames, or other images, in memory-mapped shards with a manifest of their options."""

import json
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stellarssl._utils.output import atomic_path
from stellarssl._utils.progress import progress as progress_bar
from stellarssl._utils.provenance import file_sha256
from stellarssl.exceptions import InputError, StellarSSLError, StellarSSLWarning
from stellarssl.pretrain.fractals.render import check_options, render_indexed

__all__ = [
    "OFFSETS",
    "RENDERER",
    "ShardError",
    "ShardKind",
    "check_counts",
    "open_shards",
    "read_manifest",
    "render_shards",
    "write_shards",
]

OFFSETS = (22.0, 0.0, 0.0)
"""What is taken off each channel before it is stored in half precision: log N there, whose steps
would otherwise be 0.016."""

_MANIFEST = "manifest.json"
_FORMAT = 1
RENDERER = 1
"""Raised when the same seed and index give another image."""


class ShardError(StellarSSLError, OSError):
    """A shard is missing, damaged, or cannot be written."""


class ShardKind(NamedTuple):
    """What shards hold.

    Attributes
    ----------
    noun : str
        Name of the images, with which the names of the files begin.
    row : callable
        Returns the NumPy dtype of one image, a subarray or a structure, from the options.
    render : callable
        Fills an array of that dtype with images ``low`` to ``high``:
        ``render(rows, low, high, options)``.
    """

    noun: str
    row: Callable[[dict], np.dtype]
    render: Callable[[np.ndarray, int, int, dict], None]


def read_manifest(path: str | os.PathLike, noun: str = "flames") -> dict:
    """Read the manifest of a folder of shards.

    Parameters
    ----------
    path : path-like
        The folder.
    noun : str, optional
        Name of what the shards hold.

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
        raise ShardError(f"{file} is not there: render {noun} first") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{file} is not a manifest of {noun}: {error}") from error


def _write_manifest(path: Path, manifest: dict) -> None:
    with atomic_path(path / _MANIFEST, overwrite=True) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n")


def _shard_name(noun: str, number: int) -> str:
    return f"{noun}-{number:05d}.npy"


def _shard_rows(number: int, options: dict) -> tuple[int, int]:
    low = number * options["shard_size"]
    return low, min(options["n"], low + options["shard_size"])


def _render_shard(path: Path, number: int, options: dict, kind: ShardKind) -> tuple[str, str]:
    """Render one shard under a temporary name, then give it its own; return name and sha256."""
    low, high = _shard_rows(number, options)
    name = _shard_name(kind.noun, number)
    rows = np.empty(high - low, kind.row(options))
    kind.render(rows, low, high, options)
    with atomic_path(path / name, overwrite=True) as temporary:
        np.save(temporary, rows)
        digest = file_sha256(temporary)
    return name, digest


def _flame_row(options: dict) -> np.dtype:
    return np.dtype((np.float16, (3, options["size"], options["size"])))


def _render_flames(rows: np.ndarray, low: int, high: int, options: dict) -> None:
    for row, index in zip(rows, range(low, high), strict=True):
        image, _ = render_indexed(
            index,
            kind=options["kind"],
            size=options["size"],
            n_points=options["n_points"],
            seed=options["seed"],
        )
        row[:] = image.maps - np.reshape(options["offsets"], (3, 1, 1))


_FLAMES = ShardKind("flames", _flame_row, _render_flames)


def _extends(old: dict, new: dict) -> bool:
    """Whether ``new`` asks for the flames of ``old`` and more, so that its shards still hold."""
    more = new["n"] >= old["n"] and (new["n"] == old["n"] or old["n"] % old["shard_size"] == 0)
    return more and old | {"n": new["n"]} == new


def _adopt(path: Path, manifest: dict, noun: str) -> list[int]:
    """Take stock of what is there: return the numbers of the shards that are to be rendered.

    A shard that was finished but not written into the manifest is taken up; one that is damaged
    or lost is not.
    """
    options, recorded, todo = manifest["options"], manifest["shards"], []
    manifest["shards"] = {}
    for number in range(-(-options["n"] // options["shard_size"])):
        file = path / _shard_name(noun, number)
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
    size, n_points = check_options(kind, size, n_points)
    check_counts(n=n, n_workers=n_workers, shard_size=shard_size)
    options = {
        "format": _FORMAT, "renderer": RENDERER, "n": n, "kind": kind, "size": size,
        "n_points": n_points, "seed": seed, "shard_size": shard_size,
        "offsets": list(OFFSETS) if kind != "rgb" else [0.0, 0.0, 0.0],
    }  # fmt: skip
    return write_shards(path, options, _FLAMES, n_workers=n_workers, progress=progress)


def check_counts(**counts: int) -> None:
    """Refuse counts that are not whole numbers above zero.

    Parameters
    ----------
    **counts : int
        Values by the name of the argument.

    Raises
    ------
    InputError
        If one is not.
    """
    for name, value in counts.items():
        if not (isinstance(value, int) and value >= 1):
            raise InputError(name, "must be a whole number above zero", value)


def write_shards(
    path: str | os.PathLike,
    options: dict,
    kind: ShardKind,
    *,
    n_workers: int = 1,
    progress: bool = False,
) -> Path:
    """Write images to memory-mapped files, going on where an earlier call was stopped.

    Parameters
    ----------
    path : path-like
        Folder of the shards.
    options : dict
        All that the images depend on, in JSON types; among them their number ``n`` and the number
        of images in a file, ``shard_size``.
    kind : ShardKind
        What the shards hold.
    n_workers : int, optional
        Number of processes.
    progress : bool, optional
        Whether there is a progress bar.

    Returns
    -------
    path : `~pathlib.Path`
        The folder.

    Raises
    ------
    InputError
        If the folder holds images of other options.
    ShardError
        If a file cannot be written or a worker is killed; finished files are kept.
    """
    path, noun = Path(path), kind.noun
    manifest = {"options": options, "shards": {}}
    if (path / _MANIFEST).exists():
        manifest = read_manifest(path, noun)
        if not _extends(manifest["options"], options):
            raise InputError(
                "path", f"must not hold {noun} of other options ({manifest['options']})", options
            )
        manifest["options"] = options
    try:
        path.mkdir(parents=True, exist_ok=True)
        todo = _adopt(path, manifest, noun)
        _write_manifest(path, manifest)
        for name, digest in progress_bar(
            _render_all(path, todo, kind, options, n_workers), noun, total=len(todo), show=progress
        ):
            manifest["shards"][name] = digest
            _write_manifest(path, manifest)
    except OSError as error:
        reason = error.strerror or error
        raise ShardError(
            f"{path}: cannot write {noun} ({reason}); finished shards are kept"
        ) from error
    except BrokenProcessPool as error:
        raise ShardError(
            f"{path}: a worker was killed; finished shards are kept, call again to go on"
        ) from error
    return path


def _render_all(
    path: Path, todo: list[int], kind: ShardKind, options: dict, n_workers: int
) -> Iterator[tuple[str, str]]:
    if n_workers == 1:
        yield from (_render_shard(path, number, options, kind) for number in todo)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        jobs = [pool.submit(_render_shard, path, number, options, kind) for number in todo]
        for job in jobs:
            yield job.result()


def open_shards(
    path: str | os.PathLike, kind: ShardKind = _FLAMES, *, verify: bool = False
) -> tuple[list[np.ndarray], dict]:
    """Map all shards of a folder into memory.

    Parameters
    ----------
    path : path-like
        The folder.
    kind : ShardKind, optional
        What the shards hold; by default flames.
    verify : bool, optional
        Whether the files' checksums are compared with the manifest's.

    Returns
    -------
    shards : list of ndarray
        Memory maps, for flames float16 (n, 3, size, size).
    options : dict
        The manifest's.

    Raises
    ------
    ShardError
        If a shard is missing or damaged.
    """
    path = Path(path)
    manifest = read_manifest(path, kind.noun)
    options, shards = manifest["options"], []
    for number in range(-(-options["n"] // options["shard_size"])):
        low, high = _shard_rows(number, options)
        file = path / _shard_name(kind.noun, number)
        expected = manifest["shards"].get(file.name)
        if expected is None:
            raise ShardError(f"{file} is not rendered yet: render again to go on")
        if verify and file_sha256(file) != expected:
            raise ShardError(f"{file} is damaged (sha256): delete it and render again")
        try:
            rows = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ShardError(f"{file} is missing or damaged: delete it and render again") from error
        empty = np.empty(0, kind.row(options))
        if rows.shape != (high - low, *empty.shape[1:]) or rows.dtype != empty.dtype:
            raise ShardError(f"{file} is damaged: delete it and render again")
        shards.append(rows)
    return shards, options
