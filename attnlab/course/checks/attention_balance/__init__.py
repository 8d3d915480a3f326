"""Checks of lesson 07, attention balance: a file per exercise."""

from attnlab.course.checks.attention_balance import (
    guarded_choice,
    js_divergence,
    leaves_band,
    normalised_entropy,
    robust_outliers,
    share_recovered,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        normalised_entropy,
        js_divergence,
        robust_outliers,
        leaves_band,
        guarded_choice,
        share_recovered,
    )
]


def __dir__() -> list[str]:
    return sorted(__all__)
