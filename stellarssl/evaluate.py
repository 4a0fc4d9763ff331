"""How good the masses are: every split beside every rival, as a table and without pictures.

The coefficient of determination of log mass is pooled over the left-out rows. A random split leaves
the same star at another time in the training set and so measures memory; by star and by simulation
is what an observer gets.
"""

from collections.abc import Callable, Iterator

import numpy as np
from astropy.table import Table
from sklearn.base import RegressorMixin, clone
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline

from stellarssl._utils.exceptions import InputError
from stellarssl._utils.progress import progress as progress_bar
from stellarssl._utils.provenance import provenance
from stellarssl.encoder import Encoder
from stellarssl.library import ReferenceLibrary
from stellarssl.masses import MassEstimator

__all__ = ["SPLITS", "evaluate", "left_out_predictions", "score"]

SPLITS = ("random", "star", "simulation")
"""Columns of the table: the paper's split, whole stars left out, whole simulations left out."""

Folds = Iterator[tuple[np.ndarray, np.ndarray]]


def score(
    log_mass: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    *,
    n_bootstrap: int = 500,
    seed: int = 0,
) -> dict[str, float]:
    """Score left-out predictions, with an interval that knows that a star is one star.

    Parameters
    ----------
    log_mass, predicted : `~numpy.ndarray`
        log10 of the mass in Msun, shape (n,).
    groups : `~numpy.ndarray`
        The star of each row, shape (n,).
    n_bootstrap : int, optional
        Draws of whole groups, with replacement.
    seed : int, optional
        Of those draws.

    Returns
    -------
    scores : dict of float
        ``r2``, its 95 % interval ``r2_lower`` and ``r2_upper``, ``rmse`` [dex] and ``r2_stars``, in
        which each star has the same weight.

    Examples
    --------
    >>> truth = np.array([0.0, 0.0, 1.0, 1.0])
    >>> scores = score(truth, truth + 0.1, np.array([0, 0, 1, 1]))
    >>> round(scores["r2"], 2), round(scores["rmse"], 2)
    (0.96, 0.1)
    """
    residual2 = (predicted - log_mass) ** 2
    names, group = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_bootstrap)
    draws = [_r2(log_mass, residual2, count[group]) for count in counts]
    lower, upper = np.nanpercentile(draws, [2.5, 97.5]) if len(names) > 1 else (np.nan, np.nan)
    return {
        "r2": _r2(log_mass, residual2, np.ones(len(log_mass))),
        "r2_lower": float(lower),
        "r2_upper": float(upper),
        "rmse": float(np.sqrt(residual2.mean())),
        "r2_stars": _r2(log_mass, residual2, 1 / np.bincount(group)[group]),
    }


def _r2(log_mass: np.ndarray, residual2: np.ndarray, weight: np.ndarray) -> float:
    total = weight.sum()
    variance = (weight * (log_mass - (weight * log_mass).sum() / total) ** 2).sum()
    return float(1 - (weight * residual2).sum() / variance) if variance > 0 else float("nan")


def left_out_predictions(
    estimator: RegressorMixin, X: np.ndarray, log_mass: np.ndarray, groups: np.ndarray, folds: Folds
) -> np.ndarray:
    """Predict every row by an estimator that was fitted without its fold.

    Parameters
    ----------
    estimator : scikit-learn regressor
        Cloned for each fold; `~stellarssl.MassEstimator` is told the groups.
    X : `~numpy.ndarray`
        Features, shape (n, d).
    log_mass, groups : `~numpy.ndarray`
        Labels and stars, shape (n,).
    folds : iterable of (train, test)
        Row numbers.

    Returns
    -------
    predicted : `~numpy.ndarray`
        float64, shape (n,).
    """
    predicted = np.full(len(X), np.nan)
    for train, test in folds:
        model = clone(estimator)
        if isinstance(model, MassEstimator):
            model.fit(X[train], log_mass[train], groups=groups[train])
        else:
            model.fit(X[train], log_mass[train])
        predicted[test] = model.predict(X[test])
    return predicted


def _folds(split: str, library: ReferenceLibrary) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = np.zeros(len(library))
    groups = np.asarray(library.table["group"])
    if split == "random":
        return list(KFold(4, shuffle=True, random_state=0).split(rows))
    if split == "star":
        return list(GroupKFold(min(10, len(np.unique(groups)))).split(rows, groups=groups))
    if split == "simulation":
        sims = np.asarray(library.table["sim"])
        if len(np.unique(sims)) < 2:
            raise InputError("library", "must hold two simulations or more", set(sims.tolist()))
        return list(LeaveOneGroupOut().split(rows, groups=sims))
    raise InputError("split", f"must be one of {', '.join(SPLITS)}", split)


def _scalar_rivals(library: ReferenceLibrary) -> dict[str, tuple[RegressorMixin, np.ndarray]]:
    """Return what needs no network: (estimator, features) by name, the simplest first."""
    names, scalars = library.scalars
    column = scalars[:, [names.index("peak")]]
    gas_mass = np.log10(np.asarray(library.table["gas_mass"], dtype=float))[:, None]
    age = np.log10(np.asarray(library.table["age"], dtype=float).clip(1e-3))[:, None]
    pixels = library.maps.reshape(len(library), -1)
    linear = LinearRegression()
    return {
        "mean": (DummyRegressor(), column),
        "age of the star (oracle)": (linear, age),
        "peak column": (linear, column),
        "gas mass in the tile": (linear, gas_mass),
        "scalars, k-NN": (MassEstimator(), scalars),
        "scalars, gradient boosting": (HistGradientBoostingRegressor(random_state=0), scalars),
        "scalars, extra trees": (
            ExtraTreesRegressor(500, min_samples_leaf=3, n_jobs=-1, random_state=0),
            scalars,
        ),
        "pixel PCA, k-NN": (
            make_pipeline(PCA(20, whiten=True, random_state=0), MassEstimator()),
            pixels,
        ),
    }
