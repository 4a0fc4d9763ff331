"""Description of an encoder's network, and the scaling of its input."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import timm
import torch

from stellarssl.exceptions import InputError

__all__ = ["EncoderSpec", "Scaling", "build_model", "weights_sha256"]


@dataclass(frozen=True)
class Scaling:
    """Conversion of physical maps to network input, the same for training, library and query.

    Attributes
    ----------
    kind : {"physical", "minmax"}
        ``"physical"`` keeps absolute values: (log10 N_H - ``log_n_h``), ``v_los / velocity`` and
        (log10 hypot(sigma_v, ``sigma_floor``) - ``log_sigma``) / ``log_sigma_unit``. ``"minmax"``
        stretches every channel of every map to 0-1 and so throws them away.
    log_n_h : float
        Zero point of the column [dex(cm^-2)].
    velocity : float
        Unit of the velocity [km/s].
    sigma_floor : float
        Added to the dispersion in quadrature [km/s]: the thermal motion of the mean particle at
        10 K, below which a dispersion says nothing.
    log_sigma, log_sigma_unit : float
        Zero point and unit of the dispersion [dex(km/s)].
    limit : float
        Inputs are clipped at plus and minus this many units.
    """

    kind: str = "physical"
    log_n_h: float = 22.0
    velocity: float = 1.0
    sigma_floor: float = 0.19
    log_sigma: float = -0.4
    log_sigma_unit: float = 0.3
    limit: float = 4.0

    def __call__(self, maps: torch.Tensor) -> torch.Tensor:
        """Scale maps.

        Parameters
        ----------
        maps : `~torch.Tensor`
            Shape (n, 3, y, x): log10 N_H [cm^-2], v_los and sigma_v [km/s].

        Returns
        -------
        scaled : `~torch.Tensor`
            The network's input, of the same shape.

        Examples
        --------
        >>> maps = torch.tensor([21.0, 0.5, 0.0]).reshape(1, 3, 1, 1)
        >>> [round(value, 3) for value in Scaling()(maps).ravel().tolist()]
        [-1.0, 0.5, -1.071]
        """
        if self.kind == "minmax":
            low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
            return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
        log_n_h, velocity, sigma = maps.unbind(-3)
        floor = torch.full_like(sigma, self.sigma_floor)
        log_sigma = torch.log10(torch.hypot(sigma, floor))
        scaled = (
            log_n_h - self.log_n_h,
            velocity / self.velocity,
            (log_sigma - self.log_sigma) / self.log_sigma_unit,
        )
        return torch.stack(scaled, dim=-3).clamp(-self.limit, self.limit)


@dataclass(frozen=True)
class EncoderSpec:
    """Description of an encoder's network and training, stored with the weights.

    Attributes
    ----------
    name : str
        Name of the weights.
    architecture : str
        Name of a vision transformer for which ``timm.is_model`` is true.
    image_size, patch_size : int
        Edge of the network's input and of a patch [pixels].
    width : int
        Length of a token.
    n_registers : int
        Number of register tokens beside the class token.
    channels : tuple of str
        Names and units of the maps, in order.
    scaling : `Scaling`
        Conversion of the maps to network input.
    licence : str
        License of the weights.
    sha256 : str
        Checksum of the weights as stored: of names, types, shapes and bytes in the order of the
        names.

    Raises
    ------
    InputError
        If timm has no model of that name. Names of files or of repositories, such as
        ``"local-dir:..."`` and ``"hf-hub:..."``, are refused.
    """

    name: str
    architecture: str = "vit_tiny_patch16_224"
    image_size: int = 64
    patch_size: int = 8
    width: int = 192
    n_registers: int = 4
    channels: tuple[str, ...] = ("log10 N_H [cm^-2]", "v_los [km/s]", "sigma_v [km/s]")
    scaling: Scaling = field(default_factory=Scaling)
    licence: str = "BSD-3-Clause"
    sha256: str = ""

    def __post_init__(self) -> None:
        # timm would follow other names, such as "hf-hub:..." or "local-dir:...", to foreign files
        if not timm.is_model(str(self.architecture)):
            rule = "must be the name of a timm model, such as 'vit_tiny_patch16_224'"
            raise InputError("architecture", rule, self.architecture)

    @property
    def grid(self) -> int:
        """Number of patches along an edge."""
        return self.image_size // self.patch_size

    def to_json(self) -> str:
        """Return the spec as it is written to the metadata of a weights file.

        Returns
        -------
        text : str
            The fields as JSON.
        """
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "EncoderSpec":
        """Read what `to_json` wrote.

        Parameters
        ----------
        text : str
            The fields as JSON.

        Returns
        -------
        spec : `EncoderSpec`
            The spec with these fields.

        Raises
        ------
        InputError
            If the text does not hold these fields, or timm has no model of that name.
        """
        rule = "must hold the fields of EncoderSpec as JSON"
        try:
            record = json.loads(text)
            record["scaling"] = Scaling(**record["scaling"])
            record["channels"] = tuple(record["channels"])
            return cls(**record)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("encoder_spec", rule, text) from error


def build_model(spec: EncoderSpec, *, drop_path: float = 0.0) -> torch.nn.Module:
    """Build the network of a spec with random weights.

    Parameters
    ----------
    spec : `EncoderSpec`
        Description of the network.
    drop_path : float, optional
        Highest rate of stochastic depth, for training.

    Returns
    -------
    model : `~torch.nn.Module`
        A timm transformer without a classifier, which takes square images of any size. Its weights
        are drawn from torch's current random generator.

    Raises
    ------
    InputError
        If the model is not a vision transformer, or does not have the spec's width.
    """
    rule = "must be a vision transformer that timm can build with the sizes of the spec"
    try:
        model = timm.create_model(
            spec.architecture,
            img_size=spec.image_size,
            patch_size=spec.patch_size,
            in_chans=len(spec.channels),
            num_classes=0,
            reg_tokens=spec.n_registers,
            dynamic_img_size=True,
            drop_path_rate=drop_path,
        )
    except (RuntimeError, TypeError, AssertionError) as error:
        raise InputError("architecture", rule, spec.architecture) from error
    if not hasattr(model, "num_prefix_tokens") or model.embed_dim != spec.width:
        raise InputError("architecture", rule + f" (width {spec.width})", spec.architecture)
    return model


def weights_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the checksum of a set of weights.

    Parameters
    ----------
    tensors : mapping of str to `~torch.Tensor`
        The weights by name.

    Returns
    -------
    digest : str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
