"""What a telescope would have seen: beams, opacity, noise, depth."""

from dataclasses import replace
from math import factorial

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from numpy.testing import assert_allclose
from radio_beam import Beam

from stellarssl.exceptions import InputError, MissingInputError
from stellarssl.moments import MomentMaps
from stellarssl.observe import Observation, observe_cube, observe_maps
from stellarssl.tracers import get_tracer

KMS = u.km / u.s
BEAM = Beam(46 * u.arcsec)
CLEAR = Observation(beam_pixels=0.0, rms=0.0, channel_width=0.1, sigma_line=0.0, column_limit=0.0)


def some_maps(distance=140 * u.pc, beam=BEAM):
    """Maps of 23" pixels, as L1448 in 13CO."""
    sky = WCS(naxis=2)
    sky.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    sky.wcs.cdelt = [-23 / 3600, 23 / 3600]
    ones = np.ones((20, 30))
    maps = MomentMaps.from_maps(
        n_h=2e22 * ones * u.cm**-2,
        v_los=ones * KMS,
        sigma_v=ones * KMS,
        wcs=sky,
        distance=distance,
        beam=beam,
    )
    coverage = np.ones((20, 30), dtype=bool)
    coverage[:, 20:] = False
    return replace(
        maps,
        covered=coverage,
        noise=np.where(coverage, 0.11, np.nan) * u.K,
        moment0_limit=np.where(coverage, 0.022, 9.0) * u.K * KMS,
        channel_width=0.066 * KMS,
        sigma_instrument=0.057 * KMS,
    )


