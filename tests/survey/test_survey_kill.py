"""kill -9 at random moments, and the same command again."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

import stellarssl
from stellarssl import survey

N_CUBES, N_KILLS = 10, 20
STAGES = ("moments", "masses", "segments")


@pytest.fixture
def ten(tmp_path, cut):
    """Ten cubes about the stars, no two alike."""
    return [cut(tmp_path / f"cube-{i}.fits", 76 + i, 64 + i, size=32) for i in range(N_CUBES)]


@pytest.fixture
def killed(stars, models, tmp_path):
    """A function that surveys in a process of its own, which is killed after some seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stellarssl.survey"])

    def killed(output, these, after, **options):
        process = context.Process(
            target=survey.run, args=(these, stars, tmp_path / output), kwargs=models | options
        )
        process.start()
        process.join(after)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        return process.exitcode != 0

    return killed


def _same(one, other, these):
    """Compare all numbers of two surveys."""
    for cube in these:
        left, right = (folder / cube.name.split(".")[0] for folder in (one, other))
        maps, again = (stellarssl.MomentMaps.read(f / "moments.fits") for f in (left, right))
        for name in ("moment0", "v_los", "sigma_v", "noise"):
            np.testing.assert_array_equal(getattr(maps, name), getattr(again, name))
        labels, others = (fits.getdata(f / "labels.fits") for f in (left, right))
        np.testing.assert_array_equal(labels, others)
    masses, again = (QTable.read(folder / "masses.ecsv") for folder in (one, other))
    assert list(masses["cube"]) == list(again["cube"])
    np.testing.assert_array_equal(masses["mass"].mask, again["mass"].mask)
    for name in ("mass", "gas_mass"):
        np.testing.assert_allclose(masses[name].filled(0), again[name].filled(0), rtol=1e-6)
    for name in ("neighbor_weights", "novelty_pvalue"):
        np.testing.assert_allclose(masses[name], again[name], rtol=1e-6)


@pytest.mark.slow
def test_killed_at_twenty_moments_it_ends_as_if_undisturbed(run, ten, killed, begun, tmp_path):
    assert not killed("undisturbed", ten, None)  # starts the server, too
    start = time.monotonic()
    assert not killed("timed", ten, None)
    whole = time.monotonic() - start
    rng = np.random.default_rng(11)
    for i, after in enumerate(rng.uniform(0, whole, N_KILLS)):
        out = f"killed-{i}"
        was_killed = killed(out, ten, after)
        done = len(list((tmp_path / out).glob("*/done.json")))
        table = run(out, ten)
        assert list(table["status"]) == ["ok"] * N_CUBES
        _same(tmp_path / "undisturbed", tmp_path / out, ten)
        twice = {stage: n for stage, n in begun(out).items() if n != 1}
        assert len(begun(out)) == N_CUBES * len(STAGES)
        # one thread has one stage in flight
        assert sum(n - 1 for n in twice.values()) <= was_killed
        assert not list((tmp_path / out).rglob(".*"))
        print(  # noqa: T201
            f"killed after {after:.2f} of {whole:.2f} s, {done} cubes done; done again: {twice}"
        )


@pytest.mark.slow
def test_killed_again_and_again_with_two_processes(run, ten, killed, begun, tmp_path):
    run("undisturbed", ten)
    rng = np.random.default_rng(12)
    kills = 0
    for after in rng.uniform(5, 20, 8):
        if not killed("out", ten, after, parallel=2):
            break
        kills += 1
    run("out", ten)
    _same(tmp_path / "undisturbed", tmp_path / "out", ten)
    assert sum(n - 1 for n in begun().values()) <= 2 * kills  # one in flight in each process
