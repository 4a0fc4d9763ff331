"""Mass estimator and star classifier fitted on one library."""

from dataclasses import dataclass
from typing import Self

import astropy.units as u
import numpy as np
from sklearn.linear_model import LogisticRegression

from stellarssl.encoder import Features
from stellarssl.exceptions import InputError
from stellarssl.library import ReferenceLibrary
from stellarssl.masses.estimator import N_COMPONENTS, N_NEIGHBORS, MassEstimator
from stellarssl.tiles import TileStatistics

__all__ = ["MassModel"]

_N_PRESENCE = 25


@dataclass(frozen=True)
class MassModel:
    """Mass estimator and star classifier fitted on one library.

    Attributes
    ----------
    masses : MassEstimator
        Fitted on the rows centered on a star, of each simulation the deepest along the line of
        sight: a telescope sees all of it.
    rows : ndarray of int
        Which rows of the library those are.
    presence : MassEstimator or None
        Fitted on ``has_star``, on the rows as deep as the starless ones and centered as they are,
        on a column peak; None where the library does not hold both kinds alike.
    calibration : `~sklearn.linear_model.LogisticRegression` or None
        From the share of neighbors with a star to a probability.
    statistics : bool
        Whether the tile's statistics stand beside the encoder's features.
    """

    masses: MassEstimator
    rows: np.ndarray
    presence: MassEstimator | None
    calibration: LogisticRegression | None
    statistics: bool

    @classmethod
    def fit(
        cls,
        library: ReferenceLibrary,
        *,
        n_neighbors: int = N_NEIGHBORS,
        n_components: int = N_COMPONENTS,
        statistics: bool = True,
    ) -> Self:
        """Fit a library that has features.

        Parameters
        ----------
        library : `~stellarssl.library.ReferenceLibrary`
            With features, and two rows centered on a star at least.
        n_neighbors, n_components : int, optional
            As for `MassEstimator`.
        statistics : bool, optional
            Whether the tile's statistics are used beside the encoder's features.

        Returns
        -------
        model : MassModel
            The fitted model.

        Raises
        ------
        InputError
            If fewer than two rows are centered on a star.
        """
        X = _columns(library.features, library.statistics, statistics_too=statistics)
        widths = [s.stop - s.start for s in library.features.blocks.values()]
        widths += [X.shape[1] - sum(widths)] if statistics else []
        has_star = np.asarray(library.table["has_star"], dtype=bool)
        group, clump = (np.asarray(library.table[name]) for name in ("group", "clump"))
        depth = library.table["depth"].to_value(u.pc)
        from_peak = np.asarray(library.table["from_peak"], dtype=bool)
        deepest = _deepest(np.asarray(library.table["sim"]), depth)
        rows = np.flatnonzero(has_star & deepest & ~from_peak)
        if len(rows) < 2:
            raise InputError("library", "must hold at least two maps centered on a star", len(rows))

        log_mass = np.log10(library.table["mass"][rows].to_value(u.solMass))
        masses = MassEstimator(n_neighbors, n_components, block_widths=widths)
        masses.fit(X[rows], log_mass, group[rows], clump[rows])
        kind = depth + 1j * from_peak
        alike = np.isin(kind, kind[~has_star])
        if not (alike & has_star).any():
            return cls(masses, rows, None, None, statistics)
        presence = MassEstimator(_N_PRESENCE, n_components, block_widths=widths)
        presence.fit(X[alike], has_star[alike].astype(float), group[alike])
        calibration = _calibrated(presence.left_out_, has_star[alike], group[alike])
        return cls(masses, rows, presence, calibration, statistics)

    def columns(self, features: Features, statistics: TileStatistics) -> np.ndarray:
        """Put features side by side as they were when the reader was fitted.

        Parameters
        ----------
        features : `~stellarssl.encoder.Features`
            The encoder's, in the blocks of the library.
        statistics : `~stellarssl.tiles.TileStatistics`
            The tiles'.

        Returns
        -------
        X : ndarray
            Shape (m, d).
        """
        return _columns(features, statistics, statistics_too=self.statistics)

    def star_probability(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of a star, were stars and starless clumps equally frequent.

        Parameters
        ----------
        X : ndarray
            Of `columns`.

        Returns
        -------
        probability : ndarray
            Shape (m,): the weighted share of the 25 nearest groups that have a star, calibrated by
            logistic regression on the shares that the library's own rows have when their own group
            is left out; NaN without starless rows.
        """
        if self.presence is None:
            return np.full(len(X), np.nan)
        return self.calibration.predict_proba(_evidence(self.presence.predict(X)))[:, 1]


def _evidence(share: np.ndarray) -> np.ndarray:
    """Log odds of a share of neighbors, one neighbor being added to either side."""
    return np.log((share * _N_PRESENCE + 1) / ((1 - share) * _N_PRESENCE + 1))[:, None]


def _calibrated(share: np.ndarray, has_star: np.ndarray, group: np.ndarray) -> LogisticRegression:
    """Fit the probability of a star, either kind and each group within it weighing the same."""
    _, number, counts = np.unique(group, return_inverse=True, return_counts=True)
    weight = 1 / counts[number]
    for kind in (has_star, ~has_star):
        weight[kind] *= len(share) / 2 / weight[kind].sum()
    known = np.isfinite(share)
    return LogisticRegression(C=1e3).fit(
        _evidence(share[known]), has_star[known], sample_weight=weight[known]
    )


def _columns(features: Features, statistics: TileStatistics, *, statistics_too: bool) -> np.ndarray:
    return np.hstack([features.array, statistics.array]) if statistics_too else features.array


def _deepest(sim: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Mark the rows that are as deep as any of their simulation."""
    deepest = np.zeros(len(sim), dtype=bool)
    for name in np.unique(sim):
        own = sim == name
        deepest |= own & (depth == depth[own].max())
    return deepest
