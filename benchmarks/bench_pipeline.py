"""Fifty masses from a cube of 256 x 256 x 128 on disk, in a process of its own, import included."""

import subprocess
import sys
import time

import numpy as np
from astropy.io import fits

from benchmarks.bench_moments import SHAPE, _header, _values

_JOB = """
import numpy as np
import stellarssl
from astropy.coordinates import SkyCoord
rng = np.random.default_rng(0)
positions = SkyCoord(30 + rng.uniform(-0.2, 0.2, 50), 30 + rng.uniform(-0.2, 0.2, 50), unit="deg")
table = stellarssl.estimate_mass("cube.fits", positions, distance="140 pc")
assert len(table) == 50
"""


class Masses:
    """Seconds, with the caches of numba and of the observed library warm."""

    timeout = 1800

    def setup_cache(self):
        values = _values(SHAPE)
        header = _header(SHAPE)
        fits.writeto("cube.fits", values.astype(np.float32), header, overwrite=True)
        self._run()

    def _run(self):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", _JOB], check=True)
        return time.perf_counter() - start

    def track_seconds(self):
        return min(self._run() for _ in range(3))

    track_seconds.unit = "s"
