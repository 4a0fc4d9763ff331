"""Make the demo cube: part of a simulated box as C18O(1-0) would show it, and its true stars.

python scripts/make_demo.py [--simulations DIR] [--output DIR]
"""

import argparse
import gzip
import io
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable

from stellarssl._utils.output import atomic_path
from stellarssl.observe import observe_cube
from stellarssl.tracers import get_tracer

SIMULATIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "sim"
OUTPUT = Path(__file__).resolve().parents[1] / "stellarssl" / "data" / "demo"

BOX = "s4_00007_x_ppv"  # eight stars below 8 Msun, and none above, in the part below
X0, Y0, SIZE = 16, 64, 128
MARGIN = 16  # pixels, 0.25 pc: the tile of a star that is listed lies on the map
BEAM_PIXELS = 3.0
RMS = 0.1  # K
STEP = 0.01  # K: a tenth of the noise, which adds 0.04 % to it
SEED = 20261122


def observed(box: fits.PrimaryHDU) -> np.ndarray:
    """See the whole box, whose opposite edges meet, in C18O(1-0) at 10 K."""
    dv = box.header["CDELT3"] * u.m / u.s
    per_channel = (box.header["NHPERW"] * u.cm**-2 / (u.K * u.km / u.s) * u.K * dv).to(u.cm**-2)
    return observe_cube(
        box.data * per_channel.value,
        get_tracer("C18O(1-0)", excitation_temperature=10 * u.K),
        channel_width=dv,
        beam_pixels=BEAM_PIXELS,
        rms=RMS * u.K,
        seed=SEED,
    )


def demo_hdu(box: fits.PrimaryHDU) -> fits.PrimaryHDU:
    """Cut the part out, in steps of a tenth of the noise, with a header that says what it is."""
    brightness = observed(box)[:, Y0 : Y0 + SIZE, X0 : X0 + SIZE]
    hdu = fits.PrimaryHDU(np.round(brightness / STEP).astype(">i2"))
    header, old = hdu.header, box.header
    axes = ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT")
    for card in [f"{name}{axis}" for axis in (1, 2, 3) for name in axes]:
        header[card] = old[card]
    header["CRPIX1"] -= X0
    header["CRPIX2"] -= Y0
    beam = BEAM_PIXELS * old["CDELT2"]
    tracer = get_tracer("C18O(1-0)")
    for key, value, comment in (
        ("BSCALE", STEP, ""),
        ("BZERO", 0.0, ""),
        ("BUNIT", "K", "main-beam brightness temperature"),
        ("RADESYS", "ICRS", ""),
        ("SPECSYS", "LSRK", ""),
        ("RESTFRQ", tracer.rest_frequency.to_value(u.Hz), "[Hz] C18O J=1-0"),
        ("BMAJ", beam, "[deg] 3 pixels"),
        ("BMIN", beam, "[deg]"),
        ("BPA", 0.0, "[deg]"),
        ("DISTANCE", old["DISTANCE"], "[pc] made up"),
        ("OBJECT", "simulated cloud", ""),
        ("ORIGIN", "stellarssl scripts/make_demo.py", ""),
    ):
        header[key] = (value, comment)
    for line in (
        "SIMULATED: no telescope's data. Position, distance, LSR are made up.",
        f"From {BOX} (RAMSES: MHD, self-gravity, sinks),",
        "a periodic box of 4 pc with 3000 Msun;",
        f"time {old['TIMEMYR']:.3f} Myr, seen along {old['LOSAXIS']} (a mirror image of the sky),",
        f"pixels {X0}:{X0 + SIZE}, {Y0}:{Y0 + SIZE} (x, y; 0-based) of the box.",
        "C18O in LTE at 10 K with its opacity, H2/C18O = 5.9e6.",
        f"Gaussian beam of {BEAM_PIXELS:g} pixels.",
        f"Noise of {RMS} K per channel, correlated over the beam.",
        "Line widths: thermal, 0.054 km/s, and the motions of the gas.",
        "No calibration error. True stars: c18o_s4_stars.ecsv",
    ):
        header.add_history(line)
    return hdu


def true_stars(table: QTable) -> QTable:
    """List the stars of the part, those whose tile lies on it."""
    inside = np.ones(len(table), dtype=bool)
    for name, start in (("x_pix", X0), ("y_pix", Y0)):
        offset = np.asarray(table[name]) - start
        inside &= (offset > MARGIN - 0.5) & (offset < SIZE - MARGIN - 0.5)
    stars = table[inside]["id", "skycoord", "mass", "age", "v_lsr"]
    stars.meta = {
        "cube": "c18o_s4.fits.gz",
        "description": "Sink particles of the simulation that the demo cube was made of. The mass "
        "is all that a sink accreted, an upper limit to that of a star.",
    }
    return stars


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=Path, default=SIMULATIONS)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    with fits.open(options.simulations / f"{BOX}.fits.gz") as hdus:
        hdu = demo_hdu(hdus[0])
    buffer = io.BytesIO()
    # the values are steps already: BSCALE must not be applied to them again
    hdu.writeto(buffer, output_verify="exception")
    with atomic_path(options.output / "c18o_s4.fits.gz", overwrite=True) as path:
        path.write_bytes(gzip.compress(buffer.getvalue(), compresslevel=9, mtime=0))
    stars = true_stars(QTable.read(options.simulations / f"{BOX}.ecsv"))
    with atomic_path(options.output / "c18o_s4_stars.ecsv", overwrite=True) as path:
        stars.write(path, format="ascii.ecsv")
    print(stars)


if __name__ == "__main__":
    main()
