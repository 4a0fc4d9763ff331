"""Where a network computes, and in what."""

import time
from functools import lru_cache
from pathlib import Path

import torch

from stellarssl.exceptions import InputError

__all__ = ["DTYPES", "fastest_dtype", "find_device", "has_bfloat16_unit"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What an encoder may compute in."""


def find_device(device: str) -> torch.device:
    """Return the device of a name.

    Parameters
    ----------
    device : str
        ``"auto"`` is a GPU where there is one, else the processor; or a torch device.

    Returns
    -------
    found : `~torch.device`
        The device.

    Raises
    ------
    InputError
        If there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise InputError("device", "must be auto or a torch device", device) from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device", "must be there, and no GPU is", device)
    return found


@lru_cache(maxsize=1)
def has_bfloat16_unit() -> bool:
    """Tell whether the processor multiplies bfloat16 matrices in hardware."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(
        unit in flags.read_text() for unit in ("avx512_bf16", "amx_bf16", " bf16")
    )


def fastest_dtype(model: torch.nn.Module, size: int, device: torch.device) -> str:
    """Choose what a network is trained in, by a trial where the device has a bfloat16 unit.

    Parameters
    ----------
    model : `~torch.nn.Module`
        A transformer on the device.
    size : int
        Edge of its images [pixels].
    device : `~torch.device`
        Where it is.

    Returns
    -------
    dtype : str
        ``"bfloat16"`` where that takes less than 0.8 of the time, else ``"float32"``.
    """
    if device.type == "cpu" and not has_bfloat16_unit():
        return "float32"
    images = torch.zeros(16, 3, size, size, device=device)
    seconds = {}
    for name, kind in DTYPES.items():
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype=kind, enabled=kind is torch.bfloat16),
        ):
            trials = []
            for _ in range(3):
                start = time.perf_counter()
                model.forward_features(images).sum().item()
                trials.append(time.perf_counter() - start)
        seconds[name] = min(trials)
    return "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"
