"""Fixtures that several rooms' tests share."""

from pathlib import Path

import pytest
from astropy.utils import iers

iers.conf.auto_download = False

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-slow"):
        return
    skip = pytest.mark.skip(reason="slow: give --run-slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def real_cubes():
    """The folder of other people's cubes; they are read where they are, never shipped."""
    folder = SHARED / "real"
    if not folder.is_dir():
        pytest.skip("the real cubes are not on this machine")
    return folder


@pytest.fixture(scope="session")
def simulations():
    """The folder of the simulations that the shipped library was made from."""
    folder = SHARED / "sim"
    if not folder.is_dir():
        pytest.skip("the simulations are not on this machine")
    return folder
