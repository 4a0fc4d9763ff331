"""Checkpoints of a run: whole or not there, and refused where they do not fit."""

import io
import pickle
from dataclasses import asdict
from pathlib import Path

import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from stellarssl._utils.output import atomic_path
from stellarssl.exceptions import InputError, OutputError, StellarSSLError
from stellarssl.pretrain.preset import Preset

__all__ = ["RunError", "WholeCheckpoints", "batches_seen", "read_checkpoint"]


class RunError(StellarSSLError, OSError):
    """A run cannot go on: a checkpoint is damaged or cannot be written, a worker was killed."""


class WholeCheckpoints(TorchCheckpointIO):
    """A checkpoint takes the place of the last one only when all of it is on the disk.

    Lightning writes to the system's temporary folder and moves the file, which is a copy that can
    stop half-way where that folder is on another disk.
    """

    def save_checkpoint(
        self,
        checkpoint: dict,
        path: Path | str,
        storage_options: object = None,  # noqa: ARG002  (lightning's)
    ) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        checkpoint : dict
            Of lightning.
        path : path-like
            Where.
        storage_options : object, optional
            Not used.

        Raises
        ------
        RunError
            If the disk is full or the file cannot be written; the one that is there stays.
        """
        content = io.BytesIO()  # torch's own writer does not tell a full disk from another failure
        torch.save(checkpoint, content)
        try:
            with atomic_path(path, overwrite=True) as temporary:
                temporary.write_bytes(content.getbuffer())
        except OutputError as error:
            raise RunError(f"{error}; the one before is kept") from error


def read_checkpoint(path: Path) -> dict:
    """Read a checkpoint of `train`, mapped into memory.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    checkpoint : dict
        With ``preset``, ``micro_step``, ``global_step`` and ``state_dict`` among others.

    Raises
    ------
    RunError
        If it is damaged or another program's.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {"preset": checkpoint["preset"], "micro_step": checkpoint["micro_step"]} | checkpoint
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise RunError(f"{path} is damaged, or no checkpoint of stellarssl") from error


def batches_seen(path: Path, preset: Preset) -> int:
    """Return how many batches a checkpoint has seen, once it is known to fit.

    Parameters
    ----------
    path : path-like
        The file.
    preset : `Preset`
        What is to go on from it.

    Returns
    -------
    n : int
        Batches of each process.

    Raises
    ------
    InputError
        If it is of another network or has other heads.
    RunError
        If it is damaged.
    """
    checkpoint = read_checkpoint(path)
    asked = asdict(preset)
    for section in ("network", "head"):
        found = checkpoint["preset"][section]
        if found != asked[section]:
            rule = f"must have the [{section}] of the preset, {asked[section]}"
            raise InputError(f"checkpoint {path}", rule, found)
    return checkpoint["micro_step"]
