"""The quantities of a map that may be averaged, and the way back from their means."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np

from stellarssl._utils.exceptions import MissingInputError
from stellarssl.moments import MomentMaps

__all__ = ["Fields", "Sampled", "physical_maps", "summable_fields"]

COLUMN_FLOOR = 1e18
"""cm^-2: no column is below it, since noise-free maps have a detection limit of zero."""

_CM2, _KMS = u.cm**-2, u.km / u.s
_BAND = 256  # rows in float64 at once, beside the result


@dataclass(frozen=True)
class Fields:
    """A map in quantities that may be averaged.

    Attributes
    ----------
    array : `~numpy.ndarray`
        Float64, shape (ny + 2, nx + 2, 7), finite, in a frame of zeros: observed (1 or 0),
        detected (1 or 0); where detected, N [cm^-2], N v and N (v^2 + sigma^2); where observed, the
        error and the detection limit of N.
    v_reference : float
        km/s; v is relative to it, lest squares drown the dispersion.
    sigma_instrument : float
        km/s.
    limit : float
        cm^-2: the median detection limit, for what lies off the map.
    """

    array: np.ndarray
    v_reference: float
    sigma_instrument: float
    limit: float


@dataclass(frozen=True)
class Sampled:
    """Maps on other pixels; see `physical_maps`.

    Attributes
    ----------
    maps : `~numpy.ndarray`
        Float32, shape (n, 3, h, w): log10 N_H [cm^-2], v_los about ``v_los``, sigma_v [km/s].
    detected, covered : `~numpy.ndarray`
        Boolean, shape (n, h, w).
    coverage : `~numpy.ndarray`
        Shape (n,): the share of the area that was observed.
    snr : `~numpy.ndarray`
        Shape (n, h, w): column over its error, zero where undetected, inf where noise-free.
    v_los : `~numpy.ndarray`
        Shape (n,), km/s: what was taken off; NaN where nothing is detected.
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
        With a tracer.

    Returns
    -------
    fields : Fields
        For `~stellarssl.tiles._sampling.sample_tiles`.

    Raises
    ------
    MissingInputError
        If the maps have no tracer, hence no column.
    """
    if maps.tracer is None:
        raise MissingInputError("tracer", "must be given: tiles are maps of the hydrogen column")
    n_h_per_w = maps.tracer.n_h_per_w.to_value(_CM2 / (u.K * _KMS))
    k_kms = u.K * _KMS
    column, v, sigma = (
        quantity.to_value(unit)
        for quantity, unit in ((maps.n_hi, _CM2), (maps.v_los, _KMS), (maps.sigma_v, _KMS))
    )
    error = maps.errors["moment0"].to_value(k_kms)
    limit = maps.moment0_limit.to_value(k_kms)
    sigma_instrument = float(maps.sigma_instrument.to_value(_KMS))
    observed = np.asarray(maps.coverage, dtype=bool)
    detected = observed & maps.mask & np.isfinite(column) & np.isfinite(v)
    known = observed & np.isfinite(limit)
    typical_limit = float(np.median(limit[known])) * n_h_per_w if known.any() else 0.0
    v_reference = float(np.median(v[detected])) if detected.any() else 0.0
    array = np.zeros((observed.shape[0] + 2, observed.shape[1] + 2, 7))
    for start in range(0, len(observed), _BAND):
        band = slice(start, start + _BAND)
        found = detected[band]
        # noise can make a variance negative, where it hides how narrow the line is
        width = np.where(np.isfinite(sigma[band]), sigma[band], sigma_instrument)
        n_h, speed, width = (
            np.where(found, values.astype(np.float64), 0.0)
            for values in (column[band], v[band].astype(np.float64) - v_reference, width)
        )
        for i, values in enumerate(
            (
                observed[band],
                found,
                n_h,
                n_h * speed,
                n_h * (speed**2 + width**2),
                np.where(observed[band] & np.isfinite(error[band]), error[band] * n_h_per_w, 0.0),
                np.where(known[band], limit[band] * n_h_per_w, observed[band] * typical_limit),
            )
        ):
            array[start + 1 : start + 1 + len(found), 1:-1, i] = values
    return Fields(array, v_reference, sigma_instrument, typical_limit)


def physical_maps(sampled: np.ndarray, fields: Fields, v_los: float | None = None) -> Sampled:
    """Turn means of the summable quantities back into columns, velocities and dispersions.

    A pixel counts as covered where more than half of it is, and as detected where more than half
    of that is and the column is above the local limit. There
    N = <N>, v = <N v>/<N> and sigma_v^2 = <N (v^2 + sigma_v^2)>/<N> - v^2, so that velocities which
    are not resolved show up as dispersion. Elsewhere N is the local detection limit, v zero and
    sigma_v that of the instrument.

    Parameters
    ----------
    sampled : `~numpy.ndarray`
        Shape (7, n, h, w), means of ``fields.array``.
    fields : Fields
        What was sampled.
    v_los : float, optional
        km/s; what velocities are relative to. By default each tile's column-weighted mean.

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
            tile_v = np.full(len(column), v_los - fields.v_reference)
        v = momentum / column
        sigma = np.sqrt(np.maximum(energy / column - v**2, 0.0))
        snr = np.where(detected, column / error, 0.0)
        filler = np.where(covered, limit / observed, fields.limit)
        density = np.where(detected, column / observed, filler)
    maps = np.stack(
        [
            np.log10(np.maximum(density, COLUMN_FLOOR)),
            np.where(detected, v - tile_v[:, None, None], 0.0),
            np.where(detected, sigma, fields.sigma_instrument),
        ],
        axis=1,
    ).astype(np.float32)
    return Sampled(
        maps=maps,
        detected=detected,
        covered=covered,
        coverage=observed.mean(axis=(1, 2)),
        snr=snr,
        v_los=tile_v + fields.v_reference,
    )
