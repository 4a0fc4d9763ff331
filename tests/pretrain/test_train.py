"""Training: what a stopped run gives, what the teacher is, what is refused."""

import csv
import errno
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("lightly")
pytest.importorskip("lightning")

from torch.utils.data import DataLoader, get_worker_info

from stellarssl.encoder import Encoder
from stellarssl.exceptions import InputError, MissingDependencyError, OutputExistsError
from stellarssl.pretrain import (
    Hardware,
    distillation,
    export_encoder,
    plan,
    read_preset,
    render_shards,
    train,
    training,
)
from stellarssl.pretrain.checkpoints import RunError, WholeCheckpoints
from stellarssl.pretrain.fractals import ShardError
from stellarssl.pretrain.probes import (
    CollapseError,
    Probes,
    amplitude_score,
    effective_rank,
    neighbor_score,
)

FULL = Hardware(precision="32-true")


def state_of(checkpoint):
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def test_a_stopped_run_goes_on_exactly(write_preset, noise, tmp_path):
    """Two steps and two more give the weights of four, across a change of stage."""
    preset = write_preset(network__drop_path=0.2)
    whole = state_of(train(preset, tmp_path / "whole", hardware=FULL))
    train(preset, tmp_path / "halves", hardware=FULL, max_steps=2)
    halves = state_of(train(preset, tmp_path / "halves", hardware=FULL))
    assert whole.keys() == halves.keys()
    for name, value in whole.items():
        assert torch.equal(value, halves[name]), name


def test_accumulation_counts_flames(write_preset, noise, tmp_path):
    preset = write_preset(optimizer__accumulate=2)
    checkpoint = torch.load(train(preset, tmp_path, hardware=FULL), weights_only=True)
    assert (checkpoint["global_step"], checkpoint["micro_step"]) == (4, 8)


def test_the_log_and_the_probes(write_preset, noise, tmp_path):
    train(write_preset(), tmp_path, hardware=FULL)
    with (tmp_path / "log" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3]
    for row in rows:
        terms = [float(row[name]) for name in ("dino", "ibot", "koleo")]
        assert float(row["loss"]) == pytest.approx(np.dot(terms, (1.0, 1.0, 0.1)), rel=1e-5)
    assert 0 < float(rows[-1]["probe_entropy"]) <= 1
    assert 1 <= float(rows[-1]["probe_effective_rank"]) <= 64


def test_patches_that_are_left_out(write_preset):
    """Half of nine patches are left out; with none left out, their order tells nothing."""
    student = distillation.SelfDistillation(read_preset(write_preset())).student.eval()
    torch.manual_seed(0)
    images = torch.randn(3, 3, 24, 24)
    with torch.no_grad():
        whole, shuffled = student.tokens(images), student.tokens_of_some(images, 0.0)
        half = student.tokens_of_some(images, 0.5)
    assert (whole.shape[1], half.shape[1]) == (11, 6)
    torch.testing.assert_close(shuffled[:, 0], whole[:, 0])
    assert not torch.allclose(half[:, 0], whole[:, 0], atol=1e-3)


