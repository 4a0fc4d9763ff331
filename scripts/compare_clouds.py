"""Compare synthetic clouds with the simulations by the statistics that depend on a star's mass.

    python scripts/compare_clouds.py --simulations ../shared/data/sim

Prints the table of the user guide: 5, 50 and 95 % of each statistic, and the slope of a straight
line against log10 of the mass. Tiles of 0.5 pc along the line of sight are compared with clouds
without layers, tiles of the whole depth with clouds that have layers. The runs s7 and s8 are not
used, so that what is trained on the clouds can be tested on them.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table

from stellarssl.pretrain.clouds import CloudDataset, read_recipe

SAMPLES, BOXES = ("s1", "s2", "s4", "s5", "s6"), ("s4", "s5", "s6")
NAMES = ("LOG_N_HI", "V_LOS", "SIGMA_V")
MASSES = (0.05, 40.0)  # Msun: those of the recipe
HALF = 32


def statistics(maps):
    """Return the statistics of tiles, name -> (n,); dispersions and scatter of v as log10."""
    log_n, v, sigma = np.moveaxis(maps.astype(np.float64), 1, 0)
    column = 10.0 ** (log_n - 22)
    axis = np.arange(maps.shape[-1]) - (maps.shape[-1] - 1) / 2
    radius = np.hypot(axis, axis[:, None])
    rings = {
        "within 3 px": radius < 3,
        "5-10 px": (radius >= 5) & (radius < 10),
        "20-31 px": (radius >= 20) & (radius < 31),
    }
    found = {}
    for name in ("within 3 px", "5-10 px"):
        ratio = column[:, rings[name]].mean(1) / column.mean((1, 2))
        found[f"column {name} over mean [dex]"] = np.log10(ratio)
    found["scatter of log N [dex]"] = log_n.std((1, 2))
    for name, ring in rings.items():
        weight = column[:, ring]
        square = (weight * sigma[:, ring] ** 2).sum(1) / weight.sum(1)
        found[f"dispersion {name} [km/s]"] = np.log10(np.sqrt(square))
    found["scatter of v [km/s]"] = np.log10(v.std((1, 2)))
    return found


def read_samples(folder, run):
    """Read tiles of 0.5 pc along the line of sight, and log10 of the mass."""
    with fits.open(folder / f"{run}_samples.fits") as hdus:
        maps = np.stack([hdus[name].data for name in NAMES], axis=1)
        return maps, np.log10(hdus["SAMPLES"].data["sink_mass"].astype(float))


def read_boxes(folder, run):
    """Cut tiles of the whole depth about the stars of the box maps."""
    maps, log_mass = [], []
    with fits.open(folder / f"{run}_boxes.fits") as hdus:
        images = [hdus[name].data for name in NAMES]
        for row in Table(hdus["SINKS"].data):
            shift = [HALF - round(float(row[name]) + 0.5) for name in ("y_pix", "x_pix")]
            tile = [
                np.roll(image[row["box"]], shift, (0, 1))[: 2 * HALF, : 2 * HALF]
                for image in images
            ]
            maps.append(tile)
            log_mass.append(np.log10(row["mass"]))
    return np.array(maps), np.array(log_mass)


def collect(parts):
    """Join tiles of several runs, within the recipe's masses."""
    maps, log_mass = (np.concatenate(each) for each in zip(*parts, strict=True))
    kept = (log_mass > np.log10(MASSES[0])) & (log_mass < np.log10(MASSES[1]))
    return maps[kept], log_mass[kept]


def clouds(n, *, layers, recipe):
    """Return maps of clouds that have layers, or have none, and log10 of the mass."""
    dataset = CloudDataset(n, recipe=recipe, cubes=False)
    tiles = [dataset[i] for i in range(n)]
    chosen = [each for each in tiles if each.has_layers == layers and np.isfinite(each.log_mass)]
    return np.stack([each.maps for each in chosen]), np.array([each.log_mass for each in chosen])


def summary(values, log_mass):
    """Return 5, 50 and 95 %, and the slope against log mass with its error."""
    (slope, _), covariance = np.polyfit(log_mass, values, 1, cov=True)
    return (*np.percentile(values, (5, 50, 95)), slope, np.sqrt(covariance[0, 0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=Path, required=True)
    parser.add_argument("--n", type=int, default=3000, help="number of maps of clouds")
    parser.add_argument("--recipe", type=Path, help="TOML file (default: the shipped one)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.simulations
    groups = {
        "0.5 pc": (collect([read_samples(folder, run) for run in SAMPLES]), False),
        "whole depth": (collect([read_boxes(folder, run) for run in BOXES]), True),
    }
    for depth, (simulated, layers) in groups.items():
        made = clouds(options.n, layers=layers, recipe=read_recipe(options.recipe))
        print(f"{depth}: {len(simulated[1])} simulated tiles, {len(made[1])} of clouds")
        results = [(statistics(maps), log_mass) for maps, log_mass in (simulated, made)]
        for name in results[0][0]:
            line = f"{name:34s}"
            for found, log_mass in results:
                *levels, slope, error = summary(found[name], log_mass)
                if "km/s" in name:
                    levels = [10**level for level in levels]
                shown = " ".join(f"{level:6.2f}" for level in levels)
                line += f" | {shown}  {slope:+.2f} ({error:.2f})"
            print(line)


if __name__ == "__main__":
    main()
