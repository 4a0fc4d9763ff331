"""Training runs as TOML: what is trained, on what, for how long."""

import os
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from stellarssl.exceptions import InputError
from stellarssl.pretrain.views import ViewSettings

__all__ = ["PRESETS", "Preset", "Stage", "preset_from_dict", "read_preset", "read_section"]

_FOLDER = Path(__file__).parent / "presets"

PRESETS = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
"""Names of the presets that come with the package."""


@dataclass(frozen=True)
class NetworkSettings:
    """The transformer; see `~stellarssl.encoder.EncoderSpec`."""

    architecture: str = "vit_tiny_patch16_224"
    image_size: int = 64
    patch_size: int = 8
    width: int = 192
    n_registers: int = 4
    drop_path: float = 0.0


@dataclass(frozen=True)
class HeadSettings:
    """The two projection heads: one for class tokens, one for patches."""

    hidden: int = 512
    bottleneck: int = 128
    prototypes: int = 2048


@dataclass(frozen=True)
class DataSettings:
    """The flames; see `~stellarssl.pretrain.FlameDataset`."""

    n_flames: int
    kind: str = "moments"
    size: int = 96
    n_points: int = 100_000
    seed: int = 0


@dataclass(frozen=True)
class LossSettings:
    """Weights of the three terms, centering, temperatures, masks.

    ``dropped_patches`` is the share of a large view that the student is not shown, where there is
    no patch term.
    """

    dino: float = 1.0
    ibot: float = 1.0
    koleo: float = 0.1
    centering: str = "sinkhorn"
    student_temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    teacher_warmup: float = 0.3
    masked_images: float = 0.5
    masked_patches: tuple[float, float] = (0.1, 0.5)
    dropped_patches: float = 0.0


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW and its schedules; fractions are of ``steps``."""

    steps: int
    batch_size: int = 128
    accumulate: int = 1
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup: float = 0.1
    weight_decay: tuple[float, float] = (0.04, 0.2)
    layer_decay: float = 0.9
    clip: float = 3.0
    momentum: tuple[float, float] = (0.992, 1.0)
    freeze_last_layer: float = 0.02


@dataclass(frozen=True)
class WatchSettings:
    """Validation probes and checkpoints.

    The probes are computed every ``every`` optimizer steps on ``n_flames`` flames that are never
    trained on; a checkpoint is written every ``save_every`` steps.
    """

    every: int = 50
    n_flames: int = 256
    save_every: int = 50


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one size of the views.

    Attributes
    ----------
    until : float
        Share of all steps after which it ends.
    global_size, local_size : int
        Edges of the views [pixels].
    n_local : int
        Local views beside the two global ones.
    global_scale, local_scale : tuple of float
        Smallest and largest part of the flame's edge that a view shows.
    """

    until: float
    global_size: int
    local_size: int
    n_local: int = 4
    global_scale: tuple[float, float] = (0.5, 1.0)
    local_scale: tuple[float, float] = (0.2, 0.5)


@dataclass(frozen=True)
class Preset:
    """A training run; the sections of its TOML file."""

    name: str
    data: DataSettings
    optimizer: OptimizerSettings
    stages: tuple[Stage, ...]
    network: NetworkSettings = field(default_factory=NetworkSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    views: ViewSettings = field(default_factory=ViewSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)

    @property
    def effective_batch(self) -> int:
        """Flames per optimiser step."""
        return self.optimizer.batch_size * self.optimizer.accumulate

    def stage_at(self, step: int) -> Stage:
        """Return the stage that an optimiser step belongs to.

        Parameters
        ----------
        step : int
            From 0.

        Returns
        -------
        stage : Stage
            The first that has not ended.
        """
        share = step / self.optimizer.steps
        return next((stage for stage in self.stages if share < stage.until), self.stages[-1])


_SECTIONS = {
    "data": DataSettings,
    "optimizer": OptimizerSettings,
    "network": NetworkSettings,
    "head": HeadSettings,
    "views": ViewSettings,
    "loss": LossSettings,
    "watch": WatchSettings,
}

_RULES = {
    float: "must be a number",
    int: "must be a whole number",
    str: "must be a string",
    bool: "must be true or false",
}


def read_preset(preset: str | os.PathLike) -> Preset:
    """Read a training run.

    Parameters
    ----------
    preset : str or path-like
        The name of a preset, or a TOML file of the same sections.

    Returns
    -------
    preset : `Preset`
        Checked.

    Raises
    ------
    InputError
        If there is no such preset, or a key or a value is wrong.

    Examples
    --------
    >>> read_preset("paper").effective_batch
    1024
    """
    name = os.fspath(preset)
    path = _FOLDER / f"{name}.toml" if name in PRESETS else Path(name)
    if not path.is_file():
        raise InputError("preset", f"must be one of {', '.join(PRESETS)}, or a TOML file", name)
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"preset {path.name}", f"must be TOML ({error})") from error
    return preset_from_dict({"name": path.stem} | record)