def test_without_the_patch_term(write_preset, noise, tmp_path):
    preset = write_preset(loss__ibot=0.0, loss__dropped_patches=0.5)
    train(preset, tmp_path, hardware=FULL)
    with (tmp_path / "log" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "ibot" not in rows[0]
    for row in rows:
        terms = [float(row[name]) for name in ("dino", "koleo")]
        assert float(row["loss"]) == pytest.approx(np.dot(terms, (1.0, 0.1)), rel=1e-5)


def test_teacher_and_student_start_equal(write_preset):
    module = distillation.SelfDistillation(read_preset(write_preset()))
    student, teacher = module.student.state_dict(), module.teacher.state_dict()
    assert {name.split(".")[0] for name in student} == {"backbone", "class_head", "patch_head"}
    for name, value in student.items():
        assert torch.equal(value, teacher[name]), name
    assert not torch.equal(student["class_head.layers.0.weight"],
                           student["patch_head.layers.0.weight"])  # fmt: skip


def test_the_teacher_is_the_running_mean(write_preset, noise, tmp_path):
    """After one step with momentum m: m times the start, (1 - m) times the student."""
    preset = write_preset(optimizer__momentum=[0.75, 0.75], optimizer__warmup=0.0,
                          optimizer__freeze_last_layer=0.0)  # fmt: skip
    start = distillation.SelfDistillation(read_preset(preset)).state_dict()
    end = state_of(train(preset, tmp_path, hardware=FULL, max_steps=1))
    name = "backbone.vit.blocks.0.mlp.fc1.weight"
    assert not torch.equal(end[f"student.{name}"], start[f"student.{name}"])
    expected = 0.75 * start[f"student.{name}"] + 0.25 * end[f"student.{name}"]
    torch.testing.assert_close(end[f"teacher.{name}"], expected, atol=1e-7, rtol=1e-6)


def test_prototypes_wait(write_preset, noise, tmp_path):
    preset = write_preset(optimizer__freeze_last_layer=0.5, optimizer__warmup=0.0)
    start = distillation.SelfDistillation(read_preset(preset)).state_dict()
    name = "student.class_head.last_layer.weight_v"
    held = state_of(train(preset, tmp_path, hardware=FULL, max_steps=2))[name]
    torch.testing.assert_close(held, start[name], atol=1e-2, rtol=0)
    moved = state_of(train(preset, tmp_path, hardware=FULL))[name]
    assert not torch.equal(moved, held)


def test_lower_layers_learn_slower_and_vectors_do_not_decay(write_preset):
    """Two blocks: patch embedding, block 0, block 1, heads learn at 1/8, 1/4, 1/2, 1."""
    branch = distillation.SelfDistillation(read_preset(write_preset())).student
    n_blocks = len(branch.backbone.vit.blocks)
    groups = list(distillation._parameter_groups(branch, 0.5))
    factor = {id(p): (g["rate_factor"], g["decay_factor"]) for g in groups for p in g["params"]}
    vit = branch.backbone.vit
    assert factor[id(vit.patch_embed.proj.weight)] == (0.5 ** (n_blocks + 1), 1.0)
    assert factor[id(vit.pos_embed)] == (0.5 ** (n_blocks + 1), 0.0)
    assert factor[id(vit.blocks[0].mlp.fc1.weight)] == (0.5**n_blocks, 1.0)
    assert factor[id(vit.blocks[-1].norm1.weight)] == (0.5, 0.0)
    assert factor[id(branch.class_head.layers[0].weight)] == (1.0, 1.0)
    assert not any(id(head.last_layer.weight_g) in factor
                   for head in (branch.class_head, branch.patch_head))  # fmt: skip


def test_hidden_patches_are_in_blocks_of_half_the_views(write_preset):
    preset = read_preset(write_preset())
    module = distillation.SelfDistillation(preset)
    torch.manual_seed(0)
    mask = module.draw_mask(32, preset.stages[1])
    assert mask.shape == (64, 3, 3)
    torch.manual_seed(0)
    assert torch.equal(mask, module.draw_mask(32, preset.stages[1]))
    assert mask.flatten(1).any(1).sum() <= 32


def test_batches_show_every_flame_once_in_a_pass(noise):
    flames = noise(12, size=4)
    batches = training.Batches(flames, 5, 3, 0)
    stream = torch.cat([batches.batch(k) for k in range(12)])
    every = torch.from_numpy(np.stack([flames[i] for i in range(12)]))
    for start in range(0, 60, 12):
        one = stream[start : start + 12, 0, 0, 0].sort().values
        assert torch.equal(one, every[:, 0, 0, 0].sort().values)
    assert not torch.equal(stream[:12], stream[12:24])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # where there is one core
@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_do_not_change_the_order(noise, n_workers):
    def first_three(n, first):
        batches = training.Batches(noise(12, size=4), 5, 3, first)
        stream = iter(DataLoader(batches, batch_size=None, num_workers=n))
        return torch.stack([next(stream) for _ in range(3)])

    assert torch.equal(first_three(0, 2), first_three(n_workers, 2))


def test_processes_share_the_batches_out(noise):
    flames = noise(12, size=4)
    alone = training.Batches(flames, 5, 3, 0)
    pair = [iter(training.Batches(flames, 5, 3, 2, rank=rank, n_ranks=2)) for rank in (0, 1)]
    for number in range(4, 8, 2):
        assert torch.equal(next(pair[0]), alone.batch(number))
        assert torch.equal(next(pair[1]), alone.batch(number + 1))


def test_a_collapse_stops_the_run(write_preset, noise, tmp_path, monkeypatch):
    flat = Probes(1.0, 0.01, 1.0, 0.1, 0.9)
    monkeypatch.setattr(training, "look", lambda *_: flat)
    with pytest.raises(CollapseError, match=r"step 2: class tokens spread over 0.01 of the sphere"):
        train(write_preset(), tmp_path, hardware=FULL)


def test_a_checkpoint_of_another_network(write_preset, noise, tmp_path):
    train(write_preset(), tmp_path / "run", hardware=FULL, max_steps=1)
    other = write_preset(head__prototypes=24)
    with pytest.raises(InputError, match=r"last.ckpt: must have the \[head\] of the preset"):
        train(other, tmp_path / "run", hardware=FULL)


def test_a_checkpoint_of_another_architecture(write_preset, noise, tmp_path):
    last = train(write_preset(), tmp_path / "run", hardware=FULL, max_steps=1)
    before = last.read_bytes()
    other = write_preset(network__n_registers=0)
    with pytest.raises(InputError, match=r"last.ckpt: must have the \[network\] of the preset"):
        train(other, tmp_path / "run", hardware=FULL)
    assert last.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no checkpoint", {"state_dict": {}}])
def test_a_damaged_checkpoint(write_preset, noise, tmp_path, content):
    last = tmp_path / "last.ckpt"
    torch.save(content, last) if isinstance(content, dict) else last.write_bytes(content)
    message = "last.ckpt is damaged, or no checkpoint of stellarssl"
    with pytest.raises(RunError, match=message):
        train(write_preset(), tmp_path, hardware=FULL)
    with pytest.raises(RunError, match=message):
        export_encoder(tmp_path, tmp_path / "weights.safetensors", name="some")


def test_a_full_disk_keeps_the_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"micro_step": 7}, path)
    before = path.read_bytes()

    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match=r"last\.ckpt cannot be written: No space left on device;"):
        WholeCheckpoints().save_checkpoint({"micro_step": 8}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_lightning_writes_whole_checkpoints(write_preset, noise, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match=r"last.ckpt cannot be written"):
        train(write_preset(), tmp_path, hardware=FULL, max_steps=1, tensorboard=False)


def test_a_killed_worker_is_told(write_preset, noise, tmp_path, monkeypatch):
    def killed(self, index):
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, index)

    last = train(write_preset(), tmp_path, hardware=FULL, max_steps=1)
    before, whole = last.read_bytes(), noise.__getitem__
    monkeypatch.setattr(noise, "__getitem__", killed)
    with pytest.raises(RunError, match=r"a worker was killed .* the last checkpoint is kept"):
        train(write_preset(), tmp_path, hardware=replace(FULL, n_workers=1))
    assert last.read_bytes() == before


