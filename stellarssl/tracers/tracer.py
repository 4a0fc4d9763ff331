"""The tracer: a line, a temperature and an abundance put together."""

import re
from dataclasses import dataclass
from difflib import get_close_matches

import astropy.units as u
import numpy as np

from stellarssl._utils.quantities import as_quantity
from stellarssl.exceptions import InputError, MissingInputError, UnknownLineError
from stellarssl.tracers.lines import LINES, TRACERS, Line
from stellarssl.tracers.lte import BACKGROUND, N_H_PER_W_UNIT, lte_column

__all__ = ["Tracer", "as_abundance", "get_tracer", "line_at", "tracer_frequency"]

_KINDS = ("molecular", "atomic", "opaque", "user")
_EXCITATION = 10 * u.K
_REST_TOLERANCE = 1e-5
"""Relative; 3 km/s. Published rest frequencies of a line differ by up to 1e-6, lines by 1e-4."""


@dataclass(frozen=True)
class Tracer:
    """A spectral line, and the column of hydrogen that stands behind its brightness.

    Parameters
    ----------
    name : str
        Such as ``"13CO(1-0)"``.
    rest_frequency : `~astropy.units.Quantity` or None
        Rest frequency; None where it plays no part.
    n_h_per_w : `~astropy.units.Quantity`
        Hydrogen nuclei per area for each unit of integrated brightness,
        convertible to cm^-2 / (K km/s).
    kind : {"molecular", "atomic", "opaque", "user"}
        Thin molecular gas; atomic gas; a line too opaque for more than an order of magnitude;
        or a factor that the user states, treated as thin molecular gas.
    mass : `~astropy.units.Quantity`
        Mass of the emitting particle, for its thermal width.
    citation, assumptions, valid : str
        Where the factor comes from, what it takes for granted, and where it holds.
    excitation_temperature : `~astropy.units.Quantity` or None
        That of the LTE column, where there is one.
    abundance : float or None
        Molecules per H2 that were assumed, where there is one.

    Raises
    ------
    InputError
        If the factor or the mass is not positive or has the wrong unit, or the kind is unknown.

    Examples
    --------
    >>> tracer = get_tracer("13CO")
    >>> tracer.name, tracer.kind
    ('13CO(1-0)', 'molecular')
    >>> print(f"{tracer.n_h_per_w:.2e}")
    7.94e+20 s / (K km cm2)
    """

    name: str
    rest_frequency: u.Quantity | None
    n_h_per_w: u.Quantity
    kind: str
    mass: u.Quantity
    citation: str = ""
    assumptions: str = ""
    valid: str = ""
    excitation_temperature: u.Quantity | None = None
    abundance: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InputError("kind", f"must be one of {', '.join(_KINDS)}", self.kind)
        units = {"n_h_per_w": N_H_PER_W_UNIT, "mass": u.u, "rest_frequency": u.GHz}
        for name, unit in units.items():
            value = as_quantity(name, getattr(self, name), unit, scalar=True)
            object.__setattr__(self, name, value)


