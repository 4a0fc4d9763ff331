"""Where the time goes."""

import time

import pytest

from stellarssl import profile
from stellarssl._utils.stations import station


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_seconds_by_hand(clock):
    @station("library")
    def library():
        clock[0] += 2
        encoder()
        clock[0] += 1

    @station("encoder")
    def encoder():
        clock[0] += 10

    with profile() as stations:
        clock[0] += 0.5
        library()
        encoder()
        clock[0] += 2.5
    assert stations.seconds == {"other": 3.0, "library": 3.0, "encoder": 20.0}
    first, *rows, last = str(stations).splitlines()
    assert first.split() == ["station", "seconds", "share"]
    assert rows[2].split() == ["encoder", "20.00", "76.9%"]
    assert last.split() == ["whole", "26.00", "100.0%"]


def test_what_fails_is_counted_and_failures_pass(clock):
    @station("tiles")
    def tiles():
        clock[0] += 4
        msg = "off the map"
        raise ValueError(msg)

    with profile() as stations:
        with pytest.raises(ValueError, match="off the map"):
            tiles()
        clock[0] += 1
    assert stations.seconds == {"other": 1.0, "tiles": 4.0}


def test_without_a_profile_nothing_is_kept(clock):
    with profile() as stations:
        clock[0] += 1
    with station("tiles"):
        clock[0] += 1
    assert stations.seconds == {"other": 1.0}
