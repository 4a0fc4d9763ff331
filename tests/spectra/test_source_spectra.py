"""Spectra of sources in cubes, against numbers computed by hand."""

from itertools import pairwise

import astropy.units as u
import dask.array as da
import numpy as np
import pytest
from astropy.io import fits
from spectral_cube import DaskSpectralCube, SpectralCube

from stellarssl.cubes import read_cube
from stellarssl.spectra import RING_EDGES, source_spectra, spectra_from_arrays

EDGES = np.array(RING_EDGES)


def distance_map(n, x, y):
    axis = np.arange(n)
    return np.hypot(axis - x, (axis - y)[:, None])


@pytest.fixture(scope="module")
def cloud(make_hdu, gaussian):
    """A line that becomes fainter and narrower with radius, at 2.3 km/s."""
    radius = distance_map(101, 50, 50)
    sigma = 0.3 + 0.3 / (1 + radius / 6)
    peak = 4 / (1 + (radius / 10) ** 2)
    return make_hdu(
        gaussian((141, 101, 101), peak=peak, v=2.3, sigma=sigma, center=2.0), center=2.0
    )


def expected_profile(offset, inner, outer):
    """The mean over a ring of the cloud's lines; channels of 0.1 and 0.125 km/s widen them."""
    radius = np.sqrt(np.linspace(inner**2, outer**2, 4001))  # equal areas
    sigma = 0.3 + 0.3 / (1 + radius[:, None] / 6)
    variance = sigma**2 + (0.1**2 + 0.125**2) / 12
    peak = 4 / (1 + (radius[:, None] / 10) ** 2)
    lines = peak * sigma / np.sqrt(variance) * np.exp(-(offset**2) / (2 * variance))
    return (lines[1:] + lines[:-1]).mean(axis=0) / 2


def test_profiles_of_a_line_whose_width_falls_with_radius(cloud, at_pixel):
    got = source_spectra(cloud, at_pixel(cloud, 50, 50), distance="140 pc")
    assert got.velocity[0].value == pytest.approx(2.3, abs=0.005)
    shift = 2.3 - got.velocity[0].value
    np.testing.assert_allclose(got.covered, 1, rtol=1e-5)
    inside = np.isfinite(got.spectra[0, 0].value)
    for ring in range(8):
        expected = expected_profile(got.offset.value - shift, EDGES[ring], EDGES[ring + 1])
        difference = (got.spectra[0, ring].value - expected)[inside]
        assert np.abs(difference).max() < 0.02 * 4
    assert got.background_ring[0] == 7
    np.testing.assert_array_equal(
        got.subtracted[0, 2].value, (got.spectra[0, 2] - got.spectra[0, 7]).value
    )
    assert np.isnan(got.subtracted[0, 7].value).all()


def test_a_velocity_gradient_widens_the_line_of_a_ring(make_hdu, gaussian, at_pixel):
    """The mean of x^2 over a ring from a to b is (a^2 + b^2) / 4."""
    gradient = 0.03  # km/s per tile pixel
    v = gradient * (np.arange(71) - 35.0)
    hdu = make_hdu(gaussian((161, 71, 71), v=np.tile(v, (71, 1)), sigma=0.3))
    got = source_spectra(hdu, at_pixel(hdu, 35, 35), distance="140 pc")
    names, array = got.statistics()
    found = dict(zip(names, array[0], strict=True))
    for ring, (inner, outer) in enumerate(pairwise(EDGES)):
        variance = 0.3**2 + gradient**2 * (inner**2 + outer**2) / 4
        assert found[f"dispersion_{ring}"] == pytest.approx(np.sqrt(variance), rel=0.02)
        assert found[f"velocity_{ring}"] == pytest.approx(0, abs=0.005)


