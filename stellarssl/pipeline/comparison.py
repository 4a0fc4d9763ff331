"""Comparison of measured sources with a library: reader, prior and library in one object."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import astropy.units as u
import numpy as np

from stellarssl._utils.stages import stage
from stellarssl.encoder import Encoder
from stellarssl.exceptions import InputError
from stellarssl.library import (
    N_VIEWS,
    LibraryRows,
    PPVTiles,
    ReferenceLibrary,
    central_column,
    encoded_rows,
    map_rows,
    observed_rows,
)
from stellarssl.masses import (
    Calibration,
    Estimates,
    MassModel,
    SourceEstimates,
    find_calibration,
    flag_bit,
)
from stellarssl.masses.table import NO_SKILL
from stellarssl.masses.weights import Prior
from stellarssl.observe import Observation
from stellarssl.pipeline.measured import MeasuredSources, group_by_telescope, measure_sources
from stellarssl.pipeline.models import as_encoder, as_library, as_tiles
from stellarssl.pipeline.options import MassOptions
from stellarssl.pipeline.positions import Sources
from stellarssl.tiles import RADII, WIDEST

__all__ = ["Comparison", "Group"]

_DISTANCE_STEPS = (0.8, 1.25)
_DISTANCE_ERROR = 0.1
"""Relative error of distances that have none of their own."""


@dataclass(frozen=True, eq=False)
class Group:
    """Sources that are compared with the same library rows.

    Attributes
    ----------
    members : ndarray of int
        The sources.
    radii : tuple of float
        Inner and outer radius in use, in tile pixels.
    rows : callable
        Returns the `~stellarssl.library.LibraryRows`.
    features : callable
        Returns the features of some sources of a `MeasuredSources`.
    calibration : Calibration or None
        Intervals and skill measured before.
    """

    members: np.ndarray
    radii: tuple[float, float]
    rows: Callable[[], LibraryRows]
    features: Callable[[MeasuredSources, np.ndarray], np.ndarray]
    calibration: Calibration | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Reader, prior and library with which masses are estimated.

    Made by `of`.

    Attributes
    ----------
    reader : {"forest", "knn"}
        How masses are read off the library.
    prior : {"library", "flat"} or callable
        Prior on log mass.
    library : `~stellarssl.library.PPVTiles` or `~stellarssl.ReferenceLibrary`
        Simulated stars.
    encoder : `~stellarssl.Encoder` or None
        Encoder of the reader "knn".
    allowed : int
        Flags in spite of which masses are shown, as a bit mask.
    n_jobs : int or None
        Number of threads of the forest.
    progress : bool
        Whether progress bars are shown.
    """

    reader: str
    prior: Prior
    library: PPVTiles | ReferenceLibrary
    encoder: Encoder | None
    allowed: int
    n_jobs: int | None = None
    progress: bool = False

    @classmethod
    def of(cls, options: MassOptions) -> "Comparison":
        """Load what the options of `~stellarssl.estimate_mass` name.

        Parameters
        ----------
        options : `~stellarssl.pipeline.MassOptions`
            Checked options.

        Returns
        -------
        comparison : Comparison
            Ready for use.

        Raises
        ------
        InputError
            If a library or encoder cannot be read, or does not suit the reader.
        """
        library = options.library
        if options.reader == "forest":
            found: PPVTiles | ReferenceLibrary = as_tiles(library)
            encoder = None
        elif isinstance(library, PPVTiles):
            rule = 'must be a ReferenceLibrary of maps for reader="knn"'
            raise InputError("library", rule, repr(library))
        else:
            found, encoder = as_library(library), as_encoder(options.encoder)
            if found.features is None:
                found = found.embed(encoder, progress=options.progress)
        allowed = sum({flag_bit(name) for name in options.allow})
        threads, show = options.n_threads, options.progress
        return cls(options.reader, options.prior, found, encoder, allowed, threads, show)

    @property
    def uses_spectra(self) -> bool:
        """Whether spectra are compared beside maps."""
        return isinstance(self.library, PPVTiles)

    @property
    def prior_name(self) -> str:
        """Name of the prior, for the table."""
        return self.prior if isinstance(self.prior, str) else "user"

    @property
    def meta(self) -> dict[str, str]:
        """Entries of the table's ``meta``."""
        meta = {
            "reader": self.reader,
            "prior": self.prior_name,
            "library_sha256": self.library.sha256,
            "library_sims": ", ".join(np.unique(self.library.table["sim"])),
        }
        if self.encoder is not None:
            meta |= {"encoder": self.encoder.name, "encoder_sha256": self.encoder.sha256}
        return meta

    @stage("masses")
    def fill(
        self,
        estimates: SourceEstimates,
        measured: MeasuredSources,
        sources: Sources,
        *,
        candidates: bool,
    ) -> None:
        """Estimate all sources that are on the map.

        Parameters
        ----------
        estimates : SourceEstimates
            Estimates and flags, changed in place.
        measured : MeasuredSources
            The sources.
        sources : `~stellarssl.pipeline.Sources`
            Their positions and distance errors.
        candidates : bool
            Whether star probabilities are computed.
        """
        nearby = _at_other_distances(measured, sources)
        for group in self._groups(measured):
            members, values = group.members, estimates.values
            values["radius_min"][members], values["radius_max"][members] = group.radii
            if group.calibration is not None:
                values["r2_simulation"][members] = group.calibration.r2_simulation
                if group.calibration.r2_simulation <= NO_SKILL:
                    continue
            rows = group.rows()
            model = _fitted(
                _Setup(rows, rows.sha256, self.reader, self.prior, group.calibration, self.n_jobs)
            )
            found = model.estimate(group.features(measured, members), candidates=candidates)
            _scatter(estimates, found, model, members)
            shifted = [model.predict(group.features(other, members)) for other in nearby]
            slope = (shifted[1] - shifted[0]) / np.diff(np.log10(_DISTANCE_STEPS))
            values["mass_error_sys"][members] = _distance_error(
                found.log_mass, slope, _relative_error(sources, measured)[members]
            )
            own = np.zeros(len(measured), dtype=bool)
            own[members] = True
            estimates.flag("uncalibrated_interval", own & (not model.is_calibrated))
            estimates.flag("no_starless_reference", own & candidates & (not model.has_starless))
            if measured.has_column:
                estimates.flag("column_outside_library", own & _outside(measured, rows))

    def _groups(self, measured: MeasuredSources) -> Iterator[Group]:
        if isinstance(self.library, PPVTiles):
            yield from self._groups_of_tiles(measured, self.library)
        elif self.library.observation is not None:
            members = np.flatnonzero(measured.radii >= 0)
            yield self._group_of_maps(measured, self.library, None, members)
        else:
            observations: dict[Observation, list[int]] = {}
            for i in np.flatnonzero(measured.radii >= 0):
                seen = Observation.of(measured.maps, distance=measured.tiles.distance[i]).rounded()
                observations.setdefault(seen, []).append(int(i))
            for seen, rows in observations.items():
                yield self._group_of_maps(measured, self.library, seen, np.array(rows))

    def _groups_of_tiles(self, measured: MeasuredSources, tiles: PPVTiles) -> Iterator[Group]:
        for telescope, members in group_by_telescope(measured):
            yield Group(
                members,
                telescope.radii,
                partial(observed_rows, tiles, telescope, progress=self.progress),
                partial(_statistics, telescope.radii),
                find_calibration(tiles, telescope, self.prior),
            )

    def _group_of_maps(
        self,
        measured: MeasuredSources,
        library: ReferenceLibrary,
        seen: Observation | None,
        members: np.ndarray,
    ) -> Group:
        if self.encoder is None:
            radii = RADII[int(measured.radii[members].max())]
            rows = partial(map_rows, library, seen, radii=radii)
            return Group(members, radii, rows, partial(_statistics, radii))
        if seen is not None:
            library = library.observed(seen, self.encoder, progress=self.progress)
        encoder = library.match_encoder(self.encoder)
        rows = partial(encoded_rows, library, encoder)
        return Group(members, WIDEST, rows, partial(_embedded, library, encoder))


