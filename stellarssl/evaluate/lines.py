"""Scores of the default masses on whole lines of sight, one simulation left out at a time."""

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table, vstack
from sklearn.linear_model import LinearRegression

from stellarssl._utils.output import atomic_path
from stellarssl._utils.progress import progress as progress_bar
from stellarssl._utils.provenance import provenance
from stellarssl.exceptions import InputError
from stellarssl.library import LibraryRows, PPVTiles, Telescope, observed_rows
from stellarssl.masses import (
    MASS_BINS,
    MassModel,
    bin_scores,
    calibrate,
    default_forest,
    group_weights,
    leave_out,
    paired_margin,
    star_scores,
)
from stellarssl.observe import Observation

__all__ = [
    "SETTINGS",
    "margins",
    "score_predictions",
    "simulation_predictions",
    "write_scores",
]

SETTINGS = ((0.0, None), (3.0, 10.0), (6.0, 10.0))
"""Beam [tile pixels of 0.0078 pc] and S/N of the tables in the documentation; None: no noise."""

PRIORS = ("library", "flat")
OURS = "rings and spectra, forest"
RINGS = "rings, forest"
DYNAMICAL = "5 sigma^2 R / G within 0.020 pc, line"
MEAN = "mean of the training stars"

_APERTURE = "rings: dynamical mass within 0.020 pc"
_LIMITS = ("lower", "upper", "lower_95", "upper_95")
_MAX_LOG_MASS = np.log10(8.0)


