"""Checks of lesson 05, fine-tuning BERT: a file per exercise."""

from attnlab.course.checks.finetune_bert import (
    accumulate,
    align_labels,
    choose,
    evaluate,
    learning_rate_at,
    pad_batch,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        pad_batch,
        learning_rate_at,
        accumulate,
        evaluate,
        choose,
        align_labels,
    )
]


def __dir__() -> list[str]:
    return sorted(__all__)
