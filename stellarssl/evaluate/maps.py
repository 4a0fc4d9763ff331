"""Scores of readers of maps, with and without an encoder, on every split.

The coefficient of determination of log mass is pooled over the left-out rows. A random split leaves
the same star at another time in the training set and so measures memory; by star and by simulation
is what an observer gets.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import astropy.units as u
import numpy as np
import torch
from astropy.table import QTable
from sklearn.base import RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from stellarssl._utils.output import atomic_path
from stellarssl._utils.progress import progress as progress_bar
from stellarssl._utils.provenance import provenance
from stellarssl._utils.quantities import as_quantity
from stellarssl.encoder import Encoder
from stellarssl.exceptions import InputError
from stellarssl.library import ReferenceLibrary
from stellarssl.masses import MassEstimator, leave_out
from stellarssl.pretrain.probes import amplitude_score

__all__ = [
    "SPLITS",
    "cross_validate",
    "folds",
    "left_out_predictions",
    "probe_encoder",
    "score",
    "write_evaluation",
]

SPLITS = ("random", "star", "simulation")
"""Columns of the table: the paper's split, whole stars left out, whole simulations left out."""

Folds = Iterable[tuple[np.ndarray, np.ndarray]]
Way = tuple[RegressorMixin, np.ndarray]


def score(
    log_mass: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    *,
    n_bootstrap: int = 500,
    seed: int = 0,
) -> dict[str, float]:
    """Score left-out predictions, with an interval that knows that a star is one star.

    Parameters
    ----------
    log_mass, predicted : `~numpy.ndarray`
        log10 of the mass in Msun, shape (n,).
    groups : `~numpy.ndarray`
        The star of each row, shape (n,).
    n_bootstrap : int, optional
        Draws of whole groups, with replacement.
    seed : int, optional
        Of those draws.

    Returns
    -------
    scores : dict of float
        ``r2``, its 95 % interval ``r2_lower`` and ``r2_upper``, ``rmse`` [dex] and ``r2_stars``, in
        which each star has the same weight.

    Examples
    --------
    >>> truth = np.array([0.0, 0.0, 1.0, 1.0])
    >>> scores = score(truth, truth + 0.1, np.array([0, 0, 1, 1]))
    >>> round(scores["r2"], 2), round(scores["rmse"], 2)
    (0.96, 0.1)
    """
    residual2 = (predicted - log_mass) ** 2
    names, group = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_bootstrap)
    draws = [_r2(log_mass, residual2, count[group]) for count in counts]
    lower, upper = np.nanpercentile(draws, [2.5, 97.5]) if len(names) > 1 else (np.nan, np.nan)
    return {
        "r2": _r2(log_mass, residual2, np.ones(len(log_mass))),
        "r2_lower": float(lower),
        "r2_upper": float(upper),
        "rmse": float(np.sqrt(residual2.mean())),
        "r2_stars": _r2(log_mass, residual2, 1 / np.bincount(group)[group]),
    }


def _r2(log_mass: np.ndarray, residual2: np.ndarray, weight: np.ndarray) -> float:
    total = weight.sum()
    variance = (weight * (log_mass - (weight * log_mass).sum() / total) ** 2).sum()
    return float(1 - (weight * residual2).sum() / variance) if variance > 0 else float("nan")


def left_out_predictions(
    estimator: RegressorMixin, X: np.ndarray, log_mass: np.ndarray, groups: np.ndarray, folds: Folds
) -> np.ndarray:
    """Predict every row by an estimator that was fitted without its fold.

    Parameters
    ----------
    estimator : scikit-learn regressor
        Cloned for each fold; `~stellarssl.MassEstimator` is told the groups.
    X : `~numpy.ndarray`
        Features, shape (n, d).
    log_mass, groups : `~numpy.ndarray`
        Labels and stars, shape (n,).
    folds : iterable of (train, test)
        Row numbers.

    Returns
    -------
    predicted : `~numpy.ndarray`
        float64, shape (n,).
    """
    predicted = np.full(len(X), np.nan)
    for train, test in folds:
        model = clone(estimator)
        if isinstance(model, MassEstimator):
            model.fit(X[train], log_mass[train], groups=groups[train])
        else:
            model.fit(X[train], log_mass[train])
        predicted[test] = model.predict(X[test])
    return predicted


