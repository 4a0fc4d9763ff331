"""Every form a cube comes in gives the same numbers."""

import gzip
import tracemalloc
import warnings
from pathlib import Path

import astropy.units as u
import dask.array as da
import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal
from radio_beam import Beam, Beams
from radio_beam.utils import BeamError
from spectral_cube import BooleanArrayMask, FunctionMask, SpectralCube

from stellarssl.cubes import Cube, read_cube
from stellarssl.exceptions import (
    ChangedInputError,
    InputError,
    MissingInputError,
    StellarSSLWarning,
)
from stellarssl.moments import MomentOptions

from .conftest import REST, SHAPE, make_header

C = 299792.458  # km/s
VELOCITY = 1.0 + 0.2 * np.arange(SHAPE[0])
FREQUENCY = REST * (1 - VELOCITY / C)


def kelvin(cube):
    """The whole cube in K, as a stage reads it block by block."""
    factor = cube.kelvin_factor[:, None, None]
    blocks = [np.asarray(cube.data[:, y : y + 2, 1:]) for y in range(0, cube.shape[1], 2)]
    left = np.asarray(cube.data[:, :, :1])
    return np.concatenate([left, np.concatenate(blocks, axis=1)], axis=2) * factor


def axis(ctype, first, step, unit=None):
    cards = {"CTYPE3": ctype, "CRVAL3": first, "CDELT3": step, "CRPIX3": 1.0}
    return cards if unit is None else cards | {"CUNIT3": unit}


STEP = FREQUENCY[1] - FREQUENCY[0]
AXES = {
    "VRAD m/s": axis("VRAD", 1000.0, 200.0, "m/s"),
    "VRAD km/s": axis("VRAD", 1.0, 0.2, "km/s"),
    "VRAD without unit": axis("VRAD", 1000.0, 200.0),
    "VELO": axis("VELO", 1000.0, 200.0, "m/s"),
    "VELO-LSR": axis("VELO-LSR", 1000.0, 200.0, "m/s"),
    "VOPT": axis("VOPT", 1.0, 0.2, "km s-1"),
    "FREQ Hz": axis("FREQ", FREQUENCY[0], STEP, "Hz"),
    "FREQ GHz": axis("FREQ", FREQUENCY[0] / 1e9, STEP / 1e9, "GHz"),
    "FREQ without unit": axis("FREQ", FREQUENCY[0], STEP),
    "FREQ-LSR": axis("FREQ-LSR", FREQUENCY[0], STEP, "Hz"),
    "wavelength": axis("WAVE", 299792458.0 / FREQUENCY[0], 299792458.0 / REST * 0.2 / C, "m"),
}


@pytest.mark.parametrize("name", AXES)
def test_spectral_axes(write, values, name):
    cube = read_cube(write(spectral=AXES[name]))
    assert_allclose(cube.velocity, VELOCITY, atol=1e-5)
    assert cube.velocity.dtype == np.float64
    assert_allclose(cube.channel_width.to_value("km/s"), 0.2, rtol=1e-4)
    assert_array_equal(kelvin(cube), values)
    convention = {"VELO": "relativistic", "VELO-LSR": "optical", "VOPT": "optical"}
    assert cube.velocity_convention == convention.get(name, "radio")
    assert cube.specsys == "LSRK"


def test_descending_axes_keep_the_order_of_storage(write, values):
    cube = read_cube(write(spectral=axis("VRAD", 2000.0, -200.0, "m/s")))
    assert_allclose(cube.velocity, VELOCITY[::-1], atol=1e-9)
    assert_allclose(cube.channel_width.to_value("km/s"), 0.2)
    assert_array_equal(kelvin(cube), values)
    cube = read_cube(write(name="f.fits", spectral=axis("FREQ", FREQUENCY[-1], -STEP, "Hz")))
    assert_allclose(cube.velocity, VELOCITY[::-1], atol=1e-9)


