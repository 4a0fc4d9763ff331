import copy

import astropy.units as u
import numpy as np
import pytest

from stellarssl.exceptions import InputError, MissingInputError
from stellarssl.tracers import (
    N_H_PER_W_UNIT,
    TRACERS,
    Tracer,
    get_tracer,
    lte_column,
    tracer_frequency,
)

# Worked out apart from this package from equations 80 to 82 of Mangum & Shirley (2015):
# molecules in 1e15 cm^-2 for each K km/s.
LTE = {
    "13CO(1-0)": {10: 0.993, 12: 1.046, 15: 1.152, 20: 1.356, 30: 1.800},
    "C18O(1-0)": {10: 0.998, 12: 1.052, 15: 1.159, 20: 1.365, 30: 1.813},
    "13CO(2-1)": {10: 0.657, 20: 0.554},
    "C18O(2-1)": {10: 0.658, 20: 0.557},
}


@pytest.mark.parametrize(
    ("name", "temperature", "column"),
    [(name, t, column) for name, columns in LTE.items() for t, column in columns.items()],
)
def test_lte_columns_are_the_published_formula_s(name, temperature, column):
    tracer = get_tracer(name, excitation_temperature=temperature * u.K, abundance=1e-6)
    molecules = tracer.n_h_per_w.to_value(N_H_PER_W_UNIT) * 1e-6 / 2
    assert molecules / 1e15 == pytest.approx(column, abs=0.0006)


def test_lte_column_goes_to_the_rayleigh_jeans_limit():
    """Hot gas: N / W = 3 k^2 T (1 + 2/3 x ...) / (4 pi^3 mu^2 h nu^2 ...), Q = kT / (h B0).

    Worked out by hand for kT >> h nu: Q -> kT/(hB), exp(Eu/kT) -> 1, 1/(e^x - 1) -> kT/(h nu),
    J(T) - J(bg) -> T, S g = J_u = 1, so N/W = 3h/(8 pi^3 mu^2) * k^2 T/(h^2 B nu).
    """
    h, k, temperature = 6.62607015e-27, 1.380649e-16, 3e5
    frequency, rotation, dipole = 110.2013543e9, 55101.01e6, 0.11011e-18
    by_hand = (
        3 * h / (8 * np.pi**3 * dipole**2) * k**2 * temperature / (h**2 * rotation * frequency)
    )
    column = lte_column(frequency * u.Hz, rotation * u.Hz, 0.11011, 1, temperature * u.K)
    assert column.to_value(u.cm**-2 / (u.K * u.cm / u.s)) == pytest.approx(by_hand, rel=1e-4)


def test_two_transitions_of_one_gas_give_one_column():
    """The brightness ratio of two thin LTE lines follows from detailed balance alone.

    W21/W10 = (nu21 A21 g2/(nu10 A10 g1)) ... for thin LTE lines of a rigid rotor tau21/tau10 dv
    = (mu^2 S nu (1 - e^-x) N_l/g_l)-ratio; times J(T) - J(bg). Worked out at 10 K.
    """
    x1 = 0.0479924307 * 110.2013543  # h/k in K/GHz
    x2 = 0.0479924307 * 220.3986842

    def radiation(x, t):
        return x / np.expm1(x / t)

    # tau dv ~ nu S g_u (e^{x/T} - 1) e^{-Eu/T} / nu, S g_u = J_u
    tau1 = 1 * np.expm1(x1 / 10) * np.exp(-x1 / 10)
    tau2 = 2 * np.expm1(x2 / 10) * np.exp(-3 * x1 / 10)
    ratio = tau2 / tau1 * (radiation(x2, 10) - radiation(x2, 2.725))
    ratio /= radiation(x1, 10) - radiation(x1, 2.725)
    low, high = (get_tracer(f"13CO({n})").n_h_per_w for n in ("1-0", "2-1"))
    assert float(low / high) == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "n_h_per_w"),
    [
        ("HI", 1.823e18),
        ("12CO(1-0)", 4e20),  # 2 X
        ("12CO(2-1)", 4e20 / 0.7),
        ("13CO(1-0)", 2 * 4e20),  # N(H2) ~ 4e20 W
        ("C18O(1-0)", 2 * 6e21),  # N(H2) ~ 6e21 W
    ],
)
def test_factors_to_hydrogen_nuclei(name, n_h_per_w):
    tracer = get_tracer(name)
    assert tracer.n_h_per_w.to_value(N_H_PER_W_UNIT) == pytest.approx(n_h_per_w, rel=0.03)


