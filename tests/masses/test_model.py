"""Models of masses, their calibration and novelty, on simple made-up libraries."""

import json
from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, Table
from numpy.testing import assert_allclose, assert_array_equal

from stellarssl.exceptions import InputError
from stellarssl.library import LibraryRows, PPVTiles, Telescope
from stellarssl.masses import Calibration, MassModel, Novelty, calibrate, find_calibration
from stellarssl.masses import calibration as calibration_module
from stellarssl.masses.novelty import feature_words
from stellarssl.observe import Observation

NAMES = ("line: dispersion_0", "rings: dispersion within lines within 0.012 pc", "other")


def make_rows(n_stars=150, n_times=3, n_runs=4, seed=0, starless=0):
    """Rows whose first feature follows log mass; starless ones have low second features."""
    rng = np.random.default_rng(seed)
    star = np.repeat(np.arange(n_stars), n_times)
    log_mass = rng.uniform(-1, 0.9, n_stars)[star]
    X = np.stack([log_mass + 0.2 * rng.normal(size=len(star)), 2 + rng.normal(size=len(star)),
                  log_mass + 0.3 * rng.normal(size=len(star))], axis=1)  # fmt: skip
    empty = rng.normal(size=(starless, 3)) - np.array([0, 2, 0])
    n = len(star) + starless
    has_star = np.arange(n) < len(star)
    number = np.concatenate([star, n_stars + np.arange(starless)])
    mass = np.where(has_star, 10 ** np.concatenate([log_mass, np.zeros(starless)]), np.nan)
    table = QTable(
        {
            "sim": np.char.add("run", (number % n_runs).astype(str)),
            "star": np.where(has_star, number, -1),
            "group": np.char.add("g", number.astype(str)),
            "clump": np.char.add("g", number.astype(str)),
            "output": np.zeros(n, int),
            "time": np.ones(n) * u.Myr,
            "axis": np.full(n, "x"),
            "mass": mass * u.solMass,
            "age": np.ones(n) * u.Myr,
            "has_star": has_star,
            "library_row": np.arange(n),
            "log_n_h": np.full(n, 22.0),
        }
    )
    return LibraryRows(table, NAMES, np.concatenate([X, empty]).astype(np.float32))


def test_masses_intervals_and_neighbors():
    rows = make_rows()
    model = MassModel.fit(rows)
    new = make_rows(seed=1)
    found = model.estimate(new.array)
    assert np.std(found.log_mass - new.log_mass) < 0.3
    held = (found.lower <= new.log_mass) & (new.log_mass <= found.upper)
    assert 0.55 < held.mean() < 0.85
    held = (found.lower_95 <= new.log_mass) & (new.log_mass <= found.upper_95)
    assert 0.9 < held.mean() <= 1
    assert (found.lower_95 <= found.lower).all()
    assert model.is_calibrated
    star = np.asarray(rows.table["star"])[found.neighbor_row]
    assert all(len(set(row)) == 5 for row in star)
    assert np.isnan(found.star_probability).all()
    assert_array_equal(model.predict(new.array), found.log_mass)


def test_labels_above_8_msun_enter_as_8():
    rows = make_rows()
    rows.table["mass"][rows.log_mass > 0.5] = 100 * u.solMass
    found = MassModel.fit(rows).estimate(rows.array)
    assert found.log_mass.max() <= np.log10(8) + 1e-9
    assert found.upper.max() == pytest.approx(np.log10(8))
    assert found.upper_cut.any()


def test_a_calibration_replaces_the_fits_that_leave_runs_out():
    rows = make_rows()
    measured = calibrate(rows, ("library", "flat"))
    own = MassModel.fit(rows).estimate(rows.array)
    given = MassModel.fit(rows, calibration=measured["library"]).estimate(rows.array)
    assert_allclose(given.log_mass, own.log_mass)
    assert_allclose(given.upper, own.upper, atol=1e-9)
    assert_allclose(given.lower_95, own.lower_95, atol=1e-9)
    values = measured["library"]
    assert (values.n_stars, values.n_simulations) == (150, 4)
    assert 0.6 < values.r2_simulation < 1
    assert values.rms < 0.6 * values.rms_mean
    assert measured["flat"] != values


