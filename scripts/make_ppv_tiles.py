"""Make the shipped PPV tiles and backgrounds from the simulations.

    python scripts/make_ppv_tiles.py --simulations ../shared/data/sim

PPV tiles of s7 and s8 exist at 0.0078 pc a pixel; those of s4, s5 and s6 are cut from the cubes of
the whole box, at 0.0156 pc a pixel. Backgrounds are cut from the maps of the whole box.
"""

import argparse
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table, vstack
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from stellarssl.library import Backgrounds, PPVTiles

ROOT = Path(__file__).resolve().parents[1]
FINE, COARSE, MAPS = ("s7", "s8"), ("s4", "s5", "s6"), ("s4", "s5", "s6", "s8")
AXES = "xyz"
BOX, N_PIXELS, N_CHANNELS, DV = 4.0, 32, 96, 0.125  # pc, km/s
CELL = 0.015625  # pc: pixel of the cubes and of the column maps that locate peaks
MIN_MASS = 0.1  # Msun
APART = 0.1  # pc: a peak is starless if no star is nearer in projection
N_PEAKS = 3  # starless peaks of each map
SAME, MEET, LINK_TIME = 0.1, 0.25, 0.09  # pc, pc, Myr
TEXT = ("sim", "group", "clump", "axis")
UNITS = {
    "time": u.Myr, "mass": u.Msun, "age": u.Myr, "pixel_size": u.pc, "v_lsr": u.km / u.s,
}  # fmt: skip


def across(axis):
    """Name the horizontal and the vertical axis of an image seen along `axis`."""
    k = AXES.index(axis)
    return AXES[(k + 1) % 3], AXES[(k + 2) % 3]


def read_box(folder, run, output, axis):
    """Read the cube of a whole box [K] and the stars in it."""
    path = folder / f"{run}_{output:05d}_{axis}_ppv.fits.gz"
    with fits.open(path) as hdus:
        cube, time = hdus[0].data.astype(np.float32), hdus[0].header["TIMEMYR"]
    stars = Table.read(path.with_suffix("").with_suffix(".ecsv"), format="ascii.ecsv")
    return cube, time, stars[np.asarray(stars["mass"]) >= MIN_MASS]


def outputs_of(folder, run):
    """List the outputs that have cubes of the whole box."""
    return sorted({int(path.name.split("_")[1]) for path in folder.glob(f"{run}_*_ppv.fits.gz")})


def starless_peaks(column, stars):
    """Find the highest column peaks that have no star nearby; columns are x_pix and y_pix."""
    size = 2 * round(APART / CELL / 2) + 1
    peak = (column == maximum_filter(column, size, mode="wrap")) & (
        column > np.percentile(column, 97)
    )
    y, x = np.nonzero(peak)
    for star in stars:
        apart = np.stack([x - star["x_pix"], y - star["y_pix"]])
        apart -= len(column) * np.round(apart / len(column))
        far = np.hypot(*apart) * CELL >= APART
        x, y = x[far], y[far]
    highest = np.argsort(-column[y, x])[:N_PEAKS]
    return x[highest], y[highest]


def cut(cube, x, y, v):
    """Cut a tile about a place and a velocity; it wraps in space, and is empty beyond the band."""
    start = [round(float(c) - (N_PIXELS - 1) / 2) for c in (x, y)]
    columns, rows = (np.arange(N_PIXELS) + first for first in start)
    tile = cube.take(rows, axis=1, mode="wrap").take(columns, axis=2, mode="wrap")
    v = DV * round(v / DV)
    first = round(v / DV) - N_CHANNELS // 2 + len(cube) // 2
    channels = first + np.arange(N_CHANNELS)
    inside = (channels >= 0) & (channels < len(cube))
    out = np.zeros((N_CHANNELS, N_PIXELS, N_PIXELS), dtype=np.float32)
    out[inside] = tile[channels[inside]]
    dx, dy = (c - first - (N_PIXELS - 1) / 2 for c, first in zip((x, y), start, strict=True))
    return out, {"v_lsr": v, "dx": dx, "dy": dy, "kept": out.sum() / tile.sum()}


def tiles_of_box(folder, run, output, axis):
    """Cut the tiles about the stars and the starless peaks of one cube."""
    cube, time, stars = read_box(folder, run, output, axis)
    tiles, rows = [], []
    h, v = across(axis)
    own = {"sim": run, "output": output, "time": time, "axis": axis, "pixel_size": CELL}
    for star in stars:
        tile, place = cut(cube, star["x_pix"], star["y_pix"], star["v_lsr"])
        label = {"star": int(star["id"].split("-")[1]), "mass": star["mass"], "age": star["age"]}
        where = {h: (star["x_pix"] + 0.5) * CELL, v: (star["y_pix"] + 0.5) * CELL}
        where[axis] = star["depth"] % BOX
        tiles.append(tile)
        rows.append(own | label | place | where)
    velocity = (np.arange(len(cube)) - (len(cube) - 1) / 2) * DV
    for x, y in zip(*starless_peaks(cube.sum(axis=0, dtype=np.float64), stars), strict=True):
        near = cube.take([y - 1, y, y + 1], axis=1, mode="wrap")
        near = near.take([x - 1, x, x + 1], axis=2, mode="wrap").sum(axis=(1, 2), dtype=np.float64)
        tile, place = cut(cube, x, y, np.average(velocity, weights=near))
        label = {"star": -1, "mass": np.nan, "age": np.nan}
        where = {h: (x + 0.5) * CELL, v: (y + 0.5) * CELL, axis: np.nan}
        tiles.append(tile)
        rows.append(own | label | place | where)
    return tiles, rows


