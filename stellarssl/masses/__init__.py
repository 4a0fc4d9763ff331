"""Masses of stars from features: the estimator, the table, and the table's files."""

from stellarssl.masses._estimator import MassEstimator

__all__ = ["MassEstimator"]
