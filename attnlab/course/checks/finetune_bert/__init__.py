"""Checks of lesson 05, fine-tuning BERT: a file per exercise."""

from attnlab.course.checks.finetune_bert import (
    accumulate,
    calibration_error,
    entities,
    lora,
    pad_batch,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        pad_batch,
        accumulate,
        lora,
        calibration_error,
        entities,
    )
]


def __dir__() -> list[str]:
    return sorted(__all__)
