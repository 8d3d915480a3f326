"""Checks of the lesson that builds attention from scratch: a module for each exercise."""

from attnlab.course.checks.attention_from_scratch import (
    attention,
    causal_mask,
    heads,
    masked_softmax,
    multi_head,
)

EXERCISES = [
    attention.EXERCISE,
    causal_mask.EXERCISE,
    masked_softmax.EXERCISE,
    heads.SPLIT,
    heads.MERGE,
    multi_head.EXERCISE,
]
