"""Reading of weights from files, and fetching of published ones."""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.models.vision_transformer import VisionTransformer

from stellarssl.encoder.spec import EncoderSpec, build_model, weights_sha256
from stellarssl.exceptions import InputError

__all__ = ["SHIPPED", "fetch_weights", "read_weights"]

SHIPPED = Path(__file__).parents[1] / "data" / "weights"
"""Folder of the weights that are shipped with the package."""


def read_weights(path: Path) -> tuple[torch.nn.Module, EncoderSpec]:
    """Read and check a file of weights.

    Parameters
    ----------
    path : `~pathlib.Path`
        A ``.safetensors`` file written by `Encoder.write`.

    Returns
    -------
    model : `~torch.nn.Module`
        The network with these weights in float32.
    spec : `EncoderSpec`
        Its description, as stored in the file.

    Raises
    ------
    InputError
        If there is no such file, if it is damaged, or if the weights do not fit the spec.
    """
    if not path.is_file():
        raise InputError("name_or_path", "must be a file that exists", str(path))
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError("name_or_path", "must be a whole safetensors file", str(path)) from error
    if "encoder_spec" not in metadata:
        raise InputError("name_or_path", "must carry an encoder_spec in its metadata", str(path))
    spec = EncoderSpec.from_json(metadata["encoder_spec"])
    digest = weights_sha256(tensors)
    if digest != spec.sha256:
        rule = f"must have the sha256 that it records, {spec.sha256}"
        raise InputError(f"weights in {path.name}", rule, digest)
    with torch.random.fork_rng(devices=[]):
        model = build_model(spec)
    try:
        model.load_state_dict({name: value.float() for name, value in tensors.items()})
    except RuntimeError as error:
        rule = f"must be those of {spec.architecture} as its encoder_spec says"
        raise InputError(f"weights in {path.name}", rule) from error
    return model, spec


def fetch_weights(name: str) -> tuple[torch.nn.Module, EncoderSpec]:
    """Fetch the weights that timm publishes for a transformer.

    This is the only function that uses the network.

    Parameters
    ----------
    name : str
        Name of a timm model, with or without the tag of its weights.

    Returns
    -------
    model : `~torch.nn.Module`
        The network with these weights.
    spec : `EncoderSpec`
        Its description.

    Raises
    ------
    InputError
        If timm has no vision transformer of that name, or its weights cannot be fetched.
    """
    if not timm.is_model(name):
        files = (path.stem for path in SHIPPED.glob("*.safetensors"))
        shipped = ", ".join(sorted(stem for stem in files if not stem.endswith("-heads")))
        rule = f"must be a shipped name ({shipped}), a .safetensors file or a timm model"
        raise InputError("name_or_path", rule, name)
    with torch.device("meta"):
        plan = timm.create_model(name, num_classes=0)
    if not isinstance(plan, VisionTransformer):
        raise InputError("name_or_path", "must be a vision transformer", name)
    try:
        model: Any = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # the hub's clients raise whatever their transport raises
        rule = "its weights must be reachable over the network"
        raise InputError("name_or_path", rule, name) from error
    spec = EncoderSpec(
        name,
        architecture=name,
        image_size=model.patch_embed.img_size[0],
        patch_size=model.patch_embed.patch_size[0],
        width=model.embed_dim,
        n_registers=model.num_prefix_tokens - 1,
        licence=str(model.pretrained_cfg.get("license")),
        sha256=weights_sha256(model.state_dict()),
    )
    return model, spec
