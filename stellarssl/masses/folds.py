"""Folds for cross-validation that keep rows which share a star, gas or a simulation together."""

from collections.abc import Mapping

import numpy as np
from sklearn.base import RegressorMixin, clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut

from stellarssl.exceptions import InputError
from stellarssl.masses.weights import group_weights

__all__ = ["FOLD_SPLITS", "choose_inside", "leave_out"]

FOLD_SPLITS = ("random", "star", "clump", "simulation")
"""Names of the splits, from the most permissive to the strictest."""

_N_RANDOM, _N_GROUPED = 4, 10

Folds = list[tuple[np.ndarray, np.ndarray]]


def leave_out(split: str, groups: np.ndarray, clumps: np.ndarray, runs: np.ndarray) -> Folds:
    """Divide rows into training and test rows so that each row is tested once.

    Parameters
    ----------
    split : {"random", "star", "clump", "simulation"}
        What no fold may divide. ``"random"``: single rows in four parts, as in the paper; the same
        star is then in both sets. ``"star"``: whole stars in at most ten parts. ``"clump"``: whole
        clumps, that is, all stars that share gas, in at most ten parts. ``"simulation"``: one part
        for each simulation.
    groups, clumps, runs : ndarray
        Star, clump and simulation of each row, shape (n,).

    Returns
    -------
    folds : list of (train, test)
        Row numbers, each of dtype int.

    Raises
    ------
    InputError
        If the split is unknown, a star lies in several clumps, a clump in several simulations, or
        there are fewer than two parts.

    Examples
    --------
    >>> star, clump = np.array([0, 0, 1, 2]), np.array([0, 0, 0, 1])
    >>> [test.tolist() for _, test in leave_out("clump", star, clump, np.zeros(4))]
    [[0, 1, 2], [3]]
    """
    if split not in FOLD_SPLITS:
        raise InputError("split", f"must be one of {', '.join(FOLD_SPLITS)}", split)
    _check_nested("groups", groups, "clumps", clumps)
    _check_nested("clumps", clumps, "runs", runs)
    rows = np.zeros(len(groups))
    if split == "random":
        return list(KFold(_N_RANDOM, shuffle=True, random_state=0).split(rows))
    name, labels = {
        "star": ("groups", groups),
        "clump": ("clumps", clumps),
        "simulation": ("runs", runs),
    }[split]
    count = len(np.unique(labels))
    if count < 2:
        raise InputError(name, f'must hold two or more labels for split="{split}"', count)
    maker = LeaveOneGroupOut() if split == "simulation" else GroupKFold(min(_N_GROUPED, count))
    return list(maker.split(rows, groups=labels))


def _check_nested(inner_name: str, inner: np.ndarray, outer_name: str, outer: np.ndarray) -> None:
    """Raise an error if rows with one inner label have several outer labels."""
    if len(inner) != len(outer):
        raise InputError(outer_name, f"must hold one label for each of {len(inner)} rows", outer)
    labels, number = np.unique(inner, return_inverse=True)
    outer_number = np.unique(outer, return_inverse=True)[1]
    pairs = np.unique(np.stack([number, outer_number]), axis=1)[0]
    divided = labels[np.flatnonzero(np.bincount(pairs) > 1)]
    if len(divided):
        rule = f"must not be divided among several {outer_name}; rename those that are"
        raise InputError(inner_name, rule, divided[:5].tolist())


def choose_inside(
    candidates: Mapping[str, tuple[RegressorMixin, np.ndarray]],
    log_mass: np.ndarray,
    groups: np.ndarray,
    runs: np.ndarray,
    train: np.ndarray,
) -> tuple[str, dict[str, float]]:
    """Choose among readers and feature sets with the training rows of one outer fold alone.

    Each simulation among the training rows is left out in turn. A candidate's score is the
    star-weighted R2 on the simulation left out, averaged over these simulations.

    Parameters
    ----------
    candidates : mapping of str to (estimator, X)
        Estimator, which is cloned, and its features of all rows, shape (n, d), for each name.
    log_mass : ndarray
        Log mass of all rows, shape (n,) [dex(Msun)].
    groups, runs : ndarray
        Star and simulation of all rows, shape (n,).
    train : ndarray of int
        Training rows of the outer fold. No other row is used.

    Returns
    -------
    name : str
        Name of the candidate with the highest score; the first one if several are equal.
    scores : dict of float
        Score of each candidate.

    Raises
    ------
    InputError
        If there is no candidate, or the training rows hold fewer than two simulations.
    """
    if not candidates:
        raise InputError("candidates", "must hold at least one estimator with its features", {})
    y, star, run = log_mass[train], groups[train], runs[train]
    inner = leave_out("simulation", star, star, run)
    scores = {}
    for name, (estimator, features) in candidates.items():
        X = features[train]
        scores[name] = float(
            np.mean([_inner_score(clone(estimator), X, y, star, *fold) for fold in inner])
        )
    return max(scores, key=scores.__getitem__), scores


def _inner_score(
    estimator: RegressorMixin,
    X: np.ndarray,
    y: np.ndarray,
    star: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> float:
    estimator.fit(X[train], y[train], groups=star[train])
    predicted = estimator.predict(X[test])
    return r2_score(y[test], predicted, sample_weight=group_weights(star[test]))
