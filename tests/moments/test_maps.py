"""What the maps say of gas that is known, and that they survive a file."""

import shutil
import subprocess

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from radio_beam import Beam

from stellarssl import MomentMaps, moment_maps
from stellarssl.exceptions import InputError, MissingInputError, OutputExistsError

KMS = u.km / u.s


@pytest.fixture
def maps(cloud, make_hdu):
    return moment_maps(
        make_hdu(cloud, SPECSYS="LSRK"),
        distance="140 pc",
        velocity_range="-6 6 km/s",
        max_recoverable_scale="30 arcsec",
    )


def test_column_velocity_and_dispersion_of_known_gas(gaussian, make_hdu):
    """W = sqrt(2 pi) T sigma = 3.0080 K km/s for 2 K and 0.6 km/s; N = 1e21 W."""
    hdu = make_hdu(gaussian((80, 12, 14), peak=2.0, v=0.33, sigma=0.6))
    maps = moment_maps(hdu, tracer=1e21 * u.cm**-2 / (u.K * KMS))
    np.testing.assert_allclose(maps.n_h.to_value(u.cm**-2), 3.0080e21, rtol=1e-4)
    np.testing.assert_allclose(maps.v_los.to_value(KMS), 0.33, atol=1e-5)
    np.testing.assert_allclose(maps.sigma_v.to_value(KMS), 0.6, rtol=1e-5)
    np.testing.assert_allclose(maps.peak.to_value(u.K), 2.0, rtol=0.01)


def test_instrument(maps):
    """sqrt(kT/m) of 29 u at 10 K is 0.05354 km/s; a channel of 0.2 km/s adds 0.2 / sqrt(12)."""
    expected = np.hypot(0.05354, 0.2 / np.sqrt(12))
    assert maps.sigma_instrument.to_value(KMS) == pytest.approx(expected, rel=1e-3)


def test_errors_are_what_repeated_observations_scatter_by(rng, gaussian, make_hdu):
    """Every pixel is an observation of the same line, over the same mask."""
    shape = (40, 50, 50)
    line = gaussian(shape, peak=2.0, v=0.1, sigma=0.6)
    mask = np.zeros(shape, bool)
    mask[5:34] = True
    maps = moment_maps(make_hdu(line + rng.normal(0, 0.05, shape)), mask=mask)
    for name in ("moment0", "v_los", "sigma_v"):
        scatter = getattr(maps, name).value.std()
        assert np.median(maps.errors[name].value) == pytest.approx(scatter, rel=0.06), name
    assert maps.errors["moment0"].value[0, 0] == pytest.approx(0.05 * 0.2 * np.sqrt(29), rel=0.1)


def test_errors_where_channels_share_their_noise(rng, gaussian, make_hdu):
    shape = (60, 50, 50)
    white = rng.normal(0, 0.1, (62, 50, 50))
    smooth = (white[:-2] + 2 * white[1:-1] + white[2:]) / 4
    mask = np.zeros(shape, bool)
    mask[15:45] = True
    maps = moment_maps(make_hdu(smooth + gaussian(shape, peak=2.0, v=0, sigma=0.6)), mask=mask)
    scatter = maps.moment0.value.std()
    assert np.median(maps.errors["moment0"].value) == pytest.approx(scatter, rel=0.06)


def test_limit_is_three_sigma_over_the_typical_line(maps):
    sigma = maps.noise.value * 0.2 * np.sqrt(maps.meta["line_channels"] * maps.meta["kappa"])
    np.testing.assert_allclose(maps.moment0_limit.value, 3 * sigma, rtol=1e-5)


def test_no_column_without_a_tracer(cloud, make_hdu):
    maps = moment_maps(make_hdu(cloud), tracer=None)
    assert "n_h" not in maps.errors
    with pytest.raises(MissingInputError, match="tracer: must be given for a column"):
        _ = maps.n_h


@pytest.mark.parametrize("unit", ["K (Ta*)", None])
def test_efficiency(cloud, make_hdu, unit):
    hdu = make_hdu(cloud)
    mask = cloud > 0.3
    there = moment_maps(hdu, mask=mask)
    maps = moment_maps(hdu, mask=mask, unit=unit, efficiency=0.5)
    np.testing.assert_allclose(maps.moment0.value, 2 * there.moment0.value, rtol=1e-6)
    np.testing.assert_allclose(maps.noise.value, 2 * there.noise.value, rtol=1e-6)
    np.testing.assert_array_equal(maps.v_los.value, there.v_los.value)