def point(n_pixels=64, column=1e24, background=1e20):
    maps = np.zeros((1, 3, n_pixels, n_pixels))
    maps[:, 0] = np.log10(background)
    maps[0, 0, n_pixels // 2, n_pixels // 2] = np.log10(column)
    return maps


# ---------------------------------------------------------------- observation


def test_observation_of_maps():
    """At 288 pc a beam of 46" is 8.22 tile pixels; the 23" pixel widens it to 9.12."""
    seen = Observation.of(some_maps(), distance="288 pc")
    tile_pixel = 0.5 / 64 / 288 * 206264.806
    assert seen.beam_pixels == pytest.approx(
        np.sqrt(46**2 + 8 * np.log(2) * 23**2 / 6) / tile_pixel, rel=1e-6
    )
    assert seen.beam_pixels == pytest.approx(9.12, abs=0.01)
    assert (seen.rms, seen.channel_width) == pytest.approx((0.11, 0.066))
    assert seen.sigma_line == pytest.approx(0.057)
    assert seen.column_limit == pytest.approx(2.2e20)  # 0.022 K km/s, the part off the map aside
    assert seen.opaque_column == 0  # of a bookkeeper
    thin = replace(some_maps(), tracer=get_tracer("13CO"))
    # 7.94e20 cm^-2/(K km/s) times J(10 K) - J(2.725 K) = 6.70 K
    assert Observation.of(thin).opaque_column == pytest.approx(5.32e21, rel=1e-3)
    assert Observation.of(some_maps()).beam_pixels == pytest.approx(9.12 * 140 / 288, abs=0.01)


def test_rounding_makes_neighbors_equal():
    first = Observation(8.0, 0.11, 0.066, 0.057, 2.2e20)
    second = Observation(8.1, 0.108, 0.0655, 0.0565, 2.22e20)
    assert first.rounded() == second.rounded()
    assert first.rounded().rounded() == first.rounded()
    assert first.rounded().key == second.rounded().key
    assert first.rounded().seed == second.rounded().seed
    assert first.rounded().beam_pixels == pytest.approx(10**0.9)
    far = replace(first, beam_pixels=12.0)
    assert far.rounded().key != first.rounded().key
    assert far.seed != first.seed
    assert CLEAR.rounded().beam_pixels == 0
    assert CLEAR.key == "bnone_rnone_c-10_snone_nnone_onone"


# ---------------------------------------------------------------- maps


def test_a_point_becomes_the_beam():
    """Peak 4 ln 2 / (pi FWHM^2) of the flux, and half of that at half the FWHM."""
    fwhm = 9.0
    seen, detected = observe_maps(point(), replace(CLEAR, beam_pixels=fwhm))
    column = 10.0 ** seen[0, 0].astype(float) - 1e20
    assert column[32, 32] == pytest.approx(1e24 * 4 * np.log(2) / np.pi / fwhm**2, rel=1e-3)
    y, x = np.mgrid[:64, :64] - 32
    for axis in (x, y):
        variance = (column * axis**2).sum() / column.sum()
        assert np.sqrt(8 * np.log(2) * variance) == pytest.approx(fwhm, rel=2e-3)
    assert column.sum() == pytest.approx(1e24, rel=1e-3)
    assert detected.all()


def test_an_unresolved_gradient_is_dispersion():
    """A gradient g under a Gaussian beam of width s adds (g s)^2 to the variance."""
    maps = np.zeros((1, 3, 64, 64))
    maps[:, 0], maps[:, 2] = 22, 0.3
    maps[:, 1] = 0.1 * (np.arange(64) - 31.5)
    fwhm = 8.0
    seen, _ = observe_maps(maps, replace(CLEAR, beam_pixels=fwhm, sigma_line=0.2))
    width = np.sqrt(0.3**2 + (0.1 * fwhm / np.sqrt(8 * np.log(2))) ** 2 + 0.2**2)
    inner = np.s_[16:48, 16:48]
    assert_allclose(seen[0, 2][inner], width, rtol=1e-3)
    assert_allclose(np.diff(seen[0, 1][inner]), 0.1, rtol=1e-3)


def test_velocities_are_relative_to_the_detected_gas():
    maps = np.zeros((1, 3, 64, 64))
    maps[:, 0] = np.where(np.arange(64) < 32, 22, 20)
    maps[:, 1] = np.where(np.arange(64) < 32, 5.0, -50.0)
    seen, detected = observe_maps(maps, replace(CLEAR, column_limit=1e21, sigma_line=0.06))
    assert detected[0, :, :32].all()
    assert not detected[0, :, 32:].any()
    assert_allclose(seen[0, 0, :, 32:], 21)
    assert_allclose(seen[0, 1], 0, atol=1e-6)
    assert_allclose(seen[0, 2, :, 32:], 0.06)


def test_edges_are_means_of_what_lies_inside():
    maps = np.zeros((1, 3, 64, 64))
    maps[:, 0], maps[:, 1], maps[:, 2] = 22, 4.0, 0.5
    seen, _ = observe_maps(maps, replace(CLEAR, beam_pixels=12.0))
    assert_allclose(seen[0, 0], 22, atol=1e-5)
    assert_allclose(seen[0, 1], 0, atol=1e-5)
    assert_allclose(seen[0, 2], 0.5, rtol=1e-5)


def test_a_periodic_box_is_seen_the_same_wherever_it_is_cut():
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(2, 3, 48, 48)) * 0.3
    maps[:, 2] = np.abs(maps[:, 2])
    telescope = replace(CLEAR, beam_pixels=7.0)
    seen, _ = observe_maps(maps, telescope, periodic=True)
    rolled, _ = observe_maps(np.roll(maps, (5, 30), axis=(2, 3)), telescope, periodic=True)
    assert_allclose(rolled, np.roll(seen, (5, 30), axis=(2, 3)), atol=1e-5)


def test_opacity_of_a_gaussian_line():
    """Thin gas shows all; at peak opacity t the share is sum of (-t)^n / ((n + 1)! sqrt(n + 1))."""
    maps = np.zeros((1, 3, 64, 64))
    maps[0, 0] = np.linspace(18, 22.2, 64)
    maps[:, 2] = 0.4
    telescope = replace(CLEAR, sigma_line=0.3, opaque_column=5e21)  # a line of 0.5 km/s
    seen, _ = observe_maps(maps, telescope)
    assert_allclose(seen[0, 0, 32, 0], 18, atol=1e-3)
    assert_allclose(seen[0, 2, 32, 0], 0.5, rtol=1e-3)
    peak = 10.0 ** maps[0, 0, 0] / (np.sqrt(2 * np.pi) * 0.5 * 5e21)
    assert peak[-1] > 2
    terms = [(-peak) ** n / (factorial(n + 1) * np.sqrt(n + 1)) for n in range(40)]
    assert_allclose(seen[0, 0, 32] - maps[0, 0, 32], np.log10(np.sum(terms, axis=0)), atol=1e-3)
    # the variance likewise: each term is a Gaussian narrower by sqrt(n + 1)
    terms = [(-peak) ** n / (factorial(n + 1) * (n + 1) ** 1.5) for n in range(40)]
    share = 10.0 ** (seen[0, 0, 32] - maps[0, 0, 32])
    assert_allclose(seen[0, 2, 32], 0.5 * np.sqrt(np.sum(terms, axis=0) / share), rtol=2e-3)