def coarse_tiles(folder, run):
    """Cut tiles from the cubes of every second output, the last one among them."""
    tiles, rows = [], []
    for output in outputs_of(folder, run)[::-2][::-1]:
        for axis in AXES:
            more = tiles_of_box(folder, run, output, axis)
            tiles += more[0]
            rows += more[1]
    table = Table(rows)
    print(f"{run}: gas within the {N_CHANNELS} channels: median {np.median(table['kept']):.4f}, "
          f"worst {table['kept'].min():.4f}")  # fmt: skip
    return np.stack(tiles), table


def fine_tiles(folder, run):
    """Read the tiles of a run whose tiles exist, with the exact values of saturated voxels."""
    with fits.open(folder / f"{run}_tiles.fits") as hdus:
        header, codes = hdus[0].header, hdus["TILES"].data
        samples, bright = Table(hdus["SAMPLES"].data), Table(hdus["SATURATED"].data)
    scale = header["DEX"] / 255
    cubes = (header["T0"] * (10.0 ** (np.arange(256) * scale) - 1)).astype(np.float32)[codes]
    place = tuple(bright[name] for name in ("sample", "channel", "row", "column"))
    cubes[place] = bright["t"]
    has_star = samples["has_star"] != 0
    table = Table({name: samples[name] for name in ("output", "time", "mass", "age", "v_lsr",
                                                    "dx", "dy", *AXES)})  # fmt: skip
    table["sim"], table["axis"] = run, np.asarray(samples["axis"]).astype(str)
    table["star"] = np.where(has_star, samples["sink_id"], -1)
    table["pixel_size"] = header["PIXPC"]
    return cubes, table


def column_maps(folder, run):
    """Read the smoothed log columns of a run's cubes: {time: {axis: map}}."""
    maps = {}
    for output in outputs_of(folder, run):
        views = {}
        for axis in AXES:
            cube, time, _ = read_box(folder, run, output, axis)
            views[axis] = np.log10(gaussian_filter(cube.sum(axis=0), 1.5, mode="wrap"))
        maps[time] = views
    return maps


def possible_depths(views, axis, h, v):
    """Mark where along the line of sight the gas of a peak may lie.

    Gas at depth s shows in both other views, at s and at the peak's two coordinates, so the lower
    of the two columns there is high at the right depth. In 703 of 705 images of stars of s4, s5, s6
    and s8, that depth is among those with at least half of the largest value.
    """
    n_cells = len(views[axis])
    column, row = int(v / CELL) % n_cells, int(h / CELL) % n_cells
    second, third = across(axis)
    least = np.minimum(views[second][:, column], views[third][row, :])
    return least > least.max() - np.log10(2)


def places(table, maps):
    """Mark the cells along x, y and z where each row's gas may lie: bool (3, n, cells)."""
    n_cells = round(BOX / CELL)
    found = np.zeros((3, len(table), n_cells), dtype=bool)
    for i, row in enumerate(table):
        for k, name in enumerate(AXES):
            if np.isfinite(row[name]):
                found[k, i, int(row[name] / CELL) % n_cells] = True
            else:
                h, v = across(name)
                nearest = min(maps, key=lambda time: abs(time - row["time"]))
                found[k, i] = possible_depths(maps[nearest], name, row[h], row[v])
    return found


def overlap(found, reach):
    """Say which rows may be nearer to each other than `reach` pc along all three axes."""
    width = 2 * round(reach / CELL) + 1
    wide = maximum_filter(found, (1, 1, width), mode="wrap").astype(np.float32)
    return np.all([a @ b.T > 0 for a, b in zip(wide, found.astype(np.float32), strict=True)], 0)


def grouped(table, maps):
    """Name the star or the starless gas of each row, and everything that shares gas with it."""
    run, star, time = table["sim"][0], np.asarray(table["star"]), np.asarray(table["time"])
    found = places(table, maps)
    soon = np.abs(time[:, None] - time) <= LINK_TIME
    starless = star < 0
    same = (starless[:, None] & starless & soon & overlap(found, SAME)) | (
        ~starless[:, None] & (star[:, None] == star)
    )
    number = connected_components(csr_array(same))[1]
    names = [f"{run}/{star[i]}" if star[i] >= 0 else f"{run}/starless{number[i]}"
             for i in range(len(star))]  # fmt: skip
    meet = same | ((np.abs(time[:, None] - time) < 0.01) & overlap(found, MEET))
    clump = connected_components(csr_array(meet))[1]
    print(f"{run}: {np.count_nonzero(~starless)} tiles of {len(np.unique(star[~starless]))} stars, "
          f"{np.count_nonzero(starless)} of {len(np.unique(number[starless]))} starless groups, "
          f"{len(np.unique(clump))} clumps")  # fmt: skip
    return names, [f"{run}/ppv-clump{k}" for k in clump]


