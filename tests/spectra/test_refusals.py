"""What is refused, and what the message says."""

import astropy.units as u
import numpy as np
import pytest

from stellarssl.exceptions import InputError, MissingInputError
from stellarssl.spectra import source_spectra, spectra_from_arrays

VELOCITY = 0.125 * np.arange(40) * u.km / u.s


@pytest.fixture(scope="module")
def hdu(make_hdu):
    return make_hdu(np.ones((20, 71, 71)))


@pytest.fixture(scope="module")
def star(hdu, at_pixel):
    return at_pixel(hdu, [35, 36], [35, 36])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": "3 km/s"}, "distance"),
        ({"distance": [1, 2, 3] * u.pc}, "one value, or one for each of 2 positions"),
        (
            {"half_width": "3.6 km/s"},
            r"half_width: must be a multiple of 0.25 km/s; got '3.6 km/s'",
        ),
        ({"half_width": "0 km/s"}, "half_width: must be finite and above zero"),
        ({"noise": "3 Jy"}, "noise"),
        ({"noise": "-3 K"}, "noise: must be finite and not negative"),
        ({"noise": np.ones((3, 3)) * u.K}, r"one value or have shape \(71, 71\)"),
        ({"noise": np.full((71, 71), np.nan) * u.K}, "noise: must be finite"),
        ({"efficiency": 1.5}, "efficiency: must be above 0 and at most 1"),
        ({"ids": ["a", "a"]}, "ids: must be 2 different names"),
        ({"memory_limit": "10 kB"}, r"memory_limit: must be at least .* MB"),
    ],
)
def test_options(hdu, star, options, message):
    with pytest.raises(InputError, match=message):
        source_spectra(hdu, star, **({"distance": "140 pc"} | options))


def test_positions(hdu):
    with pytest.raises(InputError, match="positions: must be a SkyCoord"):
        source_spectra(hdu, [(1, 2)], distance="140 pc")


def test_no_distance(hdu, star):
    with pytest.raises(MissingInputError, match="distance"):
        source_spectra(hdu, star)


def test_wide_channels(make_hdu, star):
    coarse = make_hdu(np.ones((20, 71, 71)), width=1.5)
    with pytest.raises(InputError, match=r"cube: must have channels of at most 1 km/s.*1.5 km/s"):
        source_spectra(coarse, star, distance="140 pc")
    source_spectra(make_hdu(np.ones((20, 71, 71)), width=1.0), star, distance="140 pc")


def test_arrays():
    tile = np.ones((40, 9, 9))
    with pytest.raises(InputError, match=r"arrays: must have shape \(n, 40, y, x\)"):
        spectra_from_arrays([tile[:30]], VELOCITY, "0.01 pc")
    with pytest.raises(InputError, match="velocity: must be two or more evenly spaced"):
        spectra_from_arrays([tile], VELOCITY**2 / (u.km / u.s), "0.01 pc")
    with pytest.raises(InputError, match="at most 1 km/s"):
        spectra_from_arrays([tile], 12 * VELOCITY, "0.01 pc")
    with pytest.raises(InputError, match=r"center: must have shape \(1, 2\)"):
        spectra_from_arrays([tile], VELOCITY, "0.01 pc", center=np.zeros((2, 2)))
    with pytest.raises(InputError, match="pixel"):
        spectra_from_arrays([tile], VELOCITY, "1 arcsec")
    with pytest.raises(InputError, match="noise: must be finite and not negative"):
        spectra_from_arrays([tile], VELOCITY, "0.01 pc", noise="-1 K")
    with pytest.raises(InputError, match=r"noise: must be one value or have shape \(1,\)"):
        spectra_from_arrays([tile], VELOCITY, "0.01 pc", noise=[1, 2] * u.K)
