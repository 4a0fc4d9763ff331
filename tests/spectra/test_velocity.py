"""Source velocities and resampling."""

import numpy as np
import pytest

from stellarssl.spectra.velocity import channel_offsets, resample, source_velocity


def line(velocity, *components):
    return sum(p * np.exp(-((velocity - v) ** 2) / (2 * s**2)) for p, v, s in components)


@pytest.mark.parametrize("width", [0.03, 0.125, 0.4, 0.9, -0.2])
def test_velocity_of_a_single_line(width):
    """Better than an eighth of a channel, in either direction of the axis."""
    velocity = width * np.arange(-200, 200)
    got, several, at_edge = source_velocity(velocity, line(velocity, (2.0, 0.321, 0.6)), 0.0)
    assert got == pytest.approx(0.321, abs=0.125 * abs(width))
    assert not several
    assert not at_edge


@pytest.mark.parametrize(
    ("height", "apart", "several"),
    [(0.7, 2.0, True), (0.4, 2.0, False), (0.7, 0.9, False), (1.0, 1.2, True)],
)
def test_second_peak(height, apart, several):
    """Above half of the first and more than 1 km/s away."""
    velocity = 0.05 * np.arange(-200, 201)
    spectrum = line(velocity, (1.0, 0.0, 0.15), (height, apart, 0.15))
    assert source_velocity(velocity, spectrum, 0.0)[1] == several


def test_noise_is_no_second_peak():
    rng = np.random.default_rng(3)
    velocity = 0.125 * np.arange(-100, 100)
    spectrum = line(velocity, (1.0, 0.0, 0.4))
    found = [
        source_velocity(velocity, spectrum + rng.normal(0, 0.4, 200), 0.4)[1] for _ in range(50)
    ]
    # Half of the smoothed peak is 2.7 times the smoothed error: often reached somewhere.
    assert np.mean(found) < 0.1


@pytest.mark.parametrize(("v", "edge"), [(0.0, False), (3.3, True), (-3.3, True), (2.5, False)])
def test_a_line_near_the_end_of_the_band(v, edge):
    velocity = 0.1 * np.arange(-40, 41)
    assert source_velocity(velocity, line(velocity, (1.0, v, 0.3)), 0.0)[2] == edge


def test_nan_channels_end_the_band():
    velocity = 0.1 * np.arange(-40, 41)
    spectrum = line(velocity, (1.0, 2.0, 0.3))
    spectrum[velocity > 2.55] = np.nan
    got, _, at_edge = source_velocity(velocity, spectrum, 0.0)
    assert got == pytest.approx(2.0, abs=0.05)
    assert at_edge


def test_no_velocity_without_emission():
    velocity = 0.1 * np.arange(40)
    assert np.isnan(source_velocity(velocity, np.zeros(40), 0.0)[0])
    assert np.isnan(source_velocity(velocity, np.full(40, -1.0), 0.0)[0])
    assert np.isnan(source_velocity(velocity, line(velocity, (1.0, 2.0, 0.3)), 1.0)[0])


@pytest.mark.parametrize("width", [0.03, 0.0625, 0.125, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_resampling_conserves_flux_and_velocity_and_does_not_sharpen(width, sign):
    velocity = sign * width * (np.arange(-300, 300) + 0.37)
    spectrum = line(velocity, (3.0, 0.21, 0.7))[None]
    got, _ = resample(velocity, 0.0, spectrum, np.zeros(1), 96)
    offset = channel_offsets(6.0)
    flux = got.sum() * 0.125
    assert flux == pytest.approx(spectrum.sum() * width, rel=1e-5)
    mean = (got * offset).sum() / got.sum()
    assert mean == pytest.approx((spectrum * velocity).sum() / spectrum.sum(), abs=1e-3)
    variance = (got * (offset - mean) ** 2).sum() / got.sum()
    before = (spectrum * (velocity - mean) ** 2).sum() / spectrum.sum()
    assert variance >= before - 1e-4
    # New channels of 0.125 km/s add up to 0.125^2 / 6, linear interpolation adds width^2 / 6.
    assert variance <= before + max(width, 0.125) ** 2 / 6 + 0.125**2 / 12 + 1e-5


def test_channels_that_match_are_kept():
    velocity = channel_offsets(6.0)
    spectrum = line(velocity, (3.0, 0.2, 0.1))[None]
    got, error = resample(velocity, 0.0, spectrum, np.array([0.3]), 96)
    np.testing.assert_allclose(got, spectrum, atol=1e-12)
    np.testing.assert_allclose(error, 0.3)


def test_the_error_falls_where_channels_are_averaged():
    """Four channels of 1/32 km/s fall into each new channel."""
    velocity = (np.arange(800) - 399.5) / 32
    _, error = resample(velocity, 0.0, np.zeros((1, 800)), np.array([0.4]), 96)
    np.testing.assert_allclose(error, 0.2)


def test_the_error_is_that_of_the_scatter():
    """Also for interpolated channels, and for channels that are cut."""
    rng = np.random.default_rng(5)
    for width in (0.05, 0.3):
        velocity = width * np.arange(-100, 100)
        values, error = resample(velocity, 0.02, rng.normal(0, 1, (4000, 200)), np.ones(4000), 16)
        np.testing.assert_allclose(values.std(axis=0), error[0], rtol=0.05)


@pytest.mark.parametrize("width", [0.1, 0.125, 0.4])
def test_nan_beyond_the_band(width):
    """A new channel is known if the band covers all of it."""
    n = round(6 / width)
    velocity = width * (np.arange(n) - (n - 1) / 2)
    got, error = resample(velocity, 1.0, np.ones((1, n)), np.ones(1), 96)
    offset = channel_offsets(6.0)
    end = n * width / 2 if width <= 0.125 else velocity[-1]
    inside = (np.abs(1.0 + offset - 0.0625) <= end + 1e-9) & (
        np.abs(1.0 + offset + 0.0625) <= end + 1e-9
    )
    np.testing.assert_array_equal(np.isfinite(got[0]), inside)
    np.testing.assert_array_equal(np.isfinite(error[0]), inside)
    np.testing.assert_allclose(got[0, inside], 1.0)


def test_nan_spreads_to_the_channels_it_contributes_to():
    velocity = channel_offsets(6.0) + 0.05
    spectrum = np.ones((1, 96))
    spectrum[0, 40] = np.nan
    got, _ = resample(velocity, 0.0, spectrum, np.ones(1), 96)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(got[0, 1:-1])) + 1, [40, 41])
