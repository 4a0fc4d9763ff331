"""Rings: areas, coverage, and pixels of any size."""

import astropy.units as u
import numpy as np
import pytest

from stellarssl.cubes import read_cube
from stellarssl.spectra import RING_EDGES, ring_radii, source_spectra
from stellarssl.spectra.rings import Region, locate, ring_areas


def test_edges_are_those_of_the_design():
    assert RING_EDGES == (0.0, 1.5, 3.0, 5.0, 8.0, 12.0, 16.0, 22.0, 30.0)
    # Rings with a mean radius below 0.1 pc are no background: the first five.
    assert (ring_radii() < 0.1 * u.pc).sum() == 5
    assert ring_areas().sum() == pytest.approx(np.pi * 30**2)


@pytest.mark.parametrize("pixel", [(0.1, 0.1), (1.0, 1.0), (2.0, 2.0), (70.0, 70.0), (1.0, 3.0)])
def test_weights_add_up_to_the_area_of_the_ring(pixel):
    """For pixels smaller than the smallest ring, larger than the largest, and not square."""
    region = Region.around((400.3, 399.8), pixel, (801, 801))
    weights = region.weights()
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), ring_areas(), rtol=1e-10)
    assert weights.min() >= 0
    assert weights.sum(axis=0).max() <= pixel[0] * pixel[1] * (1 + 1e-12)


def test_half_of_the_rings_is_covered_at_the_edge_of_the_map():
    region = Region.around((-0.5, 100), (1.0, 1.0), (201, 201))
    np.testing.assert_allclose(region.weights().sum(axis=(1, 2)), ring_areas() / 2, rtol=1e-10)


def test_no_pixels_are_needed_far_from_the_map():
    assert Region.around((-100, 100), (1.0, 1.0), (201, 201)).empty
    assert Region.around((np.nan, 100), (1.0, 1.0), (201, 201)).empty
    assert not Region.around((-20, 100), (1.0, 1.0), (201, 201)).empty


@pytest.mark.parametrize("rotation", [0.0, 30.0])
def test_pixels_of_a_cube_are_measured_at_the_distance_of_the_source(make_hdu, at_pixel, rotation):
    """Twice as far, a pixel is twice as large; sides differ; the sky may be rotated."""
    hdu = make_hdu(np.ones((4, 90, 80)))
    hdu.header["CDELT2"] *= 1.5
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    ratio = hdu.header["CDELT2"] / hdu.header["CDELT1"]
    hdu.header["PC1_1"], hdu.header["PC1_2"] = cos, -sin * ratio
    hdu.header["PC2_1"], hdu.header["PC2_2"] = sin / ratio, cos
    cube = read_cube(hdu)
    star = at_pixel(hdu, [30.0, 55.0], [40.0, 12.0])
    near, far = locate(cube, star, [140, 280] * u.pc)
    np.testing.assert_allclose(near.pixel, (1.0, 1.5), rtol=1e-5)
    np.testing.assert_allclose(far.pixel, (2.0, 3.0), rtol=1e-5)
    np.testing.assert_allclose(near.center, (30, 40), atol=1e-8)
    assert near.columns == slice(0, 61)
    assert near.rows == slice(20, 61)


def test_a_ring_narrower_than_a_pixel_has_the_spectrum_of_the_pixels_it_crosses(
    make_hdu, gaussian, at_pixel
):
    """Pixels of 10 tile pixels: the two innermost rings lie inside of one of them."""
    peak = np.ones((21, 21))
    peak[10, 10] = 5.0
    hdu = make_hdu(gaussian((81, 21, 21), peak=peak), pixel=10.0)
    got = source_spectra(hdu, at_pixel(hdu, 10.0, 10.0), distance="140 pc")
    top = np.nanmax(got.spectra[0].value, axis=-1)
    assert top[0] / top[-1] == pytest.approx(5, rel=1e-6)
    assert top[2] / top[-1] == pytest.approx(5, rel=1e-6)
    # The disc of radius 8 contains the bright pixel; that of radius 5 touches its sides.
    share = (10**2 - 25 * np.pi) / (np.pi * (8**2 - 5**2))
    assert top[3] / top[-1] == pytest.approx(1 + 4 * share, rel=1e-5)


def test_pixels_of_any_size_give_the_same_spectra(make_hdu, gaussian, at_pixel):
    """A cloud that is smooth on the scale of the pixels."""
    profiles = []
    for pixel, n in ((0.5, 141), (1.0, 71), (2.0, 37)):
        axis = pixel * (np.arange(n) - (n - 1) / 2)
        peak = 3 * np.exp(-(np.hypot(axis, axis[:, None]) ** 2) / (2 * 15**2))
        hdu = make_hdu(gaussian((81, n, n), peak=peak), pixel=pixel)
        middle = at_pixel(hdu, (n - 1) / 2, (n - 1) / 2)
        profiles.append(source_spectra(hdu, middle, distance="140 pc").spectra[0].value)
    np.testing.assert_allclose(profiles[0][:, 30:66], profiles[1][:, 30:66], rtol=4e-3)
    np.testing.assert_allclose(profiles[2][:, 30:66], profiles[1][:, 30:66], rtol=1e-2)
