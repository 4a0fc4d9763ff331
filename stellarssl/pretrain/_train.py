"""Training runs: from a preset to checkpoints and a log."""

import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from stellarssl._utils.exceptions import InputError
from stellarssl.encoder import fastest_dtype
from stellarssl.pretrain._export import start_from
from stellarssl.pretrain._module import SelfDistillation, network_spec
from stellarssl.pretrain._presets import Preset
from stellarssl.pretrain._probes import CollapseError, look
from stellarssl.pretrain._views import make_views
from stellarssl.pretrain.fractals import FlameDataset

__all__ = ["Batches", "held_out_views", "run"]

_LOWEST_STD = 0.02  # a large untrained network starts near 0.05
_HELD_OUT_SEED = 1 << 20


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


def _read_checkpoint(path: Path, preset: Preset) -> int:
    """Return how many batches a checkpoint has seen, once it is known to fit."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    asked = asdict(preset)
    for section in ("network", "head"):
        found = checkpoint["preset"][section]
        if found != asked[section]:
            rule = f"must have the [{section}] of the preset, {asked[section]}"
            raise InputError(f"checkpoint {path}", rule, found)
    return checkpoint["micro_step"]


def _precision(module: SelfDistillation, preset: Preset) -> str:
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    vit = module.student.backbone.vit.to(accelerator)
    dtype = fastest_dtype(vit, preset.network.image_size, torch.device(accelerator))
    return {"bfloat16": "bf16-mixed", "float32": "32-true"}[dtype]


def run(
    preset: Preset,
    output: Path,
    *,
    data: Path | None,
    start: Path | None,
    max_steps: int | None,
    max_hours: float | None,
    save_every: int,
    n_workers: int,
    devices: int,
    n_nodes: int,
    precision: str | None,
    progress: bool,
) -> Path:
    """Train; see `~stellarssl.pretrain.train`."""
    flames = FlameDataset(
        preset.data.n_flames,
        kind=preset.data.kind,
        size=preset.data.size,
        n_points=preset.data.n_points,
        seed=preset.data.seed,
        path=data,
    )
    last = output / "last.ckpt"
    first = _read_checkpoint(last, preset) if last.is_file() else 0
    module = SelfDistillation(preset)
    if start is not None and not first:
        start_from(module, start)
    callbacks = [
        _Watch(held_out_views(preset), preset.watch.every),
        ModelCheckpoint(
            output, filename="step", every_n_train_steps=save_every, save_last=True, save_top_k=0
        ),
    ]
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=devices,
        num_nodes=n_nodes,
        precision=precision or _precision(module, preset),
        max_epochs=-1,
        max_steps=preset.optimizer.steps if max_steps is None else max_steps,
        max_time=None if max_hours is None else {"seconds": round(3600 * max_hours)},
        accumulate_grad_batches=preset.optimizer.accumulate,
        gradient_clip_val=preset.optimizer.clip,
        callbacks=[*callbacks, *([TQDMProgressBar()] if progress else [])],
        logger=CSVLogger(output, name="log", flush_logs_every_n_steps=10),
        log_every_n_steps=1,
        enable_progress_bar=progress,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    with warnings.catch_warnings():
        for category in (UserWarning, FutureWarning):  # lightning's advice to its own callers
            warnings.filterwarnings("ignore", category=category, module="lightning")
        data_module = _Flames(flames, preset, first, n_workers)
        trainer.fit(
            module, datamodule=data_module, ckpt_path=last if first else None, weights_only=True
        )
        trainer.save_checkpoint(last, weights_only=False)
    return last
