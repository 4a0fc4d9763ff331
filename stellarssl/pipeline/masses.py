"""From a cube and positions to a table of masses."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import astropy.units as u
import numpy as np
from astropy.table import QTable, vstack
from radio_beam import Beam

from stellarssl._utils.options import accepts
from stellarssl._utils.provenance import provenance
from stellarssl.cubes import Cube, CubeLike
from stellarssl.exceptions import InputError, NoSignalError
from stellarssl.library import Telescope
from stellarssl.masses import FLAGS, SourceEstimates, flag_values, mass_table, write_table
from stellarssl.moments import MomentMaps, MomentOptions
from stellarssl.moments.core import measure_moments
from stellarssl.pipeline.comparison import Comparison
from stellarssl.pipeline.measured import (
    MeasuredSources,
    group_by_telescope,
    measure_sources,
    with_factor,
)
from stellarssl.pipeline.options import MassKeywords, MassOptions
from stellarssl.pipeline.positions import PositionsLike, Sources, read_sources
from stellarssl.tiles import column_peaks

__all__ = ["estimate_mass", "mass_by_window", "mass_of_sources", "telescopes_of", "write_masses"]

_SINK_RADIUS = 0.023 * u.pc
_SNR_LOW = 5


@accepts(MassOptions)
def estimate_mass(
    data: CubeLike | MomentMaps,
    positions: PositionsLike | None = None,
    **options: Unpack[MassKeywords],
) -> QTable:
    """Estimate the masses of stars that are still embedded in the gas of a cube.

    Around each position the line is measured in rings: maps of column, velocity and dispersion, and
    spectra. The same is measured on simulated stars, observed with the same beam, channels and
    signal-to-noise ratio, and the mass is read off those that are most similar. The absolute
    column is not used.

    Parameters
    ----------
    data : cube or `~stellarssl.MomentMaps`
        A path, HDU, ``SpectralCube`` or `~stellarssl.Cube`; or maps, which were made with options
        of their own, so that only ``distance`` and ``progress`` can be given with them. Maps have
        no spectra: masses are then less certain.
    positions : `~astropy.coordinates.SkyCoord`, `~astropy.table.Table` or path-like, optional
        Positions of the stars, see `~stellarssl.pipeline.read_sources`. A table may have the
        columns ``distance``, ``distance_error``, ``position_error`` and ``velocity_range``, which
        hold for each source instead of the options. By default the peaks of the column, which are
        candidates: their rows are flagged ``position_from_peak`` and have a ``star_probability``.
    **options
        Options of reading, measuring and estimating.

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

    Examples
    --------
    >>> from stellarssl.pipeline import demo_files
    >>> cube, stars = demo_files()
    >>> table = estimate_mass(cube, stars)
    >>> print(len(table), table["mass"].unit)
    8 solMass
    """
    checked, distance = split_distance(options)
    if checked.encoder is not None and checked.reader == "forest":
        rule = 'is used by reader="knn" only'
        raise InputError("encoder", rule, str(checked.encoder), ["reader"])
    comparison = Comparison.of(checked)
    sources = None if positions is None else read_sources(positions)
    if sources is not None and sources.velocity_range is not None:
        return mass_by_window(data, sources, distance, comparison, checked)
    maps, cube = as_maps(data, checked)
    return mass_of_sources(maps, cube, sources, distance, comparison)


def split_distance(options: MassKeywords) -> tuple[MassOptions, u.Quantity | str | None]:
    """Return checked options, and the distance that was given, which may be one per source."""
    distance = options.get("distance")
    if isinstance(distance, u.Quantity) and not distance.isscalar:
        options = {**options, "distance": None}
    return MassOptions(**options).check(), distance


_WITH_MAPS = ("distance", "progress", "reader", "prior", "library", "encoder", "allow")


def as_maps(data: CubeLike | MomentMaps, options: MomentOptions) -> tuple[MomentMaps, Cube | None]:
    """Open a cube and make maps of it; return maps as they are, without a cube.

    Options of reading and measuring cannot be given with maps.
    """
    if not isinstance(data, MomentMaps):
        cube = options.open(data)
        return measure_moments(cube, replace(options, hdu=None)), cube
    for name, value in options.given().items():
        if name not in _WITH_MAPS:
            rule = "applies to a cube, but these are maps: give it to moment_maps"
            raise InputError(name, rule, value)
    return data, None


def mass_by_window(
    data: CubeLike | MomentMaps,
    sources: Sources,
    distance: u.Quantity | str | None,
    comparison: Comparison,
    options: MomentOptions,
) -> QTable:
    """Estimate masses with maps and spectra of the velocity window of each source.

    Parameters
    ----------
    data : cube
        Cube, as for `estimate_mass`.
    sources : `~stellarssl.pipeline.Sources`
        Positions with velocity windows.
    distance : `~astropy.units.Quantity` or str or None
        Distance of all sources, or one per source.
    comparison : `~stellarssl.pipeline.comparison.Comparison`
        Reader, prior and library.
    options : `~stellarssl.moments.MomentOptions`
        Options of reading and measuring.

    Returns
    -------
    table : `~astropy.table.QTable`
        As `estimate_mass` returns it.

    Raises
    ------
    InputError
        If ``data`` are maps.
    """
    if isinstance(data, MomentMaps):
        rule = "per source needs a cube, since maps have lost their velocities"
        raise InputError("velocity_range", rule)
    cube = options.open(data)
    options = replace(options, hdu=None)  # it has been opened
    windows, window_of = np.unique(u.Quantity(sources.velocity_range), axis=0, return_inverse=True)
    window_of = window_of.reshape(-1)
    tables = []
    for i, window in enumerate(windows):
        maps, narrow = as_maps(cube, replace(options, velocity_range=window))
        chosen = np.flatnonzero(window_of == i)
        own = distance
        if isinstance(distance, u.Quantity) and not distance.isscalar:
            own = distance[chosen]
        tables.append(mass_of_sources(maps, narrow, sources[chosen], own, comparison))
    stacked = vstack(tables, metadata_conflicts="silent")
    return stacked[np.argsort(np.argsort(window_of, kind="stable"))]


def mass_of_sources(
    maps: MomentMaps,
    cube: Cube | None,
    sources: Sources | None,
    distance: u.Quantity | str | None,
    comparison: Comparison,
) -> QTable:
    """Estimate the masses of sources in maps and the cube that they were made of.

    Parameters
    ----------
    maps : `~stellarssl.MomentMaps`
        Moment maps.
    cube : `~stellarssl.Cube` or None
        Cube, for the spectra; None if there are only maps.
    sources : `~stellarssl.pipeline.Sources` or None
        Positions; None for the peaks of the column.
    distance : `~astropy.units.Quantity` or str or None
        Distance of all sources, or one per source, where the sources have none.
    comparison : `~stellarssl.pipeline.comparison.Comparison`
        Reader, prior and library.

    Returns
    -------
    table : `~astropy.table.QTable`
        As `estimate_mass` returns it.
    """
    candidates = sources is None
    if sources is None:
        sources = _candidates(maps, distance)
    spectra_from = cube if comparison.uses_spectra else None
    measured = measure_sources(maps, spectra_from, sources, distance)
    estimates = SourceEstimates.empty(len(measured))
    flag_measured(estimates, measured, maps)
    given = distance is not None or sources.distance is not None
    from_header = not given and maps.meta.get("distance_origin") == "header"
    estimates.flag("distance_from_header", from_header)
    estimates.flag("position_from_peak", candidates)
    comparison.fill(estimates, measured, sources, candidates=candidates)
    flag_values(estimates)
    return mass_table(
        measured.tiles,
        estimates,
        snr=measured.snr,
        beam=measured.beam,
        prior=comparison.prior_name,
        allowed=comparison.allowed,
        candidates=candidates,
        meta=_meta(maps, measured) | comparison.meta,
    )


def telescopes_of(maps: MomentMaps, cube: Cube | None, sources: Sources | None) -> list[Telescope]:
    """Return what the library is observed with when masses of sources are estimated.

    Parameters
    ----------
    maps, cube, sources
        As for `mass_of_sources`.

    Returns
    -------
    telescopes : list of `~stellarssl.library.Telescope`
        Each once.
    """
    sources = _candidates(maps, None) if sources is None else sources
    measured = measure_sources(maps, cube, sources, None)
    return [telescope for telescope, _ in group_by_telescope(measured)]


def _candidates(maps: MomentMaps, distance: u.Quantity | str | None) -> Sources:
    peaks = column_peaks(with_factor(maps), distance=distance)
    if len(peaks) == 0:
        raise NoSignalError("no peak of the column stands out", ["positions"])
    return Sources(tuple(f"peak-{i + 1}" for i in range(len(peaks))), peaks)


def flag_measured(estimates: SourceEstimates, measured: MeasuredSources, maps: MomentMaps) -> None:
    """Set the flags that follow from the data alone.

    Parameters
    ----------
    estimates : SourceEstimates
        Flags of all sources, changed in place.
    measured : MeasuredSources
        The sources.
    maps : `~stellarssl.MomentMaps`
        Maps as the user gave them.
    """
    tiles, spectra = measured.tiles, measured.spectra
    kind = None if maps.tracer is None else maps.tracer.kind
    estimates.flag("partial_coverage", tiles.coverage < 0.95)
    estimates.flag("off_map", measured.radii < 0)
    estimates.flag("no_signal", tiles.detected_fraction == 0)
    estimates.flag("low_snr", measured.snr < _SNR_LOW)
    estimates.flag("no_column", not measured.has_column)
    estimates.flag("unknown_line", not measured.has_column and not measured.is_thin)
    estimates.flag("atomic_tracer", kind == "atomic")
    estimates.flag("opaque_tracer", kind == "opaque")
    estimates.flag("missing_flux", _filtered_out(maps, measured))
    estimates.flag("beam_varies", bool(maps.meta.get("beam_varies")))
    estimates.flag("blended", _blended(measured))
    estimates.flag("smoothed_to_tile", measured.beam < tiles.pixel)
    estimates.flag("maps_only", spectra is None)
    if spectra is not None:
        estimates.flag("several_components", spectra.several_components)
        estimates.flag("line_at_band_edge", spectra.at_band_edge)


def _filtered_out(maps: MomentMaps, measured: MeasuredSources) -> np.ndarray:
    """Tell where the interferometer does not recover structure as wide as the rings in use."""
    if maps.max_recoverable_scale is None:
        return np.zeros(len(measured), dtype=bool)
    recovered = maps.max_recoverable_scale.to_value(u.rad) * measured.tiles.distance
    return recovered < 2 * measured.outer_radius


def _blended(measured: MeasuredSources) -> np.ndarray:
    """Tell which sources have another one within the beam or the sink radius."""
    coords = measured.tiles.skycoord
    apart = coords[:, None].separation(coords[None]).to_value(u.rad) * measured.tiles.distance
    reach = np.maximum(measured.beam, _SINK_RADIUS)
    near = apart < np.maximum(reach[:, None], reach[None])
    np.fill_diagonal(near, val=False)
    return near.any(axis=1)


def _meta(maps: MomentMaps, measured: MeasuredSources) -> dict[str, object]:
    """Describe the data and the options in the table's ``meta``."""
    distances = np.unique(measured.tiles.distance.to_value(u.pc))
    width = maps.channel_width
    return provenance() | {
        **{f"moments_{name}": value for name, value in maps.meta.items()},
        "distance_pc": float(distances[0]) if len(distances) == 1 else "per source",
        "beam": _beam_words(maps.beam),
        "channel_width_km_s": None if width is None else float(width.to_value(u.km / u.s)),
        "tracer": "none" if maps.tracer is None else maps.tracer.name,
        "tile_width_pc": float(measured.tiles.width.to_value(u.pc)),
        "flag_bits": ", ".join(f"{flag.bit}: {flag.name}" for flag in FLAGS),
    }


def _beam_words(beam: Beam | None) -> str:
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
        Table that `estimate_mass` returned.
    directory : path-like
        Folder, which is made if it does not exist.
    overwrite : bool, optional
        Whether existing files are replaced.

    Returns
    -------
    paths : list of `~pathlib.Path`
        Files that were written.

    Raises
    ------
    OutputExistsError
        If one of them exists and ``overwrite`` is false.
    """
    paths = [Path(directory) / f"masses.{suffix}" for suffix in ("ecsv", "fits", "vot")]
    for path in paths:
        write_table(table, path, overwrite=overwrite)
    return paths
