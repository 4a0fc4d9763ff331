"""Masses from cubes on disk, each in a process of its own, import included."""

import subprocess
import sys
import time

import numpy as np
from astropy.io import fits

from benchmarks.bench_moments import SHAPE, _values
from benchmarks.cubes import header as cube_header

_JOB = """
import numpy as np
import stellarssl
from astropy.coordinates import SkyCoord
rng = np.random.default_rng(0)
positions = SkyCoord(30 + rng.uniform(-0.2, 0.2, 50), 30 + rng.uniform(-0.2, 0.2, 50), unit="deg")
table = stellarssl.estimate_mass("cube.fits", positions, distance="140 pc")
assert len(table) == 50
"""


_BIG = (500, 1400, 1430)  # 4 GB
_PROFILED = """
import numpy as np
import stellarssl
from astropy.coordinates import SkyCoord
rng = np.random.default_rng(0)
positions = SkyCoord(30 + rng.uniform(-1, 1, 1000), 30 + rng.uniform(-1, 1, 1000), unit="deg")
with stellarssl.profile() as stages:
    stellarssl.estimate_mass("big.fits", positions, distance="140 pc")
other = stages.seconds.pop("other")
print(stages)
print(1 + other / sum(stages.seconds.values()))
"""


class Stages:
    """A thousand masses from a cube of 4 GB: the whole over the sum of its stages."""

    timeout = 3600

    def setup_cache(self):
        header = cube_header(_BIG)
        values = _values((64, 256, 256)).astype(">f4")
        stream = fits.StreamingHDU("big.fits", header)
        for v in range(_BIG[0]):
            plane = values[v % 64]
            stream.write(np.tile(plane, (6, 6))[: _BIG[1], : _BIG[2]])
        stream.close()

    def track_whole_over_stages(self):
        command = [sys.executable, "-c", _PROFILED]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        sys.stderr.write(done.stdout)
        return float(done.stdout.splitlines()[-1])

    track_whole_over_stages.unit = "times the sum of the stages"


class Masses:
    """Fifty masses, 256 x 256 x 128: seconds, the caches of numba and the library warm."""

    timeout = 1800

    def setup_cache(self):
        values = _values(SHAPE)
        header = cube_header(SHAPE)
        fits.writeto("cube.fits", values.astype(np.float32), header, overwrite=True)
        self._run()

    def _run(self):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", _JOB], check=True)
        return time.perf_counter() - start

    def track_seconds(self):
        return min(self._run() for _ in range(3))

    track_seconds.unit = "s"
