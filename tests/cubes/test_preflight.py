"""The report says what a cube is, and what would be refused and why."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from stellarssl.cubes import preflight, read_cube
from stellarssl.cubes._sample import quick_noise, sample_values
from stellarssl.exceptions import InputError


def refused(report):
    """The lines after ``refused``."""
    return report.split("\nrefused\n")[1].splitlines() if "\nrefused\n" in report else []


def test_a_complete_cube_is_not_refused(write):
    report = preflight(write(DISTANCE=(140.0, "[pc]")))
    assert refused(report) == []
    facts = [line.split(maxsplit=1) for line in report.splitlines()[1:]]
    labels = " ".join(label for label, _ in facts)
    assert labels == "size sky velocity line unit beam noise distance column note"
    assert dict(facts)["line"] == "110.201 GHz (13CO(1-0))"
    assert dict(facts)["beam"] == "46 x 46 arcsec, 1.3 pixels"
    # 0.01 deg at 140 pc; 46 arcsec are 0.0312 pc
    assert "140 pc (header): pixel 0.0244 pc, 16 beams across" in dict(facts)["distance"]


def test_what_is_missing_is_named_with_its_argument(write):
    report = preflight(write(BUNIT=None, BMAJ=None, RESTFRQ=None))
    everything, columns, masses = refused(report)
    assert "everything unit, beam, rest_value: must be given, as" in everything
    assert "columns    tracer: must be named" in columns
    assert "masses     distance: must be given, as the header has none (distance=)" in masses
    assert "as stored in a channel" in report


def test_frequencies_without_a_line(write):
    axis = {"CTYPE3": "FREQ", "CRVAL3": 110.2e9, "CDELT3": 1e5, "CRPIX3": 1.0, "CUNIT3": "Hz"}
    report = preflight(write(spectral=axis, RESTFRQ=None))
    assert "frequency  110.2 to 110.2005 GHz (FREQ, LSRK), 6 channels of 100 kHz" in report
    assert "rest_value: must be given" in report


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
    lines = refused(preflight(write(**cards), distance="140 pc", **options))
    assert len(lines) == 1
    assert why in lines[0]


def test_a_stated_efficiency_is_enough(write):
    report = preflight(write(BUNIT="K (Ta*)", ETAMB=0.5), distance="140 pc")
    assert refused(report) == []


def test_a_coarse_beam(write):
    lines = refused(preflight(write(), distance="1 kpc"))
    assert lines == ["  masses     2.2 beams across a tile are fewer than 3 (coarse_beam)"]


def test_options_reach_the_report(write):
    path = write(BUNIT=None, BMAJ=None, RESTFRQ=None)
    report = preflight(path, unit="K", beam=20 * u.arcsec, distance="140 pc", tracer="C18O")
    assert refused(report) == []
    assert "N_H = 1.18e+22 cm-2 for each K km/s (C18O(1-0), molecular)" in report
    cube = read_cube(path, unit="K")
    assert "unit       K" in preflight(cube)


def test_what_is_no_cube_has_no_report(tmp_path):
    with pytest.raises(InputError, match="cube: must be a file that is there"):
        preflight(tmp_path / "none.fits")


def test_repairs_are_noted_without_a_warning(write):
    assert "note       CUNIT3 = 'M/S' was read as 'm s-1'" in preflight(write(CUNIT3="M/S"))


def test_noise_is_that_of_quiet_channels():
    rng = np.random.default_rng(1)
    data = rng.normal(0, 0.2, (40, 60, 60))
    data[10:20] += 5 * rng.random((10, 60, 60))
    assert quick_noise(data) == pytest.approx(0.2, rel=0.03)
    assert quick_noise(np.zeros((4, 10, 10))) == 0
    assert np.isnan(quick_noise(np.full((4, 10, 10), np.nan)))


def test_the_sample_is_bounded():
    small = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    assert sample_values(small) is not small
    assert sample_values(small).shape == small.shape
    big = np.broadcast_to(np.float32(1), (3000, 4000, 5000))  # 240 GB, were it real
    assert sample_values(big).size < 1.5e6
    assert sample_values(big).shape[0] == 16


def test_large_cubes_are_counted_in_gb(write, values):
    lazy = np.broadcast_to(np.float32(1), (50, 3000, 3000))
    header = fits.getheader(write())
    assert "float32, 1.8 GB" in preflight(fits.PrimaryHDU(lazy, header))
