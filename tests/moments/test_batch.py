"""Moments of many small cubes at once are those that moment_maps computes for each of them."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from stellarssl import moment_maps
from stellarssl.exceptions import InputError
from stellarssl.moments import cube_moments

VELOCITY = (np.arange(60) - 29.5) * 0.125
BEAM = 3.25  # pixels


def small_cubes(rms):
    """Three cubes with a clump of gas and a line whose center moves across it."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:24, :24]
    center = 0.1 * (x - 12)
    clump = np.exp(-((x - 11) ** 2 + (y - 13) ** 2) / (2 * 5.0**2))
    cube = 4 * clump * np.exp(-((VELOCITY[:, None, None] - center) ** 2) / (2 * 0.4**2))
    noise = rng.standard_normal((3, *cube.shape)) * np.asarray(rms)[:, None, None, None]
    return (cube + noise).astype("f4")


def as_hdu(cube):
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "VRAD", "CUNIT3": "km/s",
            "CDELT1": -0.001, "CDELT2": 0.001, "CDELT3": 0.125, "CRVAL3": VELOCITY[0],
            "CRPIX3": 1.0, "BUNIT": "K", "BMAJ": 0.001 * BEAM, "BMIN": 0.001 * BEAM,
        }
    )  # fmt: skip
    return fits.PrimaryHDU(cube, header)


def test_moments_are_those_of_moment_maps():
    rms = np.array([0.1, 0.3, 0.5])
    cubes = small_cubes(rms)
    moments = cube_moments(cubes, rms, VELOCITY, beam_pixels=BEAM)
    for i, level in enumerate(rms):
        maps = moment_maps(as_hdu(cubes[i]), tracer=None, noise=level * u.K)
        assert_array_equal(moments.detected[i], maps.detected)
        for name in ("moment0", "v_los", "sigma_v"):
            found = moments.images[name][i][maps.detected]
            assert_allclose(found, getattr(maps, name)[maps.detected].value, rtol=1e-4, atol=1e-5)
        assert_allclose(moments.limit[i], np.nanmedian(maps.moment0_limit.value), rtol=1e-5)


def test_moments_without_noise_are_those_of_the_line():
    moments = cube_moments(small_cubes(np.zeros(3)), np.zeros(3), VELOCITY, beam_pixels=BEAM)
    assert moments.detected.all()
    y, x = np.mgrid[:24, :24]
    clump = np.exp(-((x - 11) ** 2 + (y - 13) ** 2) / (2 * 5.0**2))
    assert_allclose(moments.images["moment0"][0], 4 * clump * 0.4 * np.sqrt(2 * np.pi), rtol=1e-4)
    assert_allclose(moments.images["v_los"][1], 0.1 * (x - 12), atol=1e-3)
    assert_allclose(moments.images["sigma_v"][2], 0.4, rtol=1e-2)


def test_cubes_of_noise_alone_are_not_detected():
    rms = np.full(3, 1.0)
    cubes = np.random.default_rng(1).standard_normal((3, 60, 24, 24)).astype("f4")
    moments = cube_moments(cubes, rms, VELOCITY, beam_pixels=BEAM)
    assert moments.detected.mean() < 0.02
    assert np.isnan(moments.images["moment0"][~moments.detected]).mean() > 0.98


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cubes": np.zeros((60, 24, 24))}, r"cubes: must have shape \(n, v, y, x\)"),
        ({"velocity": VELOCITY[1:]}, "velocity: must hold one velocity for each of the 60"),
        ({"rms": np.array([0.1, -1.0, 0.1])}, "rms: must hold 3 values that are not negative"),
        ({"rms": np.array([0.1])}, "rms: must hold 3 values that are not negative"),
    ],
)
def test_bad_values_are_refused(changes, message):
    arguments = {"cubes": small_cubes(np.ones(3)), "rms": np.ones(3), "velocity": VELOCITY}
    with pytest.raises(InputError, match=message):
        cube_moments(**(arguments | changes), beam_pixels=BEAM)
