"""`MassModel`: masses, intervals, novelty and star probabilities from the rows of one library."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from stellarssl.exceptions import InputError
from stellarssl.library import LibraryRows
from stellarssl.masses.calibration import LEVELS, MAX_LOG_MASS, Calibration, default_forest
from stellarssl.masses.folds import leave_out
from stellarssl.masses.novelty import Novelty
from stellarssl.masses.readers import ForestEstimator, NearestEstimator, NeighborReader
from stellarssl.masses.weights import Prior, check_prior, group_weights

__all__ = ["READERS", "Estimates", "MassModel"]

READERS = ("forest", "knn")
"""Names of the readers: extremely randomized trees, and the paper's nearest neighbors."""

_PAPER_NEIGHBORS = 5
_ALL_COMPONENTS = 10_000
_N_TREES_PRESENCE = 60
_N_GROUPS = 10  # stars or starless clumps that a leaf of the classifier stands for
_MIN_STARS = 2


@dataclass(frozen=True, eq=False)
class Estimates:
    """What a model says of m sources.

    Attributes
    ----------
    log_mass : ndarray
        Shape (m,): weighted mean of the log mass of library stars [dex(Msun)].
    lower, upper, lower_95, upper_95 : ndarray
        Shape (m,): limits of the 68 % and 95 % intervals of log mass [dex(Msun)].
    upper_cut : ndarray of bool
        Shape (m,): whether an upper limit of 68 % was cut at the library's largest label.
    novelty_pvalue : ndarray
        Shape (m,): probability that a star of another simulation is as unlike the library.
    novelty_reason : list of str
        The three features in which each source is farthest from the library.
    star_probability : ndarray
        Shape (m,): probability of a star if stars and starless clumps were equally frequent; NaN
        where it was not asked for.
    neighbor_weight : ndarray
        Shape (m, 5): weight of each of the five heaviest library stars.
    neighbor_row : ndarray of int
        Shape (m, 5): their best rows in ``LibraryRows`` of the model; -1 where there are fewer.
    """

    log_mass: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    lower_95: np.ndarray
    upper_95: np.ndarray
    upper_cut: np.ndarray
    novelty_pvalue: np.ndarray
    novelty_reason: list[str]
    star_probability: np.ndarray
    neighbor_weight: np.ndarray
    neighbor_row: np.ndarray


