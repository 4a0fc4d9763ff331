"""The ``stellarssl`` command: a verb a job, each a function from arguments to a status.

Everything is reached through the package's own lazy namespace, so that ``stellarssl info`` does not
wait for torch.
"""

import argparse
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path

import stellarssl
from stellarssl._utils.options import option_of
from stellarssl.exceptions import InputError, StellarSSLError, StellarSSLWarning

__all__ = ["main", "spell"]


def main(args: Sequence[str] | None = None) -> int:
    """Run one verb.

    Parameters
    ----------
    args : sequence of str, optional
        The words after ``stellarssl``; `sys.argv` by default.

    Returns
    -------
    status : int
        0 when the verb did its work, 1 when it could not (with one line on standard error), 2 when
        the words were wrong.
    """
    parser = _parser()
    try:
        options = parser.parse_args(args)
    except SystemExit as stop:  # argparse has said why already
        return int(stop.code or 0)
    with warnings.catch_warnings():
        # what the libraries below say of a header is noise here; what stellarssl says is not
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", StellarSSLWarning)
        words = _option_words(parser)
        warnings.showwarning = lambda message, *_: _say(f"note: {spell(message, words)}")
        try:
            return _profiled(options) if options.profile else options.verb(options)
        except StellarSSLError as error:
            _say(spell(error, words))
        except (OSError, MemoryError) as error:
            _say(f"{type(error).__name__}: {error}")
        except KeyboardInterrupt:
            _say("interrupted; what was written is whole")
            return 130
    return 1


def _profiled(options: argparse.Namespace) -> int:
    with stellarssl.profile() as stages:
        status = options.verb(options)
    print(stages, file=sys.stderr)
    return status


def _say(message: str) -> None:
    print(f"stellarssl: {' '.join(message.split())}", file=sys.stderr)


def spell(message: StellarSSLError | StellarSSLWarning, words: Mapping[str, str]) -> str:
    """Return a message in which arguments are named as the command line names them.

    Parameters
    ----------
    message : StellarSSLError or StellarSSLWarning
        Its parts are used, not its text for Python.
    words : mapping of str
        From the name of an argument to its option.

    Returns
    -------
    text : str
        An argument that has no option keeps its name in front, and is left out at the end.

    Examples
    --------
    >>> spell(InputError("rest_value", "must be given", arguments=["rest_value", "tracer"]),
    ...       {"rest_value": "--rest-value", "tracer": "--tracer"})
    '--rest-value: must be given (--tracer)'
    """
    text, got, shown = message.text, "", ()
    if isinstance(message, InputError):
        shown = message.parameter.split(", ")
        text = f"{', '.join(words.get(name, name) for name in shown)}: {message.rule}"
        got = message.got
    more = [words[name] for name in message.arguments if name in words and name not in shown]
    return f"{text} ({', '.join(more)}){got}" if more else text + got


