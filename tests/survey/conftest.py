"""A survey of small cubes cut from the shipped one, with a small library and random weights."""

import json
from collections import Counter

import pytest
from astropy.config.paths import set_temp_cache
from astropy.io import fits
from astropy.table import QTable

import stellarssl
from stellarssl import survey


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of the session's own, also for the processes that a test starts."""
    folder = tmp_path_factory.getbasetemp()
    (folder / "astropy").mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    with set_temp_cache(folder):
        yield


@pytest.fixture(scope="session")
def models(small_encoder, small_library, tmp_path_factory):
    """Weights and library as files, as every worker needs them."""
    folder = tmp_path_factory.mktemp("models")
    small_encoder.write(folder / "encoder.safetensors", half=False)
    small_library.write(folder / "library.fits")
    return {"encoder": folder / "encoder.safetensors", "library": folder / "library.fits"}


@pytest.fixture(scope="session")
def stars():
    """The stars of the shipped cube."""
    return QTable.read(stellarssl.demo_files()[1])["id", "skycoord"]


@pytest.fixture(scope="session")
def cut():
    """A function that cuts some pixels from the shipped cube into a file."""

    def cut(path, y, x, size=40):
        with fits.open(stellarssl.demo_files()[0]) as hdus:
            hdu = fits.PrimaryHDU(hdus[0].data[:, y : y + size, x : x + size], hdus[0].header)
        hdu.header["CRPIX1"] -= x
        hdu.header["CRPIX2"] -= y
        hdu.writeto(path)
        return path

    return cut


@pytest.fixture
def cubes(tmp_path, cut):
    """Cubes of one star at 140 pc, one star at 280 pc, and six stars."""
    far = cut(tmp_path / "far.fits", 13, 15)
    fits.setval(far, "DISTANCE", value=280.0)
    return [cut(tmp_path / "near.fits", 61, 58), far, cut(tmp_path / "group.fits", 84, 70)]


@pytest.fixture
def run(cubes, stars, models, tmp_path):
    """A function that surveys the cubes, or others, into ``out``."""

    def run(output="out", these=cubes, positions=stars, **options):
        return survey.run(these, positions, tmp_path / output, **models | options)

    return run


@pytest.fixture
def begun(tmp_path):
    """A function that counts how often each stage of each cube was begun."""

    def begun(output="out"):
        lines = (tmp_path / output / "journal.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return Counter((e["cube"], e["stage"]) for e in entries if e["event"] == "begins")

    return begun