@dataclass(frozen=True, eq=False)
class MassModel:
    """Reader fitted on the stars of one library as one telescope shows them.

    Made by `fit`.

    Attributes
    ----------
    rows : LibraryRows
        All rows of the library.
    stars : ndarray of int
        Rows with a star, which the reader was fitted on.
    columns : ndarray of int
        Features in use: those that are defined in at least one row.
    reader : NeighborReader
        The fitted reader.
    novelty : Novelty
        Distance from the library's stars.
    calibration : Calibration or None
        Intervals measured before; None if the reader was calibrated on its own library.
    """

    rows: LibraryRows
    stars: np.ndarray
    columns: np.ndarray
    reader: NeighborReader
    novelty: Novelty
    calibration: Calibration | None

    @classmethod
    def fit(
        cls,
        rows: LibraryRows,
        *,
        reader: str = "forest",
        prior: Prior = "library",
        calibration: Calibration | None = None,
        n_jobs: int | None = None,
    ) -> Self:
        """Fit a reader.

        Parameters
        ----------
        rows : LibraryRows
            Features and labels. Stars above 8 Msun enter as "at least 8 Msun".
        reader : {"forest", "knn"}, optional
            Extremely randomized trees; or, as in the paper, the five nearest stars in whitened
            principal components.
        prior : {"library", "flat"} or callable, optional
            Prior on log mass, see `apply_prior`.
        calibration : Calibration, optional
            Intervals measured before. By default intervals are calibrated by leaving out one
            simulation after the other, or clumps where there is a single simulation.
        n_jobs : int, optional
            Number of threads; one by default.

        Returns
        -------
        model : MassModel
            The fitted model.

        Raises
        ------
        InputError
            If there are fewer than two stars, all have the same mass, or an argument is unknown.
        """
        if reader not in READERS:
            raise InputError("reader", f"must be one of {', '.join(READERS)}", reader)
        check_prior(prior)
        stars = np.flatnonzero(rows.has_star)
        group, clump, sim = (np.asarray(rows.table[n])[stars] for n in ("group", "clump", "sim"))
        if len(np.unique(group)) < _MIN_STARS:
            raise InputError("library", "must hold two stars or more", len(np.unique(group)))
        log_mass = rows.log_mass[stars]
        if not np.isfinite(log_mass).all():
            raise InputError("library", "must hold a mass for each star", "NaN")
        if np.ptp(np.minimum(log_mass, MAX_LOG_MASS)) == 0:
            rule = "must hold stars of different masses below 8 Msun"
            raise InputError("library", rule, f"{10 ** log_mass[0]:.3g} Msun only")
        columns = np.flatnonzero(np.isfinite(rows.array[stars]).any(axis=0))
        X = rows.array[stars][:, columns]
        unfitted: NeighborReader = (
            default_forest(prior, n_jobs=n_jobs)
            if reader == "forest"
            else NearestEstimator(
                _PAPER_NEIGHBORS, n_components=_ALL_COMPONENTS, prior=prior, cap=MAX_LOG_MASS
            )
        )
        apart = {} if calibration is not None else {"clumps": clump, "runs": sim}
        fitted = unfitted.fit(X, log_mass, groups=group, **apart)
        novelty = Novelty(X, group, clump, sim, [rows.names[i] for i in columns])
        return cls(rows, stars, columns, fitted, novelty, calibration)

    @property
    def is_calibrated(self) -> bool:
        """Whether intervals rest on simulations that were left out."""
        if self.calibration is not None:
            return True
        intervals = self.reader.intervals_
        return intervals is not None and intervals.by_simulation

    @cached_property
    def has_starless(self) -> bool:
        """Whether the library has tiles without a star."""
        return len(self.stars) < len(self.rows)

    def estimate(self, X: np.ndarray, *, candidates: bool = False) -> Estimates:
        """Estimate the masses of sources.

        Parameters
        ----------
        X : ndarray
            Features, shape (m, d), in the order of ``rows.names``; NaN where not defined.
        candidates : bool, optional
            Whether the sources are candidates, for which the probability of a star is computed.

        Returns
        -------
        estimates : Estimates
            One entry per source.
        """
        if X.ndim != 2 or X.shape[1] != len(self.rows.names):
            raise InputError("X", f"must have {len(self.rows.names)} features", X.shape)
        used = X[:, self.columns]
        mean, spread = self.reader.mean_and_spread(used)
        limits = [self._interval(used, mean, spread, level) for level in LEVELS]
        weight, index = self.reader.neighbors(used)
        presence = self._presence if candidates and self.has_starless else None
        return Estimates(
            mean,
            *limits[0][:2],
            *limits[1][:2],
            upper_cut=limits[0][2],
            novelty_pvalue=self.novelty.pvalue(used),
            novelty_reason=self.novelty.reasons(used),
            star_probability=np.full(len(X), np.nan) if presence is None else presence(used),
            neighbor_weight=weight,
            neighbor_row=np.where(index >= 0, self.stars[index], -1),
        )

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return only the log masses of sources.

        Parameters
        ----------
        X : ndarray
            Features as for `estimate`.

        Returns
        -------
        log_mass : ndarray
            Shape (m,) [dex(Msun)].
        """
        return self.reader.predict(X[:, self.columns])

    def _interval(
        self, X: np.ndarray, mean: np.ndarray, spread: np.ndarray, level: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the limits of an interval, and whether the upper one was cut."""
        largest = float(self.reader.log_mass_.max())
        if self.calibration is not None:
            scale = np.sqrt((spread**2 + self.calibration.typical_variance) / 2)
            half = self.calibration.half_width(level) * scale
        elif self.reader.intervals_ is not None:
            half = self.reader.intervals_.quantile(level) * self.reader.residual_scale(spread)
        else:
            lower, upper = self.reader.predict_interval(X, level)
            return lower, upper, np.zeros(len(upper), dtype=bool)
        lower, upper = mean - half, mean + half
        return np.minimum(lower, largest), np.minimum(upper, largest), upper > largest

    @cached_property
    def _presence(self) -> "_Presence":
        return _Presence(self.rows, self.columns)


class _Presence:
    """Probability of a star from the forest's share of neighbors that have one.

    The share of each library row is computed without its simulation, and turned into a probability
    by logistic regression in which stars and starless clumps have the same weight.
    """

    def __init__(self, rows: LibraryRows, columns: np.ndarray) -> None:
        X, has_star = rows.array[:, columns], rows.has_star
        group, clump, sim = (np.asarray(rows.table[n]) for n in ("group", "clump", "sim"))
        forest = ForestEstimator(_N_TREES_PRESENCE, max_features=0.2)
        self._forest = clone(forest).fit(X, has_star.astype(float), group)
        both = [len(np.unique(has_star[sim == name])) > 1 for name in np.unique(sim)]
        split = "simulation" if len(np.unique(sim)) > 1 and any(both) else "star"
        share = np.empty(len(X))
        for train, test in leave_out(split, group, clump, sim):
            share[test] = (
                clone(forest).fit(X[train], has_star[train].astype(float), group[train])
            ).predict(X[test])
        weight = group_weights(group)
        for kind in (has_star, ~has_star):
            weight[kind] /= weight[kind].sum()
        self._logistic = LogisticRegression(C=1e3).fit(
            _log_odds(share), has_star, sample_weight=weight * len(X) / 2
        )

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of a star of each source, shape (m,)."""
        return self._logistic.predict_proba(_log_odds(self._forest.predict(X)))[:, 1]


def _log_odds(share: np.ndarray) -> np.ndarray:
    """Log odds of a share of neighbors, one being added to either side; shape (m, 1)."""
    return np.log((share * _N_GROUPS + 1) / ((1 - share) * _N_GROUPS + 1))[:, None]
