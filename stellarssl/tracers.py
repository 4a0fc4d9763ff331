"""From the brightness of a line to a column of hydrogen nuclei.

The column is ``N_H = n_h_per_w * W`` with W the velocity-integrated main-beam temperature
[K km/s] and N_H = N(HI) + 2 N(H2). Three kinds of factor stand behind ``n_h_per_w``:

* a thin transition of a known fraction of the atoms (HI 21 cm);
* an empirical X factor (12CO, which is opaque and counts clouds rather than molecules);
* the thin LTE column of a linear molecule (`lte_column`) over its abundance relative to H2.

See :ref:`the user guide <tracers>` for when each holds.
"""

import re
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.constants import h, k_B

from stellarssl._utils.exceptions import InputError, MissingInputError
from stellarssl._utils.quantities import as_quantity

__all__ = [
    "N_H_PER_W_UNIT",
    "TRACERS",
    "Tracer",
    "get_tracer",
    "lte_column",
    "radiation_contrast",
    "tracer_frequency",
]

N_H_PER_W_UNIT = u.cm**-2 / (u.K * u.km / u.s)
"""The unit of ``Tracer.n_h_per_w``: hydrogen nuclei per cm^2 for each K km/s."""

_KINDS = ("molecular", "atomic", "opaque", "simulation")
_BACKGROUND = 2.725 * u.K  # Fixsen 2009
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
    kind : {"molecular", "atomic", "opaque", "simulation"}
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
        checked = {
            "n_h_per_w": as_quantity("n_h_per_w", self.n_h_per_w, N_H_PER_W_UNIT),
            "mass": as_quantity("mass", self.mass, u.u),
            "rest_frequency": as_quantity("rest_frequency", self.rest_frequency, u.GHz),
        }
        for name, value in checked.items():
            if value is not None and not value.isscalar:
                raise InputError(name, "must be a single value", value)
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class _Line:
    """What is known of a line before anything is assumed about the gas."""

    name: str
    frequency: float  # GHz
    kind: str
    mass: float  # u
    citation: str
    valid: str
    assumptions: str
    n_h_per_w: float = 0.0  # cm^-2/(K km/s); 0: by LTE
    rotation: float = 0.0  # B0, MHz
    dipole: float = 0.0  # debye
    upper: int = 0  # J of the upper level
    abundance: float | None = None  # per H2; None: the user has to say
    fraction: float = 1.0  # of the line strength that W holds
    also: tuple[float, ...] = ()  # other rest frequencies in use, GHz


_X_CO = 2e20
_LTE = "optically thin, one excitation temperature, molecules in LTE, beam filled"
_MANGUM = "Mangum & Shirley 2015, PASP 127, 266"
_CO_CITATION = "Bolatto, Wolfire & Leroy 2013, ARA&A 51, 207; Pineda, Caselli & Goodman 2008"
_13CO_CITATION = (
    f"{_MANGUM} (column); Dickman 1978, ApJS 37, 407, and Pineda, Caselli & Goodman 2008, "
    "ApJ 679, 481 (abundance)"
)
_C18O_CITATION = f"{_MANGUM} (column); Frerking, Langer & Wilson 1982, ApJ 262, 590 (abundance)"
_CO_VALID = "an order of magnitude: saturates above A_V = 4, X is 0.5e20 near the Galactic Centre"
_13CO_VALID = "A_V below 5, where the line saturates; LTE columns are then 1.3 to 7 times too low"
_C18O_VALID = "A_V of 2 to some 10; CO freezes out in cold cores"
_CO_DIPOLE = 0.11011  # Goorvitch 1994, ApJS 95, 535; the isotopologues' are within 1 %

