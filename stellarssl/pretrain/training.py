"""Training runs: from a preset to checkpoints and a log."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from stellarssl.exceptions import InputError, MissingDependencyError
from stellarssl.pretrain.checkpoints import RunError, WholeCheckpoints, batches_seen
from stellarssl.pretrain.cost import fastest_dtype
from stellarssl.pretrain.distillation import SelfDistillation, network_spec
from stellarssl.pretrain.export import start_from
from stellarssl.pretrain.fractals import FlameDataset
from stellarssl.pretrain.hardware import Hardware
from stellarssl.pretrain.preset import Preset
from stellarssl.pretrain.probes import CollapseError, look
from stellarssl.pretrain.views import make_views

__all__ = ["Batches", "held_out_views", "run"]

_LOWEST_STD = 0.02  # a large untrained network starts near 0.05
_HELD_OUT_SEED = 1 << 20
_PRECISIONS = {"bfloat16": "bf16-mixed", "float32": "32-true"}


class Batches(IterableDataset):
    """Batches of flames without end, in an order that depends on the seed only.

    Parameters
    ----------
    flames : `FlameDataset`
        What is drawn from, every flame once in a pass.
    size : int
        Flames in a batch.
    seed : int
        Of the order.
    first : int
        Number of the first batch.
    rank, n_ranks : int, optional
        Which of how many processes this one is; they take turns.
    """

    def __init__(
        self,
        flames: FlameDataset,
        size: int,
        seed: int,
        first: int,
        *,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        self.flames, self.size, self.seed, self.first = flames, size, seed, first
        self.rank, self.n_ranks = rank, n_ranks

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        number = self.first + offset
        while True:
            yield self.batch(number * self.n_ranks + self.rank)
            number += stride

    def batch(self, number: int) -> torch.Tensor:
        """Return one batch.

        Parameters
        ----------
        number : int
            From 0.

        Returns
        -------
        flames : `~torch.Tensor`
            Shape (size, 3, y, x).
        """
        n = len(self.flames)
        passes, positions = np.divmod(number * self.size + np.arange(self.size), n)
        orders = {
            k: np.random.default_rng([self.seed, k]).permutation(n) for k in set(passes.tolist())
        }
        rows = [orders[k][i] for k, i in zip(passes.tolist(), positions, strict=True)]
        return torch.from_numpy(np.stack([self.flames[int(row)] for row in rows]))


class _Flames(lightning.LightningDataModule):
    """Gives every process its batches, once it is known which one it is."""

    def __init__(self, flames: FlameDataset, preset: Preset, first: int, n_workers: int) -> None:
        super().__init__()
        self.flames, self.preset, self.first, self.n_workers = flames, preset, first, n_workers

    def train_dataloader(self) -> DataLoader:
        batches = Batches(
            self.flames,
            self.preset.optimizer.batch_size,
            self.preset.data.seed,
            self.first,
            rank=self.trainer.global_rank,
            n_ranks=self.trainer.world_size,
        )
        return DataLoader(batches, batch_size=None, num_workers=self.n_workers)


class _Watch(Callback):
    """Probes on held-out flames at intervals; a collapse stops the run."""

    def __init__(self, views: torch.Tensor, every: int) -> None:
        self.views, self.every, self.last = views, every, -1

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: SelfDistillation, *_: object
    ) -> None:
        step = trainer.global_step
        due = step % self.every == 0 or step == trainer.max_steps
        if step in (0, self.last) or not due:
            return
        self.last = step
        temperature = module.preset.loss.teacher_temperature[1]
        probes = look(module.teacher, self.views.to(module.device), temperature)
        module.log_dict({f"probe_{name}": value for name, value in asdict(probes).items()})
        if not probes.feature_std >= _LOWEST_STD:
            raise CollapseError(
                f"step {step}: class tokens spread over {probes.feature_std:.3g} of the sphere"
                f" (at least {_LOWEST_STD} is needed); the run has collapsed and was stopped"
            )


def held_out_views(preset: Preset) -> torch.Tensor:
    """Make two large views of each of the flames that a run is probed on.

    Parameters
    ----------
    preset : `Preset`
        The run.

    Returns
    -------
    views : `~torch.Tensor`
        Shape (2 n, 3, y, x): network input of flames that are never trained on.
    """
    data, n, stage = preset.data, preset.watch.n_flames, preset.stages[-1]
    flames = FlameDataset(
        n, kind=data.kind, size=data.size, n_points=data.n_points, seed=data.seed + _HELD_OUT_SEED
    )
    maps = torch.from_numpy(np.stack([flames[i] for i in range(n)]))
    plan = [(2, stage.global_size, stage.global_scale)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(data.seed)
        return make_views(maps, preset.views, plan, network_spec(preset).scaling)[0]


def _find_accelerator(hardware: Hardware) -> str:
    """Return the device to train on; refuse one that is not available."""
    asked, devices = hardware.accelerator, hardware.devices
    if asked not in ("auto", "cpu", "cuda"):
        raise InputError("accelerator", "must be auto, cpu or cuda", asked)
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "cuda" and not n_gpus:
        raise InputError("accelerator", "must be available, and there is no GPU", asked)
    found = "cuda" if n_gpus and asked != "cpu" else "cpu"
    if devices < 1:
        raise InputError("devices", "must be at least 1", devices)
    if found == "cuda" and devices > n_gpus:
        raise InputError("devices", f"must be at most the number of GPUs, {n_gpus}", devices)
    return found


def _find_precision(hardware: Hardware, module: SelfDistillation, accelerator: str) -> str:
    asked = hardware.precision
    if asked is not None:
        if asked not in _PRECISIONS.values():
            rule = f"must be one of {', '.join(_PRECISIONS.values())}"
            raise InputError("precision", rule, asked)
        return asked
    if hardware.n_processes > 1:  # they must agree, and a trial could have another outcome in each
        fast = accelerator == "cuda" and torch.cuda.is_bf16_supported()
        return _PRECISIONS["bfloat16" if fast else "float32"]
    vit = module.student.backbone.vit.to(accelerator)
    size = module.preset.network.image_size
    return _PRECISIONS[fastest_dtype(vit, size, torch.device(accelerator))]


def _find_strategy(preset: Preset, n_processes: int) -> str:
    """Return lightning's name of how processes share the work."""
    if n_processes == 1:
        return "auto"
    # without the patch term its head has no gradient, which the processes must be prepared for
    return "ddp" if preset.loss.ibot else "ddp_find_unused_parameters_true"


