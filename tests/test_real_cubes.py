"""Other people's cubes from the shell: each gives what it can, and says what it lacks."""

import astropy.units as u
import numpy as np
import pytest
from astropy.config.paths import set_temp_cache
from astropy.table import QTable

from stellarssl.cli import main
from stellarssl.encoder import Encoder
from stellarssl.library import ReferenceLibrary
from stellarssl.moments import MomentMaps

# file, options, exit status, what each line of refusal must name
WALK = [
    ("L1448_13CO_COMPLETE.fits", [], 1, ["--unit", "--beam", "--rest-value"]),
    (
        "L1448_13CO_COMPLETE.fits",
        ["--unit", "K", "--beam", "46 arcsec", "--rest-value", "110.201354 GHz",
         "--distance", "288 pc"],
        0,
        [],
    ),
    ("NH3_11_EVLA.fits", [], 0, ["tracer"]),
    ("NGC4047_CO_EDGE_CARMA.fits.gz", [], 0, ["distance"]),
    ("NGC4047_CO_EDGE_CARMA_gain.fits.gz", [], 1, ["GAIN"]),
    ("NGC6946_HI_WSRT.fits", [], 1, ["--rest-value"]),
    ("NGC6946_HI_WSRT.fits", ["--tracer", "HI"], 0, ["distance"]),
    ("OrionKL_methanol_ALMA_SV.fits", [], 0, ["tracer"]),
    ("GASS_HI_295-41.fits.gz", [], 0, ["distance"]),
    ("GASS_HI_295-41.fits.gz", ["--velocity-range", "90 330 km/s"], 0, ["distance"]),
]  # fmt: skip


@pytest.fixture(autouse=True)
def shipped(monkeypatch, small_encoder, small_library, tmp_path_factory):
    """The command with small data in the place of the shipped."""
    monkeypatch.setattr(Encoder, "from_pretrained", lambda: small_encoder)
    monkeypatch.setattr(ReferenceLibrary, "default", lambda: small_library)
    with set_temp_cache(tmp_path_factory.getbasetemp()):
        yield


@pytest.mark.parametrize(("name", "options", "status", "named"), WALK)
def test_each_is_read_right_or_refused_in_a_sentence(
    real_cubes, tmp_path, capsys, name, options, status, named
):
    out = tmp_path / "out"
    assert main(["analyze", str(real_cubes / name), *options, "--output", str(out)]) == status
    lines = capsys.readouterr().err.splitlines()
    refusals = [line for line in lines if ": note: " not in line]
    assert all(line.startswith("stellarssl: ") for line in lines)
    for word in named:
        assert any(word in line for line in refusals), (word, refusals)
    if status:
        assert len(refusals) == 1
        assert not out.exists() or not any(out.iterdir())
    else:
        maps = MomentMaps.read(out / "moments.fits")
        assert maps.detected.any()
        assert np.all(maps.sigma_v[maps.detected & np.isfinite(maps.sigma_v)] >= 0 * u.km / u.s)


def test_protostars_of_l1448_have_rows(real_cubes, tmp_path):
    protostars = QTable({"id": ["IRS3", "C", "IRS2"]})
    protostars["ra"] = [51.4017, 51.4121, 51.3433] * u.deg
    protostars["dec"] = [30.7556, 30.7347, 30.7536] * u.deg
    protostars.write(tmp_path / "protostars.ecsv")
    _, options, *_ = WALK[1]
    words = [*options, "--positions", str(tmp_path / "protostars.ecsv"), "--output", str(tmp_path)]
    assert main(["mass", str(real_cubes / "L1448_13CO_COMPLETE.fits"), *words]) == 0
    table = QTable.read(tmp_path / "masses.ecsv")
    assert list(table["id"]) == ["IRS3", "C", "IRS2"]
    np.testing.assert_allclose(table["beams_per_tile"], 7.8, atol=0.1)
    assert np.all(table["coverage"] == 1)
    # W = 10-20 K km/s times 7.9e20 cm^-2 per K km/s: some 1e22 cm^-2, and LSR velocities of 3-6
    assert np.all(np.abs(np.log10(table["peak_n_h"].unmasked.value) - 22) < 0.5)
    assert np.all((table["v_los"] > 2 * u.km / u.s) & (table["v_los"] < 7 * u.km / u.s))


@pytest.mark.parametrize(
    ("name", "center"),
    [
        ("NGC4047_CO_EDGE_CARMA.fits.gz", (180.711, 48.636)),
        ("NGC6946_HI_WSRT.fits", (308.718, 60.154)),
    ],
)
def test_galaxies_are_no_clouds(real_cubes, tmp_path, capsys, name, center):
    """At megaparsecs a tile is a minute part of a beam: a row, and no mass."""
    catalog = QTable({"ra": [center[0]] * u.deg, "dec": [center[1]] * u.deg})
    catalog.write(tmp_path / "center.ecsv")
    tracer = ["--tracer", "HI"] if "HI" in name else []
    words = [*tracer, "--distance", "10 Mpc", "--positions", str(tmp_path / "center.ecsv")]
    assert main(["analyze", str(real_cubes / name), *words, "--output", str(tmp_path)]) == 0
    table = QTable.read(tmp_path / "masses.ecsv")
    assert table["mass"].mask.all()
    assert "tracer" in table["flag_words"][0]
    assert "no segments: --distance: gives a grid" in capsys.readouterr().err
