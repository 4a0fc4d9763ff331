"""Two estimators of log mass with one interface: both give weights of neighbors in a library."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.utils import Tags, gen_batches
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from stellarssl.exceptions import InputError
from stellarssl.masses._estimator import N_COMPONENTS, MassEstimator
from stellarssl.masses._neighbors import neighbor_weights
from stellarssl.masses.conformal import ConformalIntervals
from stellarssl.masses.folds import leave_out
from stellarssl.masses.weights import (
    Prior,
    apply_prior,
    check_prior,
    group_weights,
    heaviest_groups,
    weighted_mean,
    weighted_quantile,
    weighted_spread,
)

__all__ = ["ForestEstimator", "NearestEstimator", "NeighborReader"]

N_SHOWN = 5
"""Number of stars that are listed as the neighbors of a query."""

_BATCH = 2048  # queries whose weights are in memory at once


class NeighborReader(RegressorMixin, BaseEstimator, ABC):
    """Base class of estimators whose prediction is a weighted mean of library labels.

    A subclass has the parameters ``prior`` and ``cap``, learns in ``_learn``, and returns the
    weights of the library rows for each query from ``_library_weights``. Predictions, intervals and
    the list of neighbors follow from these weights in the same way for all subclasses.
    """

    prior: Prior
    cap: float | None

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        groups: np.ndarray | None = None,
        clumps: np.ndarray | None = None,
        runs: np.ndarray | None = None,
    ) -> Self:
        """Learn the library, and calibrate intervals if clumps or simulations are given.

        Parameters
        ----------
        X : array-like
            Features, shape (n, d).
        y : array-like
            Log mass, shape (n,) [dex(Msun)].
        groups : array-like, optional
            Star of each row, shape (n,). All rows of a star together have the weight of one star.
            By default each row is a star of its own.
        clumps : array-like, optional
            Clump of each row, shape (n,): stars that share gas. Without ``runs``, or with a single
            run, intervals are calibrated on clumps left out, in ten parts at most.
        runs : array-like, optional
            Simulation of each row, shape (n,). Intervals are calibrated on simulations left out,
            which takes one further fit for each of them.

        Returns
        -------
        self : NeighborReader
            The fitted estimator.

        Raises
        ------
        InputError
            If a parameter is out of range, or labels have another length than ``y``.
        """
        X, y = validate_data(
            self,
            X,
            y,
            dtype=np.float64,
            y_numeric=True,
            ensure_min_samples=2,
            ensure_all_finite=self._finite_rule(),
        )
        check_prior(self.prior)
        self.log_mass_ = y if self.cap is None else np.minimum(y, self.cap)
        self.groups_ = _labels("groups", groups, np.arange(len(y)))
        self._learn(X, self.log_mass_, self.groups_)
        self._calibrate(
            X,
            _labels("clumps", clumps, self.groups_),
            _labels("runs", runs, np.zeros(len(y), dtype=int)),
            has_clumps=clumps is not None,
        )
        return self

    @abstractmethod
    def _learn(self, X: np.ndarray, log_mass: np.ndarray, groups: np.ndarray) -> None:
        """Learn from validated arrays."""

    @abstractmethod
    def _library_weights(self, X: np.ndarray) -> csr_array:
        """Return the weights before the prior; those of each query have the sum one."""

    def weights(self, X: np.ndarray) -> csr_array:
        """Return the weight of each library row in the prediction of each query.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).

        Returns
        -------
        weights : `~scipy.sparse.csr_array`
            Shape (m, n), after the prior was applied; the weights of each query have the sum one.
        """
        check_is_fitted(self)
        return self._weights(self._validated(X))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the log mass of each query: the weighted mean of its neighbors.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).

        Returns
        -------
        log_mass : ndarray
            Shape (m,) [dex(Msun)].
        """
        return self.mean_and_spread(X)[0]

    def mean_and_spread(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted mean and standard deviation of the neighbors of each query.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).

        Returns
        -------
        mean, spread : ndarray
            Shape (m,) [dex(Msun)] and [dex].
        """
        parts = [
            (weighted_mean(weights, self.log_mass_), weighted_spread(weights, self.log_mass_))
            for weights in self._weights_in_batches(X)
        ]
        mean, spread = (np.concatenate(each) for each in zip(*parts, strict=True))
        return mean, spread

    def quantile(self, X: np.ndarray, level: float) -> np.ndarray:
        """Return a quantile of the masses of the neighbors of each query, without calibration.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).
        level : float
            Between 0 and 1.

        Returns
        -------
        log_mass : ndarray
            Shape (m,) [dex(Msun)].

        Raises
        ------
        InputError
            If ``level`` is not between 0 and 1.
        """
        parts = (weighted_quantile(w, self.log_mass_, level) for w in self._weights_in_batches(X))
        return np.concatenate(list(parts))

    def predict_interval(self, X: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return an interval of log mass for each query.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).
        level : float
            Probability that the interval shall hold the truth, between 0 and 1.

        Returns
        -------
        lower, upper : ndarray
            Shape (m,) [dex(Msun)]: the calibrated interval, cut at the largest label; or, if
            ``intervals_`` is None, quantiles of the neighbors, which nothing calibrates.

        Raises
        ------
        InputError
            If ``level`` is not between 0 and 1.
        """
        check_is_fitted(self)
        if self.intervals_ is None:
            return self.quantile(X, (1 - level) / 2), self.quantile(X, (1 + level) / 2)
        mean, spread = self.mean_and_spread(X)
        lower, upper, _ = self.intervals_.interval(mean, self.residual_scale(spread), level)
        return lower, upper

    def residual_scale(self, spread: np.ndarray) -> np.ndarray:
        r"""Return the size that the residual of a prediction is expected to have.

        It is :math:`s = \sqrt{(\sigma^2 + \overline{\sigma^2}) / 2}`, with the variance of the
        neighbors and its mean over stars in the calibration: neighbors that happen to agree do not
        make a prediction exact.

        Parameters
        ----------
        spread : ndarray
            Standard deviation of the neighbors, shape (m,) [dex].

        Returns
        -------
        scale : ndarray
            Shape (m,) [dex]; one where both variances are zero.
        """
        scale = np.sqrt((spread**2 + self.typical_variance_) / 2)
        return np.where(scale > 0, scale, 1.0)

    def neighbors(self, X: np.ndarray, n_stars: int = N_SHOWN) -> tuple[np.ndarray, np.ndarray]:
        """List the stars of largest weight for each query, each with its best row.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).
        n_stars : int, optional
            Number of different stars to list.

        Returns
        -------
        weight : ndarray
            Total weight of all rows of each star, shape (m, k), in descending order; k is
            ``n_stars`` or the number of stars in the library, if that is smaller.
        index : ndarray of int
            Row of largest weight of each star, shape (m, k): a row of the ``X`` given to `fit`; -1
            where a query has fewer neighbors than k.

        Raises
        ------
        InputError
            If ``n_stars`` is not a positive whole number.
        """
        _check_count("n_stars", n_stars)
        parts = [heaviest_groups(w, self.groups_, n_stars) for w in self._weights_in_batches(X)]
        weight, index = zip(*parts, strict=True)
        return np.concatenate(weight), np.concatenate(index)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._allow_nan
        return tags

    _allow_nan = False

    def _finite_rule(self) -> bool | str:
        return "allow-nan" if self._allow_nan else True

    def _validated(self, X: np.ndarray) -> np.ndarray:
        finite = self._finite_rule()
        return validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=finite)

    def _weights(self, X: np.ndarray) -> csr_array:
        weights = self._library_weights(X)
        return apply_prior(weights, self.log_mass_, self.prior, self.groups_)

    def _weights_in_batches(self, X: np.ndarray) -> Iterator[csr_array]:
        check_is_fitted(self)
        X = self._validated(X)
        return (self._weights(X[batch]) for batch in gen_batches(len(X), _BATCH))

    def _calibrate(
        self, X: np.ndarray, clumps: np.ndarray, runs: np.ndarray, *, has_clumps: bool
    ) -> None:
        """Predict each row from a fit without its simulation (or clump) and keep the residuals."""
        self.intervals_, self.left_out_, self.typical_variance_ = None, None, 0.0
        by_run = len(np.unique(runs)) > 1
        if not by_run and not (has_clumps and len(np.unique(clumps)) > 1):
            return
        left_out, spread = np.full((2, len(X)), np.nan)
        split = "simulation" if by_run else "clump"
        for train, test in leave_out(split, self.groups_, clumps, runs):
            reader = clone(self).fit(X[train], self.log_mass_[train], self.groups_[train])
            left_out[test], spread[test] = reader.mean_and_spread(X[test])
        self.left_out_ = left_out
        self.typical_variance_ = float(group_weights(self.groups_) @ spread**2)
        self.intervals_ = ConformalIntervals.fit(
            self.log_mass_ - left_out,
            self.residual_scale(spread),
            self.groups_,
            runs,
            upper=float(self.log_mass_.max()),
        )


