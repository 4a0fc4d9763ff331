"""Estimates computed from the weights of neighbors, and the prior on mass among those weights."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array, diags_array

from stellarssl.exceptions import InputError

__all__ = [
    "MAX_RATIO",
    "PRIOR_BIN",
    "PRIOR_RANGE",
    "Prior",
    "apply_prior",
    "check_prior",
    "group_weights",
    "heaviest_groups",
    "weighted_mean",
    "weighted_quantile",
    "weighted_spread",
]

Prior = str | Callable[[np.ndarray], np.ndarray]
"""``"library"``, ``"flat"``, or a function that returns the density at values of log mass."""

PRIOR_RANGE = (-1.0, np.log10(8.0))
"""Range of log mass [dex(Msun)] in which the flat prior is constant: 0.1 to 8 Msun."""

PRIOR_BIN = (PRIOR_RANGE[1] - PRIOR_RANGE[0]) / 8
"""Width [dex] of the bins in which the density of the library is counted: 0.238 dex."""

MAX_RATIO = 5.0
"""Largest factor by which a prior raises the weight of a row, relative to the mean factor."""

_ROUNDING = 1e-9


def group_weights(groups: np.ndarray) -> np.ndarray:
    """Return row weights with which each group has the same weight, and which sum to one.

    Parameters
    ----------
    groups : ndarray
        Group (star) of each row, shape (n,).

    Returns
    -------
    weight : ndarray
        Shape (n,): 1 / (rows of the group) / (number of groups).

    Examples
    --------
    >>> group_weights(np.array(["a", "a", "b"])).tolist()
    [0.25, 0.25, 0.5]
    """
    _, number, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / counts[number] / len(counts)


def check_prior(prior: Prior) -> None:
    """Raise an error unless the prior is one of the accepted kinds.

    Parameters
    ----------
    prior : {"library", "flat"} or callable
        Prior on log mass.

    Raises
    ------
    InputError
        If it is neither a known name nor callable.
    """
    if not callable(prior) and prior not in ("library", "flat"):
        rule = 'must be "library", "flat" or a function of log mass that returns a density'
        raise InputError("prior", rule, prior)


def apply_prior(
    weights: csr_array, log_mass: np.ndarray, prior: Prior, groups: np.ndarray | None = None
) -> csr_array:
    r"""Change neighbor weights from the mass distribution of the library to a prior.

    The weight of row i is multiplied by

    .. math:: r_i = \min\left(\frac{p(y_i) / q(y_i)}{\sum_j v_j \, p(y_j) / q(y_j)},
              \ r_\mathrm{max}\right),

    and the weights of each query are divided by their new sum. Here p is the prior, q the density
    of the library in log mass, and v the weight of a row when each star has the same weight. q is
    a histogram, weighted by v, with bins of ``PRIOR_BIN`` that begin at 0.1 Msun; the bound
    ``MAX_RATIO`` keeps single rows in thinly populated bins from dominating.

    Parameters
    ----------
    weights : csr_array
        Weight of each library row for each query, shape (m, n), non-negative.
    log_mass : ndarray
        Log mass of the library rows, shape (n,) [dex(Msun)].
    prior : {"library", "flat"} or callable
        ``"library"`` returns the weights unchanged. ``"flat"`` is constant in log mass from 0.1 to
        8 Msun and zero outside. A callable receives log mass, shape (n,), and returns the density
        per dex up to a constant factor, shape (n,).
    groups : ndarray, optional
        Star of each library row, shape (n,); by default each row is a star of its own.

    Returns
    -------
    weights : csr_array
        Shape (m, n). The rows of queries whose neighbors all have zero prior density are returned
        unchanged, because the prior does not say how to weight them.

    Raises
    ------
    InputError
        If the prior is unknown, or its density is negative, not finite, of another shape, or zero
        for all library rows.

    Examples
    --------
    Three stars of 0.15 Msun and one of 0.6 Msun; the prior gives both masses the same density:

    >>> y = np.log10([0.15, 0.15, 0.15, 0.6])
    >>> equal = csr_array([[0.25, 0.25, 0.25, 0.25]])
    >>> apply_prior(equal, y, "flat").toarray().round(3).tolist()
    [[0.167, 0.167, 0.167, 0.5]]
    """
    check_prior(prior)
    if isinstance(prior, str) and prior == "library":
        return weights
    ratio = _density_ratio(log_mass, prior, np.arange(len(log_mass)) if groups is None else groups)
    changed = csr_array(weights @ diags_array(ratio))
    old, new = (np.asarray(each.sum(axis=1)).ravel() for each in (weights, changed))
    known = new > 0
    scale = np.divide(old, new, out=np.zeros_like(new), where=known)
    return csr_array(diags_array(scale) @ changed + diags_array((~known).astype(float)) @ weights)


def _density_ratio(log_mass: np.ndarray, prior: Prior, groups: np.ndarray) -> np.ndarray:
    """Return the bounded ratio of the prior to the density of the library at each row."""
    star_weight = group_weights(groups)
    position = (log_mass - PRIOR_RANGE[0]) / PRIOR_BIN
    at_top = np.abs(log_mass - PRIOR_RANGE[1]) < _ROUNDING  # labels capped at the upper limit
    bins = np.floor(position + _ROUNDING).astype(int) - at_top
    number = np.unique(bins, return_inverse=True)[1]
    density = np.bincount(number, star_weight)[number] / PRIOR_BIN
    if callable(prior):
        wanted = np.asarray(prior(log_mass), dtype=float)
        valid = wanted.shape == log_mass.shape and np.isfinite(wanted).all() and (wanted >= 0).all()
        if not valid:
            rule = "must return one finite, non-negative density for each value of log mass"
            raise InputError("prior", rule, wanted)
    else:
        low, high = PRIOR_RANGE[0] - _ROUNDING, PRIOR_RANGE[1] + _ROUNDING
        wanted = ((low <= log_mass) & (log_mass <= high)).astype(float)
    ratio = wanted / density
    mean = star_weight @ ratio
    if mean == 0:
        rule = "must be above zero for a mass of the library"
        raise InputError("prior", rule, prior)
    return np.minimum(ratio / mean, MAX_RATIO)


def weighted_mean(weights: csr_array, values: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the library values for each query.

    Parameters
    ----------
    weights : csr_array
        Shape (m, n), rows of positive sum.
    values : ndarray
        Shape (n,).

    Returns
    -------
    mean : ndarray
        Shape (m,).
    """
    return (weights @ values) / (weights @ np.ones(len(values)))


