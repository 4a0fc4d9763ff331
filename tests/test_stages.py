"""Where the time goes."""

import time

import pytest

from stellarssl import profile
from stellarssl._utils.stages import stage


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_seconds_by_hand(clock):
    @stage("library")
    def library():
        clock[0] += 2
        encoder()
        clock[0] += 1

    @stage("encoder")
    def encoder():
        clock[0] += 10

    with profile() as stages:
        clock[0] += 0.5
        library()
        encoder()
        clock[0] += 2.5
    assert stages.seconds == {"other": 3.0, "library": 3.0, "encoder": 20.0}
    first, *rows, last = str(stages).splitlines()
    assert first.split() == ["stage", "seconds", "share"]
    assert rows[2].split() == ["encoder", "20.00", "76.9%"]
    assert last.split() == ["whole", "26.00", "100.0%"]


def test_what_fails_is_counted_and_failures_pass(clock):
    @stage("tiles")
    def tiles():
        clock[0] += 4
        msg = "off the map"
        raise ValueError(msg)

    with profile() as stages:
        with pytest.raises(ValueError, match="off the map"):
            tiles()
        clock[0] += 1
    assert stages.seconds == {"other": 1.0, "tiles": 4.0}


def test_without_a_profile_nothing_is_kept(clock):
    with profile() as stages:
        clock[0] += 1
    with stage("tiles"):
        clock[0] += 1
    assert stages.seconds == {"other": 1.0}
