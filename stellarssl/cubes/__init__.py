"""From a cube as it was written to one whose axes, units and beam are known.

Nothing is read, converted or convolved as a whole: ``moments`` does that block by block.
"""

from stellarssl.cubes.cube import Cube, CubeLike
from stellarssl.cubes.options import ReadKeywords, ReadOptions
from stellarssl.cubes.read import read_cube
from stellarssl.cubes.sky import read_sky

__all__ = ["Cube", "CubeLike", "ReadKeywords", "ReadOptions", "read_cube", "read_sky"]
