"""From tiles to a table: one row a position, and nothing in it that is not to be trusted."""

from collections.abc import Sequence

import astropy.units as u
import numpy as np
from astropy.table import MaskedColumn, QTable
from astropy.utils.masked import Masked

from stellarssl._utils.flags import FLAGS, flag_bit, flag_words, masking_bits
from stellarssl._utils.provenance import provenance
from stellarssl._utils.stages import stage
from stellarssl.encoder import Encoder
from stellarssl.library import N_VIEWS, ReferenceLibrary
from stellarssl.masses.model import MassModel
from stellarssl.tiles import TileSet
from stellarssl.tracers import Tracer

__all__ = ["MAX_MASS", "mass_table"]

MAX_MASS = 8 * u.solMass
"""Above it stars heat and push their gas, which no simulation of the library knows of."""


_LABEL = (
    "mass is the simulation's sink mass: all that was accreted within 0.023 pc, without outflows "
    "or feedback, close companions merged: an upper bound to the star's. It holds if there is a "
    "star (star_probability)."
)
_DESCRIPTIONS = {
    "mass_dynamical": "5 sigma^2 R / G, with the column-weighted dispersion, within and between "
    "lines, of the gas within R = mass_dynamical_radius",
    "mass_dynamical_radius": "Radius R of mass_dynamical: 0.0156 pc, or half the beam if larger",
}
_LEVELS = {0.68: "", 0.95: "_95"}
# what of a row a flag spoils: no gas, nothing; no column, all that needs one
_NO_GAS = ("off_map", "no_signal")
_NO_COLUMN = (*_NO_GAS, "no_column")


@stage("neighbors")
def mass_table(
    tiles: TileSet,
    library: ReferenceLibrary,
    encoder: Encoder,
    *,
    tracer: Tracer | None,
    flags: int | np.ndarray = 0,
    allow: Sequence[str] = (),
    model: MassModel | None = None,
    meta: dict | None = None,
    progress: bool = False,
) -> QTable:
    """Estimate the masses of the stars in tiles from a library.

    Parameters
    ----------
    tiles : `~stellarssl.tiles.TileSet`
        Tiles centered on the stars.
    library : `~stellarssl.library.ReferenceLibrary`
        With the encoder's features, as seen by the telescope that the tiles come from.
    encoder : `~stellarssl.encoder.Encoder`
        The one that embedded the library.
    tracer : `~stellarssl.tracers.Tracer` or None
        Of the tiles' columns. Without one there are no columns, hence no masses.
    flags : int or ndarray of int, optional
        Flags that the tiles themselves do not show, such as ``position_from_peak``.
    allow : sequence of str, optional
        Flags that shall not mask masses, such as ``"atomic_tracer"``.
    model : `MassModel`, optional
        Model fitted on ``library``; by default one with the default settings is fitted.
    meta : dict, optional
        Further entries of the table's ``meta``.
    progress : bool, optional
        Whether a bar is shown.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row a tile, in their order; the user guide explains the columns.

    Raises
    ------
    EncoderMismatchError
        If the library has no features, or they were computed with other weights.
    InputError
        If a flag is not known, or the library has no stars.
    """
    encoder = library.match_encoder(encoder)
    allowed = sum({flag_bit(name) for name in allow})
    model = model or MassModel.fit(library)
    blocks = tuple(library.features.blocks)
    features = encoder.embed(tiles.maps, blocks=blocks, n_views=N_VIEWS, progress=progress)
    found = _look_up(model, model.columns(features, tiles.statistics()))
    bits = np.broadcast_to(np.asarray(flags, dtype=np.int64), len(tiles))
    bits = bits | _flags_of_tiles(tiles, tracer, library) | _flags_of_values(found, model)
    table = _rows(tiles, found, bits, masking_bits() & ~allowed)
    table.meta = {
        **_meta(tiles, library, encoder, tracer),
        "n_neighbors": model.masses.n_neighbors,
        "n_components": model.masses.n_components,
        "statistics": model.statistics,
        "allow": ", ".join(allow),
        **(meta or {}),
    }
    return table


def _look_up(model: MassModel, X: np.ndarray) -> dict[str, np.ndarray]:
    """Ask the estimators for all that the table tells of a tile."""
    distance, index = model.masses.kneighbors(X)
    found = {
        "mass": 10 ** model.masses.predict(X),
        "star_probability": model.star_probability(X),
        "neighbor_distance": distance.mean(axis=1),
        "ood_pvalue": model.masses.ood_pvalue(X),
        "neighbors": model.rows[index],
        "neighbor_masses": 10 ** model.masses.log_mass_[index],
    }
    for level, suffix in _LEVELS.items():
        lower, upper = model.masses.predict_interval(X, level)
        found |= {f"mass_lower{suffix}": 10**lower, f"mass_upper{suffix}": 10**upper}
    return found


def _bits(conditions: dict[str, np.ndarray | bool]) -> np.ndarray | int:
    """Turn named conditions into one bit mask."""
    bits = [np.where(condition, flag_bit(name), 0) for name, condition in conditions.items()]
    return np.bitwise_or.reduce(np.broadcast_arrays(*bits))