def cross_validate(
    library: ReferenceLibrary | None = None,
    *,
    encoder: Encoder | None = None,
    n_random: int = 3,
    depth: u.Quantity | str = 0.5 * u.pc,
    progress: bool = False,
) -> QTable:
    """Score the masses beside their rivals, on every split.

    Parameters
    ----------
    library : `~stellarssl.ReferenceLibrary`, optional
        The shipped one by default. Rows with a star are used.
    encoder : `~stellarssl.Encoder`, optional
        The shipped one by default.
    n_random : int, optional
        How many untrained encoders are averaged over in their row.
    depth : `~astropy.units.Quantity` or str, optional
        Which rows: 0.5 pc is the paper's cube about the star, that of the box the whole line of
        sight.
    progress : bool, optional
        Whether a bar is shown.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per method and split: ``method, split, r2, r2_lower, r2_upper`` (95 %, bootstrapped
        over stars), ``rmse`` [dex], ``r2_stars`` (each star weighs the same), ``n_rows, n_stars``.

    Raises
    ------
    InputError
        If fewer than two simulations have stars at that depth.
    """
    library = library or ReferenceLibrary.default()
    encoder = encoder or Encoder.from_pretrained()
    depth = as_quantity("depth", depth, u.pc)
    chosen = np.asarray(library.table["has_star"]) & np.isclose(library.table["depth"], depth)
    library = library.select(chosen)
    if len(np.unique(library.table["sim"])) < 2:
        raise InputError("library", "must hold stars of two simulations at that depth", depth)
    methods = [
        *_without_network(library).items(),
        *_with_network(library, encoder, n_random, progress=progress).items(),
    ]
    rows = []
    for name, seeds in progress_bar(methods, "evaluation", show=progress):
        rows += [
            {"method": name, "split": split}
            | _mean([_scores(*way, library, split) for way in seeds])
            for split in SPLITS
        ]
    table = QTable(rows)
    table["rmse"].unit = u.dex
    table.meta = provenance() | {"encoder": encoder.name, "encoder_sha256": encoder.sha256}
    return table


def probe_encoder(
    encoder: Encoder | None = None,
    library: ReferenceLibrary | None = None,
    *,
    n_tiles: int = 600,
    progress: bool = False,
) -> QTable:
    """Tell whether amplitudes survive the encoder: a linear probe on simulated tiles.

    A ridge regression reads the mean of each channel over a patch, in the units of the network's
    input, from the frozen token of that patch. It is fitted on all simulations but one and scored
    on that one. On flames, training does the same (``probe_amplitude`` in its log). R2 of 0.9 is
    what an encoder should reach, since masses are read from absolute values.

    Parameters
    ----------
    encoder : `~stellarssl.Encoder`, optional
        The shipped one by default; its grid of patches must divide the 64 pixels of a tile.
    library : `~stellarssl.ReferenceLibrary`, optional
        The shipped one by default.
    n_tiles : int, optional
        At most so many of its rows, evenly.
    progress : bool, optional
        Whether a bar is shown.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per simulation that was left out: ``simulation, n_h, v_los, sigma_v`` (R2 of each
        channel) and ``n_tiles``.

    Raises
    ------
    InputError
        If the library holds fewer than two simulations, or the patches do not fit a tile.
    """
    library, encoder = library or ReferenceLibrary.default(), encoder or Encoder.from_pretrained()
    rows = np.unique(np.linspace(0, len(library) - 1, min(n_tiles, len(library))).astype(int))
    maps, simulations = library.maps[rows], np.asarray(library.table["sim"])[rows]
    names = np.unique(simulations)
    if len(names) < 2:
        raise InputError("library", "must hold two simulations or more", names.tolist())
    if maps.shape[-1] % encoder.spec.grid:
        raise InputError("encoder", "must have patches that divide 64 pixels", encoder.spec.grid)
    tokens = encoder.patch_tokens(maps, progress=progress)
    tokens = tokens.reshape(len(maps), -1, tokens.shape[-1])
    images = encoder.spec.scaling(torch.from_numpy(maps)).numpy()
    table = QTable(names=("simulation", "n_h", "v_los", "sigma_v", "n_tiles"),
                   dtype=(str, float, float, float, int))  # fmt: skip
    for name in names:
        scores = amplitude_score(tokens, images, simulations != name)
        table.add_row((name, *scores, np.sum(simulations == name)))
    table.meta = provenance() | {"encoder": encoder.name, "encoder_sha256": encoder.sha256}
    return table


