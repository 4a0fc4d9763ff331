"""Segments of large maps: time, and memory beyond maps, encoder and library; a process a map."""

import json
import subprocess
import sys

_JOB = """
import json, sys, time
from pathlib import Path
import astropy.units as u
import numpy as np
from astropy.wcs import WCS
from scipy import ndimage
from stellarssl import Encoder, MomentMaps, PCASegmenter, ReferenceLibrary

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

n = int(sys.argv[1])
sky = WCS(naxis=2)
sky.wcs.ctype, sky.wcs.crval = ["RA---TAN", "DEC--TAN"], [52, 31]
sky.wcs.crpix, sky.wcs.cdelt = [n / 2, n / 2], [-1e-3, 1e-3]
coarse = np.random.default_rng(0).normal(size=(3, n // 32 + 1, n // 32 + 1)).astype("f4")
a, b, c = ndimage.zoom(coarse, (1, 32, 32), order=1)[:, :n, :n]
maps = MomentMaps.from_maps(
    n_h=10 ** (22 + 0.4 * a) / u.cm**2, v_los=b * u.km / u.s,
    sigma_v=(0.2 + abs(c)) * u.km / u.s, wcs=sky,
)
encoder, library = Encoder.from_pretrained(), ReferenceLibrary.default()
encoder.patch_tokens(library.maps[:64])
segmenter = PCASegmenter(encoder, library, step=32)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew, from what is held now
before, start = status("VmRSS"), time.perf_counter()
segmenter.segment(maps)
print(json.dumps([time.perf_counter() - start, status("VmHWM") - before]))
"""


class Segments:
    """A map of n x n pixels, all of it gas, windows 32 pixels apart."""

    params = (1024, 2048, 4096)
    param_names = ("n",)
    timeout = 3600

    def setup_cache(self):
        return {n: self._run(n) for n in self.params}

    def _run(self, n):
        command = [sys.executable, "-c", _JOB, str(n)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    def track_seconds(self, measured, n):
        return measured[n][0]

    def track_bytes_per_pixel(self, measured, n):
        return measured[n][1] / n**2


Segments.track_seconds.unit = "s"
Segments.setup_cache.timeout = 3600
Segments.track_bytes_per_pixel.unit = "bytes a pixel, 28 of them returned"
