"""`run`: many cubes, on one thread or a cluster, resumed wherever it was stopped."""

import os
import shutil
from collections.abc import Generator, Iterable
from itertools import count
from pathlib import Path

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from radio_beam import Beam
from tqdm import tqdm

from stellarssl.exceptions import InputError, StellarSSLError
from stellarssl.moments.blocks import as_bytes, as_threads, available_memory
from stellarssl.pipeline import read_sources
from stellarssl.segmentation import PCASegmenter
from stellarssl.survey._asked import asked_for, spelled
from stellarssl.survey._catalog import Catalog
from stellarssl.survey._graph import Outcome, cube_graph, drive, outcome_of
from stellarssl.survey._lock import locked
from stellarssl.survey._models import find_models, load_models
from stellarssl.survey._parallel import Here, workers
from stellarssl.survey._plan import Job, Recipe, plan_cubes, settle
from stellarssl.survey._records import clear_unfinished
from stellarssl.survey._tables import merge_masses, write_cubes
from stellarssl.tracers import Tracer

__all__ = ["run"]


def run(  # noqa: PLR0913
    cubes: Iterable[str | os.PathLike],
    positions: SkyCoord | Table | str | os.PathLike | None,
    output: str | os.PathLike,
    *,
    parallel: object = None,
    tracer: Tracer | u.Quantity | str | None = "auto",
    velocity_range: u.Quantity | str | None = None,
    efficiency: float | None = None,
    unit: u.UnitBase | str | None = None,
    beam: Beam | u.Quantity | str | None = None,
    rest_value: u.Quantity | str | None = None,
    distance: u.Quantity | str | None = None,
    hdu: int | str | None = None,
    excitation_temperature: u.Quantity | str | None = None,
    abundance: float | None = None,
    max_recoverable_scale: u.Quantity | str | None = None,
    only_sources: bool = False,
    n_classes: int | None = None,
    encoder: str | os.PathLike | None = None,
    library: str | os.PathLike | None = None,
    memory_limit: u.Quantity | str | int | None = None,
    n_threads: int = 1,
    progress: bool = False,
) -> Table:
    """Make all that can be made of many cubes, and one catalog of the masses on them.

    Each cube gets a folder of products in ``output``, with a ``done.json`` that is written last.
    The same call goes on where an earlier one was stopped; cubes may be added to it.

    Parameters
    ----------
    cubes : iterable of path-like
        FITS files or CASA images.
    positions : `~astropy.coordinates.SkyCoord`, `~astropy.table.Table`, path-like or None
        The sources of the whole survey, see `~stellarssl.pipeline.read_sources`. Each cube gets
        those that lie on it; of a cube on which none lies only the header is read. None weighs the
        peaks of each cube's column.
    output : path-like
        Folder of all results, at the same path for every worker.
    parallel : None, int, str or dask Client, optional
        Where the work is done: in this thread (None or 1), by so many processes on this machine,
        or by the workers of a dask cluster: ``"current-scheduler"``, the address of its scheduler,
        or a client. All but the first need the ``distributed`` extra.
    tracer, velocity_range, efficiency
        As for `~stellarssl.moment_maps`, for all cubes.
    unit, beam, rest_value, distance, hdu
        As for `~stellarssl.read_cube`, for all cubes.
    excitation_temperature, abundance, max_recoverable_scale
        As for `~stellarssl.moment_maps`, for all cubes.
    only_sources : bool, optional
        Whether of a cube only what `~stellarssl.source_footprint` marks is read. Maps and segments
        then show these surroundings and nothing else.
    n_classes : int, optional
        As for `~stellarssl.segment`.
    encoder : str or path-like, optional
        Weights, as `~stellarssl.Encoder.from_pretrained` takes them; the shipped ones by default.
    library : path-like, optional
        A library with these weights' features, as simulated; the shipped one by default.
    memory_limit : `~astropy.units.Quantity`, str or int, optional
        Of each task that reads a cube, as for `~stellarssl.moment_maps`. By default a quarter of
        what is free where it runs, over the number of processes that are started here.
    n_threads : int, optional
        Of each task that reads a cube.
    progress : bool, optional
        Whether a bar tells how many cubes and stages are done.

    Returns
    -------
    table : `~astropy.table.Table`
        A row a cube: its path, ``folder``, ``status`` (``ok``, ``empty``, ``refused``,
        ``failed``), ``reason``, ``n_sources`` and ``n_masses``. Also written as ``cubes.ecsv``.

    Raises
    ------
    InputError
        If an argument breaks a rule, the output is in use, full, read-only or holds another
        survey, or there is no such scheduler.
    MissingDependencyError
        If ``parallel`` takes ``distributed``, which is not installed.
    """
    if only_sources and positions is None:
        raise InputError("only_sources", "needs positions")
    output, cubes = Path(output).absolute(), _listed(cubes)
    options = {
        "tracer": tracer,
        "velocity_range": velocity_range,
        "efficiency": efficiency,
        "unit": unit,
        "beam": beam,
        "rest_value": rest_value,
        "distance": distance,
        "hdu": hdu,
        "excitation_temperature": excitation_temperature,
        "abundance": abundance,
        "max_recoverable_scale": max_recoverable_scale,
    }
    plain = spelled({**options, "only_sources": only_sources, "n_classes": n_classes})
    options |= _resources(memory_limit, n_threads, parallel)
    sources = None if positions is None else read_sources(positions)
    models = find_models(encoder, library)
    PCASegmenter(*load_models(models), n_classes=n_classes)  # refuses what it cannot use
    asked = asked_for(plain, sources, models)
    recipe = Recipe(output, options, asked, only_sources, n_classes, models)
    at_work = workers(parallel, models)
    catalog = None if sources is None else Catalog(sources)
    with locked(output):
        folders = settle(recipe, cubes)
        clear_unfinished(output)
        jobs = plan_cubes(recipe, folders, catalog)
        outcomes = {cube: _known(job) for cube, job in jobs.items()}
        todo = {cube: job for cube, job in jobs.items() if outcomes[cube] is None}
        for job in todo.values():
            clear_unfinished(job.folder)
        if todo:
            with at_work as runner:
                graphs = {cube: cube_graph(recipe, job) for cube, job in todo.items()}
                outcomes |= _watched(graphs, runner, len(jobs), show=progress)
        return _close(output, jobs, folders, outcomes)


