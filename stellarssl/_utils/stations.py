"""How long each station of the data takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Stations", "profile", "station"]

_clock: ContextVar["Stations | None"] = ContextVar("clock", default=None)


class Stations:
    """Seconds spent at each station; printed, a table.

    A station that calls another stands still meanwhile, so the seconds add up to the whole.

    Attributes
    ----------
    seconds : dict of str to float
        By station, in the order of their first calls; ``"other"`` is what lies between them.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open = ["other"]
        self._since = time.perf_counter()

    def __str__(self) -> str:
        whole = sum(self.seconds.values())
        rows = [*self.seconds.items(), ("whole", whole)]
        lines = [f"{name:16s} {s:10.2f} {s / whole:8.1%}" for name, s in rows]
        return "\n".join([f"{'station':16s} {'seconds':>10s} {'share':>8s}", *lines])

    def enter(self, name: str) -> None:
        """Go on at another station."""
        self.charge()
        self._open.append(name)

    def leave(self) -> None:
        """Go back to the station before."""
        self.charge()
        self._open.pop()

    def charge(self) -> None:
        """Count the time since the last change for the station where the work is."""
        now, name = time.perf_counter(), self._open[-1]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


@contextmanager
def station(name: str) -> Iterator[None]:
    """Mark work as a station's; also a decorator. Outside of `profile` it does nothing.

    Parameters
    ----------
    name : str
        Of the station.

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
def profile() -> Iterator[Stations]:
    """Measure how long each station of the data takes.

    Yields
    ------
    stations : Stations
        Complete after the block.

    Examples
    --------
    >>> with profile() as stations:
    ...     with station("tiles"):
    ...         pass
    >>> list(stations.seconds)
    ['other', 'tiles']
    """
    stations = Stations()
    token = _clock.set(stations)
    try:
        yield stations
    finally:
        stations.charge()
        _clock.reset(token)
