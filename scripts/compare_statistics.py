"""Score tile statistics as predictors of the sink mass on simulations that were left out.

    python scripts/compare_statistics.py --simulations ../shared/data/sim

For each run, extra trees are trained on the tiles of all other runs, each star having the same
weight. Printed is R2 of log10 of the sink mass by run, where every tile or every star counts the
same, and the rank correlation of the dynamical mass 5 sigma^2 R / G, to which nothing is fitted.
"""

import argparse
import time
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor

from stellarssl.tiles import RING_EDGES, mass_dynamical, ring_statistics, tile_statistics

RUNS = ("s1", "s2", "s4", "s5", "s6", "s7", "s8")
PIXEL = 0.5 / 64 * u.pc
MAX_MASS = 8.0
"""Solar masses, above which the package gives no mass."""

REACH = RING_EDGES[-1]
CASES = {
    "22 statistics": None,
    "rings": (0.0, REACH),
    "rings within 2.5 px": (0.0, 2.5),
    "rings within 7 px": (0.0, 7.0),
    "rings beyond 3.5 px": (3.5, REACH),
    "rings beyond 7 px": (7.0, REACH),
}


def read_tiles(directory, runs):
    """Return maps, and the run, star and log10 mass [solar masses] of each tile."""
    maps, rows = [], []
    for run in runs:
        with fits.open(directory / f"{run}_samples.fits") as hdus:
            names = ("LOG_N_HI", "V_LOS", "SIGMA_V")
            maps.append(np.stack([hdus[name].data.astype("f4") for name in names], axis=1))
            table = Table(hdus["SAMPLES"].data)
        rows += [(run, f"{run}-{row['sink_id']}", np.log10(row["sink_mass"])) for row in table]
    run, star, log_mass = (np.array(column) for column in zip(*rows, strict=True))
    maps = np.concatenate(maps)
    # relative to the mean velocity of the tile: squares of box velocities would lose digits
    maps[:, 1] -= maps[:, 1].mean(axis=(1, 2), keepdims=True)
    return maps, run, star, log_mass


def left_out(x, run, log_mass, weight, options):
    """Predict each run by trees trained on all others."""
    predicted = np.empty(len(x))
    for name in np.unique(run):
        test = run == name
        trees = ExtraTreesRegressor(
            options.n_trees,
            min_samples_leaf=5,
            max_features=0.4,
            random_state=options.seed,
            n_jobs=options.n_jobs,
        )
        trees.fit(x[~test], log_mass[~test], sample_weight=weight[~test])
        predicted[test] = trees.predict(x[test])
    return predicted


def r2(truth, predicted, weight):
    """Return the weighted coefficient of determination."""
    mean = np.average(truth, weights=weight)
    return 1 - (weight * (truth - predicted) ** 2).sum() / (weight * (truth - mean) ** 2).sum()


def show(name, scores):
    """Print a score by run and its mean."""
    values = "  ".join(f"{score:5.2f}" for score in scores)
    print(f"{name:<44}{values}   mean {np.mean(scores):5.3f}", flush=True)


def main():
    """Score the dynamical mass and each set of statistics."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simulations", type=Path, default=Path("../shared/data/sim"))
    parser.add_argument("--runs", nargs="+", default=RUNS, choices=RUNS)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--n-trees", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=1)
    options = parser.parse_args()
    maps, run, star, log_mass = read_tiles(options.simulations, options.runs)
    _, index, counts = np.unique(star, return_inverse=True, return_counts=True)
    by_star, by_tile = 1 / counts[index], np.ones(len(star))
    print(f"{len(maps)} tiles, {len(counts)} stars".ljust(44) + "  ".join(
        f"{name:>5}" for name in options.runs
    ))  # fmt: skip
    dynamical = mass_dynamical(maps, PIXEL).value
    members = [run == name for name in options.runs]
    ranks = [spearmanr(dynamical[rows], log_mass[rows])[0] for rows in members]
    show("5 sigma^2 R / G: rank correlation", ranks)
    light = log_mass < np.log10(MAX_MASS)
    for name in options.cases:
        start = time.perf_counter()
        radii = CASES[name]
        x = tile_statistics(maps)[1] if radii is None else ring_statistics(maps, radii=radii).array
        predicted = left_out(x, run, log_mass, by_star, options)
        print(f"{name} ({x.shape[1]} numbers, {time.perf_counter() - start:.0f} s)")
        for limit, kept in (("", True), (f" below {MAX_MASS:g} Msun", light)):
            for kind, weight in (("tile", by_tile), ("star", by_star)):
                scores = [
                    r2(log_mass[rows & kept], predicted[rows & kept], weight[rows & kept])
                    for rows in members
                ]
                show(f"    R2{limit}, each {kind} the same", scores)


if __name__ == "__main__":
    main()
