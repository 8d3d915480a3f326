"""Checks of lesson 04, a language model: a file per exercise."""

from attnlab.course.checks.language_model import (
    cached_step,
    causal_loss,
    find_faulty,
    induction_head,
    merge_tiles,
    rotary,
    top_p,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        causal_loss,
        top_p,
        rotary,
        cached_step,
        find_faulty,
        merge_tiles,
        induction_head,
    )
]


def __dir__() -> list[str]:
    return sorted(__all__)