def test_optical_axis_is_kept_and_its_frequencies_are_optical(write):
    """At 6000 km/s the two conventions differ by v^2/c = 120 km/s."""
    cube = read_cube(
        write(spectral=axis("VOPT", 6e6, 2e4, "m/s"), BUNIT="Jy/beam", name="optical.fits")
    )
    assert_allclose(cube.velocity, 6000 + 20 * np.arange(6))
    nu = REST / 1e9 / (1 + cube.velocity / C)
    assert_allclose(cube.kelvin_factor, 1.222e6 / (nu**2 * 46**2), rtol=3e-4)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("K", 1),
        ("mK", 1e-3),
        ("MK", 1e-3),
        ("Kelvin", 1),
        ("   K    ", 1),
        ("K (Tmb)", 1),
        # 1.222e6 S[Jy] / (nu[GHz]^2 theta["]^2)
        ("Jy/beam", 1.2222e6 / (110.2013543**2 * 46**2)),
        ("JY/BEAM", 1.2222e6 / (110.2013543**2 * 46**2)),
        ("mJy beam-1", 1.2222e3 / (110.2013543**2 * 46**2)),
        ("MJy/sr", 1e-20 * 2.99792458e8**2 / (2 * 1.380649e-23 * REST**2)),
    ],
)
@pytest.mark.parametrize("kind", ["VRAD m/s", "FREQ Hz"])
def test_units(write, unit, factor, kind):
    cube = read_cube(write(BUNIT=unit, spectral=AXES[kind]))
    assert_allclose(cube.kelvin_factor, factor, rtol=1e-4)
    assert cube.kelvin_factor.shape == (6,)


def test_frames(write):
    cube = read_cube(write(SPECSYS="TOPOCENT"))
    assert cube.specsys == "TOPOCENT"
    assert "velocities are as observed (TOPOCENT), in no common frame" in cube.notes
    assert read_cube(write(name="none.fits", SPECSYS=None)).specsys is None


@pytest.mark.parametrize(
    ("unit", "scale"),
    [
        ("K (Ta*)", "T_A*"),
        ("K (TMB)", "T_mb"),
        ("K_TA*", "T_A*"),
        ("K (T_R*)", "T_R*"),
        ("K", None),
    ],
)
def test_temperature_scale(write, unit, scale):
    assert read_cube(write(BUNIT=unit)).temperature_scale == scale
    assert read_cube(write(name="2.fits"), unit=unit).temperature_scale == scale


def test_efficiency_of_the_header(write):
    assert read_cube(write()).efficiency is None
    gildas = read_cube(write(name="30m.fits", BUNIT="K (Ta*)", BEAMEFF=0.78, FORWEFF=0.95))
    assert gildas.efficiency == pytest.approx(0.78 / 0.95)
    assert read_cube(write(name="other.fits", ETAMB=0.5)).efficiency == 0.5
    assert read_cube(write(name="bad.fits", ETAMB=50.0)).efficiency is None


FOURTH = {"CTYPE4": "STOKES", "CRVAL4": 1.0, "CDELT4": 1.0, "CRPIX4": 1.0}


def test_stokes_last(write, values):
    cube = read_cube(write(values[None], **FOURTH))
    assert cube.shape == SHAPE
    assert_array_equal(kelvin(cube), values)


def test_stokes_first_and_axes_in_any_order(write, values):
    """FITS axes: STOKES, FREQ, DEC, RA."""
    cards = make_header()
    order = {
        "CTYPE": ("STOKES", "VRAD", "DEC--TAN", "RA---TAN"),
        "CUNIT": (None, "m/s", "deg", "deg"),
    }
    order["CRVAL"] = (1.0, 1000.0, cards["CRVAL2"], cards["CRVAL1"])
    order["CDELT"] = (1.0, 200.0, cards["CDELT2"], cards["CDELT1"])
    order["CRPIX"] = (1.0, 1.0, cards["CRPIX2"], cards["CRPIX1"])
    header = {f"{name}{i + 1}": v for name, given in order.items() for i, v in enumerate(given)}
    cube = read_cube(write(values.transpose(2, 1, 0)[..., None].copy(), **header))
    assert_array_equal(kelvin(cube), values)
    assert_allclose(cube.velocity, VELOCITY)
    sky = cube.wcs.pixel_to_world(3, 2)
    assert_allclose([sky.ra.deg, sky.dec.deg], [52, 31], atol=1e-9)
    assert cube.wcs.pixel_to_world(4, 2).ra < sky.ra


def test_stokes_i_is_taken_from_several(write, values):
    planes = np.stack([values + 7, values, values - 7])
    cube = read_cube(write(planes, **(FOURTH | {"CRPIX4": 2.0})))
    assert_array_equal(kelvin(cube), values)
    with pytest.raises(InputError, match="cube: must hold Stokes I"):
        read_cube(write(planes, name="quv.fits", **(FOURTH | {"CRVAL4": 2.0})))
    with pytest.raises(InputError, match=r"one plane on its axis 4 \(BEAM\)"):
        read_cube(write(planes, name="b.fits", **(FOURTH | {"CTYPE4": "BEAM"})))


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f4"])
def test_floats_are_not_copied(values, dtype):
    data = values.astype(dtype)
    cube = read_cube(fits.PrimaryHDU(data, make_header()))
    assert np.shares_memory(cube.data, data)
    assert_array_equal(kelvin(cube), values)


