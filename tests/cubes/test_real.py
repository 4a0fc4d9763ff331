"""Other people's cubes: each is read right, or refused with one sentence."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose, assert_array_equal
from spectral_cube import SpectralCube

from stellarssl.cubes import read_cube
from stellarssl.exceptions import InputError, MissingInputError, StellarSSLWarning
from stellarssl.moments import MomentOptions
from stellarssl.tracers import get_tracer

L1448 = {"unit": "K (Ta*)", "beam": "46 arcsec", "rest_value": "110.201354 GHz"}


def test_l1448_asks_for_all_three_in_one_sentence(real_cubes):
    with pytest.raises(MissingInputError) as caught:
        read_cube(real_cubes / "L1448_13CO_COMPLETE.fits")
    assert str(caught.value) == (
        "unit, beam, rest_value: must be given, as "
        "L1448_13CO_COMPLETE.fits states no brightness unit, no beam and no rest frequency of "
        "the line (unit=, beam=, rest_value=)"
    )


def test_l1448(real_cubes):
    cube = read_cube(real_cubes / "L1448_13CO_COMPLETE.fits", **L1448, distance="288 pc")
    assert cube.shape == (53, 105, 105)
    # CRVAL3 + (1 - CRPIX3) CDELT3
    assert cube.velocity[0] == pytest.approx((-9959.44378305 + 188 * 66.42361) / 1e3, abs=1e-9)
    assert cube.channel_width.to_value("km/s") == pytest.approx(0.06642361)
    assert (cube.temperature_scale, cube.specsys, cube.velocity_convention) == (
        "T_A*",
        "LSRK",
        "optical",
    )
    stars = SkyCoord(
        ["03:25:36.4 +30:45:20", "03:25:38.9 +30:44:05", "03:25:22.4 +30:45:13"],
        unit=("hourangle", "deg"),
    )
    x, y = cube.wcs.world_to_pixel(stars)
    assert np.all((x > 0) & (x < 104) & (y > 0) & (y < 104))
    assert get_tracer("auto", rest_value=cube.rest_value).name == "13CO(1-0)"


def test_nh3(real_cubes):
    cube = read_cube(real_cubes / "NH3_11_EVLA.fits")
    assert cube.shape == (380, 20, 20)
    assert cube.data.dtype == np.dtype(">f8")
    assert_allclose(cube.kelvin_factor, 1)
    beam = [cube.beam.major.to_value(u.arcsec), cube.beam.minor.to_value(u.arcsec)]
    assert_allclose(beam, [3.95, 2.87], atol=0.005)
    with pytest.raises(MissingInputError, match=r"no known line is at 23\.6945 GHz: .*tracer="):
        get_tracer("auto", rest_value=cube.rest_value)


def test_ngc4047(real_cubes):
    cube = read_cube(real_cubes / "NGC4047_CO_EDGE_CARMA.fits.gz")
    assert cube.shape == (44, 128, 128)
    assert_allclose(cube.velocity, 2980 + 20 * np.arange(44))
    nu = 115.271204 * (1 - cube.velocity / 299792.458)
    assert_allclose(cube.kelvin_factor, 1.2222e6 / (nu**2 * 49), rtol=2e-4)
    assert np.isnan(np.asarray(cube.data)).mean() == pytest.approx(0.37, abs=0.005)
    assert get_tracer("auto", rest_value=cube.rest_value).name == "12CO(1-0)"
    with pytest.raises(InputError, match=r"unit: must be a brightness.*got 'GAIN'"):
        read_cube(real_cubes / "NGC4047_CO_EDGE_CARMA_gain.fits.gz")


def test_ngc6946(real_cubes):
    path = real_cubes / "NGC6946_HI_WSRT.fits"
    repairs = pytest.warns(StellarSSLWarning, match="CUNIT1 = 'DEGREE' was read as 'deg'")
    with repairs, pytest.raises(MissingInputError, match=r"FREQ0 = 1420405758.*rest_value="):
        read_cube(path)
    with repairs:
        cube = MomentOptions(tracer="HI").open(path)
    assert cube.shape == (101, 100, 100)
    assert_allclose(cube.velocity, -243 + 4.199999809 * (21 + np.arange(101)))
    assert cube.specsys == "BARYCENT"
    # NGC 6946 is at 20:34:52.3 +60:09:14 and all over this map.
    x, y = cube.wcs.world_to_pixel(SkyCoord("20:34:52.3 +60:09:14", unit=("hourangle", "deg")))
    assert_allclose([x, y], 50, atol=2)
    assert_allclose(cube.kelvin_factor, 606e3 / (65.6 * 63.6), rtol=0.01)  # NRAO's, for HI
    assert get_tracer("auto", rest_value=cube.rest_value).name == "HI"


def test_orion_kl(real_cubes):
    cube = read_cube(real_cubes / "OrionKL_methanol_ALMA_SV.fits")
    assert cube.shape == (41, 100, 100)
    assert cube.velocity[0] == pytest.approx(-5.429744948281)  # ALTRVAL, written by CASA
    assert cube.channel_width.to_value("km/s") == pytest.approx(
        488.3361 / 229759e3 * 299792.458, rel=1e-4
    )
    assert np.all(np.diff(cube.velocity) > 0)
    with pytest.raises(MissingInputError, match=r"no known line is at 229\.759 GHz"):
        get_tracer("auto", rest_value=cube.rest_value)


def test_gass(real_cubes):
    path = real_cubes / "GASS_HI_295-41.fits.gz"
    with pytest.warns(StellarSSLWarning, match="CUNIT3 = 'M/S' was read as 'm s-1'"):
        cube = read_cube(path)
    assert cube.shape == (1201, 13, 13)
    assert cube.beam is None
    assert cube.wcs.pixel_to_world(6, 6).l.deg == pytest.approx(295)
    kelvin = np.asarray(cube.data) * cube.kelvin_factor[:, None, None]
    column = 1.823e18 * kelvin * cube.channel_width.value
    galaxy = np.abs(cube.velocity) < 60
    stream = (cube.velocity > 90) & (cube.velocity < 330)
    medians = [np.median(column[part].sum(axis=0)) for part in (galaxy, stream, slice(None))]
    assert_allclose(medians, [3.7e20, 6.9e20, 1.07e21], rtol=0.01)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["NH3_11_EVLA.fits", "OrionKL_methanol_ALMA_SV.fits"])
def test_spectral_cube_reads_the_same(real_cubes, name):
    """Kelvin and velocity by spectral-cube's own route."""
    other = SpectralCube.read(real_cubes / name)
    mine = read_cube(real_cubes / name)
    axis = other.with_spectral_unit(u.km / u.s, velocity_convention="radio").spectral_axis
    assert_allclose(mine.velocity, axis.value, atol=1e-6)
    kelvin = other.to(u.K).unmasked_data[:].value
    assert_allclose(np.asarray(mine.data) * mine.kelvin_factor[:, None, None], kelvin, rtol=1e-5)


def test_simulated_cube(simulations):
    cube = read_cube(next(iter(sorted(simulations.glob("s4_*_x_ppv.fits.gz")))))
    assert cube.shape == (64, 256, 256)
    assert cube.distance == 140 * u.pc
    assert cube.distance_origin == "header"
    assert_array_equal(cube.velocity, -3.9375 + 0.125 * np.arange(64))
    pixel = np.radians(abs(cube.wcs.wcs.cdelt[0])) * 140
    assert pixel == pytest.approx(0.015625, rel=1e-6)
