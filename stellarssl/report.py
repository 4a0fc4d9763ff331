"""The pictures of an analysis, as files."""

import os
from pathlib import Path

from astropy.table import QTable
from matplotlib.figure import Figure

from stellarssl._utils.output import atomic_path
from stellarssl.pipeline import Analysis
from stellarssl.plots import plot_comparison, plot_masses, plot_moments, plot_segments

__all__ = ["write_comparison", "write_figures"]

_DPI = 150


def write_figures(
    analysis: Analysis, directory: str | os.PathLike, *, overwrite: bool = False
) -> list[Path]:
    """Draw what an analysis holds: ``moments.png``, ``masses.png``, ``segments.png``.

    Parameters
    ----------
    analysis : `~stellarssl.Analysis`
        Of `~stellarssl.analyze`.
    directory : path-like
        Is made if it is not there.
    overwrite : bool, optional
        Whether files that are there may be replaced.

    Returns
    -------
    paths : list of `~pathlib.Path`
        What was written; there is no picture of a product that was refused.

    Raises
    ------
    OutputExistsError
        If one of them is there and ``overwrite`` is false.
    """
    figures = {"moments": plot_moments(analysis.maps)}
    if analysis.masses is not None:
        figures["masses"] = plot_masses(analysis.masses, analysis.maps)
    if analysis.segmentation is not None:
        figures["segments"] = plot_segments(analysis.segmentation, analysis.maps)
    folder = Path(directory)
    return [
        _write(figure, folder / f"{name}.png", overwrite=overwrite)
        for name, figure in figures.items()
    ]


def write_comparison(
    masses: QTable,
    stars: QTable | str | os.PathLike,
    directory: str | os.PathLike,
    *,
    overwrite: bool = False,
) -> Path:
    """Draw true masses beside estimated ones, as ``comparison.png``.

    Parameters
    ----------
    masses : `~astropy.table.QTable`
        Of `~stellarssl.estimate_mass`.
    stars : `~astropy.table.QTable` or path-like
        The truth: ``id`` and ``mass``.
    directory : path-like
        Is made if it is not there.
    overwrite : bool, optional
        Whether a file that is there may be replaced.

    Returns
    -------
    path : `~pathlib.Path`
        What was written.
    """
    stars = stars if isinstance(stars, QTable) else QTable.read(stars)
    figure = plot_comparison(masses, stars)
    return _write(figure, Path(directory) / "comparison.png", overwrite=overwrite)


def _write(figure: Figure, path: Path, *, overwrite: bool) -> Path:
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=_DPI)
    return path
