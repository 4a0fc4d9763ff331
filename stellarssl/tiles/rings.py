"""Statistics of the gas in rings around a position, without any absolute column."""

from dataclasses import dataclass
from functools import lru_cache

import astropy.units as u
import numpy as np
from astropy import constants

from stellarssl._utils.geometry import TILE_PIXEL, TILE_PIXELS
from stellarssl.exceptions import InputError
from stellarssl.tiles.statistics import TileStatistics

__all__ = ["RING_EDGES", "covered_radius", "mass_dynamical", "ring_statistics"]

RING_EDGES = (0.0, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 32.0)
"""Inner and outer radii of the ten rings, in tile pixels; the innermost ring is a disc."""

MASS_RADIUS = 2 * TILE_PIXEL
"""Radius within which `mass_dynamical` takes the dispersion: 0.0156 pc."""

_COVERED = 0.8
"""Share of a ring's pixels that the map must cover."""

_G = constants.G.to_value(u.pc * (u.km / u.s) ** 2 / u.solMass)
_FLOOR = 1e-3  # km/s; the logarithm of a dispersion needs one
_BATCH = 256  # tiles processed at once


def mass_dynamical(
    maps: np.ndarray,
    pixel: u.Quantity,
    *,
    radius: u.Quantity = MASS_RADIUS,
    detected: np.ndarray | None = None,
) -> u.Quantity:
    r"""Compute the virial mass 5 sigma^2 R / G of the gas around the center of tiles.

    Parameters
    ----------
    maps : `~numpy.ndarray`
        Shape (n, 3, n_pixels, n_pixels): log10 N_H [cm^-2], v_los and sigma_v [km/s].
    pixel : `~astropy.units.Quantity`
        Side of a pixel, a length; a scalar or one value per tile.
    radius : `~astropy.units.Quantity`, optional
        Radius R of the aperture, a length. A pixel counts if its center lies within it.
    detected : `~numpy.ndarray`, optional
        Boolean, shape (n, n_pixels, n_pixels): pixels that count. By default all do.

    Returns
    -------
    mass : `~astropy.units.Quantity`
        Shape (n,), in solar masses; NaN where no pixel within R counts.

    Notes
    -----
    This is the mass of a uniform sphere of radius R in virial equilibrium whose one-dimensional
    velocity dispersion is sigma (Bertoldi & McKee 1992, ApJ 395, 140, with a virial parameter of
    one). sigma is the total column-weighted dispersion within R:

    .. math:: \sigma^2 = \langle \sigma_v^2 + v^2 \rangle - \langle v \rangle^2 .

    Nothing is fitted. In the simulations of the library, R = 2 tile pixels (0.0156 pc) orders the
    stars of a run by mass with rank correlations between 0.56 and 0.79.

    Examples
    --------
    >>> maps = np.zeros((1, 3, 64, 64)); maps[:, 0], maps[:, 2] = 22, 0.5
    >>> mass_dynamical(maps, 0.5 / 64 * u.pc).round(2)
    <Quantity [4.54] solMass>
    """
    axis = np.arange(maps.shape[-1]) - (maps.shape[-1] - 1) / 2
    distance = np.hypot(axis, axis[:, None])
    inside = distance <= np.reshape((radius / pixel).to_value(u.dimensionless_unscaled), (-1, 1, 1))
    if detected is not None:
        inside = inside & detected
    log_column, v, sigma = np.moveaxis(np.asarray(maps, dtype=np.float64), 1, 0)
    weight = np.where(inside, 10.0 ** (log_column - 22), 0.0)
    with np.errstate(invalid="ignore"):
        square, mean = (
            (weight * values).sum(axis=(1, 2)) / weight.sum(axis=(1, 2))
            for values in (sigma**2 + v**2, v)
        )
    return (5 * (square - mean**2) * (u.km / u.s) ** 2 * radius / constants.G).to(u.solMass)


