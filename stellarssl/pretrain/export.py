"""A run's teacher as an encoder that others can load, with its model card."""

import csv
from dataclasses import replace
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save

from stellarssl._utils.output import atomic_path
from stellarssl._utils.provenance import provenance
from stellarssl.encoder import Encoder, EncoderSpec, read_weights
from stellarssl.exceptions import InputError
from stellarssl.pretrain.checkpoints import read_checkpoint
from stellarssl.pretrain.distillation import SelfDistillation, network_spec
from stellarssl.pretrain.preset import Preset, preset_from_dict

__all__ = ["export", "read_log", "start_from"]

_CARD = """{name}
{underline}

A vision transformer trained by DINOv2 self-distillation on synthetic flame fractals, whose three
channels stand for log10 N_H, v_los and sigma_v. No picture of the sky and no simulation was used.

| | |
| --- | --- |
| network | {architecture}, {image_size} px, patch {patch_size}, width {width} |
| registers | {n_registers} |
| weights | teacher, half precision, sha256 `{sha256}` |
| licence | {licence} |
| flames | {kind}, {size} px, {n_points} points, seed {seed} |
| flames seen | {n_seen} ({n_distinct} distinct), {n_views} views of each |
| steps | {steps} of {planned}, batch {batch} |
| stages | {stages} |
| made with | {versions} |

Probes on {n_probe} held-out flames at the last look (the log beside this file holds them all):
{probes}.

- `neighbor`: how often a crop's nearest neighbor is the other crop of the same flame;
- `amplitude`: R2 of a ridge regression from a patch's token to its channel means;
- `effective_rank`: directions that class tokens fill, of {width};
- `feature_std`: their spread, 1 where they fill the sphere;
- `entropy`: of the teacher's answers, 1 at most.

{notes}
"""


def export(run: Path, output: Path, *, name: str, notes: str, overwrite: bool) -> Path:
    """Write the teacher of a run; see `~stellarssl.pretrain.export_encoder`.

    Parameters
    ----------
    run : `~pathlib.Path`
        Folder of the run.
    output : `~pathlib.Path`
        The ``.safetensors`` file to write.
    name, notes, overwrite
        As for `~stellarssl.pretrain.export_encoder`.

    Returns
    -------
    path : `~pathlib.Path`
        Path of the ``.safetensors`` file.
    """
    path = run / "last.ckpt"
    if not path.is_file():
        raise InputError("run", "must be the folder of a run, with a last.ckpt", str(run))
    checkpoint = read_checkpoint(path)
    preset = preset_from_dict(checkpoint["preset"])
    module = SelfDistillation(preset)
    module.load_state_dict(checkpoint["state_dict"])
    teacher = module.teacher
    encoder = Encoder.from_model(
        teacher.backbone.vit, replace(network_spec(preset), name=name), device="cpu"
    )
    path = encoder.write(output, overwrite=overwrite)
    _, spec = read_weights(path)
    rows = read_log(run)
    with atomic_path(output.with_suffix(".csv"), overwrite=overwrite) as temporary:
        _write_log(temporary, rows)
    with atomic_path(_beside(output, "-heads"), overwrite=overwrite) as temporary:
        heads = {
            key: value.half().contiguous()
            for key, value in teacher.state_dict().items()
            if key.startswith(("class_head", "patch_head")) or key == "backbone.mask_token"
        }
        temporary.write_bytes(save(heads, metadata={"encoder_sha256": spec.sha256}))
    card = _card(spec, preset, checkpoint, rows, notes)
    with atomic_path(output.with_suffix(".md"), overwrite=overwrite) as temporary:
        temporary.write_text(card, encoding="utf-8")
    return path


def start_from(module: SelfDistillation, path: Path) -> None:
    """Give student and teacher the weights and the heads that `export` wrote.

    Parameters
    ----------
    module : `SelfDistillation`
        A run that has not begun.
    path : path-like
        The encoder's file; the heads lie beside it.

    Raises
    ------
    InputError
        If a file is missing or damaged, or they are of another network.
    """
    vit, spec = read_weights(path)
    asked = network_spec(module.preset)
    if replace(spec, name=asked.name, sha256="") != asked:
        raise InputError("start", f"must be weights of {asked}", spec)
    heads_path = _beside(path, "-heads")
    if not heads_path.is_file():
        raise InputError("start", f"must have its heads beside it, {heads_path.name}", str(path))
    with safe_open(heads_path, framework="pt") as file:
        mate = file.metadata()["encoder_sha256"]
        state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    if mate != spec.sha256:
        raise InputError("start", f"must have its own heads beside it, not those of {mate}")
    state |= {f"backbone.vit.{name}": value for name, value in vit.state_dict().items()}
    for branch in (module.student, module.teacher):
        try:
            branch.load_state_dict(state)
        except RuntimeError as error:
            raise InputError("start", f"must have heads of {module.preset.head}") from error


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.stem}{suffix}{path.suffix}")


def read_log(run: Path) -> list[dict[str, str]]:
    """Read the log of a run, stretch after stretch.

    Parameters
    ----------
    run : path-like
        The folder given to `~stellarssl.pretrain.train`.

    Returns
    -------
    rows : list of dict
        A row a step, the later stretch's where two hold the same; probes where they were taken.
    """
    rows: dict[int, dict[str, str]] = {}
    stretches = sorted(run.glob("log/version_*/metrics.csv"), key=lambda p: int(p.parent.name[8:]))
    for path in stretches:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                rows.setdefault(int(row["step"]), {}).update(
                    {key: value for key, value in row.items() if value}
                )
    return [rows[step] for step in sorted(rows)]


def _write_log(path: Path, rows: list[dict[str, str]]) -> None:
    names = sorted({key for row in rows for key in row} - {"step", "epoch"})
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["step", *names], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _card(
    spec: EncoderSpec, preset: Preset, checkpoint: dict, rows: list[dict[str, str]], notes: str
) -> str:
    probed = [row for row in rows if "probe_neighbor" in row]
    probes = {
        key.removeprefix("probe_"): value
        for key, value in (probed[-1] if probed else {}).items()
        if key.startswith("probe_")
    }
    n_seen = checkpoint["micro_step"] * preset.optimizer.batch_size
    made = provenance()
    stages = (
        f"to {stage.until:.0%}: 2 x {stage.global_size} + {stage.n_local} x {stage.local_size} px"
        for stage in preset.stages
    )
    return _CARD.format(
        name=spec.name,
        underline="=" * len(spec.name),
        architecture=spec.architecture,
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        width=spec.width,
        n_registers=spec.n_registers,
        sha256=spec.sha256,
        licence=spec.licence,
        kind=preset.data.kind,
        size=preset.data.size,
        n_points=preset.data.n_points,
        seed=preset.data.seed,
        n_seen=n_seen,
        n_distinct=min(n_seen, preset.data.n_flames),
        n_views=2 + preset.stages[0].n_local,
        steps=checkpoint["global_step"],
        planned=preset.optimizer.steps,
        batch=preset.effective_batch,
        stages="; ".join(stages),
        versions=", ".join(f"{k.removeprefix('version_')} {v}" for k, v in made.items()),
        n_probe=preset.watch.n_flames,
        probes=", ".join(f"{key} {float(value):.3g}" for key, value in sorted(probes.items())),
        notes=notes,
    )
