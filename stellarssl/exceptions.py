"""What stellarssl raises and warns with."""

from collections.abc import Iterable

from astropy.utils.exceptions import AstropyUserWarning

__all__ = [
    "ChangedInputError",
    "EncoderMismatchError",
    "InputError",
    "MissingDependencyError",
    "MissingInputError",
    "NoSignalError",
    "OutputError",
    "OutputExistsError",
    "StellarSSLError",
    "StellarSSLWarning",
    "UnknownLineError",
    "UnknownOptionError",
]


class _Message(Exception):  # noqa: N818  (of errors and warnings)
    """A text, and the names of the arguments that help."""

    def __init__(self, text: str, arguments: Iterable[str] = ()) -> None:
        self.text, self.arguments = text, tuple(arguments)
        super().__init__(text)

    def __str__(self) -> str:
        return self.text + _hint(self.arguments)

    def __reduce__(self) -> tuple[type, tuple]:
        # BaseException would keep the text alone
        return type(self), (self.text, self.arguments)


def _hint(arguments: tuple[str, ...]) -> str:
    """Spell the arguments that help as Python does."""
    return f" ({', '.join(f'{name}=' for name in arguments)})" if arguments else ""


class StellarSSLError(_Message):
    """Base class of all errors that stellarssl raises on purpose.

    Parameters
    ----------
    text : str
        One sentence that says what is wrong.
    arguments : iterable of str, optional
        Names of the arguments that help. They stand at the end of the message: ``(unit=, beam=)``
        in Python, ``(--unit, --beam)`` on the command line.
    """


class InputError(StellarSSLError, ValueError):
    """An argument, a header or a file breaks a rule.

    Parameters
    ----------
    parameter : str
        The name of what is wrong: an argument, a header card or a file; several are separated
        by commas.
    rule : str
        What it must be; continues the sentence after the name.
    value : object, optional
        The value that was given; left out of the message when there is nothing to show.
    arguments : iterable of str, optional
        Names of the arguments that help.

    Examples
    --------
    >>> raise InputError("beam", "must be given", arguments=["beam"])
    Traceback (most recent call last):
    ...
    stellarssl.exceptions.InputError: beam: must be given (beam=)
    """

    def __init__(
        self, parameter: str, rule: str, value: object = ..., arguments: Iterable[str] = ()
    ) -> None:
        self.parameter, self.rule, self.value = parameter, rule, value
        super().__init__(f"{parameter}: {rule}", arguments)

    def __str__(self) -> str:
        return super().__str__() + self.got

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), (self.parameter, self.rule, self.value, self.arguments)

    @property
    def got(self) -> str:
        """The end of the message, which shows the value; empty without one."""
        return "" if self.value is ... else f"; got {self.value!r}"


class MissingInputError(InputError):
    """Something that the data do not state must be given as an argument.

    Parameters
    ----------
    parameter : str
        The name of that argument; several are separated by commas.
    rule : str
        Why it must be given.
    value : object, optional
        What the data state instead.
    arguments : iterable of str, optional
        Names of the arguments that help; by default those of ``parameter``.
    """

    def __init__(
        self, parameter: str, rule: str, value: object = ..., arguments: Iterable[str] = ()
    ) -> None:
        super().__init__(parameter, rule, value, tuple(arguments) or parameter.split(", "))


class UnknownLineError(InputError):
    """The name of a tracer is not known."""


class UnknownOptionError(InputError, TypeError):
    """A function has no option of this name."""


class ChangedInputError(InputError):
    """A file changed while it was read, so that nothing made of it can be trusted."""


class EncoderMismatchError(InputError):
    """A library's features were made with other weights or another dtype than the encoder's."""


class MissingDependencyError(StellarSSLError, ImportError):
    """A package that only this work needs is not installed."""


class NoSignalError(StellarSSLError):
    """Nothing in the data rises above the noise."""


class OutputError(StellarSSLError, OSError):
    """The output cannot be written: the disk is full, or writing is not allowed there."""


class OutputExistsError(StellarSSLError, FileExistsError):
    """The output is there already and ``overwrite`` was not asked for."""


class StellarSSLWarning(_Message, AstropyUserWarning):
    """Something was repaired, assumed or left out, and the user should know.

    Parameters
    ----------
    text : str
        What was done.
    arguments : iterable of str, optional
        Names of the arguments that change it.
    """
