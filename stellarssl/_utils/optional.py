"""Packages that only some work needs."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from stellarssl.exceptions import MissingDependencyError

__all__ = ["require"]


def require(module: str, extra: str, *packages: str) -> ModuleType:
    """Import a module of stellarssl that needs an extra.

    Parameters
    ----------
    module : str
        Its full name.
    extra : str
        The extra that brings its packages.
    *packages : str
        What must be importable first.

    Returns
    -------
    module : module
        Imported.

    Raises
    ------
    MissingDependencyError
        If a package is not installed.

    Examples
    --------
    >>> require("stellarssl.masses.flags", "pretrain", "no_such_package")
    Traceback (most recent call last):
    ...
    stellarssl.exceptions.MissingDependencyError: no_such_package is not installed: ...
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"{', '.join(missing)} is not installed: pip install 'stellarssl[{extra}]'"
        )
    return import_module(module)
