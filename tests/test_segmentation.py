import shutil
import subprocess
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from matplotlib.image import imread
from radio_beam import Beam
from regions import PixCoord, PolygonPixelRegion, Regions
from scipy import ndimage

from stellarssl._utils import bands
from stellarssl.encoder import Encoder
from stellarssl.exceptions import (
    EncoderMismatchError,
    InputError,
    MissingInputError,
    NoSignalError,
    OutputExistsError,
    StellarSSLWarning,
)
from stellarssl.library import TokenStatistics
from stellarssl.moments import MomentMaps, moment_maps
from stellarssl.segmentation import (
    PCASegmenter,
    label_polygons,
    label_regions,
)
from stellarssl.segmentation.classes import connected_pieces, find_classes
from stellarssl.segmentation.polygons import crtf_text
from stellarssl.segmentation.table import pixel_areas, segment_table
from stellarssl.segmentation.windows import blended_components, mirror_beyond

KMS = u.km / u.s


def sky(kind="RA---TAN DEC--TAN", crval=(52.0, 31.0), step=0.003, shape=(60, 70)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = kind.split()
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = crval
    wcs.wcs.cdelt = [-step, step]
    wcs.wcs.crpix = [shape[1] / 2, shape[0] / 2]
    return wcs


def blobs(shape=(110, 120), distance=140 * u.pc, **options):
    """Two discs and a ring, 1e22 cm^-2 and more, of different line widths."""
    y, x = np.indices(shape)
    a, b, c = np.hypot(x - 30, y - 30), np.hypot(x - 85, y - 30), np.hypot(x - 60, y - 80)
    column = 1e22 * (a < 16) + 4e22 * (b < 20) + 2e22 * ((c > 9) & (c < 22))
    sigma = np.select([a < 16, b < 20], [0.2, 1.0], 0.5)
    return MomentMaps.from_maps(
        n_h=column * u.cm**-2,
        v_los=(0.01 * x + 5) * KMS,
        sigma_v=sigma * KMS,
        errors={"n_h": np.full(shape, 2e20) * u.cm**-2},
        wcs=sky("GLON-TAN GLAT-TAN", shape=shape),
        distance=distance,
        **options,
    )


@pytest.fixture(scope="module")
def encoder():
    return Encoder.random(architecture="test_vit", width=64, device="cpu", dtype="float32")


def random_tokens(encoder, seed=0, n=3):
    rng = np.random.default_rng(seed)
    components = np.linalg.qr(rng.normal(size=(encoder.spec.width, n)))[0].T
    return TokenStatistics(
        rng.normal(size=(8, 8, encoder.spec.width)).astype("f4"),
        components.astype("f4"),
        np.array([[-1, 3], [-2, 2], [0, 1]], dtype="f4"),
        encoder.sha256,
    )


@pytest.fixture(scope="module")
def library(encoder):
    """Tokens of smooth random maps; all else that a library holds is not looked at."""
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.normal(size=(3, 24, 64, 64)), (0, 0, 6, 6))
    noise /= noise.std()
    maps = np.stack([22 + 0.6 * noise[0], 0.5 * noise[1], 0.2 + 0.3 * np.abs(noise[2])], axis=1)
    tokens = encoder.patch_tokens(maps.astype("f4"))
    mean = tokens.mean(axis=0)
    flat = (tokens - mean).reshape(-1, tokens.shape[-1])
    components = np.linalg.svd(flat, full_matrices=False)[2][:3]
    scale = np.percentile(flat @ components.T, [1, 99], axis=0).T.astype("f4")
    return SimpleNamespace(
        tokens=TokenStatistics(mean, components, scale, encoder.sha256), sha256="0" * 64
    )


@pytest.fixture(scope="module")
def segmentation(encoder, library):
    return PCASegmenter(encoder, library, n_classes=3).segment(blobs())


