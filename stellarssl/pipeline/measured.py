"""Sources as measured in a cube: tiles, spectra, signal-to-noise ratios and usable radii."""

from dataclasses import dataclass, replace

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from stellarssl._utils.geometry import TILE_PIXEL, TILE_PIXELS, beam_width
from stellarssl.cubes import Cube
from stellarssl.exceptions import MissingInputError
from stellarssl.library import Telescope, rounded_snr
from stellarssl.moments import MomentMaps
from stellarssl.observe import TILE_CHANNEL_WIDTH, Observation
from stellarssl.pipeline.positions import Sources
from stellarssl.spectra import WIDEST_CHANNEL, SourceSpectra, source_spectra
from stellarssl.tiles import (
    RADII,
    TileSet,
    covered_radius,
    make_tiles,
    source_statistics,
    usable_radii,
)
from stellarssl.tracers import Tracer, line_at

__all__ = [
    "MeasuredSources",
    "group_by_telescope",
    "measure_sources",
    "source_snr",
    "with_factor",
]

_STAND_IN = Tracer("relative column", None, 1e21 * u.cm**-2 / (u.K * u.km / u.s), "user", 29 * u.u)
"""Factor of lines without a column: no statistic depends on its value."""

_HALF_WIDTH, _HALF_WIDTH_N2HP = 6.0, 3.5  # km/s
_N2HP = "N2H+(1-0)"
_PART_OF_BEAM = 10  # positions are at least as uncertain as a tenth of the beam
_KMS = u.km / u.s


@dataclass(frozen=True, eq=False)
class MeasuredSources:
    """What is known of sources before they are compared with a library.

    Attributes
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Maps that the tiles were cut from. For a line without a column, a factor stands in.
    tiles : `~stellarssl.tiles.TileSet`
        One tile per source.
    spectra : `~stellarssl.spectra.SourceSpectra` or None
        Spectra of the sources; None without a cube, or if its channels are wider than 1 km/s.
    snr : ndarray
        Shape (n,): peak of the line at the source over the noise of a channel of 0.125 km/s;
        infinite without noise.
    radii : ndarray of int
        Shape (n,): index into `~stellarssl.tiles.RADII`; -1 where the source is off the map.
    position_error : ndarray
        Shape (n,): standard deviation of the position along each axis, in tile pixels.
    half_width : float
        Half the width of the spectra [km/s].
    has_column : bool
        Whether the columns of the tiles are hydrogen columns.
    is_thin : bool
        Whether the line is known to be thin, such as N2H+ without an abundance.
    cube : `~stellarssl.Cube` or None
        Cube that the spectra were measured in.
    """

    maps: MomentMaps
    tiles: TileSet
    spectra: SourceSpectra | None
    snr: np.ndarray
    radii: np.ndarray
    position_error: np.ndarray
    half_width: float
    has_column: bool
    is_thin: bool
    cube: Cube | None

    def __len__(self) -> int:
        return len(self.tiles)

    @property
    def beam(self) -> u.Quantity:
        """FWHM of the beam at each source, shape (n,), pc."""
        width = beam_width(self.maps.beam).to_value(u.rad)
        return width * self.tiles.distance

    @property
    def outer_radius(self) -> u.Quantity:
        """Outer radius of the rings in use, shape (n,), pc; zero for sources off the map."""
        outer = np.array([*(outer for _, outer in RADII), 0.0])
        return outer[self.radii] * TILE_PIXEL

    def statistics(self, rows: np.ndarray, radii: tuple[float, float]) -> np.ndarray:
        """Measure some sources within a pair of radii.

        Parameters
        ----------
        rows : ndarray of int
            Sources to measure.
        radii : tuple of float
            Inner and outer radius, in tile pixels.

        Returns
        -------
        array : ndarray of float32
            Features, shape (len(rows), number of features), in the order of
            `~stellarssl.library.observed_rows`.
        """
        tiles = self.tiles[rows]
        spectra = None if self.spectra is None else self.spectra[rows]
        return source_statistics(
            tiles.maps, tiles.detected, tiles.covered, spectra, radii=radii
        ).array


def measure_sources(
    maps: MomentMaps,
    cube: Cube | None,
    sources: Sources,
    distance: u.Quantity | str | None,
) -> MeasuredSources:
    """Cut tiles and extract spectra around sources.

    Parameters
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Moment maps.
    cube : `~stellarssl.Cube` or None
        Cube that the maps were made of; None if there are only maps.
    sources : `~stellarssl.pipeline.Sources`
        Positions, which may have distances and errors of their own.
    distance : `~astropy.units.Quantity` or str or None
        Distance of all sources, or one per source, where the sources have none.

    Returns
    -------
    measured : MeasuredSources
        One entry per source.

    Raises
    ------
    MissingInputError
        If there is no distance or no beam.
    """
    if maps.beam is None:
        raise MissingInputError("beam", "must be given to know how the map was observed")
    has_column = maps.tracer is not None and maps.tracer != _STAND_IN
    line = _known_line(maps)
    maps = with_factor(maps)
    distance = distance if sources.distance is None else sources.distance
    tiles = make_tiles(
        maps,
        sources.skycoord,
        distance=distance,
        position_error=sources.position_error,
        ids=sources.id,
    )
    half_width = _HALF_WIDTH_N2HP if line == _N2HP else _HALF_WIDTH
    spectra = None
    if cube is not None and cube.channel_width.to_value(_KMS) <= WIDEST_CHANNEL:
        spectra = source_spectra(
            cube,
            tiles.skycoord,
            distance=tiles.distance,
            half_width=half_width * _KMS,
            noise=maps.noise,
            efficiency=float(maps.meta.get("efficiency", 1.0)),
            ids=sources.id,
        )
    snr = source_snr(maps, tiles.skycoord)
    radii = usable_radii(covered_radius(tiles.covered))
    error = _position_error(maps, tiles, snr)
    return MeasuredSources(
        maps,
        tiles,
        spectra,
        snr,
        radii,
        error,
        half_width,
        has_column,
        is_thin=has_column or line is not None,
        cube=None if spectra is None else cube,
    )


