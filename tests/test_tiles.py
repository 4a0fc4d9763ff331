"""Tiles: flux, unresolved motions, orientation, filling, scalars and peaks."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from radio_beam import Beam
from reproject import reproject_exact, reproject_interp

from stellarssl._utils import bands
from stellarssl.exceptions import InputError, MissingInputError
from stellarssl.moments import MomentMaps
from stellarssl.tiles import (
    _sampling,
    column_peaks,
    gas_mass,
    make_tiles,
    peak_pixels,
    tile_grid,
    tile_statistics,
    tile_wcs,
)
from stellarssl.tiles._fields import Fields

KMS = u.km / u.s
DISTANCE = 140 * u.pc
TILE_PIXEL = (0.5 / 64 / 140 * u.rad).to_value(u.deg)
CENTER = SkyCoord(52.0, 31.0, unit="deg")


def celestial_wcs(shape, pixel, *, angle=0.0, kind="RA---TAN DEC--TAN", center=(52.0, 31.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = kind.split()
    wcs.wcs.crval = center
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-pixel, pixel]
    cosine, sine = np.cos(angle), np.sin(angle)
    wcs.wcs.pc = [[cosine, -sine], [sine, cosine]]
    return wcs


def flat_maps(shape=(60, 50), pixel=2 * TILE_PIXEL, n_h=1e22, v=3.0, sigma=0.4, **changes):
    """Maps of one value, or of given arrays."""
    wcs = changes.pop("wcs", None) or celestial_wcs(shape, pixel)
    maps = MomentMaps.from_maps(
        n_h=np.broadcast_to(n_h, shape) * u.cm**-2,
        v_los=np.broadcast_to(v, shape) * u.km / u.s,
        sigma_v=np.broadcast_to(sigma, shape) * u.km / u.s,
        wcs=wcs,
        distance=changes.pop("distance", DISTANCE),
        beam=changes.pop("beam", Beam(3 * pixel * u.deg)),
    )
    return replace(maps, **changes)


def with_limit(maps, column):
    """Give maps a detection limit, cm^-2, and an error a third of it."""
    limit = np.broadcast_to(column, maps.shape) * u.cm**-2 / maps.tracer.n_h_per_w
    limit = limit.to(u.K * u.km / u.s)
    return replace(maps, moment0_limit=limit, errors={**maps.errors, "moment0": limit / 3})


def blobs(wcs, shape, center, fwhm, *, spread=24, seed=3, n=10):
    """Column of Gaussian blobs about a position, and the function of sky offsets it samples."""
    rng = np.random.default_rng(seed)
    where = rng.uniform(-spread, spread, (n, 2)) * TILE_PIXEL
    height = rng.uniform(0.3, 3, n) * 1e22

    def column(lon, lat, width=fwhm):
        square = (lon[..., None] - where[:, 0]) ** 2 + (lat[..., None] - where[:, 1]) ** 2
        profile = np.exp(-4 * np.log(2) * square / width**2) * (fwhm / width) ** 2
        return 1e21 + profile @ height

    y, x = np.mgrid[: shape[0], : shape[1]]
    sky = wcs.pixel_to_world(x, y).transform_to(center.icrs.skyoffset_frame())
    return column(sky.lon.wrap_at("180d").deg, sky.lat.deg), column


def fine_means(column, **options):
    """Means over a tile's pixels of a function of sky offsets, at 6 x 6 points each."""
    fine = ((np.arange(384) + 0.5) / 6 - 32) * TILE_PIXEL
    lat, lon = np.meshgrid(fine, -fine, indexing="ij")
    return column(lon, lat, **options).reshape(64, 6, 64, 6).mean(axis=(1, 3))


# ---------------------------------------------------------------- flux


