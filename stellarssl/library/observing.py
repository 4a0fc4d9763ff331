"""Features of library tiles, observed and measured as the data are."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import QTable

from stellarssl._utils.geometry import TILE_PIXEL, TILE_PIXELS
from stellarssl._utils.progress import progress as progress_bar
from stellarssl._utils.stages import stage
from stellarssl.encoder import Encoder
from stellarssl.exceptions import EncoderMismatchError, InputError
from stellarssl.library import cache
from stellarssl.library.ppv import PPVTiles
from stellarssl.library.reference import ReferenceLibrary
from stellarssl.library.rows import LABELS, LibraryRows
from stellarssl.moments import CubeMoments, cube_moments
from stellarssl.observe import (
    TILE_N_H_PER_W,
    Observation,
    ObservedTiles,
    observe_maps,
    observe_tiles,
)
from stellarssl.spectra import spectra_from_arrays
from stellarssl.tiles import WIDEST, TileStatistics, source_statistics
from stellarssl.tiles.fields import Fillers, physical_maps

__all__ = [
    "SNR_STEP",
    "Telescope",
    "central_column",
    "encoded_rows",
    "map_rows",
    "observed_rows",
    "rounded_snr",
]

SNR_STEP = 0.3
"""Width [dex] of the bins of signal-to-noise ratio for which the library is observed."""

_HIGHEST_SNR = 10.0**1.8
_LOWEST_SNR = 10.0**0.3
_FEATURES = 2
"""Version of the features; stored features of another version are not used."""

_BATCH = 64
_SIGMA_THERMAL = 0.054  # km/s: CO at 10 K, which the simulated lines contain
_SEED = 20251024
_KMS = u.km / u.s


def rounded_snr(snr: float) -> float | None:
    """Round a signal-to-noise ratio to 0.3 dex.

    Parameters
    ----------
    snr : float
        Peak at the source over the noise of a channel of 0.125 km/s; infinite without noise.

    Returns
    -------
    snr : float or None
        A power of 10^0.3 between 2 and 63, which stands for all ratios above; None without noise.

    Examples
    --------
    >>> [None if snr is None else round(snr, 1) for snr in map(rounded_snr, (11, 1e5, np.inf))]
    [7.9, 63.1, None]
    """
    if np.isinf(snr):
        return None
    limited = np.clip(snr, _LOWEST_SNR, _HIGHEST_SNR)
    return float(10.0 ** (round(np.log10(limited) / SNR_STEP) * SNR_STEP))


@dataclass(frozen=True)
class Telescope:
    """What a library is observed with, for one or more sources.

    Attributes
    ----------
    observation : `~stellarssl.observe.Observation`
        Beam, channels and opacity.
    snr : float or None
        Peak at the star over the noise of a channel of 0.125 km/s; None without noise.
    radii : tuple of float
        Inner and outer radius of what is measured, in tile pixels.
    lines : bool
        Whether spectra are measured beside the maps.
    position_error : float
        Standard deviation of the positions along each axis, in tile pixels: tiles are centered
        with that error.
    half_width : float
        Half the width of the spectra [km/s].
    """

    observation: Observation
    snr: float | None = None
    radii: tuple[float, float] = WIDEST
    lines: bool = True
    position_error: float = 0.0
    half_width: float = 6.0

    def __post_init__(self) -> None:
        for name, value in (("snr", self.snr), ("position_error", self.position_error)):
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise InputError(name, "must be finite and not negative", value)

    @property
    def meta(self) -> dict[str, str | float | bool]:
        """All of it in JSON types."""
        return {
            "observation": self.observation.key,
            "snr": float("inf") if self.snr is None else self.snr,
            "radius_min": self.radii[0],
            "radius_max": self.radii[1],
            "lines": self.lines,
            "position_error": self.position_error,
            "half_width": self.half_width,
        }


@stage("observe library")
def observed_rows(tiles: PPVTiles, telescope: Telescope, *, progress: bool = False) -> LibraryRows:
    """Observe position-position-velocity tiles and measure them as the data are measured.

    Each tile passes through opacity, channels, beam and noise (see
    `~stellarssl.observe.observe_tiles`), the mask and the moments of the package, the interpolation
    to tile pixels, and `~stellarssl.tiles.source_statistics`. Features are kept in astropy's cache
    folder.

    Parameters
    ----------
    tiles : PPVTiles
        Simulated tiles.
    telescope : Telescope
        What they are observed with.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    rows : LibraryRows
        One row per tile.

    Raises
    ------
    InputError
        If the radii are not edges of rings.

    Examples
    --------
    >>> tiles = PPVTiles.default().select(slice(0, 4))
    >>> rows = observed_rows(tiles, Telescope(Observation(3, 0, 0.125, 0.06, 0), snr=10.0))
    >>> len(rows), rows.names[0]
    (4, 'rings: relative column within 0.012 pc')
    """
    key = cache.key(str(_FEATURES), tiles.sha256, repr(telescope))
    statistics = _load(key)
    if statistics is None:
        names: tuple[str, ...] = ()
        parts: dict[int, np.ndarray] = {}
        batches = list(tiles.batches(_BATCH)) if progress else tiles.batches(_BATCH)
        for rows, cubes in progress_bar(batches, "observing the library", show=progress):
            measured = _measure(tiles, rows, cubes, telescope)
            names = measured.names
            parts |= dict(zip(rows.tolist(), measured.array, strict=True))
        statistics = TileStatistics(names, np.stack([parts[i] for i in range(len(tiles))]))
        cache.save_array(key, statistics.array, {"names": list(names)})
    meta = {"library_sha256": tiles.sha256} | telescope.meta
    labels = _labels(tiles.table, statistics.array[:, -1])
    return LibraryRows(labels, statistics.names[:-1], statistics.array[:, :-1], meta)


def map_rows(
    library: ReferenceLibrary,
    observation: Observation | None = None,
    *,
    radii: tuple[float, float] = WIDEST,
) -> LibraryRows:
    """Measure the rings of a library of maps.

    Parameters
    ----------
    library : ReferenceLibrary
        Maps as simulated, or as observed already.
    observation : `~stellarssl.observe.Observation`, optional
        Telescope that maps as simulated are observed with; by default they are not changed.
    radii : tuple of float, optional
        Inner and outer radius of the rings, in tile pixels.

    Returns
    -------
    rows : LibraryRows
        One row per map.
    """
    maps, detected = library.maps, library.detected
    if observation is not None and library.observation is None:
        maps, detected = observe_maps(maps, observation)
    statistics = source_statistics(maps, detected, radii=radii)
    seen = library.observation if observation is None else observation
    meta = {
        "library_sha256": library.sha256,
        "observation": "as simulated" if seen is None else seen.key,
        "radius_min": radii[0],
        "radius_max": radii[1],
        "lines": False,
    }
    labels = _labels(library.table, central_column(maps))
    return LibraryRows(labels, statistics.names, statistics.array, meta)


def encoded_rows(library: ReferenceLibrary, encoder: Encoder) -> LibraryRows:
    """Return the features of an encoder that a library holds.

    Parameters
    ----------
    library : ReferenceLibrary
        Library with features of ``encoder``, as simulated or as observed.
    encoder : `~stellarssl.encoder.Encoder`
        Encoder of the queries.

    Returns
    -------
    rows : LibraryRows
        One row per map.

    Raises
    ------
    EncoderMismatchError
        If the library has no features, or those of other weights.
    """
    library.match_encoder(encoder)
    features = library.features
    if features is None:  # match_encoder has refused this
        raise EncoderMismatchError("library", "has no features; use library.embed(encoder)")
    names = tuple(
        f"{block} {i}"
        for block, part in features.blocks.items()
        for i in range(part.stop - part.start)
    )
    meta = {
        "library_sha256": library.sha256,
        "observation": "as simulated" if library.observation is None else library.observation.key,
        "encoder_sha256": features.encoder_sha256,
        "lines": False,
    }
    labels = _labels(library.table, central_column(library.maps))
    return LibraryRows(labels, names, np.asarray(features.array), meta)


def _labels(table: QTable, log_n_h: np.ndarray) -> QTable:
    """Copy the labels of a library, number its rows and add their central columns."""
    labels = QTable({name: table[name] for name in LABELS[:-2]})
    labels["library_row"] = np.arange(len(table))
    labels["log_n_h"] = log_n_h
    return labels


def central_column(maps: np.ndarray) -> np.ndarray:
    """Return the mean of log10 N_H [cm^-2] in the four central pixels of tiles.

    Parameters
    ----------
    maps : ndarray
        Tiles, shape (n, 3, 64, 64).

    Returns
    -------
    log_n_h : ndarray
        Shape (n,).
    """
    middle = slice(TILE_PIXELS // 2 - 1, TILE_PIXELS // 2 + 1)
    return np.asarray(maps)[:, 0, middle, middle].mean(axis=(1, 2), dtype=np.float64)


def _load(key: str) -> TileStatistics | None:
    found = cache.load_array(key)
    return None if found is None else TileStatistics(tuple(found[1]["names"]), found[0])


def _measure(
    tiles: PPVTiles, rows: np.ndarray, cubes: np.ndarray, telescope: Telescope
) -> TileStatistics:
    """Observe and measure tiles of one pixel size; the last column is the central column."""
    observation = telescope.observation
    pixel = tiles.table["pixel_size"][rows[0]]
    side = float((pixel / TILE_PIXEL).to_value(u.dimensionless_unscaled))
    seen = observe_tiles(cubes, pixel, observation, rows=rows, seed=_SEED, snr=telescope.snr)
    moments = cube_moments(
        seen.cubes, seen.rms, seen.velocity, beam_pixels=observation.beam_pixels / side
    )
    offset = _star_offsets(tiles.table, rows, telescope.position_error / side)
    spectra = None
    if telescope.lines:
        middle = (np.array(cubes.shape[:1:-1]) - 1) / 2
        spectra = spectra_from_arrays(
            list(seen.cubes),
            seen.velocity * _KMS,
            pixel,
            center=middle + offset,
            beam=observation.beam_pixels * TILE_PIXEL if observation.beam_pixels else None,
            noise=seen.rms * u.K,
            half_width=telescope.half_width * _KMS,
        )
    maps, detected, covered = _tile_maps(moments, seen, side, offset)
    statistics = source_statistics(maps, detected, covered, spectra, radii=telescope.radii)
    column = central_column(maps)[:, None].astype(np.float32)
    return TileStatistics((*statistics.names, "column"), np.hstack([statistics.array, column]))


def _star_offsets(table: QTable, rows: np.ndarray, error: float) -> np.ndarray:
    """Return where tiles are centered, relative to their middle: x and y in pixels, (n, 2)."""
    offset = np.stack(
        [np.nan_to_num(np.asarray(table[name])[rows]) for name in ("dx", "dy")], axis=1
    )
    if error:
        draws = [np.random.default_rng([_SEED, int(row)]).standard_normal(2) for row in rows]
        offset = offset + error * np.array(draws)
    return offset


def _tile_maps(
    moments: CubeMoments, seen: ObservedTiles, side: float, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interpolate moments to 64 x 64 tile pixels, as `~stellarssl.tiles.make_tiles` does."""
    to_column = TILE_N_H_PER_W.to_value(u.cm**-2 / (u.K * _KMS))
    width = abs(seen.velocity[1] - seen.velocity[0])
    images, found = moments.images, moments.detected
    sigma_instrument = float(np.hypot(_SIGMA_THERMAL, width / np.sqrt(12)))
    column, v, sigma, error = (
        np.where(found, images[name].astype(np.float64), 0.0)
        for name in ("moment0", "v_los", "sigma_v", "e_moment0")
    )
    column = column * to_column
    sigma = np.where(np.isfinite(sigma), sigma, sigma_instrument)
    ones = np.ones(found.shape)
    limit = moments.limit[:, None, None] * to_column * ones
    sums = [ones, found, column, column * v, column * (v**2 + sigma**2), error * to_column, limit]
    along_x, along_y = (_interpolation(found.shape[-1], side, offset[:, i]) for i in (0, 1))
    sampled = np.stack([along_y @ image @ along_x.transpose(0, 2, 1) for image in sums])
    fillers = Fillers(0.0, sigma_instrument, limit=float(limit.min()))
    result = physical_maps(sampled, fillers)
    return result.maps, result.detected, result.covered


def _interpolation(n_pixels: int, side: float, offset: np.ndarray) -> np.ndarray:
    """Return weights of linear interpolation between pixel centers, shape (n, 64, n_pixels).

    Parameters
    ----------
    n_pixels : int
        Number of pixels of the simulated tile.
    side : float
        Side of these pixels, in tile pixels.
    offset : ndarray
        Center of the new tile relative to the middle of the old one, shape (n,), in old pixels.
    """
    new = (np.arange(TILE_PIXELS) - (TILE_PIXELS - 1) / 2) / side + (n_pixels - 1) / 2
    apart = np.abs((new + offset[:, None])[:, :, None] - np.arange(n_pixels))
    return np.maximum(1 - apart, 0)
