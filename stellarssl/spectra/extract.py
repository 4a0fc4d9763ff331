"""Mean spectra in rings around sources, from a cube or from simulated tiles."""

from collections.abc import Sequence
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from stellarssl._utils.geometry import TILE_PIXEL
from stellarssl._utils.provenance import provenance
from stellarssl._utils.quantities import as_distance, as_quantity
from stellarssl._utils.stages import stage
from stellarssl.cubes import Cube, CubeLike, read_cube
from stellarssl.exceptions import InputError
from stellarssl.moments.blocks import as_bytes
from stellarssl.moments.options import as_efficiency
from stellarssl.spectra.lines import SourceLines
from stellarssl.spectra.rings import Region, locate
from stellarssl.spectra.source_spectra import SourceSpectra
from stellarssl.spectra.sums import RingSums, read_sums
from stellarssl.spectra.velocity import CHANNEL, WIDEST_CHANNEL

__all__ = ["source_spectra", "spectra_from_arrays"]

_KMS = u.km / u.s


@stage("spectra")
def source_spectra(
    cube: CubeLike,
    positions: SkyCoord,
    *,
    distance: u.Quantity | str | None = None,
    half_width: u.Quantity | str = 6 * _KMS,
    noise: u.Quantity | str | None = None,
    efficiency: float = 1.0,
    ids: Sequence[str] | None = None,
    memory_limit: u.Quantity | str | int | None = None,
) -> SourceSpectra:
    """Measure mean spectra in eight rings around sources, against physical radius.

    The edges of the rings are 1.5, 3, 5, 8, 12, 16, 22 and 30 tile pixels of 0.0078125 pc
    (``RING_EDGES``) at the distance of each source, whatever the pixels of the cube are. Pixels
    are weighted with the exact area of their overlap with the ring, so that a ring narrower than a
    pixel has a spectrum, too: that of the pixels it crosses.

    The velocity of a source is that of the strongest peak of its innermost spectrum less the
    background, smoothed to 0.5 km/s; if nothing rises above the background by three times the
    error, that of the innermost spectrum itself. Spectra are resampled to 0.125 km/s around it
    with the flux conserved; cube channels wider than that are interpolated linearly.

    Only the voxels inside the bounding boxes of the outermost rings are read, boxes that
    overlap together.

    Parameters
    ----------
    cube : path-like, HDU, SpectralCube or `~stellarssl.Cube`
        Cube of a spectral line. A `~stellarssl.Cube` may complete its header and pick one of
        several lines, such as ``read_cube(path, velocity_range="-12 -5 km/s")``.
    positions : `~astropy.coordinates.SkyCoord`
        Positions of the sources, in any frame. A source off the map has NaN spectra.
    distance : `~astropy.units.Quantity` or str, optional
        Distance of all sources, or one per source; by default that of the cube.
    half_width : `~astropy.units.Quantity` or str, optional
        Half the width of the resampled spectra, a multiple of 0.25 km/s: 6 km/s by default;
        3.5 km/s suits the isolated component of N2H+ (1-0).
    noise : `~astropy.units.Quantity` or str, optional
        Standard deviation of a voxel [K], on the scale of the spectra: a number or a map (y, x)
        such as ``MomentMaps.noise``. By default it is measured around each source, from values
        below zero in channels without lines.
    efficiency : float, optional
        Main-beam efficiency, T_A* over T_mb, by which the cube is divided. By default the
        spectra have the temperature scale of the cube.
    ids : sequence of str, optional
        Names of the sources; by default they are numbered from 1.
    memory_limit : `~astropy.units.Quantity`, str or int, optional
        Memory that blocks of the cube and sums may take, such as ``"4 GB"`` or a number of bytes;
        a quarter of the free memory by default.

    Returns
    -------
    spectra : `SourceSpectra`
        One row per position, in their order.

    Raises
    ------
    MissingInputError
        If there is no distance.
    InputError
        If the channels are wider than 1 km/s, or an argument breaks a rule.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from astropy.table import QTable
    >>> demo = files("stellarssl") / "data" / "demo"
    >>> stars = QTable.read(demo / "c18o_s4_stars.ecsv")
    >>> spectra = source_spectra(demo / "c18o_s4.fits.gz", stars["skycoord"], ids=stars["id"])
    >>> spectra.spectra.shape
    (8, 8, 96)
    """
    cube = read_cube(cube)
    positions = _check_positions(positions)
    n = len(positions)
    distance = _one_each(as_distance(distance, cube.distance), n)
    _check_width(cube.channel_width.value)
    half_width = _check_half_width(half_width)
    efficiency = as_efficiency(efficiency)
    noise = _check_noise(noise, cube.shape[1:])
    beam = 0 * u.sr if cube.beam is None else cube.beam.sr
    beam = beam.to_value(u.rad**2) * (distance / TILE_PIXEL).value ** 2
    lines = SourceLines(n, cube.velocity[cube.channels], half_width)
    regions = locate(cube, positions, distance)
    factor = cube.kelvin_factor / efficiency
    for i, sums in read_sums(cube, regions, factor, as_bytes(memory_limit)):
        lines.add(i, sums, beam[i], _noise_of(noise, sums.region))
    meta = {"source": cube.source, "efficiency": efficiency} | _velocity_meta(cube)
    return lines.result(ids=ids, skycoord=positions, distance=distance, meta=provenance() | meta)


