"""What telescopes write into headers, and what it means where that is unambiguous."""

import re
from collections.abc import Callable

import astropy.units as u
import numpy as np
from astropy.constants import c
from astropy.io import fits

from stellarssl.exceptions import InputError

__all__ = [
    "header_distance",
    "header_efficiency",
    "header_number",
    "parse_brightness",
    "repair_header",
    "spelled_unit",
]

_C = c.to_value(u.m / u.s)

# Lower-case spellings found in headers, without blanks and dots, to the FITS unit.
_AXIS_UNITS = {
    "deg": ("deg", "degs", "degree", "degrees"),
    "arcsec": ("arcsec", "arcsecs", "asec"),
    "arcmin": ("arcmin", "amin"),
    "rad": ("rad", "radian", "radians"),
    "Hz": ("hz", "hertz"),
    "kHz": ("khz",),
    "MHz": ("mhz",),
    "GHz": ("ghz",),
    "m/s": ("m/s", "ms-1", "m/sec", "ms^-1", "m/s(lsr)"),
    "km/s": ("km/s", "kms-1", "km/sec", "kms^-1", "kms"),
    "m": ("m", "metre", "meter"),
}
_AXIS_UNIT = {spelling: unit for unit, spellings in _AXIS_UNITS.items() for spelling in spellings}

_FRAMES = {"LSR": "LSRK", "LSRK": "LSRK", "LSRD": "LSRD", "HEL": "BARYCENT", "BAR": "BARYCENT"}
_FRAMES |= {"BARY": "BARYCENT", "GEO": "GEOCENTR", "TOP": "TOPOCENT", "TOPO": "TOPOCENT"}
_SPECTRAL_NAMES = {"VELOCITY": "VELO", "VLSR": "VELO", "VELO LSR": "VELO", "FREQUENC": "FREQ"}
_SPECTRAL_NAMES |= {"FREQUENCY": "FREQ", "VOPTICAL": "VOPT", "VRADIO": "VRAD"}

_SCALES = (
    (re.compile(r"t_?a\*?"), "T_A*"),
    (re.compile(r"t_?r\*?"), "T_R*"),
    (re.compile(r"t_?mb"), "T_mb"),
)
_BRIGHTNESS = {"k": "K", "kelvin": "K", "kelvins": "K", "degk": "K", "mk": "mK"}
_PER_BEAM = re.compile(r"(?P<prefix>[munµμ]?)jy(?:/|per)?(?:beam|bm|b)(?:\^?-1)?$")


def header_number(header: fits.Header, keyword: str) -> float | None:
    """Return a card's number; None if it is absent, not a number, or not finite.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Header of a cube.
    keyword : str
        Name of the card.

    Returns
    -------
    number : float or None
        The value of the card.
    """
    value = header.get(keyword)
    if isinstance(value, str):
        value = re.sub(r"^[JB](?=\d)", "", value.strip())
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def spelled_unit(text: str) -> u.UnitBase | None:
    """Return the unit of an axis from any spelling in use; None if it is not known.

    Parameters
    ----------
    text : str
        Unit as it is written in the header.

    Returns
    -------
    unit : `~astropy.units.UnitBase` or None
        The unit that is meant.
    """
    key = re.sub(r"[\s.]", "", text.lower())
    return u.Unit(_AXIS_UNIT[key]) if key in _AXIS_UNIT else None


def header_distance(header: fits.Header) -> u.Quantity | None:
    """Return the card DISTANCE, if it says its unit in its comment (``[pc]``) or its value.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Header of a cube.

    Returns
    -------
    distance : `~astropy.units.Quantity` or None
        Distance of the source [pc].
    """
    value = header.get("DISTANCE")
    if value is None:
        return None
    stated = re.search(r"[\[(]\s*([kM]?pc)\s*[\])]", header.comments["DISTANCE"])
    try:
        distance = u.Quantity(value, stated[1]) if stated else u.Quantity(value)
        distance = distance.to(u.pc)
    except (TypeError, ValueError):
        return None
    return distance if np.isfinite(distance) and distance > 0 else None


def header_efficiency(header: fits.Header) -> float | None:
    """Return T_A* / T_mb where the header states it.

    GILDAS writes beam and forward efficiency, T_mb = T_A* FORWEFF / BEAMEFF; others eta_mb alone.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Header of a cube.

    Returns
    -------
    efficiency : float or None
        Main-beam efficiency, above 0 and at most 1.
    """
    main, forward = (header_number(header, key) for key in ("BEAMEFF", "FORWEFF"))
    ratio = main / forward if main and forward else None
    for keyword in ("ETAMB", "ETA_MB"):
        ratio = ratio or header_number(header, keyword)
    return ratio if ratio and 0 < ratio <= 1 else None


