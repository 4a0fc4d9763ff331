"""The lines whose hydrogen column is known, and what it rests on."""

from dataclasses import dataclass

__all__ = ["LINES", "TRACERS", "Line"]


@dataclass(frozen=True)
class Line:
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

LINES = (
    Line(
        "HI",
        1.420405751768,
        "atomic",
        1.008,
        "Dickey & Lockman 1990, ARA&A 28, 215; Chengalur, Braun & Wieringa 2013",
        "spin temperature well above the brightness; cold, opaque HI is counted too low",
        "optically thin: N(HI) = 1.823e18 W",
        n_h_per_w=1.823e18,
    ),
    Line(
        "12CO(1-0)",
        115.2712018,
        "opaque",
        28.0,
        _CO_CITATION,
        _CO_VALID,
        "N(H2) = X W with X = 2e20 cm^-2/(K km/s) to 30 %",
        n_h_per_w=2 * _X_CO,
    ),
    Line(
        "12CO(2-1)",
        230.538,
        "opaque",
        28.0,
        _CO_CITATION,
        _CO_VALID,
        "N(H2) = X W / 0.7 with X = 2e20 cm^-2/(K km/s) and a line ratio (2-1)/(1-0) of 0.7",
        n_h_per_w=2 * _X_CO / 0.7,
    ),
    Line(
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
    Line(
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
    Line(
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
    Line(
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
    Line(
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

TRACERS = tuple(line.name for line in LINES)
"""Names of the lines whose hydrogen column is known."""
