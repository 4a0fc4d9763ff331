"""Features of library tiles: measured as the data are, independent of calibration, reproducible."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from stellarssl import make_tiles, moment_maps, source_spectra
from stellarssl.exceptions import InputError
from stellarssl.library import LibraryRows, PPVTiles, Telescope, observed_rows, rounded_snr
from stellarssl.observe import Observation
from stellarssl.tiles import RADII, source_statistics, usable_radii

DISTANCE = 140 * u.pc
PLAIN = Observation(0.0, 0.0, 0.125, 0.06, 0.0)


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    """Keep features out of the user's cache."""
    monkeypatch.setattr("stellarssl.library.cache.folder", lambda: tmp_path / "cache")


@pytest.fixture
def tiles():
    """Four tiles of s8, with pixels of 0.0078 pc and the star in the center."""
    every = PPVTiles.default()
    rows = np.flatnonzero((every.table["sim"] == "s8") & every.table["has_star"])
    return every.select(rows[[0, 40, 80, 120]])


def as_cube(cube, pixel):
    """Put a tile on the sky, as a cube that a user would give."""
    side = (pixel / DISTANCE).to_value(u.deg, u.dimensionless_angles())
    middle = (cube.shape[2] + 1) / 2
    header = fits.Header()
    header.update(
        {"CTYPE1": "RA---TAN", "CRVAL1": 52.0, "CRPIX1": middle, "CDELT1": -side, "CUNIT1": "deg",
         "CTYPE2": "DEC--TAN", "CRVAL2": 31.0, "CRPIX2": middle, "CDELT2": side, "CUNIT2": "deg",
         "CTYPE3": "VRAD", "CRVAL3": 0.0, "CRPIX3": (cube.shape[0] + 1) / 2, "CDELT3": 125.0,
         "CUNIT3": "m/s", "SPECSYS": "LSRK", "RADESYS": "ICRS", "BUNIT": "K",
         "BMAJ": side / 10, "BMIN": side / 10, "BPA": 0.0}
    )  # fmt: skip
    return fits.PrimaryHDU(np.ascontiguousarray(cube), header)


@pytest.mark.usefixtures("no_cache")
@pytest.mark.filterwarnings("ignore::stellarssl.exceptions.StellarSSLWarning")
def test_library_and_data_are_measured_alike(tiles):
    # The sky is mirrored with respect to the tile; no feature depends on handedness.
    rows = observed_rows(tiles, Telescope(PLAIN))
    factor = 1e22 * u.cm**-2 / (u.K * u.km / u.s)
    for i, cube in enumerate(tiles.decode(slice(None))):
        hdu = as_cube(cube, 0.0078125 * u.pc)
        star = tiles.table["dx"][i], tiles.table["dy"][i]
        side = hdu.header["CDELT2"] * u.deg
        position = SkyCoord(52, 31, unit="deg").spherical_offsets_by(
            -star[0] * side, star[1] * side
        )
        options = {"tracer": factor, "distance": DISTANCE, "noise": 0 * u.K}
        maps = moment_maps(hdu, **options)
        cut = make_tiles(maps, position)
        spectra = source_spectra(hdu, position.reshape(1), distance=DISTANCE, noise=0 * u.K)
        found = source_statistics(cut.maps, cut.detected, cut.covered, spectra, radii=(0.0, 14.0))
        assert found.names == rows.names
        known = np.isfinite(rows.array[i]) & np.isfinite(found.array[0])
        assert known.sum() >= np.isfinite(rows.array[i]).sum() - 2
        apart = np.abs(found.array[0] - rows.array[i])[known]
        assert np.median(apart) < 0.002
        assert np.percentile(apart, 98) < 0.05


@pytest.mark.usefixtures("no_cache")
def test_a_factor_on_the_brightness_changes_no_feature(tiles):
    cubes = tiles.decode(slice(None)).astype(np.float64)
    telescope = Telescope(Observation(3.0, 0.0, 0.125, 0.06, 0.0), snr=10.0)
    once, twice = (
        observed_rows(PPVTiles.from_cubes(factor * cubes, tiles.table), telescope).array
        for factor in (1.0, 2.0)
    )
    # brightness is rounded to 4 % in the library
    assert_allclose(twice, once, rtol=0, atol=0.3)
    assert np.nanmedian(np.abs(twice - once)) < 0.005


@pytest.mark.usefixtures("no_cache")
def test_rows_do_not_depend_on_the_other_tiles_and_are_stored(tiles):
    telescope = Telescope(Observation(3.0, 0.0, 0.125, 0.06, 0.0), snr=10.0, radii=(0.0, 5.0))
    rows = observed_rows(tiles, telescope)
    assert_array_equal(observed_rows(tiles, telescope).array, rows.array)  # from the cache
    first = observed_rows(tiles.select(slice(0, 2)), telescope)
    assert_allclose(first.array, rows.array[:2], rtol=1e-6)
    assert rows.select(slice(0, 2)).sha256 == first.sha256
    assert rows.meta["snr"] == 10.0
    assert rows.meta["radius_max"] == 5.0


@pytest.mark.usefixtures("no_cache")
def test_position_error_moves_the_center(tiles):
    sharp, moved = (
        observed_rows(tiles, Telescope(PLAIN, lines=False, position_error=error)).array
        for error in (0.0, 3.0)
    )
    column = 0  # relative column in the innermost disc
    assert np.nanmean(moved[:, column]) < np.nanmean(sharp[:, column])


def test_select_and_exclude():
    every = PPVTiles.default().select(slice(0, None, 300))
    rows = LibraryRows(every.table, ("a",), np.zeros((len(every), 1), np.float32))
    assert "s8" not in rows.exclude(sim="s8").table["sim"]
    with pytest.raises(InputError, match=r"sim: must be among .*; got 's99'"):
        rows.exclude(sim="s99")
    with pytest.raises(InputError, match="rows: must leave at least one row"):
        rows.select(np.zeros(len(rows), dtype=bool))


def test_rounded_snr_steps():
    assert rounded_snr(np.inf) is None
    assert_allclose(rounded_snr(10.0), 10**0.9)
    assert rounded_snr(0.1) == rounded_snr(2.0)
    assert rounded_snr(1e4) == rounded_snr(63.0)


def test_telescope_refuses_negative_values():
    with pytest.raises(InputError, match="position_error: must be finite and not negative"):
        Telescope(PLAIN, position_error=-1.0)
    with pytest.raises(InputError, match="snr: must be finite and not negative"):
        Telescope(PLAIN, snr=np.nan)


def test_usable_radii():
    assert [RADII[i][1] for i in usable_radii(np.array([32.0, 14.0, 9.9, 2.5]))] == [14, 14, 7, 2.5]
    assert usable_radii(np.array([1.5, 0.0])).tolist() == [-1, -1]


def test_spectra_of_other_sources_are_refused(tiles):
    maps = np.zeros((2, 3, 64, 64)) + 20
    spectra = source_spectra(
        as_cube(tiles.decode([0])[0], 0.0078125 * u.pc),
        SkyCoord([52], [31], unit="deg"),
        distance=DISTANCE,
    )
    with pytest.raises(InputError, match="spectra: must hold one source for each of the 2 tiles"):
        source_statistics(maps, spectra=spectra)
