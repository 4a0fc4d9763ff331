"""What cubes share, and what each of them gets."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import astropy.units as u
import numpy as np

from stellarssl.cubes import read_sky
from stellarssl.exceptions import InputError, StellarSSLError
from stellarssl.moments import MomentOptions
from stellarssl.moments.options import spell_array
from stellarssl.pipeline import Sources
from stellarssl.survey._records import checksum, stamp, write_json
from stellarssl.survey.catalog import Catalog, digest
from stellarssl.survey.models import Models

__all__ = ["Job", "Products", "Recipe", "View", "plan_cubes", "requested", "settle"]


@dataclass(frozen=True)
class Products:
    """What is made of each cube.

    Attributes
    ----------
    only_sources : bool
        Whether a cube is read around its sources only.
    n_classes : int or None
        Number of classes, as for `~stellarssl.segment`.
    allow : tuple of str
        Flags in spite of which a mass is shown.
    """

    only_sources: bool
    n_classes: int | None
    allow: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """What all cubes of a survey share.

    Attributes
    ----------
    output : `~pathlib.Path`
        The survey's folder, at the same place for every worker.
    options : `~stellarssl.moments.MomentOptions`
        Options of reading and measuring.
    asked : dict
        What must be the same when the survey is continued, from `requested`.
    products : `Products`
        What is made of each cube.
    models : `Models`
        Weights and library.
    """

    output: Path
    options: MomentOptions
    asked: dict
    products: Products
    models: Models


@dataclass(frozen=True, eq=False)
class View:
    """Maps that are made of a cube.

    Attributes
    ----------
    name : str
        ``moments``, or ``moments-1`` and so on for the velocity windows that sources name.
    window : `~astropy.units.Quantity` or None
        km/s, (2,); None is what the options say.
    rows : ndarray of int
        The sources that are weighed on them.
    """

    name: str
    window: u.Quantity | None
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Job:
    """One cube.

    Attributes
    ----------
    cube : str
        Its path.
    folder : `~pathlib.Path`
        Of its products.
    sources : `~stellarssl.pipeline.Sources` or None
        Those on it; None where no positions are given, and the column's peaks are weighed.
    stamp : dict
        Its size and time of change when the survey began.
    key : str
        Checksum of all that its products are made from.
    views : tuple of `View`
        The whole cube first.
    """

    cube: str
    folder: Path
    sources: Sources | None
    stamp: dict
    key: str
    views: tuple[View, ...]


def requested(
    options: MomentOptions, products: Products, sources: Sources | None, models: Models
) -> dict[str, object]:
    """Return what must be the same when a survey is continued.

    Parameters
    ----------
    options : `~stellarssl.moments.MomentOptions`
        Options of reading and measuring.
    products : `Products`
        What is made of each cube.
    sources : `~stellarssl.pipeline.Sources` or None
        The catalog.
    models : `Models`
        Weights and library.

    Returns
    -------
    asked : dict of str
        JSON types.
    """
    footprint = {} if options.footprint is None else {"footprint": spell_array(options.footprint)}
    return {
        **options.canonical(),
        **footprint,
        "only_sources": products.only_sources,
        "n_classes": products.n_classes,
        "allow": ", ".join(products.allow),
        "positions": None if sources is None else f"catalog {digest(sources)[:12]}",
        "reader": models.reader,
        "prior": models.prior,
        "encoder": f"weights {models.encoder_sha256[:12]}",
        "library": f"library {models.library_sha256[:12]}",
        "stellarssl": version("stellarssl"),
    }


def settle(recipe: Recipe, cubes: Iterable[str]) -> dict[str, str]:
    """Open or begin the survey's manifest, ``survey.json``, and give each cube a folder.

    Parameters
    ----------
    recipe : `Recipe`
        What cubes share.
    cubes : iterable of str
        Whole paths. Those of the manifest keep their folders; others get free ones.

    Returns
    -------
    folders : dict of str
        From the path of each cube, in their order, to the name of its folder.

    Raises
    ------
    InputError
        If the manifest is damaged or was written for something else.
    """
    path = recipe.output / "survey.json"
    folders = _known_folders(path, recipe.asked) if path.exists() else {}
    for cube in cubes:
        if cube not in folders:
            folders[cube] = _free_name(Path(cube).name, set(folders.values()))
    write_json(path, {"asked": recipe.asked, "folders": folders})
    return {cube: folders[cube] for cube in cubes}


def _known_folders(path: Path, asked: dict) -> dict[str, str]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        before, folders = dict(manifest["asked"]), dict(manifest["folders"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        rule = "must hold a whole survey.json; delete that file, and what is finished stays"
        raise InputError("output", rule, str(path)) from error
    changed = [
        f"{name} was {before.get(name)} and is {asked.get(name)}"
        for name in {**before, **asked}
        if before.get(name) != asked.get(name)
    ]
    made = any(any((path.parent / folder).glob("*.fits")) for folder in folders.values())
    if changed and made:
        rule = f"holds a survey in which {', '.join(changed)}: choose another folder"
        raise InputError("output", rule, str(path.parent))
    return folders


_RESERVED = {"observed"}


def _free_name(file: str, taken: set[str]) -> str:
    stem = file.split(".", maxsplit=1)[0] or "cube"
    names = (stem if i == 1 else f"{stem}-{i}" for i in range(1, len(taken) + 3))
    return next(name for name in names if name not in taken | _RESERVED)


def plan_cubes(
    recipe: Recipe, folders: dict[str, str], catalog: Catalog | None
) -> dict[str, Job | StellarSSLError | None]:
    """Find out, from the headers alone, what is to be done for each cube.

    Parameters
    ----------
    recipe : `Recipe`
        What they share.
    folders : dict of str
        Of `settle`.
    catalog : `Catalog` or None
        The sources.

    Returns
    -------
    jobs : dict
        From path to `Job`; to None where no source lies on the cube, or to the reason why it
        cannot be read.
    """
    jobs = {}
    for cube, folder in folders.items():
        try:
            jobs[cube] = _job(recipe, cube, folder, catalog)
        except StellarSSLError as error:
            jobs[cube] = error
    return jobs


def _job(recipe: Recipe, cube: str, folder: str, catalog: Catalog | None) -> Job | None:
    before = stamp(cube)
    sources = None
    if catalog is not None:
        sources = catalog.on(*read_sky(cube, hdu=recipe.options.hdu))
        if sources is None:
            return None
    told = None if sources is None else digest(sources)
    made_from = checksum(recipe.asked, cube, before, told)
    return Job(cube, recipe.output / folder, sources, before, made_from, _views(sources))


def _views(sources: Sources | None) -> tuple[View, ...]:
    """Return the maps to be made: of all velocities, and of each window that sources name."""
    n = 0 if sources is None else len(sources)
    if sources is None or sources.velocity_range is None:
        return (View("moments", None, np.arange(n)),)
    windows, which = np.unique(sources.velocity_range, axis=0, return_inverse=True)
    which = which.reshape(-1)
    named = (
        View(f"moments-{i + 1}", window, np.flatnonzero(which == i))
        for i, window in enumerate(windows)
    )
    return (View("moments", None, np.arange(0)), *named)
