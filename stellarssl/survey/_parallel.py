"""Where tasks run: in this thread, or on dask's workers."""

import heapq
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from stellarssl._utils.optional import require
from stellarssl.exceptions import InputError
from stellarssl.survey.models import Models

__all__ = ["Failure", "Here", "workers"]


@dataclass(frozen=True)
class Failure:
    """What a task ended with that broke.

    Attributes
    ----------
    reason : str
        The error in one line.
    """

    reason: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Tell an error in one line.

        Parameters
        ----------
        error : BaseException
            What was raised.

        Returns
        -------
        failure : `Failure`
            Its kind and its message.
        """
        return cls(" ".join(f"{type(error).__name__}: {error}".split()))


class Here:
    """Runs tasks one after the other in this thread: the furthest cube first."""

    def __init__(self) -> None:
        self._queue = []
        self._count = 0

    def submit(self, key: Hashable, function: Callable, args: tuple, step: int) -> None:
        """Add a task.

        Parameters
        ----------
        key : hashable
            Its name.
        function : callable
            What is called.
        args : tuple
            With what.
        step : int
            Those of a higher step come first.
        """
        heapq.heappush(self._queue, (-step, self._count, key, function, args))
        self._count += 1

    def finished(self) -> Iterator[tuple[Hashable, object]]:
        """Run tasks until there are none.

        Yields
        ------
        key : hashable
            Of the task that ended.
        result : object
            What it returned, or a `Failure`.
        """
        while self._queue:
            _, _, key, function, args = heapq.heappop(self._queue)
            try:
                result = function(*args)
            except Exception as error:  # noqa: BLE001  (one broken cube must not stop the rest)
                result = Failure.of(error)
            yield key, result


def workers(parallel: Any, models: Models) -> AbstractContextManager:
    """Open what tasks run on.

    Parameters
    ----------
    parallel : None, int, str or `distributed.Client`
        As for `~stellarssl.survey.run`.
    models : `Models`
        What each worker must find.

    Returns
    -------
    context : context manager
        Of a `Here` or the like.

    Raises
    ------
    InputError
        If it is none of these, or there is no such scheduler.
    MissingDependencyError
        If it takes ``distributed``, which is not installed.
    """
    number = isinstance(parallel, int) and not isinstance(parallel, bool)
    if parallel is None or (number and parallel == 1):
        return nullcontext(Here())
    if (number and parallel < 1) or isinstance(parallel, bool | float):
        rule = "must be 1 or more processes, 'current-scheduler', an address or a dask Client"
        raise InputError("parallel", rule, parallel)
    dask = require("stellarssl.survey._dask", "distributed", "distributed")
    return dask.connected(parallel, models)
