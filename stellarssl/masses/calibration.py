"""How good masses are for a beam, a noise level and a field size: measured once, and looked up."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.table import Table
from sklearn.base import clone

from stellarssl.exceptions import InputError
from stellarssl.library import LibraryRows, PPVTiles, Telescope
from stellarssl.masses.conformal import ConformalIntervals
from stellarssl.masses.folds import leave_out
from stellarssl.masses.readers import ForestEstimator
from stellarssl.masses.scores import star_scores
from stellarssl.masses.weights import group_weights

__all__ = [
    "CALIBRATION_FILE",
    "LEVELS",
    "MAX_LOG_MASS",
    "Calibration",
    "calibrate",
    "default_forest",
    "find_calibration",
]

CALIBRATION_FILE = Path(__file__).parents[1] / "data" / "library" / "calibration.ecsv"
"""Table that ``scripts/make_calibration.py`` makes."""

LEVELS = (0.68, 0.95)
"""Probabilities of the intervals of the mass table."""

MAX_LOG_MASS = float(np.log10(8.0))
"""Log mass [dex(Msun)] above which labels are "at least 8 Msun"."""

_N_TREES = 150
_SHARPEST = 0.5  # tile pixels: a smaller beam is as good as none
_HIGHEST_SNR = 100.0  # as good as no noise


def default_forest(prior: object = "library", *, n_jobs: int | None = None) -> ForestEstimator:
    """Return the forest that masses are read from, not fitted.

    Parameters
    ----------
    prior : {"library", "flat"} or callable, optional
        Prior on log mass, see `apply_prior`.
    n_jobs : int, optional
        Number of threads; one by default.

    Returns
    -------
    forest : ForestEstimator
        150 trees, labels above 8 Msun as 8 Msun.
    """
    return ForestEstimator(_N_TREES, prior=prior, cap=MAX_LOG_MASS, n_jobs=n_jobs)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Calibration:
    """Scores and intervals of one reader, measured on simulations that were left out.

    Attributes
    ----------
    r2_simulation : float
        R2 of log mass, each star with one vote, averaged over the simulations left out; labels
        above 8 Msun count as 8 Msun.
    rms, rms_mean : float
        Root mean square error [dex] of stars below 8 Msun, and that of the mean of the training
        stars, averaged in the same way.
    typical_variance : float
        Mean variance of the neighbors of a star [dex^2].
    q_68, q_95 : float
        Half-widths of the intervals in units of the expected size of a residual.
    n_stars, n_simulations : int
        Number of stars and of simulations in the calibration.
    """

    r2_simulation: float
    rms: float
    rms_mean: float
    typical_variance: float
    q_68: float
    q_95: float
    n_stars: int
    n_simulations: int

    def half_width(self, level: float) -> float:
        """Return the half-width of an interval in units of the expected size of a residual.

        Parameters
        ----------
        level : float
            Probability of the interval: 0.68 or 0.95.

        Returns
        -------
        half_width : float
            Half-width of the interval.
        """
        return {0.68: self.q_68, 0.95: self.q_95}[level]


def calibrate(rows: LibraryRows, priors: Sequence[str] = ("library",)) -> dict[str, Calibration]:
    """Leave out one simulation after the other and measure the forest on it.

    Parameters
    ----------
    rows : LibraryRows
        Rows of a library; those without a star are not used.
    priors : sequence of str, optional
        Priors to measure; they share the fits.

    Returns
    -------
    calibrations : dict of Calibration
        One for each prior.

    Raises
    ------
    InputError
        If the stars come from a single simulation, or all have the same mass.
    """
    stars = rows.select(rows.has_star)
    y = np.minimum(stars.log_mass, MAX_LOG_MASS)
    if np.ptp(y) == 0:
        raise InputError("mass", "must differ between the stars of a library", float(10 ** y[0]))
    group, clump, sim = (np.asarray(stars.table[name]) for name in ("group", "clump", "sim"))
    mean, spread = np.empty((2, len(priors), len(y)))
    baseline = np.empty(len(y))
    for train, test in leave_out("simulation", group, clump, sim):
        reader = clone(default_forest()).fit(stars.array[train], y[train], group[train])
        baseline[test] = np.average(y[train], weights=group_weights(group[train]))
        for i, prior in enumerate(priors):
            reader.set_params(prior=prior)
            mean[i, test], spread[i, test] = reader.mean_and_spread(stars.array[test])
    return {
        prior: _calibration(y, mean[i], spread[i], baseline, group, sim)
        for i, prior in enumerate(priors)
    }


def _calibration(
    y: np.ndarray,
    mean: np.ndarray,
    spread: np.ndarray,
    baseline: np.ndarray,
    group: np.ndarray,
    sim: np.ndarray,
) -> Calibration:
    typical = float(group_weights(group) @ spread**2)
    scale = np.sqrt((spread**2 + typical) / 2)
    scale = np.where(scale > 0, scale, 1.0)
    intervals = ConformalIntervals.fit(y - mean, scale, group, sim)
    runs = [sim == name for name in np.unique(sim)]
    light = y < MAX_LOG_MASS

    def average(score: str, values: np.ndarray, rows: np.ndarray) -> float:
        kept = [own & rows for own in runs if (own & rows).any()]
        return float(np.mean([star_scores(y[k], values[k], group[k])[score] for k in kept]))

    return Calibration(
        r2_simulation=average("r2", mean, np.ones(len(y), dtype=bool)),
        rms=average("rms", mean, light),
        rms_mean=average("rms", baseline, light),
        typical_variance=typical,
        q_68=intervals.quantile(0.68),
        q_95=intervals.quantile(0.95),
        n_stars=intervals.n_groups,
        n_simulations=intervals.n_runs,
    )


@lru_cache(maxsize=1)
def _shipped() -> Table | None:
    return Table.read(CALIBRATION_FILE, format="ascii.ecsv") if CALIBRATION_FILE.is_file() else None


def find_calibration(tiles: PPVTiles, telescope: Telescope, prior: object) -> Calibration | None:
    """Look up the calibration that is nearest to a telescope.

    The shipped table has a grid of beams, signal-to-noise ratios and radii. Where the telescope
    lies between two entries, the nearer one in log beam and log S/N is taken; the radii fit
    exactly.

    Parameters
    ----------
    tiles : PPVTiles
        Library; only the shipped one is in the table.
    telescope : Telescope
        What the library is observed with.
    prior : {"library", "flat"} or callable
        Prior on log mass.

    Returns
    -------
    calibration : Calibration or None
        None if the table does not hold this library, these radii or this prior.
    """
    table = _shipped()
    if table is None or table.meta["library_sha256"] != tiles.sha256 or not isinstance(prior, str):
        return None
    own = (table["prior"] == prior) & (table["lines"] == telescope.lines)
    own &= (table["radius_min"] == telescope.radii[0]) & (table["radius_max"] == telescope.radii[1])
    own = np.flatnonzero(np.asarray(own))
    if not len(own):
        return None
    beam, snr = (np.asarray(table[name])[own] for name in ("beam_pixels", "snr"))
    wanted = _place(telescope.observation.beam_pixels, telescope.snr or np.inf)
    apart = np.abs(np.stack(_place(beam, snr)) - np.reshape(wanted, (2, 1))).sum(axis=0)
    row = table[own[np.argmin(apart)]]
    return Calibration(**{name: row[name].item() for name in Calibration.__dataclass_fields__})


def _place(beam: np.ndarray | float, snr: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return log beam and log S/N, in which the nearest entry is looked for."""
    return np.log10(np.maximum(beam, _SHARPEST)), np.log10(np.minimum(snr, _HIGHEST_SNR))