@pytest.mark.parametrize("name", ["cube.fits", "cube.fits.gz", "cube.fit", "cube.dat"])
def test_files(write, values, name):
    path = write(name=name)
    for given in (path, str(path)):
        cube = read_cube(given)
        assert cube.data.dtype == np.dtype(">f4")
        assert_array_equal(kelvin(cube), values)
    assert cube.source == str(path)


def test_integers_are_scaled_where_they_are_read(tmp_path, values):
    raw = (values * 2).astype(np.int16)
    raw[0, 0, 0] = -32768
    hdu = fits.PrimaryHDU(raw, make_header())
    hdu.header.update({"BSCALE": 0.5, "BZERO": 3.0, "BLANK": -32768})
    hdu.writeto(tmp_path / "cube.fits")
    expected = values + 3
    expected[0, 0, 0] = np.nan
    cube = read_cube(tmp_path / "cube.fits")
    assert cube.data.dtype == np.float32
    assert cube.data.ndim == 3
    assert_array_equal(kelvin(cube), expected)
    assert np.isnan(np.asarray(cube.data[0, 0, 0]))
    with fits.open(tmp_path / "cube.fits") as hdus:  # astropy has scaled these already
        assert_array_equal(kelvin(read_cube(hdus[0])), expected)
    assert cube.spectral_cube.shape == SHAPE


def test_unsigned_integers_and_scaled_floats(tmp_path, values):
    fits.PrimaryHDU(values.astype(np.uint16), make_header()).writeto(tmp_path / "u.fits")
    assert_array_equal(kelvin(read_cube(tmp_path / "u.fits")), values)
    path = tmp_path / "f.fits"
    fits.PrimaryHDU(values, make_header()).writeto(path)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header["BSCALE"] = 2.0
    assert_array_equal(kelvin(read_cube(path)), 2 * values)


def test_blank_on_floats_means_nothing(tmp_path, values):
    hdu = fits.PrimaryHDU(values, make_header())
    hdu.header["BLANK"] = 100
    hdu.writeto(tmp_path / "cube.fits", output_verify="ignore")
    assert_array_equal(kelvin(read_cube(tmp_path / "cube.fits")), values)


def test_compressed_hdu(tmp_path, values):
    hdu = fits.CompImageHDU(values, make_header(), compression_type="GZIP_1")
    hdu.writeto(tmp_path / "cube.fits.fz")
    cube = read_cube(tmp_path / "cube.fits.fz")
    assert_array_equal(kelvin(cube), values)
    assert "compressed, so that it is held in memory" in cube.notes
    assert_array_equal(kelvin(read_cube(hdu)), values)


def test_hdu_and_hdulist(values):
    image = fits.ImageHDU(values, make_header(), name="LINE")
    other = fits.ImageHDU(values + 1, make_header(), name="OTHER")
    assert_array_equal(kelvin(read_cube(image)), values)
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(values[0], name="MAP"), image])
    assert_array_equal(kelvin(read_cube(hdus)), values)
    hdus.append(other)
    with pytest.warns(
        StellarSSLWarning, match="HDU 2, the first of 2 cubes, was read; hdu chooses another"
    ):
        cube = read_cube(hdus)
    assert_array_equal(kelvin(cube), values)
    assert_array_equal(kelvin(read_cube(hdus, hdu="OTHER")), values + 1)
    assert_array_equal(kelvin(read_cube(hdus, hdu=3)), values + 1)
    for wrong in ("NONE", 9):
        with pytest.raises(InputError, match=r"hdu: must be one of 0 \(PRIMARY\), 1 \(MAP\)"):
            read_cube(hdus, hdu=wrong)
    with pytest.raises(InputError, match="hdu: must hold an image"):
        read_cube(hdus, hdu=0)
    with pytest.raises(InputError, match="cube: must have three axes"):
        read_cube(hdus, hdu=1)
    with pytest.raises(InputError, match="hdu: applies to a file or an HDUList only"):
        read_cube(image, hdu=0)


