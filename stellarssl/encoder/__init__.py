"""The frozen network: where physical maps become features.

This is the only place that turns maps into network input. An `Encoder` is a vision transformer
with its weights and the contract they were trained under (`EncoderSpec`); ``embed`` gives the
`Features` that masses are read from, ``patch_tokens`` those that segments are made of.
"""

from stellarssl.encoder._device import fastest_dtype
from stellarssl.encoder._encoder import DEFAULT_ENCODER, Encoder
from stellarssl.encoder._features import Features
from stellarssl.encoder._spec import EncoderSpec, Scaling, build_model, weights_sha256

__all__ = [
    "DEFAULT_ENCODER",
    "Encoder",
    "EncoderSpec",
    "Features",
    "Scaling",
    "build_model",
    "fastest_dtype",
    "weights_sha256",
]
