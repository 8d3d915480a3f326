"""Checks of the lesson on translation: a module for each exercise."""

from attnlab.course.checks.translation import (
    beam_search,
    decoder_layer,
    decoder_mask,
    sequence_loss,
    stand_ins,
    teacher_forcing,
    training_step,
)

EXERCISES = [
    teacher_forcing.EXERCISE,
    decoder_mask.EXERCISE,
    decoder_layer.EXERCISE,
    sequence_loss.EXERCISE,
    training_step.EXERCISE,
    beam_search.EXERCISE,
    stand_ins.EXERCISE,
]
