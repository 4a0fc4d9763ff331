"""Flame fractals, the images that cost nothing: renderer, genomes, datasets."""

from stellarssl.pretrain.fractals.dataset import FlameDataset
from stellarssl.pretrain.fractals.flam3 import from_flam3, read_flam3, to_flam3, write_flam3
from stellarssl.pretrain.fractals.genome import Camera, FlameGenome
from stellarssl.pretrain.fractals.images import FlameImage, Frame, accumulate, camera_frame
from stellarssl.pretrain.fractals.maps import FlameMap
from stellarssl.pretrain.fractals.render import KINDS, render_flame
from stellarssl.pretrain.fractals.shards import ShardError, render_shards
from stellarssl.pretrain.fractals.variations import VARIATIONS

__all__ = [
    "KINDS",
    "VARIATIONS",
    "Camera",
    "FlameDataset",
    "FlameGenome",
    "FlameImage",
    "FlameMap",
    "Frame",
    "ShardError",
    "accumulate",
    "camera_frame",
    "from_flam3",
    "read_flam3",
    "render_flame",
    "render_shards",
    "to_flam3",
    "write_flam3",
]
