"""Checks of the lesson on translation: a module for each exercise."""

from attnlab.course.checks.translation import (
    beam_search,
    decoder_layer,
    decoder_mask,
    embed,
    sequence_loss,
    teacher_forcing,
)

EXERCISES = [
    teacher_forcing.EXERCISE,
    decoder_mask.EXERCISE,
    embed.EXERCISE,
    decoder_layer.EXERCISE,
    sequence_loss.EXERCISE,
    beam_search.EXERCISE,
]
