"""Tasks on the workers of dask.distributed, which the ``distributed`` extra brings."""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from distributed import Client, Future, LocalCluster, as_completed

from stellarssl.exceptions import InputError, StellarSSLError
from stellarssl.survey._parallel import Failure
from stellarssl.survey.models import Models, load_models

__all__ = ["Workers", "connected"]

_PATIENCE = 10  # s, for a scheduler to answer
_RETRIES = 2  # of a task that broke; one whose worker was lost is dask's to repeat


class Workers:
    """Runs tasks on a dask cluster, with the methods of `Here`.

    Parameters
    ----------
    client : `distributed.Client`
        Connected.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ending = as_completed(loop=client.loop)
        self._keys = {}

    def submit(self, key: Hashable, function: Callable, args: tuple, step: int) -> None:
        """Add a task, as `Here.submit`; raise StellarSSLError if the scheduler is lost."""
        if self._client.status != "running":
            raise _lost()
        future = self._client.submit(function, *args, pure=False, retries=_RETRIES, priority=step)
        self._keys[future.key] = key
        self._ending.add(future)

    def finished(self) -> Iterator[tuple[Hashable, object]]:
        """Yield as `Here.finished`; raise StellarSSLError if the scheduler is lost."""
        for future in self._ending:
            yield self._keys.pop(future.key), _result(future)


def _result(future: Future) -> object:
    if future.status == "error":
        return Failure.of(future.exception())
    if future.status != "finished":
        raise _lost()
    try:
        return future.result()
    except (OSError, futures.CancelledError, asyncio.CancelledError) as error:
        raise _lost() from error


def _lost() -> StellarSSLError:
    return StellarSSLError(
        "the dask scheduler was lost; what is finished stays, and the same command goes on"
    )


@contextmanager
def connected(parallel: Any, models: Models) -> Iterator[Workers]:
    """Connect to a cluster, or start one, and see that its workers find the models.

    Parameters
    ----------
    parallel : int, str or `distributed.Client`
        A number of processes, ``"current-scheduler"``, an address, or a client.
    models : `Models`
        Weights and library.

    Yields
    ------
    workers : `Workers`
        What is started here ends with the context.

    Raises
    ------
    InputError
        If there is no such scheduler, or a worker without weights or library.
    """
    with _quiet(), _client(parallel) as client:
        _check(client, models)
        yield Workers(client)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep dask's traceback of a lost scheduler, which ends in one error here, from the screen."""
    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _client(parallel: Any) -> AbstractContextManager[Client]:
    if isinstance(parallel, Client):
        return nullcontext(parallel)
    if isinstance(parallel, int):
        return _started(parallel)
    if parallel == "current-scheduler":
        return nullcontext(_current())
    return _client_of(parallel)


@contextmanager
def _started(n_processes: int) -> Iterator[Client]:
    # the option memory_limit bounds the memory of a task, which dask does not know
    with (
        LocalCluster(
            n_workers=n_processes,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _current() -> Client:
    try:
        return Client.current()
    except ValueError as error:
        rule = "needs a dask Client in this process, and there is none"
        raise InputError("parallel", rule, "current-scheduler") from error


def _client_of(address: Any) -> Client:
    rule = "must be the address of a dask scheduler that answers, such as 'tcp://10.0.0.1:8786'"
    if not isinstance(address, str):
        raise InputError("parallel", rule, address)
    try:
        return Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError("parallel", rule, address) from error


def _check(client: Client, models: Models) -> None:
    """Load the models on each worker that is there; those that come later load them when needed."""
    for address, error in client.run(_lacks, models).items():
        if error is not None:
            rule = f"must be found by every worker ({error})"
            raise InputError("encoder and library", rule, address)


def _lacks(models: Models) -> str | None:
    try:
        load_models(models)
    except Exception as error:  # noqa: BLE001  (whatever it is, the worker is of no use)
        return Failure.of(error).reason
    return None
