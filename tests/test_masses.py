from dataclasses import replace
from itertools import pairwise

import astropy.units as u
import numpy as np
import pytest
from astropy.config import set_temp_cache
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse
from astropy.table import QTable
from astropy.utils.masked import Masked
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from stellarssl.encoder import Encoder, Features
from stellarssl.exceptions import EncoderMismatchError, InputError, OutputExistsError
from stellarssl.library import ReferenceLibrary
from stellarssl.masses import (
    MassEstimator,
    MassModel,
    mass_table,
    neighbor_weights,
    write_table,
)
from stellarssl.masses.flags import flag_bit
from stellarssl.tiles import TileSet
from stellarssl.tracers import get_tracer

THERMAL = 1e22 * u.cm**-2 / (u.K * u.km / u.s)


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


@pytest.fixture(scope="module")
def encoder():
    return Encoder.random(architecture="test_vit", width=64, n_registers=0, dtype="float32")


def _maps(n, seed):
    """Smooth blobs whose column, width and spread in velocity follow a mass."""
    rng = np.random.default_rng(seed)
    log_mass = rng.uniform(-1, 1, n)
    axis = np.arange(64) - 31.5
    radius = np.hypot(*np.meshgrid(axis, axis))
    maps = np.empty((n, 3, 64, 64))
    maps[:, 0] = 22 + 0.5 * log_mass[:, None, None] - 0.02 * radius
    maps[:, 1] = rng.normal(0, 0.1, n)[:, None, None] * axis / 32
    maps[:, 2] = (0.3 + 0.2 * 10 ** (0.5 * log_mass))[:, None, None] * np.exp(-radius / 20)
    return maps, log_mass


def _library(*, starless=True, n=40):
    maps, log_mass = _maps(n, 0)
    mass = 10**log_mass
    group = [f"g{i // 2}" for i in range(n)]
    if starless:
        maps[-10:, 0] -= 1
        mass[-10:] = np.nan
    return ReferenceLibrary.from_maps(
        10 ** maps[:, 0] * u.cm**-2, maps[:, 1] * u.km / u.s, maps[:, 2] * u.km / u.s,
        mass * u.Msun, group,
    )  # fmt: skip


@pytest.fixture(scope="module")
def library(encoder, tmp_path_factory):
    with set_temp_cache(tmp_path_factory.mktemp("cache")):
        return _library().embed(encoder)


