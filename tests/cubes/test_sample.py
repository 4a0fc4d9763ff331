"""The sample of a cube is bounded, and its noise is that of quiet channels."""

import numpy as np
import pytest

from stellarssl.cubes._sample import quick_noise, sample_values


def test_noise_is_that_of_quiet_channels():
    rng = np.random.default_rng(1)
    data = rng.normal(0, 0.2, (40, 60, 60))
    data[10:20] += 5 * rng.random((10, 60, 60))
    assert quick_noise(data) == pytest.approx(0.2, rel=0.03)
    assert quick_noise(np.zeros((4, 10, 10))) == 0
    assert np.isnan(quick_noise(np.full((4, 10, 10), np.nan)))


def test_the_sample_is_bounded():
    small = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    assert sample_values(small) is not small
    assert sample_values(small).shape == small.shape
    big = np.broadcast_to(np.float32(1), (3000, 4000, 5000))  # 240 GB, were it real
    assert sample_values(big).size < 1.5e6
    assert sample_values(big).shape[0] == 16
