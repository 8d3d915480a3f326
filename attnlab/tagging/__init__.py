"""A label for each word: a tagger, trained and scored by whole entities."""

from attnlab.tagging.tagger import (
    Mention,
    Tagger,
    TagScore,
    baseline,
    finetune_tagger,
    load_tagger,
    score,
)

__all__ = [
    "Mention",
    "TagScore",
    "Tagger",
    "baseline",
    "finetune_tagger",
    "load_tagger",
    "score",
]