def _option_words(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the options of all verbs, by the names of their arguments."""
    verbs = parser._subparsers._group_actions[0].choices.values()  # noqa: SLF001
    actions = [action for verb in verbs for action in verb._actions]  # noqa: SLF001
    return {each.dest: each.option_strings[-1] for each in actions if each.option_strings}


# --------------------------------------------------------------------------------------- the verbs


def _info(options: argparse.Namespace) -> int:
    names = ("unit", "beam", "rest_value", "distance", "hdu", "tracer")
    print(stellarssl.preflight(options.cube, **_named(options, *names)))
    if options.plan:
        plan = stellarssl.moment_plan(options.cube, **_shared(options))
        print(f"  {'plan':10s} {plan}")
    return 0


def _moments(options: argparse.Namespace) -> int:
    path = _output(options) / "moments.fits"
    maps = stellarssl.moment_maps(options.cube, **_shared(options))
    maps.write(path, overwrite=options.overwrite)
    print(path)
    return 0


def _mass(options: argparse.Namespace) -> int:
    names = ("library", "encoder", "allow")
    table = stellarssl.estimate_mass(
        options.cube, options.positions, **_named(options, *names), **_shared(options)
    )
    _print_table(table, _SHOWN)
    for path in stellarssl.write_masses(table, _output(options), overwrite=options.overwrite):
        print(path)
    return 0


def _segment(options: argparse.Namespace) -> int:
    names = ("n_classes", "library", "encoder")
    segmentation = stellarssl.segment(options.cube, **_named(options, *names), **_shared(options))
    for path in segmentation.write(_output(options), overwrite=options.overwrite):
        print(path)
    return 0


def _analyze(options: argparse.Namespace) -> int:
    names = ("n_classes", "library", "encoder", "allow")
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
        _say(f"no {product}: {spell(reason, _option_words(_parser()))}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    options.cube, stars = stellarssl.demo_files()
    options.output = options.output or "stellarssl-demo"
    library = stellarssl.ReferenceLibrary.default().exclude(sim="s4")
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


def _survey(options: argparse.Namespace) -> int:
    names = ("positions", "output", "only_sources", "n_classes", "library", "encoder", "allow")
    table = stellarssl.survey.run(
        options.cubes,
        parallel=options.scheduler or options.processes,
        **_named(options, *names),
        **_shared(options),
    )
    _print_table(table)
    failed = [str(row["cube"]) for row in table if row["status"] == "failed"]
    if failed:
        _say(f"{len(failed)} of {len(table)} cubes failed; the same command tries them again")
    refused = all(row["status"] == "refused" for row in table)
    if refused:
        _say("no cube gave maps; the reasons are in cubes.ecsv")
    return 1 if failed or refused else 0


def _evaluate(options: argparse.Namespace) -> int:
    table = stellarssl.evaluate.cross_validate(depth=options.depth, progress=options.progress)
    _print_table(table)
    print(
        stellarssl.evaluate.write_evaluation(table, _output(options), overwrite=options.overwrite)
    )
    return 0


def _fractals(options: argparse.Namespace) -> int:
    names = ("n", "kind", "size", "n_points", "seed", "n_workers", "shard_size", "progress")
    print(stellarssl.pretrain.render_shards(options.output, **_named(options, *names)))
    return 0


def _pretrain(options: argparse.Namespace) -> int:
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


def _export(options: argparse.Namespace) -> int:
    names = ("name", "notes", "overwrite")
    stellarssl.pretrain.export_encoder(options.run, options.output, **_named(options, *names))
    print(options.output)
    return 0


# ------------------------------------------------------------------------------- what verbs share

_SHOWN = ("id", "mass", "mass_lower", "mass_upper", "star_probability", "ood_pvalue", "flag_words")


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


# -------------------------------------------------------------------------------------- the words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stellarssl", description="Masses of embedded stars, and segments, from radio cubes."
    )
    parser.add_argument("--version", action=_Version)
    parser.set_defaults(profile=False)
    verbs = parser.add_subparsers(
        title="verbs", required=True, metavar="VERB", parser_class=_VerbParser
    )
    progress = _progress_words()
    everywhere = _output_words(progress)
    for name, verb, text in (
        ("info", _info, "summarize a cube, and what would be refused and why"),
        ("moments", _moments, "hydrogen column, velocity and dispersion maps with their errors"),
        ("mass", _mass, "masses of stars at --positions, or at the peaks of the column"),
        ("segment", _segment, "a segmentation of the gas, as labels, picture and regions"),
        ("analyze", _analyze, "moment maps, masses and segmentation"),
    ):
        parents = [] if name == "info" else [_output_words()]
        words = verbs.add_parser(name, help=text, description=text, parents=parents)
        words.reads_cube = True
        words.add_argument("cube", metavar="CUBE", help="FITS file (.gz too) or CASA image")
        words.set_defaults(verb=verb)
        if name == "info":
            words.add_argument("--plan", action="store_true", help="show how the cube is read")
        if name in ("mass", "analyze"):
            words.add_argument("--positions", metavar="FILE", help="catalog or region file")
            words.add_argument("--profile", action="store_true", help="show the time of each stage")
        if name in ("mass", "segment", "analyze"):
            _add_models(words, allow=name != "segment")
        if name in ("segment", "analyze"):
            _add_classes(words)
    _add_survey(verbs)
    text = "what analyze makes of a simulated cube that is shipped, truth beside estimate"
    demo = verbs.add_parser("demo", help=text, description=text, parents=[everywhere])
    demo.set_defaults(verb=_demo)
    text = "how good the masses are on the shipped library, beside their rivals"
    words = verbs.add_parser("evaluate", help=text, description=text, parents=[everywhere])
    words.add_argument("--depth", default="0.5 pc", metavar='"0.5 pc"', help="which rows of it")
    words.set_defaults(verb=_evaluate, cube="evaluation")
    _add_pretraining(verbs, progress)
    return parser


def _add_pretraining(
    verbs: "argparse._SubParsersAction", progress: argparse.ArgumentParser
) -> None:
    text = "flame fractals to train on, as files; call it again and it goes on where it stopped"
    words = verbs.add_parser("fractals", help=text, description=text, parents=[progress])
    words.set_defaults(verb=_fractals)
    words.add_argument("--output", metavar="DIR", required=True, help="where the files go")
    words.add_argument("--n", type=int, required=True, metavar="N", help="how many flames")
    words.add_argument("--kind", default="moments", help="moments, rgb, affine or fbm")
    words.add_argument("--size", type=int, metavar="PIXELS", help="edge; 96, or 336 for rgb")
    words.add_argument("--n-points", type=int, metavar="N", help="of a flame; 1e5, 1e6 for rgb")
    words.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, others")
    words.add_argument("--shard-size", type=int, default=2000, metavar="N", help="flames a file")
    _add_workers(words, 1, "processes that render")

    text = "an encoder from flames; call it again and it goes on where it stopped"
    words = verbs.add_parser("pretrain", help=text, description=text, parents=[progress])
    words.set_defaults(verb=_pretrain)
    words.add_argument("preset", metavar="PRESET", help="its name, or a TOML file")
    words.add_argument("--output", metavar="DIR", help="where checkpoints and log go")
    words.add_argument("--dry-run", action="store_true", help="tell what it would take")
    words.add_argument("--data", metavar="DIR", help="of stellarssl fractals; else made on the fly")
    words.add_argument("--start", metavar="FILE", help="exported weights to begin with")
    words.add_argument("--max-steps", type=int, metavar="N", help="stop after so many in all")
    words.add_argument("--max-hours", type=float, metavar="H", help="stop after this time")
    _add_workers(words, 0, "processes beside the training that read or render flames")
    words.add_argument("--accelerator", default="auto", help="auto, cpu or cuda")
    words.add_argument("--devices", type=int, default=1, metavar="N", help="GPUs, or processes")
    words.add_argument("--nodes", type=int, default=1, dest="n_nodes", metavar="N", help="machines")
    words.add_argument(
        "--precision", metavar="P", help="32-true or bf16-mixed (default: as the device allows)"
    )
    words.add_argument(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        help="a log for TensorBoard beside the CSV; if left out, where it is installed",
    )

    text = "the encoder of a training run, as weights with their model card"
    words = verbs.add_parser("export", help=text, description=text)
    words.set_defaults(verb=_export)
    words.add_argument("run", metavar="RUN", help="the folder given to pretrain")
    words.add_argument("--output", metavar="FILE", required=True, help="a .safetensors file")
    words.add_argument("--name", required=True, help="what the weights shall be called")
    words.add_argument("--notes", default="", metavar="TEXT", help="for the model card")
    words.add_argument("--overwrite", action="store_true", help="replace files that are there")


def _add_workers(words: argparse.ArgumentParser, default: int, text: str) -> None:
    words.add_argument(
        "--workers", type=int, default=default, dest="n_workers", metavar="N", help=text
    )


def _add_models(words: argparse.ArgumentParser, *, allow: bool) -> None:
    words.add_argument(
        "--library", metavar="FILE", help="reference library to use instead of the shipped one"
    )
    words.add_argument(
        "--encoder",
        metavar="NAME",
        help="name or .safetensors file of the encoder to use instead of the shipped one",
    )
    if allow:
        words.add_argument(
            "--allow",
            metavar="FLAG",
            action="append",
            default=[],
            help="show masses in spite of this flag, such as missing_flux; may be repeated",
        )


def _add_classes(words: argparse.ArgumentParser) -> None:
    words.add_argument(
        "--n-classes",
        type=int,
        metavar="N",
        help="number of classes of gas (default: as many as the data support)",
    )


def _add_survey(verbs: "argparse._SubParsersAction") -> None:
    text = "many cubes, on one machine or a cluster; stopped anywhere, it goes on where it was"
    words = verbs.add_parser("survey", help=text, description=text)
    words.reads_cube = True
    words.add_argument("cubes", metavar="CUBE", nargs="+", help="FITS files or CASA images")
    words.add_argument(
        "--positions",
        metavar="FILE",
        help="catalog or region file of the stars on all cubes; else each cube's column peaks",
    )
    words.add_argument(
        "--output",
        metavar="DIR",
        required=True,
        help="where all results go; the same command with the same folder goes on there",
    )
    words.add_argument(
        "--only-sources",
        action="store_true",
        help="read no more of a cube than the tiles of its stars; needs --positions",
    )
    _add_models(words, allow=True)
    _add_classes(words)
    where = words.add_mutually_exclusive_group()
    where.add_argument(
        "--processes", type=int, metavar="N", help="cubes at once on this machine; 1 if left out"
    )
    where.add_argument(
        "--scheduler", metavar='"tcp://host:8786"', help="of a dask cluster that does the work"
    )
    words.set_defaults(verb=_survey)


def _output_words(*parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(add_help=False, parents=parents)
    words.add_argument(
        "--output", metavar="DIR", help="folder of the results (default: CUBE-stellarssl)"
    )
    words.add_argument("--overwrite", action="store_true", help="replace existing results")
    return words


def _progress_words() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(add_help=False)
    words.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=sys.stderr.isatty(),
        help="whether progress bars are shown",
    )
    return words


class _VerbParser(argparse.ArgumentParser):
    """Parser of one verb, which gets the options of reading a cube when it is used.

    Their definitions cost an import that ``stellarssl --help`` need not wait for.
    """

    reads_cube = False

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: object = None
    ) -> tuple:
        """Add the options of the cube, then parse; suggest a name for an unknown option."""
        if self.reads_cube:
            _add_options(self)
            self.reads_cube = False
        found, unknown = super().parse_known_args(args, namespace)
        for word in unknown:
            if word.startswith("--"):
                name = word.split("=")[0]
                near = get_close_matches(name, self._option_string_actions, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                self.error(f"unknown option {name}{hint}")
        return found, unknown


def _add_options(words: argparse.ArgumentParser) -> None:
    """Add every option of `MomentOptions` under its own name."""
    group = words.add_argument_group("options of the cube and its maps")
    for each in fields(stellarssl.MomentOptions):
        described = option_of(each)
        text = re.sub(r"`~?([\w.]+)`", r"\1", described.help).replace("%", "%%")
        text = text[0].lower() + text[1:]
        flag = f"--{each.name.replace('_', '-')}"
        if described.example is None:
            default = sys.stderr.isatty() if each.name == "progress" else each.default
            action = argparse.BooleanOptionalAction
            group.add_argument(flag, action=action, default=default, help=text)
            continue
        example = f'"{described.example}"' if " " in described.example else described.example
        group.add_argument(
            flag, metavar=example, type=described.word, default=each.default, help=text
        )


class _Version(argparse.Action):
    """Print the version, which costs an import, only when it is asked for."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and leave")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"stellarssl {stellarssl.__version__}")
        parser.exit()