def _flags_of_tiles(tiles: TileSet, tracer: Tracer | None, library: ReferenceLibrary) -> np.ndarray:
    """Tell what is wrong with the data, whatever the mass."""
    kind = None if tracer is None else tracer.kind
    n_pixels = tiles.maps.shape[-1]
    middle = slice(n_pixels // 2 - 1, n_pixels // 2 + 1)
    beam = n_pixels / tiles.beams_per_tile
    known = np.isfinite(beam)
    seen = 1.0 if library.observation is None else library.observation.beam_pixels
    with np.errstate(invalid="ignore"):
        off = np.abs(np.log10(np.maximum(beam, 1) / max(seen, 1))) > 0.2
    return _bits(
        {
            "partial_coverage": tiles.coverage < 0.95,
            "off_map": (tiles.coverage < 0.5) | ~tiles.covered[:, middle, middle].any(axis=(1, 2)),
            "no_signal": tiles.detected_fraction == 0,
            "low_snr": tiles.snr < 5,
            "no_column": tracer is None,
            "atomic_tracer": kind == "atomic",
            "opaque_tracer": kind == "opaque",
            "resolution_mismatch": known & off,
            "coarse_beam": tiles.beams_per_tile < 3,
        }
    )


def _flags_of_values(found: dict[str, np.ndarray], model: MassModel) -> np.ndarray:
    """Tell what is wrong with what was found."""
    with np.errstate(invalid="ignore"):
        starless = found["star_probability"] < 0.5
    return _bits(
        {
            "out_of_distribution": found["ood_pvalue"] < 0.05,
            "above_library": found["mass"] > MAX_MASS.value,
            "model_based_interval": not all(map(model.masses.is_conformal, _LEVELS)),
            "starless_like": starless,
            "no_starless_reference": model.presence is None,
        }
    )


def _rows(tiles: TileSet, found: dict, bits: np.ndarray, masking: int) -> QTable:
    """Put the table together and mask what its flags spoil."""

    def spoiled(*names: str) -> np.ndarray:
        return (bits & sum(map(flag_bit, names))) != 0

    untrusted = (bits & masking) != 0
    no_gas, no_column = spoiled(*_NO_GAS), spoiled(*_NO_COLUMN)
    table = QTable({"id": tiles.id, "skycoord": tiles.skycoord})
    for name in (
        "mass",
        *(f"mass_{end}{s}" for s in _LEVELS.values() for end in ("lower", "upper")),
    ):
        table[name] = Masked(found[name] * u.solMass, mask=untrusted)
    unknown = no_column | spoiled("no_starless_reference")
    table["star_probability"] = MaskedColumn(found["star_probability"], mask=unknown)
    table["gas_mass"] = Masked(tiles.gas_mass, mask=no_column)
    peak = np.where(tiles.detected, tiles.maps[:, 0], -np.inf).max(axis=(1, 2))
    table["peak_n_h"] = Masked(10.0 ** peak.astype(float) * u.cm**-2, mask=no_column)
    table["v_los"] = Masked(tiles.v_los, mask=no_gas)
    table["sigma_v"] = Masked(_total_dispersion(tiles), mask=no_gas)
    for name in ("snr", "coverage"):
        table[name] = getattr(tiles, name)
    dynamical = tiles.mass_dynamical
    table["mass_dynamical"] = Masked(dynamical, mask=no_gas | ~np.isfinite(dynamical))
    table["mass_dynamical_radius"] = tiles.mass_dynamical_radius
    for name, description in _DESCRIPTIONS.items():
        table[name].info.description = description
    table["beams_per_tile"] = tiles.beams_per_tile
    table["neighbor_distance"] = MaskedColumn(found["neighbor_distance"], mask=no_column)
    table["ood_pvalue"] = MaskedColumn(found["ood_pvalue"], mask=no_column)
    table["flags"] = bits
    table["flag_words"] = flag_words(bits)
    table["neighbors"] = found["neighbors"]
    table["neighbor_masses"] = found["neighbor_masses"] * u.solMass
    return table


def _total_dispersion(tiles: TileSet) -> u.Quantity:
    """Column-weighted dispersion of all the gas detected in a tile: within lines and between."""
    column = np.where(tiles.detected, 10.0 ** (tiles.maps[:, 0].astype(np.float64) - 20), 0.0)
    square = tiles.maps[:, 1].astype(np.float64) ** 2 + tiles.maps[:, 2].astype(np.float64) ** 2
    with np.errstate(invalid="ignore"):
        mean = (column * square).sum(axis=(1, 2)) / column.sum(axis=(1, 2))
    return np.sqrt(mean) * u.km / u.s


def _meta(
    tiles: TileSet, library: ReferenceLibrary, encoder: Encoder, tracer: Tracer | None
) -> dict[str, object]:
    observation = library.observation
    return {
        **provenance(),
        "label": _LABEL,
        "encoder": encoder.name,
        "encoder_sha256": encoder.sha256,
        "encoder_dtype": encoder.dtype,
        "library_sha256": library.sha256,
        "library_simulated_sha256": library.meta.get("simulated_sha256", library.sha256),
        "library_sims": ", ".join(np.unique(library.table["sim"])),
        "library_observation": "as simulated" if observation is None else observation.key,
        "feature_blocks": ", ".join(library.features.blocks),
        "tile_width_pc": float(tiles.width.to_value(u.pc)),
        "tracer": "none" if tracer is None else tracer.name,
        "flag_bits": ", ".join(f"{flag.bit}: {flag.name}" for flag in FLAGS),
    }