@pytest.mark.parametrize(
    ("ratio", "kind"),
    [
        *((ratio, "RA---TAN DEC--TAN") for ratio in (0.25, 0.5, 1.0, 1.3, 2.0, 5.0, 8.0, 10.0)),
        *((ratio, "GLON-SFL GLAT-SFL") for ratio in (0.25, 2.0)),
    ],
)
def test_flux_is_kept_at_any_map_pixel(ratio, kind):
    """Sources in the tile, sampled at 3 pixels a beam: the sky's flux, to 1e-3."""
    pixel = TILE_PIXEL / ratio
    size = int(64 * ratio * 1.5) + 12
    shape = (size + 3, size)
    wcs = celestial_wcs(shape, pixel, angle=0.5, kind=kind)
    center = wcs.pixel_to_world(size / 2 + 0.2, size / 2 - 0.3)
    fwhm = max(3 * pixel, 3 * TILE_PIXEL)
    column, sky = blobs(wcs, shape, center, fwhm, spread=8)
    tile = make_tiles(flat_maps(shape, pixel, column, wcs=wcs), center)
    truth = fine_means(sky)
    assert tile.coverage[0] == pytest.approx(1, abs=1e-9)
    assert (10.0 ** tile.maps[0, 0]).mean(dtype=float) == pytest.approx(truth.mean(), rel=1e-3)
    assert np.corrcoef(10.0 ** tile.maps[0, 0].ravel(), truth.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("ratio", [0.125, 0.25, 0.5, 1.0, 2.0, 5.0])
def test_resolution_is_the_beam_and_a_pixel(ratio):
    """Between pixels the map is bilinear, which adds a sixth of a squared pixel to the variance."""
    pixel = TILE_PIXEL / ratio
    size = int(64 * ratio * 1.5) + 12
    shape = (size + 3, size)
    wcs = celestial_wcs(shape, pixel, angle=0.5)
    center = wcs.pixel_to_world(size / 2 + 0.2, size / 2 - 0.3)
    fwhm = max(3 * pixel, 3 * TILE_PIXEL)
    column, sky = blobs(wcs, shape, center, fwhm)
    tile = make_tiles(flat_maps(shape, pixel, column, wcs=wcs), center)
    truth = fine_means(sky, width=np.sqrt(fwhm**2 + 8 * np.log(2) * pixel**2 / 6))
    ours = 10.0 ** tile.maps[0, 0].astype(float)
    assert ours.mean() == pytest.approx(truth.mean(), rel=1e-3)
    # each pixel, too, as far as three samples a beam allow
    assert np.abs(ours - truth).max() < 0.1 * truth.max()


def test_pixels_of_fine_maps_are_area_means():
    """As reproject_exact gives them, for a map of 3.3 pixels a tile pixel."""
    pixel = TILE_PIXEL / 3.3
    shape = (330, 320)
    wcs = celestial_wcs(shape, pixel, angle=0.4)
    center = wcs.pixel_to_world(160, 165)
    column, _ = blobs(wcs, shape, center, 4 * pixel)
    tile = make_tiles(flat_maps(shape, pixel, column, wcs=wcs), center)
    exact, _ = reproject_exact((column, wcs), tile.wcs(0), shape_out=(64, 64))
    ours = 10.0 ** tile.maps[0, 0].astype(float)
    assert_allclose(ours.mean(), exact.mean(), rtol=2e-4)
    assert np.percentile(np.abs(ours / exact - 1), 95) < 0.02
    assert np.corrcoef(ours.ravel(), exact.ravel())[0, 1] > 0.9995


@pytest.mark.parametrize(
    ("kind", "center"),
    [
        ("RA---TAN DEC--TAN", (52.0, 31.0)),
        ("RA---SFL DEC--SFL", (52.0, 31.0)),
        ("GLON-CAR GLAT-CAR", (160.0, 0.0)),
        ("RA---SIN DEC--SIN", (10.0, -80.0)),
    ],
)
def test_many_tiles_at_once_equal_reproject(kind, center):
    """Where the map is coarser than the tile, values are those of reproject_interp to 1e-5."""
    rng = np.random.default_rng(8)
    shape = (90, 110)
    wcs = celestial_wcs(shape, 1.7 * TILE_PIXEL, angle=0.3, kind=kind, center=center)
    column = rng.uniform(1, 2, shape) * 1e22
    v = rng.normal(size=shape)
    maps = flat_maps(shape, n_h=column, v=v, sigma=0.3, wcs=wcs)
    positions = wcs.pixel_to_world(rng.uniform(35, 75, 12), rng.uniform(35, 55, 12))
    tiles = make_tiles(maps, positions)
    for i in range(len(tiles)):
        stack = np.stack([column, column * v, column * (v**2 + 0.09)])
        means, _ = reproject_interp((stack, wcs), tiles.wcs(i), shape_out=(64, 64))
        velocity = means[1] / means[0]
        assert_allclose(tiles.maps[i, 0], np.log10(means[0]), atol=1e-5 / np.log(10))
        assert_allclose(tiles.maps[i, 1] + tiles.v_los[i].value, velocity, atol=1e-5, rtol=1e-5)
        assert_allclose(tiles.maps[i, 2] ** 2, means[2] / means[0] - velocity**2, atol=2e-5)
        average = np.average(velocity, weights=means[0])
        assert tiles.v_los[i].to_value(u.km / u.s) == pytest.approx(average, abs=1e-8)


def test_a_tile_across_the_seam_of_an_all_sky_map():
    """Where pixel coordinates jump, each point is projected by itself."""
    shape = (180, 360)
    wcs = celestial_wcs(shape, 1.0, kind="GLON-CAR GLAT-CAR", center=(0.0, 0.0))
    lat = np.broadcast_to(np.arange(180)[:, None] - 89.5, shape)
    maps = flat_maps(shape, n_h=1e22 + 1e20 * lat, wcs=wcs)
    center = SkyCoord(180.2, 5.0, unit="deg", frame="galactic")
    tile = make_tiles(maps, center, distance=1 * u.pc, width=0.1 * u.pc)
    y, x = np.mgrid[:64, :64]
    expected = 1e22 + 1e20 * tile.wcs(0).pixel_to_world(x, y).galactic.b.deg
    # the two columns next to the seam know one neighbor only, not the other
    assert_allclose(10.0 ** tile.maps[0, 0][tile.covered[0]], expected[tile.covered[0]], rtol=1e-5)
    assert tile.coverage[0] > 0.9


# ---------------------------------------------------------------- motions


def test_unresolved_velocity_is_dispersion():
    """A gradient g across a tile pixel p of equal column adds g^2 p^2 / 12 to the variance."""
    pixel = TILE_PIXEL / 7  # seven velocities in a pixel, and one more at each end by halves
    shape = (520, 520)
    wcs = celestial_wcs(shape, pixel)
    x = np.broadcast_to(np.arange(520.0), shape)
    maps = flat_maps(shape, v=0.1 * x, sigma=0.2, wcs=wcs)
    tile = make_tiles(maps, CENTER)
    # 0.1 km/s a map pixel over 7 pixels sampled at their centers: variance 0.01 (49 - 1) / 12
    expected = np.sqrt(0.04 + 0.01 * 48 / 12)
    assert_allclose(tile.maps[0, 2], expected, rtol=1e-3)
    # and the mean follows the gradient, 0.7 km/s a tile pixel, symmetric about the center
    assert_allclose(np.diff(tile.maps[0, 1], axis=1), 0.7, rtol=1e-3)
    assert_allclose(tile.maps[0, 1].mean(), 0, atol=1e-4)


def test_two_clouds_blend_by_their_column():
    """Halfway between pixels of columns 1 and 3 at 0 and 1 km/s: v = 3/4, sigma^2 = 3/16."""
    shape = (40, 40)
    first = np.arange(40) < 20
    maps = flat_maps(
        shape,
        pixel=64 * TILE_PIXEL / 8,
        n_h=np.where(first, 1e22, 3e22),
        v=np.where(first, 0.0, 1.0),
        sigma=0.0,
    )
    tile = make_tiles(maps, CENTER, width="0.001 pc")  # a tile within a map pixel
    middle = tile.maps[0][:, :, 31:33].mean(axis=(1, 2))
    assert 10.0 ** middle[0] == pytest.approx(2e22, rel=1e-3)
    v_tile = tile.v_los[0].to_value(u.km / u.s)
    assert middle[1] + v_tile == pytest.approx(0.75, abs=2e-3)
    assert middle[2] ** 2 == pytest.approx(3 / 16, abs=2e-3)


def test_velocities_far_from_zero_keep_their_dispersion():
    tile = make_tiles(flat_maps(v=3e5, sigma=0.1), CENTER)
    assert_allclose(tile.maps[0, 2], 0.1, rtol=1e-4)
    assert tile.v_los[0].to_value(u.km / u.s) == pytest.approx(3e5)


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize("angle", [0.0, 1.0, np.pi])
@pytest.mark.parametrize("flip", [1, -1])
def test_north_is_up_and_east_is_left(angle, flip):
    shape = (100, 100)
    wcs = celestial_wcs(shape, TILE_PIXEL, angle=angle)
    wcs.wcs.cdelt = [flip * TILE_PIXEL, TILE_PIXEL]
    y, x = np.mgrid[:100, :100]
    sky = wcs.pixel_to_world(x, y)
    east, north = CENTER.spherical_offsets_to(sky)
    column = 1e22 * (10 + 3 * north.deg / TILE_PIXEL / 32 + 1 * east.deg / TILE_PIXEL / 32)
    tile = make_tiles(flat_maps(shape, n_h=column, wcs=wcs), CENTER)
    image = 10.0 ** tile.maps[0, 0] / 1e22
    assert image[63].mean() - image[0].mean() == pytest.approx(3 * 63 / 32, rel=1e-2)
    assert image[:, 0].mean() - image[:, 63].mean() == pytest.approx(1 * 63 / 32, rel=1e-2)


def test_the_position_is_the_corner_of_the_central_pixels():
    shape = (121, 121)
    wcs = celestial_wcs(shape, TILE_PIXEL)
    y, x = np.mgrid[:121, :121]
    column = 1e22 * np.exp(-((x - 60) ** 2 + (y - 60) ** 2) / 50)
    image = make_tiles(flat_maps(shape, n_h=column, wcs=wcs), CENTER).maps[0, 0]
    assert_allclose(image, image[::-1], atol=2e-4)
    assert_allclose(image, image[:, ::-1], atol=2e-4)
    assert np.argmax(image) in {31 * 64 + 31, 31 * 64 + 32, 32 * 64 + 31, 32 * 64 + 32}


def test_width_distance_and_frames():
    """Twice the distance is half the angle; any frame will do; the grid is that of the WCS."""
    maps = flat_maps(beam=Beam(0.1 * u.deg))
    tiles = make_tiles(
        maps, SkyCoord([CENTER, CENTER]).galactic, distance=[140, 280] * u.pc, width="0.25 pc"
    )
    assert tiles.skycoord.separation(CENTER).max() < 1e-8 * u.deg
    assert_allclose(tiles.distance.value, [140, 280])
    scales = [tiles.wcs(i).proj_plane_pixel_scales()[0].to_value(u.deg) for i in (0, 1)]
    assert_allclose(scales, [TILE_PIXEL / 2, TILE_PIXEL / 4], rtol=1e-9)
    width = (0.25 / 140 * u.rad).to_value(u.deg)
    assert_allclose(tiles.beams_per_tile, [width / 0.1, width / 0.2], rtol=1e-9)
    assert tiles.pixel.to_value(u.pc) == pytest.approx(0.25 / 64)
    wcs = tile_wcs(CENTER, 1 * u.arcsec, 64)
    assert wcs.pixel_to_world(31.5, 31.5).separation(CENTER) < 1e-6 * u.arcsec


def test_position_errors_are_lengths():
    positions = SkyCoord([CENTER, CENTER])
    maps = flat_maps()
    angle = make_tiles(maps, positions, position_error=10 * u.arcsec, distance=[140, 280] * u.pc)
    assert_allclose(angle.position_error.to_value(u.pc), np.array([140, 280]) * 10 / 206264.806)
    length = make_tiles(maps, positions, position_error="0.01 pc")
    assert_allclose(length.position_error.to_value(u.pc), 0.01)
    assert_allclose(make_tiles(maps, positions).position_error.value, 0)


# ---------------------------------------------------------------- what is not there


def test_undetected_pixels_hold_the_limit():
    maps = flat_maps((80, 80), pixel=TILE_PIXEL)
    mask = np.broadcast_to(np.arange(80) < 40, (80, 80))
    limit = np.broadcast_to(np.where(np.arange(80) < 60, 2e20, 4e20), (80, 80))
    maps = replace(with_limit(maps, limit), detected=mask, sigma_instrument=0.07 * u.km / u.s)
    tile = make_tiles(maps, CENTER)
    # east is left in both; the center is between map columns 39 and 40
    assert_allclose(tile.maps[0, 0, :, :31], 22, atol=1e-5)
    assert_allclose(tile.maps[0, 0, :, 33:51], np.log10(2e20), atol=1e-5)
    assert_allclose(tile.maps[0, 0, :, 53:], np.log10(4e20), atol=1e-5)
    assert_allclose(tile.maps[0, 1, :, 33:], 0)
    assert_allclose(tile.maps[0, 2, :, 33:], 0.07)
    assert tile.detected_fraction[0] == pytest.approx(0.5)
    assert tile.coverage[0] == pytest.approx(1)
    assert tile.snr[0] == pytest.approx(1e22 / (2e20 / 3), rel=1e-4)
    assert tile.v_los[0].to_value(u.km / u.s) == pytest.approx(3)


@pytest.mark.parametrize("limit", [0.0, 5e20])
def test_positions_off_the_map_have_a_row(limit):
    maps = with_limit(flat_maps((64, 64), pixel=TILE_PIXEL), limit)
    east = CENTER.directional_offset_by(90 * u.deg, 32 * TILE_PIXEL * u.deg)
    far = SkyCoord([CENTER, east, SkyCoord(53, 32, unit="deg"), SkyCoord(232, -31, unit="deg")])
    tiles = make_tiles(maps, far)
    assert_allclose(tiles.coverage, [1, 0.5, 0, 0], atol=0.01)
    assert np.isfinite(tiles.maps).all()
    assert_allclose(tiles.maps[2:, 0], np.log10(limit or 1e18), rtol=1e-6)
    assert_allclose(tiles.maps[2:, 1], 0)
    assert not tiles.detected[2:].any()
    assert not tiles.covered[2:].any()
    assert_allclose(tiles.snr[2:], 0)
    assert np.isnan(tiles.v_los[2:]).all()
    # half a tile: what lies inside is not diluted at the edge
    assert_allclose(tiles.maps[1, 0][tiles.covered[1]], 22, atol=1e-5)
    assert tiles.covered[1, 32, :31].sum() == 0
    assert tiles.covered[1, 32, 33:].all()


def test_holes_are_neither_observed_nor_averaged():
    shape = (80, 80)
    n_h = np.full(shape, 1e22)
    n_h[30:50, 30:50] = np.nan
    tile = make_tiles(flat_maps(shape, TILE_PIXEL, n_h=n_h), CENTER)
    assert np.isfinite(tile.maps).all()
    assert tile.coverage[0] == pytest.approx(1 - 400 / 4096, rel=1e-2)
    assert_allclose(tile.maps[0, 0][tile.detected[0]], 22, atol=1e-5)


# ---------------------------------------------------------------- sets, grids


def test_a_set_can_be_cut_up():
    tiles = make_tiles(flat_maps(), SkyCoord([CENTER] * 4), ids=["a", "b", "c", "d"])
    assert len(tiles) == 4
    assert list(tiles[1:3].id) == ["b", "c"]
    assert list(tiles[np.array([True, False, False, True])].id) == ["a", "d"]
    assert tiles[2].maps.shape == (1, 3, 64, 64)
    assert tiles[2].skycoord.shape == (1,)
    assert len(make_tiles(flat_maps(), CENTER[None][:0])) == 0


def test_without_positions_tiles_overlap_over_the_map():
    shape = (160, 128)
    maps = flat_maps(shape, TILE_PIXEL)
    tiles = make_tiles(maps)
    assert len(tiles) == 5 * 4
    assert (tiles.coverage > 0.2).all()
    nearest = tiles.skycoord[0].separation(tiles.skycoord[1])
    assert nearest.deg == pytest.approx(32 * TILE_PIXEL, rel=1e-3)
    assert len(make_tiles(maps, step="0.5 pc")) < 10


def test_grid_holds_the_whole_map_as_tiles_do():
    shape = (90, 70)
    wcs = celestial_wcs(shape, 2 * TILE_PIXEL, angle=0.6)
    column, _ = blobs(wcs, shape, CENTER, 8 * TILE_PIXEL)
    maps = with_limit(flat_maps(shape, n_h=column, wcs=wcs), 1e20)
    grid = tile_grid(maps)
    assert grid.maps.dtype == np.float32
    assert np.isfinite(grid.maps).all()
    assert grid.maps.shape == (3, *grid.shape)
    area = grid.covered.sum() * TILE_PIXEL**2
    assert area == pytest.approx(90 * 70 * 4 * TILE_PIXEL**2, rel=1e-2)
    total = (10.0 ** grid.maps[0].astype(float) * grid.covered).sum() / 4
    assert total == pytest.approx(column.sum(), rel=3e-3)
    x, y = grid.wcs.world_to_pixel(CENTER)
    x, y = round(float(x)), round(float(y))
    center = grid.wcs.pixel_to_world(x - 0.5, y - 0.5)
    tile = make_tiles(maps, center)
    cut = grid.maps[:, y - 32 : y + 32, x - 32 : x + 32]
    assert_allclose(tile.maps[0, 0], cut[0], atol=2e-3)
    assert grid.v_los.to_value(u.km / u.s) == pytest.approx(3)
    assert grid.pixel.to_value(u.pc) == pytest.approx(0.5 / 64)


def test_grid_without_a_distance_has_the_maps_pixels():
    maps = flat_maps((70, 90), pixel=0.01, distance=None)
    grid = tile_grid(maps)
    assert grid.shape[0] == pytest.approx(70, abs=2)
    assert grid.shape[1] == pytest.approx(90, abs=2)
    assert grid.pixel.to_value(u.deg) == pytest.approx(0.01, rel=1e-4)


# ---------------------------------------------------------------- part by part


@pytest.mark.parametrize(
    ("shape", "ratio", "options"),
    [
        ((301, 257), 1.0, {"kind": "GLON-TAN GLAT-TAN", "center": (160.0, -18.0)}),
        ((133, 170), 0.3, {"angle": 0.6}),
        ((390, 411), 3.3, {"angle": 1.2}),
        ((1001, 805), 17.0, {"angle": 0.2}),
        ((40, 30), 1.0, {}),
    ],
)
def test_a_map_sampled_in_parts_is_the_same_to_the_last_bit(monkeypatch, shape, ratio, options):
    rng = np.random.default_rng(0)
    n_h, v, sigma, limit = rng.uniform(1, 3, (4, *shape))
    wcs = celestial_wcs(shape, TILE_PIXEL / ratio, **options)
    maps = flat_maps(shape, n_h=1e22 * n_h, v=v, sigma=sigma, wcs=wcs)
    holes = rng.random((3, *shape)) < 0.02
    limit[holes[0]] = sigma[holes[1]] = np.nan
    coverage = ~holes[2]
    coverage[: shape[0] // 5] = False
    maps = replace(
        with_limit(maps, 5e21 * limit), detected=n_h > 1.5, covered=coverage, sigma_v=sigma * KMS
    )
    x, y = rng.uniform(-20, np.array(shape[::-1])[:, None] + 20, (2, 30))
    positions = wcs.pixel_to_world(x, y)
    results = []
    for square in (100_000, 64, 37):
        monkeypatch.setattr(_sampling, "_SQUARE", square)
        results.append((tile_grid(maps), make_tiles(maps, positions)))
    for grid, tiles in results[1:]:
        for name in ("maps", "detected", "covered", "snr", "v_los"):
            assert_array_equal(getattr(grid, name), getattr(results[0][0], name))
            assert_array_equal(getattr(tiles, name), getattr(results[0][1], name))


@pytest.mark.parametrize("ratio", [1, 20])
def test_no_more_of_a_map_is_worked_out_at_once_than_tiles_reach(monkeypatch, ratio):
    pixels = []

    def counted(fields, y, x):
        pixels.append(len(y) * len(x))
        return block(fields, y, x)

    block = Fields.block
    monkeypatch.setattr(Fields, "block", counted)
    monkeypatch.setattr(_sampling, "_SQUARE", 128)
    maps = flat_maps((1500, 1400), TILE_PIXEL / ratio)
    make_tiles(maps, CENTER)
    assert sum(pixels) < 1.3 * (64 * ratio + 8) ** 2
    pixels.clear()
    monkeypatch.setattr(bands, "BAND_PIXELS", 128**2)
    tile_grid(maps)
    assert max(pixels) < (128 + 64 + 8) ** 2


# ---------------------------------------------------------------- scalars, mass, peaks


def test_scalars_by_hand():
    """A column that falls as r^-1 in steps, solid gradients, and a spot."""
    names, _ = tile_statistics(np.full((1, 3, 64, 64), 22.0))
    assert len(names) == len(set(names)) == 22
    y, x = np.mgrid[:64, :64] - 31.5
    inner = np.hypot(x, y) <= 4
    n_inner, n_eight = inner.sum(), (np.hypot(x, y) <= 8).sum()
    column = np.where(inner, 5e22, 1e22)
    maps = np.stack([np.log10(column), 0.03 * x - 0.04 * y + 0.5, np.where(inner, 1.0, 0.2)])[None]
    row = dict(zip(names, tile_statistics(maps)[1][0].tolist(), strict=True))
    assert row["column_2"] == pytest.approx(np.log10(5e22), rel=1e-6)
    mean = (5e22 * n_inner + 1e22 * (n_eight - n_inner)) / n_eight
    assert row["column_8"] == pytest.approx(np.log10(mean), rel=1e-6)
    square = (5 * n_inner * 1.0 + (n_eight - n_inner) * 0.04) / (4 * n_inner + n_eight)
    assert row["dispersion_8"] == pytest.approx(np.sqrt(square), rel=1e-5)
    for radius in (2, 4, 8, 16, 32):
        assert row[f"gradient_{radius}"] == pytest.approx(0.05, rel=1e-5)
        assert row[f"velocity_{radius}"] == pytest.approx(0.5, rel=1e-5)
    assert row["peak"] == pytest.approx(np.log10(5e22), rel=1e-6)
    share = n_inner / 4096
    assert row["spread"] == pytest.approx(np.log10(5) * np.sqrt(share * (1 - share)), rel=1e-5)


def test_scalars_do_not_see_where_east_is():
    """Turned, mirrored or receding tiles hold the same star."""
    rng = np.random.default_rng(2)
    maps = rng.normal(size=(2, 3, 64, 64))
    first = tile_statistics(maps)[1]
    assert_allclose(tile_statistics(np.rot90(maps, axes=(2, 3)))[1], first, rtol=1e-5)
    assert_allclose(tile_statistics(maps[..., ::-1])[1], first, rtol=1e-5)
    assert_allclose(
        tile_statistics(maps * np.array([1, -1, 1])[:, None, None])[1], first, rtol=1e-5
    )


def test_motions_of_undetected_pixels_do_not_count():
    maps = np.zeros((2, 3, 64, 64))
    maps[:, 0], maps[:, 1], maps[:, 2] = 22, 1.0, 0.5
    detected = np.ones((2, 64, 64), dtype=bool)
    detected[0, :, 32:] = False
    detected[1] = False
    maps[0, 1:, :, 32:] = 7
    names, array = tile_statistics(maps, detected)
    assert np.isfinite(array).all()
    for radius in (2, 32):
        assert array[0, names.index(f"velocity_{radius}")] == pytest.approx(1)
        assert array[0, names.index(f"dispersion_{radius}")] == pytest.approx(0.5)
        assert array[1, names.index(f"dispersion_{radius}")] == pytest.approx(0.5)


def test_gas_mass_by_hand():
    """1.4 m_p 1e22 cm^-2 (0.5 pc)^2 = 28.0 Msun; half of it where half is detected."""
    maps = np.full((1, 3, 64, 64), 22.0)
    by_hand = 1.4 * 1.67262e-24 * 1e22 * (0.5 * 3.0857e18) ** 2 / 1.98841e33
    assert gas_mass(maps, 0.5 / 64 * u.pc).value == pytest.approx(by_hand, rel=1e-4)
    half = np.arange(64)[None, None, :] + np.zeros((1, 64, 1)) < 32
    assert gas_mass(maps, 0.5 / 64 * u.pc, half).value == pytest.approx(by_hand / 2, rel=1e-4)
    tile = make_tiles(flat_maps(), CENTER)
    assert tile.gas_mass.to_value(u.solMass) == pytest.approx(by_hand, rel=1e-4)
    assert tile.statistics().array.shape == (1, 22)


def test_gas_mass_is_that_of_the_simulation(simulations):
    """The maps' mass agrees with what the simulation counted in the same cubes."""
    with fits.open(simulations / "s2_samples.fits") as hdus:
        log_n = hdus["LOG_N_HI"].data[:50]
        truth = Table.read(hdus["SAMPLES"])["gas_mass"][:50]
    mass = gas_mass(log_n[:, None], 0.5 / 64 * u.pc)
    assert_allclose(mass.to_value(u.solMass), np.asarray(truth), rtol=2e-4)


def test_tiles_of_a_cube_are_those_of_the_box(simulations):
    """The cube's moments, cut on the sky, agree with the box's own projections about the stars."""
    with fits.open(simulations / "s4_00007_x_ppv.fits.gz") as hdus:
        header, cube = hdus[0].header, hdus[0].data.astype(float)
    v = (header["CRVAL3"] + header["CDELT3"] * np.arange(len(cube)))[:, None, None] / 1e3
    total = cube.sum(axis=0)
    mean = (cube * v).sum(axis=0) / total
    sigma = np.sqrt((cube * (v - mean) ** 2).sum(axis=0) / total)
    wcs = WCS(header).celestial
    maps = flat_maps(total.shape, n_h=total * 0.125e22, v=mean, sigma=sigma, wcs=wcs)
    stars = Table.read(simulations / "s4_00007_x_ppv.ecsv")
    tiles = make_tiles(maps, SkyCoord(stars["skycoord"]))
    with fits.open(simulations / "s4_boxes.fits") as hdus:
        boxes, sinks = (Table.read(hdus[name]) for name in ("BOXES", "SINKS"))
        box = next(b for b, row in enumerate(boxes) if (row["output"], row["axis"]) == (7, "x"))
        truth = np.stack([hdus[name].data[box] for name in ("LOG_N_HI", "V_LOS", "SIGMA_V")])
    for star, tile, v_tile in zip(stars, tiles.maps, tiles.v_los.value, strict=True):
        here = (sinks["box"] == box) & (sinks["sink_id"] == int(star["id"].split("-")[1]))
        x, y = (int(np.round(sinks[here][name][0] + 0.5)) for name in ("x_pix", "y_pix"))
        expected = np.roll(truth, (32 - y, 32 - x), axis=(1, 2))[:, :64, :64]
        mass = (10.0 ** tile[0].astype(float)).sum() / (10.0 ** expected[0].astype(float)).sum()
        assert mass == pytest.approx(1, abs=0.01)
        for ours, theirs in zip(tile, expected, strict=True):
            assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98
        assert np.median(tile[1] + v_tile - expected[1]) == pytest.approx(0, abs=2e-3)


def test_peaks_are_found_and_thinned():
    y, x = np.mgrid[:100, :100]
    spots = [(20, 30, 5.0), (26, 30, 4.0), (70, 80, 3.0), (99, 50, 2.0)]
    column = 1 + sum(h * np.exp(-((x - i) ** 2 + (y - j) ** 2) / 8) for i, j, h in spots)
    assert peak_pixels(column, min_separation=3).tolist() == [
        [20, 30],
        [26, 30],
        [70, 80],
        [99, 50],
    ]
    assert peak_pixels(column, min_separation=10).tolist() == [[20, 30], [70, 80], [99, 50]]
    assert peak_pixels(column, min_separation=10, n_max=1).tolist() == [[20, 30]]
    inner = peak_pixels(column, min_separation=3, covered=x > 60)
    assert inner.tolist() == [[70, 80]]  # the other is too near the end of the map
    noisy = peak_pixels(column, min_separation=3, error=0.45)
    assert noisy.tolist() == [[20, 30], [26, 30]]
    y, x = np.mgrid[:40, :50]
    apart = np.minimum(np.abs(x - 49), 50 - np.abs(x - 49))  # across the edge
    box = 1 + np.exp(-(apart**2 + (y - 20) ** 2) / 8)
    box += 0.5 * np.exp(-((x - 8) ** 2 + (y - 20) ** 2) / 8)
    assert peak_pixels(box, min_separation=8, periodic=True).tolist() == [[49, 20], [8, 20]]
    assert peak_pixels(box, min_separation=10, periodic=True).tolist() == [[49, 20]]
    cut_open = peak_pixels(box, min_separation=10).tolist()
    assert cut_open == [[49, 20], [0, 20]]  # the first shows on both sides
    assert peak_pixels(np.ones((9, 9)), min_separation=3).shape == (0, 2)


def test_column_peaks_are_positions_of_bright_gas():
    shape = (120, 120)
    wcs = celestial_wcs(shape, TILE_PIXEL * 1.5, angle=0.3)
    y, x = np.mgrid[:120, :120]
    column = 1e20 + sum(
        h * np.exp(-((x - i) ** 2 + (y - j) ** 2) / 18)
        for i, j, h in ((40, 40, 3e22), (80, 70, 2e22), (60, 100, 3e21), (0, 60, 9e22))
    )
    maps = with_limit(flat_maps(shape, n_h=column, wcs=wcs), 3e21)
    peaks = column_peaks(maps)
    expected = wcs.pixel_to_world([40, 80], [40, 70])
    # the third is below S/N 5, and nobody knows how the fourth goes on beyond the edge
    assert len(peaks) == 2
    assert peaks.separation(expected).max() < 1.5 * TILE_PIXEL * u.deg
    assert len(column_peaks(maps, n_max=1)) == 1
    assert len(column_peaks(maps, min_snr=1e4)) == 0


# ---------------------------------------------------------------- refusals


def test_no_tracer_no_tiles():
    maps = replace(flat_maps(), tracer=None)
    for job in (lambda: make_tiles(maps, CENTER), lambda: tile_grid(maps)):
        with pytest.raises(MissingInputError, match="tracer: must be given"):
            job()


def test_no_distance_no_tiles():
    maps = flat_maps(distance=None)
    with pytest.raises(MissingInputError, match="distance: must be given, such as '140 pc'"):
        make_tiles(maps, CENTER)
    with pytest.raises(MissingInputError, match="distance: must be given"):
        column_peaks(maps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": 140}, "distance: must be a quantity"),
        ({"distance": "140 deg"}, "distance: must be a quantity convertible to 'pc'"),
        ({"distance": -3 * u.pc}, "distance: must be finite and above zero"),
        ({"distance": [140, 150, 160] * u.pc}, "distance: must be one value, or one for each of 2"),
        ({"width": 0.5}, "width: must be a quantity"),
        ({"n_pixels": 63}, "n_pixels: must be an even number"),
        ({"step": 0.1 * u.pc}, "step: cannot be combined with positions"),
        ({"position_error": 3 * u.s}, "position_error: must be a quantity"),
        ({"position_error": -3 * u.arcsec}, "position_error: must be finite and not negative"),
        ({"ids": ["a"]}, "ids: must be 2 different names"),
        ({"ids": ["a", "a"]}, "ids: must be 2 different names"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        make_tiles(flat_maps(), SkyCoord([CENTER, CENTER]), **options)


def test_bad_positions_are_named():
    with pytest.raises(InputError, match="positions: must be a SkyCoord; got 'tuple'"):
        make_tiles(flat_maps(), (52.0, 31.0))
    with pytest.raises(InputError, match="positions: must be finite"):
        make_tiles(flat_maps(), SkyCoord([np.nan, 3], [4, 5], unit="deg"))
    with pytest.raises(InputError, match="distance: must be one value for a grid"):
        make_tiles(flat_maps(), distance=[140, 150] * u.pc)
    with pytest.raises(InputError, match="distance: must be one value to look for peaks"):
        column_peaks(flat_maps(), distance=[140, 150] * u.pc)


def test_a_grid_beyond_reason_is_refused():
    with pytest.raises(InputError, match=r"distance: gives a grid of .*; crop the map"):
        tile_grid(flat_maps(pixel=1.0, distance=1e5 * u.pc))


def test_scalars_refuse_what_they_cannot_measure():
    with pytest.raises(InputError, match="maps: must have shape"):
        tile_statistics(np.zeros((3, 64, 64)))
    with pytest.raises(InputError, match="maps: must be finite"):
        tile_statistics(np.full((1, 3, 64, 64), np.nan))
