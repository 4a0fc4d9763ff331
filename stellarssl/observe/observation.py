"""What a telescope would have seen of a simulation.

Data are never sharpened to match a simulation; the simulation is seen as the data were. An
`Observation` is what matters of a telescope's cube, and two operators apply it: `observe_maps` to
maps that were made already, `observe_cube` to the position-position-velocity cube itself.
"""

import hashlib
from dataclasses import astuple, dataclass, replace
from functools import lru_cache

import astropy.units as u
import numpy as np
from astropy.wcs.utils import proj_plane_pixel_area
from scipy.ndimage import gaussian_filter

from stellarssl._utils.geometry import TILE_PIXEL, beam_width
from stellarssl._utils.quantities import as_distance, as_quantity
from stellarssl.exceptions import InputError, MissingInputError
from stellarssl.moments import MomentMaps
from stellarssl.tracers import Tracer, radiation_contrast

__all__ = ["Observation", "observe_cube", "observe_maps"]

_FWHM = np.sqrt(8 * np.log(2))
_KMS = u.km / u.s


@dataclass(frozen=True)
class Observation:
    """What matters of a telescope's view of a cloud.

    Parameters
    ----------
    beam_pixels : float
        FWHM of the resolution in tile pixels (0.5 pc / 64); zero for none.
    rms : float
        Noise per channel, K; zero for none.
    channel_width : float
        km/s.
    sigma_line : float
        km/s: thermal and channel width in quadrature, what a still cloud would show.
    column_limit : float
        cm^-2: the typical 3-sigma limit of the column; zero for none.
    opaque_column : float, optional
        cm^-2 / (km/s): the column per velocity at which the line has an opacity of one; zero for a
        line that is thin, or whose factor allows for its opacity.

    Examples
    --------
    >>> Observation(7.9, 0.11, 0.066, 0.06, 2.2e20, 5.3e21).key
    'b9_r-9.6_c-11.8_s-12.2_n203.4_o217.2'
    >>> Observation(7.9, 0.11, 0.066, 0.06, 2.2e20).rounded().key
    'b9_r-10_c-12_s-12_n203_onone'
    """

    beam_pixels: float
    rms: float
    channel_width: float
    sigma_line: float
    column_limit: float
    opaque_column: float = 0.0

    def __post_init__(self) -> None:
        for name, value in zip(self.__dataclass_fields__, astuple(self), strict=True):
            if not (np.isfinite(value) and value >= 0):
                raise InputError(name, "must be finite and not negative", value)

    @classmethod
    def of(
        cls,
        maps: MomentMaps,
        *,
        distance: u.Quantity | str | None = None,
        pixel: u.Quantity | str = TILE_PIXEL,
    ) -> "Observation":
        """Describe how a map was observed.

        Where the map's pixels are interpolated between, as tiles do, the resolution is coarser
        than the beam: the mean of the bilinear kernel adds a sixth of a squared pixel to the
        variance.

        Parameters
        ----------
        maps : `~stellarssl.moments.MomentMaps`
            With a tracer and a beam.
        distance : `~astropy.units.Quantity` or str, optional
            One for the whole map; by default that of the maps.
        pixel : `~astropy.units.Quantity` or str, optional
            The side of a tile pixel, a length.

        Returns
        -------
        observation : Observation
            Not rounded.

        Raises
        ------
        MissingInputError
            If there is no tracer, beam or distance.
        InputError
            If there is more than one distance.
        """
        distance = as_distance(distance, maps.distance, one_value="to describe an observation")
        rule = "must be given to know how the map was observed"
        if maps.beam is None:
            raise MissingInputError("beam", rule)
        if maps.tracer is None:
            raise MissingInputError("tracer", rule)
        tile_pixel = as_quantity("pixel", pixel, u.pc) / distance
        tile_pixel = tile_pixel.to_value(u.dimensionless_unscaled)
        variance = (beam_width(maps.beam).to_value(u.rad) / _FWHM) ** 2
        variance += proj_plane_pixel_area(maps.wcs) * np.deg2rad(1) ** 2 / 6
        limit = (maps.moment0_limit * maps.tracer.n_h_per_w).to_value(u.cm**-2)
        return cls(
            beam_pixels=float(_FWHM * np.sqrt(variance) / tile_pixel),
            rms=_typical(maps.noise.to_value(u.K), maps.covered),
            channel_width=float(maps.channel_width.to_value(_KMS)),
            sigma_line=float(maps.sigma_instrument.to_value(_KMS)),
            column_limit=_typical(limit, maps.covered),
            opaque_column=_opaque_column(maps.tracer),
        )

    def rounded(self) -> "Observation":
        """Round to 0.1 dex, so that observations that hardly differ are the same.

        Returns
        -------
        observation : Observation
            Its values are powers of 10^0.1, or zero.
        """
        return replace(
            self,
            **{
                name: float(10.0 ** (round(10 * np.log10(value)) / 10)) if value else 0.0
                for name, value in zip(self.__dataclass_fields__, astuple(self), strict=True)
            },
        )

    @property
    def key(self) -> str:
        """A name to file things under: each value in tenths of a dex."""
        return "_".join(
            f"{name[0]}{round(10 * np.log10(value), 1):g}" if value else f"{name[0]}none"
            for name, value in zip("brcsno", astuple(self), strict=True)
        )

    @property
    def seed(self) -> int:
        """The seed of its noise: the same wherever the key is."""
        return int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:8], "big")


