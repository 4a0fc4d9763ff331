"""What a survey makes of its cubes, and that it goes on where it was."""

import json
import os

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS

import stellarssl
from stellarssl._utils.provenance import file_sha256
from stellarssl.cubes import read_cube, read_sky
from stellarssl.exceptions import InputError, StellarSSLWarning
from stellarssl.library import observing
from stellarssl.pipeline import read_sources
from stellarssl.survey import stages
from stellarssl.survey.catalog import Catalog

STAGES = ("moments", "masses", "segments")


@pytest.fixture
def weigh(models):
    """A function that weighs sources on one cube without a survey."""
    library = stellarssl.ReferenceLibrary.read(models["library"])

    def weigh(maps, sources):
        return stellarssl.estimate_mass(maps, sources, library=library)

    return weigh


def _same_rows(found, expected):
    """Compare tables of which the first has been a file, where what is masked is lost."""
    for name in ("flags", "neighbors", "novelty_pvalue"):
        np.testing.assert_array_equal(found[name], expected[name])
    for name in ("mass", "gas_mass"):
        np.testing.assert_array_equal(found[name].mask, expected[name].mask)
        np.testing.assert_array_equal(found[name].filled(0), expected[name].filled(0))


def test_each_cube_has_a_folder_and_the_catalog_has_all(run, cubes, tmp_path, weigh, stars):
    table = run()
    assert list(table["folder"]) == ["near", "far", "group"]
    assert list(table["status"]) == ["ok"] * 3, list(table["reason"])
    assert list(table["n_sources"]) == [1, 1, 5]
    merged = QTable.read(tmp_path / "out" / "masses.ecsv")
    assert list(merged["cube"]) == ["near", "far", *["group"] * 5]
    for cube, folder, names in (
        (cubes[0], "near", ["s4-3"]),
        (cubes[1], "far", ["s4-6"]),
        (cubes[2], "group", ["s4-7", "s4-9", "s4-11", "s4-12", "s4-13"]),
    ):
        rows = merged[merged["cube"] == folder]
        assert list(rows["id"]) == names
        alone = weigh(stellarssl.moment_maps(cube), stars[np.isin(stars["id"], rows["id"])])
        _same_rows(rows, alone)
        done = json.loads((tmp_path / "out" / folder / "done.json").read_text())
        assert {"moments.fits", "masses.ecsv", "labels.fits"} <= set(done["products"])
        for name, file in done["products"].items():
            assert file["sha256"] == file_sha256(tmp_path / "out" / folder / name)
    export = Table.read(tmp_path / "out" / "masses.fits")
    np.testing.assert_allclose(export["ra"], merged["skycoord"].ra.deg)
    assert list(Table.read(tmp_path / "out" / "cubes.ecsv")["cube"]) == list(map(str, cubes))
    assert not (tmp_path / "out" / "observed").exists()


def test_a_finished_survey_has_nothing_to_do(run, begun, tmp_path):
    first = run()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*")}
    again = run()
    assert list(again["status"]) == list(first["status"])
    assert set(begun().values()) == {1}
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*")}


