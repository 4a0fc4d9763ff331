"""What is done for a cube: each function runs on whichever worker, and leaves files.

A stage that finds its record does nothing again. All that a worker is told are paths, checksums,
options and the sources on the cube.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable

from stellarssl.cubes import Cube
from stellarssl.exceptions import (
    InputError,
    OutputError,
    StellarSSLError,
)
from stellarssl.library import Telescope
from stellarssl.masses import flag_bit
from stellarssl.moments import MomentMaps, moment_maps, source_footprint
from stellarssl.pipeline import Sources, mass_of_sources, segment, telescopes_of, write_masses
from stellarssl.survey._records import (
    is_output,
    journal,
    read_record,
    stamp,
    storing,
    write_record,
)
from stellarssl.survey.models import keep_observed, load_models, observe_once
from stellarssl.survey.plan import Job, Recipe, View
from stellarssl.survey.tables import in_order

__all__ = [
    "Found",
    "make_masses",
    "make_moments",
    "make_segments",
    "observe_library",
    "record_path",
]

Part = tuple[str, np.ndarray]
"""Name of a view, and the sources whose masses are estimated on it."""

_AT_ONCE = 4096  # sources whose tiles are held in memory


@dataclass(frozen=True)
class Found:
    """What `make_moments` tells of maps that are there.

    Attributes
    ----------
    parts : list of tuple
        The view and its sources.
    telescopes : list of `~stellarssl.library.Telescope`
        What the library has to be observed with.
    no_masses : StellarSSLError or None
        Why there can be none.
    """

    parts: list[Part]
    telescopes: list[Telescope] = field(default_factory=list)
    no_masses: StellarSSLError | None = None


def record_path(folder: Path, stage: str) -> Path:
    """Return where a stage of a cube keeps its record until the cube is done.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Of the cube's products.
    stage : str
        ``masses``, ``segments`` or a view's name.

    Returns
    -------
    path : `~pathlib.Path`
        A hidden JSON file.
    """
    return folder / f".{stage}.json"


def make_moments(recipe: Recipe, job: Job, view: View) -> Found | StellarSSLError:
    """Make the maps of a view.

    Parameters
    ----------
    recipe, job
        What cubes share, and the cube.
    view : `View`
        Which maps.

    Returns
    -------
    found : `Found` or StellarSSLError
        What the masses on these maps need; or why there are no maps.
    """

    def write() -> list[Path]:
        maps = _measured(recipe, job, view)
        path = job.folder / f"{view.name}.fits"
        with storing(path):
            return [maps.write(path, overwrite=True)]

    if (error := _once(recipe, job, view.name, write)) is not None:
        return error
    try:
        maps = MomentMaps.read(job.folder / f"{view.name}.fits")
        return Found([(view.name, view.rows)], _telescopes(maps, recipe, job, view))
    except StellarSSLError as error:
        return Found([], no_masses=error)


def _measured(recipe: Recipe, job: Job, view: View) -> MomentMaps:
    """Make the maps of a view."""
    options = replace(recipe.options, progress=False)
    if view.window is not None:
        options = replace(options, velocity_range=view.window)
    with _unchanged(job):
        if recipe.products.only_sources:
            options = replace(options, footprint=_surroundings(recipe, job, view))
        return moment_maps(job.cube, **options.given())


def _surroundings(recipe: Recipe, job: Job, view: View) -> np.ndarray:
    """Mark the pixels that the tiles of a view's sources need."""
    cube = recipe.options.open(job.cube)
    sources = job.sources[view.rows]
    return source_footprint(cube, sources.skycoord, distance=sources.distance)


@contextmanager
def _unchanged(job: Job) -> Iterator[None]:
    """Refuse what was read of a cube that changed meanwhile, and what went wrong with it."""
    try:
        yield
    finally:
        if stamp(job.cube) != job.stamp:
            rule = "must not change while it is read, but its size or time of change did"
            raise InputError("cube", rule, job.cube)


def _telescopes(maps: MomentMaps, recipe: Recipe, job: Job, view: View) -> list[Telescope]:
    """Return what the library has to be observed with for the sources of a view."""
    if job.sources is not None and len(view.rows) == 0:
        return []
    comparison = load_models(recipe.models).comparison(recipe.models, 0)
    with _unchanged(job):
        cube = _opened(recipe, job, view.window) if comparison.uses_spectra else None
        sources = None if job.sources is None else _chosen(job, view.rows)
        return telescopes_of(maps, cube, sources)


