"""Masses of stars from features: the estimator, the table, and the table's files."""

from stellarssl.masses._estimator import MassEstimator
from stellarssl.masses._files import write_table
from stellarssl.masses._model import MassModel
from stellarssl.masses._neighbors import nearest_groups, neighbor_weights
from stellarssl.masses._table import MAX_MASS, mass_table

__all__ = [
    "MAX_MASS",
    "MassEstimator",
    "MassModel",
    "mass_table",
    "nearest_groups",
    "neighbor_weights",
    "write_table",
]
