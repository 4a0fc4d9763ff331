"""The encoder: weights, device, dtype and batches."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from stellarssl._utils.geometry import TILE_PIXELS, TILE_WIDTH
from stellarssl._utils.output import atomic_path
from stellarssl._utils.progress import progress as progress_bar
from stellarssl._utils.stages import stage
from stellarssl.encoder._backends import BATCH, faster_dtype, fastest_forward
from stellarssl.encoder._device import DTYPES, find_device
from stellarssl.encoder._features import Features, block_slices, pool_tokens
from stellarssl.encoder._spec import EncoderSpec, build_model, weights_sha256
from stellarssl.encoder._weights import SHIPPED, fetch_weights, read_weights
from stellarssl.exceptions import InputError

__all__ = ["DEFAULT_ENCODER", "Encoder"]

DEFAULT_ENCODER = "flames-dev"
"""The name of the shipped weights."""


class Encoder:
    """A frozen vision transformer: maps in, features out.

    Made by `from_pretrained`, `random` or `from_model`.

    Parameters
    ----------
    model : `~torch.nn.Module`
        The network; it is frozen.
    spec : `EncoderSpec`
        What its weights were trained under, with their ``sha256``.
    device : str, optional
        ``"auto"`` is a GPU where there is one, else the processor; or a torch device.
    dtype : {"auto", "float32", "bfloat16"}, optional
        What the network computes in. ``"auto"`` is decided at first use: bfloat16 where the
        processor has a unit for it and a trial shows it to be faster, else float32.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        spec: EncoderSpec,
        *,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        if dtype not in ("auto", *DTYPES):
            raise InputError("dtype", f"must be one of auto, {', '.join(DTYPES)}", dtype)
        self.spec = spec
        self.device = find_device(device)
        self._dtype = dtype
        self._model = (
            model.to(self.device, torch.float32).eval().requires_grad_(requires_grad=False)
        )

    def __repr__(self) -> str:
        return (
            f"<Encoder {self.name!r} {self.spec.architecture} {self.sha256[:12]} on {self.device}>"
        )

    @property
    def name(self) -> str:
        """What the weights are called."""
        return self.spec.name

    @property
    def sha256(self) -> str:
        """Checksum of the weights."""
        return self.spec.sha256

    @property
    def dtype(self) -> str:
        """What the network computes in: ``"float32"`` or ``"bfloat16"``."""
        if self._dtype == "auto":
            self._dtype = faster_dtype(self._model, self.spec.image_size, self.device)
        return self._dtype

    def astype(self, dtype: str) -> "Encoder":
        """Return the same network computing in another dtype, such as that of a library.

        Parameters
        ----------
        dtype : {"auto", "float32", "bfloat16"}
            What it shall compute in.

        Returns
        -------
        encoder : `Encoder`
            Shares the weights.
        """
        return Encoder(self._model, self.spec, device=str(self.device), dtype=dtype)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike | None = None,
        device: str = "auto",
        *,
        dtype: str = "auto",
    ) -> "Encoder":
        """Load trained weights.

        Parameters
        ----------
        name_or_path : str or path-like, optional
            A shipped name, a ``.safetensors`` file written by `write`, or the name of a vision
            transformer of timm, whose weights are fetched from the network. The default is
            ``"flames-dev"``.
        device, dtype : str, optional
            As for `Encoder`.

        Returns
        -------
        encoder : `Encoder`
            Frozen.

        Raises
        ------
        InputError
            If there are no such weights, they are damaged, or the network cannot be reached.

        Examples
        --------
        >>> Encoder.from_pretrained("resnet_of_nowhere")
        Traceback (most recent call last):
        ...
        stellarssl.exceptions.InputError: name_or_path: must be a shipped name ...
        """
        name = os.fspath(name_or_path or DEFAULT_ENCODER)
        shipped = SHIPPED / f"{name}.safetensors"
        if shipped.is_file():
            return cls(*read_weights(shipped), device=device, dtype=dtype)
        if name.endswith(".safetensors"):
            return cls(*read_weights(Path(name)), device=device, dtype=dtype)
        return cls(*fetch_weights(name), device=device, dtype=dtype)

    @classmethod
    def random(
        cls,
        seed: int = 0,
        architecture: str = "vit_tiny_patch16_224",
        *,
        width: int = 192,
        image_size: int = 64,
        patch_size: int = 8,
        n_registers: int = 4,
        device: str = "auto",
        dtype: str = "auto",
    ) -> "Encoder":
        """Draw untrained weights: the control that trained ones are measured against.

        Parameters
        ----------
        seed : int, optional
            The same seed gives the same weights.
        architecture : str, optional
            A vision transformer of timm.
        width : int, optional
            Length of its tokens.
        image_size, patch_size : int, optional
            Of the network's input [pixels].
        n_registers : int, optional
            Register tokens.
        device, dtype : str, optional
            As for `Encoder`.

        Returns
        -------
        encoder : `Encoder`
            Its name is ``"random-<seed>"``.

        Examples
        --------
        >>> Encoder.random(seed=3).name
        'random-3'
        """
        spec = EncoderSpec(
            f"random-{seed}",
            architecture=architecture,
            image_size=image_size,
            patch_size=patch_size,
            width=width,
            n_registers=n_registers,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_model(spec)
        return cls.from_model(model, spec, device=device, dtype=dtype)

    @classmethod
    def from_model(
        cls,
        model: torch.nn.Module,
        spec: EncoderSpec,
        *,
        device: str = "auto",
        dtype: str = "auto",
    ) -> "Encoder":
        """Freeze a network whose checksum is not known yet.

        Parameters
        ----------
        model : `~torch.nn.Module`
            As `build_model` builds it.
        spec : `EncoderSpec`
            Its record; ``sha256`` is filled in.
        device, dtype : str, optional
            As for `Encoder`.

        Returns
        -------
        encoder : `Encoder`
            Frozen.
        """
        spec = replace(spec, sha256=weights_sha256(model.state_dict()))
        return cls(model, spec, device=device, dtype=dtype)

    def write(
        self, path: str | os.PathLike, *, half: bool = True, overwrite: bool = False
    ) -> EncoderSpec:
        """Write weights and spec to a safetensors file.

        Parameters
        ----------
        path : path-like
            Must end in ``.safetensors``.
        half : bool, optional
            Whether weights are rounded to half precision, which halves the file.
        overwrite : bool, optional
            Whether a file that is there may be replaced.

        Returns
        -------
        spec : `EncoderSpec`
            As written: its ``sha256`` is that of the rounded weights.
        """
        if not os.fspath(path).endswith(".safetensors"):
            raise InputError("path", "must end in .safetensors", os.fspath(path))
        kind = torch.float16 if half else torch.float32
        tensors = {
            name: value.to("cpu", kind).contiguous()
            for name, value in self._model.state_dict().items()
        }
        spec = replace(self.spec, sha256=weights_sha256(tensors))
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(save(tensors, metadata={"encoder_spec": spec.to_json()}))
        return spec

    @stage("encoder")
    def embed(
        self,
        maps: np.ndarray,
        *,
        widths: Sequence[float] = (0.125, 0.25, 0.5),
        n_views: int = 8,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> Features:
        """Compute features of tiles, seen at several widths.

        At each width the central part of the tile is cut out, resampled to the network's input
        and shown in ``n_views`` orientations, over which the features are averaged: with eight,
        a rotated or mirrored tile has the same features.

        Parameters
        ----------
        maps : ndarray
            Shape (n, 3, 64, 64), finite: log10 N_H [cm^-2], v_los and sigma_v [km/s] of tiles of
            0.5 pc.
        widths : sequence of float, optional
            How much of the tile is shown [pc], at most 0.5.
        n_views : {1, 2, 4, 8}, optional
            Orientations: as it is, half turns, quarter turns, quarter turns of both mirror images.
        batch_size : int, optional
            Tiles at a time; changes speed and memory only.
        progress : bool, optional
            Whether a bar is shown.

        Returns
        -------
        features : `Features`
            Blocks ``cls``, ``mean``, ``centre``, ``ring1``, ``ring2``, ``ring3`` at each width.

        Raises
        ------
        InputError
            If the maps have another shape or are not finite, or a width or ``n_views`` cannot be.

        Examples
        --------
        >>> maps = np.full((1, 3, 64, 64), [[[22.0]], [[0.0]], [[0.5]]], dtype=np.float32)
        >>> features = Encoder.random().embed(maps, widths=(0.5,), n_views=1)
        >>> features.array.shape, list(features.blocks)[:2]
        ((1, 1152), ['cls@0.5', 'mean@0.5'])
        """
        maps = _checked_maps(maps)
        if n_views not in (1, 2, 4, 8):
            raise InputError("n_views", "must be 1, 2, 4 or 8", n_views)
        pixels = [_width_pixels(width) for width in widths]
        rows = []
        for images in self._batches(maps, batch_size or BATCH // n_views, show=progress):
            blocks = [self._pooled_views(images, n, n_views) for n in pixels]
            rows.append(torch.cat(blocks, dim=1).flatten(1).cpu().numpy())
        blocks = block_slices(tuple(widths), self.spec.width)
        length = len(blocks) * self.spec.width
        array = np.concatenate(rows) if rows else np.empty((0, length), np.float32)
        return Features(array, blocks, self.sha256, self.dtype)

    @stage("encoder")
    def patch_tokens(
        self, maps: np.ndarray, *, batch_size: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Compute the tokens of a tile's patches, as it is.

        Parameters
        ----------
        maps : ndarray
            As for `embed`.
        batch_size : int, optional
            Tiles at a time.
        progress : bool, optional
            Whether a bar is shown.

        Returns
        -------
        tokens : ndarray
            float32 (n, g, g, d): row and column of the patch, and its token; 8 x 8 patches for
            the shipped weights.
        """
        maps = _checked_maps(maps)
        grid, width = self.spec.grid, self.spec.width
        out = np.empty((len(maps), grid, grid, width), np.float32)
        start = 0
        for images in self._batches(maps, batch_size or BATCH, show=progress):
            whole = _resample(images, TILE_PIXELS, self.spec.image_size)
            tokens = self._forward(whole)[:, self._model.num_prefix_tokens :]
            out[start : start + len(images)] = tokens.cpu().numpy().reshape(-1, grid, grid, width)
            start += len(images)
        return out

    def _batches(self, maps: np.ndarray, size: int, *, show: bool) -> Iterator[torch.Tensor]:
        """Scale the maps, a batch at a time."""
        for start in progress_bar(range(0, len(maps), size), "embedding", show=show):
            batch = torch.tensor(maps[start : start + size], device=self.device)
            yield self.spec.scaling(batch)

    def _pooled_views(self, images: torch.Tensor, n_pixels: int, n_views: int) -> torch.Tensor:
        """Return the blocks (n, 6, d) of the central pixels, averaged over orientations."""
        views = _orientations(_resample(images, n_pixels, self.spec.image_size), n_views)
        tokens = self._forward(views.flatten(0, 1))
        pooled = pool_tokens(tokens, self._model.num_prefix_tokens)
        return pooled.unflatten(0, (n_views, -1)).mean(0)

    @cached_property
    def _fastest(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return fastest_forward(self._model, self.spec.image_size, self.device, self.dtype)[1]

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens of scaled images as float32."""
        with torch.inference_mode():
            return self._fastest(images).float()


def _checked_maps(maps: np.ndarray) -> np.ndarray:
    maps = np.ascontiguousarray(maps, dtype=np.float32)
    if maps.ndim != 4 or maps.shape[1:] != (3, TILE_PIXELS, TILE_PIXELS):
        raise InputError("maps", "must have the shape (n, 3, 64, 64)", maps.shape)
    if not np.isfinite(maps).all():
        raise InputError("maps", "must be finite everywhere")
    return maps


def _width_pixels(width: float) -> int:
    """Return the even number of tile pixels nearest to a width in pc."""
    pixels = 2 * round(width / TILE_WIDTH.value * TILE_PIXELS / 2)
    if not 2 <= pixels <= TILE_PIXELS:
        raise InputError("widths", "must be above 0 and at most 0.5 (pc)", width)
    return pixels


def _resample(images: torch.Tensor, n_pixels: int, size: int) -> torch.Tensor:
    """Cut out the central pixels and bring them to the network's size."""
    edge = (TILE_PIXELS - n_pixels) // 2
    images = images[..., edge : edge + n_pixels, edge : edge + n_pixels]
    if n_pixels == size:
        return images
    return torch.nn.functional.interpolate(
        images, size=(size, size), mode="bilinear", antialias=n_pixels > size
    )


def _orientations(images: torch.Tensor, n_views: int) -> torch.Tensor:
    """Return (n_views, n, channel, y, x): a subgroup of the square's eight symmetries."""
    turns = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3), 8: (0, 1, 2, 3)}[n_views]
    views = [torch.rot90(images, turn, (-2, -1)) for turn in turns]
    if n_views == 8:
        views += [view.flip(-1) for view in views]
    return torch.stack(views)
