"""How long each stage of the data takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Stages", "profile", "stage"]

_clock: ContextVar["Stages | None"] = ContextVar("clock", default=None)


class Stages:
    """Seconds spent at each stage; printed, a table.

    A stage that calls another stands still meanwhile, so the seconds add up to the whole.

    Attributes
    ----------
    seconds : dict of str to float
        By stage, in the order of their first calls; ``"other"`` is what lies between them.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open = ["other"]
        self._since = time.perf_counter()

    def __str__(self) -> str:
        whole = sum(self.seconds.values())
        rows = [*self.seconds.items(), ("whole", whole)]
        lines = [f"{name:16s} {s:10.2f} {s / whole:8.1%}" for name, s in rows]
        return "\n".join([f"{'stage':16s} {'seconds':>10s} {'share':>8s}", *lines])

    def enter(self, name: str) -> None:
        """Go on at another stage."""
        self.charge()
        self._open.append(name)

    def leave(self) -> None:
        """Go back to the stage before."""
        self.charge()
        self._open.pop()

    def charge(self) -> None:
        """Count the time since the last change for the stage where the work is."""
        now, name = time.perf_counter(), self._open[-1]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Mark work as a stage's; also a decorator. Outside of `profile` it does nothing.

    Parameters
    ----------
    name : str
        Of the stage.

    Yields
    ------
    None
        While it works.
    """
    clock = _clock.get()
    if clock is None:
        yield
        return
    clock.enter(name)
    try:
        yield
    finally:
        clock.leave()


@contextmanager
def profile() -> Iterator[Stages]:
    """Measure how long each stage of the data takes.

    Yields
    ------
    stages : Stages
        Complete after the block.

    Examples
    --------
    >>> with profile() as stages:
    ...     with stage("tiles"):
    ...         pass
    >>> list(stages.seconds)
    ['other', 'tiles']
    """
    stages = Stages()
    token = _clock.set(stages)
    try:
        yield stages
    finally:
        stages.charge()
        _clock.reset(token)
