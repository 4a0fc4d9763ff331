"""The moment maps that every later stage starts from."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.constants import k_B
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from radio_beam import Beam

from stellarssl._utils.provenance import provenance
from stellarssl._utils.quantities import as_quantity
from stellarssl.cubes import Cube
from stellarssl.exceptions import InputError, MissingInputError
from stellarssl.moments.fits import read_maps, write_maps
from stellarssl.moments.noise import Noise
from stellarssl.tracers import N_H_PER_W_UNIT, Tracer

__all__ = ["MomentMaps", "assemble_maps"]

_KMS = u.km / u.s
_CM2 = u.cm**-2
_COLD = 10 * u.K
_BOOKKEEPING = 1e22 * N_H_PER_W_UNIT


@dataclass(frozen=True, eq=False)
class MomentMaps:
    """Integrated intensity, velocity and velocity dispersion on the sky, with their errors.

    Made by `~stellarssl.moment_maps`, `read` or `from_maps`.

    Attributes
    ----------
    moment0 : `~astropy.units.Quantity`
        Integrated main-beam temperature [K km/s], float32 (y, x); NaN where nothing is detected.
    v_los, sigma_v : `~astropy.units.Quantity`
        Intensity-weighted mean velocity, and the root of the second central moment [km/s];
        NaN where nothing is detected, the latter also where noise makes its square negative.
    errors : dict of `~astropy.units.Quantity`
        One standard deviation of ``moment0``, ``v_los``, ``sigma_v`` and, with a tracer, ``n_h``.
    detected : ndarray of bool
        (y, x): detected, with an intensity above zero.
    covered : ndarray of bool
        (y, x): observed.
    noise : `~astropy.units.Quantity`
        Of a channel [K]; zero where there is none.
    moment0_limit : `~astropy.units.Quantity`
        Three standard deviations of the integral over the typical line [K km/s]; in a noise-free
        cube the faintest that is detected.
    tracer : `~stellarssl.Tracer` or None
        The line.
    distance : `~astropy.units.Quantity` or None
        In pc.
    beam : `~radio_beam.Beam` or None
        The resolution.
    channel_width : `~astropy.units.Quantity`
        In km/s; zero if unknown.
    wcs : `~astropy.wcs.WCS`
        Of the sky, 2-D.
    sigma_instrument : `~astropy.units.Quantity`
        What a line at rest, of gas at 10 K, would show [km/s]: kT / m of the molecule and dv^2 / 12
        of the channel, in quadrature.
    max_recoverable_scale : `~astropy.units.Quantity` or None
        The largest angle that an interferometer sees.
    meta : dict
        Where all this is from: str, float, int and bool.
    peak : `~astropy.units.Quantity` or None
        The brightest channel of the signal [K].
    """

    moment0: u.Quantity
    v_los: u.Quantity
    sigma_v: u.Quantity
    errors: dict[str, u.Quantity]
    detected: np.ndarray
    covered: np.ndarray
    noise: u.Quantity
    moment0_limit: u.Quantity
    tracer: Tracer | None
    distance: u.Quantity | None
    beam: Beam | None
    channel_width: u.Quantity
    wcs: WCS
    sigma_instrument: u.Quantity
    max_recoverable_scale: u.Quantity | None
    meta: dict
    peak: u.Quantity | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.detected.shape

    @property
    def pixel_scale(self) -> u.Quantity:
        """The side of a square pixel of the same area, at the reference pixel."""
        return (np.sqrt(proj_plane_pixel_area(self.wcs)) * u.deg).to(u.arcsec)

    @property
    def n_h(self) -> u.Quantity:
        """Column of hydrogen nuclei [cm^-2], called N_HI in the paper."""
        if self.tracer is None:
            rule = "must be given for a column: a line's name, or N_H per K km/s"
            raise MissingInputError("tracer", rule)
        return (self.moment0 * self.tracer.n_h_per_w).to(_CM2).astype(np.float32)

    @classmethod
    def from_maps(
        cls,
        *,
        n_h: u.Quantity,
        v_los: u.Quantity,
        sigma_v: u.Quantity,
        wcs: WCS,
        errors: dict[str, u.Quantity] | None = None,
        distance: u.Quantity | str | None = None,
        beam: Beam | None = None,
    ) -> "MomentMaps":
        """Put maps together that are not from one cube, such as dust columns and N2H+ lines.

        Parameters
        ----------
        n_h : `~astropy.units.Quantity`
            Column of hydrogen nuclei, N(HI) + 2 N(H2), shape (y, x). Detected is what is above
            zero here and finite in all three.
        v_los, sigma_v : `~astropy.units.Quantity`
            Velocity and velocity dispersion on the same pixels.
        wcs : `~astropy.wcs.WCS`
            Of the sky.
        errors : dict of `~astropy.units.Quantity`, optional
            One standard deviation of ``n_h``, ``v_los`` and ``sigma_v``, as far as known. With
            that of ``n_h``, three times it is the limit where nothing is detected; without, the
            lowest column is.
        distance : `~astropy.units.Quantity` or str, optional
            Of the gas.
        beam : `~radio_beam.Beam`, optional
            The coarser of the maps' resolutions.

        Returns
        -------
        maps : `MomentMaps`
            Its tracer is a bookkeeper, 1e22 cm^-2 per K km/s; noise and channel width are zero.

        Raises
        ------
        InputError
            If a map has another unit or shape, or nothing is detected.

        Examples
        --------
        >>> import astropy.units as u
        >>> import numpy as np
        >>> from astropy.wcs import WCS
        >>> sky = WCS({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.01, "CDELT2": 0.01})
        >>> n_h, v = np.full((4, 5), 2e22) * u.cm**-2, np.ones((4, 5)) * u.km / u.s
        >>> maps = MomentMaps.from_maps(n_h=n_h, v_los=v, sigma_v=v, wcs=sky)
        >>> print(f"{maps.n_h[0, 0]:.2e}")
        2.00e+22 1 / cm2
        """
        n_h = _as_map("n_h", n_h, _CM2, None)
        v_los, sigma_v = (
            _as_map(name, value, _KMS, n_h.shape)
            for name, value in (("v_los", v_los), ("sigma_v", sigma_v))
        )
        covered = np.isfinite(n_h.value)
        mask = covered & (n_h.value > 0) & np.isfinite(v_los.value) & (sigma_v.value >= 0)
        if not mask.any():
            raise InputError("n_h", "must be above zero somewhere, with a v_los and a sigma_v")
        known = _known_errors(errors or {}, n_h.shape)
        limit = (
            3 * known["n_h"]
            if np.isfinite(known["n_h"].value).any()
            else (np.full(n_h.shape, n_h.value[mask].min(), np.float32) * _CM2)
        )
        return cls(
            moment0=_blank(_intensity(n_h), mask),
            v_los=_blank(v_los, mask),
            sigma_v=_blank(sigma_v, mask),
            errors={"moment0": _intensity(known["n_h"]), **known},
            detected=mask,
            covered=covered,
            noise=np.zeros(n_h.shape, np.float32) * u.K,
            moment0_limit=_intensity(limit),
            tracer=Tracer(
                name="column map",
                rest_frequency=None,
                n_h_per_w=_BOOKKEEPING,
                kind="user",
                mass=28 * u.u,
                citation="the user",
                assumptions="the column is given",
            ),
            distance=as_quantity("distance", distance, u.pc),
            beam=beam,
            channel_width=0 * _KMS,
            wcs=wcs.celestial,
            sigma_instrument=0 * _KMS,
            max_recoverable_scale=None,
            meta={**provenance(), "source": "maps"},
        )

    def write(self, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write a FITS file: an image extension a map, and a table of all that is no map.

        Parameters
        ----------
        path : path-like
            Ends in ``.fits`` or ``.fits.gz``.
        overwrite : bool, optional
            Whether a file that is there may be replaced.

        Returns
        -------
        path : `~pathlib.Path`
            The file that was written.
        """
        return write_maps(self, path, overwrite=overwrite)

    @classmethod
    def read(cls, path: str | os.PathLike) -> "MomentMaps":
        """Read what `write` wrote.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        maps : `MomentMaps`
            The same.

        Raises
        ------
        InputError
            If there is no such file, or it is another kind of file.
        """
        return cls(**read_maps(path))


