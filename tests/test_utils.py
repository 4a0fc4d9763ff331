"""Geometry, row bands and distances, which every module shares."""

import astropy.units as u
import numpy as np
import pytest
from radio_beam import Beam

from stellarssl._utils.bands import BAND_PIXELS, row_bands
from stellarssl._utils.geometry import TILE_PIXEL, TILE_PIXELS, TILE_WIDTH, beam_width
from stellarssl._utils.quantities import as_distance
from stellarssl.exceptions import InputError, MissingInputError


def test_a_tile_is_half_a_parsec_wide():
    assert 0.5 * u.pc == TILE_WIDTH
    assert TILE_PIXELS == 64
    assert 0.0078125 * u.pc == TILE_PIXEL  # 1/128: exact in binary


def test_the_beam_width_is_the_geometric_mean_of_its_axes():
    beam = Beam(major=18 * u.arcsec, minor=8 * u.arcsec, pa=30 * u.deg)
    assert beam_width(beam).to_value(u.arcsec) == pytest.approx(12)
    # a circular Gaussian of that width has the beam's solid angle
    assert Beam(beam_width(beam)).sr.value == pytest.approx(beam.sr.value)


@pytest.mark.parametrize("shape", [(1, 5), (700, 1000), (3, BAND_PIXELS + 1), (0, 4), (5, 0)])
def test_bands_cover_each_row_once_and_are_bounded(shape):
    bands = row_bands(shape)
    rows = [row for band in bands for row in range(shape[0])[band]]
    assert rows == list(range(shape[0]))
    for band in bands:
        height = band.stop - band.start
        assert height == 1 or height * shape[1] <= BAND_PIXELS


def test_the_argument_takes_precedence_over_the_distance_of_the_data():
    known = 288 * u.pc
    assert as_distance("0.14 kpc", known) == 140 * u.pc
    assert as_distance(None, known) == known
    assert as_distance(None, None, required=False) is None
    several = as_distance([140, 288] * u.pc, None)
    np.testing.assert_array_equal(several.value, [140, 288])
    assert as_distance([140] * u.pc, None, one_value="for a grid of tiles").shape == ()


def test_a_missing_or_ambiguous_distance_is_refused():
    with pytest.raises(MissingInputError, match="distance: must be given, such as '140 pc'"):
        as_distance(None, None)
    with pytest.raises(InputError, match="distance: must be one value for a grid of tiles"):
        as_distance([140, 288] * u.pc, None, one_value="for a grid of tiles")
    with pytest.raises(InputError, match="distance: must be finite and above zero"):
        as_distance("-3 pc", None)
