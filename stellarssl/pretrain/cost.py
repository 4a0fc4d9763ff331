"""What a training run would take, from one small step of each stage."""

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from stellarssl.pretrain.distillation import SelfDistillation
from stellarssl.pretrain.preset import Preset, Stage
from stellarssl.pretrain.views import make_views

__all__ = ["describe", "fastest_dtype"]

_TRIED = 2
_PATIENCE = 30  # s
_BYTES_PER_PARAMETER = 4 * 4  # weight, gradient and two moments of AdamW, float32


@dataclass(frozen=True)
class _Cost:
    """Of one flame in one stage; activations in bytes."""

    operations: float
    seconds: float
    activations: float


def _step(module: SelfDistillation, stage: Stage, n: int, *, low: bool) -> None:
    """Run a step with n flames forwards and backwards."""
    preset = module.preset
    flames = torch.rand(n, 3, preset.data.size, preset.data.size)
    plan = [
        (2, stage.global_size, stage.global_scale),
        (stage.n_local, stage.local_size, stage.local_scale),
    ]
    views = make_views(flames, preset.views, plan, module.scaling)
    mask = module.draw_mask(n, stage)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        terms = module.terms(*views, mask, n, temperature=0.05)
    sum(terms.values()).backward()
    module.zero_grad()


def _time(module: SelfDistillation, stage: Stage, n: int, *, low: bool) -> float:
    start = time.perf_counter()
    _step(module, stage, n, low=low)
    return time.perf_counter() - start


def _try(module: SelfDistillation, stage: Stage, *, low: bool) -> _Cost:
    """Count the work of a small step, then time steps up to a batch, as long as they are short."""
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    counter = FlopCounterMode(display=False)
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _step(module, stage, _TRIED, low=low)
    n, batch = _TRIED, module.preset.optimizer.batch_size
    seconds = _time(module, stage, n, low=low)
    while n < batch and 8 * seconds < _PATIENCE:
        n = min(8 * n, batch)
        seconds = _time(module, stage, n, low=low)
    weights = {parameter.data_ptr() for parameter in module.parameters()}
    activations = sum(size for pointer, size in kept.items() if pointer not in weights)
    return _Cost(counter.get_total_flops() / _TRIED, seconds / n, activations / _TRIED)


def describe(preset: Preset) -> str:
    """Tell what a run would take; see `~stellarssl.pretrain.plan`.

    Parameters
    ----------
    preset : `~stellarssl.pretrain.Preset`
        Settings of the run.

    Returns
    -------
    text : str
        Images, steps, operations, memory and time.
    """
    module = SelfDistillation(preset)
    settings = preset.optimizer
    vit = module.student.backbone.vit
    dtype = fastest_dtype(vit, preset.network.image_size, torch.device("cpu"))
    student = sum(parameter.numel() for parameter in module.student.parameters())
    begun, operations, seconds, activations = 0.0, 0.0, 0.0, 0.0
    for stage in preset.stages:
        cost = _try(module, stage, low=dtype == "bfloat16")
        flames = (stage.until - begun) * settings.steps * preset.effective_batch
        operations += cost.operations * flames
        seconds += cost.seconds * flames
        activations = max(activations, cost.activations * settings.batch_size)
        begun = stage.until
    images = settings.steps * preset.effective_batch
    memory = student * (_BYTES_PER_PARAMETER + 4) + activations
    return "\n".join(
        (
            f"preset      {preset.name}: {preset.network.architecture}, {student:,} parameters",
            f"flames      {images:,} shown, {min(images, preset.data.n_flames):,} distinct",
            f"steps       {settings.steps:,} of {preset.effective_batch:,} flames",
            f"operations  {operations:.2g} floating-point operations",
            f"memory      about {memory / 1e9:.1f} GB",
            f"time here   about {_duration(seconds)} on the processor in {dtype}",
        )
    )


def _duration(seconds: float) -> str:
    for unit, size in (("years", 3.156e7), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def fastest_dtype(model: torch.nn.Module, size: int, device: torch.device) -> str:
    """Choose the number format of a training run, by a trial where there is a bfloat16 unit.

    Parameters
    ----------
    model : `~torch.nn.Module`
        A transformer on the device.
    size : int
        Edge of its images [pixels].
    device : `~torch.device`
        The device of the run.

    Returns
    -------
    dtype : str
        ``"bfloat16"`` if it takes less than 0.8 of the time, otherwise ``"float32"``.
    """
    if device.type == "cpu" and not _has_bfloat16_unit():
        return "float32"
    images = torch.zeros(16, 3, size, size, device=device)
    seconds = {}
    for name in ("float32", "bfloat16"):
        low = name == "bfloat16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=low):
            trials = []
            for _ in range(3):
                start = time.perf_counter()
                model.forward_features(images).sum().item()
                trials.append(time.perf_counter() - start)
        seconds[name] = min(trials)
    return "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"


@lru_cache(maxsize=1)
def _has_bfloat16_unit() -> bool:
    """Return whether the processor multiplies bfloat16 matrices in hardware."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(
        unit in flags.read_text() for unit in ("avx512_bf16", "amx_bf16", " bf16")
    )
