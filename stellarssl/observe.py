"""What a telescope would have seen of a simulation.

Data are never sharpened to match a simulation; the simulation is seen as the data were. An
`Observation` is what matters of a telescope's cube, and two operators apply it: `observe_maps` to
maps that were made already, `observe_cube` to the position-position-velocity cube itself.
"""

import hashlib
from dataclasses import astuple, dataclass, replace

import astropy.units as u
import numpy as np
from astropy.wcs.utils import proj_plane_pixel_area
from scipy.ndimage import gaussian_filter

from stellarssl._utils.exceptions import InputError, MissingInputError
from stellarssl._utils.quantities import as_quantity
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

    Examples
    --------
    >>> Observation(7.9, 0.11, 0.066, 0.06, 2.2e20).key
    'b9_r-9.6_c-11.8_s-12.2_n203.4'
    >>> Observation(7.9, 0.11, 0.066, 0.06, 2.2e20).rounded().key
    'b9_r-10_c-12_s-12_n203'
    """

    beam_pixels: float
    rms: float
    channel_width: float
    sigma_line: float
    column_limit: float

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
        pixel: u.Quantity | str = 0.5 / 64 * u.pc,
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
        distance = as_quantity("distance", maps.distance if distance is None else distance, u.pc)
        for name, value in (("distance", distance), ("beam", maps.beam), ("tracer", maps.tracer)):
            if value is None:
                raise MissingInputError(name, "must be given to know how the map was observed")
        if distance.size != 1:
            raise InputError("distance", "must be one value to describe an observation", distance)
        tile_pixel = as_quantity("pixel", pixel, u.pc) / distance.ravel()[0]
        tile_pixel = tile_pixel.to_value(u.dimensionless_unscaled)
        variance = (maps.beam.major * maps.beam.minor).to_value(u.rad**2) / _FWHM**2
        variance += proj_plane_pixel_area(maps.wcs) * np.deg2rad(1) ** 2 / 6
        limit = (maps.moment0_limit * maps.tracer.n_h_per_w).to_value(u.cm**-2)
        return cls(
            beam_pixels=float(_FWHM * np.sqrt(variance) / tile_pixel),
            rms=_typical(maps.noise.to_value(u.K), maps.coverage),
            channel_width=float(maps.channel_width.to_value(_KMS)),
            sigma_line=float(maps.sigma_instrument.to_value(_KMS)),
            column_limit=_typical(limit, maps.coverage),
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
            for name, value in zip(("b", "r", "c", "s", "n"), astuple(self), strict=True)
        )

    @property
    def seed(self) -> int:
        """The seed of its noise: the same wherever the key is."""
        return int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:8], "big")


def _typical(values: np.ndarray, where: np.ndarray) -> float:
    """Give the median of the finite values of a map's observed part; zero if there are none."""
    values = np.broadcast_to(values, where.shape)[where]
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else 0.0


def _smooth(values: np.ndarray, fwhm: float, *, periodic: bool) -> np.ndarray:
    """Convolve the last two axes with a Gaussian; outside the edges nothing is known, or wraps."""
    sigma = (0,) * (values.ndim - 2) + (fwhm / _FWHM,) * 2
    return gaussian_filter(values, sigma, mode="wrap" if periodic else "constant")


def observe_maps(
    maps: np.ndarray, observation: Observation, *, periodic: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Show simulated maps as a telescope with this beam and depth would.

    Smooths N, N v and N (v^2 + sigma^2) to the beam, so that what the beam does not resolve shows
    up as dispersion, and adds the width of the line and of the channels to the dispersion in
    quadrature. Columns below the limit become undetected, and are filled as those of tiles are.
    Noise above the limit is not added.

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
        gas = 10.0**log_column
        sums = np.stack([gas, gas * v, gas * (v**2 + sigma**2)])
        column, momentum, energy = (
            _smooth(sums, observation.beam_pixels, periodic=periodic) / weight
        )
        velocity = momentum / column
        found = column > observation.column_limit
        mean = np.average(velocity, weights=column * found) if found.any() else 0.0
        width = np.hypot(
            np.sqrt(np.maximum(energy / column - velocity**2, 0.0)), observation.sigma_line
        )
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
    contrast = np.inf
    if tracer.excitation_temperature is not None:
        contrast = radiation_contrast(tracer.rest_frequency, tracer.excitation_temperature)
        contrast = contrast.to_value(u.K)
    rng = np.random.default_rng(seed)
    kernel = _beam_profile(beam_pixels)
    brightness = np.empty(column.shape, dtype=np.float32)
    for channel, gas in enumerate(column):
        thin = gas.astype(np.float64) * per_column
        line = thin if np.isinf(contrast) else -contrast * np.expm1(-thin / contrast)
        static = _smooth(rng.standard_normal(gas.shape), beam_pixels, periodic=True)
        brightness[channel] = _smooth(line, beam_pixels, periodic=True)
        brightness[channel] += noise / np.sum(kernel**2) * static
    return brightness


def _beam_profile(fwhm: float) -> np.ndarray:
    """Give the one-dimensional kernel that `_smooth` applies along each axis."""
    impulse = np.zeros(2 * int(4 * fwhm) + 9)
    impulse[impulse.size // 2] = 1.0
    return gaussian_filter(impulse, fwhm / _FWHM)
