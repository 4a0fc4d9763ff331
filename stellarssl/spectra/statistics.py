"""Statistics of line profiles in rings."""

import numpy as np

__all__ = ["spectrum_statistics"]

_FRACTIONS = ((0.02, 0.98), (0.05, 0.95), (0.16, 0.84))
_WINGS = (1.0, 2.0, 3.0)  # km/s
_SIGNAL = 2.0  # in units of the error
_FAINTEST = 1e-3  # of the peak of the innermost ring

Spectra = tuple[np.ndarray, np.ndarray]


def spectrum_statistics(
    offset: np.ndarray, plain: Spectra, subtracted: Spectra
) -> tuple[tuple[str, ...], np.ndarray]:
    """Measure line profiles in rings, with and without their background.

    No statistic depends on the scale of the brightness. All but the folded diagram are computed
    from the channels above twice their error. For each ring ``r``, from 0 at the center:

    ``integral_r``
        log10 of the integrated brightness relative to the innermost ring (not for ring 0).
    ``velocity_r``, ``dispersion_r``
        Absolute mean velocity relative to the source, and velocity dispersion [km/s].
    ``width_2_98_r``, ``width_5_95_r``, ``width_16_84_r``
        Width between two percentiles of the cumulative line profile [km/s].
    ``peak_over_integral_r``
        Highest brightness over integrated brightness [s/km].
    ``wing_1_r``, ``wing_2_r``, ``wing_3_r``
        Fraction of the integrated brightness beyond 1, 2 and 3 km/s from the source.
    ``folded_v_r``
        Radius-velocity diagram: log10 of the mean brightness at the velocities -v and +v, in
        bins of 0.25 km/s around v, relative to the peak of the innermost ring. Values below
        the error of the bin, or below 0.001 of that peak, are set to the larger of these two.

    The names of statistics of background-subtracted spectra begin with ``subtracted_``.

    Parameters
    ----------
    offset : ndarray of float64
        Channel centers relative to the source, shape (v,), ascending [km/s].
    plain, subtracted : tuple of ndarray
        Spectra and their errors, each of shape (n, 8, v) [K].

    Returns
    -------
    names : tuple of str
        Names of the statistics.
    array : ndarray of float32
        Shape (n, number of statistics). NaN for rings that are not used, for rings without
        signal (but for the folded diagram), and for velocities beyond the band on both sides.

    Examples
    --------
    A Gaussian line of 0.5 km/s (one standard deviation) in all rings, without noise:

    >>> offset = np.linspace(-5.9375, 5.9375, 96)
    >>> line = np.tile(np.exp(-(offset**2) / (2 * 0.5**2)), (1, 8, 1))
    >>> names, array = spectrum_statistics(offset, (line, 0 * line), (line, 0 * line))
    >>> statistics = dict(zip(names, array[0]))
    >>> print(f"{statistics['dispersion_0']:.3f}, {statistics['wing_1_7']:.3f}")
    0.500, 0.045
    """
    names, columns = [], []
    for prefix, (spectra, error) in (("", plain), ("subtracted_", subtracted)):
        for name, values in _profiles(offset, spectra, error):
            first = 1 if name == "integral" else 0
            names += [f"{prefix}{name}_{ring}" for ring in range(first, spectra.shape[1])]
            columns.append(values[:, first:])
    return tuple(names), np.concatenate(columns, axis=1).astype(np.float32)


def _profiles(
    offset: np.ndarray, spectra: np.ndarray, error: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """Return names and values (n, 8) of all statistics."""
    spectra, error = spectra.astype(np.float64), error.astype(np.float64)
    width = offset[1] - offset[0]
    line = np.where((spectra > _SIGNAL * error) & (spectra > 0), spectra, 0.0)
    total = line.sum(axis=-1)
    total = np.where(total > 0, total, np.nan)
    mean = (line * offset).sum(axis=-1) / total
    variance = (line * (offset - mean[..., None]) ** 2).sum(axis=-1) / total
    found = [
        ("integral", np.log10(total / total[:, :1])),
        ("velocity", np.abs(mean)),
        ("dispersion", np.sqrt(variance)),
    ]
    cumulative = np.cumsum(line, axis=-1) / total[..., None]
    for low, high in _FRACTIONS:
        ends = [_percentile(offset, cumulative, fraction) for fraction in (low, high)]
        found.append((f"width_{100 * low:.0f}_{100 * high:.0f}", ends[1] - ends[0]))
    found.append(("peak_over_integral", line.max(axis=-1) / (total * width)))
    for limit in _WINGS:
        beyond = line[..., np.abs(offset) > limit].sum(axis=-1)
        found.append((f"wing_{limit:.0f}", beyond / total))
    return found + _folded(offset, spectra, error)


def _percentile(offset: np.ndarray, cumulative: np.ndarray, fraction: float) -> np.ndarray:
    """Return the velocity at which the cumulative profile reaches a fraction, shape (n, 8)."""
    width = offset[1] - offset[0]
    reached = np.argmax(cumulative >= fraction, axis=-1)[..., None]
    after = np.take_along_axis(cumulative, reached, axis=-1)
    before = np.take_along_axis(cumulative, np.maximum(reached - 1, 0), axis=-1)
    before = np.where(reached > 0, before, 0.0)
    share = (fraction - before) / (after - before)  # NaN without a line
    return (offset[reached] + width * (share - 0.5))[..., 0]


def _folded(
    offset: np.ndarray, spectra: np.ndarray, error: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """Return the radius-velocity diagram, folded at the velocity of the source."""
    peak = np.nanmax(spectra[:, 0], axis=-1, initial=0.0)[:, None]
    peak = np.where(peak > 0, peak, np.nan)
    half = len(offset) // 2
    diagram = []
    for start in range(half, len(offset), 2):
        right = np.arange(start, start + 2)
        bins = np.concatenate([right, len(offset) - 1 - right])
        values, errors = spectra[..., bins], error[..., bins]
        known = np.isfinite(values)
        number = known.sum(axis=-1)
        number = np.where(number > 0, number, np.nan)
        mean = np.where(known, values, 0.0).sum(axis=-1) / number
        noise = np.sqrt(np.where(known, errors**2, 0.0).sum(axis=-1)) / number
        floor = np.maximum(noise, _FAINTEST * peak)
        name = f"folded_{offset[right].mean():.3f}"
        diagram.append((name, np.log10(np.maximum(mean, floor) / peak)))
    return diagram
