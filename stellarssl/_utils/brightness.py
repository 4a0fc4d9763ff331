"""Brightness of simulated cubes in 8 bits."""

import numpy as np

from stellarssl.exceptions import InputError

__all__ = ["DEX", "MAX_BRIGHTNESS", "T0", "decode_brightness", "encode_brightness"]

T0 = 0.01
"""Brightness [K] below which the codes are linear, and above which they are logarithmic."""

DEX = 4.5
"""Range of the codes above ``T0``."""

_TOP = 255
_BRIGHTNESS = (T0 * (10.0 ** (np.arange(_TOP + 1) * DEX / _TOP) - 1)).astype(np.float32)

MAX_BRIGHTNESS = float(_BRIGHTNESS[-1])
"""Brightness of the last code [K]."""


def encode_brightness(brightness: np.ndarray) -> np.ndarray:
    """Round brightness to 8 bits, logarithmic above 0.01 K.

    Parameters
    ----------
    brightness : `~numpy.ndarray`
        Brightness [K], not negative, any shape.

    Returns
    -------
    codes : `~numpy.ndarray`
        Array of uint8, same shape. Neighboring codes differ by 4 % above 0.1 K; all values above
        316 K have code 255.

    Raises
    ------
    InputError
        If a value is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> encode_brightness(np.array([0.0, 0.09, 1.0, 1e4]))
    array([  0,  57, 114, 255], dtype=uint8)
    """
    brightness = np.asarray(brightness)
    if not (np.isfinite(brightness).all() and (brightness >= 0).all()):
        raise InputError("brightness", "must be finite and not negative")
    codes = np.log10(brightness / T0 + 1) * (_TOP / DEX)
    return np.minimum(np.round(codes), _TOP).astype(np.uint8)


def decode_brightness(codes: np.ndarray) -> np.ndarray:
    """Return the brightness that codes stand for.

    Parameters
    ----------
    codes : `~numpy.ndarray`
        Array of uint8, any shape, from ``encode_brightness``.

    Returns
    -------
    brightness : `~numpy.ndarray`
        Float32, same shape [K].

    Examples
    --------
    >>> import numpy as np
    >>> decode_brightness(np.array([0, 57, 114], dtype=np.uint8)).round(2)
    array([0.  , 0.09, 1.02], dtype=float32)
    """
    return _BRIGHTNESS[codes]