def pixels_inside(regions, wcs, shape):
    """Ask regions which pixel centers lie in each polygon."""
    labels = np.zeros(shape, dtype=int)
    for region in regions:
        mask = region.to_pixel(wcs).to_mask(mode="center").to_image(shape)
        number = int(region.meta.get("label") or region.meta["text"])
        assert not labels[mask > 0].any()
        labels[mask > 0] = number
    return labels


# outlines


def awkward_labels(seed, smooth, shape=(40, 50)):
    """Random islands with holes, islands in holes, and pixels that touch at corners."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), smooth)
    return ndimage.label(field > -0.3 * field.std())[0]


@pytest.mark.parametrize(
    "wcs",
    [sky(), sky("GLON-CAR GLAT-CAR", (120.0, 0.0)), sky("RA---SFL DEC--SFL", (52.0, 0.0), 0.05)],
)
@pytest.mark.parametrize("style", ["ds9", "crtf"])
def test_region_text_holds_the_same_pixels(wcs, style):
    labels = awkward_labels(3, 0.8)
    filled = ndimage.binary_fill_holes(labels > 0)
    assert np.count_nonzero(filled & (labels == 0)) > 50  # there are holes to lose
    regions = label_regions(labels, wcs)
    text = crtf_text(regions) if style == "crtf" else regions.serialize(format="ds9", precision=10)
    back = Regions.parse(text, format=style)
    np.testing.assert_array_equal(pixels_inside(back, wcs, labels.shape), labels)


def test_crtf_is_what_regions_writes():
    regions = label_regions(np.pad([[5, 5], [5, 0]], 2), sky("GLON-TAN GLAT-TAN"))
    assert crtf_text(regions) == regions.serialize(format="crtf", coordsys="icrs", fmt=".10f")


def test_regions_carry_the_label_for_both_formats():
    region = label_regions(np.pad([[5]], 2), sky())[0]
    assert region.meta["text"] == region.meta["label"] == "5"
    assert region.vertices.frame.name == "icrs"


@pytest.mark.parametrize("smooth", [0.3, 1, 2])
def test_no_pixel_center_is_near_an_outline(smooth):
    labels = awkward_labels(5, smooth, (30, 30))
    y, x = np.indices(labels.shape)
    centers = np.stack([x.ravel(), y.ravel()], axis=1)
    for label, ring in label_polygons(labels).items():
        start, step = ring, np.roll(ring, -1, axis=0) - ring
        along = ((centers[:, None] - start) * step).sum(axis=2) / (step**2).sum(axis=1)
        foot = start + np.clip(along, 0, 1)[..., None] * step
        assert np.linalg.norm(centers[:, None] - foot, axis=2).min() > 1 / 3
        inside = PolygonPixelRegion(PixCoord(*ring.T)).contains(PixCoord(x, y))
        np.testing.assert_array_equal(inside, labels == label)


def test_straight_edges_have_no_needless_vertices():
    labels = np.zeros((20, 30), dtype=int)
    labels[5:15, 5:25] = 1
    assert len(label_polygons(labels)[1]) == 8  # a rectangle with cut corners


def test_a_hole_is_joined_by_a_cut():
    labels = np.pad(np.ones((5, 5), dtype=int), 1)
    labels[3, 3] = 0
    ring = label_polygons(labels)[1]
    x, y = ring.T
    area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    assert area == 25 - 4 / 8 - 0.5  # four corners of an eighth each, and the hole's diamond


def test_an_outline_that_leaves_the_sky_is_left_out_with_a_warning():
    wcs = sky("RA---SIN DEC--SIN", (0.0, 0.0), 2.0, (60, 60))
    labels = np.zeros((60, 60), dtype=int)
    labels[0:3, 0:3], labels[30:33, 30:33] = 1, 2
    with pytest.warns(StellarSSLWarning, match="segment 1 has no region"):
        regions = label_regions(labels, wcs)
    assert [region.meta["text"] for region in regions] == ["2"]


# pieces


def test_small_pieces_go_to_what_they_touch():
    classes = np.array(
        [
            [1, 1, 1, 2, 2, 2, 2],
            [1, 1, 1, 2, 2, 2, 2],
            [1, 3, 1, 2, 2, 3, 2],
            [1, 1, 1, 2, 2, 3, 3],
            [0, 0, 0, 0, 0, 0, 0],
            [1, 1, 0, 3, 2, 1, 1],
            [0, 0, 0, 3, 2, 0, 1],
        ]
    )
    expected = np.array(
        [
            [2, 2, 2, 1, 1, 1, 1],
            [2, 2, 2, 1, 1, 1, 1],
            [2, 2, 2, 1, 1, 1, 1],
            [2, 2, 2, 1, 1, 1, 1],
            [0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 3, 3, 3, 3],  # small ones that touch are large enough together
            [0, 0, 0, 3, 3, 0, 3],
        ]
    )
    np.testing.assert_array_equal(connected_pieces(classes, 4), expected)


def test_one_kind_in_two_places_is_two_segments():
    labels = connected_pieces(np.array([[1, 1, 0, 1], [1, 1, 0, 1]]), 1)
    assert labels.tolist() == [[1, 1, 0, 2], [1, 1, 0, 2]]


def test_pixels_that_touch_at_corners_are_apart():
    assert connected_pieces(np.array([[1, 0], [0, 1]]), 1).max() == 2


def test_nothing_has_no_pieces():
    assert not connected_pieces(np.zeros((3, 4), dtype=int), 1).any()


def test_as_many_kinds_as_the_tolerance_asks_for():
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 1]])
    truth = rng.integers(0, 3, (20, 30))
    components = centers[truth].transpose(2, 0, 1) + 0.05 * rng.normal(size=(3, 20, 30))
    components[:, 3, 4] = np.nan
    classes = find_classes(components, None, 0)
    assert classes.max() == 3
    assert classes[3, 4] == 0
    pairs = np.unique(np.stack([classes, truth])[:, classes > 0], axis=1)
    assert pairs.shape == (2, 3)  # one to one
    assert find_classes(components, 5, 0).max() == 5


def test_alike_pixels_are_one_kind():
    assert find_classes(np.zeros((3, 4, 5)), None, 0).max() == 1
    assert find_classes(np.zeros((3, 4, 5)), 6, 0).max() == 1
    rng = np.random.default_rng(0)
    assert find_classes(0.5 + 0.1 * rng.normal(size=(3, 20, 20)), None, 0).max() == 1


# windows


class PatchMeans:
    """Stands for an encoder: a token is its patch's channel means, times a factor of its place."""

    place = 1 + np.arange(64).reshape(8, 8, 1) / 10

    def patch_tokens(self, maps):
        means = maps.reshape(len(maps), 3, 8, 8, 8, 8).mean(axis=(3, 5))
        return (means.transpose(0, 2, 3, 1) * self.place).astype("f4")