def test_a_corrupt_shard_is_found_before_training(write_preset, tmp_path):
    preset = write_preset(data__kind="fbm", data__n_flames=6)
    folder = render_shards(tmp_path / "flames", 6, kind="fbm", size=32, shard_size=3)
    shard = folder / "flames-00001.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(ShardError, match=r"flames-00001.npy is damaged \(sha256\)"):
        train(preset, tmp_path / "run", data=folder, hardware=FULL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "n_gpus", "message"),
    [
        ({"accelerator": "cuda"}, 0, "accelerator: must be available, .*; got 'cuda'"),
        (
            {"accelerator": "cuda", "devices": 2},
            0,
            "accelerator: must be available",
        ),
        ({"devices": 2}, 1, "devices: must be at most the number of GPUs, 1; got 2"),
        ({"devices": 0}, 0, "devices: must be at least 1; got 0"),
        ({"accelerator": "tpu"}, 0, "accelerator: must be auto, cpu or cuda; got 'tpu'"),
        ({"precision": "8-bit"}, 0, "precision: must be one of bf16-mixed, 32-true; got '8-bit'"),
    ],
)
def test_what_is_not_there_is_refused(write_preset, noise, tmp_path, monkeypatch, options, n_gpus,
                                      message):  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    with pytest.raises(InputError, match=message):
        train(write_preset(), tmp_path / "run", hardware=Hardware(**options))
    assert not (tmp_path / "run").exists()


