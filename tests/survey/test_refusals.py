"""What stops a survey: one sentence, and what is finished stays."""

import errno
import functools
import os
import re
import resource
import textwrap
from dataclasses import replace
from pathlib import Path

import astropy.units as u
import pytest
from astropy.io import fits
from astropy.table import QTable
from distributed import Client, LocalCluster

from stellarssl import survey
from stellarssl._utils import optional
from stellarssl.cli import main
from stellarssl.exceptions import InputError, MissingDependencyError, OutputError
from stellarssl.pipeline import MassOptions
from stellarssl.survey import stages
from stellarssl.survey.lock import locked
from stellarssl.survey.models import find_models, load_models


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": 288}, "distance: must be a quantity convertible to 'pc'"),
        ({"distance": "288 parsecs"}, "distance: must be .* such as '10 pc'; got '288 parsecs'"),
        ({"distance": [1, 2] * u.kpc}, "distance: must be a single value"),
        ({"rest_value": "3 K"}, "rest_value: must be a quantity convertible to 'GHz'.*'3 K'"),
        ({"rest_value": "-3 GHz"}, "rest_value: must be finite and above zero; got '-3 GHz'"),
        ({"tracer": "H2O"}, "tracer: must be HI, .* or a factor in .*; got 'H2O'"),
        ({"tracer": 1e22}, "tracer: must be a quantity convertible to "),
        ({"tracer": "13CO", "rest_value": "230 GHz"}, "rest_value: must be that of 13CO"),
        ({"tracer": "N2H+"}, "abundance: must be given for N2H"),
        ({"tracer": "HI", "abundance": 1e-6}, "abundance: applies to LTE columns, not to HI"),
        ({"tracer": None, "abundance": 1e-6}, "abundance: applies to the named lines"),
        ({"abundance": 3}, "abundance: must be molecules per H2, between 0 and 1; got 3"),
        ({"excitation_temperature": "2 K"}, "excitation_temperature: must be above the backgr"),
        ({"max_recoverable_scale": "3 pc"}, "max_recoverable_scale: must be .* 'arcsec'"),
        ({"unit": "counts"}, r"unit: must be a brightness \(K, .*; got 'counts'"),
        ({"unit": "K km/s"}, "unit: must be a cube's, not an integrated map's"),
        ({"beam": "wide"}, "beam: must be a quantity convertible to 'arcsec'"),
        ({"beam": "3 2 1 arcsec"}, "beam: must be a quantity .*; got '3 2 1 arcsec'"),
        ({"efficiency": 1.2}, "efficiency: must be above 0 and at most 1; got 1.2"),
        ({"efficiency": "0.5"}, "efficiency: must be a number, T_A. over T_mb; got '0.5'"),
        ({"efficiency": 0.5, "unit": "Jy/beam"}, "efficiency: applies to T_A., not .* Jy / beam"),
        ({"efficiency": 0.5, "unit": "K (Tmb)"}, "efficiency: applies to T_A., not .* in T_mb"),
        ({"hdu": 1.5}, "hdu: must be a number or a name; got 1.5"),
        ({"velocity_range": "5 km/s"}, "velocity_range: must be two values"),
        ({"these": []}, "cubes: must name at least one cube"),
        ({"these": "near.fits"}, "cubes: must be a list of paths, not one; got 'near.fits'"),
        ({"these": [5]}, r"cubes: must be a list of paths; got \[5\]"),
        ({"n_classes": 0}, "n_classes: must be at least 1, or None; got 0"),
        ({"n_classes": "3"}, "n_classes: must be at least 1, or None; got '3'"),
        ({"memory_limit": "lots"}, "memory_limit: must be a quantity .*; got 'lots'"),
        ({"memory_limit": -1}, "memory_limit: must be above zero; got -1"),
        ({"n_threads": 0}, "n_threads: must be a whole number of 1 or more; got 0"),
        ({"parallel": 0}, "parallel: must be 1 or more processes, .*; got 0"),
        ({"parallel": 1.5}, "parallel: must be 1 or more processes, .*; got 1.5"),
        ({"library": "nowhere.fits"}, "library: must name a library .* there is no such file"),
    ],
)
def test_arguments_are_checked_before_the_folder_is_made(run, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(**options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("parallel", "message"),
    [
        ("current-scheduler", "parallel: needs a dask Client in this process"),
        ("nonsense://", "parallel: must be the address of a dask scheduler"),
        ([], r"parallel: must be the address of a dask scheduler .*; got \[\]"),
    ],
)
def test_what_is_no_scheduler(run, parallel, message):
    with pytest.raises(InputError, match=message):
        run(parallel=parallel)


def test_options_are_checked_before_a_finished_survey_is_touched(run, cubes, tmp_path):
    run(these=cubes[:1])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    with pytest.raises(InputError, match="beam: must be one width, or a major and a minor axis"):
        run(these=cubes[:1], beam=[1, 2, 3] * u.arcsec)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}