def covered_radius(covered: np.ndarray) -> np.ndarray:
    """Find the radius out to which all rings of tiles are covered by the map.

    Parameters
    ----------
    covered : `~numpy.ndarray`
        Boolean, shape (n, 64, 64).

    Returns
    -------
    radius : `~numpy.ndarray`
        Shape (n,), in tile pixels: one of ``RING_EDGES``, zero if the center is not covered.

    Examples
    --------
    >>> covered = np.zeros((1, 64, 64), dtype=bool)
    >>> covered[:, 26:38, 26:38] = True     # 0.094 pc wide
    >>> covered_radius(covered).tolist()
    [5.0]
    """
    complete = _in_use(covered)
    n_rings = np.where(complete.all(axis=1), complete.shape[1], complete.argmin(axis=1))
    return np.array(RING_EDGES)[n_rings]


def ring_statistics(
    maps: np.ndarray,
    detected: np.ndarray | None = None,
    covered: np.ndarray | None = None,
    *,
    radii: tuple[float, float] = (RING_EDGES[0], RING_EDGES[-1]),
) -> TileStatistics:
    """Measure the gas in rings around the center of tiles.

    Columns are relative to the mean column of the outermost ring in use, so that the statistics
    do not depend on the calibration of the column, nor on a conversion factor. They depend on
    neither the orientation nor the handedness of the image, and contain no gas mass.

    Parameters
    ----------
    maps : `~numpy.ndarray`
        Shape (n, 3, 64, 64), finite: log10 N_H [cm^-2], v_los, sigma_v [km/s] of tiles of 0.5 pc.
        The logarithm of any quantity proportional to the column gives the same result.
    detected : `~numpy.ndarray`, optional
        Boolean, shape (n, 64, 64). Velocities and dispersions of other pixels do not count, unless
        a region has no detected pixel. Their columns count as they are, at the detection limit.
    covered : `~numpy.ndarray`, optional
        Boolean, shape (n, 64, 64): pixels that were observed. Others do not count.
    radii : tuple of float, optional
        Inner and outer radius of the rings in use, in tile pixels; two of ``RING_EDGES``. Nothing
        inside or outside of them is used.

    Returns
    -------
    statistics : TileStatistics
        One row per tile. A ring of which the map covers less than four fifths gives NaN, as does
        an aperture that contains such a ring. If that ring is the outermost one in use, all
        relative columns are NaN.

    Raises
    ------
    InputError
        If ``maps`` has another shape or values that are not finite, or ``radii`` are not two
        ascending edges.

    Notes
    -----
    For each ring, with means weighted by the column:

    - ``relative column``, ``relative peak``: log10 of the mean and of the highest column, relative
      to the outermost ring in use [dex]; for the outermost ring itself only the peak;
    - ``column contrast``, ``dispersion contrast``: difference of log10 of the mean column, and of
      the dispersion within lines, between neighboring rings, outer minus inner [dex];
    - ``dispersion within lines``, ``dispersion between lines``: root of the mean of sigma_v^2, and
      standard deviation of v_los [km/s];
    - ``velocity offset``: absolute difference of the mean velocity from the innermost ring in use
      [km/s];
    - ``mode 1`` and ``mode 2`` of column and velocity: modulus of the mean of exp(i m phi), and of
      (v_los - <v_los>) exp(i m phi) [km/s], with the azimuth phi.

    For each aperture, all that lies inside a ring's outer edge R and outside the inner radius in
    use: ``dynamical mass``, log10 of 5 sigma^2 R / G [solar masses], see `mass_dynamical`, and
    its difference
    from one aperture to the next larger one, ``growth of dynamical mass`` [dex].

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> maps = rng.normal(size=(5, 3, 64, 64)) ** 2
    >>> statistics = ring_statistics(maps)
    >>> statistics.names[0]
    'relative column within 0.012 pc'
    >>> brighter = maps + np.log10([2, 1, 1])[:, None, None]
    >>> bool(np.allclose(ring_statistics(brighter).array, statistics.array, atol=1e-5))
    True
    """
    maps = np.asarray(maps)
    if maps.ndim != 4 or maps.shape[1:] != (3, TILE_PIXELS, TILE_PIXELS):
        raise InputError(
            "maps", f"must have shape (n, 3, {TILE_PIXELS}, {TILE_PIXELS})", maps.shape
        )
    if not np.isfinite(maps).all():
        raise InputError("maps", "must be finite")
    rings = _rings_between(*radii)
    covered = np.ones((len(maps), *maps.shape[2:]), dtype=bool) if covered is None else covered
    detected = covered if detected is None else detected & covered
    parts: list[np.ndarray] = []
    names: tuple[str, ...] = ()
    for start in range(0, max(len(maps), 1), _BATCH):
        rows = slice(start, start + _BATCH)
        sums = _ring_sums(maps[rows], detected[rows], covered[rows])
        blocks = _of_rings(sums, rings) + _of_apertures(sums, rings)
        names = tuple(f"{quantity} {place}" for quantity, places, _ in blocks for place in places)
        parts.append(np.concatenate([values for _, _, values in blocks], axis=1))
    return TileStatistics(names, np.concatenate(parts).astype(np.float32))