def weighted_spread(weights: csr_array, values: np.ndarray) -> np.ndarray:
    """Return the weighted standard deviation of the library values for each query.

    Parameters
    ----------
    weights : csr_array
        Shape (m, n), rows of positive sum.
    values : ndarray
        Shape (n,).

    Returns
    -------
    spread : ndarray
        Shape (m,).
    """
    centered = values - np.mean(values)
    variance = weighted_mean(weights, centered**2) - weighted_mean(weights, centered) ** 2
    return np.sqrt(np.maximum(variance, 0))


def weighted_quantile(weights: csr_array, values: np.ndarray, level: float) -> np.ndarray:
    """Return a quantile of the weighted distribution of the library values for each query.

    It is the smallest value at which the cumulative weight reaches ``level`` times the total, as in
    quantile regression forests (Meinshausen 2006, JMLR 7, 983).

    Parameters
    ----------
    weights : csr_array
        Shape (m, n), rows of positive sum.
    values : ndarray
        Shape (n,).
    level : float
        Between 0 and 1.

    Returns
    -------
    quantile : ndarray
        Shape (m,).

    Raises
    ------
    InputError
        If ``level`` is not between 0 and 1.

    Examples
    --------
    >>> weights = csr_array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    >>> weighted_quantile(weights, np.array([1.0, 3.0, 2.0]), 0.5).tolist()
    [2.0, 1.0]
    """
    if not 0 < level < 1:
        raise InputError("level", "must lie between 0 and 1", level)
    order = np.argsort(values, kind="stable")
    ordered = csr_array(weights[:, order])
    ordered.sort_indices()
    quantile = np.empty(weights.shape[0])
    for i, (start, end) in enumerate(zip(ordered.indptr, ordered.indptr[1:], strict=False)):
        cumulative = np.cumsum(ordered.data[start:end])
        at = np.searchsorted(cumulative, (level - _ROUNDING) * cumulative[-1])
        quantile[i] = values[order[ordered.indices[start + at]]]
    return quantile


def heaviest_groups(
    weights: csr_array, groups: np.ndarray, n_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """List the groups (stars) of largest total weight for each query, each with its best row.

    Parameters
    ----------
    weights : csr_array
        Shape (m, n).
    groups : ndarray
        Group (star) of each library row, shape (n,).
    n_groups : int
        Number of groups listed; fewer are listed if the library holds fewer.

    Returns
    -------
    weight : ndarray
        Total weight of all rows of each listed group, shape (m, k), in descending order; zero where
        a query has fewer neighbors than k.
    index : ndarray of int
        Row of largest weight of each listed group, shape (m, k); -1 where the weight is zero.

    Examples
    --------
    >>> weight, index = heaviest_groups(
    ...     csr_array([[0.3, 0.3, 0.4, 0.0]]), np.array(["a", "a", "b", "c"]), 2
    ... )
    >>> weight.round(2).tolist(), index.tolist()
    ([[0.6, 0.4]], [[0, 2]])
    """
    number = np.unique(groups, return_inverse=True)[1]
    count = number.max() + 1
    shape = (weights.shape[0], min(n_groups, count))
    total, index = np.zeros(shape), np.full(shape, -1, dtype=np.intp)
    for i, (start, end) in enumerate(zip(weights.indptr, weights.indptr[1:], strict=False)):
        rows, weight = weights.indices[start:end], weights.data[start:end]
        sums = np.bincount(number[rows], weight, minlength=count)
        listed = np.argsort(-sums, kind="stable")[: shape[1]]
        best = np.full(count, -1, dtype=np.intp)
        ascending = np.lexsort((-rows, weight))
        best[number[rows[ascending]]] = rows[ascending]  # the last one written has most weight
        total[i] = sums[listed]
        index[i] = np.where(sums[listed] > 0, best[listed], -1)
    return total, index
