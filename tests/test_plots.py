from dataclasses import replace

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from matplotlib.image import imread
from matplotlib.patches import PathPatch, Polygon
from radio_beam import Beam

from stellarssl.exceptions import InputError
from stellarssl.moments import MomentMaps
from stellarssl.plots import plot_comparison, plot_masses, plot_moments, plot_segments
from stellarssl.segmentation import Segmentation

SHAPE = (40, 50)


@pytest.fixture
def maps():
    """A disc of gas; the right-hand margin was not observed."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "GLON-TAN", "GLAT-TAN"
    wcs.wcs.cunit = "deg", "deg"
    wcs.wcs.crval = 158.0, -20.0
    wcs.wcs.cdelt = -0.002, 0.002
    wcs.wcs.crpix = 25, 20
    y, x = np.indices(SHAPE)
    column = np.where(np.hypot(x - 20, y - 20) < 15, 1e22 * (1 + x / 10), 0.0)
    column[:, 45:] = np.nan
    return MomentMaps.from_maps(
        n_h=column * u.cm**-2,
        v_los=x * 0.1 * u.km / u.s,
        sigma_v=(0.3 + y * 0.01) * u.km / u.s,
        wcs=wcs,
        distance=140 * u.pc,
        beam=Beam(43.2 * u.arcsec, 21.6 * u.arcsec, 30 * u.deg),
    )


@pytest.fixture
def segmentation(maps):
    labels = np.where(maps.detected, 1, 0).astype(np.int32)
    labels[15:25, 15:25] = 2
    labels[19:21, 19:21] = 0
    table = QTable({"id": [1, 2], "class_id": [2, 1], "n_pixels": np.bincount(labels.ravel())[1:]})
    components = np.where(maps.detected, 0.5, np.nan) * np.ones((3, 1, 1))
    rgb = np.nan_to_num(components, nan=1).transpose(1, 2, 0)
    return Segmentation(rgb, labels, components, maps.wcs, table)


@pytest.fixture
def table(maps):
    def masses(*values):
        return Masked(values * u.solMass, mask=[False, False, True])

    return QTable(
        {
            "id": ["IRS 1", "2", "3"],
            "skycoord": maps.wcs.pixel_to_world([20, 25, 45], [20, 12, 35]),
            "mass": masses(0.5, 2.0, 9.0),
            "mass_lower": masses(0.3, 1.5, 5.0),
            "mass_upper": masses(0.9, 3.0, 12.0),
            "mass_lower_95": masses(0.2, 1.0, 3.0),
            "mass_upper_95": masses(1.5, 5.0, 20.0),
            "flag_words": ["", "low_snr", "novel,off_map"],
        }
    )


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def labels(figure):
    return " ".join(
        label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel())
    )


def signed_area(ring):
    x, y = ring.T
    return np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2


def saved(figure, tmp_path):
    figure.savefig(tmp_path / "figure.png")
    picture = imread(tmp_path / "figure.png")
    assert picture[..., :3].std() > 0.01
    return picture


def test_moments_show_three_channels_in_their_units(maps, tmp_path):
    figure = plot_moments(maps)
    panels = [axes for axes in figure.axes if hasattr(axes, "coords")]
    assert len(panels) == 3
    column = panels[0].images[1].get_array()
    assert column[20, 20] == pytest.approx(np.log10(3e22), abs=1e-4)
    assert column.mask[0, 0] or np.isnan(column[0, 0])
    for name in ("N_\\mathrm{H}", "v_\\mathrm{los}", "\\sigma_v", "cm$^{-2}$", "km s$^{-1}$"):
        assert name in labels(figure)
    assert "Galactic longitude" in panels[0].coords[0].get_axislabel()
    saved(figure, tmp_path)


def test_moments_without_a_tracer_show_the_intensity(maps, tmp_path):
    figure = plot_moments(replace(maps, tracer=None))
    assert "K km s$^{-1}$" in labels(figure)
    assert "N_\\mathrm{H}" not in labels(figure)
    saved(figure, tmp_path)


def test_the_beam_is_drawn_as_large_as_it_is_and_turned(maps):
    beam = next(p for p in plot_moments(maps).axes[0].patches if isinstance(p, Polygon))
    rim = beam.get_xy()[:-1]
    offset = rim - (rim.min(axis=0) + rim.max(axis=0)) / 2
    radius = np.hypot(*offset.T)
    # in pixels of 7.2 arcsec
    assert (radius.max(), radius.min()) == pytest.approx((3, 1.5), rel=0.02)
    end = offset[radius.argmax()]
    center, tip = maps.wcs.pixel_to_world([24, 24 + end[0]], [19, 19 + end[1]])
    assert center.position_angle(tip).deg % 180 == pytest.approx(30, abs=4)


def test_the_scale_bar_needs_a_distance(maps):
    def bars(figure):
        return [a for a in figure.axes[0].artists if type(a).__name__ == "AnchoredSizeBar"]

    # 50 pixels of 0.002 deg at 140 pc are 0.24 pc, a quarter of which holds 0.05 pc
    (bar,) = bars(plot_moments(maps))
    assert bar.txt_label.get_text() == "0.05 pc"
    width = bar.size_bar.get_children()[0].get_width()
    assert width * 140 * np.radians(0.002) == pytest.approx(0.05, rel=1e-3)
    assert not bars(plot_moments(replace(maps, distance=None)))


def test_masses_stand_at_their_positions_with_their_numbers(maps, table, tmp_path):
    figure = plot_masses(table, maps)
    sky = figure.axes[0]
    known, masked = (line.get_xydata() for line in sky.lines)
    np.testing.assert_allclose(known, [[20, 20], [25, 12]], atol=1e-6)
    np.testing.assert_allclose(masked, [[45, 35]], atol=1e-6)
    assert sky.lines[1].get_marker() == "x"
    written = texts(figure)
    assert "$0.50_{-0.20}^{+0.40}$" in written
    assert "novel, off map" in written
    assert not any("9.00" in text for text in written)  # a masked mass is never shown
    saved(figure, tmp_path)


def test_masses_may_all_be_masked(maps, table, tmp_path):
    saved(plot_masses(table[2:], maps), tmp_path)


def test_segments_are_filled_but_for_their_holes(maps, segmentation, tmp_path):
    figure = plot_segments(segmentation, maps)
    sky = [axes for axes in figure.axes if hasattr(axes, "coords")]
    shapes = [p for axes in sky for p in axes.patches if isinstance(p, PathPatch)]
    assert len(shapes) == 2
    signs = [[signed_area(ring) > 0 for ring in shape.get_path().to_polygons()] for shape in shapes]
    # the renderer leaves a hole empty that runs the other way round than the rim
    assert [sorted(one) for one in signs] == [[False, True], [False, True]]
    assert {"1", "2"} <= set(texts(figure))
    saved(figure, tmp_path)


def test_segments_belong_to_their_maps(maps, segmentation):
    wrong = replace(segmentation, labels=np.zeros((3, 4), dtype=np.int32))
    with pytest.raises(
        InputError, match=r"maps: must be the maps that were segmented, of shape \(3, 4\)"
    ):
        plot_segments(wrong, maps)


def test_no_segments_can_be_shown(maps, segmentation, tmp_path):
    nothing = replace(
        segmentation, labels=np.zeros(SHAPE, dtype=np.int32), table=segmentation.table[:0]
    )
    saved(plot_segments(nothing, maps), tmp_path)


def test_comparison_pairs_by_id(table, tmp_path):
    stars = QTable({"id": ["3", "2", "IRS 1", "9"], "mass": [4, 3, 0.4, 7] * u.solMass})
    figure = plot_comparison(table, stars)
    axes = figure.axes[0]
    points = next(line for line in axes.lines if line.get_marker() == "o").get_xydata()
    np.testing.assert_allclose(points, [[0.4, 0.5], [3, 2]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["estimate", "masked (1)"]
    saved(figure, tmp_path)


def test_comparison_without_a_known_mass_is_refused(table):
    stars = QTable({"id": ["3"], "mass": [4] * u.solMass})
    with pytest.raises(
        InputError, match="table: must have a mass for at least one of the stars' ids"
    ):
        plot_comparison(table, stars)


def test_positions_may_be_in_any_frame(maps, table):
    table["skycoord"] = SkyCoord(table["skycoord"]).fk5
    known = plot_masses(table, maps).axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(known, [[20, 20], [25, 12]], atol=1e-3)


def test_pyplot_is_left_alone(maps):
    before = plt.get_fignums()
    plot_moments(maps)
    assert plt.get_fignums() == before
