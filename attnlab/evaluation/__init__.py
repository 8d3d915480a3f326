"""How good a classifier is and which heads matter, with its uncertainty."""

from attnlab.evaluation.evaluator import Comparison, Evaluator, Running, Score
from attnlab.evaluation.measures import (
    agreement,
    explanations,
    profiles,
    raw_attention,
    rollout,
    token_ablation,
    token_gradients,
)
from attnlab.evaluation.movement import layer_movement
from attnlab.evaluation.reports import (
    Report,
    bag_of_words,
    by_class,
    calibration,
    confusion,
    rater_agreement,
    report,
)

__all__ = [
    "Comparison",
    "Evaluator",
    "Report",
    "Running",
    "Score",
    "agreement",
    "bag_of_words",
    "by_class",
    "calibration",
    "confusion",
    "explanations",
    "layer_movement",
    "profiles",
    "rater_agreement",
    "raw_attention",
    "report",
    "rollout",
    "token_ablation",
    "token_gradients",
]
