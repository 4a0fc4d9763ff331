"""Several processes train as one: the same flames, the same balance, the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("lightly")
pytest.importorskip("lightning")

from stellarssl.pretrain.losses import DINOv2Loss

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

BALANCE = """
import sys, torch, torch.distributed as dist
from stellarssl.pretrain.losses import DINOv2Loss
folder, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
logits = torch.load(f"{folder}/logits.pt", weights_only=True)
part = (logits[:5], logits[5:])[rank]  # unequal shares, as of masked patches
torch.save(DINOv2Loss._balance(part, 0.05), f"{folder}/balanced{rank}.pt")
dist.destroy_process_group()
"""

TRAIN = """
import sys, torch
from stellarssl.pretrain import Hardware, train
from stellarssl.pretrain.distillation import SelfDistillation
folder, devices = sys.argv[1], int(sys.argv[2])
step, shown = SelfDistillation.training_step, []

def training_step(self, flames, number):
    shown.append(flames.mean((1, 2, 3)))
    return step(self, flames, number)

def on_train_end(self):
    record = {"shown": torch.stack(shown), "state": self.state_dict()}
    torch.save(record, f"{folder}/rank{self.global_rank}-of-{devices}.pt")

SelfDistillation.training_step = training_step
SelfDistillation.on_train_end = on_train_end
train(f"{folder}/tiny.toml", f"{folder}/run{devices}", hardware=Hardware("cpu", devices),
      max_steps=2, tensorboard=False)
"""


def start(script, folder, *words):
    path = folder / "script.py"
    path.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["PYTHONWARNINGS"] = "ignore"
    command = [sys.executable, str(path), str(folder), *map(str, words)]
    return subprocess.Popen(command, env=environment, cwd=folder)


def test_processes_balance_as_one(tmp_path):
    """The shares of a batch do not depend on how it is divided among processes."""
    logits = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    logits[:5] += 3.0  # the maximum of one process is not that of the other
    torch.save(logits, tmp_path / "logits.pt")
    processes = [start(BALANCE, tmp_path, rank) for rank in (0, 1)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    parts = [torch.load(tmp_path / f"balanced{rank}.pt", weights_only=True) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat(parts), DINOv2Loss._balance(logits, 0.05))


@pytest.mark.parametrize("ibot", [1.0, 0.0])
def test_two_processes_keep_the_same_weights(tmp_path, write_preset, ibot):
    write_preset(data__kind="fbm", optimizer__warmup=0.0, loss__ibot=ibot)
    assert start(TRAIN, tmp_path, 2).wait(timeout=600) == 0
    assert start(TRAIN, tmp_path, 1).wait(timeout=600) == 0
    first, second, alone = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True)
        for name in ("rank0-of-2", "rank1-of-2", "rank0-of-1")
    )
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name
    together = torch.stack((first["shown"], second["shown"]), 1).flatten(0, 1)
    np.testing.assert_array_equal(together[:2], alone["shown"])  # batches go round in turn
    assert len(torch.unique(together)) == 24
    last = torch.load(tmp_path / "run2" / "last.ckpt", weights_only=True)
    assert (last["global_step"], last["micro_step"]) == (2, 2)
