"""Training an encoder on synthetic images: flame fractals, and clouds with a star inside.

Images (`render_flame`, `FlameDataset`, `CloudDataset`) need nothing beyond the package; `train`,
`plan` and `export_encoder` need the ``pretrain`` extra.
"""

from stellarssl.pretrain.clouds import CloudDataset, render_clouds
from stellarssl.pretrain.fractals import FlameDataset, FlameGenome, render_flame, render_shards
from stellarssl.pretrain.hardware import Hardware
from stellarssl.pretrain.preset import PRESETS, Preset, read_preset
from stellarssl.pretrain.runs import export_encoder, plan, train

__all__ = [
    "PRESETS",
    "CloudDataset",
    "FlameDataset",
    "FlameGenome",
    "Hardware",
    "Preset",
    "export_encoder",
    "plan",
    "read_preset",
    "render_clouds",
    "render_flame",
    "render_shards",
    "train",
]
