"""Beams: one, one a channel, or none that can be believed."""

import astropy.units as u
import numpy as np
from astropy.io import fits
from radio_beam import Beam, Beams
from radio_beam.beam import NoBeamException
from radio_beam.utils import BeamError

from stellarssl._utils.quantities import as_quantity
from stellarssl.cubes.headers import header_number, spelled_unit
from stellarssl.exceptions import InputError

__all__ = ["as_beam", "beam_table", "common_beam", "header_beam"]

_AREA_TOLERANCE = 1.05
"""Ratio of beam areas above which a cube's resolution is said to vary."""


def as_beam(beam: object) -> Beam | None:
    """Turn the argument into a beam; None stays None.

    Parameters
    ----------
    beam : `~radio_beam.Beam`, `~astropy.units.Quantity`, str or None
        A full width at half maximum, or major and minor axis: ``"46 arcsec"``,
        ``"3.9 2.9 arcsec"``.

    Returns
    -------
    beam : `~radio_beam.Beam` or None
        With position angle zero unless it came as a `~radio_beam.Beam`.

    Raises
    ------
    InputError
        If it is no angle, or not one or two of them.
    """
    if beam is None:
        return None
    if isinstance(beam, Beam):
        if not (np.isfinite(beam.sr.value) and beam.sr.value > 0):
            raise InputError("beam", "must have an area above zero", beam)
        return beam
    value = beam
    if isinstance(beam, str) and len(words := beam.split()) == 3:
        try:
            value = u.Quantity([float(words[0]), float(words[1])], words[2])
        except (TypeError, ValueError) as error:
            raise InputError(
                "beam", "must be like '46 arcsec' or '3.9 2.9 arcsec'", beam
            ) from error
    axes = np.atleast_1d(as_quantity("beam", value, u.arcsec))
    if axes.shape not in ((1,), (2,)):
        raise InputError("beam", "must be one width, or a major and a minor axis", beam)
    return Beam(major=axes.max(), minor=axes.min(), pa=0 * u.deg)


def header_beam(header: fits.Header) -> tuple[Beam | None, str | None]:
    """Return the beam of a header, and why there is none where it speaks of one."""
    if "BMAJ" in header:
        axes = [header_number(header, key) for key in ("BMAJ", "BMIN") if key in header]
        if any(axis is None or axis <= 0 for axis in axes):
            return None, f"BMAJ = {header['BMAJ']} is no beam and was left out"
        if max(axes) > 20:
            return None, f"BMAJ = {header['BMAJ']} deg is no beam and was left out"
    try:
        return Beam.from_fits_header(header), None
    except NoBeamException:
        return None, None
    except (BeamError, IndexError, TypeError, ValueError):
        return None, "the header's beam could not be read and was left out"


def beam_table(hdus: fits.HDUList, n_channels: int) -> Beams | None:
    """Return the beams of a CASA table ``BEAMS``, one a channel; None if there is no table.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.
    n_channels : int
        Channels of the cube.

    Returns
    -------
    beams : `~radio_beam.Beams` or None
        NaN where a channel has none (CASA writes zero).

    Raises
    ------
    InputError
        If the table has another number of rows.
    """
    for hdu in hdus:
        names = set(hdu.columns.names) if isinstance(hdu, fits.BinTableHDU) else set()
        if isinstance(hdu, fits.CompImageHDU) or not {"BMAJ", "BMIN", "BPA"} <= names:
            continue
        rows = hdu.data
        if "POL" in names:
            rows = rows[rows["POL"] == rows["POL"][0]]
        if len(rows) != n_channels:
            rule = f"must have one row per channel ({n_channels}); a beam can be given for all"
            raise InputError("the beam table", rule, len(rows), ["beam"])
        # radio-beam leaves the units aside; CASA before 4.7 wrote none and meant arcsec.
        major, minor, angle = (
            np.asarray(rows[name], float)
            * (spelled_unit(hdu.columns[name].unit or default) or u.Unit(default))
            for name, default in (("BMAJ", "arcsec"), ("BMIN", "arcsec"), ("BPA", "deg"))
        )
        missing = ~(np.isfinite(major) & (major > 0) & (minor > 0))
        major[missing] = minor[missing] = np.nan
        return Beams(major=major, minor=minor, pa=angle)
    return None


def common_beam(beams: Beams) -> tuple[Beam, bool]:
    """Return the smallest beam that all channels can be brought to, and whether they vary.

    Parameters
    ----------
    beams : `~radio_beam.Beams`
        One a channel; those without an area are left out.

    Returns
    -------
    beam : `~radio_beam.Beam`
        The common beam.
    varies : bool
        Whether areas differ by more than 5 %.
    """
    areas = beams.sr.value
    good = np.isfinite(areas) & (areas > 0)
    if not good.any():
        rule = "must hold at least one beam; a beam can be given for all"
        raise InputError("the beam table", rule, arguments=["beam"])
    areas = areas[good]
    varies = bool(areas.max() / areas.min() > _AREA_TOLERANCE)
    kept = beams[good]
    first = kept[0]
    same = np.ptp(kept.major) == 0 and np.ptp(kept.minor) == 0 and np.ptp(kept.pa) == 0
    if same:
        return Beam(major=first.major, minor=first.minor, pa=first.pa), varies
    try:
        return kept.common_beam(), varies
    except (BeamError, ValueError):
        # The solver did not converge; the circle around the widest holds all of them.
        return Beam(major=kept.major.max()), varies
