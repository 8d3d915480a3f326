"""A label for each word: a tagger, trained and scored by whole entities.

`alignment` leads from words to their pieces and back, `linear` is the tagger to beat.
"""

from attnlab.tagging.alignment import align, best_tags
from attnlab.tagging.linear import LinearTagger, baseline
from attnlab.tagging.scores import TagScore, score
from attnlab.tagging.tagger import Mention, Tagger, load_tagger
from attnlab.tagging.training import LEARNING_RATES, finetune_tagger, mean_over_words

__all__ = [
    "LEARNING_RATES",
    "LinearTagger",
    "Mention",
    "TagScore",
    "Tagger",
    "align",
    "baseline",
    "best_tags",
    "finetune_tagger",
    "load_tagger",
    "mean_over_words",
    "score",
]


def __dir__() -> list[str]:
    return sorted(__all__)
