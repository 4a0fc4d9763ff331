"""Weigh the true stars of simulated whole-box cubes from a library without that simulation.

    python scripts/weigh_simulations.py --simulations ../shared/data/sim --output truth.ecsv

Prints, for every star, true and estimated mass, and then the scores of the estimate beside the
mean, boosted scalars and the same reader on untrained encoders, all from the same library.
"""

import argparse
import sys
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import QTable, vstack
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

import stellarssl
from stellarssl.evaluate import score

TRACER = 1e22 * u.cm**-2 / (u.K * u.km / u.s)
SIM = "s4"


def rivals(library, tiles):
    """Estimate log masses from scalars alone, learnt on the library as it was observed."""
    stars = np.asarray(library.table["has_star"])
    log_mass = np.log10(library.table["mass"][stars].to_value(u.solMass))
    known, query = library.statistics.array[stars], tiles.statistics().array
    return {
        "mean": np.full(len(query), log_mass.mean()),
        "scalars, gradient boosting": HistGradientBoostingRegressor(random_state=0)
        .fit(known, log_mass)
        .predict(query),
        "scalars, extra trees": ExtraTreesRegressor(500, min_samples_leaf=3, random_state=0)
        .fit(known, log_mass)
        .predict(query),
    }


def weigh(path, encoders, library):
    """Return a row per true star of one cube: truth and every estimate of its log mass."""
    stars = QTable.read(path.with_name(path.name.replace(".fits.gz", ".ecsv")))
    maps = stellarssl.moment_maps(path, tracer=TRACER)
    truth = maps.moment0.to_value(u.K * u.km / u.s)
    tiles = stellarssl.make_tiles(maps, stars["skycoord"])
    rows = stars["id", "skycoord", "mass"]
    rows["cube"] = path.name.removesuffix("_ppv.fits.gz")
    rows["log N_H mean"] = np.log10(np.nanmean(truth) * 1e22)
    observation = stellarssl.Observation.of(maps).rounded()
    for encoder in encoders:
        seen = library.observed(observation, encoder)
        table = stellarssl.estimate_mass(maps, stars, library=seen, encoder=encoder)
        rows[encoder.name] = np.log10(table["mass"].unmasked.to_value(u.solMass))
        if encoder is encoders[0]:
            rows["flag_words"] = table["flag_words"]
            for end in ("lower", "upper"):
                rows[end] = np.log10(table[f"mass_{end}"].unmasked.to_value(u.solMass))
    for name, values in rivals(seen, tiles).items():
        rows[name] = values
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simulations", type=Path, default=Path("../shared/data/sim"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="take only every n-th cube")
    parser.add_argument("--n-random", type=int, default=3)
    options = parser.parse_args()
    library = stellarssl.ReferenceLibrary.default().exclude(sim=SIM)
    trained = stellarssl.Encoder.from_pretrained()
    encoders = [trained] + [
        stellarssl.Encoder.random(seed, dtype=trained.dtype) for seed in range(options.n_random)
    ]
    parts = []
    for path in sorted(options.simulations.glob(f"{SIM}_*_ppv.fits.gz"))[:: options.every]:
        parts.append(weigh(path, encoders, library))
        print(path.name, len(parts[-1]), "stars", file=sys.stderr)
    table = vstack(parts, metadata_conflicts="silent")
    table.write(options.output, format="ascii.ecsv", overwrite=True)
    log_mass = np.log10(table["mass"].to_value(u.solMass))
    inside = (table["lower"] <= log_mass) & (log_mass <= table["upper"])
    print(
        f"{len(table)} rows of {len(set(table['id']))} stars; "
        f"the 68 % interval holds {inside.mean():.2f}"
    )
    light = log_mass <= np.log10(8)
    for where, chosen in (("all", np.ones(len(table), bool)), ("true mass <= 8 Msun", light)):
        print(where, chosen.sum(), "rows")
        for name in (
            *(e.name for e in encoders),
            "mean",
            "scalars, gradient boosting",
            "scalars, extra trees",
        ):
            s = score(
                log_mass[chosen], np.asarray(table[name])[chosen], np.asarray(table["id"])[chosen]
            )
            print(
                f"  {name:28s} R2 {s['r2']:6.2f} [{s['r2_lower']:6.2f}, {s['r2_upper']:6.2f}]"
                f"  RMSE {s['rmse']:.2f} dex"
            )


if __name__ == "__main__":
    main()
