"""Headers and files as they are found: mended where one meaning is possible, else refused."""

import gzip
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose

from stellarssl.cubes import read_cube
from stellarssl.exceptions import InputError, StellarSSLWarning

from .conftest import REST, SHAPE, make_header

C = 299792.458  # km/s


def sky(cube, x=3, y=2):
    """RA and Dec of a pixel [deg]; that of the reference pixel by default."""
    place = cube.wcs.pixel_to_world(x, y).icrs
    return np.array([place.ra.deg, place.dec.deg])


# ---- sky


@pytest.mark.parametrize("code", ["TAN", "SIN", "ARC", "SFL", "CAR", "GLS", "ZEA", "STG"])
def test_the_reference_pixel_is_where_the_header_says(write, code):
    dec = 0.0 if code in ("CAR", "SFL", "GLS") else 31.0
    cards = {"CTYPE1": f"RA---{code}", "CTYPE2": f"DEC--{code}", "CRVAL2": dec}
    cube = read_cube(write(**cards))
    assert_allclose(sky(cube), [52, dec], atol=1e-9)
    assert_allclose(sky(cube, 3, 3), [52, dec + 0.01], atol=1e-7)


def test_ncp_projection(write):
    """x = cos d sin da, y = (cos d0 - cos d cos da) / sin d0 (AIPS memo 27), WSRT's own."""
    cards = {"CTYPE1": "RA---NCP", "CTYPE2": "DEC--NCP", "CRVAL1": -51.0, "CRVAL2": 60.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error", StellarSSLWarning)
        cube = read_cube(write(**cards))
    dx, dy = np.radians([0.02, 0.01])  # pixel (1, 3)
    cos_dec = np.hypot(dx, np.cos(np.radians(60)) - dy * np.sin(np.radians(60)))
    ra = np.degrees(np.arcsin(dx / cos_dec)) + 309
    assert_allclose(sky(cube, 1, 3), [ra, np.degrees(np.arccos(cos_dec))], atol=1e-9)


def test_sfl_far_from_its_reference(write):
    """RA = RA0 - x / cos(Dec); L1448's cube is cut from a map of the whole of Perseus."""
    cards = {"CTYPE1": "RA---SFL", "CTYPE2": "DEC--SFL", "CRVAL2": 0.0, "CRPIX1": -800.0}
    cube = read_cube(write(**cards, CRPIX2=-3000.0))
    dec = 30.0
    assert_allclose(sky(cube, 199, -1)[1], dec)
    assert_allclose(sky(cube, 199, -1)[0], 52 - 10 / np.cos(np.radians(dec)))


def test_galactic(write):
    cube = read_cube(write(CTYPE1="GLON-CAR", CTYPE2="GLAT-CAR", CRVAL1=295.0, CRVAL2=0.0))
    place = cube.wcs.pixel_to_world(3, 2)
    assert place.frame.name == "galactic"
    assert_allclose([place.l.deg, place.b.deg], [295, 0], atol=1e-9)


def test_b1950(write):
    """B1950 (0h, 0d) is J2000 (0h 2m 33.8s, 0d 16' 42'')."""
    cards = {"CRVAL1": 0.0, "CRVAL2": 0.0, "EQUINOX": 1950.0, "RADESYS": "FK4"}
    assert_allclose(sky(read_cube(write(**cards))), [0.6406, 0.2784], atol=2e-4)


@pytest.mark.parametrize("keyword", ["EQUINOX", "EPOCH"])
def test_equinox_zero_is_missing(write, keyword):
    """Else astropy picks FK4, and the cube lies hours away."""
    path = write(**{"RADESYS": None, keyword: 0.0})
    with pytest.warns(StellarSSLWarning, match=f"{keyword} = 0.0 is no equinox and was left out"):
        cube = read_cube(path)
    assert_allclose(sky(cube), [52, 31], atol=1e-6)
    with pytest.warns(StellarSSLWarning, match="is no equinox"):
        stated = read_cube(write(**{"name": "fk5.fits", "RADESYS": "FK5", keyword: 0.0}))
    assert stated.wcs.wcs.radesys == "FK5"
    assert stated.header[keyword] == 0.0


@pytest.mark.parametrize(
    "cards",
    [
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"CTYPE1": None, "CTYPE2": None},
    ],
)
def test_no_celestial_axes(write, cards):
    with pytest.raises(InputError, match=r"cube: must have two celestial axes \(CTYPE\)"):
        read_cube(write(CUNIT1=None, CUNIT2=None, **cards))


def test_half_a_sky(write):
    with pytest.raises(InputError, match="cube: must have a valid WCS"):
        read_cube(write(CTYPE2="GLAT-TAN"))


# ---- spectral axis