def _opened(recipe: Recipe, job: Job, window: u.Quantity | None) -> Cube:
    """Open a cube with the options of the survey, in the velocity window of a view."""
    options = recipe.options if window is None else replace(recipe.options, velocity_range=window)
    return options.open(job.cube)


def _chosen(job: Job, rows: np.ndarray) -> Sources:
    return replace(job.sources[rows], velocity_range=None)


def observe_library(recipe: Recipe, telescope: Telescope) -> StellarSSLError | None:
    """Observe the library as a telescope does.

    Parameters
    ----------
    recipe : `Recipe`
        What cubes share.
    telescope : `~stellarssl.library.Telescope`
        What the library is observed with.

    Returns
    -------
    error : StellarSSLError or None
        Why it could not be.
    """
    try:
        observe_once(recipe.output, recipe.models, telescope)
    except StellarSSLError as error:
        return error
    return None


def make_masses(recipe: Recipe, job: Job, parts: list[Part]) -> StellarSSLError | None:
    """Weigh the sources on a cube.

    Parameters
    ----------
    recipe, job
        What cubes share, and the cube.
    parts : list of tuple
        Of `make_moments`, of all views; the library has been observed for their sources.

    Returns
    -------
    error : StellarSSLError or None
        Why there are no masses.
    """
    windows = {view.name: view.window for view in job.views}

    def write() -> list[Path]:
        tables, rows = [], []
        for name, members in parts:
            if job.sources is not None and len(members) == 0:
                continue
            maps = MomentMaps.read(job.folder / f"{name}.fits")
            for some in np.array_split(members, max(-(-len(members) // _AT_ONCE), 1)):
                tables.append(_masses(recipe, job, maps, windows[name], some))
                rows.append(some)
        table = tables[0] if job.sources is None else in_order(tables, rows)
        with storing(job.folder):
            return write_masses(table, job.folder, overwrite=True)

    return _once(recipe, job, "masses", write)


def _masses(
    recipe: Recipe, job: Job, maps: MomentMaps, window: u.Quantity | None, rows: np.ndarray
) -> QTable:
    allowed = sum({flag_bit(name) for name in recipe.products.allow})
    comparison = load_models(recipe.models).comparison(recipe.models, allowed)
    with keep_observed(recipe.output), _unchanged(job):
        cube = _opened(recipe, job, window) if comparison.uses_spectra else None
        sources = None if job.sources is None else _chosen(job, rows)
        return mass_of_sources(maps, cube, sources, None, comparison)


def make_segments(recipe: Recipe, job: Job) -> StellarSSLError | None:
    """Segment the gas of a cube whose maps are there.

    Parameters
    ----------
    recipe, job
        What cubes share, and the cube.

    Returns
    -------
    error : StellarSSLError or None
        Why there are no segments.
    """
    loaded = load_models(recipe.models)

    def write() -> list[Path]:
        maps = MomentMaps.read(job.folder / "moments.fits")
        shared: dict[str, Any] = {"encoder": loaded.encoder, "library": loaded.maps}
        segments = segment(maps, n_classes=recipe.products.n_classes, **shared)
        with storing(job.folder):
            return segments.write(job.folder, overwrite=True)

    return _once(recipe, job, "segments", write)


def _once(
    recipe: Recipe, job: Job, stage: str, write: Callable[[], list[Path]]
) -> StellarSSLError | None:
    """Do a stage's work and record it, unless its record is there."""
    path = record_path(job.folder, stage)
    record = read_record(path, job.key)
    if record is not None:
        return StellarSSLError(record["refused"]) if record["refused"] else None
    try:
        journal(recipe.output, job.folder.name, stage, "begins")
        products, refused = write(), None
    except StellarSSLError as error:
        if is_output(error):
            return error
        if _is_this_machines(error):
            raise
        products, refused = [], error
    try:
        write_record(path, job.key, products, refused=None if refused is None else str(refused))
        journal(recipe.output, job.folder.name, stage, "ends")
    except StellarSSLError as error:
        return error
    return refused


def _is_this_machines(error: StellarSSLError) -> bool:
    """Tell whether another run may fare better: that is no refusal of the cube, to be recorded."""
    resource = isinstance(error, InputError) and error.parameter in ("memory_limit", "n_threads")
    return resource or isinstance(error, OutputError)
