"""The fastest way to run a network, found by a trial: as it is, or with packed weights."""

import copy
import time
from collections.abc import Callable

import torch
from timm.layers import Attention, DropPath, Mlp
from timm.models.vision_transformer import Block
from torch import nn

from stellarssl.encoder._device import DTYPES, has_bfloat16_unit

__all__ = ["BATCH", "faster_dtype", "fastest_forward", "forwards"]

BATCH = 64
"""Images at once for which weights are packed; speed is much the same from 32 to 128."""

_FEW_TOKENS = 256  # up to about here torch's fused attention in bfloat16 is slower than its steps
_TRIAL = 16
_TRIED: dict[tuple, str] = {}  # one trial a process: networks of a size give the same digits

Forward = Callable[[torch.Tensor], torch.Tensor]


def fastest_forward(
    model: nn.Module, size: int, device: torch.device, dtype: str
) -> tuple[str, Forward]:
    """Choose how a network is run, by a trial.

    Parameters
    ----------
    model : `~torch.nn.Module`
        A transformer of timm, in float32 on the device.
    size : int
        Edge of its images [pixels].
    device : `~torch.device`
        Where it is.
    dtype : {"float32", "bfloat16"}
        What it shall compute in.

    Returns
    -------
    name : str
        ``"eager"`` or ``"packed"``.
    forward : callable
        From images (n, 3, size, size) to tokens.
    """
    ways = forwards(model, size, device, dtype)
    if len(ways) == 1:
        return "eager", ways["eager"]
    kind = (size, model.embed_dim, len(model.blocks), dtype, torch.get_num_threads())
    if kind not in _TRIED:
        images = torch.zeros(_TRIAL, 3, size, size, device=device)
        seconds = {name: _seconds(forward, images) for name, forward in ways.items()}
        # what is usual wins near ties, so that a busy moment does not change the last digits
        _TRIED[kind] = "eager" if seconds["eager"] < 0.8 * seconds["packed"] else "packed"
    return _TRIED[kind], ways[_TRIED[kind]]


def faster_dtype(model: nn.Module, size: int, device: torch.device) -> str:
    """Choose what a frozen network computes in, by a trial.

    Packed bfloat16 leaves a tile its neighbors, library and query being computed alike. Of torch's
    autocast, which rounds more often, that was not shown, and it is never chosen here.

    Parameters
    ----------
    model, size, device
        As for `fastest_forward`.

    Returns
    -------
    dtype : str
        ``"bfloat16"`` where that takes less than 0.8 of the time, else ``"float32"``.
    """
    if device.type != "cpu" or not has_bfloat16_unit():
        return "float32"
    low = forwards(model, size, device, "bfloat16").get("packed")
    if low is None:
        return "float32"
    images = torch.zeros(_TRIAL, 3, size, size)
    full = _seconds(fastest_forward(model, size, device, "float32")[1], images)
    return "bfloat16" if _seconds(low, images) < 0.8 * full else "float32"


def forwards(model: nn.Module, size: int, device: torch.device, dtype: str) -> dict[str, Forward]:
    """Return the ways that there are on this machine.

    Parameters
    ----------
    model, size, device, dtype
        As for `fastest_forward`.

    Returns
    -------
    ways : dict of str to callable
        ``"eager"``, and ``"packed"`` on a processor for which oneDNN can do it: weights laid out
        for the processor once, bias and GELU worked into the products, and with bfloat16 the
        residuals, norms and sums in float32, attention in steps. In float32 all ways agree within
        rounding.
    """
    low = dtype == "bfloat16"

    def eager(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=low):
            return model.forward_features(images)

    ways = {"eager": eager}
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return ways
    try:
        packed = _packed(model, DTYPES[dtype]).forward_features
        with torch.inference_mode():
            packed(torch.zeros(1, 3, size, size))
    except (AttributeError, NotImplementedError, RuntimeError):  # another torch or processor
        return ways
    return ways | {"packed": packed}


def _seconds(forward: Forward, images: torch.Tensor) -> float:
    trials = []
    with torch.inference_mode():
        for _ in range(3):
            start = time.perf_counter()
            forward(images).sum().item()
            trials.append(time.perf_counter() - start)
    return min(trials)


class _PackedLinear(nn.Module):
    """A linear layer by oneDNN, optionally with what follows it.

    Its operators are those that ``torch.compile`` emits for processors. They are not public:
    `forwards` tries them once, and does without where they are missing.
    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, n_rows: int) -> None:
        super().__init__()
        self.dtype = dtype
        self.then = "none"
        weight = layer.weight.detach().to(dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, n_rows)  # noqa: SLF001
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            x.to(self.dtype), self.weight, self.bias, self.then, [], "none"
        )


class _StepwiseBlock(nn.Module):
    """A plain block taken over: attention in steps, and residuals added in place."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        self.qkv, self.proj, self.n_heads = block.attn.qkv, block.attn.proj, block.attn.num_heads
        for parameter in self.qkv.parameters():
            parameter.data[: len(parameter) // 3] *= block.attn.scale  # those of the queries

    def forward(self, x: torch.Tensor, **_masks: None) -> torch.Tensor:
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.n_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).contiguous()
        weights = (query @ key.mT).softmax(dim=-1)
        x = x.add_(self.proj((weights @ value).transpose(1, 2).flatten(2)))
        return x.add_(self.mlp(self.norm2(x)))


def _packed(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Copy a network with its linear layers packed, and GELU done where the product is."""
    model = copy.deepcopy(model)
    n_tokens = model.num_prefix_tokens + model.patch_embed.num_patches
    n_rows = BATCH * n_tokens
    if dtype == torch.bfloat16 and n_tokens <= _FEW_TOKENS:
        for i, block in enumerate(model.blocks):
            if _is_plain_block(block):
                model.blocks[i] = _StepwiseBlock(block)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, _PackedLinear(child, dtype, n_rows))
        if isinstance(module, Mlp) and _is_exact_gelu(module.act):
            module.fc1.then = "gelu"
            module.act = nn.Identity()
    return model


def _is_plain_block(block: nn.Module) -> bool:
    """Tell whether a block of timm has nothing beside norms, attention and perceptron."""
    if type(block) is not Block or type(block.attn) is not Attention:
        return False
    known = {block.norm1, block.norm2, block.mlp, block.attn, block.attn.qkv, block.attn.proj}
    others = {*block.children(), *block.attn.children()} - known
    return all(isinstance(child, nn.Identity | nn.Dropout | DropPath) for child in others)


def _is_exact_gelu(layer: nn.Module) -> bool:
    return isinstance(layer, nn.GELU) and layer.approximate == "none"