class ForestEstimator(NeighborReader):
    r"""Log mass by extremely randomized trees, read as weights of neighbors.

    The trees are scikit-learn's (Geurts, Ernst & Wehenkel 2006, Machine Learning 63, 3), fitted
    with row weights by which each star has the same weight. The neighbors of a query are the
    library rows that share its leaves (Lin & Jeon 2006, JASA 101, 578): in tree t, row i has the
    weight :math:`v_i / \sum_j v_j`, where the sum runs over the rows in the query's leaf, and the
    weight of a neighbor is the mean over trees. The weighted mean of the labels is the forest's own
    prediction; the weights also give quantiles (Meinshausen 2006, JMLR 7, 983).

    Features may be NaN. Where the library has missing values of a feature, each split on it sends
    them to one side, chosen at random among the candidate splits. Where only the query lacks it,
    the query follows the branch with more rows, so that the feature does not separate it from the
    rest. For features that a whole group of queries lacks, such as rings outside a small map, a fit
    without these columns is better.

    Parameters
    ----------
    n_estimators : int, optional
        Number of trees.
    min_samples_leaf : int, optional
        Smallest number of library rows in a leaf.
    max_features : float, optional
        Share of the features that are tried at each split, above 0 and at most 1.
    prior : {"library", "flat"} or callable, optional
        Prior on log mass, see `apply_prior`.
    cap : float, optional
        Log mass [dex(Msun)] above which labels enter as "at least this mass": they are replaced by
        the cap. By default labels are used as they are.
    n_jobs : int, optional
        Number of threads; one by default.
    random_state : int, optional
        Seed of the random splits.

    Attributes
    ----------
    log_mass_, groups_ : ndarray
        Label (capped) and number of the star of each library row, shape (n,).
    left_out_ : ndarray or None
        Prediction for each library row without its simulation (or clump), shape (n,); None without
        calibration.
    intervals_ : ConformalIntervals or None
        Calibrated intervals; ``by_simulation`` is False if clumps of one simulation were left out.
    typical_variance_ : float
        Star-weighted mean variance of the neighbors in the calibration; zero without.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> forest = ForestEstimator(n_estimators=20).fit(X, X[:, 0], groups=np.arange(60) // 3)
    >>> bool(abs(forest.predict([[0.5]])[0] - 0.5) < 0.1)
    True
    """

    _allow_nan = True

    def __init__(
        self,
        n_estimators: int = 300,
        *,
        min_samples_leaf: int = 5,
        max_features: float = 0.4,
        prior: Prior = "library",
        cap: float | None = None,
        n_jobs: int | None = None,
        random_state: int | None = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.min_samples_leaf = min_samples_leaf
        self.max_features = max_features
        self.prior = prior
        self.cap = cap
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _learn(self, X: np.ndarray, log_mass: np.ndarray, groups: np.ndarray) -> None:
        _check_count("n_estimators", self.n_estimators)
        _check_count("min_samples_leaf", self.min_samples_leaf)
        if not 0 < self.max_features <= 1:
            raise InputError("max_features", "must be above 0 and at most 1", self.max_features)
        star_weight = group_weights(groups)
        self.forest_ = ExtraTreesRegressor(
            self.n_estimators,
            min_samples_leaf=self.min_samples_leaf,
            max_features=float(self.max_features),
            n_jobs=self.n_jobs,
            random_state=self.random_state,
        ).fit(X, log_mass, sample_weight=star_weight * len(X))
        counts = [tree.tree_.node_count for tree in self.forest_.estimators_]
        self._first_node = np.concatenate([[0], np.cumsum(counts)])
        members = csr_array(self._leaves(X).T)
        members.data *= star_weight[members.indices]
        total = np.asarray(members.sum(axis=1)).ravel()
        members.data /= np.repeat(total, np.diff(members.indptr))
        self._members = members

    def _library_weights(self, X: np.ndarray) -> csr_array:
        return csr_array(self._leaves(X) @ self._members) / self.n_estimators

    def _leaves(self, X: np.ndarray) -> csr_array:
        """Mark the leaves of each row: shape (rows, nodes of all trees), one entry a tree."""
        nodes = self.forest_.apply(X) + self._first_node[:-1]
        starts = np.arange(len(X) + 1) * self.n_estimators
        shape = (len(X), int(self._first_node[-1]))
        return csr_array((np.ones(nodes.size), nodes.ravel(), starts), shape=shape)


class NearestEstimator(NeighborReader):
    """Log mass by nearest stars in whitened features, with the interface of the forest.

    The neighbors and their weights, which fall as 1/distance, are those of `MassEstimator`: the
    nearest row of each of the nearest stars.

    Parameters
    ----------
    n_neighbors : int, optional
        Number of stars that are averaged.
    n_components : int, optional
        Number of principal components kept of each block.
    block_widths : sequence of int, optional
        Numbers of adjacent columns that are whitened together; by default all of them are.
    prior : {"library", "flat"} or callable, optional
        Prior on log mass, see `apply_prior`.
    cap : float, optional
        Log mass [dex(Msun)] above which labels enter as "at least this mass": they are replaced by
        the cap. By default labels are used as they are.

    Attributes
    ----------
    log_mass_, groups_, left_out_, intervals_, typical_variance_
        As in `ForestEstimator`.

    Examples
    --------
    >>> reader = NearestEstimator(2).fit([[0.0], [1], [2], [10]], [0.0, 1, 2, 3])
    >>> reader.predict([[1.25]]).round(2).tolist()  # 0.25 and 0.75 away: weights 3/4 and 1/4
    [1.25]
    """

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        n_components: int = N_COMPONENTS,
        block_widths: Sequence[int] | None = None,
        prior: Prior = "library",
        cap: float | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.n_components = n_components
        self.block_widths = block_widths
        self.prior = prior
        self.cap = cap

    def _learn(self, X: np.ndarray, log_mass: np.ndarray, groups: np.ndarray) -> None:
        self.search_ = MassEstimator(
            self.n_neighbors, self.n_components, block_widths=self.block_widths
        ).fit(X, log_mass, groups)

    def _library_weights(self, X: np.ndarray) -> csr_array:
        distance, index = self.search_.kneighbors(X)
        starts = np.arange(len(X) + 1) * index.shape[1]
        shape = (len(X), len(self.log_mass_))
        return csr_array((neighbor_weights(distance).ravel(), index.ravel(), starts), shape=shape)


def _labels(name: str, labels: np.ndarray | None, default: np.ndarray) -> np.ndarray:
    """Return labels as whole numbers, or the default if none are given."""
    if labels is None:
        return default
    labels = column_or_1d(labels)
    if len(labels) != len(default):
        raise InputError(name, f"must hold one label for each of the {len(default)} rows", labels)
    return np.unique(labels, return_inverse=True)[1]


def _check_count(name: str, value: int) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < 1:
        raise InputError(name, "must be a whole number above zero", value)