def write_evaluation(
    table: QTable, directory: str | os.PathLike, *, overwrite: bool = False
) -> Path:
    """Write ``evaluation.ecsv``.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        Of `cross_validate`.
    directory : path-like
        Is made if it is not there.
    overwrite : bool, optional
        Whether a file that is there may be replaced.

    Returns
    -------
    path : `~pathlib.Path`
        What was written.
    """
    path = Path(directory) / "evaluation.ecsv"
    with atomic_path(path, overwrite=overwrite) as temporary:
        table.write(temporary, format="ascii.ecsv")
    return path


def _scores(
    estimator: RegressorMixin, X: np.ndarray, library: ReferenceLibrary, split: str
) -> dict[str, float]:
    log_mass = np.log10(library.table["mass"].to_value(u.solMass))
    groups = np.asarray(library.table["group"])
    predicted = left_out_predictions(estimator, X, log_mass, groups, folds(split, library))
    counts = {"n_rows": len(log_mass), "n_stars": len(np.unique(groups))}
    return score(log_mass, predicted, groups) | counts


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {
        name: type(first)(np.mean([s[name] for s in scores])) for name, first in scores[0].items()
    }


def folds(split: str, library: ReferenceLibrary) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide the rows of a library into training and test rows with `~stellarssl.masses.leave_out`.

    Parameters
    ----------
    split : {"random", "star", "clump", "simulation"}
        What no fold may divide: nothing but rows, stars, clumps or simulations.
    library : `~stellarssl.ReferenceLibrary`
        Library whose rows are divided.

    Returns
    -------
    folds : list of (train, test)
        Row numbers; each row is tested once.
    """
    names = ("group", "clump", "sim")
    return leave_out(split, *(np.asarray(library.table[name]) for name in names))


def _without_network(library: ReferenceLibrary) -> dict[str, list[Way]]:
    """Return the rivals that need no encoder, the simplest first."""
    statistics = library.statistics.array
    peak = statistics[:, [library.statistics.names.index("peak")]]
    gas_mass = np.log10(library.table["gas_mass"].to_value(u.solMass))[:, None]
    age = np.log10(library.table["age"].to_value(u.Myr).clip(1e-3))[:, None]
    pixels = library.maps.reshape(len(library), -1)
    trees = ExtraTreesRegressor(500, min_samples_leaf=3, n_jobs=-1, random_state=0)
    oracle = {"age of the star alone (oracle)": [(LinearRegression(), age)]}
    return {
        "mean": [(DummyRegressor(), peak)],
        **(oracle if np.isfinite(age).all() else {}),
        "peak column": [(LinearRegression(), peak)],
        "gas mass in the tile": [(LinearRegression(), gas_mass)],
        "scalars, k-NN": [(MassEstimator(), statistics)],
        "scalars, gradient boosting": [(HistGradientBoostingRegressor(random_state=0), statistics)],
        "scalars, extra trees": [(trees, statistics)],
        "pixel PCA, k-NN": [(MassEstimator(), pixels)],
    }


def _with_network(
    library: ReferenceLibrary, encoder: Encoder, n_random: int, *, progress: bool
) -> dict[str, list[Way]]:
    """Return features of trained and untrained encoders, alone and beside the statistics."""
    controls = [Encoder.random(seed, dtype=encoder.dtype) for seed in range(n_random)]
    ways = {}
    for label, encoders in (("random weights", controls), (encoder.name, [encoder])):
        seen = [library.embed(each, progress=progress).features for each in encoders]
        widths = [[s.stop - s.start for s in features.blocks.values()] for features in seen]
        ways[f"{label}, k-NN"] = [
            (MassEstimator(block_widths=w), features.array)
            for w, features in zip(widths, seen, strict=True)
        ]
        statistics = library.statistics.array
        ways[f"{label} and scalars, k-NN"] = [
            (
                MassEstimator(block_widths=[*w, statistics.shape[1]]),
                np.hstack([features.array, statistics]),
            )
            for w, features in zip(widths, seen, strict=True)
        ]
    return ways
