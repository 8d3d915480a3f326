"""Texts for measures of attention: tokenised, run in batches, and which tokens are special."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier, Encoded, Text
from attnlab.classification.encoding import special_ids
from attnlab.errors import DataError, ModelError
from attnlab.heads.settings import HeadSettings


def tokenised(clf: Classifier, texts: Sequence[Text]) -> Encoded:
    """The texts in tokens; DataError if there are none.

    Raises ModelError for a classifier of images, and for a decoder: what is read here off [CLS] and
    off whole rows means something else where a token sees earlier ones only.
    """
    if getattr(clf, "reads", "texts") != "texts":
        raise ModelError(
            f"This is measured over the tokens of texts, and {type(clf).__name__} reads "
            f"{clf.reads}. Take a classifier of texts; clf.attend shows one of the {clf.reads}."
        )
    heads.refuse_decoder(clf, "Measuring attention over the tokens of texts")
    encoded = clf.encode(texts)
    if not len(encoded):
        raise DataError("There are no texts to measure on. Give at least one.")
    return encoded


def recorded(
    clf: Classifier, encoded: Encoded, settings: HeadSettings
) -> Iterator[tuple[np.ndarray, Tensor, list[heads.LayerRecord]]]:
    """Run the texts in batches: their indices, ids (B, T), and what each layer's heads did."""
    for indices in encoded.batches():
        inputs = {name: column.to(clf.device) for name, column in encoded.batch(indices).items()}
        yield indices, inputs["input_ids"], heads.record(clf, inputs, settings)


def is_special(clf: Classifier, ids: np.ndarray) -> np.ndarray:
    """Which tokens the tokenizer put around the text; the one for an unknown word is text."""
    return np.isin(ids, special_ids(clf.tokenizer))
