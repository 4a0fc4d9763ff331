"""Masses of stars from features: the estimator, the table, and the table's files."""

from stellarssl.masses.calibration import Calibration, calibrate, default_forest, find_calibration
from stellarssl.masses.conformal import ConformalIntervals
from stellarssl.masses.estimator import MassEstimator
from stellarssl.masses.files import write_table
from stellarssl.masses.flags import FLAGS, Flag, flag_bit, flag_words, masking_bits
from stellarssl.masses.folds import FOLD_SPLITS, choose_inside, leave_out
from stellarssl.masses.model import READERS, Estimates, MassModel
from stellarssl.masses.neighbors import nearest_groups, neighbor_weights
from stellarssl.masses.novelty import Novelty
from stellarssl.masses.readers import ForestEstimator, NearestEstimator, NeighborReader
from stellarssl.masses.scores import MASS_BINS, bin_scores, paired_margin, star_scores
from stellarssl.masses.table import MAX_MASS, SourceEstimates, flag_values, mass_table
from stellarssl.masses.weights import (
    apply_prior,
    group_weights,
    heaviest_groups,
    weighted_mean,
    weighted_quantile,
    weighted_spread,
)

__all__ = [
    "FLAGS",
    "FOLD_SPLITS",
    "MASS_BINS",
    "MAX_MASS",
    "READERS",
    "Calibration",
    "ConformalIntervals",
    "Estimates",
    "Flag",
    "ForestEstimator",
    "MassEstimator",
    "MassModel",
    "NearestEstimator",
    "NeighborReader",
    "Novelty",
    "SourceEstimates",
    "apply_prior",
    "bin_scores",
    "calibrate",
    "choose_inside",
    "default_forest",
    "find_calibration",
    "flag_bit",
    "flag_values",
    "flag_words",
    "group_weights",
    "heaviest_groups",
    "leave_out",
    "masking_bits",
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