def test_nearest_neighbors_of_the_paper():
    rows = make_rows(seed=2)
    model = MassModel.fit(rows, reader="knn")
    found = model.estimate(rows.array)
    assert_allclose(found.log_mass, rows.log_mass, atol=1e-6)  # each row finds itself
    assert_array_equal(found.neighbor_row[:, 0], np.arange(len(rows)))


def test_star_probability_only_for_candidates():
    rows = make_rows(starless=80)
    model = MassModel.fit(rows)
    assert len(model.stars) == 450
    found = model.estimate(rows.array, candidates=True)
    probability = found.star_probability
    assert np.median(probability[rows.has_star]) > 0.8
    assert np.median(probability[~rows.has_star]) < 0.2
    assert found.neighbor_row.max() < 450
    none = MassModel.fit(make_rows()).estimate(rows.array, candidates=True)
    assert np.isnan(none.star_probability).all()


def test_features_that_no_row_has_are_left_out():
    rows = make_rows()
    rows.array[:, 2] = np.nan
    model = MassModel.fit(rows)
    assert_array_equal(model.columns, [0, 1])
    assert np.isfinite(model.estimate(rows.array).log_mass).all()


@pytest.mark.parametrize("n_runs", [1])
def test_a_single_simulation_is_calibrated_by_clumps_and_says_so(n_runs):
    model = MassModel.fit(make_rows(n_runs=n_runs))
    assert not model.is_calibrated
    found = model.estimate(make_rows(seed=3).array)
    assert (found.upper > found.lower).all()


def test_refusals():
    rows = make_rows()
    with pytest.raises(InputError, match="reader: must be one of forest, knn; got 'oracle'"):
        MassModel.fit(rows, reader="oracle")
    with pytest.raises(InputError, match='prior: must be "library", "flat" or a function'):
        MassModel.fit(rows, prior="salpeter")
    with pytest.raises(InputError, match="library: must hold two stars or more; got 1"):
        MassModel.fit(rows.select(slice(0, 3)))
    equal = replace(rows, table=rows.table.copy())
    equal.table["mass"] = 1 * u.solMass
    with pytest.raises(InputError, match="library: must hold stars of different masses below 8"):
        MassModel.fit(equal)
    with pytest.raises(InputError, match="mass: must differ between the stars"):
        calibrate(equal)
    unknown = replace(rows, table=rows.table.copy())
    unknown.table["mass"][0] = np.nan * u.solMass
    with pytest.raises(InputError, match="library: must hold a mass for each star"):
        MassModel.fit(unknown)
    with pytest.raises(InputError, match="X: must have 3 features"):
        MassModel.fit(rows).estimate(np.zeros((2, 5)))
    with pytest.raises(InputError, match="runs: must hold two or more labels"):
        calibrate(make_rows(n_runs=1))


# novelty


def novelty_of(rows):
    labels = (np.asarray(rows.table[name]) for name in ("group", "clump", "sim"))
    return Novelty(rows.array, *labels, rows.names)


def test_pvalues_of_stars_like_those_of_the_library_are_uniform():
    pvalues = []
    for seed in range(20):
        novelty = novelty_of(make_rows(seed=seed))
        pvalues.append(novelty.pvalue(make_rows(seed=100 + seed).array))
    pvalues = np.concatenate(pvalues)
    for p in (0.1, 0.25, 0.5):
        assert abs(np.mean(pvalues <= p) - p) < 0.06


