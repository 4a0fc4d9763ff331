"""Small cubes whose every value is known."""

import numpy as np
import pytest
from astropy.io import fits

REST = 110.2013543e9
SHAPE = (6, 5, 7)


def make_header(spectral=None, **cards):
    """A TAN cube of 13CO in K; ``spectral`` replaces the third axis' cards."""
    header = fits.Header()
    sky = {"CTYPE1": "RA---TAN", "CRVAL1": 52.0, "CDELT1": -0.01, "CRPIX1": 4.0, "CUNIT1": "deg"}
    sky |= {"CTYPE2": "DEC--TAN", "CRVAL2": 31.0, "CDELT2": 0.01, "CRPIX2": 3.0, "CUNIT2": "deg"}
    line = {"CTYPE3": "VRAD", "CRVAL3": 1000.0, "CDELT3": 200.0, "CRPIX3": 1.0, "CUNIT3": "m/s"}
    rest = {"RESTFRQ": REST, "SPECSYS": "LSRK", "RADESYS": "ICRS", "BUNIT": "K"}
    beam = {"BMAJ": 46 / 3600, "BMIN": 46 / 3600, "BPA": 0.0}
    for name, value in (
        sky | (line if spectral is None else spectral) | rest | beam | cards
    ).items():
        if value is not None:
            header[name] = value
    return header


@pytest.fixture
def values():
    """Values that tell each axis apart, K."""
    v, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (100 * v + 10 * y + x).astype(np.float32)


@pytest.fixture
def write(tmp_path, values):
    """A function that writes a cube and returns its path."""

    def write(data=None, name="cube.fits", spectral=None, hdus=(), **cards):
        path = tmp_path / name
        data = values if data is None else data
        primary = fits.PrimaryHDU(data, make_header(spectral, **cards))
        fits.HDUList([primary, *hdus]).writeto(path)
        return path

    return write
