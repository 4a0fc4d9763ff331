"""What a user calls to train and to export."""

import os
from pathlib import Path

from stellarssl._utils.optional import require
from stellarssl.pretrain.hardware import Hardware
from stellarssl.pretrain.preset import read_preset

__all__ = ["export_encoder", "plan", "train"]


def train(
    preset: str | os.PathLike,
    output: str | os.PathLike,
    *,
    data: str | os.PathLike | None = None,
    start: str | os.PathLike | None = None,
    max_steps: int | None = None,
    max_hours: float | None = None,
    hardware: Hardware | None = None,
    tensorboard: bool | None = None,
    progress: bool = False,
) -> Path:
    """Train an encoder on flames by DINOv2 self-distillation.

    A run that was interrupted continues when it is called again with the same ``output``, and gives
    the same weights as an uninterrupted one. Needs the ``pretrain`` extra.

    Parameters
    ----------
    preset : str or path-like
        One of ``PRESETS``, or a TOML file with the same sections.
    output : path-like
        Folder of the checkpoints and the log.
    data : path-like, optional
        Folder of rendered flames; without it they are rendered when needed.
    start : path-like, optional
        Weights that `export_encoder` wrote, with the heads beside them, instead of random ones.
    max_steps : int, optional
        Stop after this many optimizer steps in total; the schedules stay those of the preset.
    max_hours : float, optional
        Stop after this time [hours].
    hardware : `Hardware`, optional
        Device, processes and precision; by default one process on a GPU if there is one.
    tensorboard : bool, optional
        Whether TensorBoard's log is written beside the CSV; by default where it is installed.
    progress : bool, optional
        Whether a bar is shown.

    Returns
    -------
    checkpoint : `~pathlib.Path`
        The last one.

    Raises
    ------
    InputError
        If the preset is wrong, ``output`` or ``start`` are of another network, or the GPUs are not
        there.
    ShardError
        If a file in ``data`` is missing or its checksum is wrong.
    RunError
        If the checkpoint in ``output`` is damaged, the disk is full, or a worker is killed. What
        was written stays.
    MissingDependencyError
        If lightning or lightly are not installed, or tensorboard is not and was asked for.
    CollapseError
        If the network answers the same whatever it is shown.
    """
    run = require("stellarssl.pretrain.training", "pretrain", "lightning", "lightly").run
    return run(
        read_preset(preset),
        Path(output),
        data=None if data is None else Path(data),
        start=None if start is None else Path(start),
        max_steps=max_steps,
        max_hours=max_hours,
        hardware=hardware or Hardware(),
        tensorboard=tensorboard,
        progress=progress,
    )


def plan(preset: str | os.PathLike) -> str:
    """Tell what a run would take, without starting it.

    Steps of every stage are tried on the processor, with two flames and, where that takes less than
    half a minute, with a batch, in the precision that ``train`` would choose.

    Parameters
    ----------
    preset : str or path-like
        As for `train`.

    Returns
    -------
    text : str
        Images, steps, operations, memory and the time on this machine.
    """
    module = require("stellarssl.pretrain.cost", "pretrain", "lightning", "lightly")
    return module.describe(read_preset(preset))


def export_encoder(
    run: str | os.PathLike,
    output: str | os.PathLike,
    *,
    name: str,
    notes: str = "",
    overwrite: bool = False,
) -> Path:
    """Write the teacher of a run as an encoder, with its model card.

    Parameters
    ----------
    run : path-like
        The folder given to `train`.
    output : path-like
        The ``.safetensors`` file. Beside it come the model card (``.md``), the log (``.csv``) and
        the projection heads (``-heads.safetensors``) from which a run can be continued.
    name : str
        What the weights shall be called.
    notes : str, optional
        Added to the model card: how they do, where they fall short.
    overwrite : bool, optional
        Whether files that are there may be replaced.

    Returns
    -------
    path : `~pathlib.Path`
        Path of the ``.safetensors`` file; `~stellarssl.encoder.Encoder.from_pretrained` reads it.

    Raises
    ------
    InputError
        If there is no checkpoint.
    RunError
        If it is damaged.
    OutputExistsError
        If a file is there already.
    """
    module = require("stellarssl.pretrain.export", "pretrain", "lightning", "lightly")
    return module.export(Path(run), Path(output), name=name, notes=notes, overwrite=overwrite)
