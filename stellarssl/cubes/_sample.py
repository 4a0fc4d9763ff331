"""A look at a bounded number of values, whatever the cube's size."""

from typing import Any

import numpy as np

__all__ = ["quick_noise", "sample_values"]

_N_VALUES = 2**18
_N_CHANNELS = 16


def sample_values(data: Any) -> np.ndarray:
    """Return whole rows of some channels, other rows in each; all where the cube is small.

    Parameters
    ----------
    data : array-like
        (v, y, x), sliced before it is read.

    Returns
    -------
    sample : ndarray
        (channel, row, x), at most some 3 x 10^5 values as stored.
    """
    n_channels, n_rows, n_columns = data.shape
    if n_channels * n_rows * n_columns <= _N_VALUES:
        return np.asarray(data[:, :, :])
    channels = np.unique(np.linspace(0, n_channels - 1, min(n_channels, _N_CHANNELS)).astype(int))
    n = min(max(1, _N_VALUES // (len(channels) * n_columns)), n_rows)
    starts = np.linspace(0, n_rows - n, len(channels)).astype(int)
    bands = zip(channels, starts, strict=True)
    return np.stack([np.asarray(data[int(v), int(y) : int(y) + n]) for v, y in bands])


def quick_noise(sample: np.ndarray) -> float:
    """Return the noise of the quieter channels; 0 if they are noise-free, NaN if empty.

    Parameters
    ----------
    sample : ndarray
        (channel, row, x).

    Returns
    -------
    noise : float
        1.4826 times the median absolute deviation, its lower quartile over channels.
    """
    spreads = []
    for plane in sample:
        values = plane[np.isfinite(plane)].astype(np.float64)
        if values.size > 10:
            spreads.append(1.4826 * np.median(np.abs(values - np.median(values))))
    return float(np.quantile(spreads, 0.25)) if spreads else np.nan
