"""Training an encoder on flames, which cost nothing and look like nothing in the sky.

Flames (`render_flame`, `FlameDataset`) need nothing beyond the package; `train`, `plan` and
`export_encoder` need the ``pretrain`` extra.
"""

from stellarssl.pretrain.fractals import FlameDataset, FlameGenome, render_flame, render_shards
from stellarssl.pretrain.hardware import Hardware
from stellarssl.pretrain.preset import PRESETS, Preset, read_preset
from stellarssl.pretrain.runs import export_encoder, plan, train

__all__ = [
    "PRESETS",
    "FlameDataset",
    "FlameGenome",
    "Hardware",
    "Preset",
    "export_encoder",
    "plan",
    "read_preset",
    "render_flame",
    "render_shards",
    "train",
]
