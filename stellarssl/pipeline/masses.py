"""From a cube and positions to a table of masses."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import astropy.units as u
import numpy as np
from astropy.table import QTable, vstack
from radio_beam import Beam

from stellarssl._utils.flags import flag_bit
from stellarssl._utils.geometry import TILE_PIXELS
from stellarssl._utils.options import accepts
from stellarssl.cubes import CubeLike
from stellarssl.encoder import Encoder
from stellarssl.exceptions import InputError, NoSignalError
from stellarssl.library import ReferenceLibrary
from stellarssl.masses import mass_table, write_table
from stellarssl.moments import MomentKeywords, MomentMaps, MomentOptions, moment_maps
from stellarssl.observe import Observation
from stellarssl.pipeline.models import as_encoder, as_library
from stellarssl.pipeline.positions import PositionsLike, Sources, read_sources
from stellarssl.tiles import TileSet, column_peaks, make_tiles

__all__ = ["estimate_mass", "group_by_observation", "write_masses"]


@accepts(MomentOptions)
def estimate_mass(
    data: CubeLike | MomentMaps,
    positions: PositionsLike | None = None,
    *,
    library: ReferenceLibrary | str | os.PathLike | None = None,
    encoder: Encoder | str | os.PathLike | None = None,
    allow: Sequence[str] = (),
    **options: Unpack[MomentKeywords],
) -> QTable:
    """Estimate the masses of stars that are still embedded in the gas of a cube.

    Around each position a tile of 0.5 pc is cut from maps of N_H, v_los and sigma_v, and compared
    with tiles of simulated stars that are observed with the same telescope.

    Parameters
    ----------
    data : cube or `~stellarssl.MomentMaps`
        A path, HDU, ``SpectralCube`` or `~stellarssl.Cube`; or maps, which were made with options
        of their own, so that only ``distance`` and ``progress`` can be given with them.
    positions : `~astropy.coordinates.SkyCoord`, `~astropy.table.Table` or path-like, optional
        Positions of the stars, see `~stellarssl.pipeline.read_sources`. A table may have the
        columns ``distance``, ``position_error`` and ``velocity_range``, which hold for each source
        instead of the options. By default the peaks of the column, which are candidates: their
        rows are flagged ``position_from_peak``.
    library : `~stellarssl.ReferenceLibrary` or path-like, optional
        Library in which masses are looked up; the shipped one by default. It is observed like the
        data, unless it has been observed already.
    encoder : `~stellarssl.Encoder`, str or path-like, optional
        Encoder, or its name or file; the shipped one by default.
    allow : sequence of str, optional
        Flags in spite of which a mass is shown, such as ``["missing_flux"]``.
    **options
        Options of reading and measuring.

    Returns
    -------
    table : `~astropy.table.QTable`
        One row for each position, in their order; the columns are explained in the user guide. An
        unreliable mass is masked, and ``flag_words`` gives the reason.

    Raises
    ------
    MissingInputError
        If the distance, or something that the header lacks, is not given.
    InputError
        If an argument breaks a rule.
    NoSignalError
        If nothing is detected, or no peak is found where no positions are given.

    Notes
    -----
    ``distance`` may also hold one value for each position.
    """
    checked, distance = split_distance(options)
    models = Models(as_library(library), as_encoder(encoder), as_allowed(allow))
    sources = None if positions is None else read_sources(positions)
    if sources is not None and sources.velocity_range is not None:
        return _window_by_window(data, sources, distance, models, checked)
    maps = as_maps(data, checked)
    return _masses(maps, sources, distance, models, progress=checked.progress)


@dataclass(frozen=True)
class Models:
    """What masses are looked up with.

    Attributes
    ----------
    library : `~stellarssl.ReferenceLibrary`
        Simulated stars.
    encoder : `~stellarssl.Encoder`
        Encoder that computes the features.
    allow : tuple of str
        Flags in spite of which a mass is shown.
    """

    library: ReferenceLibrary
    encoder: Encoder
    allow: tuple[str, ...]


def as_allowed(allow: Sequence[str]) -> tuple[str, ...]:
    """Check the flags in spite of which masses are shown."""
    if isinstance(allow, str):
        raise InputError("allow", "must be a sequence of flag words", allow)
    for word in allow:
        try:
            flag_bit(word)
        except InputError as error:
            raise InputError("allow", error.rule, word) from error
    return tuple(allow)


def split_distance(options: MomentKeywords) -> tuple[MomentOptions, u.Quantity | str | None]:
    """Return checked options, and the distance that was given, which may be one per source."""
    distance = options.get("distance")
    if isinstance(distance, u.Quantity) and not distance.isscalar:
        options = {**options, "distance": None}
    return MomentOptions(**options).check(), distance


_WITH_MAPS = ("distance", "progress")


def as_maps(data: CubeLike | MomentMaps, options: MomentOptions) -> MomentMaps:
    """Make maps of a cube; return maps as they are, and refuse options that come too late."""
    if not isinstance(data, MomentMaps):
        return moment_maps(data, **options.given())
    for name, value in options.given().items():
        if name not in _WITH_MAPS:
            rule = "applies to a cube, but these are maps: give it to moment_maps"
            raise InputError(name, rule, value)
    return data


def _window_by_window(
    data: CubeLike | MomentMaps,
    sources: Sources,
    distance: u.Quantity | str | None,
    models: Models,
    options: MomentOptions,
) -> QTable:
    """Make maps once for each velocity window that the sources name."""
    if isinstance(data, MomentMaps):
        rule = "per source needs a cube, since maps have lost their velocities"
        raise InputError("velocity_range", rule)
    cube = options.open(data)
    options = replace(options, hdu=None)  # it has been opened
    windows, window_of = np.unique(u.Quantity(sources.velocity_range), axis=0, return_inverse=True)
    window_of = window_of.reshape(-1)
    tables = []
    for i, window in enumerate(windows):
        maps = as_maps(cube, replace(options, velocity_range=window))
        chosen = sources[window_of == i]
        tables.append(_masses(maps, chosen, distance, models, progress=options.progress))
    return _in_order(tables, [np.flatnonzero(window_of == i) for i in range(len(windows))])


def _masses(
    maps: MomentMaps,
    sources: Sources | None,
    distance: u.Quantity | str | None,
    models: Models,
    *,
    progress: bool,
) -> QTable:
    flags = flag_bit("beam_varies") * bool(maps.meta.get("beam_varies"))
    if sources is None:
        sources = _candidates(maps, distance)
        flags |= flag_bit("position_from_peak")
    if distance is None and sources.distance is None:
        flags |= flag_bit("distance_from_header") * (maps.meta.get("distance_origin") == "header")
    tiles = make_tiles(
        maps,
        sources.skycoord,
        distance=distance if sources.distance is None else sources.distance,
        position_error=sources.position_error,
        ids=sources.id,
    )
    flags_of_tiles = flags | flag_bit("missing_flux") * _filtered_out(maps, tiles)
    library, encoder = models.library, models.encoder
    tables, rows_of = [], []
    for observation, rows in _observations(maps, tiles, library):
        seen = (
            library
            if observation is None
            else library.observed(observation, encoder, progress=progress)
        )
        table = mass_table(
            tiles[rows],
            seen,
            encoder,
            tracer=maps.tracer,
            flags=flags_of_tiles[rows],
            allow=models.allow,
            meta=_meta(maps, tiles),
            progress=progress,
        )
        tables.append(table)
        rows_of.append(rows)
    return _in_order(tables, rows_of)


def _candidates(maps: MomentMaps, distance: u.Quantity | str | None) -> Sources:
    peaks = column_peaks(maps, distance=distance)
    if len(peaks) == 0:
        raise NoSignalError("no peak of the column stands out", ["positions"])
    return Sources(tuple(f"peak-{i + 1}" for i in range(len(peaks))), peaks)


def _filtered_out(maps: MomentMaps, tiles: TileSet) -> np.ndarray:
    """Tell for which tiles the interferometer does not recover structure as wide as they are."""
    if maps.max_recoverable_scale is None:
        return np.zeros(len(tiles), dtype=np.int64)
    recovered = maps.max_recoverable_scale.to_value(u.rad) * tiles.distance
    return (recovered < tiles.width).astype(np.int64)


def _observations(
    maps: MomentMaps, tiles: TileSet, library: ReferenceLibrary
) -> Sequence[tuple[Observation | None, np.ndarray]]:
    """Group tiles by the library that they are looked up in.

    None stands for a library that has been observed already, by whoever chose it.
    """
    if library.observation is not None:
        return [(None, np.arange(len(tiles)))]
    return group_by_observation(maps, tiles.distance)


def group_by_observation(
    maps: MomentMaps, distance: u.Quantity
) -> list[tuple[Observation, np.ndarray]]:
    """Group sources by what the telescope resolves at their distance.

    A beam wider than a tile counts as wide as a tile: no mass rests on either, and smoothing takes
    time with width.

    Parameters
    ----------
    maps : `~stellarssl.MomentMaps`
        With a tracer and a beam.
    distance : `~astropy.units.Quantity`
        Of each source, shape (n,).

    Returns
    -------
    groups : list of tuple
        A rounded `~stellarssl.observe.Observation` and the rows (int, ascending) it holds for.

    Raises
    ------
    MissingInputError
        If the maps have no tracer or no beam.
    """
    distances, which = np.unique(distance, return_inverse=True)
    rows_of: dict[Observation, list[int]] = {}
    for i, each in enumerate(distances):
        seen = Observation.of(maps, distance=each)
        seen = replace(seen, beam_pixels=min(seen.beam_pixels, float(TILE_PIXELS))).rounded()
        rows_of.setdefault(seen, []).append(i)
    return [
        (observation, np.flatnonzero(np.isin(which, members)))
        for observation, members in rows_of.items()
    ]


def _in_order(tables: list[QTable], rows_of: list[np.ndarray]) -> QTable:
    if len(tables) == 1:
        return tables[0]
    stacked = vstack(tables, metadata_conflicts="silent")
    return stacked[np.argsort(np.concatenate(rows_of))]


def _meta(maps: MomentMaps, tiles: TileSet) -> dict[str, object]:
    """Tell, for the table's ``meta``, what the data and the options were."""
    distances = np.unique(tiles.distance.to_value(u.pc))
    width = maps.channel_width
    return {f"moments_{name}": value for name, value in maps.meta.items()} | {
        "distance_pc": float(distances[0]) if len(distances) == 1 else "per source",
        "beam": _spelled(maps.beam),
        "channel_width_km_s": None if width is None else float(width.to_value(u.km / u.s)),
    }


def _spelled(beam: Beam | None) -> str:
    if beam is None:
        return "none"
    major, minor = (axis.to_value(u.arcsec) for axis in (beam.major, beam.minor))
    return f"{major:.2f} x {minor:.2f} arcsec, PA {beam.pa.to_value(u.deg):.0f} deg"


def write_masses(
    table: QTable, directory: str | os.PathLike, *, overwrite: bool = False
) -> list[Path]:
    """Write ``masses.ecsv``, the record, and its exports ``masses.fits`` and ``masses.vot``.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        Of `estimate_mass`.
    directory : path-like
        Is made if it is not there.
    overwrite : bool, optional
        Whether files that are there may be replaced.

    Returns
    -------
    paths : list of `~pathlib.Path`
        What was written.

    Raises
    ------
    OutputExistsError
        If one of them is there and ``overwrite`` is false.
    """
    paths = [Path(directory) / f"masses.{suffix}" for suffix in ("ecsv", "fits", "vot")]
    for path in paths:
        write_table(table, path, overwrite=overwrite)
    return paths
