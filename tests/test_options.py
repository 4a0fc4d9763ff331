"""Options are defined once: signatures, docstrings and keywords follow from their fields."""

import inspect
import json
import operator
import re
import typing
from dataclasses import fields

import astropy.units as u
import numpy as np
import pytest
from radio_beam import Beam

import stellarssl
from stellarssl._utils.options import option_of
from stellarssl.cli import main
from stellarssl.cubes import ReadKeywords, ReadOptions
from stellarssl.exceptions import InputError, MissingInputError, UnknownLineError
from stellarssl.moments import MomentKeywords, MomentOptions
from stellarssl.pipeline import MassKeywords, MassOptions

READING = [each.name for each in fields(ReadOptions)]
MEASURING = [each.name for each in fields(MomentOptions)]
ESTIMATING = [each.name for each in fields(MassOptions)]
POSITIONS = ["positions", "reader", "prior", "library", "encoder", "allow"]
FUNCTIONS = {
    "read_cube": (READING, ["cube"]),
    "moment_maps": (MEASURING, ["cube"]),
    "moment_plan": (MEASURING, ["cube"]),
    "info": (MEASURING, ["cube"]),
    "estimate_mass": (ESTIMATING, ["data", "positions"]),
    "segment": (MEASURING, ["data", "n_classes", "library", "encoder"]),
    "analyze": (ESTIMATING, ["data", "positions", "n_classes"]),
    "survey.run": (
        ESTIMATING,
        ["cubes", "positions", "output", "parallel", "only_sources", "n_classes"],
    ),
}

VERBS = {
    "info": ["plan", "json"],
    "moments": ["output", "overwrite"],
    "mass": [*POSITIONS, "output", "overwrite", "profile"],
    "segment": ["n_classes", "library", "encoder", "output", "overwrite"],
    "analyze": ["n_classes", *POSITIONS, "output", "overwrite", "profile"],
    "survey": [*POSITIONS, "n_classes", "output", "only_sources", "processes", "scheduler"],
}
"""What each verb that reads a cube has besides the fields of `MomentOptions`."""


def function_of(name):
    return operator.attrgetter(name)(stellarssl)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_every_option(verb, capsys):
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out.split("options:", 1)[1]
    found = set(re.findall(r"^  (?:-h, )?--([a-z][a-z-]*)", shown, re.MULTILINE))
    found = {name.replace("-", "_") for name in found} - {"help"}
    assert found == {*MEASURING, *VERBS[verb]}


def test_the_command_line_reads_the_examples_of_its_help():
    examples = {each.name: option_of(each) for each in fields(MomentOptions)}
    for name, described in examples.items():
        if described.example is not None and not described.example.endswith(".fits"):
            MomentOptions(**{name: described.word(described.example)}).check()
    assert [examples["hdu"].word(text) for text in ("1", "SCI")] == [1, "SCI"]
    assert examples["memory_limit"].word("1000000") == 1000000


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        (ReadOptions, ReadKeywords),
        (MomentOptions, MomentKeywords),
        (MassOptions, MassKeywords),
    ],
)
def test_type_checkers_see_the_same_keywords(options, keywords):
    assert {each.name: each.type for each in fields(options)} == typing.get_type_hints(keywords)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature_and_docstring_list_the_options(name):
    shared, own = FUNCTIONS[name]
    function = function_of(name)
    parameters = inspect.signature(function).parameters
    assert sorted(parameters) == sorted([*shared, *own])
    section = function.__doc__.split("Parameters\n----------\n")[1].split("\n\nReturns")[0]
    heads = [line.split(" : ") for line in section.splitlines() if not line.startswith(" ")]
    assert [head[0] for head in heads] == list(parameters)
    assert all(len(head) == 2 for head in heads)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("typed", "meant"), [("beams", "beam"), ("distanec", "distance")])