@stage("spectra")
def spectra_from_arrays(
    arrays: Sequence[np.ndarray],
    velocity: u.Quantity,
    pixel: u.Quantity | str,
    *,
    center: np.ndarray | None = None,
    beam: u.Quantity | str | None = None,
    noise: u.Quantity | str | None = None,
    half_width: u.Quantity | str = 6 * _KMS,
    ids: Sequence[str] | None = None,
) -> SourceSpectra:
    """Measure mean spectra in eight rings in simulated tiles, as `source_spectra` does in a cube.

    Parameters
    ----------
    arrays : array-like
        Brightness temperatures, shape (n, v, y, x) [K], one tile per source; or a sequence of n
        arrays (v, y, x) that may differ in height and width.
    velocity : `~astropy.units.Quantity`
        Channel centers of all tiles, shape (v,), evenly spaced.
    pixel : `~astropy.units.Quantity` or str
        Side of a pixel, a length.
    center : ndarray, optional
        Positions (x, y) of the sources in their tiles, shape (n, 2), in pixels from 0; by default
        the middle of each tile.
    beam : `~astropy.units.Quantity` or str, optional
        Full width at half maximum of the beam, a length; only the errors depend on it.
    noise : `~astropy.units.Quantity` or str, optional
        Standard deviation of a voxel [K], one value or one per tile; zero for noise-free tiles.
        It is measured in each tile by default.
    half_width : `~astropy.units.Quantity` or str, optional
        Half the width of the resampled spectra, a multiple of 0.25 km/s.
    ids : sequence of str, optional
        Names of the sources; by default they are numbered from 1.

    Returns
    -------
    spectra : `SourceSpectra`
        One row per tile; ``skycoord`` and ``distance`` are None.

    Raises
    ------
    InputError
        If an argument breaks a rule.

    Examples
    --------
    A line of 2 K and of one channel, everywhere in a tile of 0.25 pc:

    >>> import astropy.units as u, numpy as np
    >>> tile = np.zeros((96, 32, 32)); tile[50] = 2.0
    >>> velocity = np.linspace(-6, 6, 96) * u.km / u.s
    >>> spectra = spectra_from_arrays([tile], velocity, "0.0078125 pc")
    >>> print(f"{spectra.velocity[0] - velocity[50]:.2f}, {spectra.covered[0, -1]:.2f}")
    0.00 km / s, 0.00
    """
    velocity = as_quantity("velocity", velocity, _KMS, positive=False).value
    _check_velocity(velocity)
    side = (as_quantity("pixel", pixel, u.pc, scalar=True) / TILE_PIXEL).value
    half_width = _check_half_width(half_width)
    noise = _check_noise(noise, (len(arrays),))
    noise = None if noise is None else np.broadcast_to(noise, len(arrays))
    fwhm = as_quantity("beam", beam, u.pc, scalar=True)
    beam = 0.0 if fwhm is None else float((fwhm / TILE_PIXEL).value ** 2 * np.pi / np.log(16))
    center = _check_center(center, arrays)
    lines = SourceLines(len(arrays), velocity, half_width)
    for i, tile in enumerate(arrays):
        values = _check_tile(tile, len(velocity))
        middle = tuple((np.array(values.shape[:0:-1]) - 1) / 2 if center is None else center[i])
        region = Region.around(middle, (side, side), values.shape[1:])
        if not region.empty:
            sums = RingSums.empty(region, len(velocity))
            sums.add(slice(0, len(velocity)), values[:, region.rows, region.columns])
            lines.add(i, sums, beam, None if noise is None else noise[i])
    return lines.result(ids=ids, skycoord=None, distance=None, meta=provenance())