def test_kinds():
    kinds = {name: get_tracer(name, **_needed(name)).kind for name in TRACERS}
    assert {name for name, kind in kinds.items() if kind == "atomic"} == {"HI"}
    assert {name for name, kind in kinds.items() if kind == "opaque"} == {"12CO(1-0)", "12CO(2-1)"}
    assert kinds["C18O(2-1)"] == kinds["N2H+(1-0)"] == "molecular"


def _needed(name):
    return {"abundance": 1e-9} if name.startswith("N2H+") else {}


def test_every_tracer_says_what_it_rests_on():
    for name in TRACERS:
        tracer = get_tracer(name, **_needed(name))
        assert tracer.citation
        assert tracer.assumptions
        assert tracer.valid
    assert "10 K" in get_tracer("13CO").assumptions


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("13CO", "13CO(1-0)"),
        ("CO", "12CO(1-0)"),
        ("hi", "HI"),
        ("HI 21 cm", "HI"),
        ("C18O(2-1)", "C18O(2-1)"),
        ("c18o 2-1", "C18O(2-1)"),
        ("C18O J=2-1", "C18O(2-1)"),
        ("13co_2-1", "13CO(2-1)"),
        ("12CO10", "12CO(1-0)"),
    ],
)
def test_names_are_forgiving(given, name):
    assert get_tracer(given).name == name


def test_n2hp_needs_an_abundance_and_counts_one_component_only():
    with pytest.raises(MissingInputError, match=r"abundance: must be given for N2H\+\(1-0\)"):
        get_tracer("N2H+")
    tracer = get_tracer("N2Hp", abundance=1e-9)
    # Caselli et al. 2002, equation A4, for the whole multiplet at 10 K, by hand:
    # 8 pi W / (lambda^3 A) g_l / g_u / (J(Tex) - J(Tbg)) / (1 - exp(-h nu / kT)) Q / g_l with
    # lambda = 0.32176 cm, A = 3.628e-5 / s, Q = 4.806, J's of 7.930 and 1.075 K.
    by_hand = 8 * np.pi / (0.32176**3 * 3.628e-5) / 3 / 6.855 / 0.36057 * 4.806 * 1e5
    molecules = tracer.n_h_per_w.to_value(N_H_PER_W_UNIT) * 1e-9 / 2
    assert molecules / 9 == pytest.approx(by_hand, rel=0.01)


def test_a_molecule_without_transition_is_the_one_at_the_rest_frequency():
    assert get_tracer("13CO", rest_value=220.39868 * u.GHz).name == "13CO(2-1)"
    assert get_tracer("13CO", rest_value=110.201354 * u.GHz).name == "13CO(1-0)"
    assert get_tracer("N2H+", rest_value=93.1733977 * u.GHz, abundance=1e-9).name == "N2H+(1-0)"


@pytest.mark.parametrize(
    ("rest", "name"),
    [
        (1420405752 * u.Hz, "HI"),
        (1420405758.37 * u.Hz, "HI"),  # GIPSY's
        (1.4204 * u.GHz, "HI"),
        (115.271204 * u.GHz, "12CO(1-0)"),  # MIRIAD's
        (110.201353 * u.GHz, "13CO(1-0)"),
        ("109.782176 GHz", "C18O(1-0)"),
        (21.106114054 * u.cm, "HI"),
    ],
)
def test_auto_knows_a_line_by_its_rest_frequency(rest, name):
    assert get_tracer("auto", rest_value=rest).name == name


def test_auto_never_guesses():
    with pytest.raises(
        MissingInputError, match=r"tracer: .*no rest frequency.*tracer=, rest_value="
    ):
        get_tracer("auto")
    with pytest.raises(
        MissingInputError, match=r"tracer: .*no known line is at 229.759 GHz.*tracer="
    ):
        get_tracer("auto", rest_value=229.759 * u.GHz)  # CH3OH
    with pytest.raises(MissingInputError, match=r"23\.6945"):
        get_tracer("auto", rest_value=23.6944955 * u.GHz)  # NH3 (1,1)


def test_a_rest_frequency_of_another_line_is_refused():
    with pytest.raises(InputError, match=r"rest_value: must be that of HI, 1.42041 GHz"):
        get_tracer("HI", rest_value=115.2712 * u.GHz)
    with pytest.raises(InputError, match=r"110\.201 GHz or 220\.399 GHz"):
        get_tracer("13CO", rest_value=115.2712 * u.GHz)