def test_opacity_of_maps_is_that_of_cubes():
    """One Gaussian line through both operators: 13CO at 10 K, 1e20 to 1e23 cm^-2."""
    tracer = get_tracer("13CO")
    v = np.arange(-4, 4.01, 0.02)[:, None, None]
    log_n = np.linspace(20, 23, 64)
    profile = np.exp(-0.5 * (v / 0.5) ** 2) / (0.5 * np.sqrt(2 * np.pi))
    column = np.broadcast_to(10.0**log_n * profile * 0.02, (len(v), 64, 64))
    seen = observe_cube(
        column, tracer, channel_width=0.02 * KMS, beam_pixels=0.0, rms=0 * u.K, seed=1
    ).astype(float)
    w = seen.sum(axis=0)[32]
    truth = np.log10(w * 0.02 * tracer.n_h_per_w.to_value(u.cm**-2 / (u.K * KMS)))
    width = np.sqrt((seen * v**2).sum(axis=0)[32] / w)
    maps = np.zeros((1, 3, 64, 64))
    maps[:, 0], maps[:, 2] = log_n, 0.5
    opaque = Observation.of(replace(some_maps(), tracer=tracer)).opaque_column
    ours, _ = observe_maps(maps, replace(CLEAR, opaque_column=opaque))
    assert_allclose(ours[0, 0, 32], truth, atol=2e-3)
    assert_allclose(ours[0, 2, 32], width, rtol=3e-3)
    assert log_n[-1] - truth[-1] > 0.8


def test_nothing_detected_is_no_error():
    seen, detected = observe_maps(point(column=1e20), replace(CLEAR, column_limit=1e21))
    assert not detected.any()
    assert np.isfinite(seen).all()
    assert_allclose(seen[0, 0], 21)


# ---------------------------------------------------------------- cubes


def test_opacity_by_hand():
    """C18O at 10 K: J(10) - J(2.725) = 7.595 - 0.891 K; thin, then saturated."""
    tracer = get_tracer("C18O", excitation_temperature="10 K")
    factor = tracer.n_h_per_w.to_value(u.cm**-2 / (u.K * KMS))
    thin = np.array([0.01, 6.704, 670.4])  # K, if it were thin
    column = np.broadcast_to((thin * factor * 0.125)[:, None, None], (3, 8, 8))
    seen = observe_cube(
        column, tracer, channel_width=0.125 * KMS, beam_pixels=0.0, rms=0 * u.K, seed=1
    )
    expected = 6.704 * (1 - np.exp(-thin / 6.704))
    assert_allclose(seen[:, 4, 4], expected, rtol=2e-4)
    assert seen[1, 0, 0] == pytest.approx(6.704 * (1 - 1 / np.e), rel=1e-3)
    user = get_tracer(1e22 * u.cm**-2 / (u.K * KMS))
    plain = observe_cube(
        column, user, channel_width="0.125 km/s", beam_pixels=0.0, rms="0 K", seed=1
    )
    assert_allclose(plain, column / 1.25e21, rtol=1e-6)


def test_beam_of_a_cube():
    column = np.zeros((2, 64, 64))
    column[1, 10, 60] = 1e24
    tracer = get_tracer(1e22 * u.cm**-2 / (u.K * KMS))
    seen = observe_cube(
        column, tracer, channel_width=0.1 * KMS, beam_pixels=5.0, rms=0 * u.K, seed=1
    )
    assert_allclose(seen[0], 0)
    assert seen[1].sum() == pytest.approx(1e3, rel=1e-3)
    assert seen[1].max() == pytest.approx(1e3 * 4 * np.log(2) / np.pi / 25, rel=2e-3)
    assert seen[1, 10, 60] == seen[1].max()


