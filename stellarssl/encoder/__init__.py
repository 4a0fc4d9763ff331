"""The encoder: a frozen network that turns maps of tiles into features.

This is the only place where maps become network input. An `Encoder` is a vision transformer with
its weights and a description of their training (`EncoderSpec`). ``embed`` computes the `Features`
from which masses are read, ``patch_tokens`` the tokens from which segments are made.
"""

from stellarssl.encoder.encoder import DEFAULT_ENCODER, Encoder, find_device
from stellarssl.encoder.features import Features, block_names
from stellarssl.encoder.spec import EncoderSpec, Scaling, build_model, weights_sha256
from stellarssl.encoder.weights import SHIPPED, read_weights

__all__ = [
    "DEFAULT_ENCODER",
    "SHIPPED",
    "Encoder",
    "EncoderSpec",
    "Features",
    "Scaling",
    "block_names",
    "build_model",
    "find_device",
    "read_weights",
    "weights_sha256",
]
