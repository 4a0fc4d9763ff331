"""Measure how good masses are for each beam, noise level and field size; write the shipped table.

    python scripts/make_calibration.py

For each setting the forest is fitted on all simulations but one and scored on that one. The table
is written after each beam; `--resume` goes on with what is there.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
from astropy.table import Table

from stellarssl.library import PPVTiles, Telescope, observed_rows
from stellarssl.masses.calibration import CALIBRATION_FILE, calibrate
from stellarssl.observe import Observation
from stellarssl.tiles import RADII

BEAMS = (0.0, 3.0, 6.0, 12.0, 24.0)  # tile pixels
SNR = (None, 31.6, 10.0, 4.0)
MASKED = ((3.5, 14.0), (7.0, 14.0))  # the core is not used
PRIORS = ("library", "flat")
DIGITS = 4


def settings():
    """List beams, S/N, radii and whether there are spectra.

    Behind the widest beam fewer settings suffice, since little skill is left.
    """
    for beam in BEAMS:
        widest = beam == BEAMS[-1]
        for snr in SNR[::2] if widest else SNR:
            for radii in RADII[:1] if widest else (*RADII, *MASKED):
                for lines in (True, False):
                    yield beam, snr, radii, lines


def measure(tiles, beam, snr, radii, lines):
    """Return the table's rows for one setting."""
    telescope = Telescope(Observation(beam, 0.0, 0.125, 0.0, 0.0), snr, radii, lines=lines)
    found = calibrate(observed_rows(tiles, telescope), PRIORS)
    place = {
        "lines": lines,
        "beam_pixels": beam,
        "snr": np.inf if snr is None else snr,
        "radius_min": radii[0],
        "radius_max": radii[1],
    }
    return [{"prior": prior} | place | asdict(values) for prior, values in found.items()]


def main():
    """Measure all settings that are not in the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=CALIBRATION_FILE)
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    options = parser.parse_args()
    tiles = PPVTiles.default()
    rows = []
    if options.resume and options.output.is_file():
        rows = [dict(zip(row.colnames, row, strict=True)) for row in Table.read(options.output)]
    key = ("beam_pixels", "snr", "radius_min", "radius_max", "lines")
    done = {tuple(row[name] for name in key) for row in rows}
    for beam, snr, radii, lines in settings():
        if (beam, np.inf if snr is None else snr, *radii, lines) in done:
            continue
        rows += measure(tiles, beam, snr, radii, lines)
        last = rows[-2]
        print(beam, snr, radii, lines, f"R2 {last['r2_simulation']:.3f}", flush=True)
        table = Table(rows)
        for name in ("r2_simulation", "rms", "rms_mean", "typical_variance", "q_68", "q_95"):
            table[name].info.format = f".{DIGITS}f"
            table[name] = np.round(table[name], DIGITS)
        table.meta["library_sha256"] = tiles.sha256
        table.write(options.output, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
