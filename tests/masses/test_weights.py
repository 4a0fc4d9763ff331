"""Estimates from neighbor weights, and the prior, checked by hand on small libraries."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from stellarssl.exceptions import InputError
from stellarssl.masses import (
    apply_prior,
    group_weights,
    heaviest_groups,
    weighted_mean,
    weighted_quantile,
    weighted_spread,
)
from stellarssl.masses.weights import MAX_RATIO, PRIOR_BIN, PRIOR_RANGE


def _equal(n):
    return csr_array(np.full((1, n), 1 / n))


def test_each_group_has_the_same_weight():
    weight = group_weights(np.array(["b", "a", "a", "a", "c"]))
    np.testing.assert_allclose(weight, [1 / 3, 1 / 9, 1 / 9, 1 / 9, 1 / 3])


def test_mean_and_spread_by_hand():
    weights = csr_array([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    values = np.array([10.0, 14.0, 3.0])
    np.testing.assert_allclose(weighted_mean(weights, values), [13, 3])
    # variance p (1 - p) d^2 = 3/16 * 16
    np.testing.assert_allclose(weighted_spread(weights, values), [np.sqrt(3), 0], atol=1e-7)


@pytest.mark.parametrize(
    ("level", "expected"), [(0.19, 1.0), (0.2, 1.0), (0.21, 2.0), (0.5, 2.0), (0.51, 3.0)]
)
def test_quantiles_step_where_the_cumulative_weight_reaches_the_level(level, expected):
    # in order of value: 1 (0.2), 2 (0.3), 3 (0.5)
    weights = csr_array([[0.2, 0.5, 0.3]])
    assert weighted_quantile(weights, np.array([1.0, 3.0, 2.0]), level) == [expected]


def test_equal_weights_give_the_quantiles_of_numpy():
    rng = np.random.default_rng(0)
    values = rng.normal(size=101)
    for level in (0.16, 0.5, 0.84):
        expected = np.quantile(values, level, method="inverted_cdf")
        assert weighted_quantile(_equal(101), values, level) == [expected]


def test_a_quantile_needs_a_level_between_zero_and_one():
    with pytest.raises(InputError, match="level: must lie between 0 and 1; got 95"):
        weighted_quantile(_equal(2), np.zeros(2), 95)


def test_the_rows_of_a_star_are_listed_once_by_the_best():
    weights = csr_array([[0.1, 0.25, 0.3, 0.35, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0]])
    star = np.array(["a", "a", "b", "c", "d"])
    weight, index = heaviest_groups(weights, star, 3)
    np.testing.assert_allclose(weight, [[0.35, 0.35, 0.3], [1, 0, 0]])
    assert set(index[0, :2]) == {1, 3}
    np.testing.assert_array_equal(index[:, 2], [2, -1])
    assert heaviest_groups(weights, star, 9)[0].shape == (2, 4)


# the prior


def test_the_library_prior_changes_nothing():
    weights = csr_array([[0.2, 0.8]])
    assert apply_prior(weights, np.array([0.0, 0.5]), "library") is weights


def test_flat_by_hand_with_two_bins():
    # three stars in one bin and one in another: ratios 2/3 and 2 (their star-weighted mean is one)
    y = np.array([-0.9, -0.9, -0.9, 0.1])
    weights = csr_array([[0.25, 0.25, 0.25, 0.25], [0.5, 0.1, 0.0, 0.4]])
    flat = apply_prior(weights, y, "flat").toarray()
    np.testing.assert_allclose(flat[0], [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    # 0.5 * 2/3, 0.1 * 2/3, 0.4 * 2, divided by their sum of 1.2
    np.testing.assert_allclose(flat[1], [1 / 3.6, 1 / 18, 0, 0.8 / 1.2])


def test_density_counts_stars_and_not_rows():
    # one star has three rows in the lower bin, one star has one row in the upper bin
    y = np.array([-0.9, -0.9, -0.9, 0.1])
    star = np.array(["a", "a", "a", "b"])
    flat = apply_prior(_equal(4), y, "flat", star)
    np.testing.assert_allclose(flat.toarray(), 1 / 4)  # both bins hold one star already


def test_flat_is_zero_outside_its_range_and_holds_the_upper_limit():
    y = np.log10([0.05, 0.1, 8.0, 9.0])
    flat = apply_prior(_equal(4), y, "flat").toarray()[0]
    np.testing.assert_allclose(flat, [0, 0.5, 0.5, 0])


def test_labels_at_the_cap_share_the_last_bin():
    # 7.9 Msun and the cap of 8 Msun are in one bin, which counts as much as the bin at 0.1 Msun
    y = np.array([-0.99, np.log10(7.9), PRIOR_RANGE[1]])
    np.testing.assert_allclose(apply_prior(_equal(3), y, "flat").toarray(), [[0.5, 0.25, 0.25]])
    assert PRIOR_RANGE[0] + 8 * PRIOR_BIN == pytest.approx(np.log10(8))


def test_one_row_in_an_empty_part_of_the_library_cannot_dominate():
    # 199 stars and one: the ratio of 100 is cut to 5, that of the others is 100/199
    y = np.append(np.full(199, -0.9), 0.5)
    flat = apply_prior(_equal(200), y, "flat").toarray()[0]
    expected = MAX_RATIO / (MAX_RATIO + 100)
    assert flat[-1] == pytest.approx(expected)
    assert flat.sum() == pytest.approx(1)


def test_a_callable_is_a_density_up_to_a_factor():
    y = np.array([-0.9, -0.9, 0.1, 0.1])
    for densities in ((3.0, 1.0), (3e6, 1e6)):
        changed = apply_prior(_equal(4), y, lambda m, d=densities: np.where(m < 0, *d))
        np.testing.assert_allclose(changed.toarray(), [[0.375, 0.375, 0.125, 0.125]])


def test_neighbors_without_prior_density_keep_their_weights():
    y = np.log10([0.05, 0.05, 1.0])
    weights = csr_array([[0.3, 0.7, 0.0], [0.3, 0.3, 0.4]])
    flat = apply_prior(weights, y, "flat").toarray()
    np.testing.assert_allclose(flat, [[0.3, 0.7, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("kroupa", 'prior: must be "library", "flat" or a function of log mass'),
        (None, 'prior: must be "library", "flat" or a function of log mass'),
        (lambda m: -np.ones_like(m), "prior: must return one finite, non-negative density"),
        (lambda m: m[:1], "prior: must return one finite, non-negative density"),
        (lambda m: np.full_like(m, np.nan), "prior: must return one finite, non-negative density"),
        (np.zeros_like, "prior: must be above zero for a mass of the library"),
    ],
)
def test_refuses_priors(prior, message):
    with pytest.raises(InputError, match=message):
        apply_prior(_equal(2), np.array([0.0, 0.5]), prior)
