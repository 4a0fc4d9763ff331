"""Masks, noise and footprints from FITS files are as good as arrays."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from stellarssl import moment_maps
from stellarssl.exceptions import InputError
from stellarssl.moments import MomentOptions


def write(path, values, **cards):
    fits.PrimaryHDU(values, fits.Header(cards)).writeto(path)
    return str(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_mask_from_a_file(cloud, make_hdu, tmp_path, dtype):
    hdu, mask = make_hdu(cloud), cloud > 0.5
    path = write(tmp_path / "mask.fits", mask[None].astype(dtype))
    expected = moment_maps(hdu, mask=mask).moment0
    np.testing.assert_array_equal(moment_maps(hdu, mask=path).moment0, expected)


@pytest.mark.parametrize("shape", [(48, 56), (64, 48, 56)])
def test_noise_from_a_file(cloud, make_hdu, tmp_path, shape):
    hdu = make_hdu(cloud)
    noise = np.random.default_rng(1).uniform(0.1, 0.2, shape).astype("f4")
    path = write(tmp_path / "noise.fits", noise * 1000, BUNIT="mK")
    expected = moment_maps(hdu, noise=noise * u.K).noise
    np.testing.assert_allclose(moment_maps(hdu, noise=path).noise, expected, rtol=1e-6)


def test_a_footprint_from_a_file(cloud, make_hdu, tmp_path):
    hdu, footprint = make_hdu(cloud), np.zeros((48, 56), bool)
    footprint[20:30, 20:30] = True
    path = write(tmp_path / "footprint.fits", footprint.astype("u1"))
    expected = moment_maps(hdu, footprint=footprint).covered
    np.testing.assert_array_equal(moment_maps(hdu, footprint=path).covered, expected)


def test_files_that_cannot_be_used(cloud, make_hdu, tmp_path):
    hdu = make_hdu(cloud)
    twos = write(tmp_path / "twos.fits", np.full(cloud.shape, 2, "u1"))
    bare = write(tmp_path / "bare.fits", np.ones((48, 56), "f4"))
    text = tmp_path / "text.fits"
    text.write_text("no image")
    for options, match in (
        ({"mask": twos}, "mask: must hold zeros and ones only; got '.*twos.fits'"),
        ({"mask": bare}, "mask: must be a boolean array of the cube's shape"),
        ({"mask": text}, "mask: must be a FITS file that holds an image; got '.*text.fits'"),
        ({"noise": bare}, r"noise: must state its unit in the header \(BUNIT\)"),
        ({"footprint": tmp_path / "none.fits"}, "footprint: file not found; got '.*none.fits'"),
    ):
        with pytest.raises(InputError, match=match):
            moment_maps(hdu, **options)


def test_provenance_names_arrays_by_their_content(tmp_path):
    mask = np.zeros((2, 3, 4), bool)
    spelled = [MomentOptions(mask=each).canonical()["mask"] for each in (mask, mask.copy(), ~mask)]
    assert spelled[0] == spelled[1] != spelled[2]
    files = [write(tmp_path / name, mask.astype("u1")) for name in ("a.fits", "b.fits")]
    first, second = (MomentOptions(mask=file).canonical()["mask"] for file in files)
    assert first == second
