"""Many cubes, on one thread, a machine or a cluster; stopped anywhere, it goes on where it was."""

from stellarssl.survey.survey import run

__all__ = ["run"]
