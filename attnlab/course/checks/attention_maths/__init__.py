"""Checks of the lesson on the mathematics of attention: a module for each exercise."""

from attnlab.course.checks.attention_maths import (
    additive_scores,
    entropy,
    scaled_dot_scores,
    sinusoidal_positions,
    softmax,
    softmax_gradient,
)

EXERCISES = [
    softmax.EXERCISE,
    entropy.EXERCISE,
    scaled_dot_scores.EXERCISE,
    softmax_gradient.EXERCISE,
    sinusoidal_positions.EXERCISE,
    additive_scores.EXERCISE,
]