def with_factor(maps: MomentMaps) -> MomentMaps:
    """Return maps with a factor that stands in where there is no tracer.

    Parameters
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Moment maps.

    Returns
    -------
    maps : `~stellarssl.moments.MomentMaps`
        The same if they have a tracer.
    """
    return maps if maps.tracer is not None else replace(maps, tracer=_STAND_IN)


def _known_line(maps: MomentMaps) -> str | None:
    """Name the thin line at the rest frequency of maps that have no tracer, or the tracer."""
    if maps.tracer is not None and maps.tracer != _STAND_IN:
        return maps.tracer.name
    frequency = maps.meta.get("rest_frequency_ghz")
    if frequency is None:
        return None
    line = line_at(frequency * u.GHz)
    return None if line is None or line.kind != "molecular" else line.name


def source_snr(maps: MomentMaps, positions: SkyCoord) -> np.ndarray:
    """Measure the signal-to-noise ratio of the line in the pixel of each source.

    Parameters
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Moment maps. Without a map of the peak, that of a Gaussian line with the same moments is
        taken.
    positions : `~astropy.coordinates.SkyCoord`
        Positions, shape (n,).

    Returns
    -------
    snr : ndarray
        Shape (n,): peak over the noise of a channel of 0.125 km/s; zero where nothing is detected
        or the position is off the map, infinite without noise.
    """
    x, y = (np.round(axis) for axis in maps.wcs.world_to_pixel(positions))
    n_y, n_x = maps.shape
    inside = (x >= 0) & (y >= 0) & (x < n_x) & (y < n_y)
    row, column = (np.where(inside, axis, 0).astype(int) for axis in (y, x))
    if maps.peak is not None:
        peak = maps.peak[row, column].to_value(u.K)
    else:
        area = maps.moment0[row, column].to_value(u.K * _KMS)
        peak = area / (np.sqrt(2 * np.pi) * maps.sigma_v[row, column].to_value(_KMS))
    width = maps.channel_width / TILE_CHANNEL_WIDTH
    noise = np.broadcast_to(maps.noise.to_value(u.K), maps.shape)[row, column]
    noise = noise * np.sqrt(width.to_value(u.dimensionless_unscaled))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(inside & np.isfinite(peak) & (peak > 0), peak / noise, 0.0)
    return np.where(np.isfinite(noise) | (ratio == 0), ratio, 0.0)


def _position_error(maps: MomentMaps, tiles: TileSet, snr: np.ndarray) -> np.ndarray:
    """Return position errors in tile pixels; see `MeasuredSources`.

    Where none is given it is the larger of beam / (2 S/N) and a tenth of the beam.
    """
    given = (tiles.position_error / TILE_PIXEL).to_value(u.dimensionless_unscaled)
    beam = beam_width(maps.beam).to_value(u.rad) * tiles.distance / TILE_PIXEL
    share = np.maximum(1 / (2 * np.maximum(snr, 1.0)), 1 / _PART_OF_BEAM)
    return np.where(given > 0, given, beam.to_value(u.dimensionless_unscaled) * share)


def group_by_telescope(measured: MeasuredSources) -> list[tuple[Telescope, np.ndarray]]:
    """Group sources for which the library is observed in the same way.

    The library is observed with the beam, the channels and the opacity of the data, rounded to
    0.1 dex; with the signal-to-noise ratio of the source, rounded to 0.3 dex; with its position
    error, rounded to a factor of two above half a tile pixel; and within its radii. Neither
    the noise nor the column enters in absolute units, so that a factor on the brightness changes
    nothing.

    Parameters
    ----------
    measured : MeasuredSources
        The sources.

    Returns
    -------
    groups : list of (Telescope, ndarray of int)
        Sources off the map are in no group.
    """
    groups: dict[Telescope, list[int]] = {}
    observations = {d: _observation(measured.maps, d) for d in np.unique(measured.tiles.distance)}
    for i in np.flatnonzero(measured.radii >= 0):
        telescope = Telescope(
            observations[measured.tiles.distance[i]],
            rounded_snr(measured.snr[i]),
            RADII[measured.radii[i]],
            lines=measured.spectra is not None,
            position_error=_rounded_error(measured.position_error[i]),
            half_width=measured.half_width,
        )
        groups.setdefault(telescope, []).append(int(i))
    return [(telescope, np.array(rows)) for telescope, rows in groups.items()]


def _observation(maps: MomentMaps, distance: u.Quantity) -> Observation:
    """Describe the telescope by what does not depend on the calibration of the brightness.

    A beam wider than a tile counts as wide as a tile: no mass rests on either.
    """
    seen = Observation.of(maps, distance=distance)
    return replace(
        seen,
        beam_pixels=min(seen.beam_pixels, float(TILE_PIXELS)),
        channel_width=max(seen.channel_width, TILE_CHANNEL_WIDTH.value),
        rms=0.0,
        sigma_line=0.0,
        column_limit=0.0,
    ).rounded()


def _rounded_error(error: float) -> float:
    """Round to a power of two; errors below 0.7 tile pixels count as none, above 8 as 8."""
    power = round(np.log2(max(error, 1e-9)))
    return 0.0 if power < 0 else float(2 ** min(power, 3))
