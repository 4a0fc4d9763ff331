"""Masses of stars from features: the estimator, the table, and the table's files."""

from stellarssl.masses._estimator import MassEstimator
from stellarssl.masses._files import write_table
from stellarssl.masses._model import MassModel
from stellarssl.masses._neighbors import nearest_groups, neighbor_weights
from stellarssl.masses._table import MAX_MASS, mass_table
from stellarssl.masses.conformal import ConformalIntervals
from stellarssl.masses.folds import FOLD_SPLITS, choose_inside, leave_out
from stellarssl.masses.readers import ForestEstimator, NearestEstimator, NeighborReader
from stellarssl.masses.scores import MASS_BINS, bin_scores, paired_margin, star_scores
from stellarssl.masses.weights import (
    apply_prior,
    group_weights,
    heaviest_groups,
    weighted_mean,
    weighted_quantile,
    weighted_spread,
)

__all__ = [
    "FOLD_SPLITS",
    "MASS_BINS",
    "MAX_MASS",
    "ConformalIntervals",
    "ForestEstimator",
    "MassEstimator",
    "MassModel",
    "NearestEstimator",
    "NeighborReader",
    "apply_prior",
    "bin_scores",
    "choose_inside",
    "group_weights",
    "heaviest_groups",
    "leave_out",
    "mass_table",
    "nearest_groups",
    "neighbor_weights",
    "paired_margin",
    "star_scores",
    "weighted_mean",
    "weighted_quantile",
    "weighted_spread",
    "write_table",
]
