"""A dask scheduler that dies in the middle of a run."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.table import QTable

COMMAND = """
import functools, sys
import stellarssl.survey
from stellarssl.cli import main
encoder, library, *words = sys.argv[1:]
stellarssl.survey.run = functools.partial(
    stellarssl.survey.run, encoder=encoder, library=library
)
sys.exit(main(words))
"""


def _wait_for(found, seconds=300):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _address(file):
    """Return what a scheduler's file says once it is whole: it is there before."""
    try:
        return json.loads(file.read_text())["address"]
    except (OSError, ValueError):
        return None


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and a worker as processes: the scheduler's address and process number."""
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    reached = ["--scheduler-file", file, "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *reached]
    )
    _wait_for(lambda: _address(file))
    alone = ["--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--death-timeout", "1"]
    worker = subprocess.Popen([*dask, "worker", *reached, *alone])
    yield _address(file), scheduler.pid
    for process in (worker, scheduler):
        process.kill()
        process.wait()


@pytest.mark.slow
def test_what_is_finished_stays_and_the_same_command_goes_on(
    run, cubes, stars, models, begun, tmp_path, cluster
):
    address, scheduler = cluster
    run("undisturbed")
    stars.write(tmp_path / "stars.ecsv")
    out = tmp_path / "out"
    words = ["survey", *cubes, "--positions", tmp_path / "stars.ecsv", "--output", out]
    command = [sys.executable, "-c", COMMAND, models["encoder"], models["library"], *words]
    with subprocess.Popen(
        [*command, "--scheduler", address], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _wait_for(lambda: list(out.glob("*/done.json")))
            os.kill(scheduler, signal.SIGKILL)
            _, said = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 1
    assert said == (
        "stellarssl: the dask scheduler was lost; what is finished stays, and the same command "
        "goes on\n"
    )
    finished = {path.parent.name: path.read_bytes() for path in out.glob("*/done.json")}
    assert 1 <= len(finished) < len(cubes)

    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for folder, done in finished.items():
        assert (out / folder / "done.json").read_bytes() == done
        assert begun()[folder, "moments"] == 1
    found, expected = (
        QTable.read(tmp_path / name / "masses.ecsv") for name in ("out", "undisturbed")
    )
    for name in ("cube", "id", "flags"):
        np.testing.assert_array_equal(found[name], expected[name])
    np.testing.assert_array_equal(found["mass"].mask, expected["mass"].mask)
    np.testing.assert_allclose(found["mass"].filled(0), expected["mass"].filled(0), rtol=1e-6)
