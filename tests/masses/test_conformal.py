"""Coverage of calibrated intervals, votes of stars, and what happens with too little data."""

import numpy as np
import pytest
from scipy.stats import norm

from stellarssl.exceptions import InputError
from stellarssl.masses import ConformalIntervals


def _fit(residuals, groups=None, runs=None, scale=None, **options):
    n = len(residuals)
    groups = np.arange(n) if groups is None else groups
    runs = np.arange(n) % 2 if runs is None else runs
    scale = np.ones(n) if scale is None else scale
    return ConformalIntervals.fit(residuals, scale, groups, runs, **options)


def test_quantile_of_a_finite_sample_by_hand():
    # nine stars: 0.68 of ten is 6.8, so the seventh smallest score
    intervals = _fit(np.arange(1, 10) * np.tile([1, -1], 5)[:9] / 10)
    assert intervals.quantile(0.68) == pytest.approx(0.7)
    assert intervals.quantile(0.7) == pytest.approx(0.7)
    assert intervals.quantile(0.71) == pytest.approx(0.8)


def test_the_rows_of_a_star_share_one_vote():
    # two rows count half: cumulative weights of 1/8, 1/4, 1/2, 3/4 of the scores 1, 2, 3, 4
    intervals = _fit([1.0, 2.0, 3.0, 4.0], groups=["a", "a", "b", "c"])
    assert [intervals.quantile(level) for level in (0.1, 0.2, 0.4, 0.75)] == [1, 2, 3, 4]
    # a thousand copies of a star's row change nothing
    copies = _fit(np.repeat([1.0, 2, 3], [1000, 1, 1]), groups=np.repeat([0, 1, 2], [1000, 1, 1]))
    single = _fit([1.0, 2, 3])
    for level in (0.2, 0.5, 0.7):
        assert copies.quantile(level) == single.quantile(level)


@pytest.mark.parametrize("level", [0.68, 0.95])
def test_coverage_under_heteroscedastic_noise(level):
    rng = np.random.default_rng(2)
    held, narrow = [], []
    for _ in range(100):
        scale = rng.uniform(0.1, 1.0, 160)
        residual = scale * rng.standard_t(4, 160)
        intervals = _fit(residual[:80], scale=scale[:80])
        lower, upper, _ = intervals.interval(np.zeros(80), scale[80:], level)
        inside = (lower <= residual[80:]) & (residual[80:] <= upper)
        held.append(inside.mean())
        narrow.append(inside[scale[80:] < 0.3].mean())
    # 8000 new stars in 100 calibrations of 80: both contribute sqrt(p (1 - p) / 8000)
    error = np.sqrt(2 * level * (1 - level) / 8000)
    assert abs(np.mean(held) - level) < 3 * error + 1 / 81  # the quantile is a step of 1/81
    assert abs(np.mean(narrow) - level) < 6 * error + 1 / 81


@pytest.mark.parametrize(
    ("n", "level", "conformal"),
    [(19, 0.95, True), (18, 0.95, False), (3, 0.68, True), (2, 0.68, False)],
)
def test_a_level_needs_enough_stars(n, level, conformal):
    assert _fit(np.ones(n)).is_conformal(level) is conformal


def test_too_few_stars_rest_on_a_normal_distribution():
    intervals = _fit([3.0, 4.0])
    expected = norm.ppf(0.975) * np.sqrt((9 + 16) / 2)
    assert intervals.quantile(0.95) == pytest.approx(expected)


def test_one_simulation_is_known_to_be_weaker():
    assert _fit(np.ones(4)).by_simulation
    assert not _fit(np.ones(4), runs=["s1"] * 4).by_simulation


def test_upper_limits_are_cut_with_a_flag():
    intervals = _fit(np.full(4, 0.5), upper=0.9)
    lower, upper, cut = intervals.interval(np.array([0.0, 0.6, 0.4]), np.ones(3), 0.5)
    np.testing.assert_allclose(lower, [-0.5, 0.1, -0.1])
    np.testing.assert_allclose(upper, [0.5, 0.9, 0.9])
    np.testing.assert_array_equal(cut, [False, True, False])


def test_constant_masses_give_intervals_without_width():
    intervals = _fit(np.zeros(30))
    lower, upper, _ = intervals.interval(np.array([0.3]), np.ones(1), 0.95)
    assert lower == upper == 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residuals": [np.nan, 1.0]}, r"residuals: must be finite; leave out rows .*got \[nan\]"),
        ({"residuals": []}, "residuals: must be one-dimensional, not empty"),
        ({"scale": [1.0, 0.0]}, "scale: must be positive and finite"),
        ({"scale": [1.0, np.nan]}, "scale: must be positive and finite"),
        ({"scale": [1.0]}, "scale: must hold one value for each of the 2 residuals"),
        ({"groups": ["a"]}, "groups: must hold one value for each of the 2 residuals"),
        ({"runs": ["s1"] * 3}, "runs: must hold one value for each of the 2 residuals"),
    ],
)
def test_refuses_calibrations(change, message):
    arguments = {"residuals": [0.1, 0.2], "scale": [1.0, 1.0], "groups": [0, 1], "runs": [0, 1]}
    with pytest.raises(InputError, match=message):
        ConformalIntervals.fit(**(arguments | change))


def test_refuses_levels():
    with pytest.raises(InputError, match="level: must lie between 0 and 1; got 68"):
        _fit(np.ones(4)).quantile(68)