def brute_force(maps, tokens, step):
    """Blend windows as the docstring says, one pixel and one token at a time."""
    ny, nx = maps.shape[1:]
    padded = np.pad(maps, ((0, 0), (64, 64), (64, 64)), mode="symmetric")
    total, weight = np.zeros((3, ny, nx)), np.zeros((ny, nx))
    for y0 in range(step - 64, ny, step):
        for x0 in range(step - 64, nx, step):
            window = padded[:, y0 + 64 : y0 + 128, x0 + 64 : x0 + 128]
            token = PatchMeans().patch_tokens(window[None])[0] - tokens.mean
            value = (token @ tokens.components.T - tokens.scale[:, 0]) / np.ptp(
                tokens.scale, axis=1
            )
            for y in range(max(y0, 0), min(y0 + 64, ny)):
                for x in range(max(x0, 0), min(x0 + 64, nx)):
                    near = [
                        [
                            max(0, 1 - abs(p + 0.5 - 8 * i - 4) / 8)
                            * np.sin(np.pi * (i + 0.5) / 8) ** 2
                            for i in range(8)
                        ]
                        for p in (y - y0, x - x0)
                    ]
                    w = np.outer(*near)
                    total[:, y, x] += np.einsum("ij,ijc->c", w, value)
                    weight[y, x] += w.sum()
    return total / weight