def _as_map(name: str, value: Any, unit: u.UnitBase, shape: tuple | None) -> u.Quantity:
    value = as_quantity(name, value, unit, positive=False)
    if value is None or value.ndim != 2 or (shape is not None and value.shape != shape):
        rule = f"must be a map of shape {'(y, x)' if shape is None else shape}"
        raise InputError(name, rule, None if value is None else value.shape)
    return value.astype(np.float32)


def _known_errors(errors: dict, shape: tuple[int, int]) -> dict[str, u.Quantity]:
    units = {"n_h": _CM2, "v_los": _KMS, "sigma_v": _KMS}
    for name in errors:
        if name not in units:
            raise InputError("errors", f"must be of {', '.join(units)}", name)
    return {
        name: _as_map(f"errors[{name!r}]", errors[name], unit, shape)
        if name in errors
        else np.full(shape, np.nan, np.float32) * unit
        for name, unit in units.items()
    }


def _intensity(column: u.Quantity) -> u.Quantity:
    return (column / _BOOKKEEPING).to(u.K * _KMS).astype(np.float32)


def _blank(image: u.Quantity, mask: np.ndarray) -> u.Quantity:
    return np.where(mask, image, np.float32(np.nan) * image.unit)


def assemble_maps(
    cube: Cube,
    tracer: Tracer | None,
    images: dict[str, np.ndarray],
    noise: Noise,
    scale: u.Quantity | None,
    meta: dict,
) -> MomentMaps:
    """Give the images of a cube their units, limits and provenance.

    Parameters
    ----------
    cube : `~stellarssl.Cube`
        The cube.
    tracer : `~stellarssl.Tracer` or None
        Line that converts brightness into a column.
    images : dict of ndarray
        float32 `~stellarssl.moments.kernels.IMAGES` and ``noise`` in K and km/s, and ``covered``.
    noise : `~stellarssl.moments.noise.Noise`
        Noise of the cube.
    scale : `~astropy.units.Quantity` or None
        Largest angle that an interferometer sees.
    meta : dict
        Further entries of `MomentMaps.meta`.

    Returns
    -------
    maps : `MomentMaps`
        The maps.
    """
    k_kms = u.K * _KMS
    errors = {
        "moment0": images["e_moment0"] << k_kms,
        "v_los": images["e_v_los"] << _KMS,
        "sigma_v": images["e_sigma_v"] << _KMS,
    }
    if tracer is not None:
        column = images["e_moment0"] * tracer.n_h_per_w.value
        errors["n_h"] = column.astype(np.float32) << u.cm**-2
    detected = (images["number"] > 0) & (images["moment0"] > 0)
    line_channels = float(np.median(images["number"][detected])) if detected.any() else 0.0
    if noise.origin == "none":
        limit = np.full_like(images["noise"], images["moment0"][detected].min())
    else:
        # three sigma of the sum over as many channels as the typical line has
        n_sigma = 3 * cube.channel_width.to_value(_KMS) * np.sqrt(noise.kappa * line_channels)
        limit = images["noise"] * np.float32(n_sigma)
    return MomentMaps(
        moment0=images["moment0"] << k_kms,
        v_los=images["v_los"] << _KMS,
        sigma_v=images["sigma_v"] << _KMS,
        errors=errors,
        detected=detected,
        covered=images["covered"],
        noise=images["noise"] << u.K,
        moment0_limit=limit << k_kms,
        tracer=tracer,
        distance=cube.distance,
        beam=cube.beam,
        channel_width=cube.channel_width,
        wcs=cube.wcs,
        sigma_instrument=_sigma_instrument(tracer, cube.channel_width),
        max_recoverable_scale=scale,
        meta=_meta(cube, tracer, noise, line_channels) | meta,
        peak=images["peak"] << u.K,
    )


def _meta(cube: Cube, tracer: Tracer | None, noise: Noise, line_channels: float) -> dict:
    rest = cube.rest_value
    meta = provenance() | {
        "source": cube.source,
        "unit": cube.unit.to_string(),
        "notes": "; ".join(cube.notes),
        "specsys": cube.specsys,
        "velocity_convention": cube.velocity_convention,
        "rest_frequency_ghz": None if rest is None else float(rest.to_value(u.GHz)),
        "beam_varies": cube.beam_varies,
        "distance_origin": cube.distance_origin,
        "tracer": None if tracer is None else tracer.name,
        "noise": noise.origin,
        "kappa": noise.kappa,
        "line_channels": line_channels,
    }
    return {name: value for name, value in meta.items() if value is not None}


def _sigma_instrument(tracer: Tracer | None, width: u.Quantity) -> u.Quantity:
    """Return kT / m of the molecule at 10 K and dv^2 / 12, in quadrature."""
    thermal = 0 * _KMS if tracer is None else np.sqrt(k_B * _COLD / tracer.mass).to(_KMS)
    return np.hypot(thermal, width / np.sqrt(12)).to(_KMS)
