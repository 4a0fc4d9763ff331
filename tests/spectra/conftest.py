"""Cubes whose spectra in rings can be computed by hand."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

TILE_PIXEL = 0.0078125  # pc
DISTANCE = 140.0  # pc


@pytest.fixture(scope="session")
def make_hdu():
    """A cube around (52, 30) deg; ``pixel`` is the side of a pixel in tile pixels at 140 pc."""

    def make(values, *, pixel=1.0, width=0.1, center=0.0, **cards):
        header = fits.Header()
        side = np.degrees(pixel * TILE_PIXEL / DISTANCE)
        axes = (("RA---TAN", -side, 52.0, "deg"), ("DEC--TAN", side, 30.0, "deg"))
        axes += (("VRAD", 1e3 * width, 1e3 * center, "m/s"),)
        for i, ((ctype, step, value, unit), n) in enumerate(
            zip(axes, values.shape[::-1], strict=True), 1
        ):
            header[f"CTYPE{i}"], header[f"CDELT{i}"], header[f"CUNIT{i}"] = ctype, step, unit
            header[f"CRVAL{i}"], header[f"CRPIX{i}"] = value, (n + 1) / 2
        header["RESTFRQ"], header["BUNIT"] = 110.2013543e9, "K"
        header["BMAJ"] = header["BMIN"] = 2 * side
        header["BPA"] = 0.0
        header.update(cards)
        return fits.PrimaryHDU(np.asarray(values, np.float32), header)

    return make


@pytest.fixture(scope="session")
def gaussian():
    """Gaussian lines (v, y, x), averaged over channels; ``v`` and ``sigma`` are maps or numbers."""

    def make(shape, *, peak=1.0, v=0.0, sigma=0.5, width=0.1, center=0.0):
        axis = center + width * (np.arange(shape[0]) - (shape[0] - 1) / 2)
        fine = axis[:, None] + width * (np.arange(9) - 4) / 9
        cube = sum(np.exp(-((part[:, None, None] - v) ** 2) / (2 * sigma**2)) for part in fine.T)
        return np.broadcast_to(peak * cube / 9, shape).copy()

    return make


@pytest.fixture(scope="session")
def at_pixel():
    """The sky position of pixels (x, y)."""

    def make(hdu, x, y):
        return SkyCoord(WCS(hdu.header).celestial.pixel_to_world(x, y))

    return make


@pytest.fixture
def rng():
    return np.random.default_rng(20261128)
