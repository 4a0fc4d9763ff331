"""`run`: many cubes, on one thread or a cluster, resumed wherever it was stopped."""

import os
import shutil
from collections.abc import Generator, Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Unpack

from astropy.table import Table
from tqdm import tqdm

from stellarssl._utils.options import accepts
from stellarssl.exceptions import InputError, StellarSSLError
from stellarssl.moments import MomentOptions
from stellarssl.moments.blocks import as_threads, available_memory
from stellarssl.pipeline import MassKeywords, MassOptions, PositionsLike, read_sources
from stellarssl.segmentation import PCASegmenter
from stellarssl.survey._graph import Outcome, cube_graph, drive, outcome_of
from stellarssl.survey._parallel import Here, workers
from stellarssl.survey._records import clear_unfinished
from stellarssl.survey.catalog import Catalog
from stellarssl.survey.lock import locked
from stellarssl.survey.models import find_models, load_models
from stellarssl.survey.plan import Job, Products, Recipe, plan_cubes, requested, settle
from stellarssl.survey.tables import merge_masses, write_cubes

__all__ = ["run"]


@accepts(MassOptions)
def run(
    cubes: Iterable[str | os.PathLike],
    positions: PositionsLike | None,
    output: str | os.PathLike,
    *,
    parallel: Any = None,
    only_sources: bool = False,
    n_classes: int | None = None,
    **options: Unpack[MassKeywords],
) -> Table:
    """Make maps, masses and segments of many cubes, and one catalog of all masses.

    The products of each cube are written to a folder of its own in ``output``, with a
    ``done.json`` that is written last. The same call continues where an earlier one was stopped;
    cubes may be added to it.

    Parameters
    ----------
    cubes : iterable of path-like
        FITS files or CASA images.
    positions : `~astropy.coordinates.SkyCoord`, `~astropy.table.Table`, path-like or None
        Sources of the whole survey, see `~stellarssl.pipeline.read_sources`. Each is assigned to
        the cubes that cover it; of a cube that covers none only the header is read. If None,
        masses are estimated at the peaks of each cube's column.
    output : path-like
        Folder of all results, at the same path for every worker.
    parallel : None, int, str or dask Client, optional
        Where the work is done: in this thread (None or 1), by so many processes on this machine,
        or by the workers of a dask cluster: ``"current-scheduler"``, the address of its scheduler,
        or a client. All but the first need the ``distributed`` extra.
    only_sources : bool, optional
        Whether only those parts of a cube are read that `~stellarssl.source_footprint` marks. Maps
        and segments then show nothing else.
    n_classes : int, optional
        Number of classes of gas, as for `~stellarssl.segment`.
    **options
        Options of reading, measuring and estimating, the same for all cubes. ``library`` and
        ``encoder`` are names or files, and ``prior`` is a name.

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

    Notes
    -----
    ``memory_limit`` and ``n_threads`` hold for each task that reads a cube. If they are left out,
    the processes on this machine share a quarter of its free memory and all of its processors;
    a task on a cluster takes a quarter of the memory that is free where it runs, and one thread.
    A survey may be continued with other values of these two.
    """
    if only_sources and positions is None:
        raise InputError("only_sources", "needs positions")
    output, cubes = Path(output).absolute(), _listed(cubes)
    checked = MassOptions(**options).check()
    if only_sources and checked.footprint is not None:
        raise InputError("footprint", "cannot be combined with only_sources")
    checked = _with_resources(checked, parallel)
    sources = None if positions is None else read_sources(positions)
    models = find_models(checked)
    loaded = load_models(models)
    PCASegmenter(loaded.encoder, loaded.maps, n_classes=n_classes)  # refuses what it cannot use
    # library and encoder are in models, by checksum
    checked = replace(checked, library=None, encoder=None)
    products = Products(only_sources, n_classes, tuple(checked.allow))
    asked = requested(checked, products, sources, models)
    recipe = Recipe(output, checked, asked, products, models)
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
                outcomes |= _watched(graphs, runner, len(jobs), show=checked.progress)
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


def _with_resources(options: MomentOptions, parallel: Any) -> MomentOptions:
    """Return options with what each task that reads a cube may use; no bars of single cubes."""
    memory, n_threads = options.memory_limit, options.n_threads
    here = parallel is None or isinstance(parallel, int)
    n_processes = parallel if here and parallel else 1
    if memory is None and n_processes > 1:
        memory = available_memory() // (4 * n_processes)
    if n_threads is None:
        n_threads = max(as_threads(None) // n_processes, 1) if here else 1
    return replace(options, memory_limit=memory, n_threads=n_threads)


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
