"""Conversion between moment maps and the quantities that may be averaged."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np

from stellarssl.exceptions import MissingInputError
from stellarssl.moments import MomentMaps

__all__ = ["Fields", "Fillers", "Sampled", "physical_maps", "summable_fields"]

COLUMN_FLOOR = 1e18
"""cm^-2: lower limit of columns, because noise-free maps have a detection limit of zero."""

_CM2, _KMS = u.cm**-2, u.km / u.s
_K_KMS = u.K * _KMS


@dataclass(frozen=True)
class Fillers:
    """What stands in a map where nothing is detected.

    Attributes
    ----------
    v_reference : float
        Velocity subtracted from v, km/s, so that squares do not lose the dispersion to rounding.
    sigma_instrument : float
        Velocity resolution of the data, as a dispersion, km/s.
    limit : float
        Median detection limit of the column, cm^-2, used off the map.
    """

    v_reference: float
    sigma_instrument: float
    limit: float


@dataclass(frozen=True)
class Fields(Fillers):
    """A map in quantities that may be averaged, computed block by block.

    Attributes
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Moment maps with a tracer.
    """

    maps: MomentMaps

    def block(self, y: range, x: range) -> np.ndarray:
        """Compute part of the map; all of it would take 56 bytes per pixel.

        Parameters
        ----------
        y, x : range
            Rows and columns, which may lie beyond the map; values there are zero.

        Returns
        -------
        fields : `~numpy.ndarray`
            Float64, shape (len(y), len(x), 7), finite: observed (1 or 0), detected (1 or 0); where
            detected, N [cm^-2], N v and N (v^2 + sigma^2); where observed, the error and the
            detection limit of N.
        """
        maps, n_h_per_w = self.maps, _n_h_per_w(self.maps)
        here = tuple(
            slice(max(axis.start, 0), max(min(axis.stop, n), 0))
            for axis, n in zip((y, x), maps.shape, strict=True)
        )
        found = _detected(maps, here)
        observed = np.asarray(maps.covered[here], dtype=bool)
        # as `MomentMaps.n_h`
        column = (maps.moment0[here] * maps.tracer.n_h_per_w).to_value(_CM2).astype(np.float32)
        v, sigma = (image[here].to_value(_KMS) for image in (maps.v_los, maps.sigma_v))
        error, limit = (
            image[here].to_value(_K_KMS) for image in (maps.errors["moment0"], maps.moment0_limit)
        )
        # noise can make a variance negative, where it hides how narrow the line is
        width = np.where(np.isfinite(sigma), sigma, self.sigma_instrument)
        n_h, speed, width = (
            np.where(found, values.astype(np.float64), 0.0)
            for values in (column, v.astype(np.float64) - self.v_reference, width)
        )
        array = np.zeros((len(y), len(x), 7))
        inside = array[here[0].start - y.start :, here[1].start - x.start :]
        inside = inside[: found.shape[0], : found.shape[1]]
        for i, values in enumerate(
            (
                observed,
                found,
                n_h,
                n_h * speed,
                n_h * (speed**2 + width**2),
                np.where(observed & np.isfinite(error), error * n_h_per_w, 0.0),
                np.where(observed & np.isfinite(limit), limit * n_h_per_w, observed * self.limit),
            )
        ):
            inside[..., i] = values
        return array


@dataclass(frozen=True)
class Sampled:
    """Maps resampled to other pixels; see `physical_maps`.

    Attributes
    ----------
    maps : `~numpy.ndarray`
        Float32, shape (n, 3, h, w): log10 N_H [cm^-2], v_los about ``v_los``, sigma_v [km/s].
    detected, covered : `~numpy.ndarray`
        Boolean, shape (n, h, w).
    coverage : `~numpy.ndarray`
        Shape (n,): fraction of the area that was observed.
    snr : `~numpy.ndarray`
        Shape (n, h, w): column over its error, zero where undetected, inf where noise-free.
    v_los : `~numpy.ndarray`
        Shape (n,), km/s: velocity that was subtracted; NaN where nothing is detected.
    """

    maps: np.ndarray
    detected: np.ndarray
    covered: np.ndarray
    coverage: np.ndarray
    snr: np.ndarray
    v_los: np.ndarray


def summable_fields(maps: MomentMaps) -> Fields:
    """Turn moment maps into quantities that may be averaged.

    Parameters
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Moment maps with a tracer.

    Returns
    -------
    fields : Fields
        Its method ``block`` is the input of `~stellarssl.tiles.sampling.sample_tiles`.

    Raises
    ------
    MissingInputError
        If the maps have no tracer, hence no column.
    """
    if maps.tracer is None:
        raise MissingInputError("tracer", "must be given: tiles are maps of the hydrogen column")
    limit = maps.moment0_limit.to_value(_K_KMS)
    limit = limit[np.asarray(maps.covered, dtype=bool) & np.isfinite(limit)]
    v = maps.v_los.to_value(_KMS)[_detected(maps)]
    return Fields(
        maps=maps,
        v_reference=float(np.median(v)) if v.size else 0.0,
        sigma_instrument=float(maps.sigma_instrument.to_value(_KMS)),
        limit=float(np.median(limit)) * _n_h_per_w(maps) if limit.size else 0.0,
    )


def _n_h_per_w(maps: MomentMaps) -> float:
    return maps.tracer.n_h_per_w.to_value(_CM2 / _K_KMS)


def _detected(maps: MomentMaps, here: tuple[slice, slice] = np.s_[:, :]) -> np.ndarray:
    found = np.asarray(maps.covered[here], dtype=bool) & maps.detected[here]
    for image in (maps.moment0, maps.v_los):
        found &= np.isfinite(image.value[here])
    return found


def physical_maps(sampled: np.ndarray, fillers: Fillers, v_los: float | None = None) -> Sampled:
    """Turn means of the summable quantities back into columns, velocities and dispersions.

    A pixel counts as covered where more than half of it is, and as detected where more than half
    of that is and the column is above the local limit. There
    N = <N>, v = <N v>/<N> and sigma_v^2 = <N (v^2 + sigma_v^2)>/<N> - v^2, so that velocities which
    are not resolved show up as dispersion. Elsewhere N is the local detection limit, v zero and
    sigma_v that of the instrument.

    Parameters
    ----------
    sampled : `~numpy.ndarray`
        Shape (7, n, h, w): means of the values that ``Fields.block`` returns.
    fillers : Fillers
        What stands where nothing is detected, such as the `Fields` that were sampled.
    v_los : float, optional
        Velocity to subtract, km/s. By default the column-weighted mean of each tile.

    Returns
    -------
    sampled : Sampled
        Finite everywhere.
    """
    observed, found, column, momentum, energy, error, limit = sampled
    covered = observed > 0.5
    # the limit of a noise-free map is its faintest pixel, which rounding must not lose
    significant = (column > 0) & (column > 0.999999 * limit)
    detected = covered & significant & (found > 0.5 * observed)
    weight = np.where(detected, column, 0.0)
    total = weight.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        if v_los is None:
            tile_v = np.where(detected, momentum, 0.0).sum(axis=(1, 2)) / total
        else:
            tile_v = np.full(len(column), v_los - fillers.v_reference)
        v = momentum / column
        sigma = np.sqrt(np.maximum(energy / column - v**2, 0.0))
        snr = np.where(detected, column / error, 0.0)
        filler = np.where(covered, limit / observed, fillers.limit)
        density = np.where(detected, column / observed, filler)
    maps = np.stack(
        [
            np.log10(np.maximum(density, COLUMN_FLOOR)),
            np.where(detected, v - tile_v[:, None, None], 0.0),
            np.where(detected, sigma, fillers.sigma_instrument),
        ],
        axis=1,
    ).astype(np.float32)
    return Sampled(
        maps=maps,
        detected=detected,
        covered=covered,
        coverage=observed.mean(axis=(1, 2)),
        snr=snr,
        v_los=tile_v + fillers.v_reference,
    )
