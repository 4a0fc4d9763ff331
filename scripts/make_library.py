"""Make the shipped library from the simulations.

    python scripts/make_library.py --simulations ../shared/data/sim

Every star is kept, at fewer times than the simulations hold. From the samples, 0.5 pc deep, come
the stars of all runs; from the whole boxes, 4 pc deep, those of one run again as a telescope sees
them, and column peaks with a star and without.
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
from scipy.spatial import cKDTree

from stellarssl.encoder import Encoder
from stellarssl.library import ReferenceLibrary
from stellarssl.tiles import TileStatistics, peak_pixels, tile_statistics

ROOT = Path(__file__).resolve().parents[1]
RUNS = ("s1", "s2", "s4")
BOX, TILE, PIXEL = 4.0, 0.5, 0.0078125  # pc
APART = 0.1  # pc: a peak with no star nearer than this, in projection, has none
CHANNELS = ("LOG_N_HI", "V_LOS", "SIGMA_V")
COLUMNS = (
    "sim", "star", "group", "clump", "output", "time", "axis", "mass", "age", "depth", "from_peak",
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
    """Read the samples of a run, 0.5 pc deep: maps, labels, and the clump of each star."""
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
    labels["sim"], labels["from_peak"] = run, False
    labels["group"] = [f"{run}/{star}" for star in labels["star"]]
    labels["clump"] = [f"{run}/clump{clump_of[star]}" for star in labels["star"]]
    return maps, labels, clump_of


def cut(box, x, y):
    """Cut the tile whose center, the corner of four pixels, is nearest to (x, y); it wraps."""
    rows, columns = (np.arange(64) + round(float(c) - 31.5) for c in (y, x))
    return box.take(rows, axis=-2, mode="wrap").take(columns, axis=-1, mode="wrap")


def column_peaks(boxes, info, sinks):
    """Find the column peaks of each box, highest first, and the star nearest to each."""
    peaks = []
    for i, box in enumerate(boxes):
        own = np.flatnonzero(sinks["box"] == i)
        xy = peak_pixels(10.0 ** (box[0] - 22), min_separation=APART / PIXEL, periodic=True)
        places = np.stack([sinks["x_pix"][own], sinks["y_pix"][own]], axis=1) % 512
        apart, nearest = cKDTree(places, boxsize=512).query(xy)
        columns = {"x": xy[:, 0], "y": xy[:, 1], "apart": apart * PIXEL, "sink": own[nearest]}
        peaks.append(Table({"box": np.full(len(xy), i)} | columns))
    peaks = vstack(peaks)
    for name in ("axis", "output", "time"):
        peaks[name] = info[name][peaks["box"]]
    return peaks


def linked(peaks, outputs, reach=0.15):
    """Number peaks so that those within `reach` pc at successive outputs of an axis share one."""
    step = np.searchsorted(outputs, peaks["output"])
    xy = np.stack([peaks["x"], peaks["y"]], axis=1)
    rows, columns = [], []
    for axis in np.unique(peaks["axis"]):
        for t in range(len(outputs) - 1):
            first, second = (
                np.flatnonzero((peaks["axis"] == axis) & (step == s)) for s in (t, t + 1)
            )
            distance, nearest = cKDTree(xy[second], boxsize=512).query(xy[first])
            near = distance < reach / PIXEL
            rows.append(first[near])
            columns.append(second[nearest[near]])
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    links = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(peaks), len(peaks)))
    return connected_components(links, directed=False)[1]


def some_of_each_box(peaks, per_box):
    """Choose peaks of each box: half of them the highest, half drawn from the others."""
    rng = np.random.default_rng(0)
    chosen = []
    for i in np.unique(peaks["box"]):
        own = np.flatnonzero(peaks["box"] == i)
        rest = rng.choice(own[per_box // 2 :], per_box - per_box // 2, replace=False)
        chosen.append(np.concatenate([own[: per_box // 2], rest]))
    return peaks[np.concatenate(chosen)]


def labelled(rows, run, sinks, clump_of):
    """Label rows with the stars of the same length, or with none."""
    labels = Table({name: rows[name] for name in ("output", "time", "axis")})
    if sinks is None:
        labels["mass"] = labels["age"] = np.nan
        labels["star"] = -1
        labels["group"] = [f"{run}/starless{row['axis']}{row['clump']}" for row in rows]
        labels["clump"] = labels["group"]
    else:
        labels["mass"], labels["age"], labels["star"] = (
            sinks[name] for name in ("mass", "age", "sink_id")
        )
        labels["group"] = [f"{run}/{star}" for star in sinks["sink_id"]]
        labels["clump"] = [f"{run}/clump{clump_of[star]}" for star in sinks["sink_id"]]
    return labels


def rows_of_boxes(folder, run, clump_of, per_star, per_box):
    """Cut whole-depth tiles: about stars, about column peaks by a star, and about those by none."""
    with fits.open(folder / f"{run}_boxes.fits") as hdus:
        boxes = np.stack([hdus[name].data for name in CHANNELS], axis=1).astype(np.float32)
        info, sinks = Table(hdus["BOXES"].data), Table(hdus["SINKS"].data)
    for name in ("axis", "output", "time"):
        sinks[name] = info[name][sinks["box"]]
    stars = sinks[thinned(sinks["sink_id"], sinks["output"], per_star)]
    peaks = column_peaks(boxes, info, sinks)
    starless, hosts = peaks[peaks["apart"] >= APART], peaks[peaks["apart"] < APART]
    starless["clump"] = linked(starless, np.unique(info["output"]))
    starless = some_of_each_box(starless, per_box)
    hosts = hosts[thinned(sinks["sink_id"][hosts["sink"]], hosts["output"], per_star)]
    maps = [cut(boxes[s["box"]], s["x_pix"], s["y_pix"]) for s in stars]
    maps += [cut(boxes[p["box"]], p["x"], p["y"]) for p in vstack([hosts, starless])]
    labels = vstack(
        [
            labelled(stars, run, stars, clump_of),
            labelled(hosts, run, sinks[hosts["sink"]], clump_of),
            labelled(starless, run, None, clump_of),
        ]
    )
    labels["sim"], labels["depth"] = run, BOX
    labels["from_peak"] = np.arange(len(labels)) >= len(stars)
    return np.stack(maps), labels


def build(folder, *, per_star, per_star_deep, per_box):
    """Read the simulations into a library without features."""
    parts, clump_of = [], {}
    for run in RUNS:
        maps, labels, clump_of[run] = stars_of_samples(folder, run, per_star)
        parts.append((maps, labels))
    parts.append(rows_of_boxes(folder, "s4", clump_of["s4"], per_star_deep, per_box))
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
        "whole_depth_outputs_per_star": per_star_deep,
        "starless_peaks_per_box": per_box,
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
    parser.add_argument("--per-star-deep", type=int, default=4, help="the same, whole depth")
    parser.add_argument("--per-box", type=int, default=6, help="starless peaks kept of each box")
    parser.add_argument("--maps-only", action="store_true", help="leave the features out")
    options = parser.parse_args()
    library = build(
        options.simulations,
        per_star=options.per_star,
        per_star_deep=options.per_star_deep,
        per_box=options.per_box,
    )
    library.write(options.output, overwrite=True)
    if not options.maps_only:
        # what is shipped is rounded, and it is the rounded maps that must be measured and embedded
        library = ReferenceLibrary.read(options.output)
        library = replace(library, statistics=TileStatistics(*tile_statistics(library.maps)))
        encoder = Encoder.from_pretrained(options.encoder, dtype="float32")
        library.embed(encoder, progress=True).write(options.output, overwrite=True)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {library}, {size:.1f} MB")
    starless = np.unique(library.table["group"][~library.table["has_star"]])
    print(
        f"{int(library.table['has_star'].sum())} maps with a star, {len(starless)} starless clumps"
    )


if __name__ == "__main__":
    main()