def test_spectral_cube_keeps_its_mask_and_is_not_copied(write, values):
    given = SpectralCube.read(str(write()))
    cube = read_cube(given)
    assert cube.spectral_cube is given
    assert cube.valid is None
    assert np.shares_memory(cube.data, given.unmasked_data[:].value)
    assert_array_equal(kelvin(cube), values)
    masked = read_cube(given.with_mask(given > 300 * u.K))
    assert_array_equal(kelvin(masked), values)
    assert masked.valid.shape == SHAPE
    block = np.asarray(masked.valid[:, 1:3, 2:])
    assert_array_equal(block, (values > 300)[:, 1:3, 2:])


def test_a_spectral_cube_without_a_beam(write):
    for name, major in (("none.fits", None), ("zero.fits", 0.0)):
        given = SpectralCube.read(str(write(name=name, BMAJ=major, BMIN=major)))
        assert read_cube(given).beam is None


def test_lazy_dask_is_not_worked_out(write):
    """Nobody knows what a graph costs: opening must not run it."""

    def never(block):
        raise AssertionError

    given = SpectralCube.read(str(write()), use_dask=True)
    lazy = given.apply_function_parallel_spectral(lambda spectrum: spectrum)
    data = lazy._data.map_blocks(never, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    cube = read_cube(lazy._new_cube_with(data=data))
    assert cube.shape == SHAPE


def test_sliced_and_converted_spectral_cubes(write, values):
    given = SpectralCube.read(str(write()))
    part = read_cube(given[1:4, 1:, 2:])
    assert_array_equal(kelvin(part), values[1:4, 1:, 2:])
    assert_allclose(part.velocity, VELOCITY[1:4])
    assert_allclose(part.wcs.wcs.crpix, [2, 2])
    for unit in ("km/s", "GHz"):
        other = given.with_spectral_unit(unit, velocity_convention="radio")
        assert_allclose(read_cube(other).velocity, VELOCITY, atol=1e-6)


def test_dask_spectral_cube(write, values):
    given = SpectralCube.read(str(write()), use_dask=True)
    cube = read_cube(given.with_mask(given > 300 * u.K))
    assert isinstance(cube.data, da.Array)
    assert_array_equal(kelvin(cube), np.where(values > 300, values, np.nan))
    assert cube.valid is None


def test_casa_image():
    """spectral-cube ships one: 3 channels at 1.42 GHz, 4 x 5 pixels, a beam of 1 arcsec."""
    from spectral_cube import tests  # noqa: PLC0415

    path = next(iter(tests.__path__)) + "/data/basic.image"
    cube = read_cube(path)
    assert cube.shape == (3, 4, 5)
    assert cube.rest_value.to_value(u.Hz) == pytest.approx(1420405718.41)
    # c (1 - nu / nu0), by hand from the header's 1421929254.3253 Hz
    assert cube.velocity[0] == pytest.approx(C * (1 - 1421929254.3253 / 1420405718.41), abs=1e-6)
    assert_allclose(cube.kelvin_factor[0], 1.2222e6 / 1.4219292543**2, rtol=2e-4)
    assert_array_equal(np.asarray(cube.data), np.ones((3, 4, 5)))


def test_a_cube_takes_further_options(write):
    cube = read_cube(write())
    assert read_cube(cube) is cube
    far = read_cube(cube, distance="140 pc")
    assert far.distance == 140 * u.pc
    assert far.distance_origin == "argument"
    both = read_cube(far, unit="Jy/beam", beam=20 * u.arcsec)
    assert both.distance == 140 * u.pc
    assert_allclose(both.kelvin_factor, 1.2222e6 / (110.2013543**2 * 20**2), rtol=1e-4)
    assert both.data is cube.data
    assert isinstance(both, Cube)
    with pytest.raises(InputError, match="hdu: applies to a file"):
        read_cube(cube, hdu=1)


def test_nan_edges(write, values):
    values[:, 0], values[:, :, -1] = np.nan, np.nan
    assert_array_equal(kelvin(read_cube(write(values))), values)


def test_spectral_cube_of_a_cube(write, values):
    cube = read_cube(write(BUNIT="JY/BEAM"))
    made = cube.spectral_cube
    assert made.unit == u.Jy / u.beam
    assert made.beam.major.to_value(u.arcsec) == pytest.approx(46)
    assert_allclose(made.spectral_axis.to_value(u.km / u.s), VELOCITY)
    assert_allclose(made.to(u.K).unmasked_data[:].value, kelvin(cube), rtol=1e-5)
    assert isinstance(made.hdu.data, np.ndarray | da.Array)
    held = read_cube(fits.PrimaryHDU(values, make_header()))
    assert np.shares_memory(held.spectral_cube.unmasked_data[:].value, held.data)


@pytest.mark.parametrize("order", ["vyx", "xvy", "yxv", "s1vyx", "vs1yx", "vs3yx", "vyxs3"])
@pytest.mark.parametrize("bitpix", [-32, -64, 16])
def test_slices_of_a_file(tmp_path, order, bitpix):
    """Every part of a file is that of the array that was written, however its axes lie."""
    whole = np.random.default_rng(1).integers(-99, 99, (6, 5, 7)).astype("f4")
    names = [c for c in order if not c.isdigit()]
    data = np.expand_dims(whole, 0) if "s" in names else whole
    data = data.transpose([("svyx" if "s" in names else "vyx").index(c) for c in names])
    if "3" in order:
        data = np.concatenate([data + 7, data, data - 7], axis=names.index("s"))
    header = fits.Header({"BUNIT": "K", "BMAJ": 0.03, "RESTFRQ": 110.2013543e9})
    ctypes = {"x": "RA---TAN", "y": "DEC--TAN", "v": "VRAD", "s": "STOKES"}
    for i, name in enumerate(names[::-1], 1):
        step = {"x": -0.01, "y": 0.01, "v": 0.2, "s": 1.0}[name]
        header.update({f"CTYPE{i}": ctypes[name], f"CDELT{i}": step, f"CRVAL{i}": 1.0})
        header[f"CRPIX{i}"] = 2.0 if "3" in order and name == "s" else 1.0
        header[f"CUNIT{i}"] = {"v": "km/s", "s": ""}.get(name, "deg")
    dtype = {-32: "f4", -64: "f8", 16: "i2"}[bitpix]
    extra = fits.PrimaryHDU(np.ones(1000))  # the cube does not begin the file
    fits.HDUList([extra, fits.ImageHDU(data.astype(dtype), header)]).writeto(tmp_path / "cube.fits")
    cube = read_cube(tmp_path / "cube.fits")
    assert cube.shape == whole.shape
    assert_array_equal(np.asarray(cube.data), whole)
    n = slice(None)
    views = [
        (n, slice(1, 4), n),
        (2, n, n),
        (slice(1, 5), slice(2, 3), slice(3, 6)),
        -1,
        ...,
        (..., 3),
    ]
    views += [
        (slice(None, None, 2), slice(4, 0, -2), slice(5, None, -3)),
        (1, 2, 3),
        (n, slice(0, 0)),
    ]
    views += [(slice(None, None, -1), n, slice(1, 6, 2)), (n, n, slice(3, 3))]
    for view in views:
        assert_array_equal(cube.data[view], whole[view], err_msg=str(view))
    for wrong in (9, (0, 0, 7), (0, 0, 0, 0), np.array([0, 1]), "x"):
        with pytest.raises((IndexError, TypeError, ValueError)):
            cube.data[wrong]


def test_a_compressed_file_by_another_name(write, values, tmp_path):
    path = tmp_path / "gzip.fits"
    path.write_bytes(gzip.compress(write(values).read_bytes()))
    assert_array_equal(kelvin(read_cube(path)), values)


def test_no_file_is_mapped(write, values):
    cube = read_cube(write(values))
    assert_array_equal(kelvin(cube), values)
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert cube.source not in maps.read_text()


def test_a_file_that_ends_while_it_is_read(write, values):
    path = write(np.tile(values, (20, 1, 1)))
    cube = read_cube(path)
    with path.open("r+b") as file:
        file.truncate(8000)
    with pytest.raises(ChangedInputError, match=r"changed since it was opened \(.* 8000 now\)"):
        np.asarray(cube.data)
    path.unlink()
    with pytest.raises(ChangedInputError, match="changed since it was opened"):
        cube.data[0]


# ---- beams


def beams_hdu(major, **units):
    n = len(major)
    columns = [
        fits.Column("BMAJ", "1E", array=major, unit=units.get("BMAJ", "arcsec")),
        fits.Column("BMIN", "1E", array=np.full(n, 10.0), unit=units.get("BMIN", "arcsec")),
        fits.Column("BPA", "1E", array=np.zeros(n), unit="deg"),
        fits.Column("CHAN", "1J", array=np.arange(n)),
        fits.Column("POL", "1J", array=np.zeros(n)),
    ]
    return fits.BinTableHDU.from_columns(columns, name="BEAMS")


@pytest.mark.parametrize("dask", [None, False, True])
def test_a_beam_per_channel(write, dask):
    major = np.array([10, 11, 12, 13, 14, 15], "f4")
    path = write(hdus=[beams_hdu(major)], BUNIT="Jy/beam", BMAJ=None, BMIN=None, CASAMBM=True)
    if dask is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = SpectralCube.read(str(path), use_dask=dask)
    cube = read_cube(path)
    assert_allclose(cube.kelvin_factor, 1.2222e6 / (110.2013543**2 * 10 * major), rtol=1e-4)
    assert cube.beam_varies
    assert "varies" in " ".join(cube.notes)
    # All share minor axis and angle: the widest holds the others.
    assert cube.beam.major.to_value(u.arcsec) == pytest.approx(15, rel=0.01)
    assert cube.beam.minor.to_value(u.arcsec) == pytest.approx(10, rel=0.01)
    assert_array_equal(np.asarray(cube.data[:, 1:2]), np.asarray(read_cube(path).data)[:, 1:2])


def test_beams_within_five_percent_do_not_vary(write):
    cube = read_cube(write(hdus=[beams_hdu([10, 10.1, 10.2, 10.3, 10.4, 10.45])]))
    assert not cube.beam_varies
    same = read_cube(write(name="same.fits", hdus=[beams_hdu([12] * 6)]))
    assert not same.beam_varies
    assert same.beam.major.to_value(u.arcsec) == pytest.approx(12)
    one = read_cube(
        write(name="1.fits", hdus=[beams_hdu([10, 20, 30, 40, 50, 60])]), beam="9 arcsec"
    )
    assert not one.beam_varies
    assert one.beam.major == 9 * u.arcsec


def test_channels_without_beam(write):
    cube = read_cube(write(hdus=[beams_hdu([0, 10, 10, 10, 10, np.nan])], BUNIT="Jy/beam"))
    assert_array_equal(np.isnan(cube.kelvin_factor), [True, False, False, False, False, True])
    assert "2 channels have no beam" in cube.notes
    assert not cube.beam_varies
    with pytest.raises(InputError, match=r"beam table: must hold at least one beam; .* \(beam=\)$"):
        read_cube(write(name="none.fits", hdus=[beams_hdu([0] * 6)]))
    with pytest.raises(InputError, match=r"beam table: must have one row per channel \(6\).*got 5"):
        read_cube(write(name="five.fits", hdus=[beams_hdu([9] * 5)]))


@pytest.mark.parametrize("unit", [None, "arcsec", "DEGREES"])
def test_units_of_beam_tables(write, unit):
    scale = 3600 if unit == "DEGREES" else 1
    table = beams_hdu(np.full(6, 10.0) / scale, BMAJ=unit, BMIN=unit)
    table.data["BMIN"] = 10.0 / scale
    assert read_cube(write(hdus=[table])).beam.major.to_value(u.arcsec) == pytest.approx(10)


@pytest.mark.parametrize("major", [0.0, -1.0, 46.0, "none"])
def test_a_beam_that_cannot_be_is_missing(write, major):
    with pytest.warns(StellarSSLWarning, match=f"BMAJ = {major}.* is no beam and was left out"):
        cube = read_cube(write(BMAJ=major))
    assert cube.beam is None
    assert "no beam is known" in cube.notes


def test_a_beam_that_cannot_be_read_is_missing(write):
    with pytest.warns(StellarSSLWarning, match="beam could not be read"):
        assert read_cube(write(BMAJ=0.01, BMIN=0.02)).beam is None


@pytest.mark.parametrize(
    ("given", "major", "minor"),
    [
        ("46 arcsec", 46, 46),
        ("3.9 2.9 arcsec", 3.9, 2.9),
        (1 * u.arcmin, 60, 60),
        ([2, 3] * u.arcsec, 3, 2),
        (Beam(5 * u.arcsec, 4 * u.arcsec, 30 * u.deg), 5, 4),
    ],
)
def test_beam_argument(write, given, major, minor):
    beam = read_cube(write(), beam=given).beam
    assert beam.major.to_value(u.arcsec) == pytest.approx(major)
    assert beam.minor.to_value(u.arcsec) == pytest.approx(minor)


@pytest.mark.parametrize(
    "given", [46, "46", "46 km", "a b arcsec", 0 * u.arcsec, [1, 2, 3] * u.arcsec, Beam(0 * u.deg)]
)
def test_beam_argument_is_checked(write, given):
    with pytest.raises(InputError, match=r"^beam: must"):
        read_cube(write(), beam=given)


# ---- rest frequency, distance


def test_rest_value_moves_frequency_axes(write):
    path = write(spectral=AXES["FREQ Hz"])
    assert_allclose(read_cube(path).rest_value.to_value(u.Hz), REST)
    moved = read_cube(path, rest_value=(REST * (1 + 10 / C)) * u.Hz)
    assert_allclose(moved.velocity, VELOCITY + 10 * (1 - VELOCITY / C), atol=1e-3)


def test_rest_value_on_velocity_axes(write):
    """The same line by another's number leaves the axis alone; another line moves it."""
    path = write()
    assert_array_equal(
        read_cube(path, rest_value="110.20137 GHz").velocity, read_cube(path).velocity
    )
    other = read_cube(path, rest_value="110.25 GHz")
    assert_allclose(other.velocity, C * (1 - FREQUENCY / 110.25e9), atol=1e-6)


def test_a_named_tracer_supplies_its_rest_frequency(write):
    path = write(RESTFRQ=None, BUNIT="Jy/beam")
    with pytest.raises(MissingInputError, match=r"^rest_value: must .* cube.* \(rest_value=\)$"):
        read_cube(path)
    with pytest.raises(MissingInputError, match="rest_value="):
        MomentOptions(tracer="auto").open(path)
    cube = MomentOptions(tracer="13CO").open(path)
    assert_allclose(cube.rest_value.to_value(u.GHz), 110.2013543)
    assert "the rest frequency is the tracer's, 110.201354 GHz" in cube.notes
    kept = MomentOptions(tracer="13CO").open(write(name="stated.fits", RESTFRQ=110.20137e9))
    assert_allclose(kept.rest_value.to_value(u.GHz), 110.20137, rtol=1e-12)


def test_rest_frequency_zero_is_missing(write):
    cube = read_cube(write(RESTFRQ=0.0))
    assert cube.rest_value is None
    assert "no rest frequency is known" in cube.notes
    with pytest.raises(MissingInputError, match="no rest frequency of the line"):
        read_cube(write(name="f.fits", RESTFRQ=0.0, spectral=AXES["FREQ Hz"]))


def test_another_line_is_suspected_from_its_velocity(write):
    path = write(spectral=AXES["FREQ Hz"], RESTFRQ=109.7821734e9)
    with pytest.warns(StellarSSLWarning, match="more than 1000 km/s from the rest frequency"):
        read_cube(path)


def test_wrong_rest_value(write):
    path = write()
    for wrong in (110, "110", "13 K", -1 * u.GHz, [1, 2] * u.GHz):
        with pytest.raises(InputError, match=r"^rest_value: must"):
            read_cube(path, rest_value=wrong)


def test_distance_needs_a_unit(write):
    assert read_cube(write()).distance is None
    unstated = read_cube(write(name="bare.fits", DISTANCE=140.0))
    assert unstated.distance is None
    assert "states no unit" in " ".join(unstated.notes)
    for name, card in (("a", (140.0, "[pc]")), ("b", (0.14, "(kpc) to it")), ("c", "140 pc")):
        cube = read_cube(write(name=name + ".fits", DISTANCE=card))
        assert_allclose(cube.distance.to_value(u.pc), 140)
        assert cube.distance_origin == "header"
    assert read_cube(write(name="z.fits", DISTANCE=(-1.0, "[pc]"))).distance is None
    for wrong in (140, "140", 140 * u.K, [1, 2] * u.pc, np.nan * u.pc):
        with pytest.raises(InputError, match=r"^distance: must"):
            read_cube(cube, distance=wrong)


def test_distance_survives_spectral_cube(write):
    given = SpectralCube.read(str(write(DISTANCE=(140.0, "[pc]"))))
    assert read_cube(given).distance == 140 * u.pc


# ---- what is missing is asked for once


def test_all_questions_are_one_sentence(write):
    path = write(BUNIT=None, BMAJ=None, RESTFRQ=None)
    with pytest.raises(MissingInputError) as caught:
        read_cube(path)
    assert str(caught.value) == (
        "unit, beam, rest_value: must be given, as cube.fits states no brightness unit, no beam "
        "and no rest frequency of the line (unit=, beam=, rest_value=)"
    )
    with pytest.raises(MissingInputError, match=r"^beam: must be given, as .* no beam \(beam=\)$"):
        read_cube(write(name="b.fits", BMAJ=None, BUNIT="Jy/beam"))
    cube = read_cube(path, unit="K")
    assert cube.beam is None
    assert cube.rest_value is None
    # In K on a frequency axis the line is needed, the beam is not.
    axis = read_error(write(name="f.fits", BMAJ=None, RESTFRQ=None, spectral=AXES["FREQ Hz"]))
    assert axis.startswith("rest_value: must be given, as f.fits states no rest")
    per_beam = read_error(write(name="j.fits", BMAJ=None, RESTFRQ=None, BUNIT="Jy/beam"))
    assert per_beam.startswith("beam, rest_value: must be given, as")
    assert per_beam.endswith("(beam=, rest_value=)")


def read_error(path):
    with pytest.raises(MissingInputError) as caught:
        read_cube(path)
    return str(caught.value)


# ---- nothing is read before it is used


@pytest.mark.parametrize("bitpix", [-32, 16])
def test_memory_does_not_grow_with_the_cube(tmp_path, bitpix):
    """A sparse file of 4 GB (2 GB of integers): opened, described, one block read."""
    shape = (250, 2000, 2000)
    header = make_header()
    header["BITPIX"], header["NAXIS"] = bitpix, 3
    header.update({f"NAXIS{i + 1}": n for i, n in enumerate(shape[::-1])})
    full = fits.Header([("SIMPLE", True), *((k, header[k]) for k in ("BITPIX", "NAXIS"))])
    full.update({f"NAXIS{i}": header[f"NAXIS{i}"] for i in (1, 2, 3)})
    full.update(header)
    path = tmp_path / "big.fits"
    path.write_bytes(full.tostring().encode("ascii"))
    size = np.prod(shape, dtype=int) * abs(bitpix) // 8
    with path.open("r+b") as file:
        start = path.stat().st_size
        file.truncate(start + -(-size // 2880) * 2880)
    tracemalloc.start()
    cube = read_cube(path)
    block = np.array(cube.data[::25, 1000:1040, :])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert block.shape == (10, 40, 2000)
    assert peak < 100e6


def test_masks_of_all_kinds(write, values):
    given = SpectralCube.read(str(write()))
    flat = np.zeros(SHAPE[1:], bool)
    flat[1:3, 2:5] = True
    whole = np.broadcast_to(flat, SHAPE)
    masks = {
        "2-D": (flat, whole),
        "3-D": (values > 200, values > 200),
        "both": (
            (given > 200 * u.K) & BooleanArrayMask(flat, given.wcs, SHAPE),
            (values > 200) & whole,
        ),
        "function": (FunctionMask(lambda data, _, view: data[view] > 300), values > 300),
    }
    for mask, expected in masks.values():
        cube = read_cube(given.with_mask(mask))
        assert_array_equal(np.asarray(cube.valid[:, :, :]), expected)
        assert_array_equal(np.asarray(cube.valid[1:4, 1:2, 3:]), expected[1:4, 1:2, 3:])


@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_spectral_cube_of_a_cube_with_a_beam_per_channel(write, values, dtype):
    path = write(values.astype(dtype), hdus=[beams_hdu([10, 11, 12, 13, 14, 15])])
    made = read_cube(path).spectral_cube
    assert_allclose(made.beams.major.to_value(u.arcsec), [10, 11, 12, 13, 14, 15])
    assert_array_equal(np.asarray(made.unmasked_data[:].value), values)


def test_rest_wavelength(write):
    cube = read_cube(write(RESTFRQ=None, RESTWAV=299792458.0 / REST))
    assert_allclose(cube.rest_value.to_value(u.Hz), REST)


def test_beams_whose_common_beam_is_not_found(write, monkeypatch):
    """The circle around the widest holds all of them."""

    def fail(*_):
        raise BeamError("no convergence")

    monkeypatch.setattr(Beams, "common_beam", fail)
    beam = read_cube(write(hdus=[beams_hdu([10, 11, 12, 13, 14, 15])])).beam
    assert_allclose([beam.major.to_value("arcsec"), beam.minor.to_value("arcsec")], 15)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.uint32])
def test_integers_of_types_that_fits_lacks_are_not_offset_twice(tmp_path, values, dtype):
    raw = np.round(values).astype(dtype)
    hdu = fits.PrimaryHDU(raw, make_header())
    assert_array_equal(kelvin(read_cube(hdu)), raw)
    hdu.writeto(tmp_path / "cube.fits")
    assert_array_equal(kelvin(read_cube(tmp_path / "cube.fits")), raw)
    with fits.open(tmp_path / "cube.fits") as hdus:
        assert_array_equal(kelvin(read_cube(hdus)), raw)
