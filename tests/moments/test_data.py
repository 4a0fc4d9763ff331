"""Simulations whose column is known, and other people's cubes with known answers."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from spectral_cube import SpectralCube

from stellarssl import moment_maps, read_cube

pytestmark = pytest.mark.filterwarnings("ignore")  # of the cubes' headers

KMS = u.km / u.s
N_H_PER_W = 1e22 * u.cm**-2 / (u.K * KMS)


def test_column_of_a_simulation(simulations):
    """M0 x 1e22 is the density's projection, and M1 its mean velocity."""
    path = min(simulations.glob("s4_*_ppv.fits.gz"))
    output, axis = path.name.split("_")[1:3]
    maps = moment_maps(path, tracer=N_H_PER_W)
    with fits.open(simulations / "s4_boxes.fits") as hdus:
        boxes = Table(hdus["BOXES"].data)
        here = (boxes["output"].astype(str) == output.lstrip("0")) & (boxes["axis"] == axis)
        row = int(np.flatnonzero(here)[0])
        column = 10.0 ** hdus["LOG_N_HI"].data[row].astype(float)
        v = hdus["V_LOS"].data[row].astype(float)
    quarter = (256, 2, 256, 2)
    truth = column.reshape(quarter).mean(axis=(1, 3))
    mean_v = (column * v).reshape(quarter).mean(axis=(1, 3)) / truth
    assert maps.detected.all()
    assert maps.meta["noise"] == "none"
    # the boxes' logarithms are stored in steps of 0.001 dex, 0.23 %
    np.testing.assert_allclose(maps.n_h.to_value(u.cm**-2), truth, rtol=3e-3)
    assert maps.n_h.value.sum() == pytest.approx(truth.sum(), rel=2e-4)
    np.testing.assert_allclose(maps.v_los.to_value(KMS), mean_v, atol=0.01)


@pytest.mark.parametrize(("limits", "column"), [("-60 60", 3.7e20), ("90 330", 6.9e20)])
def test_two_galaxies_on_one_line_of_sight(real_cubes, limits, column):
    cube = real_cubes / "GASS_HI_295-41.fits.gz"
    maps = moment_maps(cube, velocity_range=f"{limits} km/s", tracer="HI")
    assert np.nanmean(maps.n_h.to_value(u.cm**-2)) == pytest.approx(column, rel=0.05)


def test_perseus(real_cubes):
    """13CO of L1448: lines of 0.3 to 1 km/s at 4 to 5 km/s."""
    maps = moment_maps(
        real_cubes / "L1448_13CO_COMPLETE.fits",
        unit="K (Ta*)",
        beam="46 arcsec",
        rest_value="110.201354 GHz",
        efficiency=0.5,
    )
    assert maps.tracer.name == "13CO(1-0)"
    assert 0.8 < maps.detected.mean() < 0.95
    assert 0.5 < np.nanmedian(maps.sigma_v.to_value(KMS)) < 0.65
    assert np.nanpercentile(maps.sigma_v.to_value(KMS), 95) < 1.0
    assert 4.0 < np.nanmedian(maps.v_los.to_value(KMS)) < 5.0
    # README of the survey: 0.12 K per channel in T_A*, here over 0.5
    assert 0.2 < np.median(maps.noise.to_value(u.K)) < 0.32


def test_a_galaxy_as_spectral_cube_has_it(real_cubes):
    path = real_cubes / "NGC4047_CO_EDGE_CARMA.fits.gz"
    cube = read_cube(path)
    kelvin = cube.kelvin_factor[:, None, None] * np.asarray(cube.data[:], float)
    maps = moment_maps(cube)
    mask = kelvin > 3 * maps.noise.to_value(u.K)
    ours = moment_maps(cube, mask=mask)
    wcs = cube.origin.axes.wcs
    theirs = SpectralCube(kelvin.astype("f4") * u.K, wcs).with_mask(mask)
    theirs = theirs.with_spectral_unit(KMS, velocity_convention="radio", rest_value=cube.rest_value)
    width = cube.channel_width.value
    for name, expected in (
        ("moment0", theirs.moment(order=0)),
        ("v_los", theirs.moment(order=1)),
        ("sigma_v", theirs.linewidth_sigma()),
    ):
        np.testing.assert_allclose(
            getattr(ours, name).value, expected.value, rtol=2e-5, atol=1e-4 * width, err_msg=name
        )
    # a rotating disc at the galaxy's velocity
    assert 3300 < np.nanmedian(maps.v_los.to_value(KMS)) < 3500
    assert maps.detected[40:90, 40:90].mean() > 10 * maps.detected[:30].mean()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("NGC6946_HI_WSRT.fits", {"tracer": "HI"}),
        ("OrionKL_methanol_ALMA_SV.fits", {"tracer": None}),
        ("NH3_11_EVLA.fits", {"tracer": None, "velocity_range": "55 75 km/s"}),
    ],
)
def test_others_give_moments(real_cubes, name, options):
    maps = moment_maps(real_cubes / name, **options)
    assert maps.detected.any()
    assert np.isfinite(maps.moment0.value[maps.detected]).all()
    assert np.isfinite(maps.v_los.value[maps.detected]).all()