@dataclass(frozen=True)
class _Setup:
    """What a model is fitted on; rows of one checksum are equal."""

    rows: LibraryRows = field(compare=False)
    sha256: str
    reader: str
    prior: Prior
    calibration: Calibration | None
    n_jobs: int | None = field(compare=False)


@lru_cache(maxsize=8)
def _fitted(setup: _Setup) -> MassModel:
    """Fit a model, or return the one that was fitted on the same rows before."""
    return MassModel.fit(
        setup.rows,
        reader=setup.reader,
        prior=setup.prior,
        calibration=setup.calibration,
        n_jobs=setup.n_jobs,
    )


def _statistics(
    radii: tuple[float, float], measured: MeasuredSources, members: np.ndarray
) -> np.ndarray:
    return measured.statistics(members, radii)


def _embedded(
    library: ReferenceLibrary, encoder: Encoder, measured: MeasuredSources, members: np.ndarray
) -> np.ndarray:
    """Embed the tiles of some sources as the library was embedded."""
    blocks = () if library.features is None else tuple(library.features.blocks)
    return encoder.embed(measured.tiles.maps[members], blocks=blocks, n_views=N_VIEWS).array


def _at_other_distances(
    measured: MeasuredSources, sources: Sources
) -> tuple[MeasuredSources, MeasuredSources]:
    """Measure the sources again as if they were nearer and farther."""
    cube = measured.cube
    plain = replace(sources, distance=None)
    near, far = (
        measure_sources(measured.maps, cube, plain, factor * measured.tiles.distance)
        for factor in _DISTANCE_STEPS
    )
    return near, far


