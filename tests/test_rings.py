"""Ring statistics and dynamical masses against numbers worked out by hand."""

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from stellarssl.exceptions import InputError
from stellarssl.tiles import RING_EDGES, covered_radius, mass_dynamical, ring_statistics

PIXEL = 0.5 / 64 * u.pc
Y, X = np.mgrid[:64, :64] - 31.5
PHI, R = np.arctan2(Y, X), np.hypot(X, Y)


def constant_tile(log_column=22.0, v=0.0, sigma=0.5):
    maps = np.empty((1, 3, 64, 64))
    maps[:, 0], maps[:, 1], maps[:, 2] = log_column, v, sigma
    return maps


def turbulent_tiles(n=4):
    rng = np.random.default_rng(7)
    maps = rng.normal(size=(n, 3, 64, 64))
    maps[:, 0] = 22 + 0.3 * maps[:, 0] - np.log10(R)
    maps[:, 2] = 0.1 + 0.3 * np.abs(maps[:, 2])
    return maps


def by_name(statistics, row=0):
    return dict(zip(statistics.names, statistics.array[row].tolist(), strict=True))


def of(statistics, quantity):
    """Return the values (n, n_places) of a quantity."""
    columns = [name.startswith(quantity) for name in statistics.names]
    assert any(columns)
    return statistics.array[:, columns]


# dynamical mass


def test_the_dynamical_mass_of_a_constant_tile():
    # 5 * 0.25 (km/s)^2 * 0.015625 pc / (4.30091e-3 pc (km/s)^2 / Msun) = 4.5412 Msun
    assert_allclose(mass_dynamical(constant_tile(), PIXEL).to_value(u.solMass), 4.5412, rtol=1e-4)
    mass = mass_dynamical(constant_tile(), PIXEL, radius=0.1 * u.pc)
    assert_allclose(mass.to_value(u.solMass), 29.0636, rtol=1e-4)


def test_velocity_differences_count_and_a_common_velocity_does_not():
    maps = constant_tile(v=np.where(X > 0, 0.4, -0.4) + 50, sigma=0.3)
    assert_allclose(mass_dynamical(maps, PIXEL).to_value(u.solMass), 4.5412, rtol=1e-4)


def test_the_dispersion_is_weighted_by_the_column():
    # a quarter of the column has sigma^2 = 0.4, three quarters have 0.2: the mean is 0.25
    left = X < 0
    maps = constant_tile(22 + np.log10(np.where(left, 1, 3)), 0, np.sqrt(np.where(left, 0.4, 0.2)))
    assert_allclose(mass_dynamical(maps, PIXEL).to_value(u.solMass), 4.5412, rtol=1e-4)


def test_only_detected_pixels_within_the_radius_count():
    maps = constant_tile(sigma=np.where(R <= 2, 0.5, 3.0))
    assert_allclose(mass_dynamical(maps, PIXEL).to_value(u.solMass), 4.5412, rtol=1e-4)
    maps[0, 2][(R < 2) & (X < 0)] = 9.0
    found = mass_dynamical(maps, PIXEL, detected=(X > 0)[None])
    assert_allclose(found.to_value(u.solMass), 4.5412, rtol=1e-4)
    assert np.isnan(mass_dynamical(maps, PIXEL, detected=(R > 2)[None]))


def test_each_tile_has_its_own_radius():
    maps = np.repeat(constant_tile(), 2, axis=0)
    mass = mass_dynamical(maps, PIXEL, radius=[1 / 64, 1 / 32] * u.pc)
    assert_allclose(mass.to_value(u.solMass), [4.5412, 9.0824], rtol=1e-4)


# rings


def test_a_constant_tile_has_the_same_dispersion_everywhere():
    statistics = ring_statistics(constant_tile())
    assert_allclose(of(statistics, "dispersion within lines"), 0.5, rtol=1e-6)
    for quantity in ("relative", "column contrast", "velocity", "mode", "dispersion between",
                     "dispersion contrast"):  # fmt: skip
        assert_allclose(of(statistics, quantity), 0, atol=1e-6)
    # R is the outer edge of each aperture, 1.5 ... 32 pixels of 1/128 pc
    expected = np.log10(5 * 0.25 * np.array(RING_EDGES[1:]) / 128 / 4.30091e-3)
    assert_allclose(of(statistics, "dynamical mass")[0], expected, atol=1e-5)
    assert_allclose(of(statistics, "growth")[0], np.diff(expected), atol=1e-5)


