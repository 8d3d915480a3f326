"""The training loop that every model here goes through, its recipe, its history and its checkpoints."""

from attnlab.training.loop import (
    CHECKPOINT,
    History,
    Interrupted,
    Recipe,
    linear_schedule,
    parameter_groups,
    shuffled_batches,
    train,
)
from attnlab.training.tracking import TensorBoard

__all__ = [
    "CHECKPOINT",
    "History",
    "Interrupted",
    "Recipe",
    "TensorBoard",
    "linear_schedule",
    "parameter_groups",
    "shuffled_batches",
    "train",
]
