"""The variations, by name."""

from stellarssl.pretrain.fractals import _chances, _formulas, _later
from stellarssl.pretrain.fractals._blocks import VARIATIONS

__all__ = ["VARIATIONS"]

# The three modules register their formulas when they are imported.
del _chances, _formulas, _later
