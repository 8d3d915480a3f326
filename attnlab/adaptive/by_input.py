"""A budget for each text: a cheap signal says which texts are easy, and these go on with less."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from torch import Tensor

from attnlab.adaptive.scoring import TokenScorer
from attnlab.adaptive.tokens import FewerTokens
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Text
from attnlab.compression.early_exits import linear_classifier
from attnlab.compression.layer_by_layer import features_of
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError, SettingsError, suggest
from attnlab.evaluation.inputs import tokenised
from attnlab.evaluation.packed import Packed

__all__ = ["Easy", "Signal", "spent", "tokens_by_input"]

Signal = Literal["entropy", "length"]


@dataclass(frozen=True, eq=False)
class Easy:
    """Which texts are easy after a layer, and what share of their tokens goes on.

    Attributes
    ----------
    signal : "entropy" of an answer that a linear classifier gives after the layer, in nats, or
        "length" in tokens
    threshold : texts with a signal below it are easy
    share : of the tokens of an easy text that go on; of others, what the schedule says
    weights, biases : of the linear classifier on the mean hidden state, (C, E) and (C,)
    """

    signal: Signal
    threshold: float
    share: float
    weights: Tensor
    biases: Tensor

    def shares(self, after: Packed, whole: np.ndarray, share: float) -> np.ndarray:
        """Return the share of each text's tokens that goes on, (B,).

        Parameters
        ----------
        after : texts after the layer
        whole : int array (B,), tokens that each text had at first
        share : of texts that are not easy
        """
        return np.where(self.signals(after, whole) < self.threshold, self.share, share)

    def signals(self, after: Packed, whole: np.ndarray) -> np.ndarray:
        """Return the signal of each text, (B,)."""
        if self.signal == "length":
            return whole.astype(float)
        answers = after.pooled("mean").float() @ self.weights.T + self.biases
        log = answers.log_softmax(-1)
        return -(log.exp() * log).sum(-1).cpu().numpy()


def tokens_by_input(
    clf: Classifier,
    train: TextDataset,
    layer: int,
    scorer: TokenScorer,
    *,
    easy: float,
    hard: float,
    mean: float,
    signal: Signal = "entropy",
    most: int = 2000,
    seed: int = 0,
) -> FewerTokens:
    """Let easy texts go on with fewer tokens than hard ones, at a mean share that is set.

    Parameters
    ----------
    clf : Classifier of texts
    train : texts that the signal's linear classifier is fitted to, and whose signals set the
        threshold: with it the mean share of these texts is ``mean``
    layer : after which tokens go
    scorer : which tokens go; of `token_scorer`
    easy, hard : shares of the tokens that go on, of easy texts and of the others
    mean : between the two
    signal : "entropy" of an early answer, or "length": short texts are the easy ones
    most, seed : texts of train that are used, drawn at random

    Returns
    -------
    FewerTokens with ``.easy``

    Raises
    ------
    SettingsError : another signal, shares out of order
    DataError : no labelled texts
    """
    if signal not in get_args(Signal):
        raise SettingsError(f"There is no signal {signal!r}. {suggest(signal, get_args(Signal))}")
    if not 0 < easy <= mean <= hard <= 1:
        raise SettingsError(
            f"easy is {easy}, mean {mean} and hard {hard}; they are shares of the tokens, above 0 "
            "and at most 1, in this order."
        )
    if not isinstance(train, TextDataset) or not len(train):
        raise DataError(f"Signals are fitted to labelled texts; got {train!r}.")
    drawn = train.sample(min(most, len(train)), seed)
    encoded = clf.encode(drawn.texts)
    features = features_of(clf, encoded, "mean")[layer]
    labels = np.array(drawn.labels_in(clf.label_names))
    weights, biases = linear_classifier(features.numpy(), labels, len(clf.label_names))
    rule = Easy(signal, 0.0, easy, weights.to(clf.device), biases.to(clf.device))
    packed = Packed(features.to(clf.device), np.ones(len(features), int))  # means, one a text
    signals = rule.signals(packed, encoded.lengths)
    share_easy = (hard - mean) / (hard - easy) if hard > easy else 0.0
    threshold = float(np.quantile(signals, share_easy))
    rule = Easy(signal, threshold, easy, rule.weights, rule.biases)
    return FewerTokens(clf, {layer: hard}, scorer, easy=rule)


def spent(few: FewerTokens, texts: Sequence[Text]) -> pd.DataFrame:
    """Say what share of its tokens each text goes on with.

    Returns
    -------
    DataFrame, a row per text: ``tokens``; ``signal``; ``share`` of the tokens that goes on after
        the layer of the schedule

    Raises
    ------
    SettingsError : no rule for easy texts
    """
    if few.easy is None:
        raise SettingsError("All texts go on with the same share here. Use tokens_by_input(...).")
    encoded = tokenised(few.clf, texts)
    (layer,) = few.schedule
    features = features_of(few.clf, encoded, "mean")[layer].to(few.clf.device)
    packed = Packed(features, np.ones(len(features), int))
    table = {"tokens": encoded.lengths, "signal": few.easy.signals(packed, encoded.lengths)}
    shares = few.easy.shares(packed, encoded.lengths, few.schedule[layer])
    return pd.DataFrame(table | {"share": shares})


def __dir__() -> list[str]:
    return sorted(__all__)
