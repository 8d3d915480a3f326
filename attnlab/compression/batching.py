"""Order and batches: how much of the work of a forward pass is padding."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from attnlab import heads
from attnlab.classification.classifier import Classifier, Encoded, Text
from attnlab.classification.encoding import TOKENS_PER_BATCH
from attnlab.device import autocast
from attnlab.errors import AttnlabError, DataError, suggest

__all__ = ["Order", "Throughput", "throughput"]

Order = Literal["as they come", "length", "tokens"]


@dataclass(frozen=True)
class Throughput:
    """How quickly texts went through a model, in one way to put them into batches.

    Attributes
    ----------
    by : "as they come", "length" or "tokens", see `throughput`
    texts, batches : numbers of both
    tokens : of the texts, special tokens included
    padding : tokens that fill batches up to their longest text
    seconds : time of one pass, tokenisation included
    """

    by: str
    texts: int
    batches: int
    tokens: int
    padding: int
    seconds: float

    @property
    def texts_per_second(self) -> float:
        """Texts that are answered in a second."""
        return self.texts / self.seconds

    @property
    def padding_share(self) -> float:
        """Share of all tokens computed that are padding, 0 to 1."""
        return self.padding / (self.tokens + self.padding)


def throughput(
    clf: Classifier, texts: Sequence[Text], by: Order = "as they come", batch: int = 32
) -> Throughput:
    """Time one pass over texts, and count the padding, for a way to put texts into batches.

    Each batch is padded to its own longest text (dynamic padding). The answers are the same in
    every order, but for rounding.

    Parameters
    ----------
    clf : Classifier
    texts : list of str, or of (str, str)
    by : which texts share a batch

        - "as they come": the first so many, then the next;
        - "length": likewise, after they have been sorted by their number of tokens;
        - "tokens": of like length, and as many as fit a budget of tokens, padding included; so
          `Classifier.predict` does it
    batch : texts in a batch; "tokens" has its budget instead

    Raises
    ------
    DataError : no texts, or one that is empty or no string
    AttnlabError : another ``by``; a ``batch`` below 1
    """
    if by not in get_args(Order):
        raise AttnlabError(f"There is no order {by!r}. {suggest(by, get_args(Order))}")
    if not isinstance(batch, int) or batch < 1:
        raise AttnlabError(
            f"batch is {batch!r}; expected the number of texts in a batch, 1 or more."
        )
    encoded = clf.encode(texts)
    if not len(encoded):
        raise DataError("There are no texts to measure on. Give at least one.")
    _run(clf, encoded, _groups(encoded, by, batch)[-1:])  # warms up; the longest, where sorted
    start = time.perf_counter()
    encoded = clf.encode(texts)
    groups = _groups(encoded, by, batch)
    _run(clf, encoded, groups)
    seconds = time.perf_counter() - start
    tokens = int(encoded.lengths.sum())
    computed = sum(len(group) * int(encoded.lengths[group].max()) for group in groups)
    return Throughput(by, len(encoded), len(groups), tokens, computed - tokens, seconds)


def _groups(encoded: Encoded, by: str, batch: int) -> list[np.ndarray]:
    """Indices of the texts in each batch."""
    if by == "tokens":
        return list(encoded.batches(max_tokens=TOKENS_PER_BATCH))
    order = (
        np.argsort(encoded.lengths, kind="stable") if by == "length" else np.arange(len(encoded))
    )
    return [order[start : start + batch] for start in range(0, len(order), batch)]


def _run(clf: Classifier, encoded: Encoded, groups: list[np.ndarray]) -> None:
    """What `Classifier.logits` does, in these batches."""
    with torch.inference_mode(), autocast(clf.device, torch.float32):
        for group in groups:
            inputs = {name: part.to(clf.device) for name, part in encoded.batch(group).items()}
            heads.run(clf, inputs, None).cpu()


def __dir__() -> list[str]:
    return sorted(__all__)
