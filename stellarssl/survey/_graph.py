"""One graph of tasks a cube, and what several cubes wait for done once."""

from collections.abc import Callable, Generator, Hashable, Iterator
from dataclasses import dataclass, field

from stellarssl._utils.provenance import provenance
from stellarssl.exceptions import StellarSSLError
from stellarssl.survey._parallel import Failure, Here
from stellarssl.survey._records import is_output, read_record, write_json
from stellarssl.survey.plan import Job, Recipe
from stellarssl.survey.stages import (
    make_masses,
    make_moments,
    make_segments,
    observe_library,
    record_path,
)

__all__ = ["Outcome", "cube_graph", "drive", "outcome_of"]


@dataclass(frozen=True)
class Task:
    """A call that some worker is to make.

    Attributes
    ----------
    key : hashable
        Tasks of one key are one task.
    function : callable
        A stage.
    args : tuple
        What it is called with.
    step : int
        The later in its cube, the sooner it is done.
    """

    key: Hashable
    function: Callable
    args: tuple
    step: int


@dataclass(frozen=True)
class Outcome:
    """How a cube fared.

    Attributes
    ----------
    status : {"ok", "empty", "refused", "failed"}
        Made what could be made; holds no source; gave no maps; broke, and is tried again by the
        next run.
    refused : dict of str
        What is missing, and why.
    products : dict
        Of the files: size and sha256.
    """

    status: str
    refused: dict[str, str] = field(default_factory=dict)
    products: dict[str, dict] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """What is missing, and why, in one line."""
        told = (f"no {name}: {why}" if name else why for name, why in self.refused.items())
        return " ".join("; ".join(told).split())


def outcome_of(job: Job) -> Outcome | None:
    """Return how a cube fared if it is done.

    Parameters
    ----------
    job : `Job`
        The cube.

    Returns
    -------
    outcome : `Outcome` or None
        None if ``done.json`` is not there or does not hold.
    """
    done = read_record(job.folder / "done.json", job.key)
    return None if done is None else Outcome(done["status"], done["refused"], done["products"])


def cube_graph(recipe: Recipe, job: Job) -> Generator[list[Task], list, Outcome]:
    """Yield the tasks of a cube; those of one list may run at once.

    Parameters
    ----------
    recipe : `Recipe`
        What cubes share.
    job : `Job`
        The cube.

    Yields
    ------
    tasks : list of `Task`
        Whose results are to be sent back: what the stage returned, or a `Failure`.

    Returns
    -------
    outcome : `Outcome`
        As it was recorded.
    """

    def task(function: Callable, *args: object, step: int) -> Task:
        label = args[0].name if function is make_moments else ""
        return Task((job.cube, function.__name__, label), function, (recipe, job, *args), step)

    views = yield [task(make_moments, view, step=0) for view in job.views]
    if broken := _failed(views):
        return broken
    if (error := _first_error(views)) is not None:
        return _finish(job, recipe, Outcome("refused", {"": str(error)}))
    parts = [part for found in views for part in found.parts]
    telescopes = dict.fromkeys(telescope for found in views for telescope in found.telescopes)
    *observed, segments = yield [
        *(Task(seen, observe_library, (recipe, seen), 2) for seen in telescopes),
        task(make_segments, step=1),
    ]
    if broken := _failed([*observed, segments]):
        return broken
    masses = next((found.no_masses for found in views if found.no_masses is not None), None)
    masses = masses or _first_error(observed)
    if masses is None:
        (masses,) = yield [task(make_masses, parts, step=3)]
        if broken := _failed([masses]):
            return broken
    refused = {"masses": masses, "segments": segments}
    refused = {name: str(error) for name, error in refused.items() if error is not None}
    return _finish(job, recipe, Outcome("ok", refused))


def _failed(results: list) -> Outcome | None:
    broken = [result for result in results if isinstance(result, Failure)]
    return Outcome("failed", {"": broken[0].reason}) if broken else None


def _first_error(results: list) -> StellarSSLError | None:
    return next((each for each in results if isinstance(each, StellarSSLError)), None)


def _finish(job: Job, recipe: Recipe, outcome: Outcome) -> Outcome:
    """Write ``done.json``, the last of a cube's files, and take the stages' records away."""
    stages = [*(view.name for view in job.views), "masses", "segments"]
    records = [record_path(job.folder, stage) for stage in stages]
    known = [record for path in records if (record := read_record(path, job.key))]
    products = {name: file for record in known for name, file in record["products"].items()}
    done = {
        "key": job.key,
        "cube": job.cube,
        "input": job.stamp,
        "status": outcome.status,
        "refused": outcome.refused,
        "n_sources": None if job.sources is None else len(job.sources),
        "asked": recipe.asked,
        "encoder_sha256": recipe.models.encoder_sha256,
        "library_sha256": recipe.models.library_sha256,
        **provenance(),
        "products": products,
    }
    write_json(job.folder / "done.json", done)
    for path in records:
        path.unlink(missing_ok=True)
    return Outcome(outcome.status, outcome.refused, products)


def drive(
    graphs: dict[str, Generator], runner: Here, told: Callable[[], None]
) -> Iterator[tuple[str, Outcome]]:
    """Run graphs side by side.

    Parameters
    ----------
    graphs : dict
        Of `cube_graph`, by cube.
    runner : `Here` or the like
        Where tasks run.
    told : callable
        Is called whenever a task has ended.

    Yields
    ------
    cube, outcome : str, `Outcome`
        As cubes are done.

    Raises
    ------
    InputError
        If the output is full or cannot be written to: no cube can go on then.
    """
    results, waiting = {}, {}

    def advance(cube: str, answer: list | None) -> Outcome | None:
        while True:
            try:
                tasks = graphs[cube].send(answer)
            except StopIteration as end:
                waiting.pop(cube, None)
                return end.value
            for task in tasks:
                if task.key not in results:
                    results[task.key] = ...
                    runner.submit(task.key, task.function, task.args, task.step)
            waiting[cube] = [task.key for task in tasks]
            answer = _answers(results, waiting[cube])
            if answer is None:
                return None

    for cube in graphs:
        advance(cube, None)
    for key, result in runner.finished():
        if is_output(result):
            raise result
        results[key] = result
        told()
        for cube in [name for name, keys in waiting.items() if key in keys]:
            answer = _answers(results, waiting[cube])
            if answer is not None and (outcome := advance(cube, answer)) is not None:
                yield cube, outcome


def _answers(results: dict, keys: list[Hashable]) -> list | None:
    """Return the results of tasks if all have ended."""
    answers = [results[key] for key in keys]
    return None if any(each is ... for each in answers) else answers
