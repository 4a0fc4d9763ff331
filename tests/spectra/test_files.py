"""Source spectra as FITS files."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

from stellarssl.exceptions import InputError, OutputExistsError
from stellarssl.spectra import SourceSpectra, source_spectra, spectra_from_arrays


@pytest.fixture(scope="module")
def spectra(make_hdu, gaussian, at_pixel):
    hdu = make_hdu(gaussian((121, 71, 71), peak=3.0, v=0.4))
    star = at_pixel(hdu, [35, 30, 500], [35, 40, 35])
    return source_spectra(hdu, star, distance="140 pc", noise="0.1 K", ids=["a", "b", "far"])


def assert_same(one, other):
    for name in ("spectra", "error", "offset", "velocity", "distance"):
        values = getattr(one, name)
        if values is None:
            assert getattr(other, name) is None
        else:
            assert getattr(other, name).unit == values.unit
            np.testing.assert_allclose(getattr(other, name).value, values.value, rtol=1e-12)
    for name in ("covered", "background_ring", "several_components", "at_band_edge", "off_map"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
        assert getattr(other, name).dtype.kind == getattr(one, name).dtype.kind
    np.testing.assert_array_equal(other.id, one.id)
    assert other.meta == one.meta


@pytest.mark.parametrize("ending", ["fits", "fits.gz"])
def test_round_trip(spectra, tmp_path, ending):
    path = spectra.write(tmp_path / f"spectra.{ending}")
    assert path == tmp_path / f"spectra.{ending}"
    got = SourceSpectra.read(path)
    assert_same(spectra, got)
    assert got.skycoord.separation(spectra.skycoord).max() < 1e-6 * u.arcsec
    assert got.spectra.dtype == np.float32
    np.testing.assert_array_equal(got.statistics()[1], spectra.statistics()[1])


def test_round_trip_of_tiles(tmp_path):
    tile = np.zeros((40, 33, 33))
    tile[20] = 1.0
    made = spectra_from_arrays([tile], 0.25 * np.arange(40) * u.km / u.s, "0.0078125 pc")
    got = SourceSpectra.read(made.write(tmp_path / "tiles.fits"))
    assert_same(made, got)
    assert got.skycoord is None


def test_the_file_is_readable_without_stellarssl(spectra, tmp_path):
    path = spectra.write(tmp_path / "spectra.fits")
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus["SPECTRA"].header
        assert (header["BUNIT"], header["CUNIT1"], header["CDELT1"]) == ("K", "km/s", 0.125)
        assert hdus["SPECTRA"].data.shape == (3, 8, 96)
    table = QTable.read(path, hdu="SOURCES")
    assert list(table["id"]) == ["a", "b", "far"]
    assert table["velocity"].unit == u.km / u.s
    rings = QTable.read(path, hdu="RINGS")
    assert rings["radius_max"][-1] == 30 * 0.0078125 * u.pc


def test_an_existing_file_is_kept(spectra, tmp_path):
    path = spectra.write(tmp_path / "spectra.fits")
    with pytest.raises(OutputExistsError, match="exists and is not replaced"):
        spectra.write(path)
    spectra[:1].write(path, overwrite=True)
    assert len(SourceSpectra.read(path)) == 1


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="file not found"):
        SourceSpectra.read(tmp_path / "none.fits")
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "other.fits")
    with pytest.raises(InputError, match=r"written by SourceSpectra\.write"):
        SourceSpectra.read(tmp_path / "other.fits")


def test_rows_can_be_selected(spectra):
    assert len(spectra) == 3
    some = spectra[~spectra.off_map]
    assert list(some.id) == ["a", "b"]
    assert some.skycoord.shape == some.distance.shape == (2,)
    np.testing.assert_array_equal(spectra[-1].covered, spectra.covered[2:])
