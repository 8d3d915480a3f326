"""Checks of lesson 11, adaptive attention: a file per exercise."""

from attnlab.course.checks.adaptive_attention import (
    controller,
    drop_tokens,
    load_test,
    straight_through,
    streaming_quantile,
    window_attention,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        window_attention,
        straight_through,
        drop_tokens,
        streaming_quantile,
        controller,
        load_test,
    )
]


def __dir__() -> list[str]:
    return sorted(__all__)
