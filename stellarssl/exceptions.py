"""What stellarssl raises and warns with."""

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


class StellarSSLError(Exception):
    """Base class of all errors that stellarssl raises on purpose."""


class InputError(StellarSSLError, ValueError):
    """An argument, a header or a file breaks a rule.

    Parameters
    ----------
    parameter : str
        The name of what is wrong: an argument, a header card, a file.
    rule : str
        What it must be; reads on after the name.
    value : object, optional
        What was given; left out of the message when there is nothing to show.
    """

    def __init__(self, parameter: str, rule: str, value: object = ...) -> None:
        self.parameter, self.rule, self.value = parameter, rule, value
        got = "" if value is ... else f"; got {value!r}"
        super().__init__(f"{parameter}: {rule}{got}")

    def __reduce__(self):  # noqa: ANN204  (BaseException would call __init__ with the message)
        return type(self), (self.parameter, self.rule, self.value)


class MissingInputError(InputError):
    """Something that the data do not say must be given as an argument.

    ``parameter`` is the name of that argument.
    """


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


class StellarSSLWarning(AstropyUserWarning):
    """Something was repaired, assumed or left out, and the user should know."""
