"""A library made ready for queries: masses of its stars, and stars against starless peaks."""

from dataclasses import dataclass
from typing import Self

import astropy.units as u
import numpy as np

from stellarssl._utils.exceptions import InputError
from stellarssl.encoder import Features
from stellarssl.library import ReferenceLibrary
from stellarssl.masses._estimator import MassEstimator
from stellarssl.tiles import Scalars

__all__ = ["MassReader"]

_N_PRESENCE = 15


@dataclass(frozen=True)
class MassReader:
    """Two estimators on one library.

    Attributes
    ----------
    masses : MassEstimator
        Fitted on the rows with a star.
    rows : ndarray of int
        Which rows of the library those are.
    presence : MassEstimator or None
        Fitted on ``has_star``, on the rows as deep as the starless ones; None where the library
        does not hold both kinds at one depth.
    odds : float
        Stars over starless clumps among those rows.
    scalars : bool
        Whether the tile's scalars stand beside the encoder's features.
    """

    masses: MassEstimator
    rows: np.ndarray
    presence: MassEstimator | None
    odds: float
    scalars: bool

    @classmethod
    def fit(
        cls,
        library: ReferenceLibrary,
        *,
        n_neighbors: int,
        n_components: int,
        scalars: bool,
    ) -> Self:
        """Fit a library that has features.

        Parameters
        ----------
        library : `~stellarssl.library.ReferenceLibrary`
            With features, and two rows with a star at least.
        n_neighbors, n_components : int
            As for `MassEstimator`.
        scalars : bool
            Whether the tile's scalars stand beside the encoder's features.

        Returns
        -------
        reader : MassReader
            Ready.

        Raises
        ------
        InputError
            If fewer than two rows have a star.
        """
        X = _columns(library.features, library.scalars, scalars_too=scalars)
        widths = [s.stop - s.start for s in library.features.blocks.values()]
        widths += [X.shape[1] - sum(widths)] if scalars else []
        has_star = np.asarray(library.table["has_star"], dtype=bool)
        group, clump = (np.asarray(library.table[name]) for name in ("group", "clump"))
        rows = np.flatnonzero(has_star)
        if len(rows) < 2:
            raise InputError("library", "must hold at least two maps with a star", len(rows))

        def fitted(k: int, labels: np.ndarray, chosen: np.ndarray) -> MassEstimator:
            estimator = MassEstimator(k, n_components, block_widths=widths)
            return estimator.fit(X[chosen], labels, group[chosen], clump[chosen])

        log_mass = np.log10(library.table["mass"][rows].to_value(u.solMass))
        masses = fitted(n_neighbors, log_mass, rows)
        depth = library.table["depth"].to_value(u.pc)
        alike = np.isin(depth, depth[~has_star])
        if not (alike & has_star).any():
            return cls(masses, rows, None, np.nan, scalars)
        presence = fitted(_N_PRESENCE, has_star[alike].astype(float), alike)
        stars, starless = (len(np.unique(group[alike & kind])) for kind in (has_star, ~has_star))
        return cls(masses, rows, presence, stars / starless, scalars)

    def columns(self, features: Features, scalars: Scalars) -> np.ndarray:
        """Put features side by side as they were when the reader was fitted.

        Parameters
        ----------
        features : `~stellarssl.encoder.Features`
            The encoder's, in the blocks of the library.
        scalars : `~stellarssl.tiles.Scalars`
            The tiles'.

        Returns
        -------
        X : ndarray
            Shape (m, d).
        """
        return _columns(features, scalars, scalars_too=self.scalars)

    def star_probability(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of a star, were stars and starless clumps equally frequent.

        Parameters
        ----------
        X : ndarray
            Of `columns`.

        Returns
        -------
        probability : ndarray
            Shape (m,): the weighted share s of the 15 nearest groups that have a star, the
            frequencies in the library divided out, s / (s + (1 - s) * stars / starless); NaN
            without starless rows.
        """
        if self.presence is None:
            return np.full(len(X), np.nan)
        share = self.presence.predict(X)
        return share / (share + (1 - share) * self.odds)


def _columns(features: Features, scalars: Scalars, *, scalars_too: bool) -> np.ndarray:
    return np.hstack([features.array, scalars.array]) if scalars_too else features.array