def simulation_predictions(
    tiles: PPVTiles | None = None,
    *,
    settings: Iterable[tuple[float, float | None]] = SETTINGS,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Table:
    """Predict each star from the simulations that it does not belong to.

    Tiles are observed with each beam and signal-to-noise ratio. For each simulation the default
    forest is fitted on all others; its intervals are calibrated on the others as well, by leaving
    out one of them after the other, so that the simulation tested takes no part.

    Parameters
    ----------
    tiles : `~stellarssl.library.PPVTiles`, optional
        Simulated tiles; the shipped ones by default.
    settings : iterable of (float, float or None), optional
        Beams (FWHM) in tile pixels, and S/N of a channel of 0.125 km/s at the star.
    n_jobs : int, optional
        Number of threads.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    predictions : `~astropy.table.Table`
        One row per tile, setting, method and prior: ``beam``, ``snr`` (infinite without noise),
        ``method``, ``prior``, ``sim``, ``group``, ``clump``, ``log_mass`` (true), ``predicted`` and
        the limits ``lower``, ``upper``, ``lower_95``, ``upper_95`` (NaN for baselines), all in
        dex(Msun); ``uncapped``, the prediction of a forest whose labels are not limited to 8 Msun.

    Raises
    ------
    InputError
        If the stars come from fewer than three simulations.
    """
    tiles = PPVTiles.default() if tiles is None else tiles
    tiles = tiles.select(np.asarray(tiles.table["has_star"], dtype=bool))
    sims = np.unique(tiles.table["sim"])
    if len(sims) < 3:
        rule = "must hold stars of three simulations: one to test, two to calibrate on"
        raise InputError("tiles", rule, len(sims))
    tables = []
    for beam, snr in progress_bar(list(settings), "evaluation", show=progress):
        rows = observed_rows(tiles, Telescope(Observation(beam, 0.0, 0.125, 0.0, 0.0), snr))
        labels = [np.asarray(rows.table[name]) for name in ("group", "clump", "sim")]
        for train, test in leave_out("simulation", *labels):
            part = _predictions(rows.select(train), rows.select(test), n_jobs)
            part["beam"], part["snr"] = beam, np.inf if snr is None else snr
            tables.append(part)
    predictions = vstack(tables, metadata_conflicts="silent")
    predictions.meta = provenance() | {"library_sha256": tiles.sha256}
    return predictions


def _predictions(train: LibraryRows, test: LibraryRows, n_jobs: int | None) -> Table:
    """Predict one simulation by all methods."""
    group = np.asarray(train.table["group"])
    weight = group_weights(group)
    ours = calibrate(train, PRIORS)
    plain = default_forest(n_jobs=n_jobs).set_params(cap=None)
    plain.fit(train.array, train.log_mass, groups=group)
    uncapped = plain.predict(test.array)
    rings = np.array([name.startswith("rings:") for name in train.names])
    capped = np.minimum(train.log_mass, _MAX_LOG_MASS)
    of_rings = default_forest(n_jobs=n_jobs).fit(train.array[:, rings], capped, groups=group)
    aperture = [train.names.index(_APERTURE)]
    line = LinearRegression().fit(train.array[:, aperture], capped, sample_weight=weight)
    parts = []
    for prior in PRIORS:
        model = MassModel.fit(train, prior=prior, calibration=ours[prior], n_jobs=n_jobs)
        found = model.estimate(test.array)
        limits = [getattr(found, name) for name in _LIMITS]
        parts.append(_part(test, OURS, prior, found.log_mass, limits, uncapped))
    for method, values in (
        (RINGS, of_rings.predict(test.array[:, rings])),
        (DYNAMICAL, line.predict(test.array[:, aperture])),
        (MEAN, np.full(len(test), weight @ capped)),
    ):
        parts.append(_part(test, method, "library", values, None, None))
    return vstack(parts, metadata_conflicts="silent")


def _part(
    test: LibraryRows,
    method: str,
    prior: str,
    predicted: np.ndarray,
    limits: Sequence[np.ndarray] | None,
    uncapped: np.ndarray | None,
) -> Table:
    unknown = np.full(len(test), np.nan)
    part = Table({name: np.asarray(test.table[name]) for name in ("sim", "group", "clump")})
    part["method"], part["prior"] = method, prior
    part["log_mass"], part["predicted"] = test.log_mass, predicted
    for i, name in enumerate(_LIMITS):
        part[name] = unknown if limits is None else limits[i]
    part["uncapped"] = predicted if uncapped is None else uncapped
    return part


def score_predictions(predictions: Table) -> QTable:
    """Score predictions: each number is averaged over the simulations that were left out.

    Parameters
    ----------
    predictions : `~astropy.table.Table`
        Table that `simulation_predictions` returned.

    Returns
    -------
    scores : `~astropy.table.QTable`
        One row per setting, method and prior. ``r2_tiles``: R2 of log mass of all masses, each tile
        the same, labels as they are. ``r2_stars``: each star the same, labels above 8 Msun as
        8 Msun. ``rms_below_8`` [dex] and ``r2_below_8``: stars below 8 Msun, each the same.
        ``coverage_68``, ``coverage_95``: share of all tiles inside their interval, and
        ``lowest_68``, ``lowest_95`` in the simulation with the lowest share; ``width_68`` [dex].
        ``bias_0.1_0.3`` and so on: mean of predicted minus true in bins of true mass [dex].
    """
    keys = ("beam", "snr", "method", "prior")
    order = list(dict.fromkeys(zip(*(predictions[key].tolist() for key in keys), strict=True)))
    rows = []
    for key in order:
        own = np.ones(len(predictions), dtype=bool)
        for name, value in zip(keys, key, strict=True):
            own &= np.asarray(predictions[name] == value)
        rows.append(dict(zip(keys, key, strict=True)) | _scores(predictions[own]))
    scores = QTable(rows)
    for name in scores.colnames:
        if name.startswith(("rms", "width", "bias")):
            scores[name].unit = u.dex
    scores.meta = dict(predictions.meta)
    return scores


def _scores(part: Table) -> dict[str, float]:
    sims = [np.asarray(part["sim"] == name) for name in np.unique(part["sim"])]
    y, predicted, uncapped = (
        np.asarray(part[name]) for name in ("log_mass", "predicted", "uncapped")
    )
    group = np.asarray(part["group"])
    capped = np.minimum(y, _MAX_LOG_MASS)
    light = y < _MAX_LOG_MASS

    def average(score: str, truth: np.ndarray, values: np.ndarray, rows: np.ndarray) -> float:
        parts = [own & rows for own in sims if (own & rows).any()]
        each = np.arange(len(y)) if score == "r2 by tile" else group
        name = "r2" if score == "r2 by tile" else score
        return float(np.mean([star_scores(truth[k], values[k], each[k])[name] for k in parts]))

    every = np.ones(len(y), dtype=bool)
    scores = {
        "r2_tiles": average("r2 by tile", y, uncapped, every),
        "r2_stars": average("r2", capped, predicted, every),
        "r2_below_8": average("r2", y, predicted, light),
        "rms_below_8": average("rms", y, predicted, light),
    }
    for level, suffix in ((68, ""), (95, "_95")):
        lower, upper = (np.asarray(part[f"{end}{suffix}"]) for end in ("lower", "upper"))
        inside = np.where(np.isfinite(lower), (lower <= capped) & (capped <= upper), np.nan)
        scores[f"coverage_{level}"] = float(inside.mean())
        scores[f"lowest_{level}"] = float(min(inside[own].mean() for own in sims))
    scores["width_68"] = float(np.mean(np.asarray(part["upper"] - part["lower"])))
    bins = bin_scores(y, predicted, group)
    found = {row["mass_from"].value: row["bias"].value for row in bins}
    for low, high in pairwise(MASS_BINS.to_value(u.solMass)):
        scores[f"bias_{low:g}_{high:g}"] = float(found.get(low, np.nan))
    return scores


def margins(predictions: Table, method: str = OURS, prior: str = "library") -> QTable:
    """Compare a method with all others on the same tiles.

    Parameters
    ----------
    predictions : `~astropy.table.Table`
        Table that `simulation_predictions` returned.
    method, prior : str, optional
        Method and prior that the others are compared with.

    Returns
    -------
    table : `~astropy.table.QTable`
        One row per setting and other method: ``margin`` in R2 (each star the same, labels above
        8 Msun as 8 Msun, averaged over simulations), its 95 % interval ``lower`` and ``upper`` from
        a bootstrap over clumps within simulations, and ``resolved``, whether the interval leaves
        out zero.
    """
    rows = []
    for beam, snr in dict.fromkeys(zip(predictions["beam"], predictions["snr"], strict=True)):
        here = predictions[(predictions["beam"] == beam) & (predictions["snr"] == snr)]
        own = here[(here["method"] == method) & (here["prior"] == prior)]
        for other in dict.fromkeys(here["method"].tolist()):
            if other == method:
                continue
            rival = here[here["method"] == other]
            found = paired_margin(
                np.minimum(np.asarray(own["log_mass"]), _MAX_LOG_MASS),
                np.asarray(own["predicted"]),
                np.asarray(rival["predicted"]),
                *(np.asarray(own[name]) for name in ("group", "clump", "sim")),
            )
            rows.append({"beam": beam, "snr": snr, "method": method, "over": other} | found)
    return QTable(rows)


def write_scores(
    predictions: Table, directory: str | os.PathLike, *, overwrite: bool = False
) -> list[Path]:
    """Write predictions, scores and margins.

    Parameters
    ----------
    predictions : `~astropy.table.Table`
        Table that `simulation_predictions` returned.
    directory : path-like
        Folder, which is made if it does not exist.
    overwrite : bool, optional
        Whether existing files are replaced.

    Returns
    -------
    paths : list of `~pathlib.Path`
        ``predictions.ecsv``, ``scores.ecsv`` and ``margins.ecsv``.
    """
    paths = []
    for name, table in (
        ("predictions", predictions),
        ("scores", score_predictions(predictions)),
        ("margins", margins(predictions)),
    ):
        path = Path(directory) / f"{name}.ecsv"
        with atomic_path(path, overwrite=overwrite) as temporary:
            table.write(temporary, format="ascii.ecsv")
        paths.append(path)
    return paths