def test_file_hdu_array_dask_and_mask_give_the_same(cloud, at_pixel, tmp_path):
    star = at_pixel(cloud, [50, 47.2], [50, 61.3])
    expected = source_spectra(cloud, star, distance="140 pc")
    path = tmp_path / "cube.fits"
    cloud.writeto(path)
    spectral = SpectralCube.read(cloud)
    dask = DaskSpectralCube(
        da.from_array(cloud.data, chunks=(50, 30, 40)),
        wcs=spectral.wcs,
        header=spectral.header,
        meta={"BUNIT": "K"},
    )
    masked = spectral.with_mask(spectral > -1 * u.K)
    for other in (path, read_cube(path), spectral, dask, masked):
        got = source_spectra(other, star, distance="140 pc")
        np.testing.assert_allclose(got.spectra.value, expected.spectra.value, rtol=1e-6)
        np.testing.assert_allclose(got.velocity.value, expected.velocity.value, rtol=1e-9)


def test_the_result_does_not_depend_on_blocks_or_on_other_sources(cloud, at_pixel, rng):
    star = at_pixel(cloud, *rng.uniform(-40, 140, (2, 40)))
    noise = 0.1 * np.ones(cloud.shape[1:]) * u.K
    options = {"distance": "140 pc", "noise": noise}
    expected = source_spectra(cloud, star, **options)
    got = source_spectra(cloud, star, memory_limit="2.5 MB", **options)
    alone = source_spectra(cloud, star[7:8], **options)
    for name in ("spectra", "error"):
        values = getattr(expected, name).value
        np.testing.assert_allclose(getattr(got, name).value, values, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(getattr(alone, name).value, values[7:8], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(got.off_map, expected.off_map)
    assert 0 < expected.off_map.sum() < 40


def test_only_the_voxels_needed_are_read_and_none_twice(make_hdu, at_pixel):
    """A thousand sources in one cluster are read together; two far apart are read apart."""

    class Counting(np.ndarray):
        read = 0

        def __getitem__(self, view):
            part = np.asarray(self)[view]
            Counting.read += part.size
            return part

    hdu = make_hdu(np.ones((4, 400, 400), np.float32))
    cube = read_cube(hdu)
    object.__setattr__(cube, "data", np.asarray(cube.data).view(Counting))
    middle = at_pixel(hdu, *np.random.default_rng(1).uniform(180, 220, (2, 1000)))
    source_spectra(cube, middle, distance="140 pc", noise="1 K")
    assert Counting.read <= 4 * 102**2
    Counting.read = 0
    source_spectra(cube, at_pixel(hdu, [50, 350], [200, 200]), distance="140 pc", noise="1 K")
    assert Counting.read == 4 * 2 * 61**2
    Counting.read = 0
    everywhere = at_pixel(hdu, *np.random.default_rng(1).uniform(0, 400, (2, 1000)))
    source_spectra(cube, everywhere, distance="140 pc", noise="1 K")
    assert Counting.read <= 1.3 * 4 * 400**2


def test_two_sources_at_one_place_have_the_same_spectra(cloud, at_pixel):
    got = source_spectra(cloud, at_pixel(cloud, [50, 50], [50, 50]), distance="140 pc")
    np.testing.assert_array_equal(got.spectra[0].value, got.spectra[1].value)


def test_each_source_has_its_own_distance(cloud, at_pixel):
    """At half the distance, rings are twice as wide on the map."""
    star = at_pixel(cloud, [50, 50], [50, 50])
    got = source_spectra(cloud, star, distance=[140, 140 / 1.5] * u.pc)
    alone = source_spectra(cloud, star[:1], distance="93.333333333 pc")
    np.testing.assert_allclose(got.spectra[1].value, alone.spectra[0].value, rtol=1e-5)
    assert got.covered[1, 7] == pytest.approx(1, abs=1e-5)
    assert not np.allclose(got.spectra[0, 5].value, got.spectra[1, 5].value, rtol=1e-2)


def test_a_source_off_the_map_has_nan_and_keeps_its_row(cloud, at_pixel):
    got = source_spectra(cloud, at_pixel(cloud, [50, -5, 900], [50, 50, 50]), distance="140 pc")
    np.testing.assert_array_equal(got.off_map, [False, True, True])
    assert np.isnan(got.spectra[1:].value).all()
    assert np.isnan(got.velocity[1:].value).all()
    assert got.covered[1, 7] > 0.2
    assert got.covered[2].max() == 0
    assert np.isnan(got.statistics()[1][1:]).all()
    assert np.isnan(got.snr[1:]).all()


def test_rings_beyond_the_edge_of_the_map_are_not_used(cloud, at_pixel):
    """A cut-out of 21 pixels: the ring from 5 to 8 px is the last that lies inside."""
    cube = SpectralCube.read(cloud)[:, 40:61, 40:61]
    got = source_spectra(cube, at_pixel(cloud, 50, 50), distance="140 pc")
    whole = source_spectra(cloud, at_pixel(cloud, 50, 50), distance="140 pc")
    np.testing.assert_allclose(got.covered[0, :4], 1, rtol=1e-5)
    outside = (21**2 - np.pi * 8**2) / (np.pi * (12**2 - 8**2))  # no part beyond 12 px
    corner = 0.5 * ((10.5**2 * 2) - 12**2)  # less than this is cut off by the corners
    assert outside - 4 * corner / (np.pi * 80) < got.covered[0, 4] <= outside
    assert np.isfinite(got.spectra[0, 4]).any()
    assert np.isnan(got.spectra[0, 5:].value).all()
    # The mean radius of that ring is 0.078 pc: too close to be background.
    assert got.background_ring[0] == -1
    np.testing.assert_array_equal(got.subtracted[0, :5].value, got.spectra[0, :5].value)
    np.testing.assert_allclose(got.spectra[0, 0].value, whole.spectra[0, 0].value, atol=0.05)


def test_nan_pixels_are_left_out_and_nan_channels_stay_nan(make_hdu, gaussian, at_pixel):
    """The line is the same everywhere, so that the lost half of the map changes nothing."""
    hdu = make_hdu(gaussian((141, 101, 101), peak=4.0, v=0.3))
    star = at_pixel(hdu, 50, 50)
    whole = source_spectra(hdu, star, distance="140 pc")
    hdu.data[:, :50] = np.nan
    hdu.data[95] = np.nan
    got = source_spectra(hdu, star, distance="140 pc")
    np.testing.assert_allclose(got.covered[0, 3:], 0.5, atol=0.05)
    known = np.isfinite(got.spectra[0, 2].value)
    expected = whole.spectra[0, 2].value
    np.testing.assert_allclose(got.spectra[0, 2, known].value, expected[known], rtol=1e-5)
    lost = ~known & np.isfinite(expected)
    assert 1 <= lost.sum() <= 3
    channel = 0.1 * (95 - 70) - got.velocity[0].value
    assert np.abs(got.offset.value[lost] - channel).max() < 0.125


def test_two_components_are_flagged(make_hdu, gaussian, at_pixel):
    shape = (121, 71, 71)
    core = np.exp(-(distance_map(71, 35, 35) ** 2) / (2 * 8**2))
    lines = gaussian(shape, peak=core, v=-1, sigma=0.2)
    second = gaussian(shape, peak=core, v=1, sigma=0.2)
    hdus = [make_hdu(lines + share * second) for share in (0.8, 0.3)]
    found = [
        source_spectra(hdu, at_pixel(hdu, 35, 35), distance="140 pc").several_components[0]
        for hdu in hdus
    ]
    assert found == [True, False]


def test_the_background_does_not_decide_the_velocity(make_hdu, gaussian, at_pixel):
    """A faint core at 1 km/s in front of a bright, even cloud at -1 km/s."""
    core = np.exp(-(distance_map(71, 35, 35) ** 2) / (2 * 4**2))
    shape = (121, 71, 71)
    hdu = make_hdu(gaussian(shape, peak=core, v=1) + gaussian(shape, peak=3.0, v=-1))
    got = source_spectra(hdu, at_pixel(hdu, 35, 35), distance="140 pc")
    assert got.velocity[0].value == pytest.approx(1, abs=0.03)


def test_a_source_at_the_edge_of_the_band(make_hdu, gaussian, at_pixel):
    hdu = make_hdu(gaussian((81, 71, 71), v=3.5))
    got = source_spectra(hdu, at_pixel(hdu, 35, 35), distance="140 pc")
    assert got.at_band_edge[0]
    assert np.isnan(got.spectra[0, :, -40:].value).all()
    assert np.isfinite(got.spectra[0, :, 40:48].value).all()


def test_velocity_range_picks_a_line(make_hdu, gaussian, at_pixel):
    """The isolated component of N2H+ (1-0) lies 8 km/s from the main group."""
    core = np.exp(-(distance_map(71, 35, 35) ** 2) / (2 * 8**2))
    shape = (241, 71, 71)
    hdu = make_hdu(gaussian(shape, peak=3 * core) + gaussian(shape, peak=core, v=-8.0, sigma=0.3))
    star = at_pixel(hdu, 35, 35)
    assert source_spectra(hdu, star, distance="140 pc").velocity[0].value == pytest.approx(
        0, abs=0.01
    )
    cube = read_cube(hdu, velocity_range="-12 -4 km/s")
    got = source_spectra(cube, star, distance="140 pc", half_width="3.5 km/s")
    assert got.velocity[0].value == pytest.approx(-8, abs=0.01)
    assert got.spectra.shape == (1, 8, 56)


@pytest.mark.parametrize("pixel", [0.5, 2.0])
def test_the_error_is_that_of_the_scatter(make_hdu, at_pixel, rng, pixel):
    """Independent pixels, a cube without a beam: noise is measured, or given as a map."""
    n = 90
    values = rng.normal(0, 0.5, (121, n, n))
    core = np.exp(-(distance_map(n, 45, 45) ** 2) / (2 * 20**2))
    line = np.exp(-((np.arange(121) - 60.0) ** 2) / (2 * 4**2))
    hdu = make_hdu(values + 30 * core * line[:, None, None], pixel=pixel)
    for card in ("BMAJ", "BMIN", "BPA"):
        del hdu.header[card]
    star = at_pixel(hdu, *rng.uniform(35, 55, (2, 60)))
    measured = source_spectra(hdu, star, distance="140 pc")
    given = source_spectra(hdu, star, distance="140 pc", noise=np.full((n, n), 0.5) * u.K)
    np.testing.assert_allclose(measured.error[:, 0], given.error[:, 0], rtol=0.02)
    free = np.abs(given.offset.value) > 2.5
    ratio = given.spectra[:, :, free].value / given.error[:, :, free].value
    assert np.nanstd(ratio[:, 0]) == pytest.approx(1, abs=0.15)
    assert np.nanstd(ratio[:, 2]) == pytest.approx(1, abs=0.15)


def test_noise_is_measured_in_a_band_that_is_full_of_lines(make_hdu, gaussian, at_pixel, rng):
    """The line reaches beyond both ends of the band, as 13CO does in many archival cubes."""
    shape = (31, 71, 71)
    core = 2 + 4 * np.exp(-(distance_map(71, 35, 35) ** 2) / (2 * 10**2))
    hdu = make_hdu(gaussian(shape, peak=core, sigma=0.9) + rng.normal(0, 0.5, shape))
    star = at_pixel(hdu, 35, 35)
    measured = source_spectra(hdu, star, distance="140 pc")
    given = source_spectra(hdu, star, distance="140 pc", noise="0.5 K")
    ratio = np.nanmedian(measured.error[0, 3] / given.error[0, 3])
    assert 0.6 < ratio < 1.05


def test_the_error_counts_beams(make_hdu, gaussian, at_pixel):
    """The area of the beam is 2 pi / (8 ln 2) * 6^2 = 40.8 pixels."""
    hdu = make_hdu(gaussian((121, 71, 71), peak=9.0))
    hdu.header["BMAJ"] = hdu.header["BMIN"] = 6 * hdu.header["CDELT2"]
    got = source_spectra(hdu, at_pixel(hdu, 35, 35), distance="140 pc", noise="2 K")
    alone = got.error[0, 0, 48].value  # the innermost ring is smaller than the beam
    area = np.pi * (30**2 - 22**2)
    beams = area / (2 * np.pi / (8 * np.log(2)) * 36)
    assert got.error[0, 7, 48].value == pytest.approx(alone / np.sqrt(beams), rel=0.02)


def test_without_noise_the_error_is_zero(cloud, at_pixel):
    got = source_spectra(cloud, at_pixel(cloud, 50, 50), distance="140 pc")
    assert np.nanmax(got.error.value) == 0
    assert np.isinf(got.snr[0])


def test_efficiency_divides_the_cube(cloud, at_pixel):
    star = at_pixel(cloud, 50, 50)
    plain = source_spectra(cloud, star, distance="140 pc", noise="1 K")
    got = source_spectra(cloud, star, distance="140 pc", noise="2 K", efficiency=0.5)
    np.testing.assert_allclose(got.spectra.value, 2 * plain.spectra.value, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(got.error.value, 2 * plain.error.value, rtol=1e-6)
    np.testing.assert_allclose(got.statistics()[1], plain.statistics()[1], rtol=1e-4, atol=1e-5)


def test_arrays_give_the_same_as_a_cube(cloud, at_pixel):
    """A tile that is cut from the cube, off center by half a pixel."""
    expected = source_spectra(cloud, at_pixel(cloud, 50.5, 50), distance="140 pc", noise="1 K")
    velocity = 2.0 + 0.1 * (np.arange(141) - 70)
    tile = cloud.data[:, 10:91, 11:91]
    got = spectra_from_arrays(
        [tile, cloud.data],
        velocity * u.km / u.s,
        0.0078125 * u.pc,
        center=[(39.5, 40), (50.5, 50)],
        beam=2 * 0.0078125 * u.pc,
        noise="1 K",
    )
    for row in got:
        np.testing.assert_allclose(row.spectra.value, expected.spectra.value, rtol=1e-4)
        np.testing.assert_allclose(row.error.value, expected.error.value, rtol=1e-4)
        np.testing.assert_allclose(row.velocity.value, expected.velocity.value, atol=1e-5)
    assert got.skycoord is None


def test_each_tile_has_its_own_noise(gaussian):
    tiles = gaussian((96, 33, 33), peak=5.0, width=0.125) * np.ones((3, 1, 1, 1))
    velocity = (np.arange(96) - 47.5) * 0.125 * u.km / u.s
    got = spectra_from_arrays(tiles, velocity, "0.0078125 pc", noise=[0, 0.1, 0.2] * u.K)
    errors = got.error[:, 0, 40].value
    assert errors[0] == 0
    assert errors[2] == pytest.approx(2 * errors[1])


def test_the_simulated_tiles_go_through(simulations):
    """A few tiles of s8, decoded as the file says; the stars move little relative to their gas."""
    with fits.open(simulations / "s8_tiles.fits") as hdus:
        header, table = hdus[0].header, hdus["SAMPLES"].data
        stars = np.flatnonzero(table["has_star"])[:20]
        codes = hdus["TILES"].section[stars.min() : stars.max() + 1][stars - stars.min()]
        tiles = header["T0"] * (10 ** (codes * header["DEX"] / 255) - 1)
        center = 15.5 + np.stack([table["dx"][stars], table["dy"][stars]], axis=1)
        velocity = (np.arange(96) - 47.5) * header["DV"] * u.km / u.s
    got = spectra_from_arrays(tiles, velocity, header["PIXPC"] * u.pc, center=center)
    assert not got.off_map.any()
    np.testing.assert_allclose(got.covered[:, :5], 1, rtol=1e-4)
    assert np.median(np.abs(got.velocity.value)) < 0.5
    names, array = got.statistics()
    used = [i for i, name in enumerate(names) if name.startswith("dispersion_")][:5]
    assert np.isfinite(array[:, used]).all()