@pytest.mark.parametrize("rest", [110, "1 K", 0 * u.GHz, [110, 115] * u.GHz])
def test_the_rest_frequency_is_checked(rest):
    with pytest.raises(InputError, match=r"rest_value: must be"):
        get_tracer("13CO", rest_value=rest)


def test_user_defined_factor():
    tracer = get_tracer(1e26 / u.m**2 / (u.K * u.km / u.s), rest_value=23.694 * u.GHz)
    assert tracer.n_h_per_w.to_value(N_H_PER_W_UNIT) == pytest.approx(1e22)
    assert tracer.kind == "user"
    assert tracer.rest_frequency == 23.694 * u.GHz
    assert get_tracer("1e22 cm-2 / (K km/s)").n_h_per_w == 1e22 * N_H_PER_W_UNIT
    assert get_tracer(tracer) is tracer
    assert get_tracer(None) is None


@pytest.mark.parametrize("tracer", ["HCN", "C", "C18O(7-6)", "", "1e22 cm-2"])
def test_an_unknown_name_lists_the_known_ones(tracer):
    with pytest.raises(InputError, match=r"tracer: must be HI, .*C18O\(1-0\).*got") as caught:
        get_tracer(tracer)
    assert caught.value.parameter == "tracer"


@pytest.mark.parametrize(
    ("factor", "rule"),
    [
        (1e22, "must be a quantity convertible to"),
        (1e22 / u.cm**2, "must be a quantity convertible to"),
        (-1 * N_H_PER_W_UNIT, "must be finite and above zero"),
        (np.ones(2) * N_H_PER_W_UNIT, "must be a single value"),
    ],
)
def test_a_factor_is_checked(factor, rule):
    with pytest.raises(InputError, match=rule):
        get_tracer(factor)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"excitation_temperature": 2.7 * u.K}, "excitation_temperature: must be above"),
        ({"excitation_temperature": 10}, "excitation_temperature: must be a quantity"),
        ({"excitation_temperature": [10, 20] * u.K}, "excitation_temperature: must be a single"),
        ({"abundance": 4e5}, "abundance: must be molecules per H2, between 0 and 1"),
        ({"abundance": 0}, "abundance: must be molecules per H2"),
        ({"abundance": "lots"}, "abundance: must be molecules per H2"),
        ({"abundance": 1 * u.K}, "abundance: must be molecules per H2"),
    ],
)
def test_options_are_checked(options, rule):
    with pytest.raises(InputError, match=rule):
        get_tracer("13CO", **options)


@pytest.mark.parametrize("tracer", ["HI", "CO", None, 1e22 * N_H_PER_W_UNIT, "auto"])
@pytest.mark.parametrize(
    "option", [{"excitation_temperature": 20 * u.K}, {"abundance": 1e-6}], ids=["T", "X"]
)
def test_options_that_would_do_nothing_are_refused(tracer, option):
    with pytest.raises(InputError, match=f"{next(iter(option))}: applies to"):
        get_tracer(tracer, rest_value=1.420405752 * u.GHz if tracer == "auto" else None, **option)


def test_warmer_gas_and_rarer_molecules_mean_more_hydrogen():
    cold, warm = (get_tracer("13CO", excitation_temperature=t * u.K).n_h_per_w for t in (10, 30))
    assert float(warm / cold) == pytest.approx(1.800 / 0.993, rel=1e-3)
    rare = get_tracer("13CO", abundance=1 / 8e5).n_h_per_w
    assert float(rare / cold) == pytest.approx(2, rel=1e-12)


def test_a_tracer_checks_itself():
    with pytest.raises(InputError, match="kind: must be one of"):
        Tracer("x", None, 1e20 * N_H_PER_W_UNIT, "dust", 28 * u.u)
    with pytest.raises(InputError, match="mass: must be a quantity"):
        Tracer("x", None, 1e20 * N_H_PER_W_UNIT, "molecular", 28)
    made = Tracer("x", None, 1e20 * N_H_PER_W_UNIT, "molecular", 28 * u.u)
    assert made.rest_frequency is None
    assert copy.deepcopy(made) == made


def test_frequency_that_a_name_implies():
    assert tracer_frequency("13CO") == 110.2013543 * u.GHz
    assert tracer_frequency("N2H+") == 93.1762522 * u.GHz  # no abundance is asked for
    assert tracer_frequency(get_tracer("HI")) == get_tracer("HI").rest_frequency
    for nameless in (None, "auto", 1e22 * N_H_PER_W_UNIT, "1e22 cm-2 / (K km/s)"):
        assert tracer_frequency(nameless) is None