def test_an_hdu_that_a_cube_does_not_have_is_that_cubes_matter(run, cubes):
    table = run(these=cubes[:1], hdu=7)
    assert table["status"][0] == "refused"
    assert table["reason"][0] == "hdu: must be one of 0 (PRIMARY); got 7"


def test_a_scheduler_that_is_not_there(run, monkeypatch):
    monkeypatch.setattr("stellarssl.survey._dask._PATIENCE", 1)
    rule = "parallel: must be the address of a dask scheduler that answers, .*; got 'tcp://127"
    with pytest.raises(InputError, match=rule):
        run(parallel="tcp://127.0.0.1:9")


def test_without_distributed(run, monkeypatch):
    monkeypatch.setattr(optional, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'stellarssl\[distributed\]'"):
        run(parallel=2)


@pytest.mark.slow  # a worker takes its time to start
def test_a_worker_without_the_weights(run, models, tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(models["encoder"].read_bytes())
    run(encoder=weights, these=[tmp_path / "nowhere.fits"])  # this process knows them from here on
    weights.unlink()
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        rule = (
            "encoder and library: must be found by every worker .*weights.safetensors.*; got 'tcp:"
        )
        with pytest.raises(InputError, match=rule):
            run(encoder=weights, parallel=client)


def test_what_a_worker_finds_must_be_what_the_survey_was_started_with(models):
    known = find_models(MassOptions(**models).check())
    other = replace(known, encoder_sha256="0" * 64)
    with pytest.raises(InputError, match=r"encoder: must be the same for every worker, with .* 00"):
        load_models(other)
    other = replace(known, library_sha256="0" * 64)
    with pytest.raises(InputError, match=r"library: must be the same for every worker, with .* 00"):
        load_models(other)
    with pytest.raises(InputError, match=r"must be a file that exists; .*nowhere\.safetensors"):
        load_models(replace(known, encoder="/nowhere.safetensors"))


def test_another_survey_in_the_same_folder(run, cubes, stars, tmp_path):
    run(these=cubes[:1], distance=140 * u.pc)
    before = sorted((tmp_path / "out").rglob("*"))
    run(these=cubes[:1], distance="0.14 kpc")  # the same
    message = r"output: holds a survey in which distance was 140.0 pc and is 150.0 pc: choose"
    with pytest.raises(InputError, match=message):
        run(these=cubes[:1], distance="150 pc")
    with pytest.raises(InputError, match=r"positions was catalog .* and is catalog"):
        run(these=cubes[:1], distance="140 pc", positions=stars[:2])
    assert sorted((tmp_path / "out").rglob("*")) == before


def test_what_was_asked_may_be_mended_while_nothing_is_made(run, cubes):
    with pytest.raises(InputError, match="parallel: "):
        run(these=cubes[:1], distance="15 pc", parallel="current-scheduler")
    assert run(these=cubes[:1], distance="150 pc")["status"][0] == "ok"


def test_an_option_that_all_cubes_lacked_may_be_given(run, cubes):
    fits.delval(cubes[0], "BUNIT")
    table = run(these=cubes[:1])
    assert table["status"][0] == "refused"
    assert "unit: must be given" in table["reason"][0]
    assert run(these=cubes[:1], unit="K")["status"][0] == "ok"
    with pytest.raises(InputError, match="output: holds a survey in which unit was K and is mK"):
        run(these=cubes[:1], unit="mK")


def test_too_little_memory_is_not_held_against_a_cube(run, cubes):
    table = run(these=cubes[:1], memory_limit=1)
    assert table["status"][0] == "failed"
    assert "memory_limit: must be" in table["reason"][0]
    assert run(these=cubes[:1])["status"][0] == "ok"


def test_a_full_scratch_disk_is_not_held_against_a_cube(run, cubes, monkeypatch):
    def full(*_, **__):
        raise OutputError("scratch needs 2 MB; 1 MB are free")

    monkeypatch.setattr(stages, "moment_maps", full)
    table = run(these=cubes[:1])
    assert list(table["status", "reason"][0]) == [
        "failed",
        "OutputError: scratch needs 2 MB; 1 MB are free",
    ]
    monkeypatch.undo()
    assert run(these=cubes[:1])["status"][0] == "ok"


@pytest.mark.parametrize("text", ["{", "[]", '{"asked": 3}'])
def test_a_damaged_manifest(run, cubes, begun, tmp_path, text):
    run(these=cubes[:1])
    manifest = tmp_path / "out" / "survey.json"
    manifest.write_text(text)
    with pytest.raises(InputError, match=r"output: must hold a whole survey.json; delete"):
        run(these=cubes[:1])
    manifest.unlink()
    run(these=cubes[:1])
    assert set(begun().values()) == {1}  # what is finished stays


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 0}'])
def test_a_damaged_record_has_its_cube_done_again(run, cubes, begun, tmp_path, text):
    run(these=cubes[:2])
    (tmp_path / "out" / "near" / "done.json").write_text(text)
    assert list(run(these=cubes[:2])["status"]) == ["ok", "ok"]
    assert [begun()[name, "moments"] for name in ("near", "far")] == [2, 1]


def test_two_runs_at_once(run, tmp_path):
    with locked(tmp_path / "out"):
        rule = rf"output: must not be in use by another run \(process {os.getpid()} on .*\); got"
        with pytest.raises(InputError, match=rule):
            run()
    run(these=[tmp_path / "nowhere.fits"])  # the lock that was left is nobody's


def test_a_full_disk(run, cubes, begun):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    run(these=cubes[:1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(InputError, match="output: must be a folder with room that can be wri"):
            run(these=cubes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(run(these=cubes)["status"]) == ["ok"] * 3
    assert begun()["near", "moments"] == 1


def test_an_output_that_is_a_file(run, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match=r"output: must be a folder .*File exists"):
        run()
    assert (tmp_path / "out").read_text() == "mine"


def test_a_read_only_output(run, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=r"output: must be a folder .*Read-only file system.*out'"):
        run()


def _longer(cube):
    status = cube.stat()
    with cube.open("ab") as file:
        file.write(bytes(2880))
    os.utime(cube, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [os.utime, _longer])
def test_a_cube_that_changes_while_it_is_read(run, cubes, monkeypatch, change):
    right = stages.moment_maps

    def meanwhile(cube, **options):
        maps = right(cube, **options)
        change(Path(cube))
        return maps

    monkeypatch.setattr(stages, "moment_maps", meanwhile)
    table = run(these=cubes[:1])
    assert table["status"][0] == "refused"
    assert "cube: must not change while it is read" in table["reason"][0]
    monkeypatch.undo()
    assert run(these=cubes[:1])["status"][0] == "ok"


@pytest.fixture
def small_models(models, monkeypatch):
    """The command with these weights and library."""
    monkeypatch.setattr("stellarssl.survey.run", functools.partial(survey.run, **models))


@pytest.mark.usefixtures("small_models")
def test_the_command(cubes, stars, tmp_path, capsys):
    stars.write(tmp_path / "stars.ecsv")
    words = ["survey", *map(str, cubes[:2]), "--positions", str(tmp_path / "stars.ecsv")]
    words += ["--output", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out.count(" ok ") == 2
    assert said.err == ""  # no bar where this is no terminal
    assert main([*words, "--distance", "300 pc"]) == 1
    assert "distance was None and is 300.0 pc" in capsys.readouterr().err
    assert main([*words, "--processes", "2", "--scheduler", "tcp://x"]) == 2


@pytest.mark.usefixtures("small_models")
def test_the_example_of_the_user_guide(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[2] / "docs" / "user_guide" / "survey.rst"
    told = page.read_text().split("To see it at work")[1]
    code = told.split(".. code-block:: python\n")[1].split(".. code-block::")[0]
    words = re.search(r"\$ stellarssl (survey .*)", told)[1].split()
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(code), {})  # noqa: S102
    assert main(words) == 0
    assert capsys.readouterr().out.count(" ok ") == 2
    on = QTable.read(tmp_path / "two" / "masses.ecsv")["cube"]
    assert set(on) == {"east", "west"}


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--tracer", "H2O", "--tracer: must be HI, "),
        ("--beam", "wide", "--beam: must be a quantity convertible to 'arcsec'"),
        ("--unit", "counts", "--unit: must be a brightness (K, "),
        ("--efficiency", "50", "--efficiency: must be above 0 and at most 1; got 50.0"),
    ],
)
def test_the_command_refuses_an_option_that_suits_no_cube(
    cubes, tmp_path, capsys, option, value, message
):
    out = tmp_path / "out"
    assert main(["survey", str(cubes[0]), "--output", str(out), option, value]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"stellarssl: {message}")
    assert said.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.usefixtures("small_models")
def test_the_command_says_that_no_cube_gave_maps(tmp_path, capsys):
    nowhere = str(tmp_path / "nowhere.fits")
    assert main(["survey", nowhere, "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "cube: must be a file that is there" in said.out
    assert said.err == "stellarssl: no cube gave maps; the reasons are in cubes.ecsv\n"


@pytest.mark.usefixtures("small_models")
def test_the_command_says_that_a_cube_failed(cubes, tmp_path, monkeypatch, capsys):

    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(stages, "moment_maps", broken)
    assert main(["survey", str(cubes[0]), "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "RuntimeError: a bug" in said.out
    assert said.err == "stellarssl: 1 of 1 cubes failed; the same command tries them again\n"
