"""Texts as vectors, made by an encoder that stays as it is, and a linear head over them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.device import autocast
from attnlab.errors import DataError

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

__all__ = ["embed", "linear_head"]

_STRENGTH = 10  # C of scikit-learn, for rows of length 1; dev of product-sentiment knew no better


def embed(clf: Classifier, texts: Sequence[str]) -> np.ndarray:
    """The mean of the last hidden states of each text, scaled to length 1.

    Parameters
    ----------
    clf : whose encoder reads; its classification layer is not asked. That of
        ``al.classification.fresh_classifier()`` is the bundled encoder as it was published, trained
        so that texts of one meaning are near (Reimers and Gurevych 2019).
    texts : N texts

    Returns
    -------
    array (N, width), float32: the product of two rows is the cosine of their angle

    Raises
    ------
    DataError : an empty text
    """
    base: Any = heads.model_of(clf).base_model
    encoded = clf.encode(list(texts))
    found = np.empty((len(encoded), base.config.hidden_size), dtype=np.float32)
    with torch.inference_mode(), autocast(clf.device, torch.float32):
        for indices in encoded.batches():
            batch = {name: part.to(clf.device) for name, part in encoded.batch(indices).items()}
            hidden = heads.run(base, batch)  # (B, T, width)
            real = batch["attention_mask"][..., None]
            found[indices] = ((hidden * real).sum(1) / real.sum(1)).cpu().numpy()
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def linear_head(features: np.ndarray, labels: Sequence[int | str]) -> "LogisticRegression":
    """A logistic regression on rows of `embed`: what training there is, in about a second.

    Parameters
    ----------
    features : (N, width)
    labels : N of them, of two kinds at least

    Raises
    ------
    DataError : one label only
    """
    from sklearn.linear_model import LogisticRegression

    if len(set(labels)) < 2:
        raise DataError("There is one label only, so there is nothing to tell apart. Add others.")
    return LogisticRegression(C=_STRENGTH, max_iter=1000).fit(features, labels)


def __dir__() -> list[str]:
    return sorted(__all__)
