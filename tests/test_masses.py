from dataclasses import replace
from itertools import pairwise

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse
from astropy.table import QTable
from astropy.utils.masked import Masked
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from stellarssl.exceptions import InputError, OutputExistsError
from stellarssl.masses import (
    MassEstimator,
    SourceEstimates,
    flag_bit,
    flag_values,
    mass_table,
    neighbor_weights,
    write_table,
)
from stellarssl.tiles import TileSet


@parametrize_with_checks([MassEstimator(), MassEstimator(n_neighbors=1, n_components=2)])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


# neighbors and votes


def test_one_feature_worked_by_hand():
    # whitening one feature divides by its standard deviation and changes no ratio of distances
    estimator = MassEstimator(n_neighbors=2).fit([[0.0], [1], [2], [10]], [0.0, 1, 2, 3])
    # 1.25 lies 0.25 from 1 and 0.75 from 2: weights 3/4 and 1/4
    np.testing.assert_allclose(estimator.predict([[1.25]]), 1.25)
    distance, index = estimator.kneighbors([[1.25]])
    np.testing.assert_array_equal(index, [[1, 2]])
    np.testing.assert_allclose(distance, np.array([[0.25, 0.75]]) / np.std([0, 1, 2, 10], ddof=1))


def test_a_star_votes_once_however_many_snapshots_it_has():
    X = [[0.0], [0.1], [0.2], [1.0], [5.0]]
    y = [0.0, 0.1, 0.2, 1.0, 2.0]
    alone = MassEstimator(n_neighbors=2).fit(X, y)
    grouped = MassEstimator(n_neighbors=2).fit(X, y, groups=["a", "a", "a", "b", "c"])
    np.testing.assert_array_equal(alone.kneighbors([[-0.5]])[1], [[0, 1]])
    np.testing.assert_array_equal(grouped.kneighbors([[-0.5]])[1], [[0, 3]])
    # 0.5 and 1.5 away: weights 3/4, 1/4
    np.testing.assert_allclose(grouped.predict([[-0.5]]), 0.25)


def test_the_search_widens_until_groups_suffice():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(400, 3)), rng.normal(8, 1, size=(3, 3))])
    groups = np.concatenate([np.zeros(400, int), [1, 2, 3]])
    estimator = MassEstimator(n_neighbors=4).fit(X, np.arange(403.0), groups)
    _, index = estimator.kneighbors(X[:5])
    assert [sorted(groups[row]) for row in index] == [[0, 1, 2, 3]] * 5


def test_weights_fall_as_one_over_distance():
    weight = neighbor_weights(np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 1.0], [1.0, np.inf, np.inf]]))
    np.testing.assert_allclose(weight, [[4 / 7, 2 / 7, 1 / 7], [0.5, 0.5, 0], [1, 0, 0]])


def test_a_row_of_the_library_gets_its_own_mass():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(50, 6)), rng.normal(size=50)
    np.testing.assert_allclose(MassEstimator().fit(X, y).predict(X), y, atol=1e-9)