def test_columns_are_relative_to_the_outermost_ring_in_use():
    # 1e24 in the disc of 1.5 pixels, 1e23 to 7 pixels, 1e22 beyond
    maps = constant_tile(np.select([R < 1.5, R < 7], [24.0, 23.0], 22.0))
    found = by_name(ring_statistics(maps))
    assert found["relative column within 0.012 pc"] == pytest.approx(2)
    assert found["relative column at 0.039-0.055 pc"] == pytest.approx(1)
    assert found["relative column at 0.055-0.078 pc"] == pytest.approx(0, abs=1e-6)
    assert found["column contrast across 0.012 pc"] == pytest.approx(-1)
    assert found["relative peak at 0.219-0.250 pc"] == pytest.approx(0, abs=1e-6)
    near = by_name(ring_statistics(maps, radii=(0, 7)))
    assert near["relative column within 0.012 pc"] == pytest.approx(1)
    assert "relative column at 0.055-0.078 pc" not in near


def test_a_peak_is_that_of_a_single_pixel():
    maps = constant_tile()
    maps[0, 0, 32, 36] = 23.5  # 4.53 pixels from the center
    found = by_name(ring_statistics(maps))
    assert found["relative peak at 0.027-0.039 pc"] == pytest.approx(1.5)
    assert found["relative peak at 0.020-0.027 pc"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("turn", [0.0, 1.1])
@pytest.mark.parametrize("m", [1, 2])
def test_a_pure_mode_shows_in_that_mode_alone(m, turn):
    wave = np.cos(m * (PHI - turn))
    statistics = ring_statistics(constant_tile(np.log10(1 + 0.4 * wave), v=0))
    # the mean of (1 + a cos) exp(i phi) over a circle is a / 2
    outer = of(statistics, f"mode {m} of column")[0, 5:]  # from 7 pixels, where a ring is round
    assert_allclose(outer, 0.2, rtol=0.03)
    assert_allclose(of(statistics, f"mode {3 - m} of column"), 0, atol=1e-6)
    statistics = ring_statistics(constant_tile(v=0.4 * wave))
    assert_allclose(of(statistics, f"mode {m} of velocity")[0, 5:], 0.2, rtol=0.03)
    assert_allclose(of(statistics, f"mode {3 - m} of velocity"), 0, atol=1e-6)
    assert_allclose(of(statistics, "velocity offset"), 0, atol=1e-6)


def test_dispersion_between_lines_and_velocity_offset_by_hand():
    v = np.where(R < 5, np.where(X > 0, 0.3, -0.3), 0.7)
    found = by_name(ring_statistics(constant_tile(v=v)))
    assert found["dispersion between lines at 0.020-0.027 pc"] == pytest.approx(0.3)
    assert found["dispersion between lines at 0.055-0.078 pc"] == pytest.approx(0, abs=1e-6)
    assert found["velocity offset at 0.020-0.027 pc"] == pytest.approx(0, abs=1e-6)
    assert found["velocity offset at 0.055-0.078 pc"] == pytest.approx(0.7)


def test_orientation_and_handedness_do_not_matter():
    maps = turbulent_tiles()
    expected = ring_statistics(maps).array
    for turned in (maps[..., ::-1], np.rot90(maps, axes=(2, 3)), maps.swapaxes(2, 3)):
        assert_allclose(ring_statistics(turned).array, expected, rtol=1e-4, atol=1e-5)
    backwards = maps * np.array([1, -1, 1])[:, None, None]  # the tile as seen from behind
    assert_allclose(ring_statistics(backwards).array, expected, rtol=1e-4, atol=1e-5)


def test_neither_the_scale_of_the_column_nor_a_common_velocity_matters():
    maps = turbulent_tiles()
    expected = ring_statistics(maps).array
    changed = maps + np.array([np.log10(2), 0, 0])[:, None, None]
    assert_allclose(ring_statistics(changed).array, expected, rtol=1e-4, atol=1e-5)
    moved = maps + np.array([0, 3.0, 0])[:, None, None]
    assert_allclose(ring_statistics(moved).array, expected, rtol=1e-4, atol=1e-5)


def test_the_result_does_not_depend_on_the_other_tiles():
    maps = turbulent_tiles(5)
    together = ring_statistics(np.concatenate([maps] * 60)).array
    assert_allclose(together[-5:], ring_statistics(maps).array, rtol=1e-5, atol=1e-6)
    empty = ring_statistics(maps[:0])
    assert empty.array.shape == (0, len(empty.names))


# detection, coverage and the rings in use


def test_undetected_pixels_give_column_but_no_kinematics():
    maps = constant_tile(sigma=np.where(X > 0, 0.5, 0.1), v=np.where(X > 0, 0.0, 5.0))
    statistics = ring_statistics(maps, detected=(X > 0)[None])
    assert_allclose(of(statistics, "dispersion within lines"), 0.5, rtol=1e-6)
    assert_allclose(of(statistics, "dispersion between lines"), 0, atol=1e-6)
    assert_allclose(of(statistics, "mode 1 of column"), 0, atol=1e-6)
    nothing = ring_statistics(maps, detected=np.zeros((1, 64, 64), dtype=bool))
    assert_allclose(nothing.array, ring_statistics(maps).array, rtol=1e-6)


def test_a_ring_that_is_not_covered_is_nan():
    covered = (R < 14)[None]
    statistics = ring_statistics(turbulent_tiles(1), covered=covered, radii=(0, 20))
    found = by_name(statistics)
    outside = {name for name, value in found.items() if np.isnan(value)}
    assert "dispersion within lines at 0.109-0.156 pc" in outside
    assert "dynamical mass within 0.156 pc" in outside
    # the outermost ring in use is the reference of all relative columns
    assert {name for name in found if name.startswith("relative")} <= outside
    assert "dispersion within lines at 0.078-0.109 pc" not in outside
    assert "dynamical mass within 0.109 pc" not in outside
    assert np.isfinite(
        ring_statistics(turbulent_tiles(1), covered=covered, radii=(0, 14)).array
    ).all()


def test_what_lies_outside_the_rings_in_use_or_the_coverage_has_no_effect():
    maps = turbulent_tiles(1)
    expected = ring_statistics(maps, radii=(3.5, 14))
    maps[:, :, (R < 3.5) | (R >= 14)] = 30.0
    assert_array_equal(ring_statistics(maps, radii=(3.5, 14)).array, expected.array)
    assert "dynamical mass at 0.027-0.109 pc" in expected.names
    hole = np.zeros((64, 64), dtype=bool)
    hole[32, 40] = True
    expected = ring_statistics(maps, covered=~hole[None], radii=(3.5, 14)).array
    maps[:, :, hole] = 30.0
    assert_array_equal(ring_statistics(maps, covered=~hole[None], radii=(3.5, 14)).array, expected)


@pytest.mark.parametrize(("size", "radius"), [(64, 32), (28, 14), (12, 5), (0, 0)])
def test_covered_radius(size, radius):
    covered = np.maximum(abs(X), abs(Y)) < size / 2
    assert covered_radius(covered[None]).tolist() == [radius]


def test_bad_input_is_refused():
    maps = turbulent_tiles(1)
    with pytest.raises(InputError, match=r"maps: must have shape \(n, 3, 64, 64\)"):
        ring_statistics(maps[:, :, :32])
    with pytest.raises(InputError, match="maps: must be finite"):
        ring_statistics(np.where(R < 1, np.nan, maps))
    for radii in ((0, 6), (5, 5), (7, 3.5)):
        with pytest.raises(InputError, match="radii: must be two ascending radii among 0, "):
            ring_statistics(maps, radii=radii)
