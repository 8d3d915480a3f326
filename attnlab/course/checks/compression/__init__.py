"""Checks of lesson 09, compression and efficient inference: a file per exercise."""

from attnlab.course.checks.compression import (
    answer_early,
    benchmark,
    cut_neurons,
    distillation_loss,
    fake_quantize,
    kmeans_codebook,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        cut_neurons,
        fake_quantize,
        kmeans_codebook,
        distillation_loss,
        answer_early,
        benchmark,
    )
]


def __dir__() -> list[str]:
    return sorted(__all__)