def test_what_is_unlike_the_library_is_named():
    rows = make_rows()
    odd = np.median(rows.array, axis=0)[None].copy()
    odd[0, 1] = 30
    novelty = novelty_of(rows)
    assert novelty.pvalue(odd)[0] < 0.03
    assert novelty.reasons(odd)[0].startswith(
        "dispersion within lines within 0.012 pc above 99 % of the library; "
    )


def test_missing_values_are_not_novel():
    rows = make_rows()
    query = np.median(rows.array, axis=0)[None].copy()
    query[0, 1] = np.nan
    assert novelty_of(rows).pvalue(query)[0] > 0.5


def test_one_clump_cannot_tell_what_is_novel():
    rows = make_rows(n_runs=1)
    rows.table["clump"] = "all"
    assert_array_equal(novelty_of(rows).pvalue(np.full((1, 3), 99.0)), 1)


def test_novelty_refuses():
    rows = make_rows()
    with pytest.raises(InputError, match="names: must hold one name for each feature; got 1"):
        Novelty(rows.array, *[np.arange(len(rows))] * 3, ["a"])
    with pytest.raises(InputError, match="X: must hold a feature that differs"):
        Novelty(np.ones((9, 1)), *[np.arange(9)] * 3, ["a"])


def test_features_in_words():
    assert feature_words("line: width_5_95_1") == (
        "width of the line between 5 and 95 % at 0.012-0.023 pc"
    )
    assert feature_words("line: folded_1.125_0") == "brightness at 1.125 km/s within 0.012 pc"
    assert feature_words("centre@0.125 3") == "centre@0.125 3"


# the shipped table


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A table with two beams, two S/N and one pair of radii."""
    row = dict.fromkeys(Calibration.__dataclass_fields__, 1.0) | {"n_stars": 9}
    rows = [
        row
        | {
            "prior": "library",
            "lines": True,
            "beam_pixels": beam,
            "snr": snr,
            "radius_min": 0.0,
            "radius_max": 14.0,
            "r2_simulation": beam + snr / 1000,
        }
        for beam in (0.0, 6.0)
        for snr in (10.0, np.inf)
    ]
    table = Table(rows)
    table.meta["library_sha256"] = PPVTiles.default().sha256
    table.write(tmp_path / "calibration.ecsv")
    monkeypatch.setattr(calibration_module, "CALIBRATION_FILE", tmp_path / "calibration.ecsv")
    calibration_module._shipped.cache_clear()
    yield
    calibration_module._shipped.cache_clear()


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(
    ("beam", "snr", "expected"),
    [(5.0, 8.0, 6.01), (0.0, 12.0, 0.01), (1.0, 10.0, 0.01), (30.0, None, np.inf)],
)
def test_the_nearest_entry_is_taken(beam, snr, expected):
    telescope = Telescope(Observation(beam, 0, 0.125, 0, 0), snr)
    found = find_calibration(PPVTiles.default(), telescope, "library")
    assert found.r2_simulation == expected


@pytest.mark.usefixtures("shipped")
def test_what_the_table_does_not_hold():
    telescope = Telescope(Observation(3, 0, 0.125, 0, 0), 10.0)
    tiles = PPVTiles.default()
    assert find_calibration(tiles, replace(telescope, radii=(0.0, 5.0)), "library") is None
    assert find_calibration(tiles, telescope, "flat") is None
    assert find_calibration(tiles, telescope, np.ones_like) is None
    assert find_calibration(tiles.exclude(sim="s8"), telescope, "library") is None


def test_the_shipped_table_is_of_the_shipped_library():
    path = calibration_module.CALIBRATION_FILE
    if not path.is_file():
        pytest.skip("the table has not been made")
    table = Table.read(path)
    assert table.meta["library_sha256"] == PPVTiles.default().sha256
    assert json.dumps(sorted(set(table["prior"]))) == '["flat", "library"]'
    assert (table["q_68"] < table["q_95"]).all()
    assert (table["n_simulations"] == 5).all()
