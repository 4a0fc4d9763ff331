"""The cube as the rest of the package sees it."""

import warnings
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import astropy.units as u
import dask.array as da
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from radio_beam import Beam, Beams
from spectral_cube import (
    DaskSpectralCube,
    DaskVaryingResolutionSpectralCube,
    LazyMask,
    SpectralCube,
    VaryingResolutionSpectralCube,
)

from stellarssl.cubes._files import FileArray, ScaledArray
from stellarssl.cubes.options import ReadOptions
from stellarssl.cubes.sources import Source, SourceLike

__all__ = ["Cube", "CubeLike"]


@dataclass(frozen=True, eq=False)
class Cube:
    """A position-position-velocity cube, nothing of it converted; made by `read_cube`.

    A value in kelvin is ``cube.data[i, y, x] * cube.kelvin_factor[i]``.

    Attributes
    ----------
    data : array-like
        Values (v, y, x), read by slicing: an uncompressed file, which is read where it is
        sliced and never mapped into memory, an array, or dask. Floats keep their byte order,
        scaled integers become floats. Slice first, then call `numpy.asarray`.
    valid : array-like or None
        Boolean (v, y, x), sliced like ``data``: a mask besides NaN.
    velocity : ndarray
        (v,) float64, at the channels' centers [km/s], in storage order, which may descend.
        In the axis' own convention; radio where the axis is a frequency.
    velocity_convention : {"radio", "optical", "relativistic"}
        That of ``velocity``.
    channels : slice
        Channels that maps are made of: those in the option ``velocity_range``, or all.
    channel_width : `~astropy.units.Quantity`
        Above zero [km/s].
    kelvin_factor : ndarray
        (v,) float64; NaN where a channel has no beam but its unit needs one.
    unit : `~astropy.units.UnitBase`
        Of ``data``.
    temperature_scale : {"T_mb", "T_A*", "T_R*"} or None
        Where the unit says it (``"K (Tmb)"``).
    efficiency : float or None
        T_A* over T_mb, where the header states it.
    beam : `~radio_beam.Beam` or None
        Where it varies with the channel, the smallest that all can be brought to.
    beam_varies : bool
        Whether areas differ by more than 5 % between channels.
    rest_value : `~astropy.units.Quantity` or None
        Rest frequency.
    distance : `~astropy.units.Quantity` or None
        In pc.
    distance_origin : {"argument", "header"} or None
        Where the distance is from.
    specsys : str or None
        Frame of the velocities, such as ``"LSRK"``.
    wcs : `~astropy.wcs.WCS`
        The sky's two axes: x longitude, y latitude.
    header : `~astropy.io.fits.Header`
        The original.
    source : str
        What it was read from.
    notes : tuple of str
        What was repaired, assumed or is missing.
    """

    data: Any
    valid: Any
    velocity: np.ndarray
    velocity_convention: str
    channels: slice
    channel_width: u.Quantity
    kelvin_factor: np.ndarray
    unit: u.UnitBase
    temperature_scale: str | None
    efficiency: float | None
    beam: Beam | None
    beam_varies: bool
    rest_value: u.Quantity | None
    distance: u.Quantity | None
    distance_origin: str | None
    specsys: str | None
    wcs: WCS
    header: fits.Header
    source: str
    notes: tuple[str, ...]
    origin: Source = field(repr=False)
    options: ReadOptions = field(repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return self.data.shape

    def check_unchanged(self) -> None:
        """Check that the file is the one that was opened, by its size and time of change.

        Raises
        ------
        ChangedInputError
            If it is not.
        """
        if self.origin.stamp is not None:
            self.origin.stamp.check()

    @property
    def spectral_cube(self) -> SpectralCube:
        """The same as a SpectralCube: the one that was given, or one made on the same data."""
        if self.origin.given is not None:
            return self.origin.given
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            return _to_spectral_cube(self.origin, self.unit)


CubeLike: TypeAlias = SourceLike | Cube
"""Anything that `read_cube` opens: a path, an HDU, an HDUList, a SpectralCube or a `Cube`."""


def _to_spectral_cube(source: Source, unit: u.UnitBase) -> SpectralCube:
    """Wrap the values, with dask where they are in a file; nothing is read."""
    data = source.data
    if isinstance(data, FileArray | ScaledArray):
        meta = np.empty((0, 0, 0), data.dtype)
        data = da.from_array(data, name=False, fancy=False, meta=meta)
    dask = isinstance(data, da.Array)
    common = {
        "data": data,
        "wcs": source.axes.wcs,
        "mask": LazyMask(np.isfinite, data=data, wcs=source.axes.wcs),
        "meta": {"BUNIT": unit.to_string("fits")},
        "header": source.header,
    }
    if isinstance(source.beam, Beams):
        varying = DaskVaryingResolutionSpectralCube if dask else VaryingResolutionSpectralCube
        return varying(beams=source.beam, **common)
    return (DaskSpectralCube if dask else SpectralCube)(beam=source.beam, **common)
