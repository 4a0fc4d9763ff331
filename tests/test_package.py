"""The package as a whole: what an import costs, what is at the top level, what is shipped."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import stellarssl

ROOT = Path(__file__).resolve().parents[1]
PUBLIC_MODULES = sorted(
    path.stem if path.is_file() else path.name
    for path in (ROOT / "stellarssl").iterdir()
    if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())
)


def _run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()


def test_import_loads_no_other_package():
    loaded = _run(
        "import sys; before = set(sys.modules); import stellarssl;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    # so that the import costs next to nothing, on any machine
    assert set(loaded) - set(sys.stdlib_module_names) == {"stellarssl"}


@pytest.mark.parametrize("room", ["tracers", "cubes", "moments", "tiles", "pipeline"])
def test_stations_before_the_encoder_do_without_torch(room):
    assert _run(f"import sys, stellarssl.{room}; print('torch' in sys.modules)") == ["False"]


@pytest.mark.parametrize("name", stellarssl.__all__)
def test_public_name_is_there(name):
    assert getattr(stellarssl, name) is not None
    assert name in dir(stellarssl)


def test_every_room_is_an_attribute_of_a_fresh_import():
    names = [f"stellarssl.{room}" for room in PUBLIC_MODULES]
    assert set(PUBLIC_MODULES) <= set(stellarssl.__all__)
    assert _run(f"import stellarssl; print(*(m.__name__ for m in ({', '.join(names)})))") == names


def test_types_are_stated_for_every_public_name():
    folder = Path(stellarssl.__file__).parent
    stub = ast.parse((folder / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert sorted(each.name for node in imports for each in node.names) == stellarssl.__all__
    assert (folder / "py.typed").is_file()


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'stellarssl' has no attribute 'mass'"):
        stellarssl.mass  # noqa: B018


def test_version_is_the_metadatas():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert stellarssl.__version__ == project["version"]


@pytest.mark.parametrize("room", PUBLIC_MODULES)
def test_room_says_what_is_public(room):
    module = import_module(f"stellarssl.{room}")
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("room", PUBLIC_MODULES)
def test_room_is_in_the_reference_and_in_the_layers(room):
    page = (ROOT / "docs" / "reference" / f"{room}.rst").read_text(encoding="utf-8")
    assert f"automodapi:: stellarssl.{room}" in page
    layers = (ROOT / "setup.cfg").read_text(encoding="utf-8").partition("layers =")[2]
    assert room in re.findall(r"\w+", layers)


def test_nothing_is_unpickled():
    calls = []
    for path in (ROOT / "stellarssl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {
                "pickle.load", "pickle.loads", "joblib.load", "torch.load"
            }:  # fmt: skip
                safe = any(ast.unparse(word) == "weights_only=True" for word in node.keywords)
                calls += [] if safe else [f"{path.name}:{node.lineno}"]
    assert not calls


def test_readme_marks_its_two_commands():
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    for which, job in (("demo", "stellarssl demo"), ("test", "tox -e test")):
        (command,) = re.findall(
            rf"^\.\. the {which} command\n\n\.\. code-block:: bash\n\n    (.+)\n\n",
            readme,
            re.MULTILINE,
        )
        assert command.startswith("python3 -m venv .venv && ")
        assert command.endswith(job)