def test_windows_are_blended_as_by_brute_force():
    rng = np.random.default_rng(2)
    maps = rng.normal(size=(3, 21, 34)).astype("f4")
    tokens = TokenStatistics(
        rng.normal(size=(8, 8, 3)),
        np.linalg.qr(rng.normal(size=(3, 3)))[0],
        np.array([[-1, 3], [-2, 2], [0, 1.0]]),
        "",
    )
    ours = blended_components(maps, np.ones((21, 34), bool), PatchMeans(), tokens, step=28)
    np.testing.assert_allclose(ours, brute_force(maps, tokens, 28), atol=1e-5)


def test_a_uniform_map_has_no_trace_of_the_windows(encoder):
    maps = np.empty((3, 70, 90), dtype="f4")
    maps[:] = np.array([22.3, 0.4, 0.6])[:, None, None]
    everywhere = np.ones((70, 90), bool)
    tokens = random_tokens(encoder)
    position_artefacts = blended_components(maps, everywhere, encoder, tokens, step=18)
    assert np.ptp(position_artefacts, axis=(1, 2)).min() > 0.01
    tokens = replace(tokens, mean=encoder.patch_tokens(maps[None, :, :64, :64])[0])
    components = blended_components(maps, everywhere, encoder, tokens, step=18)
    assert np.ptp(components, axis=(1, 2)).max() < 1e-5


def test_a_cutout_has_the_same_components_away_from_its_edges(encoder):
    rng = np.random.default_rng(4)
    maps = ndimage.gaussian_filter(rng.normal(size=(3, 200, 220)), (0, 4, 4)).astype("f4") * 8
    maps[0] += 22
    tokens = random_tokens(encoder)
    whole = blended_components(maps, np.ones((200, 220), bool), encoder, tokens, step=18)
    part = maps[:, 18:182, 36:204]
    cut = blended_components(part, np.ones(part.shape[1:], bool), encoder, tokens, step=18)
    np.testing.assert_allclose(cut[:, 64:-64, 64:-64], whole[:, 82:118, 100:140], atol=1e-5)


def test_a_map_of_any_outline_is_continued_as_in_a_mirror():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 30, 40))
    covered = np.zeros((30, 40), bool)
    covered[5:25, 10:35] = True
    continued = maps.copy()
    mirror_beyond(continued, covered)
    np.testing.assert_array_equal(continued[:, covered], maps[:, covered])
    mirrored = np.pad(maps[:, 5:25, 10:35], ((0, 0), (5, 5), (10, 5)), mode="reflect")
    np.testing.assert_array_equal(continued, mirrored)


def test_windows_without_gas_are_left_out(encoder):
    maps = np.ones((3, 150, 150), dtype="f4")
    detected = np.zeros((150, 150), bool)
    detected[10:20, 10:20] = True
    tokens = random_tokens(encoder)
    some = blended_components(maps, detected, encoder, tokens, step=32)
    all_ = blended_components(maps, ~detected | detected, encoder, tokens, step=32)
    np.testing.assert_array_equal(some[:, detected], all_[:, detected])
    assert np.isnan(some[:, 140, 140]).all()


# the table


@pytest.mark.parametrize("row", [0, 20, 60])
def test_pixel_areas_are_those_of_the_sphere(row):
    wcs = sky("RA---CAR DEC--CAR", (0.0, 0.0), 1.0, (121, 40))
    wcs.wcs.crpix = [20, 1]
    edges = np.radians([row - 0.5, row + 0.5])
    expected = np.radians(1) * np.diff(np.sin(edges))[0]
    assert pixel_areas(wcs, np.array([row]), np.array([7])) == pytest.approx(expected, rel=1e-4)


