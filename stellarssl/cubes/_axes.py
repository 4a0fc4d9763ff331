"""The axes of a cube: which is which, and where its channels are."""

import warnings
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.constants import c
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning, WcsError

from stellarssl.exceptions import InputError

__all__ = ["CONVENTIONS", "Axes", "channel_velocities", "read_axes"]

_KMS = u.km / u.s

CONVENTIONS = {
    "radio": u.doppler_radio,
    "optical": u.doppler_optical,
    "relativistic": u.doppler_relativistic,
}
_CONVENTION_OF = {"VRAD": "radio", "VOPT": "optical", "ZOPT": "optical"}
_CONVENTION_OF |= {"VELO": "relativistic", "BETA": "relativistic"}
_NATIVE = {"FREQ": u.Hz, "WAVE": u.m, "AWAV": u.m, "VRAD": u.m / u.s, "VOPT": u.m / u.s}
_NATIVE |= {"VELO": u.m / u.s, "ZOPT": c, "BETA": c}


@dataclass(frozen=True, eq=False)
class Axes:
    """Where the values of a cube are.

    Attributes
    ----------
    wcs : `~astropy.wcs.WCS`
        Longitude, latitude, spectral.
    order : tuple of int
        Which axes of the file these are, from 0 in FITS order.
    stokes : dict of int
        The plane to take of each further axis.
    spectral : `~astropy.units.Quantity`
        Frequencies, wavelengths or velocities of the channels.
    kind : str
        The first four letters of the spectral CTYPE.
    convention : str
        Of the velocities: the axis' own, radio for frequencies and wavelengths.
    rest : `~astropy.units.Quantity` or None
        Rest frequency of the header.
    specsys : str or None
        Reference frame of the spectral axis.
    """

    wcs: WCS
    order: tuple[int, ...]
    stokes: dict[int, int]
    spectral: u.Quantity
    kind: str
    convention: str
    rest: u.Quantity | None
    specsys: str | None

    def arrange(self, array: Any) -> Any:
        """Return a view of an array of the file as (v, y, x)."""
        ndim = array.ndim
        index: list[slice | int] = [slice(None)] * ndim
        for axis, plane in self.stokes.items():
            if axis < ndim:
                index[ndim - 1 - axis] = plane
        kept = sorted(self.order)
        longitude, latitude, spectral = (2 - kept.index(axis) for axis in self.order)
        return array[tuple(index)].transpose(spectral, latitude, longitude)


def read_axes(header: fits.Header, shape: tuple[int, ...]) -> Axes:
    """Find longitude, latitude and the spectral axis of a mended header.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header.
    shape : tuple of int
        Of the array in the file, slowest axis first.

    Returns
    -------
    axes : `Axes`
        What is where.

    Raises
    ------
    InputError
        If one of the three is missing, or a fourth cannot be dropped.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        try:
            wcs = WCS(header)
            wcs.wcs.set()
        except (ValueError, MemoryError, OverflowError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError("cube", f"must have a valid WCS: {reason}") from error
    order = (wcs.wcs.lng, wcs.wcs.lat, wcs.wcs.spec)
    n_axes = len(shape)
    found = ", ".join(str(name) or "(no name)" for name in list(wcs.wcs.ctype)[:n_axes])
    if n_axes < 3:
        raise InputError("cube", "must have three axes, two on the sky and a spectral one", found)
    if min(order[:2]) < 0 or max(order[:2]) >= n_axes:
        raise InputError("cube", "must have two celestial axes (CTYPE)", found)
    if not 0 <= order[2] < n_axes:
        raise InputError("cube", "must have a spectral axis (CTYPE)", found)
    stokes = _further_planes(wcs, order, shape[::-1])
    try:
        ordered = wcs.sub([axis + 1 for axis in order])
        line = wcs.sub([order[2] + 1])
    except WcsError as error:
        rule = "must have a spectral axis that does not turn with the sky's (PCi_j)"
        raise InputError("cube", rule) from error
    kind = str(line.wcs.ctype[0])[:4]
    if kind not in _NATIVE:
        raise InputError("cube", f"must have a spectral axis of {', '.join(_NATIVE)}", kind)
    channels = np.arange(shape[n_axes - 1 - order[2]], dtype=np.float64)
    spectral = u.Quantity(line.wcs_pix2world(channels, 0)[0] * _NATIVE[kind])
    return Axes(
        wcs=ordered,
        order=order,
        stokes=stokes,
        spectral=spectral,
        kind=kind,
        convention=_CONVENTION_OF.get(kind, "radio"),
        rest=_rest_frequency(wcs),
        specsys=str(wcs.wcs.specsys) or None,
    )


def _rest_frequency(wcs: WCS) -> u.Quantity | None:
    """Return the header's rest frequency; zero means that it is missing."""
    if np.isfinite(wcs.wcs.restfrq) and wcs.wcs.restfrq > 0:
        return wcs.wcs.restfrq * u.Hz
    if np.isfinite(wcs.wcs.restwav) and wcs.wcs.restwav > 0:
        return (wcs.wcs.restwav * u.m).to(u.Hz, equivalencies=u.spectral())
    return None


