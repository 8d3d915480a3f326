"""Checks of lesson 12, the capstone: a file per court case, and the learner's own report."""

from attnlab.course.checks.capstone import (
    accuracy,
    class_layer,
    heads_cost,
    imbalance,
    in_pieces,
    labels,
    mixture,
    norm_cost,
    over_heads,
    rebalance,
    report,
    scale,
    sum_of_heads,
    translator,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        scale,
        mixture,
        over_heads,
        in_pieces,
        sum_of_heads,
        heads_cost,
        norm_cost,
        imbalance,
        accuracy,
        rebalance,
        class_layer,
        labels,
        translator,
        report,
    )
]


def __dir__() -> list[str]:
    return sorted(__all__)
