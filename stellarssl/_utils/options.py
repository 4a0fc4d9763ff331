"""Options that many functions and commands share, each defined once.

A frozen dataclass lists the options. Everything else follows from its fields: the keywords and the
docstring of each function that accepts them (`accepts`), the options of the command line, and the
table in the documentation.
"""

import difflib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields, replace
from functools import wraps
from typing import Any, Self, TypeVar

from stellarssl.exceptions import UnknownOptionError

__all__ = ["Option", "Options", "accepts", "option", "option_of"]

_Function = TypeVar("_Function", bound=Callable)
_PLACEHOLDER = "**options"


@dataclass(frozen=True, kw_only=True)
class Option:
    """Description of one option.

    Attributes
    ----------
    kind : str
        Type, as the Parameters section of a docstring states it.
    help : str
        Description in one line, without a full stop at its end.
    parse : callable
        Returns the normalized value of any other value than None, or raises `InputError`.
    canonical : callable
        Returns a normalized value as a JSON type.
    example : str or None
        Example for the command line; None for an option that is switched on or off.
    word : callable
        Reads the text that was given on the command line.
    changes_numbers : bool
        Whether results depend on it.
    """

    kind: str
    help: str
    parse: Callable[[Any], Any]
    canonical: Callable[[Any], object] = str
    example: str | None = None
    word: Callable[[str], object] = str
    changes_numbers: bool = True


def option(kind: str, text: str, *, default: object = None, **description: Any) -> Any:
    """Define a field of an `Options` class.

    Parameters
    ----------
    kind : str
        Type, as the Parameters section of a docstring states it.
    text : str
        Description in one line, without a full stop at its end.
    default : object, optional
        Value if the option is left out.
    **description
        Other attributes of `Option`.

    Returns
    -------
    field : `dataclasses.Field`
        With the `Option` in its metadata.
    """
    described = Option(kind=kind, help=text, **description)
    return field(default=default, metadata={"option": described})


def option_of(each: Field) -> Option:
    """Return the description of a field that `option` defined."""
    return each.metadata["option"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """Base class of option sets; every field is defined by `option`."""

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their defaults."""
        return {
            each.name: value
            for each in fields(self)
            if not _is_same(value := getattr(self, each.name), each.default)
        }

    def check(self) -> Self:
        """Check all that can be checked without the data.

        Returns
        -------
        options : Options
            Copy with normalized values. Checking it again changes nothing.

        Raises
        ------
        InputError
            If a value breaks a rule.
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        parsed = {
            each.name: option_of(each).parse(values[each.name])
            for each in fields(self)
            if values[each.name] is not None
        }
        return replace(self, **parsed)

    def canonical(self) -> dict[str, object]:
        """Return the options that results depend on, for provenance.

        Returns
        -------
        plain : dict of str
            JSON types, with quantities in fixed units, so that equal options look the same however
            they were written.

        Raises
        ------
        InputError
            If a value breaks a rule.
        """
        checked = self.check()
        plain = {}
        for each in fields(checked):
            described, value = option_of(each), getattr(checked, each.name)
            if described.changes_numbers:
                plain[each.name] = None if value is None else described.canonical(value)
        return plain


def _is_same(value: object, default: object) -> bool:
    return value is default or (isinstance(value, str) and value == default)


def accepts(options: type[Options]) -> Callable[[_Function], _Function]:
    """Let a function accept the options of a class as keywords.

    The function must take them as ``**options``, and its docstring must have a parameter
    ``**options``, in whose place the descriptions of all options are put. The signature shows
    each option, and an unknown keyword is refused with a suggestion. An option that the function
    also has as a parameter of its own is described by the function.

    Parameters
    ----------
    options : type
        Subclass of `Options`.

    Returns
    -------
    decorate : callable
        Decorator.
    """

    def decorate(function: _Function) -> _Function:
        signature = _signature(function, options)

        @wraps(function)
        def checked(*args: Any, **keywords: Any) -> Any:
            for name in keywords:
                if name not in signature.parameters:
                    raise unknown_option(function.__name__, name, list(signature.parameters))
            return function(*args, **keywords)

        checked.__signature__ = signature  # type: ignore[attr-defined]
        checked.__doc__ = _docstring(function, options)
        return checked  # type: ignore[return-value]

    return decorate


def unknown_option(function: str, name: str, known: list[str]) -> UnknownOptionError:
    """Return the error for a keyword that a function does not have."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return UnknownOptionError(name, f"is not an option of {function}(){hint}")


def _own(function: Callable) -> list[inspect.Parameter]:
    parameters = inspect.signature(function).parameters.values()
    return [each for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD]


def _signature(function: Callable, options: type[Options]) -> inspect.Signature:
    own = _own(function)
    taken = {each.name for each in own}
    shared = [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type
        )
        for each in fields(options)
        if each.name not in taken
    ]
    return inspect.signature(function).replace(parameters=[*own, *shared])


def _docstring(function: Callable, options: type[Options]) -> str | None:
    """Put the descriptions of the options in the place of ``**options``."""
    if function.__doc__ is None:  # python -OO
        return None
    taken = {each.name for each in _own(function)}
    lines = inspect.cleandoc(function.__doc__).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(_PLACEHOLDER))
    last = next(i for i in range(first + 1, len(lines)) if not lines[i].startswith(" "))
    described = [
        line for each in fields(options) if each.name not in taken for line in _entry(each)
    ]
    return "\n".join([*lines[:first], *described, *lines[last:]])


def _entry(each: Field) -> list[str]:
    described = option_of(each)
    text = f"{described.help}."
    if each.default is not None:
        text += f" The default is {each.default!r}."
    return [
        f"{each.name} : {described.kind}, optional",
        *textwrap.wrap(text, 92, initial_indent="    ", subsequent_indent="    "),
    ]
