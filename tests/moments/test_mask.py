"""What counts as signal, and that it does not depend on how the cube is cut."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

from stellarssl import moment_maps
from stellarssl.moments.signal import ABOVE_ZERO, BROAD, CORE, grow, link

NAMES = ("moment0", "v_los", "sigma_v", "peak", "noise")


def assert_identical(one, other, view=(slice(None), slice(None))):
    for name in NAMES:
        np.testing.assert_array_equal(
            getattr(one, name).value, getattr(other, name).value[view], err_msg=name
        )
    np.testing.assert_array_equal(one.detected, other.detected[view])
    for name, error in one.errors.items():
        np.testing.assert_array_equal(error.value, other.errors[name].value[view])


@pytest.mark.parametrize("beam", [1.5, 3.0, 4.7])
def test_independent_of_blocks_and_threads(cloud, make_hdu, beam):
    hdu = make_hdu(cloud, beam=beam)
    whole = moment_maps(hdu, n_threads=1)
    for kilobytes, n_threads in ((100, 1), (200, 3), (1000, 2)):
        limit = kilobytes * (1 + beam) * u.kbyte
        assert_identical(moment_maps(hdu, memory_limit=limit, n_threads=n_threads), whole)


def test_independent_of_the_cutout(cloud, make_hdu):
    """With the noise known, only what is nearer to the edge than a beam may differ."""
    header = make_hdu(cloud).header
    whole = moment_maps(make_hdu(cloud), noise="0.1 K")
    rows, columns = slice(5, 41), slice(9, 52)
    cut = fits.PrimaryHDU(cloud[:, rows, columns], header)
    cut.header["CRPIX1"] -= columns.start
    cut.header["CRPIX2"] -= rows.start
    part = moment_maps(cut, noise="0.1 K")
    inner = (slice(3, -3), slice(3, -3))
    for name in NAMES:
        np.testing.assert_array_equal(
            getattr(part, name).value[inner],
            getattr(whole, name).value[rows, columns][inner],
            err_msg=name,
        )


def test_measured_noise_is_the_cutouts_too(cloud, make_hdu):
    header = make_hdu(cloud).header
    whole = moment_maps(make_hdu(cloud))
    rows, columns = slice(5, 44), slice(7, 52)
    cut = fits.PrimaryHDU(cloud[:, rows, columns], header)
    cut.header["CRPIX1"] -= columns.start
    cut.header["CRPIX2"] -= rows.start
    part = moment_maps(cut)
    inner = (slice(15, -15), slice(15, -15))  # beyond the cells that are cut
    np.testing.assert_array_equal(part.noise.value[inner], whole.noise.value[rows, columns][inner])


def test_runs_by_hand():
    level = np.zeros((10, 5), np.uint8)
    level[4, 0] = 5  # one channel above 6 sigma
    level[4, 1] = 4  # one above 4
    level[4:6, 2] = 4  # two above 4
    level[4:7, 3] = 3  # three above 3.1
    level[4:6, 4] = 2  # two above 2
    state = np.empty_like(level)
    link(level, 0, state)
    assert ((state & CORE) > 0).sum(axis=0).tolist() == [1, 0, 2, 3, 0]
    assert ((state & BROAD) > 0).sum(axis=0).tolist() == [0, 0, 2, 3, 2]
    np.testing.assert_array_equal((state & ABOVE_ZERO) > 0, level > 0)
    link(level, 2, state)
    assert ((state & CORE) > 0).sum(axis=0).tolist() == [1, 0, 0, 0, 0]


def test_growth_is_bounded(rng):
    """Three channels and a disc of three pixels, by another tool."""
    state = (rng.random((20, 24, 28)) < 0.3).astype(np.uint8) * BROAD
    state |= (rng.random(state.shape) < 0.002).astype(np.uint8) * CORE
    state[state > 0] |= ABOVE_ZERO
    state |= (rng.random(state.shape) < 0.6).astype(np.uint8) * ABOVE_ZERO
    half_widths = np.array([0, 2, 2, 3, 2, 2, 0], np.uint8)
    reach = np.zeros((7, 7, 7), bool)
    for i, width in enumerate(half_widths):
        reach[:, i, 3 - width : 4 + width] = True
    core = (state & CORE) > 0
    near = ndimage.binary_dilation(core, reach)
    expected = core | (near & ((state & BROAD) > 0))
    along_v = np.zeros((3, 3, 3), bool)
    along_v[:, 1, 1] = True
    wings = near & ((state & ABOVE_ZERO) > 0)
    expected = ndimage.binary_dilation(expected, along_v, iterations=3, mask=wings) | expected
    mask = np.empty((20, 10, 28), np.uint8)
    grow(state, half_widths, 7, mask)
    np.testing.assert_array_equal(mask, expected[:, 7:17])


def test_pure_noise_is_not_signal(rng, make_hdu):
    """One false core is expected in 3e8 voxels."""
    values = rng.normal(0, 0.2, (128, 100, 100))
    values[60:70, 48:52, 48:52] += 3
    maps = moment_maps(make_hdu(values))
    near = np.zeros(maps.shape, bool)
    near[44:56, 44:56] = True
    assert maps.detected[48:52, 48:52].all()
    assert not maps.detected[~near].any()


def test_weak_broad_line_is_found(rng, gaussian, make_hdu):
    """Three channels above 3.1 sigma suffice where no channel reaches 6."""
    shape = (64, 24, 24)
    line = gaussian(shape, peak=0.5, v=0.0, sigma=2.0)
    maps = moment_maps(make_hdu(line + rng.normal(0, 0.1, shape)))
    assert maps.detected.mean() > 0.9


def test_velocity_range(make_hdu, gaussian, rng):
    shape = (100, 16, 16)
    two = gaussian(shape, peak=4.0, v=-5.0, sigma=0.5)
    two += gaussian(shape, peak=2.0, v=5.0, sigma=0.5)
    values = two + rng.normal(0, 0.05, shape)
    for width in (0.2, -0.2):
        hdu = make_hdu(values if width > 0 else values[::-1], width=width)
        if width < 0:
            hdu.header["CRPIX3"] = 51  # the same velocities, the other way round
        low = moment_maps(hdu, velocity_range="-10 0 km/s")
        high = moment_maps(hdu, velocity_range=[10, 0] * u.km / u.s)
        assert np.median(low.v_los.value) == pytest.approx(-5.0, abs=0.02)
        assert np.median(high.v_los.value) == pytest.approx(5.0, abs=0.02)
        area = np.sqrt(2 * np.pi) * 0.5
        assert np.median(low.moment0.value) == pytest.approx(4 * area, rel=0.02)
        assert np.median(high.moment0.value) == pytest.approx(2 * area, rel=0.03)
        assert low.meta["velocity_high"] <= 0 <= high.meta["velocity_low"]


def test_wcs_is_the_cubes_sky(cloud, make_hdu):
    hdu = make_hdu(cloud)
    maps = moment_maps(hdu, noise="0.1 K")
    sky = WCS(hdu.header).celestial.pixel_to_world(3, 5)
    assert maps.wcs.pixel_to_world(3, 5).separation(sky) < 1e-6 * u.arcsec
    assert maps.pixel_scale.to_value(u.deg) == pytest.approx(0.01, rel=1e-6)
    assert maps.shape == cloud.shape[1:]