def parse_brightness(text: str) -> tuple[u.UnitBase, str | None, bool]:
    """Read a brightness unit as it is found in headers.

    Parameters
    ----------
    text : str
        Such as ``"JY/BEAM "``, ``"K (Tmb)"`` or ``"mK"``.

    Returns
    -------
    unit : `~astropy.units.UnitBase`
        Of brightness temperature, or of flux per beam or solid angle.
    scale : {"T_mb", "T_A*", "T_R*"} or None
        The temperature scale, if the text says so.
    repaired : bool
        Whether the spelling had to be mended.

    Raises
    ------
    InputError
        If it is no unit of brightness.
    """
    core, scale = _split_scale(text.strip())
    if core == "MK":  # in capitals throughout; nothing shines with megakelvins
        return u.mK, scale, True
    try:
        unit, repaired = u.Unit(core), False
    except ValueError:
        unit, repaired = _mend_brightness(core), True
    for wanted in (u.K, u.Jy / u.beam, u.Jy / u.sr):
        if unit is not None and unit.is_equivalent(wanted):
            return unit, scale, repaired
    rule = "must be a brightness (K, Jy/beam, Jy/sr or multiples), in the header or as an argument"
    if unit is not None and unit.is_equivalent(u.K * u.km / u.s):
        rule = "must be a cube's, not an integrated map's"
    raise InputError("unit", rule, text, ["unit"])


def _split_scale(text: str) -> tuple[str, str | None]:
    """Take the temperature scale off ``"K (Tmb)"``, ``"K_TA*"`` and their like."""
    match = re.fullmatch(r"(m?k)[\s_]*[(\[]?\s*(t\S*?)\s*[)\]]?", text, flags=re.IGNORECASE)
    if match is None:
        return text, None
    for pattern, scale in _SCALES:
        if pattern.fullmatch(match[2].lower()):
            return match[1], scale
    return text, None


def _mend_brightness(text: str) -> u.UnitBase | None:
    key = re.sub(r"[\s.*_]", "", text.lower())
    if key in _BRIGHTNESS:
        return u.Unit(_BRIGHTNESS[key])
    match = _PER_BEAM.match(key)
    if match is None:
        return None
    return u.Unit(f"{match['prefix'].replace('µ', 'u').replace('μ', 'u')}Jy / beam")


def repair_header(header: fits.Header) -> tuple[fits.Header, list[str]]:
    """Mend what astropy would misread, where only one meaning is possible.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Left as it is.

    Returns
    -------
    mended : `~astropy.io.fits.Header`
        A copy without HISTORY and COMMENT.
    repairs : list of str
        What was done.

    Raises
    ------
    InputError
        If an axis has a unit that is not known or not its own.
    """
    mended = fits.Header(
        [card for card in header.cards if card.keyword not in ("HISTORY", "COMMENT", "")]
    )
    repairs: list[str] = []
    n_axes = max(int(mended.get("NAXIS", 0)), int(mended.get("WCSAXES", 0)))
    for axis in range(1, n_axes + 1):
        _repair_ctype(mended, axis, repairs.append)
        _repair_cunit(mended, axis, repairs.append)
    _repair_equinox(mended, repairs.append)
    return mended, repairs


def _repair_equinox(header: fits.Header, note: Callable) -> None:
    """Take an equinox before 1900 as missing: astropy would silently pick FK4."""
    for keyword in ("EQUINOX", "EPOCH"):
        year = header_number(header, keyword)
        if keyword not in header or (year is not None and year >= 1900):
            continue
        note(f"{keyword} = {header[keyword]} is no equinox and was left out")
        del header[keyword]
        if any(str(header.get(f"CTYPE{i}", "")).startswith("RA-") for i in range(1, 5)):
            system = str(header.get("RADESYS", "")).strip()
            if "EQUINOX" not in header and system in ("", "FK4", "FK4-NO-E"):
                header["RADESYS"] = "ICRS"


