"""The words of the command line: verbs and their options."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches

import stellarssl
from stellarssl._utils.options import option_of
from stellarssl.cli import _verbs as verbs

__all__ = ["make_parser"]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs.

    Returns
    -------
    parser : `argparse.ArgumentParser`
        Each verb sets ``verb``, the function that does its work.
    """
    parser = argparse.ArgumentParser(
        prog="stellarssl", description="Masses of embedded stars, and segments, from radio cubes."
    )
    parser.add_argument("--version", action=_Version)
    parser.set_defaults(profile=False)
    parsers = parser.add_subparsers(
        title="verbs", required=True, metavar="VERB", parser_class=_VerbParser
    )
    progress = _progress_words()
    everywhere = _output_words(progress)
    for name, verb, text in (
        ("info", verbs.info, "report what a cube is, and what would be refused and why"),
        (
            "moments",
            verbs.moments,
            "maps of hydrogen column, velocity and dispersion, with errors",
        ),
        ("mass", verbs.mass, "masses of stars at --positions, or at the peaks of the column"),
        ("segment", verbs.segment, "a segmentation of the gas, as labels, picture and regions"),
        ("analyze", verbs.analyze, "moment maps, masses and segmentation"),
    ):
        parents = [] if name == "info" else [_output_words()]
        words = parsers.add_parser(name, help=text, description=text, parents=parents)
        words.reads_cube = True
        words.add_argument("cube", metavar="CUBE", help="FITS file (.gz too) or CASA image")
        words.set_defaults(verb=verb)
        if name == "info":
            words.add_argument("--plan", action="store_true", help="show how the cube is read")
            words.add_argument("--json", action="store_true", help="print the report as JSON")
        if name in ("mass", "analyze"):
            words.add_argument("--positions", metavar="FILE", help="catalog or region file")
            words.add_argument("--profile", action="store_true", help="show the time of each stage")
        if name in ("mass", "segment", "analyze"):
            _add_models(words, allow=name != "segment")
        if name in ("segment", "analyze"):
            _add_classes(words)
    _add_survey(parsers)
    text = "what analyze makes of a simulated cube that is shipped, truth beside estimate"
    demo = parsers.add_parser("demo", help=text, description=text, parents=[everywhere])
    demo.set_defaults(verb=verbs.demo)
    text = "scores of the masses on simulations that were left out, beside baselines"
    words = parsers.add_parser("evaluate", help=text, description=text, parents=[everywhere])
    words.add_argument(
        "--maps",
        action="store_true",
        help="score readers of maps, with trained and untrained encoders, too (slow)",
    )
    words.set_defaults(verb=verbs.evaluate, cube="evaluation")
    _add_pretraining(parsers, progress)
    return parser


def _add_pretraining(
    parsers: "argparse._SubParsersAction", progress: argparse.ArgumentParser
) -> None:
    text = (
        "flame fractals or clouds to train on, as files; the same command continues a stopped one"
    )
    words = parsers.add_parser("fractals", help=text, description=text, parents=[progress])
    words.set_defaults(verb=verbs.fractals)
    words.add_argument("--output", metavar="DIR", required=True, help="where the files go")
    words.add_argument("--n", type=int, required=True, metavar="N", help="number of images")
    words.add_argument("--kind", default="moments", help="moments, rgb, affine, fbm or clouds")
    words.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="image size in pixels (default: 96; rgb: 336; clouds: 64)",
    )
    words.add_argument(
        "--n-points", type=int, metavar="N", help="points of a flame (default: 1e5; rgb: 1e6)"
    )
    words.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, others")
    text = "images in a file (default: 2000; clouds: 300)"
    words.add_argument("--shard-size", type=int, metavar="N", help=text)
    text = "TOML file with the ranges of clouds (default: the shipped one)"
    words.add_argument("--recipe", metavar="FILE", help=text)
    _add_workers(words, 1, "processes that render")

    text = "an encoder from flames; call it again and it goes on where it stopped"
    words = parsers.add_parser("pretrain", help=text, description=text, parents=[progress])
    words.set_defaults(verb=verbs.pretrain)
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
    words = parsers.add_parser("export", help=text, description=text)
    words.set_defaults(verb=verbs.export)
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
            "--reader",
            choices=("forest", "knn"),
            default="forest",
            help="trees on rings and spectra, or the paper's nearest neighbors (default: forest)",
        )
        words.add_argument(
            "--prior",
            choices=("library", "flat"),
            default="library",
            help="distribution of log mass: the library's, or flat from 0.1 to 8 Msun "
            "(default: library)",
        )
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


def _add_survey(parsers: "argparse._SubParsersAction") -> None:
    text = "many cubes, on one machine or a cluster; stopped anywhere, it goes on where it was"
    words = parsers.add_parser("survey", help=text, description=text)
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
    words.set_defaults(verb=verbs.survey)


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
