"""PPV tiles and backgrounds: what is shipped, their files, and the coding of brightness."""

import shutil

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table
from numpy.testing import assert_allclose, assert_array_equal

from stellarssl.exceptions import InputError
from stellarssl.library import Backgrounds, PPVTiles
from stellarssl.library import backgrounds as backgrounds_module
from stellarssl.library import ppv as ppv_module
from stellarssl.library.ppv import decode_brightness, encode_brightness


def table_of(n):
    """Labels of n tiles, a star in each second one."""
    star = np.where(np.arange(n) % 2, -1, np.arange(n))
    text = {"sim": "a", "axis": "x", "clump": "a/clump"}
    columns = {name: np.full(n, value) for name, value in text.items()}
    columns |= {"star": star, "has_star": star >= 0, "output": np.arange(n)}
    columns["group"] = np.array([f"a/{s}" for s in star])
    for name, unit in (("time", u.Myr), ("mass", u.Msun), ("age", u.Myr), ("v_lsr", u.km / u.s)):
        columns[name] = np.ones(n, dtype="f4") * unit
    columns |= {"pixel_size": np.full(n, 0.0078125) * u.pc, "dx": np.zeros(n), "dy": np.zeros(n)}
    return QTable(columns)


@pytest.fixture
def some_tiles():
    cubes = np.random.default_rng(0).lognormal(-3, 2.5, (5, 96, 32, 32)).astype("f4")
    cubes[3, 40, 5, 6] = 1234.5
    cubes[1, 41, 7, 8] = 400.0
    return cubes, PPVTiles.from_cubes(cubes, table_of(5))


# ---------------------------------------------------------------- coding


def test_brightness_is_coded_to_half_a_code():
    brightness = np.logspace(-1, 2.5, 5000)
    decoded = decode_brightness(encode_brightness(brightness))
    assert decoded.dtype == np.float32
    # half of 4.5 dex / 255, enlarged by (T + T0) / T = 1.1 at 0.1 K
    assert np.abs(np.log10(decoded / brightness)).max() < 4.5 / 255 / 2 * 1.1
    assert decode_brightness(np.uint8(0)) == 0


@pytest.mark.parametrize("value", [-1e-3, np.nan, np.inf])
def test_brightness_must_be_finite_and_not_negative(value):
    with pytest.raises(InputError, match="brightness: must be finite and not negative"):
        encode_brightness(np.array([1.0, value]))


def test_codes_of_decoded_brightness_are_the_same():
    codes = np.arange(256, dtype=np.uint8)
    assert_array_equal(encode_brightness(decode_brightness(codes)), codes)


# ---------------------------------------------------------------- tiles


def test_saturated_voxels_are_exact_in_every_selection(some_tiles):
    cubes, tiles = some_tiles
    decoded = tiles.decode(slice(None))
    assert decoded.shape == cubes.shape
    assert decoded.dtype == np.float32
    bright = cubes > 316.3
    assert bright.sum() >= 2
    assert_array_equal(decoded[bright], cubes[bright])
    again = tiles.select([3, 0, 3]).decode([0, 2])
    assert_array_equal(again[0], decoded[3])
    assert_array_equal(again[1], decoded[3])


def test_columns_and_dispersions_keep_a_hundredth_of_a_dex(some_tiles):
    cubes, tiles = some_tiles
    velocity = tiles.velocity.to_value(u.km / u.s)

    def column_and_dispersion(cube):
        total = cube.sum(axis=1, dtype=float)
        mean = np.einsum("nvyx,v->nyx", cube, velocity) / total
        square = np.einsum("nvyx,v->nyx", cube, velocity**2) / total
        return np.log10(total), np.log10(np.sqrt(square - mean**2))

    for exact, coded in zip(
        column_and_dispersion(cubes),
        column_and_dispersion(tiles.decode(slice(None))),
        strict=True,
    ):
        assert_allclose(coded, exact, atol=0.01)


def test_the_star_is_between_the_middle_channels(some_tiles):
    velocity = some_tiles[1].velocity
    assert_allclose(velocity[47:49].to_value("km/s"), [-0.0625, 0.0625])
    assert len(velocity) == 96


def test_batches_hold_every_row_once_and_one_pixel_size():
    table = table_of(7)
    table["pixel_size"][::3] = 0.015625 * u.pc
    cubes = np.arange(7, dtype="f4")[:, None, None, None] * np.ones((1, 4, 2, 2), "f4")
    tiles = PPVTiles.from_cubes(cubes, table)
    seen = []
    for rows, decoded in tiles.batches(2):
        assert len(rows) <= 2
        assert len(np.unique(table["pixel_size"][rows])) == 1
        assert_allclose(decoded[:, 0, 0, 0], rows, rtol=0.03)
        seen.extend(rows)
    assert sorted(seen) == list(range(7))