def _make_loggers(output: Path, *, tensorboard: bool | None) -> list[Logger]:
    log = CSVLogger(output, name="log", flush_logs_every_n_steps=10)
    there = find_spec("tensorboard") is not None
    if tensorboard and not there:
        raise MissingDependencyError("tensorboard is not installed: pip install tensorboard")
    if tensorboard is False or not there:
        return [log]
    return [log, TensorBoardLogger(output, "log", version=log.version, default_hp_metric=False)]


def _fit(
    trainer: lightning.Trainer, module: SelfDistillation, data: _Flames, last: Path | None
) -> None:
    try:
        trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    except SystemExit as stop:  # what lightning makes of it
        raise KeyboardInterrupt from stop
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        message = "a worker was killed (out of memory?); the last checkpoint is kept"
        raise RunError(f"{message}, call again to go on") from error


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out lightning's advice to its own callers, and its advertisements."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (UserWarning, FutureWarning):
                warnings.filterwarnings("ignore", category=category, module="lightning")
            yield
    finally:
        log.setLevel(level)


@_quiet_lightning()
def run(
    preset: Preset,
    output: Path,
    *,
    data: Path | None,
    start: Path | None,
    max_steps: int | None,
    max_hours: float | None,
    hardware: Hardware,
    tensorboard: bool | None,
    progress: bool,
) -> Path:
    """Train; see `~stellarssl.pretrain.train`.

    Parameters
    ----------
    preset : `~stellarssl.pretrain.Preset`
        Settings of the run.
    output : `~pathlib.Path`
        Folder of the checkpoints and the log.
    data, start, max_steps, max_hours, hardware, tensorboard, progress
        As for `~stellarssl.pretrain.train`.

    Returns
    -------
    checkpoint : `~pathlib.Path`
        The last checkpoint.
    """
    accelerator = _find_accelerator(hardware)
    flames = FlameDataset(
        preset.data.n_flames,
        kind=preset.data.kind,
        size=preset.data.size,
        n_points=preset.data.n_points,
        seed=preset.data.seed,
        path=data,
        verify=True,
    )
    last = output / "last.ckpt"
    first = batches_seen(last, preset) if last.is_file() else 0
    module = SelfDistillation(preset)
    if start is not None and not first:
        start_from(module, start)
    callbacks = [
        _Watch(held_out_views(preset), preset.watch.every),
        ModelCheckpoint(
            output,
            filename="step",
            every_n_train_steps=preset.watch.save_every,
            save_last=True,
            save_top_k=0,
        ),
    ]
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=hardware.devices,
        num_nodes=hardware.n_nodes,
        strategy=_find_strategy(preset, hardware.n_processes),
        precision=_find_precision(hardware, module, accelerator),
        max_epochs=-1,
        max_steps=preset.optimizer.steps if max_steps is None else max_steps,
        max_time=None if max_hours is None else {"seconds": round(3600 * max_hours)},
        accumulate_grad_batches=preset.optimizer.accumulate,
        gradient_clip_val=preset.optimizer.clip,
        callbacks=[*callbacks, *([TQDMProgressBar()] if progress else [])],
        logger=_make_loggers(output, tensorboard=tensorboard),
        plugins=[WholeCheckpoints()],
        log_every_n_steps=1,
        enable_progress_bar=progress,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    _fit(
        trainer, module, _Flames(flames, preset, first, hardware.n_workers), last if first else None
    )
    trainer.save_checkpoint(last, weights_only=False)
    return last
