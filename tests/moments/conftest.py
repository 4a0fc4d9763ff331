"""Cubes whose moments are known."""

import numpy as np
import pytest
from astropy.io import fits


def _header(shape, width, center, beam):
    header = fits.Header()
    axes = (("RA---TAN", -0.01, 52.0, "deg"), ("DEC--TAN", 0.01, 30.0, "deg"))
    axes += (("VRAD", 1e3 * width, 1e3 * center, "m/s"),)
    for i, ((ctype, step, value, unit), n) in enumerate(zip(axes, shape[::-1], strict=True), 1):
        header[f"CTYPE{i}"], header[f"CDELT{i}"], header[f"CUNIT{i}"] = ctype, step, unit
        header[f"CRVAL{i}"], header[f"CRPIX{i}"] = value, (n + 1) // 2
    header["RESTFRQ"], header["BUNIT"] = 110.2013543e9, "K"
    header["BMAJ"] = header["BMIN"] = 0.01 * beam
    header["BPA"] = 0.0
    return header


@pytest.fixture(scope="session")
def make_hdu():
    """Channels of ``width`` km/s (below zero: descending), ``center`` in the middle."""

    def make(values, *, width=0.2, center=0.0, beam=3.0, **cards):
        header = _header(values.shape, width, center, beam)
        header.update(cards)
        return fits.PrimaryHDU(np.asarray(values, np.float32), header)

    return make


@pytest.fixture(scope="session")
def gaussian():
    """Gaussian lines; ``peak``, ``v`` and ``sigma`` are maps or numbers."""

    def make(shape, *, peak, v, sigma, width=0.2, center=0.0):
        n = shape[0]
        axis = center + width * (np.arange(n) + 1 - (n + 1) // 2)
        line = np.exp(-((axis[:, None, None] - v) ** 2) / (2 * sigma**2))
        return np.broadcast_to(peak * line, shape).copy()

    return make


@pytest.fixture
def rng():
    return np.random.default_rng(20261122)


@pytest.fixture
def cloud(rng, gaussian):
    """A round cloud with a velocity gradient in noise of 0.1 K."""
    shape = (64, 48, 56)
    y, x = np.mgrid[: shape[1], : shape[2]]
    peak = 3 * np.exp(-((x - 30) ** 2 + (y - 22) ** 2) / (2 * 9.0**2))
    line = gaussian(shape, peak=peak, v=0.03 * (x - 28), sigma=0.6)
    return (line + rng.normal(0, 0.1, shape)).astype(np.float32)
