"""Checks of lesson 10, beyond text: a file per exercise."""

from attnlab.course.checks.beyond_text import (
    contrastive,
    cross_attend,
    giou,
    modality_experiment,
    patchify,
    positions_2d,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        patchify,
        positions_2d,
        giou,
        cross_attend,
        modality_experiment,
        contrastive,
    )
]


def __dir__() -> list[str]:
    return sorted(__all__)
