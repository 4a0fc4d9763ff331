"""`LibraryRows`: features and labels of simulated tiles as a telescope shows them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import astropy.units as u
import numpy as np
from astropy.table import QTable

from stellarssl.library._shipped import row_index, rows_without

__all__ = ["LABELS", "LibraryRows"]

LABELS = (
    "sim", "star", "group", "clump", "output", "time", "axis", "mass", "age", "has_star",
    "library_row", "log_n_h",
)  # fmt: skip
"""Columns of ``LibraryRows.table``."""


@dataclass(frozen=True, eq=False)
class LibraryRows:
    """Features and labels of library tiles: all that a mass estimator learns from.

    Made by `observed_rows`, `map_rows` or `encoded_rows`.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        One row per tile: ``sim``, ``star``, ``group``, ``clump``, ``output``, ``time``, ``axis``,
        ``mass`` (NaN without a star), ``age``, ``has_star``, ``library_row``, the row of the
        library that the tile is, and ``log_n_h``, log10 of its central column [cm^-2].
    names : tuple of str
        Name of each feature.
    array : ndarray of float32
        Features, shape (n, number of features); NaN where a feature is not defined.
    meta : dict
        What the features depend on: ``library_sha256``, ``observation``, ``snr``, ``radii``,
        ``lines``, ``position_error`` (str, float, int or bool).
    """

    table: QTable
    names: tuple[str, ...]
    array: np.ndarray
    meta: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        stars = len(np.unique(self.table["group"][self.has_star]))
        sims = ", ".join(np.unique(self.table["sim"]))
        return f"<LibraryRows: {len(self)} tiles, {stars} stars of {sims}>"

    @property
    def has_star(self) -> np.ndarray:
        """Whether each tile has a star in its center, shape (n,)."""
        return np.asarray(self.table["has_star"], dtype=bool)

    @property
    def log_mass(self) -> np.ndarray:
        """Logarithm (base 10) of the star's mass [dex(Msun)], shape (n,); NaN without a star."""
        return np.log10(self.table["mass"].to_value(u.solMass))

    @cached_property
    def sha256(self) -> str:
        """Checksum of the features and labels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.array).data)
        for name in ("group", "clump", "sim"):
            digest.update("\n".join(map(str, self.table[name])).encode())
        digest.update(self.log_mass.tobytes() + self.has_star.tobytes())
        return digest.hexdigest()

    def select(self, rows: np.ndarray | slice) -> Self:
        """Return some of the rows.

        Parameters
        ----------
        rows : ndarray or slice
            Boolean mask or indices.

        Returns
        -------
        selected : LibraryRows
            The rows in the given order.

        Raises
        ------
        InputError
            If no row is selected or ``rows`` does not fit.
        """
        index = row_index(rows, len(self))
        return replace(self, table=self.table[index], array=self.array[index])

    def exclude(self, *, sim: str | Sequence[str]) -> Self:
        """Return the rows of all simulations but some.

        Parameters
        ----------
        sim : str or sequence of str
            Names of the simulations to leave out.

        Returns
        -------
        others : LibraryRows
            The other rows.

        Raises
        ------
        InputError
            If there is no such simulation, or no other.
        """
        return self.select(rows_without(sim, np.asarray(self.table["sim"])))
