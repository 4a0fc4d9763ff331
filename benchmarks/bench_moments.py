"""Moments beside spectral-cube's, bettermoments' and maskmoment's, on a cube of 256 x 256 x 128.

All take turns in one run. bettermoments and maskmoment are skipped where they are not installed.
"""

import contextlib
import importlib
import io
import time
import warnings

import numpy as np
from astropy.io import fits
from spectral_cube import SpectralCube

from benchmarks.cubes import header
from stellarssl import moment_maps, read_cube

SHAPE = (128, 256, 256)
REPEATS = 9


def _values(shape):
    """Return a cloud with a velocity gradient, 15 sigma at its peak, in noise."""
    rng = np.random.default_rng(1)
    n_v, n_y, n_x = shape
    y, x = np.mgrid[:n_y, :n_x]
    center = n_v / 2 + 15 * np.sin(x / 50) + 10 * np.cos(y / 40)
    peak = 3 * np.exp(-((x - n_x / 2) ** 2 + (y - n_y / 2) ** 2) / (2 * (n_x / 4) ** 2))
    line = np.exp(-((np.arange(n_v)[:, None, None] - center) ** 2) / (2 * 5.0**2))
    return (peak * line + rng.normal(0, 0.2, shape)).astype(np.float32)


def _fastest(*calls, repeats=REPEATS):
    """Return the least time of each call, taken in turns so that all meet the same machine."""
    times = np.empty((repeats, len(calls)))
    for row in times:
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            row[i] = time.perf_counter() - start
    return times.min(axis=0)


class Moments:
    """Seconds of each, and how many times faster than spectral-cube's three calls."""

    timeout = 600

    def setup_cache(self):
        values = _values(SHAPE)
        fits.writeto("cube.fits", values, header(SHAPE), overwrite=True)
        np.save("mask.npy", values > 0.5)

    def setup(self):
        warnings.simplefilter("ignore")
        self.mask = np.load("mask.npy")
        self.cube = read_cube("cube.fits")
        self.peer = SpectralCube.read("cube.fits", use_dask=False).with_mask(self.mask)
        self.ours_masked()
        self.ours()

    def ours_masked(self):
        moment_maps(self.cube, mask=self.mask)

    def ours(self):
        moment_maps(self.cube)

    def ours_noise_given(self):
        moment_maps(self.cube, noise="0.2 K")

    def theirs(self):
        self.peer.moment(order=0)
        self.peer.moment(order=1)
        self.peer.linewidth_sigma()

    def read(self):
        np.sum(fits.getdata("cube.fits"))

    def track_times_faster_with_mask(self):
        ours, theirs = _fastest(self.ours_masked, self.theirs)
        return theirs / ours

    def track_times_faster_mask_made(self):
        ours, theirs = _fastest(self.ours, self.theirs)
        return theirs / ours

    def track_share_of_the_noise(self):
        whole, given = _fastest(self.ours, self.ours_noise_given)
        return 1 - given / whole

    def track_over_reading_with_mask(self):
        ours, reading = _fastest(self.ours_masked, self.read)
        return ours / reading


Moments.track_times_faster_with_mask.unit = "times spectral-cube's speed"
Moments.track_times_faster_mask_made.unit = "times spectral-cube's speed"
Moments.track_share_of_the_noise.unit = "of the time with noise and mask made"
Moments.track_over_reading_with_mask.unit = "times numpy.sum over the file"


class Peers:
    """Moments and their errors from a file, mask and noise made: how many times faster.

    bettermoments cuts at 3 sigma of one noise, over all channels; maskmoment grows cores of
    4 sigma down to 2, and writes what it makes, mask and noise included, compressed.
    """

    params = ("bettermoments", "maskmoment")
    param_names = ("peer",)
    timeout = 1200

    def setup_cache(self):
        fits.writeto("cube.fits", _values(SHAPE), header(SHAPE), overwrite=True)

    def setup(self, peer):
        try:
            self.peer = importlib.import_module(peer)
        except ImportError as error:
            raise NotImplementedError(peer) from error  # asv skips it
        warnings.simplefilter("ignore")
        self.ours()

    def ours(self):
        moment_maps("cube.fits")

    def bettermoments(self):
        data, velocity = self.peer.load_cube("cube.fits")
        rms = self.peer.estimate_RMS(data)
        data = data * self.peer.get_threshold_mask(data, clip=3.0, rms=rms)
        for collapse in ("zeroth", "first", "second"):
            getattr(self.peer, f"collapse_{collapse}")(velocity, data, rms)

    def maskmoment(self):
        with contextlib.redirect_stdout(io.StringIO()):
            self.peer.maskmoment("cube.fits", outdir="peer")

    def track_times_faster(self, peer):
        ours, theirs = _fastest(self.ours, getattr(self, peer), repeats=3)
        return theirs / ours


Peers.track_times_faster.unit = "times its speed"
