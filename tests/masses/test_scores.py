"""Star-weighted scores by hand, mass bins, and margins that a bootstrap over clumps resolves."""

import astropy.units as u
import numpy as np
import pytest

from stellarssl.exceptions import InputError
from stellarssl.masses import MASS_BINS, bin_scores, paired_margin, star_scores


def test_scores_by_hand():
    truth = np.array([0.0, 0.0, 0.0, 1.0])
    predicted = np.array([0.0, 0.0, 0.0, 0.5])
    limits = {0.68: (predicted - 0.2, predicted + 0.2), 0.95: (predicted - 0.5, predicted + 0.6)}
    scores = star_scores(truth, predicted, np.array(["a", "a", "a", "b"]), limits)
    # two stars: mean label 1/2, squared deviations of 1/4, residuals 0 and -1/2
    assert scores["r2"] == pytest.approx(1 - 0.25 / 0.5)
    assert scores["rms"] == pytest.approx(np.sqrt(0.25 / 2))
    assert scores["bias"] == pytest.approx(-0.25)
    assert scores["coverage_68"] == pytest.approx(0.5)
    assert scores["coverage_95"] == pytest.approx(1.0)
    assert scores["width_95"] == pytest.approx(1.1)
    assert (scores["n_rows"], scores["n_stars"]) == (4, 2)


def test_copies_of_rows_change_nothing():
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=(2, 20))
    once = star_scores(truth, truth + noise, np.arange(20))
    copies = rng.integers(1, 9, 20)
    many = star_scores(*(np.repeat(x, copies) for x in (truth, truth + noise, np.arange(20))))
    for name in ("r2", "rms", "bias"):
        assert many[name] == pytest.approx(once[name])


def test_bins_by_hand():
    mass = np.array([0.05, 0.1, 0.2, 0.3, 3.0, 8.0, 9.0])
    truth = np.log10(mass)
    table = bin_scores(truth, truth + 0.1 * np.arange(7), np.arange(7))
    np.testing.assert_array_equal(table["mass_from"].to_value(u.solMass), [0.1, 0.3, 2, 4])
    np.testing.assert_array_equal(table["n_rows"], [2, 1, 1, 1])
    np.testing.assert_allclose(table["bias"].to_value(u.dex), [0.15, 0.3, 0.4, 0.5])
    np.testing.assert_allclose(table["rms"].to_value(u.dex)[0], np.sqrt((0.01 + 0.04) / 2))
    assert MASS_BINS[-1] == 8 * u.solMass


def _rivals(gain, seed=5):
    """Four runs of eight clumps of three stars; the first prediction has less noise by ``gain``."""
    rng = np.random.default_rng(seed)
    star = np.arange(96)
    truth = rng.normal(size=96)
    noise = 0.6 * rng.normal(size=(2, 96))
    return truth, truth + (1 - gain) * noise[0], truth + noise[1], star, star // 3, star // 24


def test_a_clear_margin_is_resolved_and_changes_sign_with_the_order():
    truth, better, worse, *labels = _rivals(0.6)
    margin = paired_margin(truth, better, worse, *labels, n_bootstrap=200)
    assert margin["resolved"]
    assert 0 < margin["lower"] < margin["margin"] < margin["upper"]
    turned = paired_margin(truth, worse, better, *labels, n_bootstrap=200)
    assert turned["margin"] == pytest.approx(-margin["margin"])
    assert turned["lower"] == pytest.approx(-margin["upper"])


def test_rivals_of_equal_skill_are_not_resolved():
    truth, one, other, *labels = _rivals(0.0)
    assert not paired_margin(truth, one, other, *labels, n_bootstrap=200)["resolved"]
    same = paired_margin(truth, one, one, *labels, n_bootstrap=50)
    assert (same["margin"], same["lower"], same["upper"]) == (0, 0, 0)
    assert not same["resolved"]


def test_the_margin_is_the_mean_over_simulations():
    truth, one, other, star, clump, run = _rivals(0.3)
    by_run = [
        star_scores(truth[own], one[own], star[own])["r2"]
        - star_scores(truth[own], other[own], star[own])["r2"]
        for own in (run == i for i in range(4))
    ]
    margin = paired_margin(truth, one, other, star, clump, run, n_bootstrap=10)
    assert margin["margin"] == pytest.approx(np.mean(by_run))


def test_one_clump_a_simulation_resolves_nothing():
    truth, better, worse, star, _, run = _rivals(0.6)
    margin = paired_margin(truth, better, worse, star, run, run, n_bootstrap=20)
    assert np.isnan(margin["lower"])
    assert not margin["resolved"]


def test_shared_gas_widens_the_interval():
    # stars of one clump share their error: counting them as independent gives a narrower interval
    rng = np.random.default_rng(6)
    star = np.arange(240)
    clump, run = star // 10, star // 60
    truth = rng.normal(size=240)
    one, other = truth + 0.7 * rng.normal(size=(2, 24))[:, clump]
    by_clump = paired_margin(truth, one, other, star, clump, run, n_bootstrap=300)
    by_star = paired_margin(truth, one, other, star, star, run, n_bootstrap=300)
    width = [each["upper"] - each["lower"] for each in (by_clump, by_star)]
    assert width[0] > 1.3 * width[1]


def test_constant_labels_and_refusals():
    assert star_scores(np.zeros(3), np.ones(3), np.arange(3))["r2"] == 0
    with pytest.raises(InputError, match=r"predicted: must hold at least one value, all .* finite"):
        star_scores(np.zeros(2), np.array([0, np.nan]), np.arange(2))
    with pytest.raises(InputError, match="log_mass: must hold at least one value"):
        star_scores(np.array([]), np.array([]), np.array([]))
    with pytest.raises(InputError, match=r"log_mass: must hold a mass from 0.1 to 8 Msun"):
        bin_scores(np.array([2.0]), np.array([2.0]), np.arange(1))
