"""Scores of predicted log masses in which each star has the same weight, and paired margins."""

from collections.abc import Mapping

import astropy.units as u
import numpy as np
from astropy.table import QTable
from sklearn.metrics import mean_squared_error, r2_score

from stellarssl.exceptions import InputError
from stellarssl.masses.weights import group_weights

__all__ = ["MASS_BINS", "bin_scores", "paired_margin", "star_scores"]

MASS_BINS = np.array([0.1, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0]) * u.solMass
"""Edges of the mass bins in which the scores are listed."""

_ROUNDING = 1e-12

Intervals = Mapping[float, tuple[np.ndarray, np.ndarray]]


def star_scores(
    log_mass: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    intervals: Intervals | None = None,
) -> dict[str, float]:
    """Score predictions; the rows of each star together have the weight of one star.

    Parameters
    ----------
    log_mass, predicted : ndarray
        True and predicted log mass, shape (n,) [dex(Msun)].
    groups : ndarray
        Star of each row, shape (n,).
    intervals : mapping of float to (lower, upper), optional
        Limits of log mass, each of shape (n,), for each level.

    Returns
    -------
    scores : dict of float
        ``r2``, ``rms`` [dex], ``bias`` [dex] (mean of predicted minus true), ``n_rows``,
        ``n_stars``; for each level of 0.68, say, ``coverage_68`` and the mean width ``width_68``
        [dex]. R2 is zero if all labels are equal.

    Raises
    ------
    InputError
        If there are no rows, or a label or prediction is not finite.

    Examples
    --------
    Star a has three rows with a residual of 0.4, star b has one row without:

    >>> truth, star = np.array([0.0, 0.0, 0.0, 1.0]), np.array(["a", "a", "a", "b"])
    >>> scores = star_scores(truth, np.array([0.4, 0.4, 0.4, 1.0]), star)
    >>> {name: round(scores[name], 2) for name in ("r2", "rms", "bias")}
    {'r2': 0.68, 'rms': 0.28, 'bias': 0.2}
    """
    for name, values in {"log_mass": log_mass, "predicted": predicted}.items():
        if len(values) == 0 or not np.isfinite(values).all():
            raise InputError(name, "must hold at least one value, all of them finite", len(values))
    weight = group_weights(groups)
    varied = np.ptp(log_mass) > 0
    scores = {
        "r2": float(r2_score(log_mass, predicted, sample_weight=weight)) if varied else 0.0,
        "rms": float(np.sqrt(mean_squared_error(log_mass, predicted, sample_weight=weight))),
        "bias": float(weight @ (predicted - log_mass)),
        "n_rows": len(log_mass),
        "n_stars": len(np.unique(groups)),
    }
    for level, (lower, upper) in (intervals or {}).items():
        suffix = f"{100 * level:.3g}"
        scores[f"coverage_{suffix}"] = float(weight @ ((lower <= log_mass) & (log_mass <= upper)))
        scores[f"width_{suffix}"] = float(weight @ (upper - lower))
    return scores


def bin_scores(
    log_mass: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    intervals: Intervals | None = None,
) -> QTable:
    """Score predictions in bins of the true mass.

    Parameters
    ----------
    log_mass, predicted, groups, intervals
        As for `star_scores`.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row for each bin of ``MASS_BINS`` that holds a row: ``mass_from``, ``mass_to``, and the
        scores of `star_scores` without ``r2``. The rows of a star in one bin share one vote.

    Raises
    ------
    InputError
        If a label or prediction is not finite, or no bin holds a row.
    """
    edges = np.log10(MASS_BINS.to_value(u.solMass))
    rows = []
    for i in range(len(edges) - 1):
        upper_edge = log_mass <= edges[i + 1] if i == len(edges) - 2 else log_mass < edges[i + 1]
        inside = (log_mass >= edges[i]) & upper_edge
        if not inside.any():
            continue
        own = {k: (low[inside], high[inside]) for k, (low, high) in (intervals or {}).items()}
        scores = star_scores(log_mass[inside], predicted[inside], groups[inside], own)
        del scores["r2"]
        rows.append({"mass_from": MASS_BINS[i], "mass_to": MASS_BINS[i + 1]} | scores)
    if not rows:
        raise InputError("log_mass", "must hold a mass from 0.1 to 8 Msun", log_mass)
    table = QTable(rows)
    for name in table.colnames:
        if name in ("rms", "bias") or name.startswith("width_"):
            table[name].unit = u.dex
    return table


def paired_margin(
    log_mass: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray,
    clumps: np.ndarray,
    runs: np.ndarray,
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, float | bool]:
    """Compare two sets of predictions for the same rows, with an interval from bootstrap.

    The score of either is the star-weighted R2 in each simulation, averaged over simulations. In
    each bootstrap draw the clumps of each simulation are drawn with replacement, the same ones for
    both sets of predictions.

    Parameters
    ----------
    log_mass, first, second : ndarray
        True log mass and the two predictions, shape (n,) [dex(Msun)].
    groups, clumps, runs : ndarray
        Star, clump and simulation of each row, shape (n,).
    n_bootstrap : int, optional
        Number of draws.
    seed : int, optional
        Random seed of the draws.

    Returns
    -------
    margin : dict
        ``margin`` (score of ``first`` minus that of ``second``), its 95 % interval ``lower`` and
        ``upper``, and ``resolved``: whether the interval excludes zero. Without two clumps in some
        simulation the interval is NaN and the margin is not resolved.
    """
    rng = np.random.default_rng(seed)
    margins, draws = [], []
    for run in np.unique(runs):
        own = runs == run
        weight = group_weights(groups[own])
        number = np.unique(clumps[own], return_inverse=True)[1]
        n_clumps = number.max() + 1
        chance = np.full(n_clumps, 1 / n_clumps)
        drawn = rng.multinomial(n_clumps, chance, size=n_bootstrap)
        values = (log_mass[own], first[own], second[own])
        margins.append(_margins(*values, weight[None])[0])
        draws.append(_margins(*values, weight * drawn[:, number]))
    several = any(len(np.unique(clumps[runs == run])) > 1 for run in np.unique(runs))
    percentiles = np.percentile(np.mean(draws, axis=0), [2.5, 97.5])
    lower, upper = percentiles if several else (np.nan, np.nan)
    return {
        "margin": float(np.mean(margins)),
        "lower": float(lower),
        "upper": float(upper),
        "resolved": bool(lower > 0 or upper < 0),
    }


def _margins(
    y: np.ndarray, first: np.ndarray, second: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the difference of the two R2 for each row of weights, shape (draws, n)."""
    centered = y - y.mean()
    variance = weights @ centered**2 - (weights @ centered) ** 2 / weights.sum(axis=1)
    gain = weights @ ((second - y) ** 2 - (first - y) ** 2)
    known = variance > _ROUNDING * weights.sum(axis=1)
    return np.divide(gain, variance, out=np.zeros(len(gain)), where=known)