def test_noise_has_the_rms_and_the_beam():
    """Correlation of neighbors: exp(-2 ln 2 (d / FWHM)^2), independent between channels."""
    tracer = get_tracer("13CO")
    options = {"channel_width": 0.1 * KMS, "beam_pixels": 3.0, "rms": 0.1 * u.K}
    noise = observe_cube(np.zeros((40, 96, 96)), tracer, seed=5, **options)
    assert noise.dtype == np.float32
    assert noise.std() == pytest.approx(0.1, rel=0.01)
    for d in (1, 2, 3):
        measured = (noise[:, :, d:] * noise[:, :, :-d]).mean() / noise.var()
        assert measured == pytest.approx(np.exp(-2 * np.log(2) * (d / 3) ** 2), abs=0.02)
    assert abs((noise[1:] * noise[:-1]).mean() / noise.var()) < 0.02
    again = observe_cube(np.zeros((40, 96, 96)), tracer, seed=5, **options)
    assert_allclose(again, noise, rtol=0)
    other = observe_cube(np.zeros((40, 96, 96)), tracer, seed=6, **options)
    assert not np.allclose(other, noise)


# ---------------------------------------------------------------- the demo


def test_the_demo_says_what_it_is(request):
    """Noise of 0.1 K, opaque at most, its stars on it: `scripts/make_demo.py` made it."""
    folder = request.config.rootpath / "stellarssl" / "data" / "demo"
    with fits.open(folder / "c18o_s4.fits.gz") as hdus:
        hdus.verify("exception")
        header, data = hdus[0].header, hdus[0].data
    stars = QTable.read(folder / "c18o_s4_stars.ecsv")
    assert (folder / "c18o_s4.fits.gz").stat().st_size < 5e6
    assert "SIMULATED" in str(header["HISTORY"])
    assert header.comments["DISTANCE"].startswith("[pc]")
    assert (header["BUNIT"], header["RESTFRQ"]) == ("K", pytest.approx(109.7821734e9))
    assert header["BMAJ"] == pytest.approx(3 * header["CDELT2"])
    assert data[:10].std() == pytest.approx(0.1, rel=0.02)
    assert 3 < data.max() < 6.704 + 0.4
    x, y = WCS(header).celestial.world_to_pixel(stars["skycoord"])
    assert ((x > 15.5) & (x < 111.5) & (y > 15.5) & (y < 111.5)).all()
    assert len(stars) >= 5
    assert ((stars["mass"] > 0 * u.solMass) & (stars["mass"] < 8 * u.solMass)).all()


# ---------------------------------------------------------------- refusals


def test_what_an_observation_needs_is_named():
    maps = some_maps()
    with pytest.raises(MissingInputError, match="distance: must be given"):
        Observation.of(some_maps(distance=None))
    with pytest.raises(MissingInputError, match="beam: must be given"):
        Observation.of(some_maps(beam=None))
    with pytest.raises(MissingInputError, match="tracer: must be given"):
        Observation.of(replace(maps, tracer=None))
    with pytest.raises(InputError, match="distance: must be one value"):
        Observation.of(maps, distance=[140, 150] * u.pc)
    with pytest.raises(InputError, match="rms: must be finite and not negative; got nan"):
        replace(CLEAR, rms=np.nan)
    with pytest.raises(InputError, match="maps: must have shape"):
        observe_maps(np.zeros((3, 64, 64)), CLEAR)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"column": np.zeros((4, 4))}, "column: must have shape"),
        ({"channel_width": 0.1}, "channel_width: must be a quantity"),
        ({"beam_pixels": -1.0}, "beam_pixels: must be finite and not negative; got -1.0"),
        ({"rms": -0.1 * u.K}, "rms: must not be negative"),
        ({"rms": 0.1 * u.Jy}, "rms: must be a quantity"),
    ],
)
def test_bad_cube_options_are_named(change, message):
    options = {
        "column": np.zeros((2, 4, 4)),
        "tracer": get_tracer("HI"),
        "channel_width": 0.1 * KMS,
        "beam_pixels": 1.0,
        "rms": 0.1 * u.K,
        "seed": 1,
    }
    with pytest.raises(InputError, match=message):
        observe_cube(**{**options, **change})
