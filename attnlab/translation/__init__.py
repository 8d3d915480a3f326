"""A translator trained from nothing: train it, translate, see what it attends to, score it.

Texts become padded batches (`batches`), a `Translator` translates and attends, `training` makes
one, `alignment` and `ablation` ask what its heads do, `date_answers` sorts its dates, `scores`
computes BLEU, chrF and exact match.
"""

from attnlab.translation import scores
from attnlab.translation.ablation import ablate_heads, exact_match
from attnlab.translation.alignment import alignment_accuracy
from attnlab.translation.asking import asking
from attnlab.translation.batches import mean_loss, padded
from attnlab.translation.date_answers import answer_shares, date_answers, is_date
from attnlab.translation.training import fit, train_translator, untrained
from attnlab.translation.translator import Translator, load_translator, translators

__all__ = [
    "Translator",
    "ablate_heads",
    "alignment_accuracy",
    "answer_shares",
    "asking",
    "date_answers",
    "exact_match",
    "fit",
    "is_date",
    "load_translator",
    "mean_loss",
    "padded",
    "scores",
    "train_translator",
    "translators",
    "untrained",
]


def __dir__() -> list[str]:
    return sorted(__all__)