def _rings_between(inner: float, outer: float) -> np.ndarray:
    """Return the indices of the rings between two of the edges."""
    if inner not in RING_EDGES or outer not in RING_EDGES or not inner < outer:
        edges = ", ".join(f"{edge:g}" for edge in RING_EDGES)
        raise InputError("radii", f"must be two ascending radii among {edges}", (inner, outer))
    return np.arange(RING_EDGES.index(inner), RING_EDGES.index(outer))


@lru_cache(maxsize=1)
def _members() -> np.ndarray:
    """Tell which pixels are in which ring: 1 or 0, shape (n_rings, n_pixels)."""
    y, x = _offsets()
    ring = np.digitize(np.hypot(x, y), RING_EDGES) - 1
    return (ring == np.arange(len(RING_EDGES) - 1)[:, None]).astype(np.float64)


@lru_cache(maxsize=1)
def _modes() -> np.ndarray:
    """Give cos and sin of m phi, m = 1 and 2, in each ring; shape (2, 2, n_rings, n_pixels)."""
    y, x = _offsets()
    angles = np.outer([1, 2], np.arctan2(y, x))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, :, None] * _members()


def _offsets() -> np.ndarray:
    """Give the offsets (y, x) of the pixels from the center of a tile, shape (2, n_pixels)."""
    axis = np.arange(TILE_PIXELS) - (TILE_PIXELS - 1) / 2
    return np.array(np.meshgrid(axis, axis, indexing="ij")).reshape(2, -1)


def _in_use(covered: np.ndarray) -> np.ndarray:
    """Tell which rings (n, n_rings) are covered well enough to be measured."""
    members = _members()
    return covered.reshape(-1, TILE_PIXELS**2) @ members.T >= _COVERED * members.sum(axis=1)


@dataclass(frozen=True)
class _Sums:
    """Sums over the rings of tiles, shape (n, n_rings), for all ten rings.

    Columns are linear, in units of 1e22 cm^-2. The weight of a pixel is its column if it is
    detected and otherwise zero, except in rings without a detected pixel, where all covered pixels
    are weighted by their columns.
    """

    complete: np.ndarray  # False where the map covers too little of a ring
    column: np.ndarray  # mean over the covered pixels
    peak: np.ndarray
    column_modes: list[np.ndarray]  # m = 1 and 2: modulus of the mean of exp(i m phi)
    velocity_modes: list[np.ndarray]  # km/s
    weight: np.ndarray
    momentum: np.ndarray  # weight times v_los [km/s]
    square: np.ndarray  # weight times v_los^2
    width: np.ndarray  # weight times sigma_v^2


