"""How unlike the library a source is, and in which features."""

from collections.abc import Sequence

import numpy as np
from sklearn.decomposition import PCA

from stellarssl._utils.geometry import TILE_PIXEL
from stellarssl.exceptions import InputError
from stellarssl.masses.folds import leave_out
from stellarssl.masses.weights import group_weights
from stellarssl.spectra import RING_EDGES

__all__ = ["Novelty", "feature_words"]

_N_COMPONENTS = 12
_CLIP = 6.0  # robust standard deviations
_KNOWN = 0.8  # share of library rows in which a feature must be defined
_NORMAL_RANGE = 1.349  # interquartile range of a normal distribution, in standard deviations
_TINY = 1e-12


class Novelty:
    r"""Distance of sources from the library, and the probability of a distance as large.

    Features are standardized by the median and the interquartile range of the library, limited to
    six standard deviations, and turned into 12 whitened principal components :math:`t_i`. With the
    residual :math:`e` of the other directions and its mean square over the library
    :math:`\overline{e^2}`, the distance is

    .. math:: d^2 = \frac{1}{12} \sum_i t_i^2 + \frac{|e|^2}{\overline{e^2}} .

    Missing values are replaced by the median and add nothing to the distance. The p-value compares
    d with that of library stars whose simulation was left out, each star with one vote; with a
    single simulation, clumps are left out. No feature is an absolute column, so that neither is the
    distance.

    Parameters
    ----------
    X : ndarray
        Features of the library's stars, shape (n, d); NaN where a feature is not defined. Features
        that less than four fifths of the rows have are not used.
    groups, clumps, runs : ndarray
        Star, clump and simulation of each row, shape (n,).
    names : sequence of str
        Name of each feature.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 3))
    >>> star = np.arange(300) // 3
    >>> novelty = Novelty(X, star, star, star % 4, ["a", "b", "width"])
    >>> bool(novelty.pvalue(np.array([[0.0, 0.0, 40.0]]))[0] < 0.02)
    True
    >>> novelty.reasons(np.array([[0.0, 0.0, 40.0]]), 1)
    ['width above 99 % of the library']
    """

    def __init__(
        self,
        X: np.ndarray,
        groups: np.ndarray,
        clumps: np.ndarray,
        runs: np.ndarray,
        names: Sequence[str],
    ) -> None:
        if X.ndim != 2 or X.shape[1] != len(names):
            raise InputError("names", "must hold one name for each feature", len(names))
        self.names = tuple(names)
        self._space = _Space(X)
        self._sorted = np.sort(X, axis=0)  # NaN last
        self._known = np.isfinite(X).sum(axis=0)
        self._n_stars = len(np.unique(groups))
        self.distances_ = np.empty(0)
        self.votes_ = group_weights(groups)
        split = _strictest_split(clumps, runs)
        if split is not None:
            self.distances_ = np.empty(len(X))
            for train, test in leave_out(split, groups, clumps, runs):
                self.distances_[test] = _Space(X[train]).distance(X[test])

    def distance(self, X: np.ndarray) -> np.ndarray:
        """Return the distance of sources from the library.

        Parameters
        ----------
        X : ndarray
            Features, shape (m, d).

        Returns
        -------
        distance : ndarray
            Shape (m,); about 1.4 for a typical row of the library.
        """
        return self._space.distance(X)

    def pvalue(self, X: np.ndarray) -> np.ndarray:
        """Return the probability that a star of another simulation is as far from the library.

        Parameters
        ----------
        X : ndarray
            Features, shape (m, d).

        Returns
        -------
        pvalue : ndarray
            Shape (m,), at least 1 / (G + 1) with G stars in the calibration; one without a
            calibration.
        """
        if not len(self.distances_):
            return np.ones(len(X))
        order = np.argsort(self.distances_)
        below = np.concatenate([[0.0], np.cumsum(self.votes_[order])])
        index = np.searchsorted(self.distances_[order], self.distance(X))
        count = self._n_stars
        return np.clip((1 + count * (1 - below[index])) / (count + 1), 0, 1)

    def reasons(self, X: np.ndarray, n: int = 3) -> list[str]:
        """Name the features in which sources are farthest from the library.

        Parameters
        ----------
        X : ndarray
            Features, shape (m, d).
        n : int, optional
            Number of features to name.

        Returns
        -------
        words : list of str
            One text per source, such as ``"dispersion within lines within 0.012 pc above 99 % of
            the library"``.
        """
        size = np.abs(self._space.standard(X))
        return [
            "; ".join(self._word(x, i) for i in self._space.columns[np.argsort(-row)[:n]])
            for x, row in zip(X, size, strict=True)
        ]

    def _word(self, row: np.ndarray, column: int) -> str:
        known = self._sorted[: self._known[column], column]
        share = np.searchsorted(known, row[column]) / len(known)
        side, percent = ("above", share) if share >= 0.5 else ("below", 1 - share)
        name = feature_words(self.names[column])
        return f"{name} {side} {min(int(100 * percent), 99)} % of the library"


