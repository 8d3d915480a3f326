"""A classifier of one's own to change: the one given stays as it is."""

import copy

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.structure import keep_layers


def copied(clf: Classifier) -> Classifier:
    """The same classifier with a model of its own.

    Raises
    ------
    ModelError : a model with a prefix, a decoder
    """
    heads.refuse_prefix(clf, "Compression")
    heads.refuse_decoder(clf, "Compression")
    return clf.with_model(copy.deepcopy(heads.model_of(clf)))


def with_layers(clf: Classifier, keep: list[int]) -> Classifier:
    """A classifier of these layers of it only."""
    model = copied(clf).model
    keep_layers(model, keep)
    return clf.with_model(model)
