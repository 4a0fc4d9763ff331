"""Masses by analogy: PCA whitening and distance-weighted nearest neighbors, one vote a star."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from stellarssl.exceptions import InputError
from stellarssl.masses.neighbors import SAME, nearest_groups, neighbor_weights

__all__ = ["N_COMPONENTS", "N_NEIGHBORS", "MassEstimator"]

N_NEIGHBORS, N_COMPONENTS = 10, 10  # chosen by protostar on the shipped library

_RANK = 1e-8  # variance, relative to the largest component's, below which there is only rounding


class MassEstimator(RegressorMixin, BaseEstimator):
    r"""Log mass of the stars most alike: whitened features, k nearest stars, weights 1/distance.

    Features are standardized and, block by block, turned into whitened principal components. The
    neighbors of a query are its ``n_neighbors`` nearest *groups*, each with the one row that is
    most alike: the snapshots and projections of one star are one star.

    Intervals are conformal. Each row is estimated from all other clumps, its residual is divided by
    the spread of its neighbors,

    .. math:: r_i = |y_i - \mu_i| / s_i, \qquad
              s^2 = \tfrac{1}{2} (\mathrm{var}_k\, y + \overline{\mathrm{var}_k\, y}),

    and the interval is :math:`\mu \pm q s` with q the level's quantile of r in which each of the G
    groups weighs 1/(G + 1) in all, and what is yet to come the rest (hierarchical conformal
    prediction, Lee, Barber & Willett 2024, arXiv:2306.06342). It exists only where
    :math:`\lceil (G + 1) \, level \rceil \le G`; beyond that, q is Gaussian with the groups'
    mean square of r, which is a model (see `is_conformal`).

    Parameters
    ----------
    n_neighbors : int, optional
        How many groups vote.
    n_components : int, optional
        Principal components kept of each block; fewer where the data hold fewer.
    block_widths : sequence of int, optional
        How many adjacent columns make up each block; they add up to the number of features.
        All features are one block by default.

    Attributes
    ----------
    n_features_in_ : int
        Columns of ``X`` in `fit`.
    log_mass_ : ndarray
        The labels, shape (n,).
    groups_, clumps_ : ndarray of int
        Whose row each is, and what is left out with it, shape (n,).
    distances_ : ndarray
        Mean distance of each row to its nearest groups in other clumps; NaN where there are none.
    left_out_ : ndarray
        Each row's log mass as the other clumps tell it; NaN where there are none.
    scores_ : ndarray
        The normalized residuals r, shape (n,); NaN where there is no other clump.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> estimator = MassEstimator(n_neighbors=1).fit(X, [0, 0.1, 0.2, 0.3, 0.4, 0.5])
    >>> estimator.predict([[4.1, 5.1]]).round(1)
    array([0.2])
    """

    def __init__(
        self,
        n_neighbors: int = N_NEIGHBORS,
        n_components: int = N_COMPONENTS,
        *,
        block_widths: Sequence[int] | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.n_components = n_components
        self.block_widths = block_widths

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        groups: np.ndarray | None = None,
        clumps: np.ndarray | None = None,
    ) -> Self:
        """Learn the whitening, keep the library, and calibrate on it.

        Parameters
        ----------
        X : array-like
            Features, shape (n, d).
        y : array-like
            Log mass [dex(Msun)], shape (n,). (scikit-learn insists on the name.)
        groups : array-like, optional
            Which star each row shows, shape (n,); each row its own by default.
        clumps : array-like, optional
            What must be left out together when calibrating: stars that share gas. The groups by
            default; a group lies in one clump.

        Returns
        -------
        self : MassEstimator
            The fitted estimator.

        Raises
        ------
        InputError
            If a parameter or a label is out of range.
        """
        X, y = validate_data(
            self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2, estimator=self
        )
        self._check_parameters(X.shape[1])
        self.groups_ = _labels("groups", groups, np.arange(len(X)))
        self.clumps_ = _labels("clumps", clumps, self.groups_)
        self.log_mass_ = y.astype(np.float64)
        self._whitenings = [_Whitening(X[:, block], self.n_components) for block in self._blocks]
        self._whitened = self._whiten(X)
        self._calibrate()
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the log mass of each row.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).

        Returns
        -------
        log_mass : ndarray
            Shape (m,) [dex(Msun)].
        """
        return self._vote(*self.kneighbors(X))[0]

    def kneighbors(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest row of each of the nearest groups, nearest first.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).

        Returns
        -------
        distance : ndarray
            Shape (m, k), in units of the library's spread; k is ``n_neighbors`` or, where there
            are fewer, the number of groups.
        index : ndarray of int
            Shape (m, k), rows of the ``X`` given to `fit`.
        """
        return self._search(self._validated(X))

    def predict_interval(self, X: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return an interval of log mass that holds the truth with probability ``level``.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).
        level : float
            Between 0 and 1.

        Returns
        -------
        lower, upper : ndarray
            Shape (m,) [dex(Msun)].

        Raises
        ------
        InputError
            If ``level`` is not between 0 and 1.
        """
        mean, spread = self._vote(*self.kneighbors(X))
        half = self._quantile(level) * spread
        return mean - half, mean + half

    def is_conformal(self, level: float) -> bool:
        """Say whether an interval is calibrated (True) or rests on a Gaussian (False).

        Parameters
        ----------
        level : float
            Between 0 and 1.

        Returns
        -------
        conformal : bool
            Whether there are groups enough for that level.

        Raises
        ------
        InputError
            If ``level`` is not between 0 and 1.
        """
        check_is_fitted(self)
        if not 0 < level < 1:
            raise InputError("level", "must lie between 0 and 1", level)
        count = len(np.unique(self.groups_[np.isfinite(self.scores_)]))
        return bool(np.ceil((count + 1) * level - 1e-9) <= count)

    def mean_distance(self, X: np.ndarray) -> np.ndarray:
        """Return the mean distance to the nearest groups.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).

        Returns
        -------
        distance : ndarray
            Shape (m,).
        """
        return self.kneighbors(X)[0].mean(axis=1)

    def ood_pvalue(self, X: np.ndarray) -> np.ndarray:
        """Return how often gas of the library itself lies as far from all other clumps.

        Parameters
        ----------
        X : array-like
            Features, shape (m, d).

        Returns
        -------
        pvalue : ndarray
            Shape (m,), at least 1 / (G + 1) with G groups: small is unlike the library. Each group
            has one vote, shared by its rows. One where there is no other clump to compare with.
        """
        known = np.isfinite(self.distances_)
        query = self.mean_distance(X)
        if not known.any():
            return np.ones(len(query))
        weight, count = _one_vote_each(self.groups_[known])
        order = np.argsort(self.distances_[known])
        below = np.searchsorted(self.distances_[known][order], query - SAME)
        cumulative = np.concatenate([[0.0], np.cumsum(weight[order])])
        return np.clip((1 + count * (1 - cumulative[below])) / (count + 1), 0, 1)

    # what happens inside

    def _check_parameters(self, n_features: int) -> None:
        for name in ("n_neighbors", "n_components"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise InputError(name, "must be a whole number above zero", value)
        widths = [n_features] if self.block_widths is None else list(self.block_widths)
        if sum(widths) != n_features or min(widths) < 1:
            rule = f"must be positive and add up to the {n_features} features of X"
            raise InputError("block_widths", rule, self.block_widths)
        ends = np.cumsum(widths)
        self._blocks = [slice(end - w, end) for w, end in zip(widths, ends, strict=True)]

    def _validated(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        return self._whiten(validate_data(self, X, dtype=np.float64, reset=False))

    def _whiten(self, X: np.ndarray) -> np.ndarray:
        parts = zip(self._whitenings, self._blocks, strict=True)
        return np.hstack([whitening(X[:, block]) for whitening, block in parts])

    def _search(
        self, whitened: np.ndarray, left_out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        clumps = None if left_out is None else (self.clumps_, left_out)
        return nearest_groups(self._whitened, whitened, self.groups_, self.n_neighbors, clumps)

    def _vote(self, distance: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the normalizing spread of each row's neighbors."""
        votes = self.log_mass_[index]
        mean = (neighbor_weights(distance) * votes).sum(axis=1)
        variance = np.var(votes, axis=1, where=np.isfinite(distance))
        spread = np.sqrt((variance + self._typical_variance) / 2)
        return mean, np.where(spread > 0, spread, 1.0)

    def _calibrate(self) -> None:
        distance, index = self._search(self._whitened, self.clumps_)
        known = np.isfinite(distance[:, 0])
        kept = np.isfinite(distance)
        self.distances_ = np.full(len(known), np.nan)
        self.distances_[known] = np.mean(distance[known], axis=1, where=kept[known])
        variance = np.var(self.log_mass_[index[known]], axis=1, where=kept[known])
        self._typical_variance = variance.mean() if known.any() else self.log_mass_.var()
        mean, spread = self._vote(distance[known], index[known])
        self.left_out_, self.scores_ = np.full((2, len(known)), np.nan)
        self.left_out_[known] = mean
        self.scores_[known] = np.abs(self.log_mass_[known] - mean) / spread

    def _quantile(self, level: float) -> float:
        conformal = self.is_conformal(level)
        known = np.isfinite(self.scores_)
        if not known.any():
            return norm.ppf((1 + level) / 2)
        scores = self.scores_[known]
        weight, count = _one_vote_each(self.groups_[known])
        if not conformal:
            return norm.ppf((1 + level) / 2) * np.sqrt(weight @ scores**2)
        order = np.argsort(scores)
        cumulative = np.cumsum(weight[order]) * count / (count + 1)
        return scores[order][np.searchsorted(cumulative, level - 1e-9)]


class _Whitening:
    """Standardise columns and turn them into whitened components, leaving rounding out."""

    def __init__(self, X: np.ndarray, n_components: int) -> None:
        self.mean = X.mean(axis=0)
        spread = X.std(axis=0)
        constant = spread <= SAME * np.abs(self.mean) + np.finfo(float).tiny
        self.scale = np.where(constant, np.inf, spread)
        if constant.all():
            self.pca = None
            return
        standard = (X - self.mean) / self.scale
        self.pca = PCA(min(n_components, *X.shape), whiten=True, svd_solver="full").fit(standard)
        variance = self.pca.explained_variance_
        self.rank = max(1, int(np.sum(variance > _RANK * variance[0])))

    def __call__(self, X: np.ndarray) -> np.ndarray:
        if self.pca is None:
            return np.zeros((len(X), 1))
        return self.pca.transform((X - self.mean) / self.scale)[:, : self.rank]


def _labels(name: str, labels: np.ndarray | None, default: np.ndarray) -> np.ndarray:
    if labels is None:
        return default
    labels = column_or_1d(labels)
    if len(labels) != len(default):
        raise InputError(name, f"must hold one label for each of the {len(default)} rows", labels)
    return np.unique(labels, return_inverse=True)[1]


def _one_vote_each(groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Return weights that sum to one, each group having the same, and the number of groups."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / counts[inverse] / len(counts), len(counts)