def _repair_ctype(header: fits.Header, axis: int, note: Callable) -> None:
    """Bring names of spectral axes into a form that wcslib knows."""
    keyword = f"CTYPE{axis}"
    given = str(header.get(keyword, "")).strip()
    ctype = _SPECTRAL_NAMES.get(given.upper(), given.upper())
    kind, _, frame = ctype.partition("-")
    frame = frame.strip("-")
    if kind == "FREQ" and re.fullmatch("[OR](HEL|LSR)", frame):
        _repair_gipsy(header, axis, optical=frame[0] == "O", frame=frame[1:])
        note(f"{keyword} = {given!r}: the frequencies were moved to the frame of DRVAL{axis}")
        return
    if kind in ("VRAD", "VOPT") and frame in _FRAMES:
        header[keyword] = kind
        header.setdefault("SPECSYS", _FRAMES[frame])
        note(f"{keyword} = {given!r} was read as {kind}")
    elif ctype != given:
        header[keyword] = ctype
        note(f"{keyword} = {given!r} was read as {ctype!r}")


def _repair_gipsy(header: fits.Header, axis: int, *, optical: bool, frame: str) -> None:
    """Move GIPSY's topocentric frequencies to the frame in which the velocity is given.

    DRVALn is the velocity at the reference channel in the named frame and convention; a change of
    frame multiplies all frequencies by one number, which the reference channel gives (GIPSY,
    "Spectral coordinates"; Vogelaar & Terlouw, kapteyn).
    """
    numbers = {k: header_number(header, k) for k in (f"DRVAL{axis}", f"CRVAL{axis}", "FREQ0")}
    rest = numbers["FREQ0"] or header_number(header, "RESTFRQ")
    velocity = numbers[f"DRVAL{axis}"]
    if velocity is None or not rest or not numbers[f"CRVAL{axis}"]:
        rule = f"must be there, with FREQ0, as CTYPE{axis} is {header[f'CTYPE{axis}']!r}"
        raise InputError(f"DRVAL{axis}", rule)
    unit = spelled_unit(str(header.get(f"DUNIT{axis}", "m/s"))) or u.m / u.s
    beta = velocity * unit.to(u.m / u.s) / _C
    there = rest / (1 + beta) if optical else rest * (1 - beta)
    header[f"CDELT{axis}"] *= there / numbers[f"CRVAL{axis}"]
    header[f"CRVAL{axis}"] = there
    header[f"CTYPE{axis}"] = "FREQ"
    header["SPECSYS"] = _FRAMES[frame]
    header.setdefault("RESTFRQ", rest)


def _repair_cunit(header: fits.Header, axis: int, note: Callable) -> None:
    """Mend the case and spelling of an axis' unit; refuse one that its axis cannot have."""
    keyword = f"CUNIT{axis}"
    given = str(header.get(keyword, "")).strip()
    kind = str(header.get(f"CTYPE{axis}", "")).strip().upper()[:4]
    physical = _axis_unit(kind)
    if physical is None or not given:
        header.remove(keyword, ignore_missing=True)
        _check_unitless(header, axis, kind)
        return
    try:
        unit, repaired = u.Unit(given, format="fits"), given
    except ValueError:
        unit = spelled_unit(given)
        repaired = None if unit is None else unit.to_string("fits")
    if unit is None or not unit.is_equivalent(physical):
        rule = f"must be a unit like {physical.to_string()!r} for an axis {kind!r}"
        raise InputError(keyword, f"{rule}; correct the header", given)
    if repaired != given:
        note(f"{keyword} = {given!r} was read as {repaired!r}")
    header[keyword] = repaired


def _axis_unit(kind: str) -> u.UnitBase | None:
    """Return the kind of unit that an axis has; None where it has none."""
    if kind[:3] == "RA-" or kind in ("DEC-", "GLON", "GLAT", "ELON", "ELAT", "SLON", "SLAT"):
        return u.deg
    if kind in ("VELO", "VRAD", "VOPT", "FELO"):
        return u.m / u.s
    return {"FREQ": u.Hz, "WAVE": u.m, "AWAV": u.m}.get(kind)


def _check_unitless(header: fits.Header, axis: int, kind: str) -> None:
    """Take the FITS default, Hz and m/s, where the numbers can be that."""
    if kind == "FREQ" and (header_number(header, f"CRVAL{axis}") or 1e9) < 1e8:
        value, default = header[f"CRVAL{axis}"], "Hz"
    elif kind in ("VELO", "VRAD", "VOPT") and abs(header_number(header, f"CDELT{axis}") or 9) < 5:
        value, default = header[f"CDELT{axis}"], "m/s"
    else:
        return
    rule = f"must be stated, as {value} {default} (the FITS default) cannot be meant"
    raise InputError(f"CUNIT{axis}", f"{rule}; correct the header")