def test_equal_to_scikit_learn_without_groups():
    rng = np.random.default_rng(2)
    X, y, query = rng.normal(size=(80, 7)), rng.normal(size=80), rng.normal(size=(9, 7))
    peer = make_pipeline(
        StandardScaler(),
        PCA(4, whiten=True, svd_solver="full"),
        KNeighborsRegressor(5, weights="distance", algorithm="brute"),
    ).fit(X, y)
    ours = MassEstimator(n_neighbors=5, n_components=4).fit(X, y)
    np.testing.assert_allclose(ours.predict(query), peer.predict(query), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_units_of_a_feature_do_not_matter(scale):
    rng = np.random.default_rng(3)
    X, y, query = rng.normal(size=(40, 3)), rng.normal(size=40), rng.normal(size=(5, 3))
    factor = np.array([1, scale, 1])
    expected = MassEstimator().fit(X, y).predict(query)
    np.testing.assert_allclose(MassEstimator().fit(X * factor, y).predict(query * factor), expected)


def test_constant_columns_and_more_components_than_rows():
    rng = np.random.default_rng(4)
    X = np.hstack([rng.normal(size=(6, 9)), np.full((6, 2), 1e5)])
    y = rng.normal(size=6)
    estimator = MassEstimator(n_components=50).fit(X, y)
    np.testing.assert_allclose(estimator.predict(X), y, atol=1e-9)
    off = X + np.array([0] * 9 + [3.0, -2.0])  # what never varied cannot be told apart
    np.testing.assert_allclose(estimator.predict(off), y, atol=1e-9)


def test_features_that_say_nothing_give_the_mean():
    estimator = MassEstimator(n_neighbors=4).fit(np.ones((4, 3)), [0.0, 1, 2, 3])
    np.testing.assert_allclose(estimator.predict(np.ones((2, 3))), 1.5)
    assert np.isfinite(estimator.predict_interval(np.ones((2, 3)), 0.5)).all()


def test_blocks_are_whitened_one_by_one():
    # a hundred copies of b: as one block their component is all that is kept, as two a counts too
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 60, 1))
    copies, y = np.hstack([a, np.repeat(b, 100, axis=1)]), rng.normal(size=60)
    both = np.hstack([a, b])
    apart = MassEstimator(n_components=1, block_widths=[1, 100]).fit(copies, y)
    expected = MassEstimator(n_components=1, block_widths=[1, 1]).fit(both, y)
    together = MassEstimator(n_components=1).fit(copies, y)
    only_b = MassEstimator(n_components=1).fit(b, y)
    query = rng.normal(size=(9, 2))
    query_copies = np.hstack([query[:, :1], np.repeat(query[:, 1:], 100, axis=1)])
    nearest = [
        estimator.kneighbors(X)[1][:, 0]
        for estimator, X in (
            (apart, query_copies), (expected, query), (together, query_copies),
            (only_b, query[:, 1:]),
        )
    ]  # fmt: skip
    np.testing.assert_array_equal(nearest[0], nearest[1])
    assert np.mean(nearest[2] == nearest[3]) > 0.5
    assert np.mean(nearest[0] == nearest[3]) < 0.5


# intervals and novelty


@pytest.mark.parametrize(
    ("n_groups", "level", "conformal"),
    [(19, 0.95, True), (18, 0.95, False), (15, 0.95, False), (3, 0.68, True), (2, 0.68, False)],
)
def test_an_interval_needs_groups_enough(n_groups, level, conformal):
    # ceil((G + 1) level) <= G: 95 % from 19 clumps on, 68 % from 3 on (ceil(2.72) = 3)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2 * n_groups, 2))
    estimator = MassEstimator(n_neighbors=1)
    estimator.fit(X, rng.normal(size=len(X)), np.repeat(np.arange(n_groups), 2))
    assert estimator.is_conformal(level) is conformal


def _clouds(rng, n_groups, n_rows):
    """Groups of rows that share most of their error, as the snapshots of one star do."""
    x = rng.normal(size=(n_groups, 1)) + 0.1 * rng.normal(size=(n_groups, n_rows))
    error = rng.normal(size=(n_groups, 1)) + 0.2 * rng.normal(size=(n_groups, n_rows))
    y = x + 0.5 * error
    return x.reshape(-1, 1), y.ravel(), np.repeat(np.arange(n_groups), n_rows)


@pytest.mark.parametrize("level", [0.68, 0.9])
def test_coverage_of_new_groups_is_what_it_says(level):
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(60):
        X, y, groups = _clouds(rng, 70, 4)
        old = groups < 40
        estimator = MassEstimator(n_neighbors=5).fit(X[old], y[old], groups[old])
        lower, upper = estimator.predict_interval(X[~old], level)
        covered.append(np.mean((lower <= y[~old]) & (y[~old] <= upper)))
    # 1800 new groups: the standard error is 0.011 from them and 0.01 from 60 calibrations
    assert abs(np.mean(covered) - level) < 0.04


