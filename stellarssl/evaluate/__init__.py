"""Cross-validated scores of masses and encoders beside their baselines, as tables."""

from stellarssl.evaluate.lines import (
    SETTINGS,
    margins,
    score_predictions,
    simulation_predictions,
    write_scores,
)
from stellarssl.evaluate.maps import (
    SPLITS,
    cross_validate,
    folds,
    left_out_predictions,
    probe_encoder,
    score,
    write_evaluation,
)

__all__ = [
    "SETTINGS",
    "SPLITS",
    "cross_validate",
    "folds",
    "left_out_predictions",
    "margins",
    "probe_encoder",
    "score",
    "score_predictions",
    "simulation_predictions",
    "write_evaluation",
    "write_scores",
]
