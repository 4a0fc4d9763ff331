"""Files that are either whole or not there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stellarssl.exceptions import OutputError, OutputExistsError, StellarSSLError

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(
    path: str | os.PathLike, *, overwrite: bool = False, needed: int = 0
) -> Iterator[Path]:
    """Give a temporary name beside ``path``; it takes ``path``'s place when the block succeeds.

    Parameters
    ----------
    path : path-like
        Where the file shall be. Its folder is made.
    overwrite : bool, optional
        Whether a file that is there may be replaced.
    needed : int, optional
        Bytes that will be written: whether they are free is checked first.

    Yields
    ------
    temporary : `~pathlib.Path`
        Ends as ``path`` does, since writers choose the format by the ending.

    Raises
    ------
    OutputExistsError
        If ``path`` exists and ``overwrite`` is false.
    OutputError
        If too little is free, or the system refuses to write.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists and is not replaced", ["overwrite"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise OutputError(f"{path} needs {needed / 1e6:.4g} MB; {free / 1e6:.4g} MB are free")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            temporary = Path(folder) / path.name
            yield temporary
            temporary.replace(path)
    except StellarSSLError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
