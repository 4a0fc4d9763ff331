"""Statistics of lines whose moments and percentiles are known."""

import astropy.units as u
import numpy as np
import pytest
from scipy.stats import norm

from stellarssl.spectra import spectra_from_arrays, spectrum_statistics
from stellarssl.spectra.velocity import channel_offsets

OFFSET = channel_offsets(6.0)


def measure(lines, error=0.0, subtracted=None):
    """The statistics by name of spectra (8, v)."""
    lines = np.asarray(lines, float)[None]
    errors = np.broadcast_to(error, lines.shape)
    other = lines if subtracted is None else np.asarray(subtracted, float)[None]
    names, array = spectrum_statistics(OFFSET, (lines, errors), (other, errors))
    assert len(set(names)) == len(names) == array.shape[1]
    return dict(zip(names, array[0].tolist(), strict=True))


def gaussian(center=0.0, sigma=0.5, peak=1.0):
    return peak * np.exp(-((OFFSET - center) ** 2) / (2 * sigma**2))


def test_a_gaussian_in_each_ring():
    sigmas = np.linspace(0.3, 1.0, 8)
    found = measure([gaussian(0.2, sigma) for sigma in sigmas])
    for ring, sigma in enumerate(sigmas):
        assert found[f"velocity_{ring}"] == pytest.approx(0.2, abs=1e-4)
        assert found[f"dispersion_{ring}"] == pytest.approx(sigma, rel=1e-4)
        for low, high in ((2, 98), (5, 95), (16, 84)):
            width = 2 * sigma * norm.ppf(high / 100)
            assert found[f"width_{low}_{high}_{ring}"] == pytest.approx(width, abs=0.03)
        ratio = 1 / (np.sqrt(2 * np.pi) * sigma)
        assert found[f"peak_over_integral_{ring}"] == pytest.approx(ratio, rel=0.03)
        for limit in (1, 2, 3):
            share = norm.sf(limit, 0.2, sigma) + norm.cdf(-limit, 0.2, sigma)
            assert found[f"wing_{limit}_{ring}"] == pytest.approx(share, abs=2e-3)
        if ring:
            assert found[f"integral_{ring}"] == pytest.approx(np.log10(sigma / 0.3), abs=1e-3)


def test_the_folded_diagram_is_the_mean_of_both_sides():
    """Bins of 0.25 km/s around 0.125, 0.375, ... 5.875 km/s, relative to the central peak."""
    line = np.where(OFFSET > 0, np.exp(-OFFSET), 0.5 * np.exp(OFFSET))
    found = measure([line] * 7 + [np.zeros(96)])
    names = [name for name in found if name.startswith("folded_")]
    assert len(names) == 8 * 24
    for v in (0.125, 1.375, 5.875):
        parts = np.exp(-v - 0.0625), np.exp(-v + 0.0625)
        expected = np.log10(0.75 * np.mean(parts) / line.max())
        assert found[f"folded_{v:.3f}_3"] == pytest.approx(expected, abs=1e-5)
    assert found["folded_1.375_7"] == pytest.approx(-3)  # nothing there: 0.001 of the peak


def test_no_statistic_depends_on_the_scale():
    rng = np.random.default_rng(2)
    lines = np.array(
        [gaussian(0.1, s, p) for s, p in zip(*rng.uniform(0.3, 2, (2, 8)), strict=True)]
    )
    lines += rng.normal(0, 0.05, lines.shape)
    for once, twice in zip(
        measure(lines, 0.05).items(), measure(2 * lines, 0.1).items(), strict=True
    ):
        assert once[0] == twice[0]
        np.testing.assert_allclose(once[1], twice[1], rtol=1e-6, atol=1e-6)


def test_channels_in_the_noise_do_not_count():
    """Half of the channels would widen the line without end."""
    rng = np.random.default_rng(8)
    lines = gaussian(0, 0.4) + rng.normal(0, 0.03, (8, 96))
    found = measure(lines, 0.03)
    assert np.mean([found[f"wing_2_{ring}"] for ring in range(8)]) < 0.05
    assert found["folded_5.125_0"] > np.log10(0.03 / 2) - 0.05  # four channels: half the error


def test_subtracted_statistics_are_of_the_other_spectra():
    plain = [gaussian(0, 0.5)] * 8
    other = [gaussian(0, 0.3)] * 7 + [np.full(96, np.nan)]
    found = measure(plain, subtracted=other)
    assert found["dispersion_4"] == pytest.approx(0.5, rel=1e-3)
    assert found["subtracted_dispersion_4"] == pytest.approx(0.3, rel=1e-3)
    assert np.isnan(found["subtracted_dispersion_7"])
    assert np.isnan(found["subtracted_folded_0.125_7"])


def test_nan_beyond_the_band_does_not_count():
    """What is known on one side only stands for both; what is known nowhere is NaN."""
    line = gaussian(0, 1.0)
    line[OFFSET > 2.5] = np.nan
    line[OFFSET < -4.5] = np.nan
    found = measure([line] * 8)
    assert found["folded_3.125_2"] == pytest.approx(np.log10(np.exp(-(3.125**2) / 2)), abs=0.05)
    assert np.isnan(found["folded_5.125_2"])
    assert np.isfinite(found["width_2_98_2"])


def test_a_ring_without_signal_is_nan():
    found = measure([gaussian()] * 7 + [np.full(96, -0.1)])
    for name in ("integral_7", "velocity_7", "width_5_95_7", "wing_1_7"):
        assert np.isnan(found[name])
    assert np.isfinite(found["width_5_95_6"])


def test_all_nan_gives_nan_and_no_warning():
    found = measure(np.full((8, 96), np.nan))
    assert np.isnan(list(found.values())).all()


def test_the_isolated_component_has_fewer_velocities():
    tile = np.zeros((80, 33, 33))
    tile[40] = 1.0
    velocity = 0.125 * np.arange(80) * u.km / u.s
    spectra = spectra_from_arrays([tile], velocity, "0.015625 pc", half_width="3.5 km/s")
    names, array = spectra.statistics()
    assert sum(name.startswith("folded_") for name in names) == 8 * 14
    assert array.shape == (1, len(names))
