"""The mass table: one row per source, with unreliable masses masked."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import MaskedColumn, QTable
from astropy.utils.masked import Masked

from stellarssl._utils.geometry import TILE_PIXEL
from stellarssl.masses.calibration import LEVELS
from stellarssl.masses.flags import flag_bit, flag_words, masking_bits
from stellarssl.tiles import TileSet

__all__ = ["MAX_MASS", "NOVEL", "NO_SKILL", "SourceEstimates", "flag_values", "mass_table"]

MAX_MASS = 8 * u.solMass
"""Stars above it heat and push their gas, which the simulations of the library do not include."""

NOVEL = 0.05
"""Novelty p-value below which a mass is masked."""

NO_SKILL = 0.05
"""R2 by simulation at or below which a mass is masked."""

_STARLESS = 0.5
_N_SHOWN = 5

_LABEL = (
    "mass is the simulation's sink mass: all that was accreted within 0.023 pc, without outflows "
    "or feedback, close companions merged: an upper bound to the star's. It holds if there is a "
    "star."
)
_SUFFIXES = dict(zip(LEVELS, ("", "_95"), strict=True))
_DESCRIPTIONS = {
    "mass": "Mass of the embedded star (sink mass of the simulations)",
    "mass_lower": "Lower limit of the 68 % interval",
    "mass_upper": "Upper limit of the 68 % interval",
    "mass_lower_95": "Lower limit of the 95 % interval",
    "mass_upper_95": "Upper limit of the 95 % interval",
    "mass_error_sys": "Error of the mass from the error of the distance",
    "star_probability": "Probability of a star if stars and starless gas were equally frequent",
    "gas_mass": "Mass of the gas detected in the tile of 0.5 pc",
    "peak_n_h": "Highest column of hydrogen nuclei in the tile",
    "v_los": "Column-weighted mean velocity of the tile",
    "sigma_v": "Column-weighted velocity dispersion of the tile, within and between lines",
    "snr": "Peak of the line at the source over the noise of a channel of 0.125 km/s",
    "coverage": "Share of the tile that was observed",
    "mass_dynamical": "5 sigma^2 R / G, with the column-weighted dispersion, within and between "
    "lines, of the gas within R = mass_dynamical_radius",
    "mass_dynamical_radius": "Radius R of mass_dynamical: 0.0156 pc, or half the beam if larger",
    "prior": "Prior on log mass",
    "radius_min": "Inner radius of the gas in use",
    "radius_max": "Outer radius of the gas in use",
    "beam_size": "FWHM of the beam at the distance of the source",
    "r2_simulation": "R2 of log mass on simulations left out, for this beam, noise and field",
    "beams_per_tile": "Width of the tile of 0.5 pc over that of the beam",
    "novelty_pvalue": "Probability that a star of another simulation is as unlike the library",
    "novelty_reason": "Features in which the source is farthest from the library",
    "flags": "Quality flags as a bit mask",
    "flag_words": "Names of the quality flags",
    "neighbors": "Rows of the library with the five stars of largest weight",
    "neighbor_masses": "Masses of these stars",
    "neighbor_weights": "Weights of these stars",
}


@dataclass(eq=False)
class SourceEstimates:
    """Estimates for n sources, collected group by group; NaN for sources that are in no group.

    Attributes
    ----------
    values : dict of ndarray
        Arrays of shape (n,) or (n, 5), by the name of the column that they fill. Masses and limits
        are log10 [dex(Msun)] under the names ``mass``, ``mass_lower`` and so on.
    bits : ndarray of int
        Flags, shape (n,).
    """

    values: dict[str, np.ndarray]
    bits: np.ndarray

    @classmethod
    def empty(cls, n: int) -> "SourceEstimates":
        """Return the estimates of n sources before anything is known.

        Parameters
        ----------
        n : int
            Number of sources.

        Returns
        -------
        estimates : SourceEstimates
            NaN, empty texts and no flags.
        """
        names = ("mass", *_limits(), "mass_error_sys", "star_probability", "novelty_pvalue",
                 "r2_simulation", "radius_min", "radius_max")  # fmt: skip
        values: dict[str, np.ndarray] = {name: np.full(n, np.nan) for name in names}
        values["novelty_reason"] = np.full(n, "", dtype=object)
        values["neighbors"] = np.full((n, _N_SHOWN), -1)
        values["neighbor_masses"] = np.full((n, _N_SHOWN), np.nan)
        values["neighbor_weights"] = np.zeros((n, _N_SHOWN))
        return cls(values, np.zeros(n, dtype=np.int64))

    def flag(self, name: str, where: np.ndarray | bool) -> None:  # noqa: FBT001
        """Set a flag.

        Parameters
        ----------
        name : str
            Name of the flag.
        where : ndarray of bool or bool
            Sources that have it, shape (n,).
        """
        self.bits |= np.where(where, flag_bit(name), 0)


def _limits() -> list[str]:
    return [f"mass_{end}{suffix}" for suffix in _SUFFIXES.values() for end in ("lower", "upper")]


def mass_table(
    tiles: TileSet,
    estimates: SourceEstimates,
    *,
    snr: np.ndarray,
    beam: u.Quantity,
    prior: str,
    allowed: int = 0,
    candidates: bool = False,
    meta: dict | None = None,
) -> QTable:
    """Put tiles and estimates together; mask what is not reliable.

    Parameters
    ----------
    tiles : `~stellarssl.tiles.TileSet`
        Tiles centered on the sources.
    estimates : SourceEstimates
        Masses, intervals and flags of the same sources.
    snr : ndarray
        Signal-to-noise ratio of the line at each source, shape (n,).
    beam : `~astropy.units.Quantity`
        FWHM of the beam at each source, shape (n,), a length.
    prior : str
        Name of the prior.
    allowed : int, optional
        Flags, as a bit mask, in spite of which masses are shown.
    candidates : bool, optional
        Whether the table has a column ``star_probability``.
    meta : dict, optional
        Entries of the table's ``meta``.

    Returns
    -------
    table : `~astropy.table.QTable`
        One row per source, in their order; every column has a description.
    """
    bits, values = estimates.bits, estimates.values
    unreliable = (bits & masking_bits() & ~allowed) != 0
    unreliable |= ~np.isfinite(values["mass"])
    no_gas = (bits & (flag_bit("off_map") | flag_bit("no_signal"))) != 0
    no_column = no_gas | ((bits & flag_bit("no_column")) != 0)
    table = QTable({"id": tiles.id, "skycoord": tiles.skycoord})
    for name in ("mass", *_limits()):
        table[name] = Masked(10 ** values[name] * u.solMass, mask=unreliable)
    error = values["mass_error_sys"]
    table["mass_error_sys"] = Masked(error * u.solMass, mask=unreliable | ~np.isfinite(error))
    if candidates:
        table["star_probability"] = _masked(values["star_probability"])
    table["gas_mass"] = Masked(tiles.gas_mass, mask=no_column)
    peak = np.where(tiles.detected, tiles.maps[:, 0], -np.inf).max(axis=(1, 2))
    table["peak_n_h"] = Masked(10.0 ** peak.astype(float) * u.cm**-2, mask=no_column)
    table["v_los"] = Masked(tiles.v_los, mask=no_gas)
    table["sigma_v"] = Masked(_total_dispersion(tiles), mask=no_gas)
    table["snr"], table["coverage"] = snr, tiles.coverage
    dynamical = tiles.mass_dynamical
    table["mass_dynamical"] = Masked(dynamical, mask=no_gas | ~np.isfinite(dynamical))
    table["mass_dynamical_radius"] = tiles.mass_dynamical_radius
    table["prior"] = np.full(len(tiles), prior)
    for name in ("radius_min", "radius_max"):
        radius = values[name]
        table[name] = Masked(radius * TILE_PIXEL, mask=~np.isfinite(radius))
    table["beam_size"] = beam.to(u.pc)
    table["r2_simulation"] = _masked(values["r2_simulation"])
    table["beams_per_tile"] = tiles.beams_per_tile
    table["novelty_pvalue"] = _masked(values["novelty_pvalue"])
    table["novelty_reason"] = values["novelty_reason"].astype(str)
    table["flags"], table["flag_words"] = bits, flag_words(bits)
    table["neighbors"] = values["neighbors"]
    table["neighbor_masses"] = values["neighbor_masses"] * u.solMass
    table["neighbor_weights"] = values["neighbor_weights"]
    for name in table.colnames:
        table[name].info.description = _DESCRIPTIONS.get(name)
    table.meta = {"label": _LABEL} | (meta or {})
    return table


def flag_values(estimates: SourceEstimates) -> None:
    """Set the flags that follow from the estimates.

    Parameters
    ----------
    estimates : SourceEstimates
        Estimates of all sources, changed in place.
    """
    values = estimates.values
    with np.errstate(invalid="ignore"):
        estimates.flag("novel", values["novelty_pvalue"] < NOVEL)
        estimates.flag("no_skill", values["r2_simulation"] <= NO_SKILL)
        estimates.flag("starless_like", values["star_probability"] < _STARLESS)


def _masked(values: np.ndarray) -> MaskedColumn:
    return MaskedColumn(values, mask=~np.isfinite(values))


def _total_dispersion(tiles: TileSet) -> u.Quantity:
    """Column-weighted dispersion of all the gas detected in a tile, within lines and between."""
    column = np.where(tiles.detected, 10.0 ** (tiles.maps[:, 0].astype(np.float64) - 20), 0.0)
    square = tiles.maps[:, 1].astype(np.float64) ** 2 + tiles.maps[:, 2].astype(np.float64) ** 2
    with np.errstate(invalid="ignore"):
        mean = (column * square).sum(axis=(1, 2)) / column.sum(axis=(1, 2))
    return np.sqrt(mean) * u.km / u.s
