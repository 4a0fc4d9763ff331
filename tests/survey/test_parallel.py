"""The same numbers wherever they are made."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from astropy.table import QTable
from distributed import Client, LocalCluster

import stellarssl

pytestmark = pytest.mark.slow  # workers take their time to start


@pytest.fixture
def cluster():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_one_thread_two_processes_and_a_cluster(run, cubes, tmp_path, cluster):
    everywhere = {"thread": None, "processes": 2, "cluster": cluster.scheduler.address}
    for name, parallel in everywhere.items():
        assert list(run(name, parallel=parallel)["status"]) == ["ok"] * 3
    one = QTable.read(tmp_path / "thread" / "masses.ecsv")
    for name in ("processes", "cluster"):
        for cube in ("near", "far", "group"):
            maps, again = (
                stellarssl.MomentMaps.read(tmp_path / each / cube / "moments.fits")
                for each in ("thread", name)
            )
            for image in ("moment0", "v_los", "sigma_v", "noise", "moment0_limit"):
                np.testing.assert_array_equal(getattr(maps, image), getattr(again, image))
            for error in maps.errors:
                np.testing.assert_array_equal(maps.errors[error], again.errors[error])
        masses = QTable.read(tmp_path / name / "masses.ecsv")
        assert list(masses["cube"]) == list(one["cube"])
        for column in ("neighbor_weights", "novelty_pvalue"):
            np.testing.assert_allclose(masses[column], one[column], rtol=1e-6)
        np.testing.assert_array_equal(masses["mass"].mask, one["mass"].mask)
        np.testing.assert_allclose(masses["mass"].filled(0), one["mass"].filled(0), rtol=1e-6)
        np.testing.assert_array_equal(masses["neighbors"], one["neighbors"])
        np.testing.assert_array_equal(masses["flags"], one["flags"])


def test_a_worker_that_is_lost_is_made_up_for(run, cubes, tmp_path, cluster):
    pids = list(cluster.run(os.getpid).values())

    def lose_one():
        journal = tmp_path / "out" / "journal.jsonl"
        while not journal.exists():
            time.sleep(0.05)
        os.kill(pids[0], signal.SIGKILL)

    killer = threading.Thread(target=lose_one)
    killer.start()
    table = run(parallel=cluster)
    killer.join()
    assert list(table["status"]) == ["ok"] * 3, list(table["reason"])
