"""The frozen network: from maps of tiles to features and patch tokens."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from stellarssl._utils.geometry import TILE_PIXELS, TILE_WIDTH
from stellarssl._utils.output import atomic_path
from stellarssl._utils.progress import progress as progress_bar
from stellarssl._utils.stages import stage
from stellarssl.encoder.features import Features, block_names, pool_tokens, split_name
from stellarssl.encoder.spec import EncoderSpec, build_model, weights_sha256
from stellarssl.encoder.weights import SHIPPED, fetch_weights, read_weights
from stellarssl.exceptions import InputError

__all__ = ["BATCH", "DEFAULT_ENCODER", "DTYPES", "Encoder", "find_device"]

DEFAULT_ENCODER = "flames-dev"
"""The name of the shipped weights."""

DTYPES = ("float32", "bfloat16")
"""Number formats in which an encoder can compute."""

BATCH = 64
"""Number of images that are shown to the network at a time."""


class Encoder:
    """A frozen vision transformer that turns maps of tiles into features.

    Use `from_pretrained`, `random` or `from_model` to make one. An encoder can be copied and
    pickled, also after it was used.

    Parameters
    ----------
    model : `~torch.nn.Module`
        The network; its weights are frozen.
    spec : `EncoderSpec`
        Description of the network and of its training, with the ``sha256`` of the weights.
    device : str, optional
        A torch device, or ``"auto"`` for the GPU if there is one and the processor otherwise.
    dtype : {"float32", "bfloat16"}, optional
        Number format in which the network computes. ``"bfloat16"`` uses `torch.autocast`; it is
        faster where the hardware supports it, and less accurate.

    Raises
    ------
    InputError
        If the device is not available or the dtype is not one of these two.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        spec: EncoderSpec,
        *,
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        if dtype not in DTYPES:
            raise InputError("dtype", f"must be one of {', '.join(DTYPES)}", dtype)
        self.spec = spec
        self.device = find_device(device)
        self.dtype = dtype
        self._model: Any = (
            model.to(self.device, torch.float32).eval().requires_grad_(requires_grad=False)
        )

    def __repr__(self) -> str:
        return (
            f"<Encoder {self.name!r} {self.spec.architecture} {self.sha256[:12]} on {self.device}>"
        )

    @property
    def name(self) -> str:
        """Name of the weights."""
        return self.spec.name

    @property
    def sha256(self) -> str:
        """Checksum of the weights."""
        return self.spec.sha256

    def astype(self, dtype: str) -> "Encoder":
        """Return the same network computing in another number format.

        Parameters
        ----------
        dtype : {"float32", "bfloat16"}
            Number format in which the returned encoder computes.

        Returns
        -------
        encoder : `Encoder`
            Shares the weights with this one.

        Raises
        ------
        InputError
            If the dtype is not one of these two.
        """
        return Encoder(self._model, self.spec, device=str(self.device), dtype=dtype)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike | None = None,
        device: str = "auto",
        *,
        dtype: str = "float32",
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
        dtype: str = "float32",
    ) -> "Encoder":
        """Draw untrained weights, as a control for trained ones.

        Parameters
        ----------
        seed : int, optional
            Random seed of the weights.
        architecture : str, optional
            Name of a vision transformer for which ``timm.is_model`` is true.
        width : int, optional
            Length of its tokens.
        image_size, patch_size : int, optional
            Edge of the network's input and of a patch [pixels].
        n_registers : int, optional
            Number of register tokens beside the class token.
        device, dtype : str, optional
            As for `Encoder`.

        Returns
        -------
        encoder : `Encoder`
            Its name is ``"random-<seed>"``.

        Raises
        ------
        InputError
            If timm has no vision transformer of that name and width.

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
        dtype: str = "float32",
    ) -> "Encoder":
        """Make an encoder of a network in memory.

        Parameters
        ----------
        model : `~torch.nn.Module`
            A network as returned by `build_model`.
        spec : `EncoderSpec`
            Description of the network. Its ``sha256`` is computed from the weights.
        device, dtype : str, optional
            As for `Encoder`.

        Returns
        -------
        encoder : `Encoder`
            Frozen.
        """
        spec = replace(spec, sha256=weights_sha256(model.state_dict()))
        return cls(model, spec, device=device, dtype=dtype)

    def write(self, path: str | os.PathLike, *, half: bool = True, overwrite: bool = False) -> Path:
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
        path : `~pathlib.Path`
            Path of the file. It records the ``sha256`` of the weights as they are rounded.
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
        return Path(path)

    @stage("encoder")
    def embed(
        self,
        maps: np.ndarray,
        *,
        blocks: Sequence[str] = block_names(0.125, 0.25, 0.5),
        n_views: int = 8,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> Features:
        """Compute features of tiles.

        For each width that a block names, the central part of the tile is cut out, resampled to
        the network's input and shown in ``n_views`` orientations, over which the features are
        averaged: with eight, a rotated or mirrored tile has the same features. The time is
        proportional to the number of widths times ``n_views``.

        Parameters
        ----------
        maps : ndarray
            Shape (n, 3, 64, 64), finite: log10 N_H [cm^-2], v_los and sigma_v [km/s] of tiles of
            0.5 pc.
        blocks : sequence of str, optional
            Names of the blocks to compute (see `Features`), such as ``"centre@0.125"``: which
            tokens are averaged, and the width of the central part of the tile [pc], at most 0.5.
            The default is all blocks at 0.125, 0.25 and 0.5 pc.
        n_views : {1, 2, 4, 8}, optional
            Number of orientations: the tile itself, half turns, quarter turns, or quarter turns of
            the tile and its mirror image.
        batch_size : int, optional
            Number of tiles that are computed at a time. It changes speed and memory only.
        progress : bool, optional
            Whether to show a progress bar.

        Returns
        -------
        features : `Features`
            The blocks in the given order.

        Raises
        ------
        InputError
            If the maps have another shape or are not finite, if a block does not exist, or if
            ``n_views`` is not one of these numbers.

        Examples
        --------
        >>> maps = np.full((1, 3, 64, 64), [[[22.0]], [[0.0]], [[0.5]]], dtype=np.float32)
        >>> features = Encoder.random().embed(maps, blocks=["cls@0.5", "mean@0.5"], n_views=1)
        >>> features.array.shape, list(features.blocks)
        ((1, 384), ['cls@0.5', 'mean@0.5'])
        """
        maps = _checked_maps(maps)
        if n_views not in (1, 2, 4, 8):
            raise InputError("n_views", "must be 1, 2, 4 or 8", n_views)
        wanted = [(pooled, _width_pixels(width)) for pooled, width in map(split_name, blocks)]
        if not wanted:
            raise InputError("blocks", "must name at least one block of features")
        rows = [
            self._blocks(images, wanted, n_views).cpu().numpy()
            for images in self._batches(maps, batch_size or BATCH // n_views, show=progress)
        ]
        width = self.spec.width
        slices = {name: slice(i * width, (i + 1) * width) for i, name in enumerate(blocks)}
        array = np.concatenate(rows) if rows else np.empty((0, len(wanted) * width), np.float32)
        return Features(array, slices, self.sha256, self.dtype)

    @stage("encoder")
    def patch_tokens(
        self, maps: np.ndarray, *, batch_size: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Compute the tokens of the patches of tiles, in one orientation.

        Parameters
        ----------
        maps : ndarray
            As for `embed`.
        batch_size : int, optional
            Number of tiles that are computed at a time. It changes speed and memory only.
        progress : bool, optional
            Whether to show a progress bar.

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

    def _blocks(
        self, images: torch.Tensor, wanted: list[tuple[str, int]], n_views: int
    ) -> torch.Tensor:
        """Return blocks, given as (pooled, tile pixels), side by side (n, d)."""
        found: dict[tuple[str, int], torch.Tensor] = {}
        for n_pixels in dict.fromkeys(n for _, n in wanted):
            names = [pooled for pooled, n in wanted if n == n_pixels]
            views = _orientations(_resample(images, n_pixels, self.spec.image_size), n_views)
            tokens = self._forward(views.flatten(0, 1))
            pooled = pool_tokens(tokens, self._model.num_prefix_tokens, names)
            means = pooled.unflatten(0, (n_views, -1)).mean(0)
            found |= {(name, n_pixels): means[:, i] for i, name in enumerate(names)}
        return torch.cat([found[key] for key in wanted], dim=1)

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens of scaled images as float32."""
        low = self.dtype == "bfloat16"
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low),
        ):
            return self._model.forward_features(images).float()


def find_device(device: str) -> torch.device:
    """Return the torch device of a name.

    Parameters
    ----------
    device : str
        A torch device, or ``"auto"`` for the GPU if there is one and the processor otherwise.

    Returns
    -------
    found : `~torch.device`
        The device.

    Raises
    ------
    InputError
        If there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise InputError("device", "must be 'auto' or a torch device", device) from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device", "is not available on this machine", device)
    return found


def _checked_maps(maps: np.ndarray) -> np.ndarray:
    maps = np.ascontiguousarray(maps, dtype=np.float32)
    if maps.ndim != 4 or maps.shape[1:] != (3, TILE_PIXELS, TILE_PIXELS):
        raise InputError("maps", "must have the shape (n, 3, 64, 64)", maps.shape)
    if not np.isfinite(maps).all():
        raise InputError("maps", "must be finite everywhere")
    return maps


def _width_pixels(width: float) -> int:
    """Return the even number of tile pixels nearest to a width in pc."""
    share = width / TILE_WIDTH.value
    pixels = 2 * round(share * TILE_PIXELS / 2) if 0 < share <= 1 else 0
    if pixels < 2:
        raise InputError("blocks", "must have a width above 0 and at most 0.5 (pc)", width)
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
