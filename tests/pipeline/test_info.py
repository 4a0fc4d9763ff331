"""The report says what a cube is, and what would be refused and why."""

import json
import operator
import re
from dataclasses import fields

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

import stellarssl
from stellarssl.cli import main
from stellarssl.cubes import read_cube
from stellarssl.exceptions import InputError, UnknownLineError
from stellarssl.moments import MomentOptions
from stellarssl.pipeline import info

PRODUCTS = ["moments", "columns", "masses", "segments"]
SHAPE = (6, 5, 7)
CARDS = {
    "CTYPE1": "RA---TAN", "CRVAL1": 52.0, "CDELT1": -0.01, "CRPIX1": 4.0, "CUNIT1": "deg",
    "CTYPE2": "DEC--TAN", "CRVAL2": 31.0, "CDELT2": 0.01, "CRPIX2": 3.0, "CUNIT2": "deg",
    "CTYPE3": "VRAD", "CRVAL3": 1000.0, "CDELT3": 200.0, "CRPIX3": 1.0, "CUNIT3": "m/s",
    "RESTFRQ": 110.2013543e9, "SPECSYS": "LSRK", "RADESYS": "ICRS", "BUNIT": "K",
    "BMAJ": 46 / 3600, "BMIN": 46 / 3600, "BPA": 0.0,
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """A function that writes a cube of 13CO and returns its path."""

    def write(spectral=None, **cards):
        data = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
        header = fits.Header()
        for name, value in (CARDS | (spectral or {}) | cards).items():
            if value is not None:
                header[name] = value
        fits.PrimaryHDU(data, header).writeto(tmp_path / "cube.fits")
        return tmp_path / "cube.fits"

    return write


def refused(report):
    """The lines after ``refused``."""
    report = str(report)
    return report.split("\nrefused\n")[1].splitlines() if "\nrefused\n" in report else []


def test_a_complete_cube_is_not_refused(write):
    report = info(write(DISTANCE=(140.0, "[pc]")))
    assert refused(report) == []
    facts = [line.split(maxsplit=1) for line in str(report).splitlines()[1:]]
    labels = " ".join(label for label, _ in facts)
    assert labels == "size sky velocity line unit beam noise distance column note"
    assert dict(facts)["line"] == "110.201 GHz (13CO(1-0))"
    assert dict(facts)["beam"] == "46 x 46 arcsec, 1.3 pixels"
    # 0.01 deg at 140 pc; 46 arcsec are 0.0312 pc
    assert "140 pc (header): pixel 0.0244 pc, 16 beams across" in dict(facts)["distance"]


def test_what_is_missing_is_named_with_its_argument(write):
    report = info(write(BUNIT=None, BMAJ=None, RESTFRQ=None))
    everything, columns, masses = refused(report)
    assert "everything unit, beam, rest_value: must be given, as" in everything
    assert "columns    tracer: must be named" in columns
    assert "masses     distance: must be given, as the header has none (distance=)" in masses
    assert "as stored in a channel" in str(report)


def test_frequencies_without_a_line(write):
    axis = {"CTYPE3": "FREQ", "CRVAL3": 110.2e9, "CDELT3": 1e5, "CRPIX3": 1.0, "CUNIT3": "Hz"}
    report = info(write(spectral=axis, RESTFRQ=None))
    assert "frequency  110.2 to 110.2005 GHz (FREQ, LSRK), 6 channels of 100 kHz" in str(report)
    assert "rest_value: must be given" in str(report)


@pytest.mark.parametrize(
    ("cards", "options", "why"),
    [
        ({"BUNIT": "K (Ta*)"}, {}, "everything efficiency: must be given, as values"),
        ({"RESTFRQ": 229.759e9}, {}, "columns    tracer: must be named, as no known line"),
        ({"RESTFRQ": None}, {"tracer": None}, "columns    the tracer None gives no column"),
        ({"RESTFRQ": 115.2712018e9}, {}, "masses     the line saturates in dense gas"),
        ({"RESTFRQ": 1.420405752e9}, {}, "masses     its gas is atomic"),
        ({"BUNIT": "GAIN"}, {}, "everything unit: must be a brightness"),
    ],
)
def test_what_each_product_lacks(write, cards, options, why):
    lines = refused(info(write(**cards), distance="140 pc", **options))
    assert len(lines) == 1
    assert why in lines[0]


def test_a_stated_efficiency_is_enough(write):
    report = info(write(BUNIT="K (Ta*)", ETAMB=0.5), distance="140 pc")
    assert refused(report) == []


def test_a_beam_that_leaves_no_skill(write):
    (line,) = refused(info(write(), distance="10 kpc"))
    assert line.startswith("  masses     a beam of 2.2 pc leaves masses an R2 of ")
    assert line.endswith(" (no_skill)")


def test_options_reach_the_report(write):
    path = write(BUNIT=None, BMAJ=None, RESTFRQ=None)
    report = info(path, unit="K", beam=20 * u.arcsec, distance="140 pc", tracer="C18O")
    assert refused(report) == []
    assert "N_H = 1.18e+22 cm-2 for each K km/s (C18O(1-0), molecular)" in str(report)
    cube = read_cube(path, unit="K")
    assert "unit       K" in str(info(cube))


def test_what_is_no_cube_has_no_report(tmp_path):
    with pytest.raises(InputError, match="cube: must be a file that is there"):
        info(tmp_path / "none.fits")


def test_repairs_are_noted_without_a_warning(write):
    assert "note       CUNIT3 = 'M/S' was read as 'm s-1'" in str(info(write(CUNIT3="M/S")))


def test_large_cubes_are_counted_in_gb(write):
    lazy = np.broadcast_to(np.float32(1), (50, 3000, 3000))
    header = fits.getheader(write())
    assert "float32, 1.8 GB" in str(info(fits.PrimaryHDU(lazy, header)))


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        ({"unit": "mK"}, "unit", u.mK),
        ({"beam": "60 40 arcsec"}, "beams_per_tile", 0.5 / 140 / np.radians(np.sqrt(2400) / 3600)),
        ({"rest_value": "110.2013541 GHz"}, "rest_value", 110.2013541 * u.GHz),
        ({"distance": "0.2 kpc"}, "distance", 200 * u.pc),
        ({"velocity_range": "1.1 1.7 km/s"}, "channels", (1, 4)),
        ({"hdu": 0}, "shape", SHAPE),
        ({"tracer": "1e22 cm-2 / (K km/s)"}, "tracer.kind", "user"),
        ({"mask": np.ones(SHAPE, bool)}, "mask", "argument"),
        ({"noise": "200 mK"}, "noise", 0.2 * u.K),
        ({"noise": np.full(SHAPE, 0.3) * u.K}, "noise", 0.3 * u.K),
        ({"unit": "K (Ta*)", "efficiency": 0.5}, "efficiency", 0.5),
        ({"excitation_temperature": "20 K"}, "tracer.excitation_temperature", 20 * u.K),
        ({"abundance": 1e-6}, "tracer.abundance", 1e-6),
        ({"max_recoverable_scale": "20 arcmin"}, "max_recoverable_scale", 1200 * u.arcsec),
        ({"memory_limit": "1 MB"}, "plan.memory_limit", 10**6),
        ({"n_threads": 1}, "plan.n_threads", 1),
        ({"footprint": np.eye(5, 7, dtype=bool)}, "plan.wanted", np.eye(5, 7, dtype=bool)),
        ({"progress": True}, "refused", {}),
    ],
)
def test_each_option_counts(write, options, name, expected):
    report = info(write(), **{"distance": "140 pc"} | options)
    assert report.refused == {}
    found = operator.attrgetter(name)(report)
    if isinstance(expected, u.Quantity | float):
        assert u.isclose(found, expected, rtol=1e-6)
    else:
        assert np.all(found == expected)


