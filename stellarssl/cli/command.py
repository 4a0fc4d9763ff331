"""`main`: parse the arguments, run one verb, and report errors in one line each."""

import argparse
import sys
import warnings
from collections.abc import Sequence

import stellarssl
from stellarssl.cli.messages import option_words, say, spell
from stellarssl.cli.words import make_parser
from stellarssl.exceptions import StellarSSLError, StellarSSLWarning

__all__ = ["main"]


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
    parser = make_parser()
    try:
        options = parser.parse_args(args)
    except SystemExit as stop:  # argparse has said why already
        return int(stop.code or 0)
    with warnings.catch_warnings():
        # what the libraries below say of a header is noise here; what stellarssl says is not
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", StellarSSLWarning)
        options.words = words = option_words(parser)
        warnings.showwarning = lambda message, *_: say(f"note: {spell(message, words)}")
        try:
            return _profiled(options) if options.profile else options.verb(options)
        except StellarSSLError as error:
            say(spell(error, words))
        except (OSError, MemoryError) as error:
            say(f"{type(error).__name__}: {error}")
        except KeyboardInterrupt:
            say("interrupted; what was written is whole")
            return 130
    return 1


def _profiled(options: argparse.Namespace) -> int:
    with stellarssl.profile() as stages:
        status = options.verb(options)
    print(stages, file=sys.stderr)
    return status
