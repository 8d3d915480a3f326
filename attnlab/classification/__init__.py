"""Sentence classifiers of the BERT family: load one, fine-tune one, search for a recipe.

A `Classifier` predicts, shows its attention, and is saved; `loading` makes one from a name,
`methods` has the ways to train one.
"""

from attnlab.classification.classifier import Classifier
from attnlab.classification.finetuning import finetune, has_learned, majority
from attnlab.classification.hyperparameters import Search, search
from attnlab.classification.loading import fresh_classifier, load_classifier
from attnlab.classification.methods import LEARNING_RATES
from attnlab.classification.naming import adapters

__all__ = [
    "LEARNING_RATES",
    "Classifier",
    "Search",
    "adapters",
    "finetune",
    "fresh_classifier",
    "has_learned",
    "load_classifier",
    "majority",
    "search",
]


def __dir__() -> list[str]:
    return sorted(__all__)