def test_no_option_is_forgotten():
    tested = test_each_option_counts.pytestmark[0].args[1]
    names = {name for options, *_ in tested for name in options}
    assert names == {each.name for each in fields(MomentOptions)}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"unit": "erg"}, "unit: must be a brightness"),
        ({"beam": "3 pc"}, "beam: must be a quantity"),
        ({"rest_value": "3 pc K"}, "rest_value: must be"),
        ({"distance": 288}, "distance: must be a quantity"),
        ({"velocity_range": "900 910 km/s"}, "velocity_range: must hold two channels"),
        ({"hdu": 7}, "hdu: must be one of"),
        ({"hdu": 1.5}, "hdu: must be a number or a name"),
        ({"tracer": "13C0"}, "tracer: .*did you mean"),
        ({"mask": np.ones((2, 2, 2), bool)}, "mask: must be a boolean array of the cube's shape"),
        ({"mask": "nowhere.fits"}, "mask: file not found"),
        ({"noise": "3 pc"}, "noise: must be a quantity in K"),
        ({"efficiency": 2}, "efficiency: must be above 0"),
        ({"efficiency": 0.5, "unit": "K (Tmb)"}, "efficiency: applies to T_A"),
        ({"excitation_temperature": "1 K"}, "excitation_temperature: must be above"),
        ({"abundance": 2}, "abundance: must be molecules"),
        ({"max_recoverable_scale": "3 pc"}, "max_recoverable_scale: must be"),
        ({"memory_limit": "3 pc"}, "memory_limit: must"),
        ({"n_threads": 0}, "n_threads: must be a whole number"),
        ({"footprint": np.zeros((5, 7), bool)}, "footprint: must hold a pixel"),
        ({"progress": "yes"}, "progress: must be True or False"),
    ],
)
def test_a_bad_option_is_a_reason_and_the_rest_is_reported(write, options, match):
    report = info(write(), **{"distance": "140 pc"} | options)
    assert list(report.refused) == PRODUCTS
    assert report.is_refused
    for errors in report.refused.values():
        (error,) = errors
        assert isinstance(error, InputError)
        assert re.search(match, str(error))
    assert refused(report) == [f"  everything {error}"]
    assert report.shape == SHAPE
    assert report.pixel.to_value(u.arcsec) == pytest.approx(36)
    assert u.allclose(report.velocity, [1, 2] * u.km / u.s)
    assert report.noise > 0 * u.K
    assert report.unit == u.K
    assert report.plan is not None
    if "distance" not in options:
        assert report.distance == 140 * u.pc