@pytest.mark.parametrize(
    ("unit", "repaired", "scale"),
    [
        ("M/S", "m s-1", 1),
        ("KM/S", "km s-1", 1e-3),
        ("km/sec", "km s-1", 1e-3),
        ("kms-1", "km s-1", 1e-3),
        ("m.s-1", None, 1),
    ],
)
def test_misspelt_velocity_units(write, unit, repaired, scale):
    axis = {"CTYPE3": "VRAD", "CRVAL3": 1000.0 * scale, "CDELT3": 200.0 * scale, "CRPIX3": 1.0}
    path = write(spectral=axis | {"CUNIT3": unit})
    if repaired is None:
        cube = read_cube(path)
    else:
        with pytest.warns(StellarSSLWarning, match=f"CUNIT3 = '{unit}' was read as '{repaired}'"):
            cube = read_cube(path)
        assert any("CUNIT3" in note for note in cube.notes)
    assert_allclose(cube.velocity, 1 + 0.2 * np.arange(6))


def test_misspelt_sky_and_frequency_units(write):
    axis = {"CTYPE3": "FREQ", "CRVAL3": 110.2, "CDELT3": 1e-4, "CRPIX3": 1.0, "CUNIT3": "GHZ"}
    path = write(spectral=axis, CUNIT1="DEGREE", CUNIT2="DEG")
    with pytest.warns(StellarSSLWarning, match="CUNIT1 = 'DEGREE'.*CUNIT2 = 'DEG'.*CUNIT3 = 'GHZ'"):
        cube = read_cube(path)
    assert_allclose(cube.velocity, C * (1 - (110.2e9 + 1e5 * np.arange(6)) / REST), atol=1e-6)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ({"CTYPE3": "VRAD", "CUNIT3": "furlong"}, "CUNIT3: must be a unit like 'm / s'"),
        ({"CTYPE3": "VRAD", "CUNIT3": "Hz"}, "CUNIT3: must be a unit like 'm / s' for an axis"),
        ({"CTYPE3": "FREQ", "CUNIT3": "km/s"}, "CUNIT3: must be a unit like 'Hz' for an axis"),
        ({"CTYPE3": "VRAD", "CDELT3": 0.2}, "CUNIT3: must be stated, as 0.2 m/s"),
        ({"CTYPE3": "FREQ", "CRVAL3": 110.2}, "CUNIT3: must be stated, as 110.2 Hz"),
        ({"CTYPE3": "TIME", "CUNIT3": "s"}, "must have a spectral axis"),
        ({"CTYPE3": None, "CUNIT3": None}, "must have a spectral axis"),
        ({"CTYPE3": "ENER", "CUNIT3": "J"}, "must have a spectral axis of FREQ"),
        ({"CTYPE3": "FREQ-OHEL", "CUNIT3": "Hz"}, "DRVAL3: must be there"),
    ],
)
def test_spectral_axes_that_cannot_be_read(write, axis, message):
    default = {"CRVAL3": 1e3, "CDELT3": 200.0, "CRPIX3": 1.0}
    with pytest.raises(InputError, match=message):
        read_cube(write(spectral=default | axis))


@pytest.mark.parametrize(
    ("name", "kind", "specsys"),
    [
        ("VELOCITY", "VELO", "LSRK"),
        ("VRAD-LSR", "VRAD", "LSRK"),
        ("VOPT-HEL", "VOPT", "BARYCENT"),
        ("vrad", "VRAD", "LSRK"),
    ],
)
def test_odd_names_of_velocity_axes(write, name, kind, specsys):
    axis = {"CTYPE3": name, "CRVAL3": 1e3, "CDELT3": 200.0, "CRPIX3": 1.0, "CUNIT3": "m/s"}
    path = write(spectral=axis, SPECSYS=None if "-" in name else "LSRK")
    with pytest.warns(StellarSSLWarning, match=f"CTYPE3 = '{name}' was read as '?{kind}"):
        cube = read_cube(path)
    assert_allclose(cube.velocity, 1 + 0.2 * np.arange(6))
    assert cube.specsys == specsys


@pytest.mark.parametrize(("frame", "optical"), [("OHEL", True), ("RLSR", False)])
def test_gipsy_frequencies(write, frame, optical):
    """DRVAL3 is the velocity of the reference channel, in the frame and convention of CTYPE3.

    The other channels lie at frequencies nu_ref + i dnu of the telescope; a frame that moves by
    u multiplies all of them by one number.
    """
    rest, reference, step, velocity = 1420.405752e6, 1418.2e6, -78125.0, 480.0
    axis = {"CTYPE3": f"FREQ-{frame}", "CRVAL3": reference, "CDELT3": step, "CRPIX3": 3.0}
    axis |= {"CUNIT3": "HZ", "DRVAL3": velocity, "DUNIT3": "KM/S", "FREQ0": rest}
    with pytest.warns(StellarSSLWarning, match="frequencies were moved to the frame of DRVAL3"):
        cube = read_cube(write(spectral=axis, RESTFRQ=None, SPECSYS=None))
    there = rest / (1 + velocity / C) if optical else rest * (1 - velocity / C)
    nu = (reference + (np.arange(6) - 2) * step) * there / reference
    assert_allclose(cube.velocity, C * (1 - nu / rest), atol=1e-6)
    assert cube.specsys == ("BARYCENT" if optical else "LSRK")


