"""What is kept of work that is finished, so that it is not done again.

Every record is a JSON file that is either whole or not there, and names the products that it stands
for. It holds as long as these have the size that it says, and the numbers that it was made from, of
which ``key`` is the checksum, are the same.
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from stellarssl._utils.output import atomic_path
from stellarssl._utils.provenance import file_sha256
from stellarssl.exceptions import InputError

__all__ = [
    "checksum",
    "clear_unfinished",
    "is_output",
    "journal",
    "read_record",
    "stamp",
    "storing",
    "write_json",
    "write_record",
]


def checksum(*parts: object) -> str:
    """Return the sha256 of what can be told as JSON.

    Parameters
    ----------
    *parts : object
        Dicts, lists, strings, numbers.

    Returns
    -------
    digest : str
        64 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def stamp(path: str | os.PathLike) -> dict[str, int]:
    """Return a file's size and time of change; of a folder, such as a CASA image, all its files'.

    Parameters
    ----------
    path : path-like
        What must not change.

    Returns
    -------
    stamp : dict of int
        ``size`` [bytes] and ``mtime_ns``.

    Raises
    ------
    InputError
        If it is not there.
    """
    path = Path(path)
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    try:
        states = [each.stat() for each in files]
    except OSError as error:
        raise InputError("cube", "must be a file that is there", str(path)) from error
    return {
        "size": sum(state.st_size for state in states),
        "mtime_ns": max((state.st_mtime_ns for state in states), default=0),
    }


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Say of what fails within that it is the output, whatever the writer makes of it.

    Parameters
    ----------
    path : `~pathlib.Path`
        What is written.

    Raises
    ------
    InputError
        If the disk is full or read-only.
    """
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error).split())
        rule = (
            f"must be a folder with room that can be written to ({reason}); "
            "what is finished stays, and the same command goes on"
        )
        raise InputError("output", rule, str(path)) from error


def is_output(error: object) -> bool:
    """Tell whether something is the error of `storing`, after which no cube can go on.

    Parameters
    ----------
    error : object
        Any result.

    Returns
    -------
    whether : bool
        If it is.
    """
    return isinstance(error, InputError) and error.parameter == "output"


def write_json(path: Path, record: dict) -> None:
    """Write a JSON file that is whole or not there.

    Parameters
    ----------
    path : `~pathlib.Path`
        Where to; what is there is replaced.
    record : dict
        What can be told as JSON.
    """
    with storing(path), atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def write_record(path: Path, key: str, products: Iterable[Path], **more: object) -> None:
    """Record that products are finished.

    Parameters
    ----------
    path : `~pathlib.Path`
        The record, beside the products.
    key : str
        Checksum of all that they were made from.
    products : iterable of `~pathlib.Path`
        The files.
    **more : object
        What else is told.
    """
    with storing(path):
        files = {
            each.name: {"size": each.stat().st_size, "sha256": file_sha256(each)}
            for each in products
        }
    write_json(path, {"key": key, **more, "products": files})


def read_record(path: Path, key: str) -> dict | None:
    """Return a record if it still holds.

    Parameters
    ----------
    path : `~pathlib.Path`
        Of `write_record`.
    key : str
        Checksum of what the products would be made from now.

    Returns
    -------
    record : dict or None
        None if there is none, it is damaged, the key is another, or a product is gone or has
        another size.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        holds = record["key"] == key and all(
            (path.parent / name).stat().st_size == file["size"]
            for name, file in record["products"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if holds else None


def clear_unfinished(folder: Path) -> None:
    """Take away what a run that was killed was writing, and products of a record that fails.

    Parameters
    ----------
    folder : `~pathlib.Path`
        May not be there. Files that no record names stay.
    """
    for path in folder.glob(".*-*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
    done = folder / "done.json"
    try:
        names = list(json.loads(done.read_text(encoding="utf-8"))["products"])
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    with storing(folder):
        for name in (*names, done.name):
            (folder / Path(name).name).unlink(missing_ok=True)


def journal(output: Path, folder: str, stage: str, event: str) -> None:
    """Add a line to ``journal.jsonl``: who did what, and when.

    Parameters
    ----------
    output : `~pathlib.Path`
        Of the survey.
    folder, stage, event : str
        Of which cube what begins or ends.
    """
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "cube": folder,
        "stage": stage,
        "event": event,
    }
    with storing(output), (output / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