def test_written_tiles_are_read_back(some_tiles, tmp_path):
    _, tiles = some_tiles
    path = tmp_path / "tiles.fits"
    assert tiles.write(str(path)) == path
    again = PPVTiles.read(path)
    assert again.sha256 == tiles.sha256
    assert_array_equal(again.codes, tiles.codes)
    assert again.codes.dtype == np.uint8
    assert again.table.colnames == tiles.table.colnames
    assert repr(again).startswith("<PPVTiles: 5 tiles of 3 stars")


def test_the_checksum_follows_brightness_and_labels(some_tiles):
    cubes, tiles = some_tiles
    brighter = PPVTiles.from_cubes(2 * cubes, table_of(5))
    other = table_of(5)
    other["mass"][0] = 2 * u.Msun
    assert len({tiles.sha256, brighter.sha256, PPVTiles.from_cubes(cubes, other).sha256}) == 3


def test_cubes_without_a_label_are_refused():
    with pytest.raises(InputError, match=r"cubes: must have shape \(5, v, y, x\)"):
        PPVTiles.from_cubes(np.zeros((4, 3, 2, 2)), table_of(5))


def test_selections_that_do_not_fit_are_refused(some_tiles):
    tiles = some_tiles[1]
    with pytest.raises(InputError, match="rows: must leave at least one row"):
        tiles.select(slice(0, 0))
    with pytest.raises(InputError, match="rows: must select among the 5 rows"):
        tiles.select([7])
    with pytest.raises(InputError, match="sim: must be among a; got 'b'"):
        tiles.exclude(sim="b")
    with pytest.raises(InputError, match="rows: must leave at least one row"):
        tiles.exclude(sim="a")


# ---------------------------------------------------------------- what is shipped


def test_shipped_tiles_are_labelled():
    tiles = PPVTiles.default()
    table = tiles.table
    assert tiles.codes.shape == (len(table), 32, 32, 96)
    assert set(table["sim"]) == {"s4", "s5", "s6", "s7", "s8"}
    assert set(table["axis"]) == {"x", "y", "z"}
    star = table["has_star"]
    assert_array_equal(np.isfinite(table["mass"]), star)
    assert_array_equal(table["star"] >= 0, star)
    assert (table["mass"][star] >= 0.1 * u.Msun).all()
    assert np.abs(table["dx"]).max() <= 0.5
    assert not tiles.codes.flags.writeable
    coarse = np.isin(table["sim"], ["s4", "s5", "s6"])
    assert_allclose(table["pixel_size"].to_value("pc"), np.where(coarse, 0.015625, 0.0078125))


def test_groups_of_shipped_tiles_part_nothing():
    table = PPVTiles.default().table
    for group in np.unique(table["group"]):
        own = table[table["group"] == group]
        assert len(set(own["sim"])) == len(set(own["has_star"])) == len(set(own["clump"])) == 1
    stars = table[table["has_star"]]
    of_group = {(row["sim"], row["star"]) for row in stars}
    assert len(of_group) == len(np.unique(stars["group"]))
    starless = table[~table["has_star"]]
    axes = [
        len(set(starless["axis"][starless["group"] == g])) for g in np.unique(starless["group"])
    ]
    assert max(axes) == 3  # the same gas seen along three axes


def test_gas_of_shipped_tiles_is_bright_about_the_star():
    tiles = PPVTiles.default()
    tiles = tiles.select(np.flatnonzero(tiles.table["has_star"])[::40])
    cubes = tiles.decode(slice(None))
    columns = cubes.sum(axis=1)
    center = columns[:, 14:18, 14:18].mean(axis=(1, 2))
    assert np.median(center / np.median(columns, axis=(1, 2))) > 2
    spectrum = cubes[:, :, 14:18, 14:18].sum(axis=(2, 3))
    near = np.abs(tiles.velocity.to_value("km/s")) < 2
    assert np.median(spectrum[:, near].sum(axis=1) / spectrum.sum(axis=1)) > 0.9


def test_exclude_leaves_a_simulation_out():
    tiles = PPVTiles.default()
    rest = tiles.exclude(sim=["s4", "s7"])
    assert set(rest.table["sim"]) == {"s5", "s6", "s8"}
    assert len(rest) == np.isin(tiles.table["sim"], ["s5", "s6", "s8"]).sum()


def test_shipped_backgrounds():
    backgrounds = Backgrounds.default()
    assert backgrounds.maps.shape == (480, 3, 64, 64)
    assert set(backgrounds.table["sim"]) == {"s4", "s5", "s6", "s8"}
    log_column, v, sigma = np.moveaxis(backgrounds.maps, 1, 0)
    # a box of 1500 to 3000 Msun and 4 pc: 5.7e21 to 1.7e22 cm^-2 in the mean
    assert 21.7 < np.log10(np.mean(10.0**log_column)) < 22.4
    assert np.abs(v).max() < 8
    assert sigma.min() >= 0
    assert not backgrounds.maps.flags.writeable
    assert repr(backgrounds) == "<Backgrounds: 480 maps of s4, s5, s6, s8>"