def test_all_bad_options_are_reported_at_once(write):
    report = info(write(), distance=1, tracer="XY", n_threads=0, velocity_range="90 99 km/s")
    names = [error.parameter for error in report.refused["moments"]]
    assert names == ["distance", "n_threads", "velocity_range", "tracer"]
    assert isinstance(report.refused["moments"][-1], UnknownLineError)
    assert report.line == "13CO(1-0)"


def test_a_rest_frequency_that_is_not_the_tracers(write):
    report = info(write(), distance="140 pc", rest_value="115 GHz", tracer="13CO")
    (error,) = report.refused["moments"]
    assert str(error).startswith("rest_value: must be that of 13CO, 110.201 GHz or 220.399 GHz")
    assert report.rest_value == 115 * u.GHz
    assert report.tracer is None


def test_a_line_that_nobody_named_refuses_no_moments(write):
    path = write(RESTFRQ=96.741e9)
    assert list(info(path, distance="140 pc").refused) == PRODUCTS[1:]
    assert info(path, distance="140 pc", tracer="1e22 cm-2 / (K km/s)").refused == {}


def test_an_interferometer_that_recovers_too_little(write):
    # 5 arcmin at 140 pc are 0.204 pc
    report = info(write(), distance="140 pc", max_recoverable_scale="5 arcmin")
    assert list(report.refused) == ["masses"]
    assert "scales up to 0.204 pc are recovered" in str(report)


def test_noise_is_in_main_beam_temperature(write):
    path = write(BUNIT="K (Ta*)")
    half, whole = (info(path, efficiency=each).noise for each in (0.5, 1.0))
    assert half.value == pytest.approx(2 * whole.value)


