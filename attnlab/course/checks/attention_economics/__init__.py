"""Checks of lesson 08, attention economics: a file per exercise."""

from attnlab.course.checks.attention_economics import (
    audit,
    hard_concrete,
    knapsack,
    layer_flops,
    on_frontier,
    phone_budget,
)

__all__ = ["EXERCISES"]

EXERCISES = [
    exercise.EXERCISE
    for exercise in (
        layer_flops,
        on_frontier,
        knapsack,
        hard_concrete,
        audit,
        phone_budget,
    )
]


def __dir__() -> list[str]:
    return sorted(__all__)
