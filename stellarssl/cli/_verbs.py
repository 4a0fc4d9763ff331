"""The verbs: each takes the parsed arguments and returns the exit status.

Everything is reached through the package's own lazy namespace, so that ``stellarssl info`` does not
wait for torch.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

import stellarssl
from stellarssl.cli.messages import say, spell
from stellarssl.exceptions import InputError

__all__ = ["analyze", "demo", "evaluate", "export", "fractals", "info", "mass", "moments"]
__all__ += ["pretrain", "segment", "survey"]


_ESTIMATING = ("reader", "prior", "library", "encoder", "allow")


def info(options: argparse.Namespace) -> int:
    """Print what a cube is, and what would be refused."""
    report = stellarssl.info(options.cube, **_shared(options))
    spelled = partial(spell, words=options.words)
    if options.json:
        print(json.dumps(report.to_json(spelled), indent=2))
    else:
        print(report.text(spelled))
        if options.plan and report.plan is not None:
            print(f"  {'plan':10s} {report.plan}")
    return 1 if report.is_refused else 0


def moments(options: argparse.Namespace) -> int:
    """Write the moment maps of a cube."""
    path = _output(options) / "moments.fits"
    maps = stellarssl.moment_maps(options.cube, **_shared(options))
    maps.write(path, overwrite=options.overwrite)
    print(path)
    return 0


def mass(options: argparse.Namespace) -> int:
    """Write the masses of the stars on a cube."""
    names = _ESTIMATING
    table = stellarssl.estimate_mass(
        options.cube, options.positions, **_named(options, *names), **_shared(options)
    )
    _print_table(table, _SHOWN)
    for path in stellarssl.write_masses(table, _output(options), overwrite=options.overwrite):
        print(path)
    return 0


def segment(options: argparse.Namespace) -> int:
    """Write the segmentation of a cube."""
    names = ("n_classes", "library", "encoder")
    segmentation = stellarssl.segment(options.cube, **_named(options, *names), **_shared(options))
    for path in segmentation.write(_output(options), overwrite=options.overwrite):
        print(path)
    return 0


def analyze(options: argparse.Namespace) -> int:
    """Write moment maps, masses, segmentation and figures of a cube."""
    names = ("n_classes", *_ESTIMATING)
    analysis = stellarssl.analyze(
        options.cube, options.positions, **_named(options, *names), **_shared(options)
    )
    return _finish(analysis, options)


def _finish(analysis: "stellarssl.Analysis", options: argparse.Namespace) -> int:
    directory = _output(options)
    written = [
        *analysis.write(directory, overwrite=options.overwrite),
        *stellarssl.write_figures(analysis, directory, overwrite=options.overwrite),
    ]
    if analysis.masses is not None:
        _print_table(analysis.masses, _SHOWN)
    for path in written:
        print(path)
    for product, reason in analysis.refused.items():
        say(f"no {product}: {spell(reason, options.words)}")
    return 0


def demo(options: argparse.Namespace) -> int:
    """Analyze the shipped cube, and compare the masses with the true ones."""
    options.cube, stars = stellarssl.demo_files()
    options.output = options.output or "stellarssl-demo"
    library = stellarssl.library.PPVTiles.default().exclude(sim="s4")
    analysis = stellarssl.analyze(options.cube, stars, library=library, progress=options.progress)
    status = _finish(analysis, options)
    if analysis.masses is not None:
        _print_table(stellarssl.compare(analysis.masses, stars))
    if analysis.masses is not None and not analysis.masses["mass"].mask.all():
        print(
            stellarssl.write_comparison(
                analysis.masses, stars, _output(options), overwrite=options.overwrite
            )
        )
    return status


def survey(options: argparse.Namespace) -> int:
    """Analyze many cubes."""
    names = ("positions", "output", "only_sources", "n_classes", *_ESTIMATING)
    table = stellarssl.survey.run(
        options.cubes,
        parallel=options.scheduler or options.processes,
        **_named(options, *names),
        **_shared(options),
    )
    _print_table(table)
    failed = [str(row["cube"]) for row in table if row["status"] == "failed"]
    if failed:
        say(f"{len(failed)} of {len(table)} cubes failed; the same command tries them again")
    refused = all(row["status"] == "refused" for row in table)
    if refused:
        say("no cube gave maps; the reasons are in cubes.ecsv")
    return 1 if failed or refused else 0


def evaluate(options: argparse.Namespace) -> int:
    """Write how good the masses are on simulations that were left out."""
    directory = _output(options)
    predictions = stellarssl.evaluate.simulation_predictions(progress=options.progress)
    _print_table(stellarssl.evaluate.score_predictions(predictions))
    _print_table(stellarssl.evaluate.margins(predictions))
    written = stellarssl.evaluate.write_scores(predictions, directory, overwrite=options.overwrite)
    if options.maps:
        table = stellarssl.evaluate.cross_validate(progress=options.progress)
        _print_table(table)
        written.append(
            stellarssl.evaluate.write_evaluation(table, directory, overwrite=options.overwrite)
        )
    for path in written:
        print(path)
    return 0


def fractals(options: argparse.Namespace) -> int:
    """Render flames or clouds to files."""
    clouds = options.kind == "clouds"
    for name in ("n_points",) if clouds else ("recipe",):
        if getattr(options, name) is not None:
            raise InputError(name, f"cannot be combined with kind {options.kind}")
    names = ("n", "size", "seed", "n_workers", "shard_size", "progress")
    names += ("recipe",) if clouds else ("kind", "n_points")
    given = {name: value for name, value in _named(options, *names).items() if value is not None}
    render = stellarssl.pretrain.render_clouds if clouds else stellarssl.pretrain.render_shards
    print(render(options.output, **given))
    return 0


def pretrain(options: argparse.Namespace) -> int:
    """Train an encoder, or print what training would take."""
    if options.dry_run:
        print(stellarssl.pretrain.plan(options.preset))
        return 0
    if options.output is None:
        rule = "must be given, unless it is a dry run"
        raise InputError("output", rule, arguments=["dry_run"])
    names = ("n_workers", "accelerator", "devices", "n_nodes", "precision")
    hardware = stellarssl.pretrain.Hardware(**_named(options, *names))
    names = ("data", "start", "max_steps", "max_hours", "tensorboard", "progress")
    print(
        stellarssl.pretrain.train(
            options.preset, options.output, hardware=hardware, **_named(options, *names)
        )
    )
    return 0


def export(options: argparse.Namespace) -> int:
    """Write the encoder of a training run."""
    names = ("name", "notes", "overwrite")
    stellarssl.pretrain.export_encoder(options.run, options.output, **_named(options, *names))
    print(options.output)
    return 0


_SHOWN = ("id", "mass", "mass_lower", "mass_upper", "r2_simulation", "novelty_pvalue", "flag_words")


def _print_table(table: "QTable", columns: Sequence[str] | None = None) -> None:  # noqa: F821
    """Print columns of a table, numbers to three digits."""
    shown = table[list(columns)] if columns else table.copy()
    for name in shown.colnames:
        if shown[name].dtype.kind == "f":
            shown[name].info.format = ".3g"
    print("\n".join(shown.pformat(max_lines=-1, max_width=-1)))


def _named(options: argparse.Namespace, *names: str) -> dict[str, object]:
    return {name: getattr(options, name) for name in names}


def _shared(options: argparse.Namespace) -> dict[str, object]:
    """Return the options that all verbs that read a cube have."""
    return _named(options, *(each.name for each in fields(stellarssl.MomentOptions)))


def _output(options: argparse.Namespace) -> Path:
    if options.output is not None:
        return Path(options.output)
    stem = Path(options.cube).name.split(".")[0]
    return Path(f"{stem}-stellarssl")
