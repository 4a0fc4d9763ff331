"""Noise that is known is found again."""

import astropy.units as u
import numpy as np
import pytest

from stellarssl import moment_maps
from stellarssl.moments.cells import CellGrid, fill_cells, sample_channels


@pytest.fixture
def bright(gaussian):
    """A line in the middle, so that there is signal."""
    return lambda shape: gaussian(shape, peak=5.0, v=0.0, sigma=0.4)


def measured(maps):
    return maps.noise.to_value(u.K)


def test_gaussian_noise(rng, make_hdu, bright):
    shape = (100, 64, 64)
    maps = moment_maps(make_hdu(rng.normal(0, 0.3, shape) + bright(shape)))
    assert np.median(measured(maps)) == pytest.approx(0.3, rel=0.01)
    assert measured(maps).std() < 0.03 * 0.3
    assert maps.meta["kappa"] == 1.0
    assert maps.meta["noise"] == "measured"


def test_gradient_over_the_map(rng, make_hdu, bright):
    shape = (100, 64, 96)
    truth = np.linspace(0.1, 0.5, 96)
    maps = moment_maps(make_hdu(truth * rng.normal(0, 1, shape) + bright(shape)))
    inner = slice(8, -8)
    np.testing.assert_allclose(np.median(measured(maps), axis=0)[inner], truth[inner], rtol=0.08)


def test_band_full_of_lines(rng, make_hdu):
    """Lines in three quarters of the channels add to what is above zero only."""
    shape = (120, 48, 48)
    lines = np.where(np.arange(120) < 90, 2 + 2 * np.sin(np.arange(120) / 3.0), 0.0)
    maps = moment_maps(make_hdu(rng.normal(0, 0.5, shape) + lines[:, None, None]))
    assert np.median(measured(maps)) == pytest.approx(0.5, rel=0.05)


def test_absorption_and_blanks(rng, make_hdu, bright):
    shape = (100, 48, 48)
    values = rng.normal(0, 0.2, shape) + bright(shape)
    values[5:15] -= 4.0
    values[:, :16, :16] = 0.0
    values[:, 40:, :] = np.nan
    maps = moment_maps(make_hdu(values))
    assert np.median(measured(maps)) == pytest.approx(0.2, rel=0.05)
    assert np.isfinite(measured(maps)).all()
    assert not maps.covered[40:].any()
    assert maps.covered[:40].all()


def test_hanning_smoothed_channels(rng, make_hdu, bright):
    """Weights 1/4, 1/2, 1/4 give rho = 2/3, 1/6, hence kappa = 1 + 2 (2/3 + 1/6)."""
    white = rng.normal(0, 1, (202, 48, 48))
    smooth = (white[:-2] + 2 * white[1:-1] + white[2:]) / 4
    maps = moment_maps(make_hdu(smooth + bright(smooth.shape)))
    assert maps.meta["kappa"] == pytest.approx(8 / 3, rel=0.05)
    given = moment_maps(make_hdu(smooth + bright(smooth.shape)), noise=0.6124 * u.K)
    assert given.meta["kappa"] == pytest.approx(8 / 3, rel=0.05)


@pytest.mark.parametrize("per_plane", [False, True])
def test_given_as_number_map_and_cube(cloud, make_hdu, per_plane):
    hdu = make_hdu(cloud)
    number = moment_maps(hdu, noise="0.1 K")
    shape = cloud.shape if per_plane else cloud.shape[1:]
    array = moment_maps(hdu, noise=np.full(shape, 100.0) * u.mK)
    for name in ("moment0", "v_los", "sigma_v", "noise"):
        np.testing.assert_allclose(
            getattr(array, name).value, getattr(number, name).value, rtol=1e-5
        )
    assert array.meta["noise"] == "given"


def test_given_in_the_unit_of_the_data(cloud, make_hdu):
    hdu = make_hdu(cloud, BUNIT="Jy/beam")
    maps = moment_maps(hdu, noise=0.1 * u.Jy / u.beam)
    # a beam of 108" at 110.2 GHz: 1.222e6 / (110.2 x 108)^2 K per Jy/beam
    assert np.median(measured(maps)) == pytest.approx(0.1 * 1.222e6 / (110.2 * 108) ** 2, rel=1e-3)


def test_simulation_without_noise(gaussian, make_hdu):
    values = gaussian((40, 20, 20), peak=2.0, v=0.0, sigma=0.4)
    values[values < 1e-3] = 0
    maps = moment_maps(make_hdu(values))
    assert maps.meta["noise"] == "none"
    assert (measured(maps) == 0).all()
    np.testing.assert_allclose(maps.moment0.value, values.sum(axis=0) * 0.2, rtol=1e-6)
    # nothing is below the faintest that is seen
    assert maps.moment0_limit.value.max() == maps.moment0.value.min()
    assert (maps.errors["moment0"].value == 0).all()


def test_sample_is_bounded_and_clear_of_the_ends():
    assert sample_channels(50) == [slice(0, 50)]
    runs = sample_channels(4000)
    assert [run.stop - run.start for run in runs] == [10] * 4
    assert runs[0].start > 400
    assert runs[-1].stop < 3600


def test_cells_are_anchored_to_the_reference_pixel():
    whole = CellGrid.over((100, 100), (51.0, 43.0), 3.0)
    cutout = CellGrid.over((80, 60), (51.0 - 13, 43.0 - 21), 3.0)
    assert (whole.origin[0] - 13 - cutout.origin[0]) % whole.size == 0
    assert (whole.origin[1] - 21 - cutout.origin[1]) % whole.size == 0
    assert whole.edges(0, 100)[[0, -1]].tolist() == [0, 100]


def test_interpolation_keeps_a_plane():
    grid = CellGrid.over((64, 64), (0.0, 0.0), 1.0)
    y, x = np.mgrid[:8, :8] * 8 + 3.5
    values = grid.interpolate(y + 2 * x, slice(8, 40), slice(16, 50))
    rows, columns = np.mgrid[8:40, 16:50]
    np.testing.assert_allclose(values, rows + 2 * columns, rtol=1e-6)


def test_cells_without_a_measurement_take_the_nearest():
    cells = np.array([[1.0, np.nan, np.nan, 4.0]])
    assert fill_cells(cells).tolist() == [[1.0, 1.0, 4.0, 4.0]]