def _opaque_column(tracer: Tracer) -> float:
    """Give the column per velocity of unit opacity, cm^-2 / (km/s); zero without an LTE column."""
    if tracer.excitation_temperature is None:
        return 0.0
    contrast = radiation_contrast(tracer.rest_frequency, tracer.excitation_temperature)
    return float((tracer.n_h_per_w * contrast).to_value(u.cm**-2 / _KMS))


def _typical(values: np.ndarray, where: np.ndarray) -> float:
    """Give the median of the finite values of a map's observed part; zero if there are none."""
    values = np.broadcast_to(values, where.shape)[where]
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else 0.0


def _smooth(values: np.ndarray, fwhm: float, *, periodic: bool) -> np.ndarray:
    """Convolve the last two axes with a Gaussian; outside the edges nothing is known, or wraps."""
    sigma = (0,) * (values.ndim - 2) + (fwhm / _FWHM,) * 2
    return gaussian_filter(values, sigma, mode="wrap" if periodic else "constant")


@lru_cache(maxsize=1)
def _curve_of_growth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tabulate, for Gaussian lines, log peak opacity, brightness over thin, variance over thin."""
    opacity = np.logspace(-4, 6, 501)
    x = np.linspace(-12, 12, 2401)
    profile = -np.expm1(-opacity[:, None] * np.exp(-(x**2) / 2))
    total = profile.sum(axis=1)
    growth = total * (x[1] - x[0]) / (np.sqrt(2 * np.pi) * opacity)
    return np.log(opacity), growth, (profile @ x**2) / total


def _through_opacity(
    column: np.ndarray, sigma: np.ndarray, opaque_column: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give the column and the dispersion that a Gaussian line shows when it is taken as thin."""
    if opaque_column == 0:
        return column, sigma
    log_opacity, growth, variance = _curve_of_growth()
    peak = column / (np.sqrt(2 * np.pi) * np.maximum(sigma, 1e-3) * opaque_column)
    at = np.log(np.maximum(peak, 1e-30))
    shown = np.interp(at, log_opacity, growth)
    return column * shown, sigma * np.sqrt(np.interp(at, log_opacity, variance))


