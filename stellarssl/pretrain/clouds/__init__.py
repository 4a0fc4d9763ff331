"""Turbulent clouds with a star of known mass inside, drawn from a recipe."""

from stellarssl.pretrain.clouds.dataset import CloudDataset, CloudTile, render_clouds
from stellarssl.pretrain.clouds.physics import GAS_RADII, Cloud, cloud_at, make_cloud
from stellarssl.pretrain.clouds.projection import (
    N_CHANNELS,
    CloudImage,
    project,
    project_maps,
    ring_spectra,
)
from stellarssl.pretrain.clouds.recipe import (
    CloudParameters,
    CloudRecipe,
    Layer,
    Protostar,
    draw_layers,
    read_recipe,
)

__all__ = [
    "GAS_RADII",
    "N_CHANNELS",
    "Cloud",
    "CloudDataset",
    "CloudImage",
    "CloudParameters",
    "CloudRecipe",
    "CloudTile",
    "Layer",
    "Protostar",
    "cloud_at",
    "draw_layers",
    "make_cloud",
    "project",
    "project_maps",
    "read_recipe",
    "render_clouds",
    "ring_spectra",
]