def preset_from_dict(record: dict) -> Preset:
    """Build a preset from its sections, refusing what it does not know.

    Parameters
    ----------
    record : dict
        ``name``, the sections, and ``stages``: a list of sections.

    Returns
    -------
    preset : `Preset`
        Checked.

    Raises
    ------
    InputError
        If a section, a key or a value is wrong.
    """
    unknown = sorted(set(record) - set(_SECTIONS) - {"stages", "name"})
    if unknown:
        rule = f"has sections {', '.join((*_SECTIONS, 'stages'))} and no others"
        raise InputError("preset", rule, unknown)
    sections = {
        name: read_section(name, _SECTIONS[name], record.get(name, {})) for name in _SECTIONS
    }
    stages = tuple(read_section("stages", Stage, stage) for stage in record.get("stages", []))
    return _checked(Preset(record["name"], stages=stages, **sections))


def read_section(name: str, kind: type, record: dict) -> Any:
    """Build a section from a TOML table.

    Parameters
    ----------
    name : str
        Name of the section, for messages.
    kind : type
        Dataclass of the section, whose fields are numbers, strings, booleans or pairs of numbers.
    record : dict
        The TOML table.

    Returns
    -------
    section : object
        An instance of ``kind``.

    Raises
    ------
    InputError
        If a key is missing or unknown, or a value has the wrong type.
    """
    known = {item.name: item for item in fields(kind)}
    unknown = sorted(set(record) - set(known))
    if unknown:
        raise InputError(f"[{name}]", f"has keys {', '.join(known)} and no others", unknown)
    required = {key for key, item in known.items() if item.default is MISSING}
    if missing := sorted(required - set(record)):
        raise InputError(f"[{name}]", f"must give {', '.join(missing)}")
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in record.items()}
    for key, value in values.items():
        if not _fits(known[key].type, value):
            rule = _RULES.get(known[key].type, "must be two numbers")
            raise InputError(f"[{name}] {key}", rule, value)
    return kind(**values)


def _fits(kind: Any, value: object) -> bool:
    """Tell whether a TOML value can stand for a field; an integer may stand for a float."""
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in (int, str, bool):
        return type(value) is kind
    return isinstance(value, tuple) and len(value) == 2 and all(_fits(float, v) for v in value)


def _checked(preset: Preset) -> Preset:
    """Check what one key alone cannot tell."""
    patch = preset.network.patch_size
    if not preset.stages:
        raise InputError("[[stages]]", "must be given at least once")
    for stage in preset.stages:
        for size in (stage.global_size, stage.local_size):
            if size <= 0 or size % patch:
                raise InputError("[[stages]]", f"sizes must be multiples of patch {patch}", size)
    ends = [stage.until for stage in preset.stages]
    if ends != sorted(set(ends)) or ends[-1] != 1:
        raise InputError("[[stages]] until", "must ascend to 1", ends)
    dropped = preset.loss.dropped_patches
    if not 0 <= dropped < 1 or (dropped and preset.loss.ibot):
        rule = "must be at least 0 and below 1, and 0 with ibot: what is left out cannot be guessed"
        raise InputError("[loss] dropped_patches", rule, dropped)
    if preset.loss.centering not in ("sinkhorn", "softmax"):
        raise InputError("[loss] centering", "must be sinkhorn or softmax", preset.loss.centering)
    recipe, kind = preset.views.recipe, preset.data.kind
    if recipe not in ("physical", "imagenet"):
        raise InputError("[views] recipe", "must be physical or imagenet", recipe)
    if recipe == "imagenet" and kind != "rgb":
        raise InputError("[views] recipe", "imagenet is for flames of kind rgb", kind)
    return preset
