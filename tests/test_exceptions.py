"""Errors and warnings: their parts, and how Python and the command line name an argument."""

import ast
import copy
import pickle
import re
from pathlib import Path

import pytest

import stellarssl
from stellarssl import exceptions
from stellarssl.cli import main, spell
from stellarssl.exceptions import (
    InputError,
    MissingInputError,
    NoSignalError,
    OutputExistsError,
    StellarSSLError,
    StellarSSLWarning,
)

PACKAGE = Path(exceptions.__file__).parent
WORDS = {"unit": "--unit", "rest_value": "--rest-value", "mask": "--mask"}


def test_an_error_keeps_its_parts():
    error = InputError("unit", "must be a brightness", "Jy", ["unit", "beam"])
    assert (error.parameter, error.rule, error.value) == ("unit", "must be a brightness", "Jy")
    assert error.arguments == ("unit", "beam")
    assert str(error) == "unit: must be a brightness (unit=, beam=); got 'Jy'"
    assert isinstance(error, ValueError)


def test_what_is_missing_is_an_argument_that_helps():
    error = MissingInputError("unit, rest_value", "must be given")
    assert error.arguments == ("unit", "rest_value")
    assert str(error) == "unit, rest_value: must be given (unit=, rest_value=)"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            InputError("rest_value", "must be a frequency", "x"),
            "--rest-value: must be a freq.*; got",
        ),
        (InputError("cube", "must be read", 1, ["unit"]), r"cube: must be read \(--unit\); got 1"),
        (MissingInputError("unit, rest_value", "must be"), "--unit, --rest-value: must be$"),
        (NoSignalError("no signal", ["mask", "footprint"]), r"no signal \(--mask\)$"),
        (StellarSSLWarning("is it right?", ["unit"]), r"is it right\? \(--unit\)$"),
        (StellarSSLError("only in Python", ["footprint"]), "only in Python$"),
    ],
)
def test_the_command_line_names_options(message, expected):
    assert re.match(expected, spell(message, WORDS))


@pytest.mark.parametrize(
    "error",
    [
        InputError("beam", "must be given", arguments=["beam"]),
        MissingInputError("beam", "must be given", 3),
        OutputExistsError("out.fits exists", ["overwrite"]),
        StellarSSLWarning("assumed", ["unit"]),
    ],
)
def test_an_error_survives_another_process(error):
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):  # noqa: S301
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_python_and_the_command_line_show_their_own_form(tmp_path, capsys):
    path = tmp_path / "moments.fits"
    path.touch()
    cube = stellarssl.demo_files()[0]
    with pytest.raises(OutputExistsError, match=r"moments.fits exists .* \(overwrite=\)$"):
        stellarssl.moment_maps(cube).write(path)
    assert main(["moments", str(cube), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("exists and is not replaced (--overwrite)\n")


def _messages(path):
    """Return the texts in a module that are not docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_message_names_an_argument_literally(path):
    form = re.compile(r"\b[a-z_]{3,}=[),;? ]|[a-z_]{3,}=(True|None)|(?<!^)--[a-z]")
    found = [text for text in _messages(path) if form.search(text)]
    if path.parent.name == "cli":  # the help of the command line is written for it alone
        found = [text for text in found if "positions" not in text]
    if path.stem == "_flam3":  # attributes of XML
        found = []
    assert not found