def assert_equal(one, other):
    for name in ("moment0", "v_los", "sigma_v", "noise", "moment0_limit", "peak"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == np.float32
    for name in ("distance", "channel_width", "sigma_instrument", "max_recoverable_scale"):
        assert getattr(one, name) == getattr(other, name)
    assert one.errors.keys() == other.errors.keys()
    for name, error in one.errors.items():
        np.testing.assert_array_equal(error, other.errors[name])
    np.testing.assert_array_equal(one.detected, other.detected)
    np.testing.assert_array_equal(one.covered, other.covered)
    assert one.tracer == other.tracer
    assert one.beam == other.beam
    assert one.meta == other.meta
    for corner in ((0, 0), (20, 3)):
        sky = one.wcs.pixel_to_world(*corner)
        assert other.wcs.pixel_to_world(*corner).separation(sky) < 1e-6 * u.arcsec


@pytest.mark.parametrize("ending", ["fits", "fits.gz"])
def test_file_and_back(maps, tmp_path, ending):
    path = tmp_path / f"moments.{ending}"
    assert maps.write(str(path)) == path
    assert_equal(maps, MomentMaps.read(path))
    with pytest.raises(OutputExistsError, match="overwrite"):
        maps.write(path)
    maps.write(path, overwrite=True)


def test_file_and_back_of_maps_without_beam_and_tracer(cloud, tmp_path, make_hdu):
    hdu = make_hdu(cloud)
    for card in ("BMAJ", "BMIN", "BPA", "RESTFRQ"):
        del hdu.header[card]
    maps = moment_maps(hdu, tracer=None)
    maps.write(tmp_path / "moments.fits")
    assert_equal(maps, MomentMaps.read(tmp_path / "moments.fits"))
    assert maps.beam is None


def test_other_programs_read_the_file(maps, tmp_path):
    path = tmp_path / "moments.fits"
    maps.write(path)
    with fits.open(path) as hdus:
        assert hdus["N_H"].header["BUNIT"] == "cm-2"
        assert hdus["V_LOS"].header["BUNIT"] == "km s-1"
        assert Beam.from_fits_header(hdus["MOMENT0"].header) == maps.beam
        assert WCS(hdus["SIGMA_V"].header).naxis == 2
        hdus.verify("exception")
    if shutil.which("fitsverify") is None:
        pytest.skip("fitsverify is not on this machine")
    said = subprocess.run(["fitsverify", path], capture_output=True, text=True, check=False)
    assert "0 warning(s) and 0 error(s)" in said.stdout, said.stdout


def test_file_of_something_else(tmp_path):
    path = tmp_path / "other.fits"
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(path)
    with pytest.raises(InputError, match=r"path: must be a whole file that MomentMaps\.write"):
        MomentMaps.read(path)
    with pytest.raises(InputError, match="path: must be a file that is there"):
        MomentMaps.read(tmp_path / "none.fits")


@pytest.fixture
def parts():
    """A dust column with a hole and a gap, N2H+ kinematics where it is seen."""
    n_h = np.full((10, 12), 3e22)
    n_h[0], n_h[1] = np.nan, -1e20
    v, sigma = np.full((10, 12), 4.5), np.full((10, 12), 0.3)
    v[5, 5] = np.nan
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.01, "CDELT2": 0.01}
    return {
        "n_h": n_h * u.cm**-2,
        "v_los": v * KMS,
        "sigma_v": 1e3 * sigma * u.m / u.s,
        "wcs": WCS(header),
    }


def test_maps_from_elsewhere(parts, tmp_path):
    errors = {"n_h": np.full((10, 12), 1e21) * u.cm**-2}
    beam = Beam(36 * u.arcsec)
    maps = MomentMaps.from_maps(**parts, errors=errors, distance="140 pc", beam=beam)
    assert maps.detected.sum() == 8 * 12 - 1
    assert maps.covered.sum() == 9 * 12
    np.testing.assert_allclose(maps.n_h.value[maps.detected], 3e22, rtol=1e-6)
    np.testing.assert_allclose(maps.sigma_v.to_value(KMS)[maps.detected], 0.3, rtol=1e-6)
    limit = (maps.moment0_limit * maps.tracer.n_h_per_w).to_value(u.cm**-2)
    np.testing.assert_allclose(limit, 3e21, rtol=1e-6)
    maps.write(tmp_path / "maps.fits")
    again = MomentMaps.read(tmp_path / "maps.fits")
    assert again.tracer == maps.tracer
    np.testing.assert_array_equal(again.n_h, maps.n_h)


def test_maps_from_elsewhere_without_errors(parts):
    maps = MomentMaps.from_maps(**parts)
    limit = (maps.moment0_limit * maps.tracer.n_h_per_w).to_value(u.cm**-2)
    np.testing.assert_allclose(limit, 3e22, rtol=1e-6)


def test_maps_from_elsewhere_that_do_not_fit(parts):
    with pytest.raises(InputError, match=r"v_los: must be a map of shape \(10, 12\)"):
        MomentMaps.from_maps(**parts | {"v_los": np.ones((3, 3)) * KMS})
    with pytest.raises(InputError, match="n_h: must be a quantity convertible to '1 / cm2'"):
        MomentMaps.from_maps(**parts | {"n_h": np.ones((10, 12)) * u.g / u.cm**2})
    with pytest.raises(InputError, match="errors: must be of n_h, v_los, sigma_v"):
        MomentMaps.from_maps(**parts, errors={"mass": 1})
    with pytest.raises(InputError, match="n_h: must be above zero somewhere"):
        MomentMaps.from_maps(**parts | {"n_h": -parts["n_h"][2:3].repeat(10, axis=0)})
