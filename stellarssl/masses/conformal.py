"""Prediction intervals calibrated on residuals of simulations that were left out."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.stats import norm

from stellarssl.exceptions import InputError
from stellarssl.masses.weights import group_weights

__all__ = ["ConformalIntervals"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class ConformalIntervals:
    r"""Intervals from normalized residuals in which each star has one vote.

    Let :math:`r_i = |y_i - \mu_i| / s_i` be the residual of row i, divided by its scale, where
    :math:`\mu_i` comes from a fit without the simulation of row i. The interval of a new prediction
    is :math:`\mu \pm q s`, where q is the smallest r at which the cumulative weight reaches the
    level. The rows of one star share the weight 1 / (G + 1), where G is the number of stars, and
    the remaining 1 / (G + 1) belongs to the new star (hierarchical conformal prediction, Lee,
    Barber & Willett 2024, arXiv:2306.06342). Such a q exists if
    :math:`\lceil (G + 1) \, level \rceil \le G`. Otherwise q is that of a normal distribution with
    the mean square of r, which is a model rather than a calibration.

    The coverage of this procedure is guaranteed if the new star is exchangeable with those of the
    calibration. A star in another simulation, or on the sky, is not: the coverage in simulations
    left out is an empirical statement about a handful of runs of one code.

    Attributes
    ----------
    scores : ndarray
        Normalized residuals in ascending order, shape (n,).
    weights : ndarray
        Weight of each of these residuals, shape (n,); their sum is one.
    n_groups, n_runs : int
        Number of stars and of simulations in the calibration.
    upper : float or None
        Largest log mass of the library [dex(Msun)], at which upper limits are cut.

    Examples
    --------
    >>> stars = np.arange(9)
    >>> intervals = ConformalIntervals.fit(np.linspace(0.1, 0.9, 9), np.ones(9), stars, stars % 3)
    >>> lower, upper, cut = intervals.interval(np.array([0.0]), np.array([0.5]), 0.68)
    >>> lower.round(2).tolist(), upper.round(2).tolist(), cut.tolist()
    ([-0.35], [0.35], [False])
    """

    scores: np.ndarray
    weights: np.ndarray
    n_groups: int
    n_runs: int
    upper: float | None

    @classmethod
    def fit(
        cls,
        residuals: np.ndarray,
        scale: np.ndarray,
        groups: np.ndarray,
        runs: np.ndarray,
        *,
        upper: float | None = None,
    ) -> Self:
        """Calibrate on predictions for rows whose simulation the fit did not use.

        Parameters
        ----------
        residuals : array-like
            Label minus prediction of each row, shape (n,) [dex].
        scale : array-like
            Expected size of each residual, positive, shape (n,) [dex].
        groups, runs : array-like
            Star and simulation of each row, shape (n,). Rows of a run on which the intervals will
            be tested must not be among them.
        upper : float, optional
            Largest log mass of the library [dex(Msun)]; by default upper limits are not cut.

        Returns
        -------
        intervals : ConformalIntervals
            Calibrated intervals.

        Raises
        ------
        InputError
            If there are no rows, the lengths differ, a residual is not finite, or a scale is not
            positive.
        """
        residuals, scale = (np.asarray(each, dtype=float) for each in (residuals, scale))
        groups, runs = np.asarray(groups), np.asarray(runs)
        if residuals.ndim != 1 or len(residuals) == 0:
            raise InputError("residuals", "must be one-dimensional, not empty", residuals.shape)
        for name, values in {"scale": scale, "groups": groups, "runs": runs}.items():
            if values.shape != residuals.shape:
                rule = f"must hold one value for each of the {len(residuals)} residuals"
                raise InputError(name, rule, values.shape)
        if not np.isfinite(residuals).all():
            rule = "must be finite; leave out rows without a prediction or a label"
            raise InputError("residuals", rule, residuals[~np.isfinite(residuals)][:3].tolist())
        if not (np.isfinite(scale) & (scale > 0)).all():
            rule = "must be positive and finite; give constant scales if neighbors do not differ"
            raise InputError("scale", rule, float(np.nanmin(scale)))
        scores = np.abs(residuals) / scale
        order = np.argsort(scores)
        counts = (len(np.unique(groups)), len(np.unique(runs)))
        return cls(scores[order], group_weights(groups)[order], *counts, upper)

    @property
    def by_simulation(self) -> bool:
        """Whether the calibration holds two or more simulations.

        With one, its residuals do not show how far another simulation differs: the intervals are
        weaker, and rows that use them should be flagged.
        """
        return self.n_runs > 1

    def is_conformal(self, level: float) -> bool:
        """Return whether an interval is calibrated (True) or rests on a normal distribution.

        Parameters
        ----------
        level : float
            Probability that the interval shall hold the truth, between 0 and 1.

        Returns
        -------
        conformal : bool
            Whether the calibration holds enough stars for this level: 3 for 0.68, 19 for 0.95.

        Raises
        ------
        InputError
            If ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise InputError("level", "must lie between 0 and 1", level)
        return bool(np.ceil((self.n_groups + 1) * level - _ROUNDING) <= self.n_groups)

    def quantile(self, level: float) -> float:
        """Return the half-width of the interval in units of the scale.

        Parameters
        ----------
        level : float
            Probability that the interval shall hold the truth, between 0 and 1.

        Returns
        -------
        q : float
            Quantile of the normalized residuals for a new star.

        Raises
        ------
        InputError
            If ``level`` is not between 0 and 1.
        """
        if not self.is_conformal(level):
            return float(norm.ppf((1 + level) / 2) * np.sqrt(self.weights @ self.scores**2))
        cumulative = np.cumsum(self.weights) * self.n_groups / (self.n_groups + 1)
        at = min(int(np.searchsorted(cumulative, level - _ROUNDING)), len(self.scores) - 1)
        return float(self.scores[at])

    def interval(
        self, prediction: np.ndarray, scale: np.ndarray, level: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the interval of each prediction, cut at the largest mass of the library.

        Parameters
        ----------
        prediction, scale : ndarray
            Predicted log mass [dex(Msun)] and the expected size of its residual [dex], shape (m,).
        level : float
            Probability that the interval shall hold the truth, between 0 and 1.

        Returns
        -------
        lower, upper : ndarray
            Limits of log mass, shape (m,) [dex(Msun)].
        cut : ndarray of bool
            Whether the upper limit was cut: the mass may be larger than the library's largest.

        Raises
        ------
        InputError
            If ``level`` is not between 0 and 1.
        """
        half = self.quantile(level) * np.asarray(scale, dtype=float)
        lower, upper = prediction - half, prediction + half
        if self.upper is None:
            return lower, upper, np.zeros(len(upper), dtype=bool)
        limit = self.upper
        return np.minimum(lower, limit), np.minimum(upper, limit), upper > limit