_LINES = (
    _Line(
        "HI",
        1.420405751768,
        "atomic",
        1.008,
        "Dickey & Lockman 1990, ARA&A 28, 215; Chengalur, Braun & Wieringa 2013",
        "spin temperature well above the brightness; cold, opaque HI is counted too low",
        "optically thin: N(HI) = 1.823e18 W",
        n_h_per_w=1.823e18,
    ),
    _Line(
        "12CO(1-0)",
        115.2712018,
        "opaque",
        28.0,
        _CO_CITATION,
        _CO_VALID,
        "N(H2) = X W with X = 2e20 cm^-2/(K km/s) to 30 %",
        n_h_per_w=2 * _X_CO,
    ),
    _Line(
        "12CO(2-1)",
        230.538,
        "opaque",
        28.0,
        _CO_CITATION,
        _CO_VALID,
        "N(H2) = X W / 0.7 with X = 2e20 cm^-2/(K km/s) and a line ratio (2-1)/(1-0) of 0.7",
        n_h_per_w=2 * _X_CO / 0.7,
    ),
    _Line(
        "13CO(1-0)",
        110.2013543,
        "molecular",
        29.0,
        _13CO_CITATION,
        _13CO_VALID,
        _LTE,
        rotation=55101.01,
        dipole=_CO_DIPOLE,
        upper=1,
        abundance=1 / 4.0e5,
    ),
    _Line(
        "13CO(2-1)",
        220.3986842,
        "molecular",
        29.0,
        _13CO_CITATION,
        _13CO_VALID,
        _LTE,
        rotation=55101.01,
        dipole=_CO_DIPOLE,
        upper=2,
        abundance=1 / 4.0e5,
    ),
    _Line(
        "C18O(1-0)",
        109.7821734,
        "molecular",
        30.0,
        _C18O_CITATION,
        _C18O_VALID,
        _LTE,
        rotation=54891.42,
        dipole=_CO_DIPOLE,
        upper=1,
        abundance=1 / 5.9e6,
    ),
    _Line(
        "C18O(2-1)",
        219.5603541,
        "molecular",
        30.0,
        _C18O_CITATION,
        _C18O_VALID,
        _LTE,
        rotation=54891.42,
        dipole=_CO_DIPOLE,
        upper=2,
        abundance=1 / 5.9e6,
    ),
    _Line(
        "N2H+(1-0)",
        93.1762522,
        "molecular",
        29.0,
        f"{_MANGUM} (column); Caselli et al. 2002, ApJ 565, 344; Pagani et al. 2009 (frequencies)",
        "dense gas; W must hold the isolated component (F1,F = 0,1-1,2) alone",
        f"{_LTE}; W holds the isolated component, 1/9 of the line strength",
        rotation=46586.87,
        dipole=3.4,
        upper=1,
        fraction=1 / 9,
        also=(93.1733977, 93.1737637),
    ),
)

TRACERS = tuple(line.name for line in _LINES)
"""Names of the lines whose hydrogen column is known."""


def radiation_contrast(frequency: u.Quantity, excitation_temperature: u.Quantity) -> u.Quantity:
    r"""Return how bright an opaque line is against the cosmic background.

    :math:`J_\nu(T_{ex}) - J_\nu(T_{bg})` with
    :math:`J_\nu(T) = (h\nu / k) / (e^{h\nu / kT} - 1)`; Mangum & Shirley 2015, equation 24.

    Parameters
    ----------
    frequency : `~astropy.units.Quantity`
        Of the line.
    excitation_temperature : `~astropy.units.Quantity`
        Above the 2.725 K of the background.

    Returns
    -------
    contrast : `~astropy.units.Quantity`
        In K.

    Examples
    --------
    >>> import astropy.units as u
    >>> radiation_contrast(109.7821734 * u.GHz, 10 * u.K).round(1)
    <Quantity 6.7 K>
    """
    line = (h * frequency / k_B).to_value(u.K)

    def radiation(kelvin: float) -> float:
        return line / np.expm1(line / kelvin)

    return (radiation(excitation_temperature.to_value(u.K)) - radiation(_BACKGROUND.value)) * u.K


def lte_column(
    frequency: u.Quantity,
    rotation: u.Quantity,
    dipole: float,
    upper: int,
    excitation_temperature: u.Quantity,
) -> u.Quantity:
    r"""Return the column of a linear molecule for each K km/s of an optically thin line.

    .. math::

        \frac{N}{W} = \frac{3h}{8\pi^3 \mu^2 S} \frac{Q(T)}{g_u}
        \frac{e^{E_u/kT}}{e^{h\nu/kT} - 1} \frac{1}{J_\nu(T) - J_\nu(T_{bg})}

    with S = J_u / (2 J_u + 1), g_u = 2 J_u + 1, the level sum
    Q = sum (2J + 1) exp(-h B0 J (J + 1) / kT) and the radiation temperature
    J(T) = (h nu / k) / (exp(h nu / kT) - 1); Mangum & Shirley 2015, equations 80 to 82.

    Parameters
    ----------
    frequency : `~astropy.units.Quantity`
        Of the transition J_u to J_u - 1.
    rotation : `~astropy.units.Quantity`
        Rotational constant B0, a frequency.
    dipole : float
        Permanent dipole moment [debye].
    upper : int
        J_u, 1 or more.
    excitation_temperature : `~astropy.units.Quantity`
        Above the 2.725 K of the background.

    Returns
    -------
    column : `~astropy.units.Quantity`
        Molecules [cm^-2 / (K km/s)].

    Examples
    --------
    >>> import astropy.units as u
    >>> column = lte_column(110.2013543 * u.GHz, 55101.01 * u.MHz, 0.11011, 1, 10 * u.K)
    >>> print(f"{column:.3e}")
    9.927e+14 s / (K km cm2)
    """
    temperature = excitation_temperature.to_value(u.K)
    energy = (h / k_B).to_value(u.K * u.s)
    line = energy * frequency.to_value(u.Hz)
    level = energy * rotation.to_value(u.Hz)
    # Levels up to 40 kT: the rest of the sum is below exp(-40).
    j = np.arange(int(np.sqrt(40 * temperature / level)) + 10)
    partition = np.sum((2 * j + 1) * np.exp(-level * j * (j + 1) / temperature))

    contrast = radiation_contrast(frequency, excitation_temperature).value
    # Gaussian units: 1 D = 1e-18 esu cm, and esu^2 = erg cm.
    strength = (dipole * 1e-18) ** 2 * upper / (2 * upper + 1)
    per_kms = 3 * h.cgs.value / (8 * np.pi**3 * strength) * 1e5
    boltzmann = np.exp(level * upper * (upper + 1) / temperature) / np.expm1(line / temperature)
    return per_kms * partition / (2 * upper + 1) * boltzmann / contrast * N_H_PER_W_UNIT


