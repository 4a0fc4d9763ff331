"""Readers: weights of neighbors by hand, intervals calibrated without the tested simulation."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from stellarssl.exceptions import InputError
from stellarssl.masses import ForestEstimator, MassEstimator, NearestEstimator, group_weights


@parametrize_with_checks([ForestEstimator(n_estimators=10), NearestEstimator(3)])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def sample():
    """Stars with several rows each in four simulations; the first feature shows the mass."""
    rng = np.random.default_rng(0)
    n_stars, n_rows = 80, 3
    star = np.repeat(np.arange(n_stars), n_rows)
    y = np.repeat(rng.uniform(-1, 1.3, n_stars), n_rows) + 0.02 * rng.normal(size=len(star))
    X = rng.normal(size=(len(star), 4))
    X[:, 0] = y + 0.3 * rng.normal(size=len(star))
    return X, y, star, star // 5, star // 20


READERS = [ForestEstimator(n_estimators=30), NearestEstimator(5)]


@pytest.mark.parametrize("reader", READERS, ids=["forest", "nearest"])
def test_weights_are_a_distribution_over_library_rows(reader, sample):
    X, y, star, *_ = sample
    weights = reader.fit(X, y, star).weights(X[:7] + 0.1)
    assert weights.shape == (7, len(y))
    assert weights.data.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1)


def test_leaf_weights_by_hand():
    # one feature, three values, and leaves of two rows: each value is a leaf of its own
    X = np.repeat([[0.0], [1.0], [2.0]], [2, 3, 2], axis=0)
    y = np.array([0.0, 0.1, 1.0, 1.2, 1.4, 3.0, 3.1])
    star = np.array(["a", "b", "c", "c", "d", "e", "f"])
    forest = ForestEstimator(n_estimators=20, min_samples_leaf=2, max_features=1.0)
    forest.fit(X, y, star)
    # star c has two rows in the leaf of value 1 and shares one vote with itself: 1/4, 1/4, 1/2
    expected = [[0, 0, 0.25, 0.25, 0.5, 0, 0]]
    np.testing.assert_allclose(forest.weights([[1.0]]).toarray(), expected, atol=1e-12)
    np.testing.assert_allclose(forest.predict([[1.0]]), 0.25 * 1 + 0.25 * 1.2 + 0.5 * 1.4)
    weight, row = forest.neighbors([[1.0]], n_stars=3)
    np.testing.assert_allclose(weight, [[0.5, 0.5, 0]], atol=1e-12)
    assert sorted(star[row[0, :2]]) == ["c", "d"]
    assert row[0, 2] == -1


def test_the_weighted_mean_is_the_prediction_of_the_trees(sample):
    X, y, star, *_ = sample
    forest = ForestEstimator(n_estimators=30).fit(X, y, star)
    trees = ExtraTreesRegressor(30, min_samples_leaf=5, max_features=0.4, random_state=0)
    trees.fit(X, y, sample_weight=group_weights(star) * len(y))
    np.testing.assert_allclose(forest.predict(X), trees.predict(X), rtol=1e-9)


def test_copies_of_a_star_do_not_change_the_weight_of_the_star():
    # the same two leaves with star a once or six times
    once = ForestEstimator(n_estimators=10, min_samples_leaf=1, max_features=1.0)
    many = ForestEstimator(n_estimators=10, min_samples_leaf=1, max_features=1.0)
    once.fit([[0.0], [0.0], [1.0]], [0.0, 1.0, 5.0], ["a", "b", "c"])
    X = [[0.0]] * 7 + [[1.0]]
    many.fit(X, [0.0] * 6 + [1.0, 5.0], ["a"] * 6 + ["b", "c"])
    np.testing.assert_allclose(once.predict([[0.0]]), 0.5)
    np.testing.assert_allclose(many.predict([[0.0]]), 0.5)


def test_nearest_is_the_mass_estimator_with_another_interface(sample):
    X, y, star, *_ = sample
    query = X[:9] + 0.05
    reader = NearestEstimator(5).fit(X, y, star)
    peer = MassEstimator(5).fit(X, y, star)
    np.testing.assert_allclose(reader.predict(query), peer.predict(query))
    np.testing.assert_array_equal(reader.neighbors(query)[1], peer.kneighbors(query)[1])


@pytest.mark.parametrize("reader", READERS, ids=["forest", "nearest"])
def test_five_different_stars_are_listed(reader, sample):
    X, y, star, *_ = sample
    weight, row = reader.fit(X, y, star).neighbors(X[:6] + 0.05)
    assert weight.shape == row.shape == (6, 5)
    assert all(len(set(star[each])) == 5 for each in row)
    assert (np.diff(weight, axis=1) <= 0).all()


def test_labels_above_the_cap_enter_as_the_cap(sample):
    X, y, star, *_ = sample
    capped = ForestEstimator(n_estimators=30, cap=0.5).fit(X, y, star)
    assert capped.log_mass_.max() == 0.5
    by_hand = ForestEstimator(n_estimators=30).fit(X, np.minimum(y, 0.5), star)
    np.testing.assert_array_equal(capped.predict(X), by_hand.predict(X))
    lower, upper = capped.predict_interval(X, 0.9)
    assert upper.max() <= 0.5
    assert (lower <= upper).all()


def test_the_flat_prior_evens_out_a_library_of_two_masses():
    # nine stars of 0.15 Msun and three of 1.5 Msun that no feature tells apart
    y = np.log10(np.repeat([0.15, 1.5], [9, 3]))
    for prior, expected in {
        "library": (9 * y[0] + 3 * y[-1]) / 12,
        "flat": y[[0, -1]].mean(),
    }.items():
        forest = ForestEstimator(n_estimators=5, prior=prior).fit(np.zeros((12, 1)), y)
        np.testing.assert_allclose(forest.predict([[0.0]]), expected)


def test_missing_values_in_the_library_and_in_queries(sample):
    X, y, star, *_ = sample
    holes = X.copy()
    holes[::4, 1] = np.nan
    forest = ForestEstimator(n_estimators=30).fit(holes, y, star)
    assert np.isfinite(forest.predict(holes)).all()
    # a feature that only the query lacks: the rest still decides
    full = ForestEstimator(n_estimators=30).fit(X, y, star)
    query = X.copy()
    query[:, 1] = np.nan
    assert np.corrcoef(full.predict(query), y)[0, 1] > 0.8
    with pytest.raises(ValueError, match="Input X contains NaN"):
        NearestEstimator().fit(holes, y, star)
    with pytest.raises(ValueError, match="Input X contains infinity"):
        ForestEstimator().fit(np.where(np.isnan(holes), np.inf, holes), y, star)


def test_intervals_come_from_simulations_left_out(sample):
    X, y, star, clump, run = sample
    forest = ForestEstimator(n_estimators=30).fit(X, y, star, clump, run)
    own = run == 2
    without = ForestEstimator(n_estimators=30).fit(X[~own], y[~own], star[~own])
    np.testing.assert_allclose(forest.left_out_[own], without.predict(X[own]))
    assert forest.intervals_.by_simulation
    assert forest.intervals_.n_runs == 4
    # other labels in one simulation change nothing that was predicted for it
    changed = np.where(own, -y, y)
    again = ForestEstimator(n_estimators=30).fit(X, changed, star, clump, run)
    np.testing.assert_allclose(again.left_out_[own], forest.left_out_[own])


@pytest.mark.parametrize("reader", READERS, ids=["forest", "nearest"])
def test_intervals_cover_simulations_that_the_reader_never_saw(reader):
    rng = np.random.default_rng(1)
    star = np.repeat(np.arange(240), 3)
    x = np.repeat(rng.uniform(-1, 1, 240), 3)
    noise = np.repeat(rng.normal(size=240) * (0.1 + 0.3 * (x[::3] > 0)), 3)
    X, y, run = np.stack([x, rng.normal(size=720)], axis=1), x + noise, star // 40
    old = run < 3
    reader.fit(X[old], y[old], star[old], None, run[old])
    for level in (0.68, 0.95):
        lower, upper = reader.predict_interval(X[~old], level)
        held = ((lower <= y[~old]) & (y[~old] <= upper))[::3]
        # 120 new stars, and as many in the calibration: two standard errors of either
        assert abs(held.mean() - level) < 2 * np.sqrt(2 * level * (1 - level) / 120) + 0.01


def test_one_simulation_is_calibrated_on_clumps_and_says_so(sample):
    X, y, star, clump, run = sample
    one = run == 0
    forest = ForestEstimator(n_estimators=20)
    forest.fit(X[one], y[one], star[one], clump[one], run[one])
    assert forest.intervals_ is not None
    assert not forest.intervals_.by_simulation
    # without clumps there is nothing to leave out: quantiles of the neighbors
    forest.fit(X[one], y[one], star[one], None, run[one])
    assert forest.intervals_ is None
    lower, upper = forest.predict_interval(X[one], 0.68)
    np.testing.assert_array_equal(lower, forest.quantile(X[one], 0.16))
    assert (lower < upper).any()


@pytest.mark.parametrize("reader", READERS, ids=["forest", "nearest"])
def test_constant_masses_give_that_mass(reader, sample):
    X, y, star, clump, run = sample
    reader.fit(X, np.full_like(y, 0.3), star, clump, run)
    np.testing.assert_allclose(reader.predict(X), 0.3)
    for edge in reader.predict_interval(X, 0.95):
        np.testing.assert_allclose(edge, 0.3, atol=1e-6)


def test_batches_do_not_change_the_result(sample, monkeypatch):
    X, y, star, *_ = sample
    forest = ForestEstimator(n_estimators=10).fit(X, y, star)
    whole = (*forest.mean_and_spread(X), forest.quantile(X, 0.3), *forest.neighbors(X))
    monkeypatch.setattr("stellarssl.masses.readers._BATCH", 7)
    parts = (*forest.mean_and_spread(X), forest.quantile(X, 0.3), *forest.neighbors(X))
    for expected, found in zip(whole, parts, strict=True):
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (ForestEstimator(n_estimators=0), "n_estimators: must be a whole number above zero; got 0"),
        (ForestEstimator(min_samples_leaf=2.5), "min_samples_leaf: must be a whole number"),
        (ForestEstimator(max_features=1.5), "max_features: must be above 0 and at most 1; got 1.5"),
        (ForestEstimator(prior="imf"), 'prior: must be "library", "flat" or a function'),
        (NearestEstimator(0), "n_neighbors: must be a whole number above zero; got 0"),
    ],
)
def test_refuses_parameters(reader, message):
    with pytest.raises(InputError, match=message):
        reader.fit(np.eye(4), [0.0, 1, 2, 3])


def test_refuses_labels_of_another_length_and_bad_counts(sample):
    X, y, star, *_ = sample
    with pytest.raises(InputError, match="groups: must hold one label for each of the 240 rows"):
        ForestEstimator(n_estimators=2).fit(X, y, star[:5])
    forest = ForestEstimator(n_estimators=2).fit(X, y, star)
    with pytest.raises(InputError, match="n_stars: must be a whole number above zero; got 0"):
        forest.neighbors(X, 0)
    with pytest.raises(InputError, match="level: must lie between 0 and 1"):
        forest.predict_interval(X, 68)
    with pytest.raises(InputError, match="groups: must not be divided among several clumps"):
        forest.fit(X, y, star, np.arange(len(y)), np.arange(len(y)) % 2)


def test_weights_are_sparse(sample):
    X, y, star, *_ = sample
    assert isinstance(ForestEstimator(n_estimators=3).fit(X, y, star).weights(X), csr_array)
