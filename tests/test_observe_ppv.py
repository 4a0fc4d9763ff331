"""PPV tiles through a telescope, and sums of moments, against numbers computed by hand."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from stellarssl.exceptions import InputError
from stellarssl.library import Backgrounds, PPVTiles
from stellarssl.observe import (
    Observation,
    add_background,
    center_peak,
    observe_tiles,
    smooth_moments,
)

FINE = 0.0078125 * u.pc
CLEAR = Observation(beam_pixels=0.0, rms=0.0, channel_width=0.125, sigma_line=0.0, column_limit=0.0)
ROWS = np.arange(2)


def line(n=2, peak=3.0):
    """A Gaussian line of 0.5 km/s everywhere, in n tiles."""
    velocity = (np.arange(96) - 47.5) * 0.125
    spectrum = peak * np.exp(-(velocity**2) / (2 * 0.5**2))
    return np.broadcast_to(spectrum[None, :, None, None], (n, 96, 32, 32)).astype("f4")


def seen(cubes, observation=CLEAR, pixel_size=FINE, seed=0, **keywords):
    rows = keywords.pop("rows", np.arange(len(cubes)))
    return observe_tiles(cubes, pixel_size, observation, rows=rows, seed=seed, **keywords)


def point():
    cubes = np.zeros((1, 96, 32, 32), "f4")
    cubes[0, 50, 15, 16] = 100
    return cubes


# ---------------------------------------------------------------- opacity, channels, beam, scales


def test_a_clear_view_changes_nothing():
    observed = seen(line())
    assert_array_equal(observed.cubes, line())
    assert observed.cubes.dtype == np.float32
    assert (observed.rms == 0).all()
    assert_allclose(observed.velocity[[0, 95]], [-5.9375, 5.9375])


def test_opacity_saturates_the_line():
    # an opacity of one at 4e22 cm^-2 / (km/s) is 4 K on the scale of 1e22 cm^-2 per K km/s
    opaque = replace(CLEAR, opaque_column=4e22)
    cubes = line() * 0 + np.float32(4)
    assert_allclose(seen(cubes, opaque).cubes, 4 * (1 - np.exp(-1)), rtol=1e-6)
    assert_allclose(seen(cubes * 1e-3, opaque).cubes, 4e-3, rtol=1e-3)
    assert_allclose(seen(cubes * 100, opaque).cubes, 4, rtol=1e-6)


def test_wide_channels_keep_the_integral():
    for width in (0.25, 0.3, 1.0):
        observed = seen(line(), replace(CLEAR, channel_width=width))
        assert_allclose(np.diff(observed.velocity), width)
        assert_allclose(observed.velocity.mean(), 0, atol=1e-12)
        total = observed.cubes.sum(axis=1) * width
        assert_allclose(total, line().sum(axis=1) * 0.125, rtol=1e-5)
    assert observed.cubes.shape == (2, 12, 32, 32)


def test_channels_are_not_made_narrower():
    assert_array_equal(seen(line(), replace(CLEAR, channel_width=0.02)).cubes, line())


@pytest.mark.parametrize(("pixel_size", "factor"), [(FINE, 1), (2 * FINE, 2)])
def test_the_beam_conserves_flux_and_widens_a_point(pixel_size, factor):
    fwhm = 6.0  # tile pixels
    image = seen(point(), replace(CLEAR, beam_pixels=fwhm), pixel_size).cubes[0, 50]
    assert_allclose(image.sum(), 100, rtol=1e-4)
    y, x = np.mgrid[:32, :32]
    variance = (fwhm / factor) ** 2 / (8 * np.log(2))
    assert_allclose((image * (x - 16) ** 2).sum() / 100, variance, rtol=0.01)
    assert_allclose((image * (y - 15) ** 2).sum() / 100, variance, rtol=0.01)
    assert_allclose(image[15, 16], 100 / (2 * np.pi * variance), rtol=0.01)


def test_the_beam_leaves_a_constant_alone_up_to_the_edge():
    assert_allclose(seen(line(), replace(CLEAR, beam_pixels=9)).cubes, line(), rtol=1e-5)


def test_missing_scales_remove_a_constant_and_keep_a_point():
    assert_allclose(seen(line(), largest_scale=10.0).cubes, 0, atol=1e-5)
    image = seen(line(1) + point(), largest_scale=10.0).cubes[0, 50]
    variance = 10.0**2 / (8 * np.log(2))
    assert_allclose(image[15, 16], 100 * (1 - 1 / (2 * np.pi * variance)), rtol=1e-3)


def test_scales_wider_than_the_tile_are_ignored():
    assert_array_equal(seen(line(), largest_scale=40.0).cubes, line())
    assert np.abs(seen(line(), pixel_size=2 * FINE, largest_scale=40.0).cubes).max() < 1e-5


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("beam", [0.0, 3.0, 12.0])
@pytest.mark.parametrize("width", [0.125, 0.5])
def test_noise_has_the_level_that_the_ratio_asks_for(beam, width):
    observation = replace(CLEAR, beam_pixels=beam, channel_width=width)
    clear, noisy = seen(line(8), observation), seen(line(8), observation, snr=10)
    # a channel of 0.5 km/s has half the noise of one of 0.125 km/s
    level = center_peak(clear.cubes) / 10 * np.sqrt(0.125 / width)
    assert_allclose(noisy.rms, level, rtol=1e-6)
    noise = (noisy.cubes - clear.cubes) / level[:, None, None, None]
    independent = noise.size / max(1.0, (beam / 2.35482) ** 2 * 4 * np.pi)
    assert_allclose(noise.std(), 1, atol=4 / np.sqrt(2 * independent))
    at_edge = noise[:, :, 0].std()
    assert_allclose(at_edge, 1, atol=4 / np.sqrt(independent / 32))


def test_noise_is_correlated_over_the_beam_and_not_along_the_line():
    observation = replace(CLEAR, beam_pixels=4.0)
    noise = seen(line(8), observation, snr=10).cubes - seen(line(8), observation).cubes
    noise /= noise.std()
    variance = 4.0**2 / (8 * np.log(2))
    for apart in (1, 2, 4):
        expected = np.exp(-(apart**2) / (4 * variance))
        assert_allclose((noise[..., apart:] * noise[..., :-apart]).mean(), expected, atol=0.02)
        assert_allclose(
            (noise[..., apart:, :] * noise[..., :-apart, :]).mean(), expected, atol=0.02
        )
    assert_allclose((noise[:, 1:] * noise[:, :-1]).mean(), 0, atol=0.02)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_factor_on_the_brightness_changes_no_ratio(factor):
    observation = replace(CLEAR, beam_pixels=5.0, channel_width=0.2)
    cubes = PPVTiles.default().decode(slice(0, 4))
    once = seen(cubes, observation, snr=7)
    scaled = seen(cubes * np.float32(factor), observation, snr=7)
    assert_allclose(scaled.cubes, factor * once.cubes, rtol=1e-5, atol=1e-5)
    assert_allclose(scaled.rms, factor * once.rms, rtol=1e-6)


def test_noise_depends_on_seed_and_row_only():
    both = seen(line(), snr=5, rows=np.array([3, 9])).cubes
    alone = seen(line(1), snr=5, rows=np.array([9])).cubes
    assert_allclose(both[1], alone[0], rtol=1e-6, atol=1e-6)
    assert not np.array_equal(both[0], both[1])
    assert not np.array_equal(alone, seen(line(1), snr=5, rows=np.array([9]), seed=1).cubes)


def test_an_empty_tile_gets_no_noise():
    assert (seen(line() * 0, snr=5).cubes == 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cubes": np.zeros((96, 32, 32))}, r"cubes: must have shape \(n, v, y, x\)"),
        ({"rows": np.arange(3)}, "rows: must hold 2 integers that are not negative"),
        ({"rows": np.array([0, -1])}, "rows: must hold 2 integers that are not negative"),
        ({"seed": -1}, "seed: must not be negative; got -1"),
        ({"snr": 0.0}, "snr: must be finite and above zero, or None; got 0.0"),
        ({"largest_scale": np.inf}, "largest_scale: must be finite and above zero"),
    ],
)
def test_bad_values_are_refused(changes, message):
    arguments = {"rows": ROWS, "seed": 0} | changes
    cubes = arguments.pop("cubes", line())
    with pytest.raises(InputError, match=message):
        observe_tiles(cubes, FINE, CLEAR, **arguments)


# ---------------------------------------------------------------- sums of moments


def constant(log_column, v, sigma, shape=(1, 1)):
    return np.broadcast_to(
        np.array([log_column, v, sigma])[None, :, None, None], (1, 3, *shape)
    ).astype("f4")


def test_a_background_adds_moments_as_computed_by_hand():
    # 3e22 at 1 km/s and 1e22 at -3 km/s, moved by 1 km/s: mean (3 * 1 - 2) / 4 = 0.25;
    # mean square (3 * (1 + 0.04) + 1 * (4 + 0.09)) / 4 = 1.8025, variance 1.74
    tile = constant(np.log10(3e22), 1.0, 0.2)
    total = add_background(tile, constant(22, -3.0, 0.3), velocity=np.array([1.0]))
    assert_allclose(total[0, :, 0, 0], [np.log10(4e22), 0.25, np.sqrt(1.74)], rtol=1e-6)
    assert total.dtype == np.float32


def test_a_faint_background_changes_nothing():
    tile = constant(22, 1.0, 0.2)
    assert_allclose(add_background(tile, constant(10, 5.0, 3.0)), tile, rtol=1e-5)


def test_smoothing_turns_velocity_differences_into_dispersion():
    maps = constant(22, 0.0, 0.3, (32, 32)).copy()
    maps[0, 1] = np.where(np.arange(32) % 2, 1.0, -1.0)
    smooth = smooth_moments(maps, 8.0)
    inner = smooth[0, :, 12:20, 12:20]  # beyond the reach of the edge
    assert_allclose(inner[0], 22, atol=1e-6)
    assert_allclose(inner[1], 0, atol=1e-4)
    assert_allclose(inner[2], np.sqrt(1 + 0.3**2), rtol=1e-5)


def test_smoothing_keeps_the_mass_of_a_point():
    maps = constant(10, 0.0, 0.1, (64, 64)).copy()
    maps[0, 0, 32, 30] = 24
    column = 10.0 ** smooth_moments(maps, 6.0)[0, 0].astype(float)
    assert_allclose(column.sum(), 1e24, rtol=1e-4)
    variance = 36 / (8 * np.log(2))
    assert_allclose((column * (np.arange(64) - 30) ** 2).sum() / 1e24, variance, rtol=1e-3)
    assert_array_equal(smooth_moments(maps, 0.0)[:, 0], maps[:, 0])


def test_shipped_backgrounds_fit_tiles():
    drawn = Backgrounds.default().draw([0, 1], seed=0)
    total = add_background(drawn, drawn)
    assert_allclose(total[:, 0], drawn[:, 0] + np.log10(2), atol=1e-5)
    assert_allclose(total[:, 1:], drawn[:, 1:], atol=1e-3)


def test_bad_maps_are_refused():
    tile = constant(22, 0, 0.1)
    with pytest.raises(InputError, match=r"maps: must have shape \(n, 3, y, x\)"):
        smooth_moments(tile[0], 1.0)
    with pytest.raises(InputError, match="beam_pixels: must be finite and not negative; got -1"):
        smooth_moments(tile, -1.0)
    with pytest.raises(InputError, match=r"backgrounds: must have the shape of the maps"):
        add_background(tile, tile[:, :2])