def test_counting_rows_as_independent_would_promise_too_much():
    rng = np.random.default_rng(8)
    widths = []
    for grouped in (True, False):
        X, y, groups = _clouds(rng, 40, 6)
        estimator = MassEstimator(n_neighbors=5).fit(X, y, groups if grouped else None)
        lower, upper = estimator.predict_interval(rng.normal(size=(50, 1)), 0.9)
        widths.append(np.mean(upper - lower))
    assert widths[0] > 1.3 * widths[1]


def test_clumps_are_left_out_as_a_whole():
    # 0 and 0.1 share gas: without clump mates their neighbor is 1, two and 1.9 dex off
    X, y = np.array([[0.0], [0.1], [1.0], [1.5]]), np.array([0.0, 0.1, 2.0, 2.5])
    alone = MassEstimator(n_neighbors=1).fit(X, y)
    shared = MassEstimator(n_neighbors=1).fit(X, y, clumps=["a", "a", "b", "c"])
    np.testing.assert_allclose(alone.left_out_, [0.1, 0.0, 2.5, 2.0])
    np.testing.assert_allclose(shared.left_out_, [2.0, 2.0, 2.5, 2.0])
    np.testing.assert_allclose(shared.scores_, [2.0, 1.9, 0.5, 0.5])
    np.testing.assert_allclose(shared.distances_, np.array([1, 0.9, 0.5, 0.5]) / np.std(X, ddof=1))


def test_intervals_grow_with_the_level_and_hold_the_estimate():
    rng = np.random.default_rng(9)
    X, y, groups = _clouds(rng, 30, 3)
    estimator = MassEstimator().fit(X, y, groups)
    edges = [estimator.predict_interval(X, level) for level in (0.5, 0.68, 0.95, 0.999)]
    for inner, outer in pairwise(edges):
        assert (outer[0] <= inner[0]).all()
        assert (inner[1] <= outer[1]).all()
    assert (edges[0][0] <= estimator.predict(X)).all()
    assert (estimator.predict(X) <= edges[0][1]).all()


def test_one_clump_can_only_trust_its_neighbors():
    estimator = MassEstimator(n_neighbors=3)
    estimator.fit([[0.0], [1], [2]], [0.0, 1, 2], clumps=["a", "a", "a"])
    assert not estimator.is_conformal(0.5)
    lower, upper = estimator.predict_interval([[1.0]], 0.68)
    assert upper - lower > 0
    np.testing.assert_array_equal(estimator.ood_pvalue([[99.0]]), 1)


def test_novelty_is_uniform_for_groups_like_those_of_the_library():
    rng = np.random.default_rng(10)
    pvalues = []
    for _ in range(40):
        X, y, groups = _clouds(rng, 60, 4)
        old = groups < 39
        estimator = MassEstimator(n_neighbors=3).fit(X[old], y[old], groups[old])
        pvalues.append(estimator.ood_pvalue(X[~old]))
    pvalues = np.concatenate(pvalues)
    for p in (0.1, 0.25, 0.5):
        assert abs(np.mean(pvalues <= p) - p) < 0.05
    assert pvalues.min() >= 1 / 40


def test_what_is_far_from_everything_is_as_novel_as_the_clumps_can_tell():
    rng = np.random.default_rng(11)
    X, y, groups = _clouds(rng, 39, 4)
    estimator = MassEstimator(n_neighbors=3).fit(X, y, groups)
    np.testing.assert_allclose(estimator.ood_pvalue([[50.0]]), 1 / 40)
    assert estimator.ood_pvalue([[0.0]])[0] > 0.5


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors: must be a whole number above zero; got 0"),
        ({"n_components": 2.5}, "n_components: must be a whole number above zero; got 2.5"),
        ({"block_widths": [1, 1]}, "block_widths: must be positive and add up to the 3 features"),
    ],
)
def test_refuses_parameters(parameters, message):
    with pytest.raises(InputError, match=message):
        MassEstimator(**parameters).fit(np.eye(3), [0.0, 1, 2])


