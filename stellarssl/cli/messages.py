"""Messages on standard error, in which arguments have the names of the command line."""

import argparse
import sys
from collections.abc import Mapping

from stellarssl.exceptions import InputError, StellarSSLError, StellarSSLWarning

__all__ = ["option_words", "say", "spell"]


def say(message: str) -> None:
    """Print a message on standard error, in one line.

    Parameters
    ----------
    message : str
        Text, whose line breaks become spaces.
    """
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


def option_words(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the options of all verbs, by the names of their arguments.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        Parser of the whole command.

    Returns
    -------
    words : dict of str
        Such as ``{"rest_value": "--rest-value"}``.
    """
    verbs = parser._subparsers._group_actions[0].choices.values()  # noqa: SLF001
    actions = [action for verb in verbs for action in verb._actions]  # noqa: SLF001
    return {each.dest: each.option_strings[-1] for each in actions if each.option_strings}
