"""Flames on disk: resumed, extended, checked."""

import errno
import json
import multiprocessing
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest

from stellarssl.exceptions import InputError, StellarSSLWarning
from stellarssl.pretrain.fractals import FlameDataset, ShardError, render_shards, shards

OPTIONS = {"kind": "fbm", "size": 16}


@pytest.fixture
def folder(tmp_path):
    return render_shards(tmp_path / "flames", 6, shard_size=2, **OPTIONS)


def test_shards_hold_what_is_rendered_on_the_fly(tmp_path):
    options = {"size": 32, "n_points": 10_000, "seed": 3}
    path = render_shards(tmp_path / "flames", 3, shard_size=2, **options)
    stored, fresh = FlameDataset(3, path=path, verify=True, **options), FlameDataset(3, **options)
    assert len(stored) == 3
    for k in (0, 1, 2, -1):
        assert stored[k].dtype == np.float32
        np.testing.assert_allclose(stored[k], fresh[k], atol=2e-3)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["options"]["n"] == 3
    assert len(manifest["shards"]) == 2
    with pytest.raises(IndexError, match="flame 3 of 3"):
        stored[3]


def test_going_on_neither_redoes_nor_loses_a_shard(folder, monkeypatch):
    names = sorted(file.name for file in folder.glob("*.npy"))
    before = {name: (folder / name).read_bytes() for name in names}
    (folder / names[1]).unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["shards"][names[2]]  # as if killed between the file and the manifest
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rendered, render = [], shards._render_shard

    def count(path, number, *rest):
        rendered.append(number)
        return render(path, number, *rest)

    monkeypatch.setattr(shards, "_render_shard", count)
    render_shards(folder, 6, shard_size=2, **OPTIONS)
    assert rendered == [1]
    assert {name: (folder / name).read_bytes() for name in names} == before
    assert len(FlameDataset(6, path=folder, verify=True, **OPTIONS)) == 6


def test_full_disk(tmp_path, monkeypatch):
    save, calls = np.save, []

    def full(path, rows):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, rows)

    monkeypatch.setattr(shards.np, "save", full)
    with pytest.raises(ShardError, match=r"No space left on device\); finished shards are kept"):
        render_shards(tmp_path, 6, shard_size=2, **OPTIONS)
    assert sorted(file.name for file in tmp_path.glob("*")) == ["flames-00000.npy", "manifest.json"]
    with pytest.raises(ShardError, match=r"flames-00001.npy is not rendered yet"):
        FlameDataset(6, path=tmp_path, **OPTIONS)
    render_shards(tmp_path, 6, shard_size=2, **OPTIONS)
    assert len(calls) == 4
    assert len(FlameDataset(6, path=tmp_path, verify=True, **OPTIONS)) == 6


def test_damaged_shard(folder):
    file = folder / "flames-00001.npy"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(ShardError, match=r"flames-00001.npy is damaged \(sha256\)"):
        FlameDataset(6, path=folder, verify=True, **OPTIONS)
    file.write_bytes(content[:300])
    with pytest.raises(ShardError, match=r"flames-00001.npy is missing or damaged"):
        FlameDataset(6, path=folder, **OPTIONS)
    with pytest.warns(StellarSSLWarning, match="was damaged"):
        render_shards(folder, 6, shard_size=2, **OPTIONS)
    assert len(FlameDataset(6, path=folder, verify=True, **OPTIONS)) == 6


def test_other_options_are_refused(folder):
    with pytest.raises(InputError, match="path: must not hold flames of other options"):
        render_shards(folder, 6, shard_size=2, kind="fbm", size=24)
    with pytest.raises(InputError, match=r"seed: must be that of the flames in .*, 0; got 1"):
        FlameDataset(6, path=folder, seed=1, **OPTIONS)
    with pytest.raises(InputError, match="n: must be at most the 6 flames"):
        FlameDataset(7, path=folder, **OPTIONS)
    with pytest.raises(InputError, match="n: must be a whole number above zero"):
        render_shards(folder, 0)


def test_full_shards_can_be_extended(folder):
    first = FlameDataset(6, path=folder, **OPTIONS)[5]
    render_shards(folder, 9, shard_size=2, **OPTIONS)
    assert np.array_equal(FlameDataset(9, path=folder, **OPTIONS)[5], first)
    with pytest.raises(InputError, match="other options"):
        render_shards(folder, 11, shard_size=2, **OPTIONS)  # its last shard is half full


def test_no_manifest(tmp_path):
    with pytest.raises(ShardError, match=r"manifest\.json is not there: render flames first"):
        FlameDataset(1, path=tmp_path, **OPTIONS)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(ShardError, match="is not a manifest of flames"):
        FlameDataset(1, path=tmp_path, **OPTIONS)


def test_a_dataset_goes_to_other_processes(folder):
    dataset = pickle.loads(pickle.dumps(FlameDataset(6, path=folder, **OPTIONS)))  # noqa: S301
    assert len(pickle.dumps(dataset)) < 1000
    assert dataset[2].shape == (3, 16, 16)


@pytest.mark.slow
def test_workers_change_nothing(folder, tmp_path):
    other = render_shards(tmp_path / "two", 6, shard_size=2, n_workers=2, **OPTIONS)
    for file in folder.glob("*.npy"):
        assert (other / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_a_killed_worker_is_told_and_shards_are_kept(tmp_path):
    """Of two processes one is killed once there is a shard."""

    def kill():
        while not any(tmp_path.glob("*.npy")):
            time.sleep(0.01)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    options = {"shard_size": 200, "kind": "fbm", "size": 16}
    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(ShardError, match="a worker was killed; finished shards are kept, call"):
        render_shards(tmp_path, 4000, n_workers=2, **options)
    thread.join()
    done = {file: file.stat() for file in tmp_path.glob("*.npy")}
    assert 0 < len(done) < 20
    render_shards(tmp_path, 4000, **options)
    assert {file: file.stat() for file in done} == done
