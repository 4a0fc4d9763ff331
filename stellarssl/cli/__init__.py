"""The ``stellarssl`` command: each verb is a function from arguments to an exit status."""

from stellarssl.cli.command import main
from stellarssl.cli.messages import spell

__all__ = ["main", "spell"]
