"""A translator trained from nothing: train it, translate, see where it looks, score it."""

from attnlab.translation.translator import (
    Translator,
    alignment_accuracy,
    exact,
    load_translator,
    silence_each,
    train_translator,
    translators,
)

__all__ = [
    "Translator",
    "alignment_accuracy",
    "exact",
    "load_translator",
    "silence_each",
    "train_translator",
    "translators",
]