def test_tensorboard_beside_the_csv(write_preset, noise, tmp_path, monkeypatch):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(write_preset(), tmp_path / "with", hardware=FULL, tensorboard=True)
    folder = tmp_path / "with" / "log" / "version_0"
    events = reader.EventAccumulator(str(folder)).Reload()
    with (folder / "metrics.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(losses, rel=1e-5)
    train(write_preset(), tmp_path / "without", hardware=FULL, tensorboard=False)
    assert not list(tmp_path.glob("without/**/events*"))

    monkeypatch.setattr(training, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
        train(write_preset(), tmp_path / "asked", hardware=FULL, tensorboard=True)
    train(write_preset(), tmp_path / "left", hardware=FULL)
    assert not list(tmp_path.glob("left/**/events*"))


def test_the_exported_encoder_is_the_teacher(write_preset, noise, tmp_path):
    checkpoint = train(write_preset(), tmp_path / "run", hardware=FULL)
    path = tmp_path / "weights.safetensors"
    written = export_encoder(tmp_path / "run", path, name="some", notes="As good as noise.")
    assert written == path
    encoder = Encoder.from_pretrained(path, device="cpu", dtype="float32")
    assert encoder.name == "some"

    preset = read_preset(write_preset())
    module = distillation.SelfDistillation(preset)
    module.load_state_dict(state_of(checkpoint))
    maps = np.stack([noise(2, size=64)[i] for i in range(2)])
    scaled = module.scaling(torch.from_numpy(maps))
    small = torch.nn.functional.interpolate(scaled, size=32, mode="bilinear", antialias=True)
    with torch.no_grad():
        tokens = module.eval().teacher.tokens(small)[:, 2:].reshape(2, 4, 4, 64)
    np.testing.assert_allclose(encoder.patch_tokens(maps), tokens, atol=0.02)

    card = path.with_suffix(".md").read_text()
    assert encoder.sha256 in card
    assert "24 (24 distinct), 3 views of each" in card
    assert "As good as noise." in card
    with path.with_suffix(".csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4
    assert (tmp_path / "weights-heads.safetensors").is_file()
    with pytest.raises(OutputExistsError, match=r"exists and is not replaced \(overwrite=\)"):
        export_encoder(tmp_path / "run", path, name="some")


def test_a_run_starts_from_exported_weights(write_preset, noise, tmp_path):
    first = train(write_preset(), tmp_path / "run", hardware=FULL, max_steps=1)
    path = tmp_path / "weights.safetensors"
    export_encoder(tmp_path / "run", path, name="some")
    held = write_preset(optimizer__momentum=[1.0, 1.0])
    second = train(held, tmp_path / "more", start=path, hardware=FULL, max_steps=1)
    before, after = state_of(first), state_of(second)
    for name in (name for name in before if name.startswith("teacher.")):
        torch.testing.assert_close(after[name], before[name], atol=1e-3, rtol=1e-3)

    with pytest.raises(InputError, match="start: must have heads of HeadSettings"):
        train(write_preset(head__prototypes=24), tmp_path / "a", start=path, hardware=FULL)
    other = write_preset(network__n_registers=0)
    with pytest.raises(InputError, match="start: must be weights of EncoderSpec"):
        train(other, tmp_path / "b", start=path, hardware=FULL)
    (tmp_path / "weights-heads.safetensors").unlink()
    with pytest.raises(InputError, match="start: must have its heads beside it, weights-heads"):
        train(write_preset(), tmp_path / "c", start=path, hardware=FULL)


def test_nothing_to_export(tmp_path):
    with pytest.raises(InputError, match=r"run: must be the folder of a run, with a last.ckpt"):
        export_encoder(tmp_path, tmp_path / "weights.safetensors", name="some")


def test_the_extra_is_named_when_it_is_missing(write_preset, tmp_path, monkeypatch):
    monkeypatch.setattr("stellarssl._utils.optional.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'stellarssl\[pretrain\]'"):
        train(write_preset(), tmp_path)


def test_a_plan_trains_nothing(write_preset):
    text = plan(write_preset())
    assert "24 shown, 24 distinct" in text
    assert "4 of 6 flames" in text
    assert "time here" in text


def test_effective_rank_by_hand():
    """Two directions with singular values 3 : 1 have entropy 0.5623 and rank 1.7548."""
    u = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) / 2
    assert effective_rank(u * [3, 1]) == pytest.approx(np.exp(-0.75 * np.log(0.75)
                                                              - 0.25 * np.log(0.25)))  # fmt: skip


def test_neighbor_score_by_hand():
    first = np.array([[1.0, 0], [0, 1], [1, 1]])
    second = np.array([[2.0, 0.1], [0, 3], [1, 0]])
    assert neighbor_score(first, second) == pytest.approx(1 / 3)


def test_amplitude_score_knows_what_is_in_the_tokens():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 2, 16, 16))
    means = images.reshape(40, 2, 2, 8, 2, 8).mean((3, 5)).reshape(40, 2, 4).transpose(0, 2, 1)
    tokens = np.concatenate((means[..., :1] * 50, rng.normal(size=(40, 4, 3))), -1)
    for fitted in (None, np.arange(40) % 3 > 0):
        score = amplitude_score(tokens, images, fitted)
        assert score[0] > 0.99
        assert score[1] < 0.1


@pytest.mark.slow
def test_the_published_network_takes_a_step(noise, tmp_path):
    """ViT-L/16 at 336 px with its own heads: one real optimiser step, two flames accumulated."""
    record = (Path(distillation.__file__).parent / "presets" / "paper.toml").read_text()
    small = record.replace("batch_size = 8", "batch_size = 1")
    small = small.replace("accumulate = 128", "accumulate = 2").replace(
        "n_flames = 256", "n_flames = 4"
    )
    small = small.replace("warmup = 0.1", "warmup = 0.0")
    path = tmp_path / "paper.toml"
    path.write_text(small)
    start = distillation.SelfDistillation(read_preset(path)).state_dict()
    end = state_of(train(path, tmp_path / "run", hardware=FULL, max_steps=1))
    name = "backbone.vit.blocks.23.mlp.fc1.weight"
    assert not torch.equal(start[f"student.{name}"], end[f"student.{name}"])
    assert all(value.isfinite().all() for value in end.values())
