"""What is asked of a survey, and what of it each cube gets."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np

from stellarssl._utils.exceptions import InputError, StellarSSLError
from stellarssl._utils.quantities import as_quantity, as_range
from stellarssl.cubes import read_sky
from stellarssl.pipeline import Sources
from stellarssl.survey._catalogue import Catalogue
from stellarssl.survey._models import Models
from stellarssl.survey._records import checksum, stamp, write_json

__all__ = ["Job", "Recipe", "View", "asked_for", "plan_cubes", "settle", "spelled"]

_QUANTITIES = {
    "rest_value": u.GHz,
    "distance": u.pc,
    "excitation_temperature": u.K,
    "max_recoverable_scale": u.arcsec,
}


@dataclass(frozen=True)
class Recipe:
    """What all cubes of a survey share.

    Attributes
    ----------
    output : `~pathlib.Path`
        The survey's folder, at the same place for every worker.
    options : dict
        Of `~stellarssl.moment_maps`.
    spelled : dict
        The same, and the two below, as `spelled` writes them.
    only_sources : bool
        Whether a cube is read about its sources only.
    n_segments : int or None
        Of `~stellarssl.segment`.
    models : `Models`
        Weights and library.
    """

    output: Path
    options: dict
    spelled: dict
    only_sources: bool
    n_segments: int | None
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


def spelled(options: dict) -> dict[str, object]:
    """Check options and write them so that like is alike: quantities in one unit, all as JSON.

    Parameters
    ----------
    options : dict
        Of `~stellarssl.moment_maps` and `~stellarssl.segment`.

    Returns
    -------
    plain : dict
        Strings, numbers and None.

    Raises
    ------
    InputError
        If one of them could suit no cube.
    """
    plain = {}
    for name, value in options.items():
        if name in _QUANTITIES:
            through = u.spectral() if name == "rest_value" else None
            value = as_quantity(name, value, _QUANTITIES[name], equivalencies=through)  # noqa: PLW2901
        elif name == "velocity_range":
            value = as_range(name, value, u.km / u.s)  # noqa: PLW2901
        plain[name] = value if value is None or isinstance(value, int | float) else str(value)
    return plain


def asked_for(options: dict, sources: Sources | None, models: Models, version: str) -> dict:
    """Return what must be the same when a survey goes on.

    Parameters
    ----------
    options : dict
        Of `spelled`.
    sources : `~stellarssl.pipeline.Sources` or None
        The catalogue.
    models : `Models`
        Weights and library.
    version : str
        Of stellarssl.

    Returns
    -------
    asked : dict of str, float or None
        One entry a thing.
    """
    return options | {
        "positions": None if sources is None else f"catalogue {_digest(sources)[:12]}",
        "encoder": f"weights {models.encoder_sha256[:12]}",
        "library": f"library {models.library_sha256[:12]}",
        "stellarssl": version,
    }


def settle(output: Path, asked: dict, cubes: Iterable[str | os.PathLike]) -> dict[str, str]:
    """Open or begin the survey's manifest, ``survey.json``, and give each cube a folder.

    Parameters
    ----------
    output : `~pathlib.Path`
        Of the survey.
    asked : dict
        Of `asked_for`.
    cubes : iterable of path-like
        Those of the manifest keep their folders; others get free ones.

    Returns
    -------
    folders : dict of str
        From the path of each cube, in their order, to the name of its folder.

    Raises
    ------
    InputError
        If the manifest is damaged or was written for something else.
    """
    path = output / "survey.json"
    folders = {}
    if path.exists():
        folders = _known_folders(path, asked)
    paths = dict.fromkeys(os.path.abspath(cube) for cube in cubes)  # noqa: PTH100  (keeps links)
    for cube in paths:
        if cube not in folders:
            folders[cube] = _free_name(Path(cube).name, set(folders.values()))
    write_json(path, {"asked": asked, "folders": folders})
    return {cube: folders[cube] for cube in paths}


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
    begun = any((path.parent / folder).exists() for folder in folders.values())
    if changed and begun:
        rule = f"holds a survey in which {', '.join(changed)}: choose another folder"
        raise InputError("output", rule, str(path.parent))
    return folders


_RESERVED = {"observed"}


def _free_name(file: str, taken: set[str]) -> str:
    stem = file.split(".", maxsplit=1)[0] or "cube"
    names = (stem if i == 1 else f"{stem}-{i}" for i in range(1, len(taken) + 3))
    return next(name for name in names if name not in taken | _RESERVED)


def plan_cubes(
    recipe: Recipe, asked: dict, folders: dict[str, str], catalogue: Catalogue | None
) -> dict[str, Job | StellarSSLError | None]:
    """Find out, from the headers alone, what is to be done for each cube.

    Parameters
    ----------
    recipe : `Recipe`
        What they share.
    asked : dict
        Of `asked_for`.
    folders : dict of str
        Of `settle`.
    catalogue : `Catalogue` or None
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
            jobs[cube] = _job(recipe, asked, cube, folder, catalogue)
        except StellarSSLError as error:
            jobs[cube] = error
    return jobs


def _job(
    recipe: Recipe, asked: dict, cube: str, folder: str, catalogue: Catalogue | None
) -> Job | None:
    before = stamp(cube)
    sources = None
    if catalogue is not None:
        sources = catalogue.on(*read_sky(cube, hdu=recipe.options["hdu"]))
        if sources is None:
            return None
    made_from = checksum(asked, cube, before, None if sources is None else _digest(sources))
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


def _digest(sources: Sources) -> str:
    """Return the sha256 of all that is known of sources."""
    digest = hashlib.sha256("\n".join(sources.id).encode())
    coord = sources.skycoord.icrs
    known = (sources.distance, sources.position_error, sources.velocity_range)
    for values in (coord.ra, coord.dec, *known):
        digest.update(b"-" if values is None else np.ascontiguousarray(values.value).tobytes())
    return digest.hexdigest()
