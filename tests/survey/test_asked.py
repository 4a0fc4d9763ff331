"""The same survey, however its options are written."""

import astropy.units as u
import pytest
from radio_beam import Beam

from stellarssl.survey._asked import spelled

NOTHING = dict.fromkeys(
    ("velocity_range", "efficiency", "unit", "beam", "rest_value", "distance", "hdu",
     "excitation_temperature", "abundance", "max_recoverable_scale")
) | {"tracer": "auto"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values", "plain"),
    [
        ("distance", ["288 pc", 0.288 * u.kpc], "288.0 pc"),
        ("rest_value", ["110 GHz", 110_000 * u.MHz], "110.0 GHz"),
        ("velocity_range", ["-5 10 km/s", [10_000, -5000] * u.m / u.s], "[-5. 10.] km / s"),
        ("unit", ["Jy/beam", u.Jy / u.beam, "JY/BEAM"], "Jy / beam"),
        ("unit", ["K (Ta*)", "K_TA*"], "K (T_A*)"),
        ("max_recoverable_scale", ["2 arcmin", 120 * u.arcsec], "120.0 arcsec"),
        (
            "beam",
            ["36 arcsec", 0.6 * u.arcmin, Beam(0.01 * u.deg)],
            "Beam: BMAJ=36.0 arcsec BMIN=36.0 arcsec BPA=0.0 deg",
        ),
        ("efficiency", [0.5], 0.5),
        ("hdu", [0], 0),
        ("tracer", [None], None),
    ],
)
def test_like_is_alike(name, values, plain):
    for value in values:
        assert " ".join(str(spelled(NOTHING | {name: value})[name]).split()) == str(plain)


@pytest.mark.parametrize("tracer", ["auto", "AUTO", "13CO", "1e22 cm-2 / (K km/s)", None])
def test_what_the_line_of_a_cube_decides_is_not_refused(tracer):
    frequencies = ["110.2013543 GHz", None] + ["96.741 GHz"] * (tracer != "13CO")
    for rest_value in frequencies:
        plain = spelled(NOTHING | {"tracer": tracer, "rest_value": rest_value})
        assert plain["tracer"] == tracer
        assert plain["rest_value"] == rest_value
