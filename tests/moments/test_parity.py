"""The same numbers as spectral-cube, whatever form a cube has."""

import astropy.units as u
import dask.array as da
import numpy as np
import pytest
from astropy.io import fits
from spectral_cube import SpectralCube

from stellarssl import moment_maps

pytestmark = pytest.mark.filterwarnings("ignore")  # spectral-cube's own

KMS = u.km / u.s


def assert_same(maps, cube, width):
    """Compare with spectral-cube's moments of a masked cube."""
    expected = {
        "moment0": cube.moment(order=0).to_value(u.K * KMS),
        "v_los": cube.moment(order=1).to_value(KMS),
        "sigma_v": cube.linewidth_sigma().to_value(KMS),
    }
    for name, theirs in expected.items():
        ours = getattr(maps, name).value
        finite = np.where(np.isfinite(theirs), theirs, np.nan)
        np.testing.assert_allclose(ours, finite, rtol=1e-5, atol=1e-4 * width, err_msg=name)


def awkward_mask(values, rng):
    """Return a mask with pixels of none, one, few and all channels."""
    mask = values > 0.25
    mask[:, :4] = False
    mask[:, 4:8] = False
    mask[30, 4:8] = True
    mask[:, 8:12] = True
    mask[:, 12:16] = rng.random(mask[:, 12:16].shape) < 0.1
    return mask


@pytest.mark.parametrize("use_dask", [False, True])
@pytest.mark.parametrize("width", [0.2, -0.2])
def test_same_numbers_on_the_same_mask(cloud, rng, make_hdu, use_dask, width):
    mask = awkward_mask(cloud, rng)
    cloud[:, :, :3] = np.nan
    cloud[5:9, 20:30, 20:30] = np.nan
    hdu = make_hdu(cloud, width=width, center=12.0)
    cube = SpectralCube.read(hdu, use_dask=use_dask).with_spectral_unit(KMS)
    mask_there = da.from_array(mask, chunks=(16, 20, 20)) if use_dask else mask
    maps = moment_maps(cube, mask=mask_there)
    assert_same(maps, cube.with_mask(mask), 0.2)


def test_mask_is_anded_with_the_cubes_own(cloud, rng, make_hdu):
    mask = awkward_mask(cloud, rng)
    own = rng.random(cloud.shape) < 0.8
    cube = SpectralCube.read(make_hdu(cloud)).with_mask(own).with_spectral_unit(KMS)
    assert_same(moment_maps(cube, mask=mask), cube.with_mask(mask), 0.2)


def test_sums_of_zero_and_below(make_hdu):
    values = np.zeros((8, 5, 6), np.float32)
    values[2:4, 0] = [[1.0], [-1.0]]  # no sum at all
    values[2:5, 1] = [[1.0], [-3.0], [1.0]]  # below zero
    values[2:5, 2] = [[1.0], [-0.5], [1.0]]  # a negative variance is possible
    values[2:5, 3] = [[-1.0], [3.0], [-1.0]]  # and certain
    mask = np.ones(values.shape, bool)
    cube = SpectralCube.read(make_hdu(values)).with_spectral_unit(KMS)
    maps = moment_maps(cube, mask=mask, noise=0.1 * u.K)
    assert_same(maps, cube.with_mask(mask), 0.2)
    assert np.isnan(maps.sigma_v[3]).all()
    # a sum that is not above zero is no detection
    assert not maps.detected[[0, 1, 4]].any()
    assert maps.detected[[2, 3]].all()


def test_far_from_zero_velocity(cloud, rng, make_hdu):
    mask = cloud > 0.3
    cube = SpectralCube.read(make_hdu(cloud, center=250000.0)).with_spectral_unit(KMS)
    maps = moment_maps(cube, mask=mask, tracer=None)
    near = moment_maps(make_hdu(cloud), mask=mask, tracer=None)
    np.testing.assert_allclose(maps.sigma_v.value, near.sigma_v.value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">f8", ">i2"])
def test_stored_types(cloud, tmp_path, make_hdu, dtype):
    mask = cloud > 0.3
    expected = moment_maps(make_hdu(cloud), mask=mask, noise="0.1 K")
    hdu = make_hdu(cloud)
    path = tmp_path / "cube.fits"
    if dtype == ">i2":
        scaled = fits.PrimaryHDU(cloud, hdu.header)
        scaled.scale("int16", bzero=0.0, bscale=1e-4)
        scaled.writeto(path)
    else:
        fits.writeto(path, cloud.astype(dtype), hdu.header)
    maps = moment_maps(path, mask=mask, noise="0.1 K")
    np.testing.assert_allclose(
        maps.moment0.value, expected.moment0.value, rtol=2e-4 if dtype == ">i2" else 1e-6
    )


def test_beams_that_differ_between_channels(cloud, make_hdu):
    """Each channel has its own factor to K."""
    beams = np.linspace(30.0, 40.0, len(cloud))
    hdu = make_hdu(cloud, BUNIT="Jy/beam")
    for card in ("BMAJ", "BMIN", "BPA"):
        del hdu.header[card]
    hdu.header["CASAMBM"] = True
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("BMAJ", "E", unit="arcsec", array=beams),
            fits.Column("BMIN", "E", unit="arcsec", array=beams),
            fits.Column("BPA", "E", unit="deg", array=0 * beams),
            fits.Column("CHAN", "J", array=np.arange(len(beams))),
            fits.Column("POL", "J", array=np.zeros(len(beams))),
        ],
        name="BEAMS",
    )
    mask = cloud > 0.3
    maps = moment_maps(fits.HDUList([hdu, table]), mask=mask)
    # Jy/beam to K by hand: 1.222e6 / (nu^2 theta^2), nu in GHz, theta in arcsec
    frequency = 110.2013543 * (1 - 0.2 * (np.arange(64) + 1 - 32) / 299792.458)
    kelvin = cloud * (1.2220e6 / frequency**2 / beams**2)[:, None, None]
    moment0 = np.where(mask.any(axis=0), np.sum(kelvin * mask, axis=0) * 0.2, np.nan)
    np.testing.assert_allclose(maps.moment0.value, moment0, rtol=1e-4)
    assert maps.meta["beam_varies"]
