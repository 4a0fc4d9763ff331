"""Spectra in rings around many sources."""

import time

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from benchmarks.cubes import header
from stellarssl.spectra import source_spectra

SHAPE = (64, 512, 512)
N_SOURCES = 1000


class Spectra:
    """Seconds to measure a thousand sources in a cube of 512 x 512 x 64."""

    def setup(self):
        """Make a cube of noise and a line, and positions."""
        rng = np.random.default_rng(1)
        line = np.exp(-((np.arange(SHAPE[0]) - 32.0) ** 2) / 50)[:, None, None]
        values = (line + rng.normal(0, 0.2, SHAPE)).astype(np.float32)
        self.cube = fits.PrimaryHDU(values, header(SHAPE))
        pixels = rng.uniform(0, SHAPE[1], (2, N_SOURCES))
        self.positions = WCS(self.cube.header).celestial.pixel_to_world(*pixels)

    def track_seconds(self):
        """Return the time of one call."""
        start = time.perf_counter()
        source_spectra(self.cube, self.positions, distance="140 pc")
        return time.perf_counter() - start

    track_seconds.unit = "s"