def get_tracer(
    tracer: Tracer | u.Quantity | str | None,
    *,
    rest_value: u.Quantity | str | None = None,
    excitation_temperature: u.Quantity | str | None = None,
    abundance: float | None = None,
) -> Tracer | None:
    """Return the tracer that a name, a factor or a rest frequency stands for.

    Parameters
    ----------
    tracer : str, `~astropy.units.Quantity`, `Tracer` or None
        A name from `TRACERS` (``"13CO"``, ``"c18o 2-1"``, ``"CO"`` will do; without a
        transition the one at ``rest_value`` is taken, else 1-0); ``"auto"`` for the known line
        at ``rest_value``; a factor convertible to cm^-2 / (K km/s), also as a string; a
        `Tracer`, returned as it is; or None, which stays None: moments without a column.
    rest_value : `~astropy.units.Quantity` or str, optional
        The rest frequency (or wavelength) of the data.
    excitation_temperature : `~astropy.units.Quantity` or str, optional
        For the lines with an LTE column; 10 K by default.
    abundance : float, optional
        Molecules per H2, for the lines with an LTE column.

    Returns
    -------
    tracer : `Tracer` or None
        With ``n_h_per_w`` for the given temperature and abundance.

    Raises
    ------
    UnknownLineError
        If the name is unknown; the message suggests similar ones.
    InputError
        If the rest frequency is another line's, or an option does not apply to the tracer.
    MissingInputError
        If ``"auto"`` finds no line at the rest frequency, or N2H+ comes without an abundance.

    Examples
    --------
    >>> get_tracer("auto", rest_value="1420.40575 MHz").name
    'HI'
    >>> print(get_tracer("C18O", excitation_temperature="20 K").n_h_per_w.round(-20))
    1.61e+22 s / (K km cm2)
    """
    through = u.spectral()
    rest = as_quantity("rest_value", rest_value, u.GHz, scalar=True, equivalencies=through)
    if isinstance(tracer, str):
        line = _find_line(tracer, rest)
        if line is not None:
            return _make_tracer(line, excitation_temperature, abundance)
        tracer = _as_factor(tracer)
    for name, value in (
        ("excitation_temperature", excitation_temperature),
        ("abundance", abundance),
    ):
        if value is not None:
            raise InputError(name, "applies to the named lines with an LTE column only", value)
    if tracer is None or isinstance(tracer, Tracer):
        return tracer
    return Tracer(
        name="user-defined",
        rest_frequency=rest,
        n_h_per_w=as_quantity("tracer", tracer, N_H_PER_W_UNIT),
        kind="user",
        mass=28.0 * u.u,
        citation="the user",
        assumptions="the factor is given; thin gas, the thermal width is CO's",
        valid="as the user states",
    )


def tracer_frequency(tracer: Tracer | u.Quantity | str | None) -> u.Quantity | None:
    """Return the rest frequency that naming a tracer implies.

    Parameters
    ----------
    tracer : str, `~astropy.units.Quantity`, `Tracer` or None
        As `get_tracer` takes it.

    Returns
    -------
    frequency : `~astropy.units.Quantity` or None
        [GHz]; None for ``"auto"``, a factor and None, which name no line. A molecule without a
        transition stands for its 1-0 line.

    Examples
    --------
    >>> tracer_frequency("HI").round(6)
    <Quantity 1.420406 GHz>
    """
    if isinstance(tracer, Tracer):
        return tracer.rest_frequency
    if not isinstance(tracer, str) or tracer.strip().lower() == "auto":
        return None
    line = _find_line(tracer, None)
    return None if line is None else line.frequency * u.GHz


def _as_factor(tracer: str) -> u.Quantity:
    """Read a factor such as ``"1e22 cm-2 / (K km/s)"``, as it is written in print."""
    try:
        return u.Quantity(re.sub(r"km\s*/\s*s\b", "km s-1", tracer)).to(N_H_PER_W_UNIT)
    except (TypeError, ValueError, u.UnitConversionError) as error:
        rule = f"must be {', '.join(TRACERS)}, 'auto', None or a factor in cm-2 / (K km/s)"
        raise UnknownLineError("tracer", f"{rule}{_did_you_mean(tracer)}", tracer) from error


def _did_you_mean(tracer: str) -> str:
    """Return a hint that names the known lines whose names are nearly the same."""
    names = {_normalize(name): name for name in TRACERS}
    near = get_close_matches(_normalize(tracer), names, n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(names[each] for each in near)}?)" if near else ""


def _normalize(name: str) -> str:
    """Reduce a name to letters, digits and the charge: ``"C18O J=2-1"`` -> ``"c18o21"``."""
    name = re.sub(r"[^a-z0-9+]", "", name.lower().replace("j=", ""))
    name = re.sub(r"^n2h\+?p?", "n2h+", name)
    name = re.sub(r"^co", "12co", name)
    return re.sub(r"^(hi|h1)(21(cm)?|21cm)?$", "hi", name)


def _find_line(tracer: str, rest: u.Quantity | None) -> Line | None:
    """Return the known line of a name or at a rest frequency; None if the name is unknown."""
    frequency = None if rest is None else rest.to_value(u.GHz)
    if tracer.strip().lower() == "auto":
        return _line_at(frequency)
    key = _normalize(tracer)
    named = [line for line in LINES if key in (_normalize(line.name), _molecule(line))]
    if not named or frequency is None:
        return named[0] if named else None
    for line in named:
        if _matches(line, frequency):
            return line
    stated = " or ".join(f"{line.frequency:.6g} GHz" for line in named)
    raise InputError("rest_value", f"must be that of {tracer}, {stated}", rest)