def test_refuses_labels_and_levels():
    with pytest.raises(InputError, match="groups: must hold one label for each of the 3 rows"):
        MassEstimator().fit(np.eye(3), [0.0, 1, 2], groups=[1, 2])
    estimator = MassEstimator().fit(np.eye(3), [0.0, 1, 2])
    with pytest.raises(InputError, match="level: must lie between 0 and 1; got 68"):
        estimator.predict_interval(np.eye(3), 68)


# the table


def _tiles(n=3, **changes):
    """Tiles of 1e22 cm^-2 with a dispersion of 0.3 km/s and a step of 0.8 km/s in velocity."""
    maps = np.zeros((n, 3, 64, 64))
    maps[:, 0], maps[:, 2] = 22, 0.3
    maps[:, 1, :, :32], maps[:, 1, :, 32:] = -0.4, 0.4  # the total dispersion is 0.5 km/s
    fields = {
        "maps": maps.astype(np.float32),
        "detected": np.ones((n, 64, 64), dtype=bool),
        "covered": np.ones((n, 64, 64), dtype=bool),
        "id": np.array([f"S{i + 1}" for i in range(n)]),
        "skycoord": SkyCoord(52 + 0.01 * np.arange(n), np.full(n, 31.0), unit="deg"),
        "distance": np.full(n, 300) * u.pc,
        "position_error": np.zeros(n) * u.pc,
        "v_los": np.full(n, 7.5) * u.km / u.s,
        "coverage": np.ones(n),
        "detected_fraction": np.ones(n),
        "beams_per_tile": np.full(n, np.nan),
        "snr": np.full(n, 50.0),
        "width": 0.5 * u.pc,
        "meta": {},
    }
    return TileSet(**(fields | changes))


def _estimates(n=3):
    """Masses of 1, 2 and 3 Msun with an interval of 0.2 dex, and two neighbors."""
    estimates = SourceEstimates.empty(n)
    log_mass = np.log10(np.arange(1.0, n + 1))
    for name, shift in (("mass", 0), ("mass_lower", -0.2), ("mass_upper", 0.2),
                        ("mass_lower_95", -0.4), ("mass_upper_95", 0.4)):  # fmt: skip
        estimates.values[name] = log_mass + shift
    estimates.values["novelty_pvalue"][:] = 0.5
    estimates.values["r2_simulation"][:] = 0.4
    estimates.values["radius_max"][:] = 14
    return estimates


def _table(tiles=None, estimates=None, **options):
    tiles = _tiles() if tiles is None else tiles
    options = {"snr": np.array([5.5, 1.0, np.inf])[: len(tiles)], "prior": "library"} | options
    beam = np.full(len(tiles), 0.05) * u.pc
    return mass_table(tiles, estimates or _estimates(len(tiles)), beam=beam, **options)


def _row_flags(table, i):
    return set(filter(None, table["flag_words"][i].split(",")))


