"""Every form that positions may have names the same places."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord, PointSkyRegion, Regions

from stellarssl.exceptions import InputError, StellarSSLWarning
from stellarssl.pipeline import read_sources

COORD = SkyCoord([51.40, 51.41] * u.deg, [30.75, 30.73] * u.deg)


def _table(**columns):
    return QTable({"id": ["IRS3", "C"], "skycoord": COORD, **columns})


def test_a_table_carries_what_is_known_of_each_source():
    table = _table(
        distance=[0.288, 0.3] * u.kpc,
        position_error=[1, 2] * u.arcsec,
        velocity_range=[[0, 5], [2, 7]] * u.km / u.s,
    )
    sources = read_sources(table)
    assert sources.id == ("IRS3", "C")
    np.testing.assert_allclose(sources.distance.to_value(u.pc), [288, 300])
    np.testing.assert_allclose(sources.position_error.to_value(u.arcsec), [1, 2])
    assert sources.velocity_range.shape == (2, 2)
    assert sources[np.array([False, True])].id == ("C",)
    assert sources[np.array([False, True])].distance == 300 * u.pc


def test_columns_without_a_unit_are_degrees():
    sources = read_sources(Table({"RA": COORD.ra.deg, "Dec": COORD.dec.deg}))
    assert sources.skycoord.separation(COORD).max() < 1e-6 * u.arcsec
    assert sources.id == ("1", "2")


def test_galactic_positions_stay_where_they_are():
    sources = read_sources(COORD.galactic)
    assert sources.skycoord.icrs.separation(COORD).max() < 1e-6 * u.arcsec


@pytest.mark.parametrize("name", ["stars.ecsv", "stars.fits", "stars.vot", "stars.csv"])
def test_catalog_files(tmp_path, name):
    flat = Table({"id": ["IRS3", "C"], "ra": COORD.ra.deg, "dec": COORD.dec.deg})
    path = tmp_path / name
    flat.write(path, **({"format": "votable"} if name.endswith("vot") else {}))
    sources = read_sources(path)
    assert sources.id == ("IRS3", "C")
    assert sources.skycoord.separation(COORD).max() < 1e-6 * u.arcsec


def test_a_csv_column_of_distances_is_in_parsecs(tmp_path):
    path = tmp_path / "stars.csv"
    Table({"ra": COORD.ra.deg, "dec": COORD.dec.deg, "distance": [288, 300.5]}).write(path)
    with pytest.warns(StellarSSLWarning, match="column distance states no unit and is read as pc"):
        sources = read_sources(path)
    assert sources.distance.unit == u.pc
    assert sources.distance.value.tolist() == [288, 300.5]


@pytest.mark.parametrize(("name", "kind"), [("s.reg", "ds9"), ("s.crtf", "crtf")])
def test_region_files(tmp_path, name, kind):
    shapes = [
        CircleSkyRegion(coord, 5 * u.arcsec, meta={"text": label, "label": label})
        for coord, label in zip(COORD, ["IRS3", "C"], strict=True)
    ]
    Regions(shapes).write(tmp_path / name, format=kind)
    sources = read_sources(tmp_path / name)
    assert sources.id == ("IRS3", "C")
    assert sources.skycoord.separation(COORD).max() < 0.01 * u.arcsec


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (42, "positions: must be a SkyCoord, a table"),
        ("nowhere.ecsv", "positions: must name a file that exists"),
        (COORD[:0], "positions: must hold at least one"),
        (QTable({"x": [1.0]}), "must have a 'skycoord' column"),
        (QTable({"id": ["a", "a"], "skycoord": COORD}), "ids that are all different"),
        (_table(distance=[288.0, 300.0]), "distance: must be a column with a unit"),
        (_table(distance=[288, 300] * u.K), "distance: must be convertible to pc"),
        (_table(velocity_range=[1, 2] * u.km / u.s), "velocity_range: must hold two values"),
    ],
)
def test_refuses(positions, message):
    with pytest.raises(InputError, match=message):
        read_sources(positions)


def test_points_of_ds9(tmp_path):
    Regions([PointSkyRegion(COORD[0])]).write(tmp_path / "point.reg", format="ds9")
    sources = read_sources(tmp_path / "point.reg")
    assert sources.id == ("1",)
    assert sources.skycoord[0].separation(COORD[0]) < 0.01 * u.arcsec


def test_refuses_files_it_cannot_read(tmp_path):
    (tmp_path / "notes.txt").write_text("some words, no table\n")
    with pytest.raises(InputError, match=r"positions: must name a catalog .*notes\.txt"):
        read_sources(tmp_path / "notes.txt")
    (tmp_path / "bad.reg").write_text("image; circle(1,2\n")
    with pytest.raises(InputError, match=r"positions: must"):
        read_sources(tmp_path / "bad.reg")


def test_refuses_regions_of_pixels(tmp_path):
    Regions([CirclePixelRegion(PixCoord(3, 4), 2)]).write(tmp_path / "p.reg", format="ds9")
    with pytest.raises(InputError, match="must hold sky regions with a center"):
        read_sources(tmp_path / "p.reg")


@pytest.mark.filterwarnings("ignore::stellarssl.exceptions.StellarSSLWarning")
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b,67.1,26.1,", "distance: must have a value in each row; got 'none in row 2'"),
        ("b,,26.1,140", "ra: must have a value in each row; got 'none in row 2'"),
    ],
)
def test_refuses_empty_fields(tmp_path, row, message):
    path = tmp_path / "stars.csv"
    path.write_text(f"id,ra,dec,distance\na,67.0,26.0,140\n{row}\n")
    with pytest.raises(InputError, match=message):
        read_sources(path)
