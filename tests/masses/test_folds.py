"""Folds in which a leak fails, and a choice that never sees the outer test rows."""

import numpy as np
import pytest

from stellarssl.exceptions import InputError
from stellarssl.masses import FOLD_SPLITS, NearestEstimator, choose_inside, leave_out


def _sample():
    """Four runs of six stars in three clumps, each star with three rows, in shuffled order."""
    order = np.random.default_rng(3).permutation(72)
    star = np.repeat(np.arange(24), 3)[order]
    return star, star // 2, star // 6


def _shared(labels, folds):
    """Count the labels that occur in both sets of a fold."""
    return sum(len(np.intersect1d(labels[train], labels[test])) for train, test in folds)


@pytest.mark.parametrize("split", FOLD_SPLITS)
def test_each_row_is_tested_once_and_never_trained_on_in_that_fold(split):
    folds = leave_out(split, *_sample())
    tested = np.concatenate([test for _, test in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(72))
    for train, test in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(72))


@pytest.mark.parametrize(
    ("split", "leaks"),
    [
        ("random", (True, True, True)),
        ("star", (False, True, True)),
        ("clump", (False, False, True)),
        ("simulation", (False, False, False)),
    ],
)
def test_what_a_split_keeps_together(split, leaks):
    labels = _sample()
    folds = leave_out(split, *labels)
    assert tuple(_shared(each, folds) > 0 for each in labels) == leaks


def test_number_of_folds():
    counts = [len(leave_out(split, *_sample())) for split in FOLD_SPLITS]
    assert counts == [4, 10, 10, 4]


def test_labels_may_be_names():
    star, clump, run = (np.char.add("s", each.astype(str)) for each in _sample())
    numbers = leave_out("clump", *_sample())
    names = leave_out("clump", star, clump, run)
    assert len(numbers) == len(names)
    assert _shared(clump, names) == 0


def test_a_star_in_two_clumps_or_gas_in_two_simulations_would_leak():
    star, clump, run = _sample()
    divided = clump.copy()
    divided[np.flatnonzero(star == 4)[0]] = 9
    with pytest.raises(InputError, match=r"groups: must not be divided among .* clumps.*\[4\]"):
        leave_out("clump", star, divided, run)
    divided = run.copy()
    divided[clump == 5] = np.arange(6) % 2
    with pytest.raises(InputError, match=r"clumps: must not be divided among several runs.*\[5\]"):
        leave_out("simulation", star, clump, divided)


def test_refuses_splits_and_labels():
    star, clump, run = _sample()
    with pytest.raises(InputError, match="split: must be one of random, star, clump, simulation"):
        leave_out("region", star, clump, run)
    with pytest.raises(InputError, match='runs: must hold two or more labels for split="simul'):
        leave_out("simulation", star, clump, np.zeros(72))
    with pytest.raises(InputError, match="clumps: must hold one label for each of 72 rows"):
        leave_out("star", star, clump[:4], run)


def _candidates():
    """Two feature sets: one shows the mass in runs 0 to 2, the other one in run 3 alone."""
    rng = np.random.default_rng(4)
    star, _, run = _sample()
    y = rng.normal(size=24)[star]
    noise = rng.normal(size=(2, 72, 1))
    good = np.where(run[:, None] < 3, y[:, None], noise[0])
    bad = np.where(run[:, None] < 3, noise[1], y[:, None])
    reader = NearestEstimator(3)
    return {"bad": (reader, bad), "good": (reader, good)}, y, star, run


def test_the_choice_uses_training_rows_only():
    candidates, y, star, run = _candidates()
    train = np.flatnonzero(run != 3)
    name, scores = choose_inside(candidates, y, star, run, train)
    assert name == "good"
    assert scores["good"] > 0.8 > scores["bad"]
    # labels and features of the outer test rows have no influence
    test = run == 3
    spoiled = {n: (r, np.where(test[:, None], np.nan, X)) for n, (r, X) in candidates.items()}
    again = choose_inside(spoiled, np.where(test, np.nan, y), star, run, train)
    assert again == (name, scores)


def test_the_choice_needs_candidates_and_two_simulations():
    candidates, y, star, run = _candidates()
    with pytest.raises(InputError, match="candidates: must hold at least one estimator"):
        choose_inside({}, y, star, run, np.arange(72))
    with pytest.raises(InputError, match="runs: must hold two or more labels"):
        choose_inside(candidates, y, star, run, np.flatnonzero(run == 0))
