"""Files that are either whole or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stellarssl._utils.exceptions import OutputExistsError

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(path: str | os.PathLike, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary name beside ``path``; it takes ``path``'s place when the block succeeds.

    Parameters
    ----------
    path : path-like
        Where the file shall be. Its folder is made.
    overwrite : bool, optional
        Whether a file that is there may be replaced.

    Yields
    ------
    temporary : `~pathlib.Path`
        Ends as ``path`` does, since writers choose the format by the ending.

    Raises
    ------
    OutputExistsError
        If ``path`` exists and ``overwrite`` is false.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; give overwrite=True (--overwrite) to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        temporary = Path(folder) / path.name
        yield temporary
        temporary.replace(path)