@pytest.mark.parametrize("stage", STAGES)
def test_it_goes_on_at_the_station_where_it_was_stopped(run, begun, tmp_path, monkeypatch, stage):
    work = {"moments": "moment_maps", "masses": "write_masses", "segments": "segment"}[stage]
    calls = []

    def stopped(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return right(*args, **options)

    right = getattr(stages, work)
    monkeypatch.setattr(stages, work, stopped)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.undo()
    table = run()
    assert list(table["status"]) == ["ok"] * 3
    count = begun()
    assert sum(count.values()) == 3 * len(STAGES) + 1
    assert [name for name, n in count.items() if n == 2] == [("far", stage)]
    assert not list((tmp_path / "out").glob("*/.*"))


def test_a_telescope_is_observed_once(run, cubes, cut, tmp_path, monkeypatch):
    every = stellarssl.library.PPVTiles.default()
    tiles = every.select(np.flatnonzero(np.asarray(every.table["has_star"]))[::25])
    tiles.write(tmp_path / "tiles.fits")
    seen = []
    measure = observing._measure
    monkeypatch.setattr(
        observing,
        "_measure",
        lambda tiles, rows, cubes, telescope: (
            seen.append((telescope, tuple(rows))) or measure(tiles, rows, cubes, telescope)
        ),
    )
    these = [cubes[0], cut(tmp_path / "next.fits", 62, 58), cubes[1]]
    run(these=these, library=tmp_path / "tiles.fits")
    telescopes = {telescope for telescope, _ in seen}
    # two cubes of one star at 140 pc share one, that at 280 pc has its own
    assert len({telescope.observation for telescope in telescopes}) == 2
    assert len(seen) == len(set(seen))
    assert not (tmp_path / "out" / "observed").exists()


def test_a_broken_cube_is_recorded_and_the_rest_goes_on(run, cubes, begun, tmp_path, monkeypatch):
    cubes[0].write_bytes(cubes[0].read_bytes()[:100_000])
    right = stages.segment

    def broken(maps, **options):
        if "far" in maps.meta["source"]:
            raise RuntimeError("a bug\nof two lines")
        return right(maps, **options)

    monkeypatch.setattr(stages, "segment", broken)
    table = run()
    assert list(table["status"]) == ["refused", "failed", "ok"]
    assert "cube: is truncated: shorter than its header says" in table["reason"][0]
    assert table["reason"][1] == "RuntimeError: a bug of two lines"
    assert set(QTable.read(tmp_path / "out" / "masses.ecsv")["cube"]) == {"group"}
    monkeypatch.undo()
    table = run()
    assert list(table["status"]) == ["refused", "ok", "ok"]
    assert begun()["far", "segments"] == 2
    assert begun()["far", "moments"] == begun()["group", "moments"] == 1


def test_of_a_cube_without_sources_only_the_header_is_read(run, cubes, tmp_path):
    with fits.open(cubes[1]) as hdus:
        size = hdus[0].fileinfo()["datLoc"]
    cubes[1].write_bytes(cubes[1].read_bytes()[:size])  # there is nothing else to read
    star = SkyCoord(67.24031 * u.deg, 26.10968 * u.deg)
    table = run(these=cubes[:2], positions=star)
    assert list(table["status"]) == ["ok", "empty"]
    assert table["reason"][1] == "holds none of the sources"


def test_part_of_a_cubes_products_may_be_refused(run, cubes, tmp_path):
    fits.setval(cubes[0], "RESTFRQ", value=96.741e9)  # methanol, which has no column formula
    with pytest.warns(StellarSSLWarning, match="maps have no column"):
        table = run(these=cubes[:1])
    assert table["status"][0] == "ok"
    assert "no segments: tracer" in table["reason"][0]
    assert (tmp_path / "out" / "near" / "moments.fits").is_file()
    masses = QTable.read(tmp_path / "out" / "masses.ecsv")
    assert masses["mass"].mask.all()
    assert "no_column,unknown_line" in masses["flag_words"][0]


def test_sources_at_their_own_distances_and_velocities(run, cubes, stars, weigh, tmp_path):
    some = stars[np.isin(stars["id"], ["s4-9", "s4-12", "s4-13"])]
    some["distance"] = [140, 200, 140] * u.pc
    some["velocity_range"] = [[-4, 4], [-4, 4], [0, 4]] * u.km / u.s
    run(these=cubes[2:], positions=some)
    merged = QTable.read(tmp_path / "out" / "masses.ecsv")
    assert list(merged["id"]) == list(some["id"])
    alone = weigh(cubes[2], some)
    _same_rows(merged, alone)


def test_only_what_sources_need_is_read(run, cut, tmp_path, weigh, stars):
    """The tile of one star on a cube three times as wide: the rest is not covered."""
    cube = cut(tmp_path / "wide.fits", 14, 10, size=100)
    near = stars[stars["id"] == "s4-3"]
    run(these=[cube], positions=near, only_sources=True)
    maps = stellarssl.MomentMaps.read(tmp_path / "out" / "wide" / "moments.fits")
    footprint = stellarssl.source_footprint(cube, near["skycoord"])
    assert 0.08 < footprint.mean() < 0.25
    np.testing.assert_array_equal(maps.covered, footprint)
    merged = QTable.read(tmp_path / "out" / "masses.ecsv")
    _same_rows(merged, weigh(stellarssl.moment_maps(cube, footprint=footprint), near))


def test_nothing_is_known_of_sources_that_are_not_given(run, cubes):
    with pytest.raises(InputError, match="only_sources: needs positions"):
        run(these=cubes[:1], positions=None, only_sources=True)


def test_without_positions_the_peaks_of_each_cube_are_weighed(run, cubes, tmp_path):
    table = run(these=cubes[:1], positions=None)
    merged = QTable.read(tmp_path / "out" / "masses.ecsv")
    assert len(merged) > 0
    assert all("position_from_peak" in words for words in merged["flag_words"])
    assert table["n_masses"][0] == np.sum(~merged["mass"].mask)


def test_cubes_can_be_added_and_keep_their_folders(run, cubes, cut, begun, tmp_path):
    run(these=cubes[:1])
    (tmp_path / "other").mkdir()
    namesake = cut(tmp_path / "other" / "near.fits", 62, 58)
    table = run(these=[namesake, cubes[0]])
    assert list(table["folder"]) == ["near-2", "near"]
    assert begun()["near", "moments"] == 1


def test_a_cube_that_was_replaced_is_done_again(run, cubes, begun):
    run(these=cubes[:2])
    status = cubes[0].stat()
    os.utime(cubes[0], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    run(these=cubes[:2])
    assert [begun()[name, "moments"] for name in ("near", "far")] == [2, 1]


# which sources lie on a cube


@pytest.mark.parametrize("frame", ["RA", "GLON"])
@pytest.mark.parametrize("dec", [0.0, 60.0, 89.9])
def test_sources_on_an_image_are_those_of_every_pixel(frame, dec):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"] if frame == "RA" else ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [0.05, dec], [15.5, 20.5], [-0.01, 0.01]
    shape = (40, 30)
    rng = np.random.default_rng(3)
    center = wcs.pixel_to_world(14.5, 19.5)
    near = center.directional_offset_by(
        rng.uniform(0, 360, 3000) * u.deg, rng.uniform(0, 0.4, 3000) * u.deg
    )
    far = SkyCoord(rng.uniform(0, 360, 3000), rng.uniform(-90, 90, 3000), unit="deg")
    coord = SkyCoord(
        np.concatenate([near.icrs.ra, far.ra]), np.concatenate([near.icrs.dec, far.dec])
    )
    found = Catalog(read_sources(coord)).on(wcs, shape)
    # every source by itself: nearer to some pixel's center than pixels are wide, in x and in y
    x, y = wcs.world_to_pixel(coord)
    front = coord.separation(center) < 1 * u.deg  # TAN shows the far side, too
    inside = front & (x > -0.5) & (x < 29.5) & (y > -0.5) & (y < 39.5)
    assert [int(name) - 1 for name in found.id] == list(np.flatnonzero(inside))
    assert 100 < len(found) < 3000


def test_no_source_on_an_image_is_none():
    wcs = WCS({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.01, "CDELT2": 0.01})
    assert Catalog(read_sources(SkyCoord(180 * u.deg, 0 * u.deg))).on(wcs, (4, 4)) is None


def test_the_sky_of_a_header_is_that_of_the_cube(cubes):
    wcs, shape = read_sky(cubes[0])
    cube = read_cube(cubes[0])
    assert shape == cube.shape[1:]
    assert wcs.wcs.compare(cube.wcs.wcs)
    packed = stellarssl.demo_files()[0]
    assert read_sky(packed)[1] == (128, 128)