def test_optical_grid_in_frequency(write):
    """VOPT-F2W: channels evenly spaced in frequency, labelled in optical velocity."""
    nu0, dnu = REST / (1 + 5 / C), -7.0e4
    axis = {"CTYPE3": "VOPT-F2W", "CRVAL3": 5e3, "CRPIX3": 1.0, "CUNIT3": "m/s"}
    axis["CDELT3"] = -dnu * REST / nu0**2 * C * 1e3
    cube = read_cube(write(spectral=axis))
    expected = C * (REST / (nu0 + dnu * np.arange(6)) - 1)
    assert_allclose(cube.velocity, expected, atol=1e-6)


def test_uneven_channels_are_refused(write):
    axis = {"CTYPE3": "FREQ-LOG", "CRVAL3": 1e11, "CDELT3": 5e9, "CRPIX3": 1.0, "CUNIT3": "Hz"}
    with pytest.raises(InputError, match=r"cube: must have channels of one width to 1%.*km/s"):
        read_cube(write(spectral=axis))


def test_a_spectral_axis_that_turns_with_the_sky(write):
    with pytest.raises(InputError, match=r"cube: must have a spectral axis that does not turn"):
        read_cube(write(PC1_3=0.5))


# ---- values


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("GAIN", "unit: must be a brightness.*got 'GAIN'"),
        ("Jy", r"unit: must be a brightness \(K, Jy/beam.* \(unit=\); got"),
        ("K km s-1", "unit: must be a cube's, not an integrated map's"),
        ("K.km/s", "unit: must be a cube's, not an integrated map's"),
        ("mag", "unit: must be a brightness"),
        ("K (counts)", "unit: must be a brightness"),
    ],
)
def test_units_that_are_no_brightness(write, unit, message):
    with pytest.raises(InputError, match=message):
        read_cube(write(BUNIT=unit))
    with pytest.raises(InputError, match=message):
        read_cube(write(name="good.fits"), unit=unit)
    assert_allclose(read_cube(write(name="mended.fits", BUNIT=unit), unit=u.K).kelvin_factor, 1)


def test_unlikely_values(write, values):
    with pytest.warns(StellarSSLWarning, match=r"values reach 5.46e\+04 K: is the unit right"):
        read_cube(write(values * 100))


def test_one_channel(write, values):
    with pytest.raises(InputError, match="cube: must have two channels or more; got 1"):
        read_cube(write(values[:1]))


def test_all_nan(write):
    with pytest.raises(InputError, match="cube: must hold finite values; all are NaN"):
        read_cube(write(np.full(SHAPE, np.nan, "f4")))


def test_a_map_is_no_cube(write, values):
    axes = {"CTYPE3": None, "CRVAL3": None, "CDELT3": None, "CRPIX3": None, "CUNIT3": None}
    with pytest.raises(InputError, match="cube: must have an image of three axes; a map has no"):
        read_cube(write(values[0], **axes))
    with pytest.raises(InputError, match="cube: must have three axes"):
        read_cube(fits.PrimaryHDU(values[0], make_header(**axes)))


# ---- files


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match=r"cube: must be a file that is there.*nothing\.fits"):
        read_cube(tmp_path / "nothing.fits")


def test_a_folder(tmp_path):
    with pytest.raises(InputError, match="cube: is a folder, and no CASA image"):
        read_cube(tmp_path)
    (tmp_path / "table.dat").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cube: is a broken CASA image"):
        read_cube(tmp_path)


@pytest.mark.parametrize("kept", [0, 1000, 2880 * 2, -100])
def test_truncated(write, values, kept):
    path = write(np.tile(values, (20, 1, 1)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"cube: (must be a whole FITS file|is truncated).*cube"):
        read_cube(path)


@pytest.mark.parametrize("kept", [30, 300, -200])
def test_truncated_gzip(tmp_path, write, kept):
    whole = write(np.random.default_rng(0).normal(size=(60, 5, 7)).astype("f4"))
    path = tmp_path / "cut.fits.gz"
    path.write_bytes(gzip.compress(whole.read_bytes())[:kept])
    with pytest.raises(InputError, match=r"cube: (must be a whole FITS file|is truncated).*cut"):
        read_cube(path)


def test_other_files(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a cube" * 1000)
    with pytest.raises(InputError, match="cube: must be a whole FITS file"):
        read_cube(path)


@pytest.mark.parametrize("given", [np.ones(SHAPE), None, 3, make_header()])
def test_other_objects(given):
    with pytest.raises(
        InputError, match="cube: must be a path, an HDU, an HDUList, a SpectralCube"
    ):
        read_cube(given)
