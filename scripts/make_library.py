"""Make the shipped library from the simulations.

    python scripts/make_library.py --simulations ../shared/data/sim

Every star of every run is kept, at fewer times than the simulations hold, in maps of the gas within
0.25 pc along the line of sight: what the paper uses. Whole lines of sight and starless gas are in
the files of scripts/make_ppv_tiles.py.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from stellarssl.encoder import Encoder
from stellarssl.library import ReferenceLibrary
from stellarssl.tiles import TileStatistics, tile_statistics

ROOT = Path(__file__).resolve().parents[1]
RUNS = ("s1", "s2", "s4", "s5", "s6", "s7", "s8")
BOX, TILE = 4.0, 0.5  # pc
CHANNELS = ("LOG_N_HI", "V_LOS", "SIGMA_V")
COLUMNS = (
    "sim", "star", "group", "clump", "output", "time", "axis", "mass", "age", "depth",
)  # fmt: skip


def evenly(values, n):
    """Keep at most n of the sorted unique values, the first and the last among them."""
    values = np.unique(values)
    return values[
        np.unique(np.linspace(0, len(values) - 1, min(n, len(values))).round().astype(int))
    ]


def thinned(star, output, n):
    """Mark the rows that show each star at no more than n of its outputs."""
    keep = np.zeros(len(star), dtype=bool)
    for name in np.unique(star):
        own = star == name
        keep |= own & np.isin(output, evenly(output[own], n))
    return keep


def clumps(samples):
    """Number the stars of one run so that those whose 0.5 pc cubes ever overlap share a number."""
    stars = np.unique(samples["sink_id"])
    touch = np.eye(len(stars), dtype=bool)
    for output in np.unique(samples["output"]):
        now = samples[(samples["output"] == output) & (samples["axis"] == "x")]
        place = np.stack([now[f"sink_{axis}"] for axis in "xyz"], axis=1)
        apart = place[:, None] - place
        apart -= BOX * np.round(apart / BOX)
        row = np.searchsorted(stars, now["sink_id"])
        touch[np.ix_(row, row)] |= (np.abs(apart) < TILE).all(axis=2)
    return dict(zip(stars, connected_components(csr_array(touch))[1], strict=True))


def stars_of_samples(folder, run, per_star):
    """Read the samples of a run, 0.5 pc deep: maps and labels."""
    with fits.open(folder / f"{run}_samples.fits") as hdus:
        samples = Table(hdus["SAMPLES"].data)
        keep = thinned(samples["sink_id"], samples["output"], per_star)
        maps = np.stack([hdus[name].data[keep] for name in CHANNELS], axis=1)
    clump_of = clumps(samples)
    samples = samples[keep]
    labels = Table(
        {
            "star": samples["sink_id"],
            "output": samples["output"],
            "time": samples["time"],
            "axis": samples["axis"],
            "mass": samples["sink_mass"],
            "age": samples["sink_age"],
            "depth": np.full(len(samples), TILE),
        }
    )
    labels["sim"] = run
    labels["group"] = [f"{run}/{star}" for star in labels["star"]]
    labels["clump"] = [f"{run}/clump{clump_of[star]}" for star in labels["star"]]
    return maps, labels


def build(folder, *, per_star):
    """Read the simulations into a library without features."""
    parts = [stars_of_samples(folder, run, per_star) for run in RUNS]
    maps = np.concatenate([part[0] for part in parts]).astype(np.float64)
    labels = vstack([part[1] for part in parts], metadata_conflicts="silent")
    units = {"time": u.Myr, "mass": u.Msun, "age": u.Myr, "depth": u.pc}
    columns = {
        name: np.asarray(labels[name]) * units.get(name, 1)
        if name in units
        else np.asarray(labels[name])
        for name in COLUMNS
    }
    mass, group, clump = (columns.pop(name) for name in ("mass", "group", "clump"))
    meta = {
        "title": "Magnetised, self-gravitating, decaying turbulence with sink particles (RAMSES)",
        "label": "sink mass: accreted within 0.023 pc, no outflows, close companions merged",
        "runs": ", ".join(RUNS),
        "outputs_per_star": per_star,
    }
    return ReferenceLibrary.from_maps(
        10.0 ** maps[:, 0] * u.cm**-2,
        maps[:, 1] * u.km / u.s,
        maps[:, 2] * u.km / u.s,
        mass,
        group,
        clump=clump,
        columns=columns,
        meta=meta,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=Path, default=ROOT.parent / "shared/data/sim")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "stellarssl/data/library/simulations.fits"
    )
    parser.add_argument("--encoder", help="shipped name or safetensors file")
    parser.add_argument("--per-star", type=int, default=4, help="outputs kept of each star")
    parser.add_argument("--maps-only", action="store_true", help="leave the features out")
    options = parser.parse_args()
    library = build(options.simulations, per_star=options.per_star)
    library.write(options.output, overwrite=True)
    if not options.maps_only:
        # what is shipped is rounded, and it is the rounded maps that must be measured and embedded
        library = ReferenceLibrary.read(options.output)
        library = replace(library, statistics=TileStatistics(*tile_statistics(library.maps)))
        encoder = Encoder.from_pretrained(options.encoder, dtype="float32")
        library.embed(encoder, progress=True).write(options.output, overwrite=True)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {library}, {size:.1f} MB")


if __name__ == "__main__":
    main()