def test_the_table_agrees_with_sums_by_hand():
    shape = (4, 5)
    n_h, v, sigma = np.full(shape, 5e21), np.full(shape, 9.0), np.full(shape, 0.1)
    n_h[1, 1:3], v[1, 1:3], sigma[1, 1:3] = (1e22, 3e22), (0.0, 1.0), (0.3, 0.4)
    maps = MomentMaps.from_maps(
        n_h=n_h * u.cm**-2, v_los=v * KMS, sigma_v=sigma * KMS, wcs=sky(shape=shape)
    )
    labels = np.zeros(shape, dtype=np.int32)
    labels[1, 1:3], labels[3, :] = 1, 2
    classes = np.where(labels == 1, 2, labels // 2)
    components = np.stack([labels + 0.5, np.indices(shape)[1], 0 * labels])
    table = segment_table(labels, classes, components, maps, 140 * u.pc)
    first = table[0]
    assert first["n_pixels"] == 2
    assert table["class_id"].tolist() == [2, 1]
    assert first["solid_angle"].to_value(u.deg**2) == pytest.approx(2 * 0.003**2, rel=1e-4)
    area = 2 * (140 * np.radians(0.003)) ** 2
    assert first["area"].unmasked.to_value(u.pc**2) == pytest.approx(area, rel=1e-4)
    assert first["mean_n_h"].to_value(u.cm**-2) == pytest.approx(2e22, rel=1e-5)
    assert first["peak_n_h"].to_value(u.cm**-2) == pytest.approx(3e22, rel=1e-5)
    assert first["v_los"].to_value(KMS) == pytest.approx(0.75, rel=1e-5)
    # a quarter of 0.75^2 + 0.3^2, and three of 0.25^2 + 0.4^2
    assert first["sigma_v"].to_value(KMS) == pytest.approx(np.sqrt(0.33), rel=1e-5)
    # 1e22 cm^-2 of 1.4 m_p over 1 pc^2 are 112.1 solar masses
    assert first["gas_mass"].unmasked.to_value(u.solMass) == pytest.approx(
        112.1 * 2 * area, rel=1e-3
    )
    x, y = maps.wcs.world_to_pixel(first["skycoord"])
    assert (x, y) == pytest.approx((1.75, 1), abs=1e-3)
    assert [first[f"component_{i}"] for i in (1, 2, 3)] == pytest.approx([1.5, 1.5, 0])


# the whole


def test_only_detected_pixels_are_labelled(segmentation):
    maps = blobs()
    assert segmentation.labels.dtype == np.int32
    assert segmentation.components.dtype == segmentation.rgb.dtype == np.float32
    assert not segmentation.labels[~maps.detected].any()
    assert np.isnan(segmentation.components[:, ~maps.detected]).all()
    assert np.isfinite(segmentation.components[:, maps.detected]).all()
    assert (segmentation.rgb[~maps.detected] == 1).all()
    assert segmentation.rgb.min() >= 0
    assert segmentation.rgb.max() <= 1


def test_blobs_apart_are_segments_apart(segmentation):
    islands = ndimage.label(blobs().detected)[0]
    for label in segmentation.table["id"]:
        assert len(np.unique(islands[segmentation.labels == label])) == 1
    assert (segmentation.labels > 0).sum() == (islands > 0).sum()


def test_rows_regions_and_labels_share_ids(segmentation):
    ids = segmentation.table["id"].tolist()
    assert ids == sorted(set(np.unique(segmentation.labels)) - {0})
    assert [int(region.meta["text"]) for region in segmentation.to_regions()] == ids
    assert (
        segmentation.table["n_pixels"].tolist()
        == np.bincount(segmentation.labels.ravel())[1:].tolist()
    )
    assert (np.diff(segmentation.table["n_pixels"]) <= 0).all()
    back = pixels_inside(segmentation.to_regions(), segmentation.wcs, segmentation.labels.shape)
    np.testing.assert_array_equal(back, segmentation.labels)


def test_kind_1_has_the_highest_column(segmentation):
    n_h = blobs().n_h.value
    table = segmentation.table
    means = [
        np.average(table["mean_n_h"].value[rows], weights=table["n_pixels"][rows])
        for rows in (table["class_id"] == class_id for class_id in np.unique(table["class_id"]))
    ]
    assert means == sorted(means, reverse=True)
    assert n_h[segmentation.labels == table["id"][table["class_id"] == 1][0]].max() > 3e22


def test_the_same_input_gives_the_same_segments(encoder, library, segmentation):
    again = PCASegmenter(encoder, library, n_classes=3).segment(blobs())
    np.testing.assert_array_equal(again.labels, segmentation.labels)


def test_n_segments_is_the_number_of_classes(encoder, library):
    one = PCASegmenter(encoder, library, n_classes=1).segment(blobs())
    assert np.unique(one.table["class_id"]).tolist() == [1]
    assert len(one.table) == 3
    free = PCASegmenter(encoder, library).segment(blobs())
    assert 1 <= free.table["class_id"].max() <= 8


def test_a_distance_makes_areas_and_masses(segmentation):
    assert not segmentation.table["gas_mass"].mask.any()
    pixel = (140 * u.pc * np.radians(0.003)) ** 2
    total = (segmentation.table["area"].unmasked).sum() / pixel
    assert total.value == pytest.approx(blobs().detected.sum(), rel=1e-3)


def test_without_a_distance_pixels_are_the_tile_pixels(encoder, library):
    result = PCASegmenter(encoder, library, n_classes=2).segment(blobs(distance=None))
    assert result.table["area"].mask.all()
    assert result.table["gas_mass"].mask.all()
    assert len(result.table) >= 3
    assert result.table.meta["distance"] == "none: native pixels"


def test_a_distance_of_the_argument_wins(encoder, library):
    near = PCASegmenter(encoder, library, n_classes=1).segment(blobs(), distance="70 pc")
    pixel = (70 * u.pc * np.radians(0.003)) ** 2
    assert near.table["area"].unmasked.sum().to_value(u.pc**2) == pytest.approx(
        (blobs().detected.sum() * pixel).to_value(u.pc**2), rel=1e-3
    )


def test_no_segment_is_smaller_than_the_beam(encoder, library):
    beam = Beam(400 * u.arcsec)  # an area of 1550 pixels: only two of the blobs are larger
    area = (beam.sr / (0.003 * u.deg) ** 2).decompose().value
    result = PCASegmenter(encoder, library, n_classes=1).segment(blobs(beam=beam))
    sizes = ndimage.sum(blobs().detected, *[ndimage.label(blobs().detected)[0]], [1, 2, 3])
    assert len(result.table) == np.count_nonzero(sizes >= area) < 3
    # 64 pixels of 0.0078125 pc at 140 pc are 737 arcsec
    assert result.table.meta["beams_per_window"] == pytest.approx(737 / 400, abs=0.01)


def test_specks_of_noise_are_no_segments(encoder, library):
    rng = np.random.default_rng(0)
    specks = np.zeros((80, 80), bool)
    specks[tuple(rng.integers(5, 75, (2, 40)))] = True
    specks = ndimage.binary_dilation(specks)
    maps = blobs((80, 80))
    few = replace(maps, detected=specks, moment0=np.where(specks, 1, np.nan) * u.K * KMS)
    result = PCASegmenter(encoder, library).segment(few)
    assert len(result.table) == 0
    assert not result.labels.any()


def test_a_cube_of_noise_has_no_segments(encoder, library):
    header = sky(shape=(64, 64)).to_header()
    header.update({"CTYPE3": "VRAD", "CUNIT3": "km/s", "CRPIX3": 1, "CRVAL3": 0, "CDELT3": 0.1})
    header.update({"BUNIT": "K", "WCSAXES": 3, "RESTFRQ": 110.201354e9, "BMAJ": 0.01, "BMIN": 0.01})
    noise = np.random.default_rng(0).normal(size=(40, 64, 64)).astype("f4")
    try:
        maps = moment_maps(fits.PrimaryHDU(noise, header), tracer="13CO")
    except NoSignalError:
        return
    assert len(PCASegmenter(encoder, library).segment(maps).table) == 0


def test_nothing_detected_is_no_segments_and_can_be_written(encoder, library, tmp_path):
    maps = blobs((80, 80))
    empty = replace(maps, detected=np.zeros(maps.shape, bool))
    result = PCASegmenter(encoder, library).segment(empty)
    assert len(result.table) == 0
    result.write(tmp_path)
    assert len(Regions.read(tmp_path / "segments.reg", format="ds9")) == 0
    table = QTable.read(tmp_path / "segments.ecsv")
    assert table.colnames == result.table.colnames
    assert table["gas_mass"].unit == u.solMass


def test_a_map_is_measured_a_few_rows_at_a_time(segmentation, monkeypatch):
    counts = []

    def counted(wcs, y, x):
        counts.append(len(y))
        return pixel_areas(wcs, y, x)

    monkeypatch.setattr(bands, "BAND_PIXELS", 1000)
    monkeypatch.setattr("stellarssl.segmentation.table.pixel_areas", counted)
    labels = segmentation.labels
    classes = np.append(0, segmentation.table["class_id"])[labels]
    table = segment_table(labels, classes, segmentation.components, blobs(), 140 * u.pc)
    assert max(counts) <= 1000
    assert sum(counts) == np.count_nonzero(labels)
    for name in ("class_id", "n_pixels", "mean_n_h", "sigma_v", "gas_mass", "component_2"):
        np.testing.assert_allclose(table[name], segmentation.table[name], rtol=1e-12)


@pytest.mark.parametrize("angle", [0, np.pi / 2])
def test_memory_beside_what_is_returned_does_not_grow_with_the_map(monkeypatch, angle):
    monkeypatch.setattr(bands, "BAND_PIXELS", 20_000)
    monkeypatch.setattr("stellarssl.segmentation.windows._BATCH", 4)
    monkeypatch.setattr("stellarssl.tiles.sampling._SQUARE", 128)
    monkeypatch.setattr("stellarssl.tiles.sampling._BATCH_POINTS", 2**14)
    rng = np.random.default_rng(5)
    components = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    tokens = TokenStatistics(np.zeros((8, 8, 3)), components, np.array([[-30, 30]] * 3), "0")
    encoder = PatchMeans()
    encoder.sha256, encoder.name = "0", "means"
    library = SimpleNamespace(tokens=tokens, sha256="0")
    segmenter = PCASegmenter(encoder, library, step=32, n_classes=3)
    beside = []
    for height in (64, 500, 1000):  # the first has imports and compilations
        v = ndimage.gaussian_filter(rng.normal(size=(height, 400)), 8)
        n_h, v = 10 ** (22 + 9 * v) * u.cm**-2, v * KMS
        wcs = sky(shape=v.shape)
        wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        maps = MomentMaps.from_maps(n_h=n_h, v_los=v, sigma_v=abs(v), wcs=wcs)
        tracemalloc.start()
        result = segmenter.segment(maps)
        images = result.labels.nbytes + result.components.nbytes + result.rgb.nbytes
        beside.append(tracemalloc.get_traced_memory()[1] - images)
        tracemalloc.stop()
    assert images == 28 * v.size
    assert len(result.table) > 3
    assert beside[2] - beside[1] < 1 * 500 * 400  # bytes: the map itself has grown by 20 a pixel


# files


@pytest.fixture(scope="module")
def folder(segmentation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segments")
    paths = segmentation.write(folder)
    assert isinstance(paths, list)
    assert sorted(paths) == sorted(folder.iterdir())
    return folder


def test_region_files_hold_the_same_pixels(segmentation, folder):
    for name, style in (("segments.reg", "ds9"), ("segments.crtf", "crtf")):
        regions = Regions.read(folder / name, format=style)
        back = pixels_inside(regions, segmentation.wcs, segmentation.labels.shape)
        np.testing.assert_array_equal(back, segmentation.labels)


def test_images_come_back_with_their_coordinates(segmentation, folder):
    labels, header = fits.getdata(folder / "labels.fits", header=True)
    np.testing.assert_array_equal(labels, segmentation.labels)
    x, y = WCS(header).world_to_pixel(segmentation.wcs.pixel_to_world(3, 4))
    assert (x, y) == pytest.approx((3, 4), abs=1e-6)
    components, header = fits.getdata(folder / "components.fits", header=True)
    np.testing.assert_array_equal(components, segmentation.components)
    assert WCS(header).celestial.naxis == 2


def test_the_picture_has_its_first_row_at_the_bottom(segmentation, folder):
    picture = imread(folder / "rgb.png")[::-1]
    detected = np.isfinite(segmentation.components[0])
    np.testing.assert_array_equal(picture[..., 3] == 1, detected)
    np.testing.assert_allclose(picture[detected, :3], segmentation.rgb[detected], atol=1 / 255)


def test_the_table_comes_back(segmentation, folder):
    table = QTable.read(folder / "segments.ecsv")
    assert table.colnames == segmentation.table.colnames
    np.testing.assert_allclose(table["gas_mass"].value, segmentation.table["gas_mass"].value)
    assert table["skycoord"].separation(segmentation.table["skycoord"]).max() < 1e-6 * u.arcsec
    assert table.meta["encoder"] == "random-0"


def test_fitsverify_finds_nothing(folder):
    if shutil.which("fitsverify") is None:
        pytest.skip("fitsverify is not installed")
    for name in ("labels.fits", "components.fits"):
        run = subprocess.run(
            ["fitsverify", folder / name], capture_output=True, text=True, check=False
        )
        assert "0 warning(s) and 0 error(s)" in run.stdout
        assert run.returncode == 0


def test_files_are_not_replaced_unasked(segmentation, tmp_path):
    (tmp_path / "segments.reg").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"segments.reg exists and .* \(overwrite=\)"):
        segmentation.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["segments.reg"]
    segmentation.write(tmp_path, overwrite=True)
    assert "polygon" in (tmp_path / "segments.reg").read_text()
    with pytest.raises(InputError, match="directory: must not be a file"):
        segmentation.write(tmp_path / "segments.reg")


# bad input


def test_the_library_must_be_this_encoders(encoder, library):
    with pytest.raises(
        EncoderMismatchError, match="library: must hold the tokens of the encoder random-0"
    ):
        PCASegmenter(
            encoder, SimpleNamespace(tokens=replace(library.tokens, encoder_sha256="f" * 64))
        )
    with pytest.raises(
        InputError, match=r"library: must hold token statistics: use library.with_tokens"
    ):
        PCASegmenter(encoder, SimpleNamespace(tokens=None))


def test_options_are_checked(encoder, library):
    with pytest.raises(InputError, match="n_classes: must be at least 1, or None; got 0"):
        PCASegmenter(encoder, library, n_classes=0)
    with pytest.raises(InputError, match="step: must be from 1 to 32 pixels; got 40"):
        PCASegmenter(encoder, library, step=40)


def test_a_column_is_needed(encoder, library):
    with pytest.raises(MissingInputError, match="tracer: must be given"):
        PCASegmenter(encoder, library).segment(replace(blobs((70, 70)), tracer=None))