def _relative_error(sources: Sources, measured: MeasuredSources) -> np.ndarray:
    """Return the relative error of each distance; 10 % where none is given."""
    if sources.distance_error is None:
        return np.full(len(measured), _DISTANCE_ERROR)
    ratio = sources.distance_error / measured.tiles.distance
    return ratio.to_value(u.dimensionless_unscaled)


def _distance_error(log_mass: np.ndarray, slope: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """Return the error of the mass [Msun] from d log M / d log d and the distance's error."""
    return 10**log_mass * np.abs(slope) * relative


def _outside(measured: MeasuredSources, rows: LibraryRows) -> np.ndarray:
    """Tell where no library star has such a column in its center."""
    known = np.asarray(rows.table["log_n_h"])[rows.has_star]
    own = central_column(measured.tiles.maps)
    return (own < known.min()) | (own > known.max())


def _scatter(
    estimates: SourceEstimates, found: Estimates, model: MassModel, members: np.ndarray
) -> None:
    """Write the estimates of a group into those of all sources."""
    values = estimates.values
    named = {
        "mass": found.log_mass,
        "mass_lower": found.lower,
        "mass_upper": found.upper,
        "mass_lower_95": found.lower_95,
        "mass_upper_95": found.upper_95,
        "star_probability": found.star_probability,
        "novelty_pvalue": found.novelty_pvalue,
        "novelty_reason": np.array(found.novelty_reason, dtype=object),
    }
    for name, array in named.items():
        values[name][members] = array
    k = found.neighbor_row.shape[1]
    row = found.neighbor_row
    table = model.rows.table
    shown = np.where(row >= 0, np.asarray(table["library_row"])[row], -1)
    mass = np.where(row >= 0, table["mass"].to_value(u.solMass)[row], np.nan)
    arrays = (("neighbors", shown), ("neighbor_masses", mass),
              ("neighbor_weights", found.neighbor_weight))  # fmt: skip
    for name, array in arrays:
        values[name][members, :k] = array
    cut = np.zeros(len(estimates.bits), dtype=bool)
    cut[members] = found.upper_cut
    estimates.flag("upper_limit_cut", cut)
