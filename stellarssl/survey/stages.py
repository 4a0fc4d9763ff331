"""What is done for a cube: each function runs on whichever worker, and leaves files.

A stage that finds its record does nothing again. All that a worker is told are paths, checksums,
options and the sources on the cube.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable

from stellarssl.exceptions import (
    InputError,
    MissingInputError,
    OutputError,
    StellarSSLError,
)
from stellarssl.moments import MomentMaps, moment_maps, source_footprint
from stellarssl.observe import Observation
from stellarssl.pipeline import estimate_mass, group_by_observation, segment, write_masses
from stellarssl.survey._records import (
    is_output,
    journal,
    read_record,
    stamp,
    storing,
    write_record,
)
from stellarssl.survey.models import load_models, observed_library, write_observed
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

Part = tuple[str, Observation, np.ndarray]
"""The name of a view, the telescope that its library is seen through, and the sources to weigh."""

_AT_ONCE = 4096  # sources whose tiles are held in memory


@dataclass(frozen=True)
class Found:
    """What `make_moments` tells of maps that are there.

    Attributes
    ----------
    parts : list of tuple
        What their masses need.
    no_masses : StellarSSLError or None
        Why there can be none.
    """

    parts: list[Part]
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
        return Found(_parts(MomentMaps.read(job.folder / f"{view.name}.fits"), job, view))
    except StellarSSLError as error:
        return Found([], error)


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


def _parts(maps: MomentMaps, job: Job, view: View) -> list[Part]:
    """Tell which telescope sees which sources."""
    rows = view.rows
    if job.sources is None:
        rows = np.arange(1)  # the peaks, which share the cube's distance
    elif len(rows) == 0:
        return []
    distance = maps.distance
    if job.sources is not None and job.sources.distance is not None:
        distance = job.sources.distance[rows]
    if distance is None:
        rule = "must be given, as neither the cube nor the catalog has one"
        raise MissingInputError("distance", rule)
    one_each = np.broadcast_to(distance, len(rows), subok=True)
    return [(view.name, seen, rows[some]) for seen, some in group_by_observation(maps, one_each)]


def observe_library(recipe: Recipe, observation: Observation) -> StellarSSLError | None:
    """Observe the library as a telescope does.

    Parameters
    ----------
    recipe : `Recipe`
        What cubes share.
    observation : `~stellarssl.Observation`
        The telescope.

    Returns
    -------
    error : StellarSSLError or None
        Why it could not be.
    """
    load_models(recipe.models)
    try:
        write_observed(recipe.output, recipe.models, observation)
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
        Of `make_moments`, of all views; their libraries have been observed.

    Returns
    -------
    error : StellarSSLError or None
        Why there are no masses.
    """
    load_models(recipe.models)

    def write() -> list[Path]:
        tables, rows = [], []
        for name, observation, members in parts:
            maps = MomentMaps.read(job.folder / f"{name}.fits")
            for some in np.array_split(members, -(-len(members) // _AT_ONCE)):
                tables.append(_weighed(recipe, job, maps, observation, some))
                rows.append(some)
        table = tables[0] if job.sources is None else in_order(tables, rows)
        with storing(job.folder):
            return write_masses(table, job.folder, overwrite=True)

    return _once(recipe, job, "masses", write)


def _weighed(
    recipe: Recipe, job: Job, maps: MomentMaps, observation: Observation, rows: np.ndarray
) -> QTable:
    encoder, _ = load_models(recipe.models)
    library = observed_library(recipe.output, recipe.models, observation)
    sources = None if job.sources is None else replace(job.sources[rows], velocity_range=None)
    allow = recipe.products.allow
    return estimate_mass(maps, sources, library=library, encoder=encoder, allow=allow)


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
    encoder, library = load_models(recipe.models)

    def write() -> list[Path]:
        maps = MomentMaps.read(job.folder / "moments.fits")
        shared: dict[str, Any] = {"encoder": encoder, "library": library}
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
