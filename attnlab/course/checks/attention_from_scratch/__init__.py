"""Checks of the lesson that builds attention from scratch: a module for each exercise."""

from attnlab.course.checks.attention_from_scratch import (
    attention,
    attention_backward,
    encoder_layer,
    first_wrong,
    masked_softmax,
    multi_head,
    neighbour_scores,
    split_heads,
)

EXERCISES = [
    attention.EXERCISE,
    masked_softmax.EXERCISE,
    split_heads.EXERCISE,
    multi_head.EXERCISE,
    encoder_layer.EXERCISE,
    neighbour_scores.EXERCISE,
    first_wrong.EXERCISE,
    attention_backward.EXERCISE,
]
