"""Flame fractals, the images that cost nothing: renderer, genomes, datasets."""

from stellarssl.pretrain.fractals._dataset import FlameDataset
from stellarssl.pretrain.fractals._genome import FlameGenome, FlameMap
from stellarssl.pretrain.fractals._images import MomentImage
from stellarssl.pretrain.fractals._render import render_flame, render_indexed
from stellarssl.pretrain.fractals._shards import ShardError, render_shards

__all__ = [
    "FlameDataset",
    "FlameGenome",
    "FlameMap",
    "MomentImage",
    "ShardError",
    "render_flame",
    "render_indexed",
    "render_shards",
]