def test_the_row():
    table = _table(meta={"tracer": "C18O"})
    assert table.colnames == [
        "id", "skycoord", "mass", "mass_lower", "mass_upper", "mass_lower_95", "mass_upper_95",
        "mass_error_sys", "gas_mass", "peak_n_h", "v_los", "sigma_v", "snr", "coverage",
        "mass_dynamical", "mass_dynamical_radius", "prior", "radius_min", "radius_max", "beam_size",
        "r2_simulation", "beams_per_tile", "novelty_pvalue", "novelty_reason", "flags",
        "flag_words", "neighbors", "neighbor_masses", "neighbor_weights",
    ]  # fmt: skip
    units = {
        "mass": "solMass", "mass_upper_95": "solMass", "mass_error_sys": "solMass",
        "gas_mass": "solMass", "peak_n_h": "1 / cm2", "v_los": "km / s", "radius_max": "pc",
        "beam_size": "pc",
    }  # fmt: skip
    assert {name: str(table[name].unit) for name in units} == units
    np.testing.assert_allclose(table["mass"].unmasked.value, [1, 2, 3])
    np.testing.assert_allclose(table["mass_upper"][1].unmasked.value, 2 * 10**0.2)
    np.testing.assert_allclose(table["radius_max"].unmasked.value, 14 * 0.0078125)
    assert not table["mass"].mask.any()
    assert table["mass_error_sys"].mask.all()  # none was estimated
    assert "upper bound" in table.meta["label"]
    assert all(table[name].info.description for name in table.colnames if name not in
               ("id", "skycoord"))  # fmt: skip


def test_candidates_have_a_star_probability():
    estimates = _estimates()
    estimates.values["star_probability"][:] = [0.2, 0.9, np.nan]
    flag_values(estimates)
    table = _table(estimates=estimates, candidates=True)
    assert table["star_probability"].mask.tolist() == [False, False, True]
    assert [_row_flags(table, i) for i in range(3)] == [{"starless_like"}, set(), set()]
    assert not table["mass"].mask.any()


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [("novelty_pvalue", 0.049, "novel"), ("r2_simulation", 0.05, "no_skill")],
)
def test_what_is_not_reliable_is_masked_unless_allowed(name, value, flag):
    estimates = _estimates()
    estimates.values[name][1] = value
    flag_values(estimates)
    table = _table(estimates=estimates)
    assert table["mass"].mask.tolist() == [False, True, False]
    assert table["mass_upper_95"].mask.tolist() == [False, True, False]
    assert _row_flags(table, 1) == {flag}
    allowed = _table(estimates=estimates, allowed=flag_bit(flag))
    assert not allowed["mass"].mask.any()
    assert _row_flags(allowed, 1) == {flag}


def test_a_source_without_an_estimate_has_no_mass():
    table = _table(estimates=SourceEstimates.empty(3))
    assert table["mass"].mask.all()
    assert table["novelty_pvalue"].mask.all()
    assert not table["gas_mass"].mask.any()


def test_columns_are_masked_without_a_factor_and_all_without_gas():
    estimates = _estimates()
    estimates.flag("no_column", np.array([True, False, False]))
    estimates.flag("no_signal", np.array([False, True, False]))
    table = _table(estimates=estimates)
    assert table["gas_mass"].mask.tolist() == [True, True, False]
    assert table["v_los"].mask.tolist() == [False, True, False]
    assert table["mass"].mask.tolist() == [False, True, False]


def test_peak_column_and_total_dispersion_by_hand():
    tiles = _tiles(1)
    tiles.maps[0, 0, 3, 3] = 23
    detected = np.ones((1, 64, 64), dtype=bool)
    detected[0, 3, 3] = False
    table = _table(replace(tiles, detected=detected))
    np.testing.assert_allclose(table["peak_n_h"].unmasked.value, 1e22, rtol=1e-6)
    np.testing.assert_allclose(table["sigma_v"].unmasked.value, 0.5, rtol=1e-6)


def test_the_dynamical_mass_and_its_radius_by_hand():
    detected = np.ones((3, 64, 64), dtype=bool)
    detected[2, 24:40, 24:40] = False  # nothing within 8 pixels
    table = _table(_tiles(detected=detected, beams_per_tile=np.array([np.nan, 8, 8])))
    # 5 * 0.25 (km/s)^2 * R / (4.30091e-3 pc (km/s)^2 / Msun); a beam is 64 / 8 pixels = 0.0625 pc
    np.testing.assert_allclose(table["mass_dynamical_radius"].value, [0.015625, 0.03125, 0.03125])
    np.testing.assert_allclose(
        table["mass_dynamical"].unmasked.value[:2], [4.5412, 9.0824], rtol=1e-4
    )
    assert table["mass_dynamical"].mask.tolist() == [False, False, True]
    assert "mass_dynamical_radius" in table["mass_dynamical"].info.description


