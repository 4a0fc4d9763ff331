"""Compare moments, tiles, features, masses and labels of four cubes with stored values.

    python scripts/golden.py --write      # store today's values
    python scripts/golden.py --check      # compare; exit status 1 if something differs

Moments, tiles and labels must be equal bit for bit, features to 1e-5, log masses to 0.001 dex.
Values are stored in scripts/golden/; of other people's data only checksums and masses are.
"""

import argparse
import hashlib
import sys
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable

import stellarssl

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared" / "data"
L1448 = {
    "unit": "K",
    "beam": "46 arcsec",
    "rest_value": "110.201354 GHz",
    "distance": "288 pc",
}
L1448_STARS = SkyCoord(["03:25:36.4 +30:45:21", "03:25:38.9 +30:44:05", "03:25:22.4 +30:45:13"],
                       unit=("hourangle", "deg"))  # fmt: skip
TOLERANCE = {"features": 1e-5, "log_mass": 1e-3}


def synthetic_jansky_cube():
    """Return a Jy/beam cube of two Gaussian clumps with noise, 64 x 64 pixels and 60 channels."""
    header = fits.Header({
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "VRAD", "CUNIT1": "deg",
        "CUNIT2": "deg", "CUNIT3": "m/s", "CRVAL1": 246.7, "CRVAL2": -24.5, "CRVAL3": 0.0,
        "CRPIX1": 32.5, "CRPIX2": 32.5, "CRPIX3": 1.0, "CDELT1": -5 / 3600, "CDELT2": 5 / 3600,
        "CDELT3": 120.0, "RESTFRQ": 109.782176e9, "BUNIT": "Jy/beam", "BMAJ": 16 / 3600,
        "BMIN": 12 / 3600, "BPA": 30.0, "RADESYS": "ICRS", "SPECSYS": "LSRK",
    })  # fmt: skip
    v, y, x = np.ogrid[:60, :64, :64]
    data = np.random.default_rng(3).normal(0, 0.05, (60, 64, 64))
    for y0, x0, v0, size, peak in ((30, 34, 28, 7, 4.0), (45, 16, 33, 4, 2.0)):
        sky = ((y - y0) ** 2 + (x - x0) ** 2) / (2 * size**2)
        line = (v - v0 - 0.1 * (x - x0)) ** 2 / (2 * 2.5**2)
        data += peak * np.exp(-sky - line)
    return fits.PrimaryHDU(data.astype("f4"), header)


def cases():
    """Yield (name, cube, positions, distance, options, whether the data are other people's)."""
    cube, stars = stellarssl.demo_files()
    yield "demo", cube, QTable.read(stars)["skycoord"], None, {}, False
    jansky = SkyCoord([246.6973, 246.7250], [-24.5042, -24.4819], unit="deg")
    yield "jansky", synthetic_jansky_cube(), jansky, "140 pc", {}, False
    path = SHARED / "sim" / "s5_00015_z_ppv.fits.gz"
    if path.exists():
        stars = QTable.read(path.with_name("s5_00015_z_ppv.ecsv"))["skycoord"][:6]
        tracer = {"tracer": 1e22 * u.cm**-2 / (u.K * u.km / u.s)}
        yield "simulated", path, stars, None, tracer, False
    path = SHARED / "real" / "L1448_13CO_COMPLETE.fits"
    if path.exists():
        yield "l1448", path, L1448_STARS, None, L1448, True


def values(cube, positions, distance, options):
    """Return arrays by name: every product of one cube."""
    distance = options.get("distance", distance)
    maps = stellarssl.moment_maps(cube, **options)
    out = {
        f"moments_{name}": np.asarray(getattr(maps, name), "f4")
        for name in ("moment0", "v_los", "sigma_v", "noise", "moment0_limit", "peak", "n_h")
    }
    out |= {f"moments_error_{name}": np.asarray(e, "f4") for name, e in maps.errors.items()}
    out |= {"moments_detected": maps.detected, "moments_covered": maps.covered}
    tiles = stellarssl.make_tiles(maps, positions, distance=distance)
    out["tiles"] = tiles.maps
    out["features"] = stellarssl.Encoder.from_pretrained().embed(tiles.maps).array
    reading = options | {"distance": distance}
    masses = stellarssl.estimate_mass(cube, positions, **reading)
    out["log_mass"] = np.log10(
        [masses[name].unmasked.to_value(u.solMass) for name in ("mass", "mass_lower", "mass_upper")]
    )
    segmentation = stellarssl.segment(maps, distance=distance)
    out["labels"] = np.asarray(segmentation.labels, "i4")
    return out


def digest(array):
    """Return the checksum of an array's shape, type and bytes."""
    array = np.ascontiguousarray(array)
    kind = f"{array.shape} {array.dtype.str} ".encode()
    return hashlib.sha256(kind + array.tobytes()).hexdigest()


def stored(found, *, private):
    """Return what is written: all arrays, or checksums of those that show the data."""
    kept = {}
    for name, array in found.items():
        shown = name.split("_")[0] not in ("moments", "tiles", "labels", "features")
        kept[name] = array if shown or not private else np.array(digest(array))
    return kept


def compare(name, old, new):
    """Return None if two arrays agree, else how they differ."""
    if old.dtype.kind == "U":
        # features of private data depend on the processor at the level of rounding
        if name == "features" or str(old) == digest(new):
            return None
        return "the checksum differs"
    if old.shape != new.shape:
        return f"shape {new.shape} instead of {old.shape}"
    if name not in TOLERANCE:
        equal = np.equal(old, new)
        if old.dtype.kind == "f":
            equal |= np.isnan(old) & np.isnan(new)
        return None if equal.all() else describe(old, new, ~equal)
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(new - old) <= TOLERANCE[name]) & ~(np.isnan(old) & np.isnan(new))
    return describe(old, new, off) if off.any() else None


def describe(old, new, off):
    """Return how many values differ, and by how much at most."""
    with np.errstate(invalid="ignore"):
        most = np.nanmax(np.abs(new[off].astype("f8") - old[off].astype("f8")), initial=0)
    return f"{off.sum()} of {off.size} values differ, by up to {most:.3g}"


def main():
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="store the present values")
    what.add_argument("--check", action="store_true", help="compare with the stored values")
    parser.add_argument("--only", help="one case: demo, jansky, simulated or l1448")
    parser.add_argument("--folder", type=Path, default=HERE / "golden", help="of stored values")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    failed = False
    for name, cube, positions, distance, reading, private in cases():
        if options.only not in (None, name):
            continue
        path = options.folder / f"{name}.npz"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = values(cube, positions, distance, reading)
        if options.write:
            np.savez_compressed(path, **stored(found, private=private))
            print(f"{name}: {len(found)} arrays written to {path}")
            continue
        with np.load(path) as old:
            lines = {key: compare(key, old[key], found[key]) for key in old.files}
        wrong = {key: line for key, line in lines.items() if line}
        failed |= bool(wrong)
        print(f"{name}: {len(lines) - len(wrong)} of {len(lines)} agree")
        for key, line in wrong.items():
            print(f"  {key}: {line}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
