"""One run at a time in a folder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stellarssl.exceptions import InputError
from stellarssl.survey._records import storing

__all__ = ["locked"]


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it when the process ends, however.

    Parameters
    ----------
    output : `~pathlib.Path`
        Is made if it is not there.

    Raises
    ------
    InputError
        If another process holds it, or it cannot be written to.
    """
    path = output / "survey.lock"
    with storing(output):
        output.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            rule = f"must not be in use by another run ({file.read().strip() or 'unknown'})"
            raise InputError("output", rule, str(output)) from error
        with storing(output):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        yield