def _tiles(maps, **changes):
    n = len(maps)
    fields = {
        "maps": np.asarray(maps, dtype=np.float32),
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


def _row_flags(table, i):
    return set(filter(None, table["flag_words"][i].split(",")))


SIMULATED = get_tracer(THERMAL)


def test_the_row(library, encoder):
    tiles = _tiles(library.maps[:4])
    table = mass_table(
        tiles, library, encoder, tracer=SIMULATED, model=MassModel.fit(library, n_neighbors=3)
    )
    assert table.colnames == [
        "id", "skycoord", "mass", "mass_lower", "mass_upper", "mass_lower_95", "mass_upper_95",
        "star_probability", "gas_mass", "peak_n_h", "v_los", "sigma_v", "snr", "coverage",
        "mass_dynamical", "mass_dynamical_radius", "beams_per_tile", "neighbor_distance",
        "ood_pvalue", "flags", "flag_words", "neighbors", "neighbor_masses",
    ]  # fmt: skip
    units = {n: str(table[n].unit) for n in ("mass", "mass_upper_95", "gas_mass", "peak_n_h",
                                             "v_los", "sigma_v", "neighbor_masses")}  # fmt: skip
    assert units == {
        "mass": "solMass", "mass_upper_95": "solMass", "gas_mass": "solMass",
        "peak_n_h": "1 / cm2", "v_los": "km / s", "sigma_v": "km / s",
        "neighbor_masses": "solMass",
    }  # fmt: skip
    # a map of the library finds itself
    np.testing.assert_array_equal(table["neighbors"][:, 0], np.arange(4))
    np.testing.assert_allclose(table["mass"].value.unmasked, library.table["mass"][:4].value)
    np.testing.assert_allclose(
        table["neighbor_masses"].value, library.table["mass"][table["neighbors"]].value
    )
    assert table["neighbors"].shape == (4, 3)
    np.testing.assert_allclose(
        table["gas_mass"].unmasked.value, library.table["gas_mass"][:4].value
    )
    lower, mass, upper = (table[n].unmasked for n in ("mass_lower", "mass", "mass_upper"))
    assert (lower <= mass).all()
    assert (mass <= upper).all()
    assert (table["mass_lower_95"].unmasked <= lower).all()
    for key in ("label", "library_sha256", "encoder_sha256", "tracer", "version_stellarssl"):
        assert table.meta[key]


def test_peak_column_and_total_dispersion_by_hand(library, encoder):
    maps = np.zeros((1, 3, 64, 64))
    maps[0, 0], maps[0, 2] = 22, 0.3
    maps[0, 1, :, :32], maps[0, 1, :, 32:] = -0.4, 0.4
    maps[0, 0, 3, 3] = 23
    detected = np.ones((1, 64, 64), dtype=bool)
    detected[0, 3, 3] = False
    table = mass_table(_tiles(maps, detected=detected), library, encoder, tracer=SIMULATED)
    np.testing.assert_allclose(table["peak_n_h"].unmasked.value, 1e22, rtol=1e-6)
    np.testing.assert_allclose(table["sigma_v"].unmasked.value, 0.5, rtol=1e-6)


def test_the_dynamical_mass_and_its_radius_by_hand(library, encoder):
    maps = np.zeros((3, 3, 64, 64))
    maps[:, 0], maps[:, 2] = 22, 0.3
    maps[:, 1, :, :32], maps[:, 1, :, 32:] = -0.4, 0.4  # the total dispersion is 0.5 km/s
    detected = np.ones((3, 64, 64), dtype=bool)
    detected[2, 24:40, 24:40] = False  # nothing within 8 pixels
    tiles = _tiles(maps, detected=detected, beams_per_tile=np.array([np.nan, 8, 8]))
    table = mass_table(tiles, library, encoder, tracer=SIMULATED)
    # 5 * 0.25 (km/s)^2 * R / (4.30091e-3 pc (km/s)^2 / Msun); a beam is 64 / 8 pixels = 0.0625 pc
    np.testing.assert_allclose(table["mass_dynamical_radius"].value, [0.015625, 0.03125, 0.03125])
    np.testing.assert_allclose(
        table["mass_dynamical"].unmasked.value[:2], [4.5412, 9.0824], rtol=1e-4
    )
    assert table["mass_dynamical"].mask.tolist() == [False, False, True]
    assert "mass_dynamical_radius" in table["mass_dynamical"].info.description
    # it needs neither a tracer nor a mass from the library
    unknown = mass_table(tiles[:1], library, encoder, tracer=None)
    assert not unknown["mass_dynamical"].mask[0]


@pytest.mark.parametrize(
    ("changes", "tracer", "flag", "masks"),
    [
        ({"coverage": np.array([0.9])}, SIMULATED, "partial_coverage", False),
        ({"coverage": np.array([0.4])}, SIMULATED, "off_map", True),
        ({"covered": np.zeros((1, 64, 64), bool)}, SIMULATED, "off_map", True),
        ({"detected_fraction": np.zeros(1)}, SIMULATED, "no_signal", True),
        ({"snr": np.array([4.0])}, SIMULATED, "low_snr", False),
        ({"beams_per_tile": np.array([2.5])}, SIMULATED, "coarse_beam", True),
        ({"beams_per_tile": np.array([8.0])}, SIMULATED, "resolution_mismatch", False),
        ({}, None, "no_column", True),
        ({}, get_tracer("HI"), "atomic_tracer", True),
        ({}, get_tracer("12CO(1-0)"), "opaque_tracer", True),
    ],
)
def test_flags_of_the_data(library, encoder, changes, tracer, flag, masks):
    table = mass_table(_tiles(library.maps[:1], **changes), library, encoder, tracer=tracer)
    assert flag in _row_flags(table, 0)
    assert table["mass"].mask[0] == masks
    assert table["mass_upper_95"].mask[0] == masks
    if masks:
        tiles = _tiles(library.maps[:1], **changes)
        allowed = mass_table(tiles, library, encoder, tracer=tracer, allow=[flag])
        assert flag in _row_flags(allowed, 0)
        assert not allowed["mass"].mask[0]


def test_a_good_tile_carries_no_mask(library, encoder):
    table = mass_table(_tiles(library.maps[:1]), library, encoder, tracer=SIMULATED)
    assert not table["mass"].mask[0]
    assert _row_flags(table, 0) <= {"model_based_interval"}


def test_without_a_column_nothing_that_needs_one_is_told(library, encoder):
    table = mass_table(_tiles(library.maps[:1]), library, encoder, tracer=None)
    for name in ("mass", "star_probability", "gas_mass", "peak_n_h", "ood_pvalue"):
        assert table[name].mask[0]
    assert not table["v_los"].mask[0]


def test_the_callers_flags_are_kept(library, encoder):
    bits = np.array([flag_bit("position_from_peak"), flag_bit("missing_flux")])
    table = mass_table(_tiles(library.maps[:2]), library, encoder, tracer=SIMULATED, flags=bits)
    assert "position_from_peak" in _row_flags(table, 0)
    assert list(table["mass"].mask) == [False, True]


def test_above_the_library_and_unlike_it(encoder, library):
    heavy = library.select(library.table["has_star"])
    heavy.table["mass"][:] = 20 * u.Msun
    table = mass_table(_tiles(heavy.maps[:1]), heavy, encoder, tracer=SIMULATED)
    assert {"above_library", "no_starless_reference"} <= _row_flags(table, 0)
    assert table["mass"].mask[0]
    assert table["star_probability"].mask[0]
    strange = np.array(library.maps[:1])
    strange[:, 2] += 8
    table = mass_table(_tiles(strange), library, encoder, tracer=SIMULATED)
    assert table["ood_pvalue"][0] < 0.15
    assert table["neighbor_distance"][0] > 3


def test_star_probability_tells_the_kinds_apart(library, encoder):
    has_star = np.asarray(library.table["has_star"])
    table = mass_table(_tiles(library.maps), library, encoder, tracer=SIMULATED)
    probability = np.ma.filled(table["star_probability"], np.nan)
    assert np.median(probability[has_star]) > 0.5
    assert (probability[~has_star] < 0.5).all()
    assert "starless_like" in _row_flags(table, -1)
    assert not table["neighbors"][:, :].max() >= np.flatnonzero(~has_star).min()


def test_peaks_are_told_from_peaks_and_masses_from_stars(library, encoder):
    # the first ten stars are seen again about the peak by them: masses must not come from those
    n_stars = int(library.table["has_star"].sum())
    rows = np.concatenate([np.arange(len(library)), np.arange(10)])
    both = library.select(rows)
    both.table["from_peak"] = (np.arange(len(rows)) >= len(library)) | ~both.table["has_star"]
    reader = MassModel.fit(both, n_neighbors=3, n_components=5, statistics=True)
    np.testing.assert_array_equal(reader.rows, np.arange(n_stars))
    assert len(reader.presence.log_mass_) == 20
    table = mass_table(_tiles(library.maps[:3]), both, encoder, tracer=SIMULATED)
    assert table["neighbors"].max() < n_stars
    apart = library.select(slice(None))
    apart.table["from_peak"] = ~apart.table["has_star"]
    table = mass_table(_tiles(library.maps[:1]), apart, encoder, tracer=SIMULATED)
    assert "no_starless_reference" in _row_flags(table, 0)


def test_star_probability_is_calibrated_for_even_odds():
    # N(1, 1) with a star and N(-1, 1) without: even odds give p = 1 / (1 + exp(-2 x)). Three more
    # features say nothing.
    # Starless clumps are eight times as frequent and are seen twice each.
    rng = np.random.default_rng(12)
    x = np.concatenate([rng.normal(1, 1, 60), np.repeat(rng.normal(-1, 1, 480), 2)])
    mass = np.where(np.arange(len(x)) < 60, 1, np.nan) * u.Msun
    group = np.concatenate([np.arange(60), 60 + np.repeat(np.arange(480), 2)])
    flat = np.ones((len(x), 64, 64))
    bare = ReferenceLibrary.from_maps(
        1e22 * flat / u.cm**2, 0 * flat * u.km / u.s, 0 * flat * u.km / u.s, mass, group
    )
    columns = np.column_stack([x, rng.normal(size=(len(x), 3))])
    features = Features(columns, {"cls@0.5": slice(0, 4)}, "none", "float32")
    reader = MassModel.fit(
        replace(bare, features=features), n_neighbors=1, n_components=4, statistics=False
    )
    query = rng.normal(size=(4000, 4))
    query[:, 0] = rng.normal(1, 1, 4000) * rng.choice([-1, 1], 4000)
    told, true = reader.star_probability(query), 1 / (1 + np.exp(-2 * query[:, 0]))
    for low in (0, 0.25, 0.5, 0.75):
        chosen = (told >= low) & (told < low + 0.25)
        assert chosen.sum() > 100
        assert abs(told[chosen].mean() - true[chosen].mean()) < 0.1


def test_scalars_are_an_option(library, encoder):
    maps, _ = _maps(5, 99)
    with_scalars, without = (
        mass_table(
            _tiles(maps),
            library,
            encoder,
            tracer=SIMULATED,
            model=MassModel.fit(library, statistics=statistics),
        )
        for statistics in (True, False)
    )
    assert np.any(with_scalars["mass"].unmasked != without["mass"].unmasked)
    assert without.meta["statistics"] is False


def test_refuses_another_encoder_and_unknown_flags(library, encoder):
    other = Encoder.random(1, architecture="test_vit", width=64, n_registers=0, dtype="float32")
    tiles = _tiles(library.maps[:1])
    with pytest.raises(EncoderMismatchError, match="library: was embedded with other weights"):
        mass_table(tiles, library, other, tracer=SIMULATED)
    with pytest.raises(InputError, match=r"flag: must be one of .*got 'bad_luck'"):
        mass_table(tiles, library, encoder, tracer=SIMULATED, allow=["bad_luck"])
    starless = library.select(~library.table["has_star"])
    with pytest.raises(InputError, match="library: must hold at least two maps centered on a star"):
        mass_table(tiles, starless, encoder, tracer=SIMULATED)


# its files


@pytest.fixture(scope="module")
def table(library, encoder):
    covered = np.ones((3, 64, 64), bool)
    covered[1] = False
    tiles = _tiles(library.maps[:3], covered=covered, snr=np.array([5.5, 1.0, np.inf]))
    return mass_table(
        tiles, library, encoder, tracer=SIMULATED, meta={"distance": "300.0 pc", "n": np.int64(3)}
    )


def _assert_same(table, back):
    for name in back.colnames:
        if name in ("ra", "dec"):
            np.testing.assert_allclose(
                u.Quantity(back[name], u.deg), getattr(table["skycoord"], name), rtol=1e-14
            )
            continue
        old, new = table[name], back[name]
        if name in ("id", "flag_words"):
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
    assert back.meta["ENCODER_SHA256"] == table.meta["encoder_sha256"]


def test_votable_export(table, tmp_path):
    write_table(table, tmp_path / "masses.vot")
    back = QTable.read(tmp_path / "masses.vot", format="votable")
    assert back.colnames == ["id", "ra", "dec", *table.colnames[2:]]
    _assert_same(table, back)
    params = {p.name: p.value for p in parse(tmp_path / "masses.vot").get_first_table().params}
    assert params["encoder_sha256"] == table.meta["encoder_sha256"]


def test_files_are_not_replaced_unasked(table, tmp_path):
    path = tmp_path / "masses.ecsv"
    write_table(table, path)
    with pytest.raises(OutputExistsError, match=r"exists and is not replaced \(overwrite=\)"):
        write_table(table, path)
    write_table(table, path, overwrite=True)
    with pytest.raises(InputError, match=r"path: must end in one of .ecsv, .fits, .vot, .xml"):
        write_table(table, tmp_path / "masses.csv")