def test_unknown_flags_are_refused():
    with pytest.raises(InputError, match=r"flag: must be one of .*got 'bad_luck'"):
        SourceEstimates.empty(1).flag("bad_luck", np.array([True]))


# its files


@pytest.fixture(scope="module")
def table():
    estimates = _estimates()
    estimates.flag("off_map", np.array([False, True, False]))
    estimates.values["novelty_reason"][:] = "width above 99 % of the library"
    meta = {"distance": "300.0 pc", "n": np.int64(3), "library_sha256": "0" * 64}
    return _table(estimates=estimates, meta=meta)


def _assert_same(table, back):
    for name in back.colnames:
        if name in ("ra", "dec"):
            np.testing.assert_allclose(
                u.Quantity(back[name], u.deg), getattr(table["skycoord"], name), rtol=1e-14
            )
            continue
        old, new = table[name], back[name]
        if name in ("id", "flag_words", "prior", "novelty_reason"):
            assert list(map(str, old)) == list(map(str, np.ma.filled(new, "")))
            continue
        assert getattr(old, "unit", None) == getattr(new, "unit", None)
        mask = np.broadcast_to(getattr(old, "mask", False), old.shape)
        got = np.asarray(getattr(new, "unmasked", np.ma.getdata(new)), dtype=float)
        lost = np.broadcast_to(getattr(new, "mask", False), new.shape) | ~np.isfinite(got)
        value = np.asarray(getattr(old, "unmasked", np.ma.getdata(old)), dtype=float)
        np.testing.assert_array_equal(lost, mask | ~np.isfinite(value))
        np.testing.assert_allclose(got[~lost], value[~lost], rtol=1e-6 if name == "snr" else 1e-12)


def test_ecsv_keeps_all(table, tmp_path):
    assert write_table(table, tmp_path / "masses.ecsv") == tmp_path / "masses.ecsv"
    back = QTable.read(tmp_path / "masses.ecsv")
    assert back.colnames == table.colnames
    _assert_same(table, back[[name for name in back.colnames if name != "skycoord"]])
    assert isinstance(back["mass"], Masked)
    assert list(back["mass"].mask) == [False, True, False]
    assert back["skycoord"].separation(table["skycoord"]).max() < 1e-9 * u.arcsec
    assert dict(back.meta) == table.meta


def test_fits_export(table, tmp_path):
    write_table(table, tmp_path / "masses.fits")
    back = QTable.read(tmp_path / "masses.fits")
    expected = ["id", "ra", "dec", *table.colnames[2:]]
    assert back.colnames == expected
    _assert_same(table, back)
    assert back.meta["DISTANCE"] == "300.0 pc"
    assert back.meta["LIBRARY_SHA256"] == table.meta["library_sha256"]


def test_votable_export(table, tmp_path):
    write_table(table, tmp_path / "masses.vot")
    back = QTable.read(tmp_path / "masses.vot", format="votable")
    assert back.colnames == ["id", "ra", "dec", *table.colnames[2:]]
    _assert_same(table, back)
    params = {p.name: p.value for p in parse(tmp_path / "masses.vot").get_first_table().params}
    assert params["library_sha256"] == table.meta["library_sha256"]


def test_files_are_not_replaced_unasked(table, tmp_path):
    path = tmp_path / "masses.ecsv"
    write_table(table, path)
    with pytest.raises(OutputExistsError, match=r"exists and is not replaced \(overwrite=\)"):
        write_table(table, path)
    write_table(table, path, overwrite=True)
    with pytest.raises(InputError, match=r"path: must end in one of .ecsv, .fits, .vot, .xml"):
        write_table(table, tmp_path / "masses.csv")