def _molecule(line: Line) -> str:
    return _normalize(line.name.split("(")[0])


def _matches(line: Line, frequency: float) -> bool:
    known = np.array((line.frequency, *line.also))
    return bool(np.any(np.abs(known / frequency - 1) < _REST_TOLERANCE))


def line_at(rest_value: u.Quantity) -> Line | None:
    """Return the known line at a rest frequency.

    Parameters
    ----------
    rest_value : `~astropy.units.Quantity`
        Rest frequency.

    Returns
    -------
    line : Line or None
        None if no known line has this frequency.

    Examples
    --------
    >>> line_at(93.1737637 * u.GHz).name
    'N2H+(1-0)'
    """
    frequency = rest_value.to_value(u.GHz)
    return next((line for line in LINES if _matches(line, frequency)), None)


def _line_at(frequency: float | None) -> Line:
    """Return the known line at a rest frequency [GHz]."""
    choices = f"{', '.join(TRACERS)}, a factor in cm-2 / (K km/s), or None for no column"
    if frequency is None:
        rule = f"must be named, as no rest frequency is stated: {choices}"
        raise MissingInputError("tracer", rule, arguments=["tracer", "rest_value"])
    for line in LINES:
        if _matches(line, frequency):
            return line
    rule = f"must be named, as no known line is at {frequency:.6g} GHz: {choices}"
    raise MissingInputError("tracer", rule)


def _make_tracer(
    line: Line, excitation_temperature: u.Quantity | str | None, abundance: float | None
) -> Tracer:
    """Put a line, a temperature and an abundance together."""
    common = {
        "name": line.name,
        "rest_frequency": line.frequency * u.GHz,
        "kind": line.kind,
        "mass": line.mass * u.u,
        "citation": line.citation,
        "valid": line.valid,
    }
    temperature = as_quantity("excitation_temperature", excitation_temperature, u.K, scalar=True)
    if line.n_h_per_w:
        for name, value in (("excitation_temperature", temperature), ("abundance", abundance)):
            if value is not None:
                raise InputError(name, f"applies to LTE columns, not to {line.name}", value)
        factor = line.n_h_per_w * N_H_PER_W_UNIT
        return Tracer(n_h_per_w=factor, assumptions=line.assumptions, **common)
    temperature = _EXCITATION if temperature is None else temperature
    if temperature <= BACKGROUND:
        rule = f"must be above the background's {BACKGROUND}, or the line is not seen in emission"
        raise InputError("excitation_temperature", rule, temperature)
    abundance = line.abundance if abundance is None else as_abundance(abundance)
    if abundance is None:
        rule = f"must be given for {line.name} (molecules per H2; 1e-10 to 1e-9 are found)"
        raise MissingInputError("abundance", rule)
    molecules = lte_column(
        line.frequency * u.GHz, line.rotation * u.MHz, line.dipole, line.upper, temperature
    )
    stated = f"T_ex = {temperature:g}, {abundance:.3g} molecules per H2"
    return Tracer(
        n_h_per_w=2 * molecules / (abundance * line.fraction),
        assumptions=f"{line.assumptions}; {stated}",
        excitation_temperature=temperature,
        abundance=abundance,
        **common,
    )


def as_abundance(abundance: float) -> float:
    """Check an abundance.

    Parameters
    ----------
    abundance : float
        Number of molecules per H2.

    Returns
    -------
    abundance : float
        The checked value.

    Raises
    ------
    InputError
        If it is not between 0 and 1.
    """
    rule = "must be molecules per H2, between 0 and 1"
    try:
        value = float(u.Quantity(abundance).to_value(u.dimensionless_unscaled))
    except (TypeError, ValueError) as error:
        raise InputError("abundance", rule, abundance) from error
    if not 0 < value < 1:
        raise InputError("abundance", rule, abundance)
    return value
