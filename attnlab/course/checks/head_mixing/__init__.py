"""Checks of lesson 06, head mixing: a file per exercise."""

from attnlab.course.checks.head_mixing import (
    ablate,
    adjust_for_many,
    head_importance,
    mix_heads,
    paired_bootstrap,
    rollout,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        mix_heads,
        ablate,
        head_importance,
        paired_bootstrap,
        adjust_for_many,
        rollout,
    )
]


def __dir__() -> list[str]:
    return __all__
