"""Fixtures that several rooms' tests share."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.config.paths import set_temp_cache
from astropy.utils import iers

from stellarssl.encoder import Encoder
from stellarssl.library import ReferenceLibrary

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


@pytest.fixture(scope="session")
def small_encoder():
    """An untrained encoder that computes the same on every machine."""
    return Encoder.random(architecture="test_vit", width=64, dtype="float32")


@pytest.fixture(scope="session")
def small_library(small_encoder, tmp_path_factory):
    """Forty stars in cores whose columns grow with the mass, and twenty fainter starless cores."""
    rng = np.random.default_rng(7)
    n_stars, n_starless = 40, 20
    mass = np.concatenate([10 ** rng.uniform(-1, 0.9, n_stars), np.full(n_starless, np.nan)])
    radius = np.hypot(*(np.mgrid[:64, :64] - 31.5))
    peak = 10 ** (22.6 + 0.8 * np.log10(np.where(np.isfinite(mass), mass, 0.05)))
    core = peak[:, None, None] / (1 + (radius / 6) ** 2)
    n_h = core * rng.lognormal(sigma=0.3, size=(len(mass), 64, 64)) + 2e21
    v_los = rng.normal(scale=0.4, size=(len(mass), 1, 1)) * (np.mgrid[:64, :64][1] - 31.5) / 32
    sigma_v = 0.2 + 0.3 * core / core.max(axis=(1, 2), keepdims=True)
    names = [f"{'star' if np.isfinite(m) else 'none'}-{i}" for i, m in enumerate(mass)]
    with set_temp_cache(tmp_path_factory.mktemp("cache")):
        library = ReferenceLibrary.from_maps(
            n_h / u.cm**2,
            v_los * u.km / u.s,
            sigma_v * u.km / u.s,
            mass * u.Msun,
            names,
            columns={"sim": np.where(np.arange(len(mass)) % 2, "a", "b")},
        )
        yield library.embed(small_encoder)