def labels(table):
    """Turn the rows of a run into the columns of `PPVTiles`."""
    columns = {name: np.asarray(table[name]) for name in ("sim", "output", "time", "axis", "star")}
    columns |= {name: np.asarray(table[name]) for name in ("group", "clump")}
    columns["has_star"] = columns["star"] >= 0
    for name in ("mass", "age", "pixel_size", "v_lsr", "dx", "dy"):
        columns[name] = np.ma.filled(np.ma.asarray(table[name], dtype=np.float32), np.nan)
    columns["output"] = columns["output"].astype(np.int32)
    columns["star"] = columns["star"].astype(np.int32)
    columns["time"] = columns["time"].astype(np.float32)
    units = [UNITS.get(name) for name in columns]
    return QTable(
        {name: value if unit is None else value * unit
         for (name, value), unit in zip(columns.items(), units, strict=True)}
    )  # fmt: skip


def check_quantization(tiles, cubes):
    """Print what the 8 bits cost in columns and dispersions."""
    errors = {"column": [], "dispersion": []}
    velocity = tiles.velocity.value
    for rows, decoded in tiles.batches(32):
        sums = []
        for part in (cubes[rows], decoded):
            total = part.sum(axis=1, dtype=np.float64)
            mean, square = (np.einsum("nvyx,v->nyx", part, velocity**k) / total for k in (1, 2))
            sums.append((total, np.sqrt(square - mean**2)))
        for name, exact, coded in zip(errors, *sums, strict=True):
            with np.errstate(divide="ignore", invalid="ignore"):
                errors[name].append(np.abs(np.log10(coded / exact)).ravel())
    for name, parts in errors.items():
        error = np.concatenate(parts)
        error = error[np.isfinite(error)]
        print(f"  |log {name}|: median {np.median(error):.5f}, 99.9 % "
              f"{np.percentile(error, 99.9):.4f}, worst {error.max():.4f} dex")  # fmt: skip


def make_tiles(folder):
    """Read or cut all tiles."""
    parts = []
    for run in (*COARSE, *FINE):
        cubes, table = (coarse_tiles if run in COARSE else fine_tiles)(folder, run)
        table["group"], table["clump"] = grouped(table, column_maps(folder, run))
        part = PPVTiles.from_cubes(cubes, labels(table))
        check_quantization(part, cubes)
        parts.append(part)
    codes = np.concatenate([part.codes for part in parts])
    first = np.cumsum([0] + [len(part) for part in parts])
    for part, row in zip(parts, first, strict=False):
        part.saturated["row"] += row
    meta = {
        "title": "Magnetised, self-gravitating, decaying turbulence with sink particles (RAMSES)",
        "label": "sink mass: accreted within 0.023 pc, no outflows, close companions merged",
        "runs": ", ".join((*COARSE, *FINE)),
        "depth_pc": BOX,
        "sigma_thermal_kms": 0.054,
    }
    saturated = vstack([part.saturated for part in parts])
    return PPVTiles(vstack([part.table for part in parts]), codes, saturated, meta)


def make_backgrounds(folder, per_axis):
    """Cut maps of whole lines of sight at random positions of random outputs."""
    rng = np.random.default_rng(13)
    maps, rows = [], []
    for run in MAPS:
        with fits.open(folder / f"{run}_boxes.fits") as hdus:
            box = np.stack([hdus[n].data for n in ("LOG_N_HI", "V_LOS", "SIGMA_V")], axis=1)
            info = Table(hdus["BOXES"].data)
        for axis in AXES:
            own = np.flatnonzero(np.asarray(info["axis"]).astype(str) == axis)
            for k in range(per_axis):
                i = own[k % len(own)]
                y, x = rng.integers(512, size=2)
                part = box[i].take(np.arange(64) + y, axis=1, mode="wrap")
                maps.append(part.take(np.arange(64) + x, axis=2, mode="wrap"))
                output, time = int(info["output"][i]), float(info["time"][i])
                rows.append((run, output, time * u.Myr, axis, int(x), int(y)))
    table = QTable(rows=rows, names=("sim", "output", "time", "axis", "x", "y"))
    return Backgrounds(table, np.stack(maps).astype(np.float32), {"runs": ", ".join(MAPS)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=Path, default=ROOT.parent / "shared/data/sim")
    parser.add_argument("--output", type=Path, default=ROOT / "stellarssl/data/library")
    parser.add_argument("--per-axis", type=int, default=40, help="backgrounds per run and axis")
    options = parser.parse_args()
    tiles = make_tiles(options.simulations)
    tiles.write(options.output / "ppv_tiles.fits", overwrite=True)
    backgrounds = make_backgrounds(options.simulations, options.per_axis)
    backgrounds.write(options.output / "backgrounds.fits", overwrite=True)
    for name, made in (("ppv_tiles.fits", tiles), ("backgrounds.fits", backgrounds)):
        print(f"{name}: {made}, {(options.output / name).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