def _check_positions(positions: SkyCoord) -> SkyCoord:
    if not isinstance(positions, SkyCoord):
        raise InputError("positions", "must be a SkyCoord", type(positions).__name__)
    icrs = positions.reshape(-1).icrs
    if not (np.isfinite(icrs.ra) & np.isfinite(icrs.dec)).all():
        raise InputError("positions", "must be finite", positions)
    return SkyCoord(icrs.ra, icrs.dec, frame="icrs")


def _one_each(distance: u.Quantity, n: int) -> u.Quantity:
    if distance.shape not in ((), (1,), (n,)):
        raise InputError(
            "distance", f"must be one value, or one for each of {n} positions", distance.shape
        )
    return np.broadcast_to(distance.reshape(-1), n, subok=True)


def _check_width(width: float) -> None:
    if width > WIDEST_CHANNEL * (1 + 1e-6):
        rule = f"must have channels of at most {WIDEST_CHANNEL:g} km/s to show line profiles"
        raise InputError("cube", rule, f"{width:.4g} km/s")


def _check_velocity(velocity: np.ndarray) -> None:
    steps = np.diff(velocity)
    if velocity.ndim != 1 or not steps.size or np.ptp(steps) > 0.02 * abs(steps.mean()):
        raise InputError("velocity", "must be two or more evenly spaced velocities", velocity)
    _check_width(abs(steps.mean()))


def _check_half_width(half_width: object) -> float:
    value = as_quantity("half_width", half_width, _KMS, scalar=True).value
    pairs = value / (2 * CHANNEL)  # bins of the folded diagram
    if abs(pairs - round(pairs)) > 1e-6 or round(pairs) < 1:
        raise InputError("half_width", f"must be a multiple of {2 * CHANNEL} km/s", half_width)
    return float(value)


def _check_noise(noise: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the noise as a number or an array [K]; NaN in a map stays."""
    noise = as_quantity("noise", noise, u.K, positive=False)
    if noise is None:
        return None
    if noise.shape not in ((), shape):
        raise InputError("noise", f"must be one value or have shape {shape}", noise.shape)
    known = noise.value[np.isfinite(noise.value)]
    if not known.size or (known < 0).any():
        raise InputError("noise", "must be finite and not negative", noise)
    return np.asarray(noise.value)


def _noise_of(noise: np.ndarray | None, region: Region) -> np.ndarray | float | None:
    """Return the noise of a box; where a map has none, the mean of the box."""
    if noise is None or noise.ndim == 0:
        return noise
    box = noise[region.rows, region.columns].astype(np.float64)
    finite = np.isfinite(box)
    return np.where(finite, box, box[finite].mean()) if finite.any() else None


def _check_center(center: np.ndarray | None, arrays: Sequence) -> np.ndarray | None:
    if center is None:
        return None
    center = np.asarray(center, dtype=np.float64)
    if center.shape != (len(arrays), 2):
        raise InputError("center", f"must have shape {(len(arrays), 2)}, x and y", center.shape)
    return center


def _check_tile(tile: np.ndarray, n_channels: int) -> np.ndarray:
    values = np.asarray(tile, dtype=np.float64)
    if values.ndim != 3 or len(values) != n_channels:
        raise InputError("arrays", f"must have shape (n, {n_channels}, y, x)", values.shape)
    return values


def _velocity_meta(cube: Cube) -> dict:
    """Return what the velocities refer to."""
    frame = {"specsys": cube.specsys, "velocity_convention": cube.velocity_convention}
    return {name: value for name, value in frame.items() if value is not None}