def _further_planes(wcs: WCS, order: tuple[int, ...], lengths: tuple[int, ...]) -> dict[int, int]:
    """Return which plane of each further axis is total intensity."""
    planes = {}
    for axis in set(range(len(lengths))) - set(order):
        planes[axis] = 0
        if lengths[axis] == 1:
            continue
        if str(wcs.wcs.ctype[axis]).strip() != "STOKES":
            rule = f"must have one plane on its axis {axis + 1} ({wcs.wcs.ctype[axis]})"
            raise InputError("cube", rule, lengths[axis])
        # Stokes I is 1 on that axis (FITS standard, table 28); the axis is linear and alone.
        first = wcs.wcs.crval[axis] + (1 - wcs.wcs.crpix[axis]) * wcs.wcs.cdelt[axis]
        plane = (1 - first) / wcs.wcs.cdelt[axis]
        if not 0 <= plane < lengths[axis] or abs(plane - round(plane)) > 1e-3:
            raise InputError(
                "cube", "must hold Stokes I, or one plane of polarisation", _names(wcs)
            )
        planes[axis] = round(plane)
    return planes


def _names(wcs: WCS) -> str:
    """Return the names of all axes, for a message."""
    return ", ".join(str(name) for name in wcs.wcs.ctype)


def channel_velocities(axes: Axes, rest: u.Quantity | None) -> tuple[np.ndarray, u.Quantity | None]:
    """Return the velocity of each channel, and its frequency.

    Parameters
    ----------
    axes : `Axes`
        Of the cube.
    rest : `~astropy.units.Quantity` or None
        Rest frequency.

    Returns
    -------
    velocity : ndarray
        In ``axes.convention`` [km/s]; NaN where it needs a rest frequency that is not known.
    frequency : `~astropy.units.Quantity` or None
        None where it needs a rest frequency that is not known.
    """
    if axes.spectral.unit.is_equivalent(_KMS):
        velocity = axes.spectral.to_value(_KMS)
        if rest is None:
            return velocity, None
        known = rest if axes.rest is None else axes.rest
        frequency = axes.spectral.to(u.Hz, equivalencies=CONVENTIONS[axes.convention](known))
        # The same line by another's rest frequency is kept as it is; another line is not.
        if abs(float(rest / known) - 1) > 1e-5:
            velocity = frequency.to_value(_KMS, CONVENTIONS[axes.convention](rest))
        return velocity, frequency
    frequency = axes.spectral.to(u.Hz, equivalencies=u.spectral())
    if rest is None:
        return np.full(frequency.shape, np.nan), frequency
    return frequency.to_value(_KMS, u.doppler_radio(rest)), frequency
