"""Sentence classifiers of the BERT family: load one, fine-tune one, search for a recipe."""

from attnlab.classification.classifier import (
    Classifier,
    adapters,
    fresh_classifier,
    load_classifier,
)
from attnlab.classification.finetuning import LEARNING_RATES, finetune
from attnlab.classification.hyperparameters import Search, search

__all__ = [
    "LEARNING_RATES",
    "Classifier",
    "Search",
    "adapters",
    "finetune",
    "fresh_classifier",
    "load_classifier",
    "search",
]
