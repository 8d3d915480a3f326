"""Training: the loop that every model here goes through, its recipe, history and callbacks.

`train` reads like the loop of lesson 05; a checkpoint lets a run that was stopped go on to the same
bits.
"""

from attnlab.training.callbacks import Callback, ProgressBar
from attnlab.training.checkpoint import CHECKPOINT
from attnlab.training.history import History, history_table
from attnlab.training.logits_of import LogitsOf
from attnlab.training.loop import Interrupted, linear_schedule, shuffled_batches, train
from attnlab.training.recipe import Recipe
from attnlab.training.run import parameter_groups
from attnlab.training.tracking import MLflow, TensorBoard, WeightsAndBiases

__all__ = [
    "CHECKPOINT",
    "Callback",
    "History",
    "Interrupted",
    "LogitsOf",
    "MLflow",
    "ProgressBar",
    "Recipe",
    "TensorBoard",
    "WeightsAndBiases",
    "history_table",
    "linear_schedule",
    "parameter_groups",
    "shuffled_batches",
    "train",
]


def __dir__() -> list[str]:
    return sorted(__all__)
