"""How good a classifier is and which heads matter, with its uncertainty.

`Evaluator` scores, compares and streams; `ablate` and `pruning_curve` are functions of it. The rest
measures heads (`profiles`), explains answers (`explanations`) and reports on a finished classifier.
"""

from attnlab.evaluation.ablation import ablate
from attnlab.evaluation.evaluator import Evaluator
from attnlab.evaluation.explaining import (
    agreement,
    explanations,
    raw_attention,
    rollout,
    token_ablation,
    token_gradients,
)
from attnlab.evaluation.forward import AblationMethod, AblationTarget
from attnlab.evaluation.measurement import Measurement, Snapshot
from attnlab.evaluation.movement import layer_movement
from attnlab.evaluation.profiling import profiles
from attnlab.evaluation.pruning_curves import pruning_curve
from attnlab.evaluation.reports import (
    Report,
    bag_of_words,
    by_class,
    calibration,
    confusion,
    rater_agreement,
    report,
)
from attnlab.evaluation.scores import Comparison, Score

__all__ = [
    "AblationMethod",
    "AblationTarget",
    "Comparison",
    "Evaluator",
    "Measurement",
    "Report",
    "Score",
    "Snapshot",
    "ablate",
    "agreement",
    "bag_of_words",
    "by_class",
    "calibration",
    "confusion",
    "explanations",
    "layer_movement",
    "profiles",
    "pruning_curve",
    "rater_agreement",
    "raw_attention",
    "report",
    "rollout",
    "token_ablation",
    "token_gradients",
]


def __dir__() -> list[str]:
    return sorted(__all__)