def get_tracer(
    tracer: object,
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
    InputError
        If the name is unknown, the rest frequency is another line's, or an option does not
        apply to the tracer.
    MissingInputError
        If ``"auto"`` finds no line at the rest frequency, or N2H+ comes without an abundance.

    Examples
    --------
    >>> get_tracer("auto", rest_value="1420.40575 MHz").name
    'HI'
    >>> print(get_tracer("C18O", excitation_temperature="20 K").n_h_per_w.round(-20))
    1.61e+22 s / (K km cm2)
    """
    rest = as_quantity("rest_value", rest_value, u.GHz, equivalencies=u.spectral())
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
        kind="simulation",
        mass=28.0 * u.u,
        citation="the user",
        assumptions="the factor is given; thin gas, the thermal width is CO's",
        valid="as the user states",
    )


def tracer_frequency(tracer: object) -> u.Quantity | None:
    """Return the rest frequency that naming a tracer implies.

    Parameters
    ----------
    tracer : object
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
        raise InputError("tracer", rule, tracer) from error


def _normalise(name: str) -> str:
    """Reduce a name to letters, digits and the charge: ``"C18O J=2-1"`` -> ``"c18o21"``."""
    name = re.sub(r"[^a-z0-9+]", "", name.lower().replace("j=", ""))
    name = re.sub(r"^n2h\+?p?", "n2h+", name)
    name = re.sub(r"^co", "12co", name)
    return re.sub(r"^(hi|h1)(21(cm)?|21cm)?$", "hi", name)


def _find_line(tracer: str, rest: u.Quantity | None) -> _Line | None:
    """Return the known line of a name or at a rest frequency; None if the name is unknown."""
    frequency = None if rest is None else rest.to_value(u.GHz)
    if tracer.strip().lower() == "auto":
        return _line_at(frequency)
    key = _normalise(tracer)
    named = [line for line in _LINES if key in (_normalise(line.name), _molecule(line))]
    if not named or frequency is None:
        return named[0] if named else None
    for line in named:
        if _matches(line, frequency):
            return line
    stated = " or ".join(f"{line.frequency:.6g} GHz" for line in named)
    raise InputError("rest_value", f"must be that of tracer={tracer!r}, {stated}", rest)


def _molecule(line: _Line) -> str:
    return _normalise(line.name.split("(")[0])


def _matches(line: _Line, frequency: float) -> bool:
    known = np.array((line.frequency, *line.also))
    return bool(np.any(np.abs(known / frequency - 1) < _REST_TOLERANCE))


def _line_at(frequency: float | None) -> _Line:
    """Return the known line at a rest frequency [GHz]."""
    options = f"tracer= ({', '.join(TRACERS)}, a factor in cm-2 / (K km/s), or None for no column)"
    if frequency is None:
        rule = f"must be named, as no rest frequency is stated: give rest_value= or {options}"
        raise MissingInputError("tracer", rule)
    for line in _LINES:
        if _matches(line, frequency):
            return line
    rule = f"must be named, as no known line is at {frequency:.6g} GHz: give {options}"
    raise MissingInputError("tracer", rule)


def _make_tracer(
    line: _Line, excitation_temperature: u.Quantity | str | None, abundance: float | None
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
    temperature = as_quantity("excitation_temperature", excitation_temperature, u.K)
    if temperature is not None and not temperature.isscalar:
        raise InputError("excitation_temperature", "must be a single value", temperature)
    if line.n_h_per_w:
        for name, value in (("excitation_temperature", temperature), ("abundance", abundance)):
            if value is not None:
                raise InputError(name, f"applies to LTE columns, not to {line.name}", value)
        factor = line.n_h_per_w * N_H_PER_W_UNIT
        return Tracer(n_h_per_w=factor, assumptions=line.assumptions, **common)
    temperature = _EXCITATION if temperature is None else temperature
    if temperature <= _BACKGROUND:
        rule = f"must be above the background's {_BACKGROUND}, or the line is not seen in emission"
        raise InputError("excitation_temperature", rule, temperature)
    abundance = line.abundance if abundance is None else _as_abundance(abundance)
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


def _as_abundance(abundance: float) -> float:
    """Check an abundance relative to H2."""
    rule = "must be molecules per H2, between 0 and 1"
    try:
        value = float(u.Quantity(abundance).to_value(u.dimensionless_unscaled))
    except (TypeError, ValueError) as error:
        raise InputError("abundance", rule, abundance) from error
    if not 0 < value < 1:
        raise InputError("abundance", rule, abundance)
    return value