def test_files_of_mask_and_noise_are_not_read(write, tmp_path):
    path = write()
    for name, cards in (("mask", {}), ("noise", {"BUNIT": "K"})):
        values = np.full(SHAPE, 7, np.int16)  # neither zeros and ones, nor a plausible noise
        fits.PrimaryHDU(values, fits.Header(cards)).writeto(tmp_path / f"{name}.fits")
    report = info(path, mask=tmp_path / "mask.fits", noise=tmp_path / "noise.fits")
    assert (report.mask, report.noise_origin, report.noise) == ("mask.fits", "noise.fits", None)
    assert list(report.refused) == ["masses"]
    fits.PrimaryHDU(np.ones((2, 3, 4))).writeto(tmp_path / "other.fits")
    for name, match in (("mask", "of the cube's shape"), ("noise", "must state its unit")):
        (error,) = info(path, **{name: tmp_path / "other.fits"}).refused["moments"]
        assert re.search(match, str(error))


def test_json_keeps_every_attribute(write):
    path = write()
    for options in ({}, {"distance": "140 pc", "noise": "0.1 K"}, {"unit": "erg", "tracer": None}):
        report = info(path, **options)
        plain = report.to_json()
        assert set(plain) == {each.name for each in fields(report)}
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        assert {name: len(each) for name, each in plain["refused"].items()} == {
            name: len(each) for name, each in report.refused.items()
        }
    assert plain["beam"]["major"]["value"] == pytest.approx(46)
    assert plain["velocity"] == {"value": [1.0, 2.0], "unit": "km / s"}
    assert plain["center"]["lon"] == pytest.approx(52, abs=0.001)


def test_the_command_prints_json_with_its_own_words(write, capsys):
    assert main(["info", str(write(BMAJ=None, BUNIT=None)), "--json", "--n-threads", "0"]) == 1
    plain = json.loads(capsys.readouterr().out)
    assert list(plain["refused"]) == PRODUCTS
    threads, missing = plain["refused"]["moments"]
    assert threads.startswith("--n-threads: must be a whole number")
    assert missing.startswith("--unit, --beam: must be given")
    assert plain["shape"] == list(SHAPE)


@pytest.mark.parametrize(
    ("cards", "words", "status"),
    [
        ({}, [], 0),
        ({"RESTFRQ": None}, [], 0),
        ({"BUNIT": None}, [], 1),
        ({"BUNIT": None}, ["--unit", "K"], 0),
        ({"BUNIT": "GAIN"}, [], 1),
        ({}, ["--distance", "288"], 1),
        ({}, ["--plan", "--memory-limit", "1 MB"], 0),
    ],
)
def test_the_status_is_one_if_all_is_refused(write, capsys, cards, words, status):
    assert main(["info", str(write(**cards)), *words]) == status
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "=)" not in printed.out
    assert ("everything" in printed.out) == bool(status)
    assert ("of 1 MB" in printed.out) == ("--plan" in words)


def test_a_file_that_is_not_there_ends_in_one_line(tmp_path, capsys):
    assert main(["info", str(tmp_path / "none.fits")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_every_real_cube_has_a_report(real_cubes):
    paths = sorted(real_cubes.glob("*.fits*"))
    assert len(paths) == 7
    for path in paths:
        report = info(path)
        assert report.source == path.name
        assert "masses     distance: must be given" in str(report) or "GAIN" in str(report)
        json.dumps(report.to_json(), allow_nan=False)


def test_l1448(real_cubes):
    path = real_cubes / "L1448_13CO_COMPLETE.fits"
    options = {"unit": "K (Ta*)", "beam": "46 arcsec", "rest_value": "110.201354 GHz"}
    report = info(path, **options, distance="288 pc")
    assert "pixel 0.0321 pc, 7.78 beams across a tile of 0.5 pc" in str(report)
    assert "everything efficiency: must be given, as values are T_A*" in str(report)
    assert info(path, **options, distance="288 pc", efficiency=0.45).refused == {}
    assert stellarssl.info is info