def _listed(cubes: Iterable[str | os.PathLike]) -> list[str]:
    """Return whole paths, each once."""
    if isinstance(cubes, str | os.PathLike):
        raise InputError("cubes", "must be a list of paths, not one", os.fspath(cubes))
    try:
        listed = list(dict.fromkeys(os.path.abspath(cube) for cube in cubes))  # noqa: PTH100  (keeps links)
    except TypeError as error:
        raise InputError("cubes", "must be a list of paths", cubes) from error
    if not listed:
        raise InputError("cubes", "must name at least one cube", listed)
    return listed


def _resources(memory_limit: object, n_threads: int | None, parallel: object) -> dict[str, object]:
    """Return what each task that reads a cube may take; None is left to the worker."""
    as_threads(n_threads)
    if memory_limit is not None:
        memory_limit = as_bytes(memory_limit)
    elif isinstance(parallel, int) and parallel > 1:
        memory_limit = available_memory() // (4 * parallel)
    return {"memory_limit": memory_limit, "n_threads": n_threads}


def _known(job: Job | StellarSSLError | None) -> Outcome | None:
    """Return how a cube fared where nothing is left to do."""
    if job is None:
        return Outcome("empty", {"": "holds none of the sources"})
    if isinstance(job, StellarSSLError):
        return Outcome("refused", {"": str(job)})
    return outcome_of(job)


def _watched(
    graphs: dict[str, Generator], runner: Here, n_cubes: int, *, show: bool
) -> dict[str, Outcome]:
    """Run graphs, with a bar of cubes that counts the stages beside them."""
    outcomes = {}
    with tqdm(
        desc="survey", total=n_cubes, initial=n_cubes - len(graphs), unit="cube", disable=not show
    ) as bar:
        stages = count(1)

        def tell() -> None:
            bar.set_postfix(stages=next(stages))

        for cube, outcome in drive(graphs, runner, tell):
            outcomes[cube] = outcome
            bar.update()
    return outcomes


def _close(
    output: Path,
    jobs: dict[str, Job | StellarSSLError | None],
    folders: dict[str, str],
    outcomes: dict[str, Outcome],
) -> Table:
    """Write what is told of all cubes, and take away what only unfinished ones need."""
    weighed = [folders[cube] for cube in jobs if "masses.ecsv" in outcomes[cube].products]
    n_masses = merge_masses(output, weighed)
    rows = []
    for cube, job in jobs.items():
        sources = job.sources if isinstance(job, Job) else None
        rows.append(
            {
                "cube": cube,
                "folder": folders[cube],
                "status": outcomes[cube].status,
                "reason": outcomes[cube].reason,
                "n_sources": 0 if sources is None else len(sources),
                "n_masses": n_masses.get(folders[cube], 0),
            }
        )
    table = write_cubes(output, rows)
    if "failed" not in table["status"]:
        shutil.rmtree(output / "observed", ignore_errors=True)
    return table