def test_a_background_depends_on_row_and_seed_only():
    backgrounds = Backgrounds.default()
    drawn = backgrounds.draw([5, 6, 7], seed=3)
    assert_array_equal(backgrounds.draw([7], seed=3)[0], drawn[2])
    assert not np.array_equal(backgrounds.draw([7], seed=4)[0], drawn[2])
    values = np.sort(drawn[0, 0].ravel())
    assert any(np.array_equal(values, np.sort(m.ravel())) for m in backgrounds.maps[:, 0])
    with pytest.raises(InputError, match="rows and seed must not be negative"):
        backgrounds.draw([-1], seed=0)


def test_backgrounds_are_written_and_read(tmp_path):
    some = Backgrounds.default().exclude(sim="s4").select(slice(0, 3))
    path = tmp_path / "backgrounds.fits"
    assert some.write(str(path)) == path
    again = Backgrounds.read(path)
    assert_array_equal(again.maps, some.maps)
    assert_array_equal(again.table["x"], some.table["x"])


@pytest.mark.parametrize(
    ("kind", "module", "name"),
    [
        (PPVTiles, ppv_module, "ppv_tiles.fits"),
        (Backgrounds, backgrounds_module, "backgrounds.fits"),
    ],
)
def test_a_damaged_file_is_refused(kind, module, name, tmp_path, monkeypatch):
    class Fresh(kind):
        """A class whose shipped file has not been read yet."""

    path = tmp_path / name
    shutil.copy(module.SHIPPED / name, path)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(InputError, match="must be an undamaged FITS file"):
        kind.read(path)
    monkeypatch.setattr(module, "SHIPPED", tmp_path)
    with pytest.raises(InputError, match="is damaged or changed; reinstall stellarssl"):
        Fresh.default()
    path.unlink()
    with pytest.raises(InputError, match="file not found; reinstall stellarssl"):
        Fresh.default()
    with pytest.raises(InputError, match="library: file not found"):
        kind.read(path)
    fits.PrimaryHDU(np.zeros(3)).writeto(path)
    with pytest.raises(InputError, match="must be an undamaged FITS file"):
        kind.read(path)


# ---------------------------------------------------------------- against the simulations


def test_coarse_tiles_equal_the_cubes(simulations):
    path = simulations / "s4_00025_y_ppv.fits.gz"
    cube, header = fits.getdata(path, header=True)
    lowest = header["CRVAL3"] / 1e3  # km/s
    stars = Table.read(simulations / "s4_00025_y_ppv.ecsv", format="ascii.ecsv")
    tiles = PPVTiles.default()
    t = tiles.table
    rows = np.flatnonzero(
        (t["sim"] == "s4") & (t["output"] == 25) & (t["axis"] == "y") & t["has_star"]
    )
    assert len(rows) == len(stars)
    for row, decoded in zip(rows, tiles.decode(rows), strict=True):
        star = stars[stars["id"] == f"s4-{t['star'][row]}"][0]
        assert_allclose(t["mass"][row].value, star["mass"], rtol=1e-6)
        assert abs(t["v_lsr"][row].value - star["v_lsr"]) <= 0.0625
        left, bottom = (
            round(star[name] - t[offset][row] - 15.5)
            for name, offset in (("x_pix", "dx"), ("y_pix", "dy"))
        )
        x, y = ((first + np.arange(32)) % 256 for first in (left, bottom))
        first = round((t["v_lsr"][row].value - lowest) / 0.125 - 47.5)
        channels = first + np.arange(96)
        inside = (channels >= 0) & (channels < len(cube))
        exact = cube[channels[inside]][:, y[:, None], x]
        assert (decoded[~inside] == 0).all()
        assert_allclose(decoded[inside], exact, rtol=0.0206, atol=2.2e-4)
        assert_allclose(
            np.log10(decoded.sum(axis=0, dtype=float)),
            np.log10(exact.sum(axis=0, dtype=float)),
            atol=0.01,
        )


def test_fine_tiles_equal_the_maps(simulations):
    with fits.open(simulations / "s8_boxes.fits") as hdus:
        info, sinks = Table(hdus["BOXES"].data), Table(hdus["SINKS"].data)
        columns = 10.0 ** hdus["LOG_N_HI"].data.astype(float)
    tiles = PPVTiles.default()
    t = tiles.table
    errors = []
    for box in np.flatnonzero(info["output"] == 37):
        own = sinks[(sinks["box"] == box) & (sinks["mass"] >= 0.1)]
        for sink in own:
            (row,) = np.flatnonzero(
                (t["sim"] == "s8")
                & (t["output"] == 37)
                & (t["axis"] == str(info["axis"][box]))
                & (t["star"] == sink["sink_id"])
            )
            x, y = (
                (round(sink[name] - t[offset][row] - 15.5) + np.arange(32)) % 512
                for name, offset in (("x_pix", "dx"), ("y_pix", "dy"))
            )
            coded = tiles.decode([row])[0].sum(axis=0, dtype=float) * 0.125e22
            errors.append(np.abs(np.log10(coded / columns[box][y[:, None], x])))
    assert len(errors) == 69
    assert np.median(errors) < 0.002
    assert np.max(errors) < 0.01