def test_an_unknown_name_is_refused_with_a_suggestion(name, typed, meant):
    name, function = name.split(".")[-1], function_of(name)
    args = [None] * sum(
        each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
        for each in inspect.signature(function).parameters.values()
    )
    rule = rf"{typed}: is not an option of {name}\(\); did you mean {meant}"
    for error in (InputError, TypeError):
        with pytest.raises(error, match=rule):
            function(*args, **{typed: 1})
    with pytest.raises(InputError, match=rf"is not an option of {name}\(\)$"):
        function(*args, qqqqqq=1)


@pytest.mark.parametrize(
    ("name", "values", "plain"),
    [
        ("distance", ["288 pc", 0.288 * u.kpc], "288.0 pc"),
        ("rest_value", ["110 GHz", 110_000 * u.MHz], "110.0 GHz"),
        ("velocity_range", ["-5 10 km/s", [10_000, -5000] * u.m / u.s], "-5.0 10.0 km / s"),
        ("unit", ["Jy/beam", u.Jy / u.beam, "JY/BEAM"], "Jy / beam"),
        ("unit", ["K (Ta*)", "K_TA*"], "K (T_A*)"),
        ("max_recoverable_scale", ["2 arcmin", 120 * u.arcsec], "120.0 arcsec"),
        ("beam", ["36 arcsec", 0.6 * u.arcmin, Beam(0.01 * u.deg)], "36 x 36 arcsec, PA 0 deg"),
        ("excitation_temperature", ["20 K", 20 * u.K], "20.0 K"),
        ("efficiency", [0.5], 0.5),
        ("abundance", [1e-6, 1e-6 * u.one], 1e-6),
        ("hdu", [0], 0),
        ("tracer", ["auto", "AUTO "], "auto"),
        ("tracer", [None, "none", " None"], None),
        ("noise", ["0.1 K", 0.1 * u.K], "0.1 K"),
    ],
)
def test_equal_options_look_the_same(name, values, plain):
    for value in values:
        options = MomentOptions(**{name: value})
        assert options.canonical()[name] == plain
        assert options.check().canonical() == options.canonical()
    json.dumps(options.canonical())


def test_what_changes_no_number_is_no_provenance():
    plain = MomentOptions(memory_limit="1 GB", n_threads=2, progress=True).canonical()
    assert set(MEASURING) - set(plain) == {"memory_limit", "n_threads", "footprint", "progress"}


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"distance": 288}, InputError, "distance: must be a quantity"),
        ({"distance": [1, 2] * u.pc}, InputError, "distance: must be a single value"),
        ({"beam": "3 pc"}, InputError, "beam: must be a quantity"),
        ({"unit": "erg"}, InputError, "unit: must be a brightness"),
        ({"hdu": 1.5}, InputError, "hdu: must be a number or a name"),
        ({"velocity_range": "5 km/s"}, InputError, "velocity_range: must be two values"),
        ({"tracer": "13C0"}, UnknownLineError, r"tracer: .*did you mean 13CO\(1-0\)"),
        ({"tracer": "N2H+"}, MissingInputError, "abundance: must be given"),
        ({"tracer": "13CO", "rest_value": "115 GHz"}, InputError, "rest_value: must be that of"),
        ({"efficiency": 0.5, "unit": "Jy/beam"}, InputError, "efficiency: applies to T_A"),
        ({"abundance": 2}, InputError, "abundance: must be molecules per H2"),
        ({"tracer": "none", "abundance": 1e-6}, InputError, "abundance: applies to the named"),
        ({"mask": np.ones((2, 3, 4))}, InputError, "mask: must be a boolean array with 3 axes"),
        ({"progress": "yes"}, InputError, "progress: must be True or False"),
        ({"n_threads": 0}, InputError, "n_threads: must be a whole number"),
    ],
)
def test_what_is_wrong_without_a_cube(options, error, match):
    with pytest.raises(error, match=match):
        MomentOptions(**options).check()


@pytest.mark.parametrize("tracer", ["auto", "13CO", "1e22 cm-2 / (K km/s)", None])
@pytest.mark.parametrize("rest_value", [None, "110.2013543 GHz"])
def test_what_the_line_of_a_cube_decides_is_not_refused(tracer, rest_value):
    options = MomentOptions(tracer=tracer, rest_value=rest_value, excitation_temperature=None)
    assert options.check().tracer == tracer
