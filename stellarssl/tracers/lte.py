"""The column of a linear molecule in local thermodynamic equilibrium."""

import astropy.units as u
import numpy as np
from astropy.constants import h, k_B

__all__ = ["BACKGROUND", "N_H_PER_W_UNIT", "lte_column", "radiation_contrast"]

N_H_PER_W_UNIT = u.cm**-2 / (u.K * u.km / u.s)
"""The unit of ``Tracer.n_h_per_w``: hydrogen nuclei per cm^2 for each K km/s."""

BACKGROUND = 2.725 * u.K
"""Temperature of the cosmic background (Fixsen 2009)."""

# Plain numbers: converting the constants takes a millisecond.
_KELVIN_SECONDS = (h / k_B).to_value(u.K * u.s)
_ERG_SECONDS = h.cgs.value


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

    return (radiation(excitation_temperature.to_value(u.K)) - radiation(BACKGROUND.value)) * u.K


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
    line = _KELVIN_SECONDS * frequency.to_value(u.Hz)
    level = _KELVIN_SECONDS * rotation.to_value(u.Hz)
    # Levels up to 40 kT: the rest of the sum is below exp(-40).
    j = np.arange(int(np.sqrt(40 * temperature / level)) + 10)
    partition = np.sum((2 * j + 1) * np.exp(-level * j * (j + 1) / temperature))

    contrast = radiation_contrast(frequency, excitation_temperature).value
    # Gaussian units: 1 D = 1e-18 esu cm, and esu^2 = erg cm.
    strength = (dipole * 1e-18) ** 2 * upper / (2 * upper + 1)
    per_kms = 3 * _ERG_SECONDS / (8 * np.pi**3 * strength) * 1e5
    boltzmann = np.exp(level * upper * (upper + 1) / temperature) / np.expm1(line / temperature)
    return per_kms * partition / (2 * upper + 1) * boltzmann / contrast * N_H_PER_W_UNIT
