"""What a flame is made of."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from stellarssl._utils.output import atomic_path
from stellarssl.exceptions import InputError
from stellarssl.pretrain.fractals import _breed
from stellarssl.pretrain.fractals._blocks import N_PARAMETERS, block_address
from stellarssl.pretrain.fractals.draws import Draws
from stellarssl.pretrain.fractals.maps import IDENTITY, FlameMap
from stellarssl.pretrain.fractals.variations import VARIATIONS

__all__ = ["Camera", "FlameGenome"]


@dataclass(frozen=True)
class Camera:
    """What part of the plane a flame's author meant to be seen.

    Attributes
    ----------
    size : tuple of 2 int
        Width and height in pixels.
    center : tuple of 2 float
        x and y of the middle.
    scale : float
        Pixels per unit of length.
    """

    size: tuple[int, int] = (336, 336)
    center: tuple[float, float] = (0.0, 0.0)
    scale: float = 84.0


@dataclass(frozen=True)
class FlameGenome:
    """The numbers that fix a flame.

    Attributes
    ----------
    maps : tuple of FlameMap
        The iterated function system.
    final : FlameMap or None
        Applied to what is drawn, not to the orbit.
    name : str
        For people.
    camera : Camera
        Used with ``frame="camera"``.
    palette : tuple of (float, float, float)
        Red, green and blue, 0-1, in equal steps of the color coordinate; empty for one that is
        drawn from the seed.

    Examples
    --------
    >>> genome = FlameGenome.random(0, 7)
    >>> genome == FlameGenome.random(0, 7)
    True
    >>> FlameGenome.from_json(genome.to_json()) == genome
    True
    """

    maps: tuple[FlameMap, ...]
    final: FlameMap | None = None
    name: str = ""
    camera: Camera = field(default_factory=Camera)
    palette: tuple[tuple[float, float, float], ...] = ()

    def __post_init__(self) -> None:
        if not self.maps or sum(m.weight for m in self.maps) <= 0:
            raise InputError("maps", "must hold a map whose weight is above zero")

    @classmethod
    def random(cls, seed: int, index: int = 0, attempt: int = 0) -> "FlameGenome":
        """Draw a genome.

        Parameters
        ----------
        seed, index, attempt : int
            The same three give the same genome on any machine.

        Returns
        -------
        genome : FlameGenome
            Of two to eight maps, each of one to three variations out of all, every other one with
            the linear variation besides; three of ten have a post transform, and 15 % of the
            genomes a final map. It may be a poor flame: a point, a line, or gone to infinity.
        """
        return cls(*_breed.random_maps(Draws(seed, index, attempt, 0)))

    @classmethod
    def random_affine(cls, seed: int, index: int = 0, attempt: int = 0) -> "FlameGenome":
        """Draw an affine iterated function system after FractalDB (Kataoka+ 2020).

        Parameters
        ----------
        seed, index, attempt : int
            The same three give the same genome on any machine.

        Returns
        -------
        genome : FlameGenome
            Two to eight maps of coefficients uniform in [-1, 1], as probable as their determinants
            are large; a map that does not contract is shrunk until it does.
        """
        return cls(_breed.random_affine_maps(Draws(seed, index, attempt, 2)))

    def mutate(self, seed: int, *, strength: float = 0.2) -> "FlameGenome":
        """Change one map: its affine part, a variation, its color and weight, or its post.

        Parameters
        ----------
        seed : int
            Of the draw.
        strength : float, optional
            Standard deviation of what is added to coefficients.

        Returns
        -------
        genome : FlameGenome
            A new one.
        """
        if not strength > 0:
            raise InputError("strength", "must be above zero", strength)
        return replace(self, maps=_breed.mutate_maps(self.maps, Draws(seed, 3), strength))

    def interpolate(self, other: "FlameGenome", t: float) -> "FlameGenome":
        """Go part of the way to another genome, linearly in all numbers.

        Parameters
        ----------
        other : FlameGenome
            At ``t`` = 1.
        t : float
            0-1.

        Returns
        -------
        genome : FlameGenome
            With this one's name, camera and palette. Where one has more maps than the other,
            these fade in or out by their weight.
        """
        if not 0 <= t <= 1:
            raise InputError("t", "must be between 0 and 1", t)
        maps = _breed.interpolate_maps(self.maps, other.maps, t)
        final = _breed.interpolate_final(self.final, other.final, t)
        return replace(self, maps=maps, final=final)

    def to_json(self) -> str:
        """Return the genome as JSON.

        Returns
        -------
        text : str
            What `from_json` reads.
        """
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "FlameGenome":
        """Make a genome of what `to_json` wrote.

        Parameters
        ----------
        text : str
            JSON.

        Returns
        -------
        genome : FlameGenome
            The same.

        Raises
        ------
        InputError
            If it is not a genome.
        """
        try:
            content = json.loads(text)
            maps = tuple(FlameMap(**entry) for entry in content.pop("maps"))
            final, camera = content.pop("final", None), content.pop("camera")
            camera = Camera(tuple(camera["size"]), tuple(camera["center"]), camera["scale"])
            palette = tuple(tuple(color) for color in content.pop("palette", ()))
            final = FlameMap(**final) if final else None
            return cls(maps, final, camera=camera, palette=palette, **content)
        except InputError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError("text", f"must be a flame genome as JSON ({error})") from error

    def save(self, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write the genome as JSON.

        Parameters
        ----------
        path : path-like
            The file.
        overwrite : bool, optional
            Whether a file that is there may be replaced.

        Returns
        -------
        path : `~pathlib.Path`
            Path of the file.
        """
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(self.to_json() + "\n")
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "FlameGenome":
        """Read what `save` wrote.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        genome : FlameGenome
            The same.
        """
        return cls.from_json(Path(path).read_text())

    def program(self) -> tuple[tuple, np.ndarray]:
        """Return what the renderer reads.

        Returns
        -------
        program : tuple of ndarray
            The maps and their variations, as arrays that compiled code reads.
        probabilities : ndarray
            The maps' cumulated probabilities.
        """
        maps = self.maps if self.final is None else (*self.maps, self.final)
        operations = [(m, *v) for m in maps for v in m.variations if v[1] != 0]
        parameters = np.zeros((len(operations), N_PARAMETERS))
        for row, (m, _, _, own) in zip(parameters, operations, strict=True):
            row[:6] = m.affine
            row[6 : 6 + len(own)] = own
        kinds = [VARIATIONS[name] for _, name, _, _ in operations]
        counts = [sum(v[1] != 0 for v in m.variations) for m in maps]
        program = (
            np.array([m.affine for m in maps]),
            np.array([m.post for m in maps]),
            np.array([m.post != IDENTITY for m in maps], dtype=np.uint8),
            np.array([(m.color, m.color_speed) for m in maps]),
            np.cumsum([0, *counts]),
            np.array([block_address(kind) for kind in kinds], dtype=np.int64),
            np.array([kind.n_uniforms for kind in kinds], dtype=np.int64),
            np.array([weight for _, _, weight, _ in operations], dtype=float),
            parameters,
        )
        weights = np.array([m.weight for m in self.maps])
        return program, np.cumsum(weights / weights.sum())