def observe_maps(
    maps: np.ndarray, observation: Observation, *, periodic: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Show simulated maps as a telescope with this beam and depth would.

    In each pixel the line is a Gaussian of the gas's dispersion and the width of line and channel,
    in quadrature; its opacity hides some of the column and widens it. N, N v and N (v^2 + sigma^2)
    are then smoothed to the beam, so that what the beam does not resolve shows up as dispersion.
    Columns below the limit become undetected, and are filled as those of tiles are. Noise above the
    limit is not added.

    Against `observe_cube`, on whole simulated boxes, the column through the opacity of 13CO is
    0.06 dex too high in the median (of a loss of 0.3 dex at 1e22 and 1.0 dex above 1e23 cm^-2),
    that of C18O 0.01 to 0.05 dex (of 0.03 to 0.2 dex), since their lines are no single Gaussians.

    Parameters
    ----------
    maps : `~numpy.ndarray`
        Shape (n, 3, ny, nx), on tile pixels: log10 N_H [cm^-2], v_los, sigma_v [km/s], the
        dispersion being that of the gas alone, without thermal width.
    observation : Observation
        The telescope.
    periodic : bool, optional
        Whether opposite edges meet, as those of a whole box do. Otherwise the mean at an edge is
        that of what lies inside.

    Returns
    -------
    maps : `~numpy.ndarray`
        Float32, same shape; v_los relative to each map's column-weighted mean.
    detected : `~numpy.ndarray`
        Boolean, shape (n, ny, nx).

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.zeros((1, 3, 64, 64), dtype="f4")
    >>> maps[:, 0] = 22
    >>> seen, detected = observe_maps(maps, Observation(6, 0.1, 0.1, 0.25, 1e21))
    >>> float(seen[0, 2, 5, 5]), bool(detected.all())
    (0.25, True)
    """
    maps = np.asarray(maps)
    if maps.ndim != 4 or maps.shape[1] != 3:
        raise InputError("maps", "must have shape (n, 3, ny, nx)", maps.shape)
    seen = np.empty(maps.shape, dtype=np.float32)
    detected = np.empty((len(maps), *maps.shape[2:]), dtype=bool)
    weight = _smooth(np.ones((1, *maps.shape[2:])), observation.beam_pixels, periodic=periodic)
    for i, (log_column, v, sigma) in enumerate(maps.astype(np.float64)):
        width = np.hypot(sigma, observation.sigma_line)
        gas, width = _through_opacity(10.0**log_column, width, observation.opaque_column)
        sums = np.stack([gas, gas * v, gas * (v**2 + width**2)])
        column, momentum, energy = (
            _smooth(sums, observation.beam_pixels, periodic=periodic) / weight
        )
        velocity = momentum / column
        found = column > observation.column_limit
        mean = np.average(velocity, weights=column * found) if found.any() else 0.0
        width = np.sqrt(np.maximum(energy / column - velocity**2, 0.0))
        seen[i, 0] = np.log10(np.maximum(column, observation.column_limit))
        seen[i, 1] = np.where(found, velocity - mean, 0.0)
        seen[i, 2] = np.where(found, width, observation.sigma_line)
        detected[i] = found
    return seen, detected


def observe_cube(
    column: np.ndarray,
    tracer: Tracer,
    *,
    channel_width: u.Quantity | str,
    beam_pixels: float,
    rms: u.Quantity | str,
    seed: int,
) -> np.ndarray:
    r"""Show a simulated cube in a line: opacity, then beam, then noise.

    A channel of width dv with a column dN of hydrogen would shine with
    :math:`T_0 = dN / (f\,dv)` if the line were thin, f being the tracer's column per K km/s. With
    one excitation temperature the opacity is :math:`\tau = T_0 / \Delta J`, with
    :math:`\Delta J = J(T_{ex}) - J(T_{bg})`, and the brightness

    .. math:: T = \Delta J\,(1 - e^{-\tau})

    (Mangum & Shirley 2015, equations 24 and 80). A tracer without an excitation temperature is
    taken as thin.

    Parameters
    ----------
    column : `~numpy.ndarray`
        Shape (v, y, x): hydrogen nuclei in each channel, cm^-2. Opposite edges meet, as those of a
        whole box do.
    tracer : `~stellarssl.tracers.Tracer`
        The line.
    channel_width : `~astropy.units.Quantity` or str
        A velocity.
    beam_pixels : float
        FWHM of the beam in pixels of the cube; zero for none.
    rms : `~astropy.units.Quantity` or str
        Noise per channel, a temperature; zero for none. It is correlated over the beam, as a
        gridded map's is, and independent between channels.
    seed : int
        Of the noise.

    Returns
    -------
    brightness : `~numpy.ndarray`
        Float32, shape (v, y, x), K.
    """
    if column.ndim != 3:
        raise InputError("column", "must have shape (v, y, x)", column.shape)
    dv = as_quantity("channel_width", channel_width, _KMS)
    noise = as_quantity("rms", rms, u.K, positive=False).value
    if not (np.isfinite(beam_pixels) and beam_pixels >= 0):
        raise InputError("beam_pixels", "must be finite and not negative", beam_pixels)
    if not noise >= 0:
        raise InputError("rms", "must not be negative", rms)
    per_column = 1 / (tracer.n_h_per_w * dv).to_value(u.cm**-2 / u.K)
    contrast = _opaque_column(tracer) * dv.value * per_column  # K
    rng = np.random.default_rng(seed)
    kernel = _beam_profile(beam_pixels)
    brightness = np.empty(column.shape, dtype=np.float32)
    for channel, gas in enumerate(column):
        thin = gas.astype(np.float64) * per_column
        line = -contrast * np.expm1(-thin / contrast) if contrast else thin
        static = _smooth(rng.standard_normal(gas.shape), beam_pixels, periodic=True)
        brightness[channel] = _smooth(line, beam_pixels, periodic=True)
        brightness[channel] += noise / np.sum(kernel**2) * static
    return brightness


def _beam_profile(fwhm: float) -> np.ndarray:
    """Give the one-dimensional kernel that `_smooth` applies along each axis."""
    impulse = np.zeros(2 * int(4 * fwhm) + 9)
    impulse[impulse.size // 2] = 1.0
    return gaussian_filter(impulse, fwhm / _FWHM)