class _Space:
    """Standardized and whitened features of library rows."""

    def __init__(self, X: np.ndarray) -> None:
        known = np.isfinite(X).mean(axis=0) >= _KNOWN
        filled = np.where(known, X, 0.0)
        low, middle, high = np.nanpercentile(filled, [25, 50, 75], axis=0)
        scale = (high - low) / _NORMAL_RANGE
        self.columns = np.flatnonzero(known & (scale > _TINY))
        if not len(self.columns):
            raise InputError("X", "must hold a feature that differs between rows of the library")
        self._middle, self._scale = middle[self.columns], scale[self.columns]
        z = self.standard(X)
        self._pca = PCA(min(_N_COMPONENTS, *z.shape), whiten=True, svd_solver="full").fit(z)
        self._residual = 1.0
        self._residual = max(float(self._parts(z)[1].mean()), _TINY * z.shape[1])

    def standard(self, X: np.ndarray) -> np.ndarray:
        """Return standardized features, shape (m, number of features in use)."""
        z = (X[:, self.columns] - self._middle) / self._scale
        return np.clip(np.nan_to_num(z, nan=0.0, posinf=_CLIP, neginf=-_CLIP), -_CLIP, _CLIP)

    def distance(self, X: np.ndarray) -> np.ndarray:
        """Return the distance that `Novelty` defines, shape (m,)."""
        components, residual = self._parts(self.standard(X))
        return np.sqrt(components + residual / self._residual)

    def _parts(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean square of the whitened components, and the square of the residual."""
        scores = self._pca.transform(z)
        inside = (scores**2 * self._pca.explained_variance_).sum(axis=1)
        residual = ((z - self._pca.mean_) ** 2).sum(axis=1) - inside
        return (scores**2).mean(axis=1), np.maximum(residual, 0.0)


def _strictest_split(clumps: np.ndarray, runs: np.ndarray) -> str | None:
    if len(np.unique(runs)) > 1:
        return "simulation"
    return "clump" if len(np.unique(clumps)) > 1 else None


_LINE_WORDS = {
    "integral": "relative brightness",
    "velocity": "velocity offset of the line",
    "dispersion": "dispersion of the line",
    "peak_over_integral": "peak over integral of the line",
}


def feature_words(name: str) -> str:
    """Describe a feature in words.

    Parameters
    ----------
    name : str
        Name of a feature of `~stellarssl.tiles.source_statistics`, or any other name.

    Returns
    -------
    words : str
        Description with physical units.

    Examples
    --------
    >>> feature_words("rings: dispersion within lines within 0.012 pc")
    'dispersion within lines within 0.012 pc'
    >>> feature_words("line: subtracted_wing_2_0")
    'share of the line beyond 2 km/s within 0.012 pc, less the background'
    """
    kind, _, rest = name.partition(": ")
    if kind != "line":
        return rest or name
    subtracted = rest.startswith("subtracted_")
    quantity, _, ring = rest.removeprefix("subtracted_").rpartition("_")
    first, *numbers = quantity.split("_")
    if first == "width":
        words = f"width of the line between {numbers[0]} and {numbers[1]} %"
    elif first == "wing":
        words = f"share of the line beyond {numbers[0]} km/s"
    elif first == "folded":
        words = f"brightness at {numbers[0]} km/s"
    else:
        words = _LINE_WORDS.get(quantity, quantity)
    inner, outer = (RING_EDGES[int(ring) + i] * TILE_PIXEL.value for i in (0, 1))
    place = f"at {inner:.3f}-{outer:.3f} pc" if inner else f"within {outer:.3f} pc"
    return f"{words} {place}" + (", less the background" if subtracted else "")