def _ring_sums(maps: np.ndarray, detected: np.ndarray, covered: np.ndarray) -> _Sums:
    """Sum a batch of tiles over all rings."""
    members, modes = _members(), _modes()
    log_column, v, sigma = np.moveaxis(maps.reshape(-1, 3, TILE_PIXELS**2).astype(np.float64), 1, 0)
    detected, covered = (mask.reshape(-1, TILE_PIXELS**2) for mask in (detected, covered))
    column = np.where(covered, 10.0 ** (log_column - 22), 0.0)
    weight = np.where(detected, column, 0.0)
    undetected_rings = (weight @ members.T == 0).astype(float)
    weight = np.where(undetected_rings @ members > 0, column, weight)
    moment = weight * v
    total_column, total, momentum = (image @ members.T for image in (column, weight, moment))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = momentum / total
        return _Sums(
            complete=_in_use(covered),
            column=total_column / (covered @ members.T),
            peak=np.stack([column[:, ring].max(axis=1) for ring in members > 0], axis=1),
            column_modes=[np.hypot(*(column @ wave.T for wave in m)) / total_column for m in modes],
            velocity_modes=[
                np.hypot(*(moment @ wave.T - mean * (weight @ wave.T) for wave in m)) / total
                for m in modes
            ],
            weight=total,
            momentum=momentum,
            square=moment * v @ members.T,
            width=weight * sigma**2 @ members.T,
        )


def _of_rings(sums: _Sums, rings: np.ndarray) -> list[tuple[str, list[str], np.ndarray]]:
    """Return quantities of single rings: name, places and values (n, n_places)."""
    places = [_between(i, i + 1) for i in rings]
    edges = [f"across {_pc(i)} pc" for i in rings[1:]]

    def used(image: np.ndarray) -> np.ndarray:
        return np.where(sums.complete, image, np.nan)[:, rings]

    with np.errstate(invalid="ignore", divide="ignore"):
        mean = used(sums.momentum / sums.weight)
        within = used(np.sqrt(sums.width / sums.weight))
        between = np.sqrt(np.maximum(used(sums.square / sums.weight) - mean**2, 0.0))
        column, peak = used(np.log10(sums.column)), used(np.log10(sums.peak))
    images = {
        "relative peak": peak - column[:, -1:],
        "dispersion within lines": within,
        "dispersion between lines": between,
        "mode 1 of column": used(sums.column_modes[0]),
        "mode 2 of column": used(sums.column_modes[1]),
        "mode 1 of velocity": used(sums.velocity_modes[0]),
        "mode 2 of velocity": used(sums.velocity_modes[1]),
    }
    return [
        ("relative column", places[:-1], column[:, :-1] - column[:, -1:]),
        ("column contrast", edges, np.diff(column, axis=1)),
        ("velocity offset", places[1:], np.abs(mean[:, 1:] - mean[:, :1])),
        ("dispersion contrast", edges, np.diff(np.log10(np.maximum(within, _FLOOR)), axis=1)),
        *((name, places, image) for name, image in images.items()),
    ]


def _of_apertures(sums: _Sums, rings: np.ndarray) -> list[tuple[str, list[str], np.ndarray]]:
    """Return the dynamical masses inside the outer edges of the rings, and their ratios."""
    places = [_between(rings[0], i + 1) for i in rings]
    steps = [f"from {_pc(i)} to {_pc(i + 1)} pc" for i in rings[1:]]
    weight, momentum, square, width = (
        np.cumsum(np.where(sums.complete, image, np.nan)[:, rings], axis=1)
        for image in (sums.weight, sums.momentum, sums.square, sums.width)
    )
    radius = np.array(RING_EDGES)[rings + 1] * TILE_PIXEL.to_value(u.pc)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (width + square) / weight - (momentum / weight) ** 2
        mass = np.log10(5 * np.maximum(variance, _FLOOR**2) * radius / _G)
    return [
        ("dynamical mass", places, mass),
        ("growth of dynamical mass", steps, np.diff(mass, axis=1)),
    ]


def _pc(edge: int) -> str:
    """Format the radius of an edge in pc."""
    return f"{RING_EDGES[edge] * TILE_PIXEL.to_value(u.pc):.3f}"


def _between(inner: int, outer: int) -> str:
    """Name the region between two edges."""
    return f"at {_pc(inner)}-{_pc(outer)} pc" if inner else f"within {_pc(outer)} pc"
