"""Masses of cubes: calibration of the brightness, small fields, flags of the data."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable
from numpy.testing import assert_allclose, assert_array_equal

import stellarssl
from stellarssl.exceptions import InputError
from stellarssl.library import PPVTiles
from stellarssl.pipeline import demo_files, estimate_mass, measure_sources, read_sources
from stellarssl.pipeline.measured import group_by_telescope

FACTOR = 1e22 * u.cm**-2 / (u.K * u.km / u.s)
DISTANCE = 140 * u.pc


@pytest.fixture(scope="module")
def stars():
    return QTable.read(demo_files()[1])["id", "skycoord"]


@pytest.fixture(scope="module")
def library():
    """A part of the shipped tiles, without the simulation of the demo cube."""
    every = PPVTiles.default().exclude(sim="s4")
    return every.select(slice(0, None, 10))


@pytest.fixture(scope="module")
def plain(stars, library):
    return estimate_mass(demo_files()[0], stars, library=library)


def scaled(factor):
    with fits.open(demo_files()[0]) as hdus:
        return fits.PrimaryHDU(factor * hdus[0].data, hdus[0].header)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_factor_on_the_brightness_changes_no_mass(stars, library, plain, factor):
    table = estimate_mass(scaled(factor), stars, library=library)
    moved = np.log10(table["mass"].unmasked / plain["mass"].unmasked)
    assert np.abs(moved).max() < 0.03
    apart = table["novelty_pvalue"].data.data - plain["novelty_pvalue"].data.data
    assert np.abs(apart).max() < 0.05
    assert_allclose(table["gas_mass"] / plain["gas_mass"], factor, rtol=1e-3)


def test_maps_have_masses_without_spectra(stars, library, plain):
    table = estimate_mass(stellarssl.moment_maps(demo_files()[0]), stars, library=library)
    assert all("maps_only" in words for words in table["flag_words"])
    assert not any("maps_only" in words for words in plain["flag_words"])
    assert_array_equal(table["gas_mass"], plain["gas_mass"])
    assert np.abs(np.log10(table["mass"].unmasked / plain["mass"].unmasked)).max() < 1


def cut_out(width):
    """A field around a star of s8, of its own pixels of 0.0078 pc, as a cube on the sky."""
    every = PPVTiles.default()
    rows = np.flatnonzero((every.table["sim"] == "s8") & every.table["has_star"])
    tile = every.select(rows[100:101])
    half = round((width / (2 * 0.0078125 * u.pc)).to_value(u.one))
    cube = tile.decode([0])[0][:, 16 - half : 16 + half, 16 - half : 16 + half]
    side = (0.0078125 * u.pc / DISTANCE).to_value(u.deg, u.dimensionless_angles())
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CRVAL1": 52.0, "CRPIX1": half + 0.5, "CDELT1": -side,
         "CTYPE2": "DEC--TAN", "CRVAL2": 31.0, "CRPIX2": half + 0.5, "CDELT2": side,
         "CTYPE3": "VRAD", "CRPIX3": 48.5, "CDELT3": 125.0, "CUNIT3": "m/s", "BUNIT": "K",
         "CUNIT1": "deg", "CUNIT2": "deg", "BMAJ": 2 * side, "BMIN": 2 * side, "RADESYS": "ICRS"}
    )  # fmt: skip
    return fits.PrimaryHDU(np.ascontiguousarray(cube), header), tile.table["mass"][0]


@pytest.mark.filterwarnings("ignore::stellarssl.exceptions.StellarSSLWarning")
@pytest.mark.parametrize(("width", "outer"), [(0.1 * u.pc, 5.0), (0.06 * u.pc, 3.5)])
def test_a_small_field_is_enough(library, width, outer):
    hdu, _ = cut_out(width)
    table = estimate_mass(
        hdu,
        SkyCoord([52], [31], unit="deg"),
        tracer=FACTOR,
        distance=DISTANCE,
        noise=0 * u.K,
        library=library.exclude(sim="s8"),
        allow=["novel"],
    )
    assert not table["mass"].mask[0]
    assert "off_map" not in table["flag_words"][0]
    assert_allclose(table["radius_max"].unmasked[0].to_value(u.pc), outer * 0.0078125)


@pytest.fixture(scope="module")
def measured(stars):
    cube = stellarssl.read_cube(demo_files()[0])
    return measure_sources(stellarssl.moment_maps(cube), cube, read_sources(stars), None)


def test_sources_of_one_signal_to_noise_share_a_telescope(measured):
    groups = group_by_telescope(measured)
    members = np.concatenate([rows for _, rows in groups])
    assert sorted(members) == list(range(8))
    for telescope, rows in groups:
        ratio = np.log10(measured.snr[rows] / telescope.snr)
        assert np.abs(ratio).max() <= 0.15 + 1e-9
        assert telescope.observation.rms == telescope.observation.column_limit == 0


def test_position_error_is_a_tenth_of_the_beam_at_least(measured):
    beam = measured.beam.to_value(u.pc) / 0.0078125
    assert_allclose(measured.position_error, beam / 10, rtol=1e-6)  # S/N is above 5


def test_flags_of_the_data(stars, library):
    close = stars[:1]["skycoord"].directional_offset_by(0 * u.deg, 10 * u.arcsec)
    far = stars[:1]["skycoord"].directional_offset_by(0 * u.deg, 5 * u.deg)
    positions = SkyCoord([*stars[:1]["skycoord"], *close, *far])
    options = {"library": library, "max_recoverable_scale": "3 arcmin"}
    words = [
        set(w.split(","))
        for w in estimate_mass(demo_files()[0], positions, **options)["flag_words"]
    ]
    assert ["blended" in each for each in words] == [True, True, False]  # the beam is 69 arcsec
    assert ["off_map" in each for each in words] == [False, False, True]
    # 3 arcmin are 0.122 pc at 140 pc, less than the diameter of the rings, 0.219 pc
    assert ["missing_flux" in each for each in words] == [True, True, False]


def test_the_error_of_the_distance_is_carried(stars, library, plain):
    rows = stars["id", "skycoord"]
    rows["distance"] = np.full(len(rows), 140) * u.pc
    rows["distance_error"] = np.full(len(rows), 28) * u.pc  # 20 %, twice the default
    table = estimate_mass(demo_files()[0], rows, library=library)
    ratio = table["mass_error_sys"].unmasked / plain["mass_error_sys"].unmasked
    assert_allclose(ratio, 2, rtol=1e-6)


def above_2_msun(log_mass):
    return (log_mass > 0.3).astype(float)


def test_priors(stars, library, plain):
    flat = estimate_mass(demo_files()[0], stars, library=library, prior="flat")
    assert set(flat["prior"]) == {"flat"}
    heavy = estimate_mass(
        demo_files()[0],
        stars,
        library=library,
        prior=lambda log_mass: (log_mass > 0.3).astype(float),
    )
    assert set(heavy["prior"]) == {"user"}
    assert (heavy["mass"].unmasked >= 10**0.3 * u.solMass).all()
    assert (heavy["mass"].unmasked > plain["mass"].unmasked).any()


def test_readers_and_libraries_that_do_not_fit(stars, library, small_library, small_encoder):
    cube = demo_files()[0]
    with pytest.raises(InputError, match='encoder: is used by reader="knn" only'):
        estimate_mass(cube, stars, library=library, encoder=small_encoder)
    with pytest.raises(InputError, match="library: must be a ReferenceLibrary of maps"):
        estimate_mass(cube, stars, library=library, reader="knn")
    with pytest.raises(InputError, match="reader: must be one of forest, knn"):
        estimate_mass(cube, stars, reader="tree")
    table = estimate_mass(
        cube, stars[:2], library=small_library, encoder=small_encoder, reader="knn"
    )
    assert table.meta["reader"] == "knn"
    assert table["neighbor_masses"].shape == (2, 5)
