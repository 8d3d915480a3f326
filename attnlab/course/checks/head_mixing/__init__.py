"""Checks of lesson 06, head mixing: a file per exercise."""

from attnlab.course.checks.head_mixing import (
    ablate,
    adjust_for_many,
    head_importance,
    mix_heads,
    paired_bootstrap,
    patch_head,
    through_norm,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        mix_heads,
        paired_bootstrap,
        ablate,
        patch_head,
        head_importance,
        adjust_for_many,
        through_norm,
    )
]


def __dir__() -> list[str]:
    return sorted(__all__)
