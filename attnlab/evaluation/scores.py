"""What a classifier scored on a set of texts, and how two scores of the same texts differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab.datasets.labelled import Labelled
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, worded
from attnlab.statistics import (
    PairedTest,
    p_text,
    paired_bootstrap,
    paired_test,
    share_interval,
)


@dataclass(frozen=True, eq=False)
class Score:
    """What a classifier scored on N texts.

    Attributes
    ----------
    accuracy : share of right answers, 0 to 1
    stderr : its standard error, sqrt(p (1 - p) / n)
    loss : mean cross-entropy, nats
    n : number of texts
    predictions : int array (N,)
    seconds : time taken
    correct : bool array (N,)
    losses : float array (N,)
    margins : float array (N,), logit of the right label minus the largest of the others; above 0
        where the answer is right
    """

    accuracy: float
    stderr: float
    loss: float
    n: int
    predictions: np.ndarray
    seconds: float
    correct: np.ndarray
    losses: np.ndarray
    margins: np.ndarray

    @classmethod
    def of(cls, logits: Tensor, labels: np.ndarray, seconds: float = 0.0) -> "Score":
        """The score of logits (N, C) where the right labels are ``labels`` (N,)."""
        losses, margins, correct = per_text(logits, labels)
        accuracy = float(correct.mean())
        return cls(
            accuracy=accuracy,
            stderr=math.sqrt(accuracy * (1 - accuracy) / len(labels)),
            loss=float(losses.mean()),
            n=len(labels),
            predictions=logits.argmax(-1).numpy(),
            seconds=seconds,
            correct=correct,
            losses=losses,
            margins=margins,
        )

    @property
    def ci(self) -> tuple[float, float]:
        """95 % interval of the accuracy, see `statistics.share_interval`."""
        return share_interval(round(self.accuracy * self.n), self.n)

    def __repr__(self) -> str:
        low, high = self.ci
        return (
            f"Score({self.accuracy:.1%} (95 %: {low:.1%} to {high:.1%}), loss {self.loss:.3f}, "
            f"n {self.n:,})"
        )


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two settings on the same texts: ``b`` minus ``a``.

    Attributes
    ----------
    test : PairedTest of the answers
    delta : change of accuracy
    ci : its 95 % interval for paired answers (Agresti and Min 2005)
    p_value : exact McNemar test that neither is better
    flips : DataFrame with a row per text or image whose prediction changed: text (of texts), label,
        before, after; its index says which of the data set
    loss_change, margin_change : float arrays (N,), for each text
    loss_delta, loss_ci : change of the mean loss with its 95 % interval (paired bootstrap)
    margin_delta, margin_ci : likewise of the mean margin
    """

    test: PairedTest
    flips: pd.DataFrame
    loss_change: np.ndarray
    margin_change: np.ndarray

    @property
    def delta(self) -> float:
        """Change of accuracy."""
        return self.test.delta

    @property
    def ci(self) -> tuple[float, float]:
        """95 % interval of `delta`."""
        return self.test.low, self.test.high

    @property
    def p_value(self) -> float:
        """Exact McNemar test that neither is better."""
        return self.test.p_value

    @property
    def loss_delta(self) -> float:
        """Change of the mean loss, nats."""
        return float(self.loss_change.mean())

    @property
    def margin_delta(self) -> float:
        """Change of the mean margin, logits."""
        return float(self.margin_change.mean())

    @cached_property
    def loss_ci(self) -> tuple[float, float]:
        """95 % interval of `loss_delta`."""
        low, high = paired_bootstrap(self.loss_change)
        return float(low), float(high)

    @cached_property
    def margin_ci(self) -> tuple[float, float]:
        """95 % interval of `margin_delta`."""
        low, high = paired_bootstrap(self.margin_change)
        return float(low), float(high)

    def __repr__(self) -> str:
        low, high = (100 * end for end in self.ci)
        answers = f"{len(self.flips)} answer{'' if len(self.flips) == 1 else 's'}"
        return (
            f"Comparison({100 * self.delta:+.1f} points, 95 % interval [{low:+.1f}, {high:+.1f}], "
            f"{p_text(self.p_value)}, {answers} changed)"
        )


def compare_scores(
    before: Score,
    after: Score,
    dataset: Labelled,
    labels: np.ndarray,
    label_names: Sequence[str],
    indices: np.ndarray | None = None,
) -> Comparison:
    """Compare two scores of the same texts.

    Parameters
    ----------
    before, after : Score of N texts
    dataset : where the texts are
    labels : int array, the right label of every text of the data set
    label_names : what the labels are called
    indices : int array (N,), which texts of the data set were scored, in that order; default all

    Raises
    ------
    AttnlabError : scores of other numbers of texts
    """
    indices = np.arange(len(dataset)) if indices is None else indices
    if not len(indices) == before.n == after.n:
        raise AttnlabError(
            f"These scores are of {before.n} and {after.n} texts; to compare them pairwise, score "
            f"both on the same {len(indices)}."
        )
    changed = np.flatnonzero(before.predictions != after.predictions)
    texts = {}
    if isinstance(dataset, TextDataset):
        texts["text"] = [dataset.texts[index] for index in indices[changed]]
    flips = pd.DataFrame(
        {
            **texts,
            "label": [label_names[labels[index]] for index in indices[changed]],
            "before": [label_names[prediction] for prediction in before.predictions[changed]],
            "after": [label_names[prediction] for prediction in after.predictions[changed]],
        },
        index=indices[changed],
    )
    return Comparison(
        test=paired_test(before.correct, after.correct),
        flips=flips,
        loss_change=after.losses - before.losses,
        margin_change=after.margins - before.margins,
    )


def per_text(logits: Tensor, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses, margins and whether the answer is right, of logits (..., N, C): arrays (..., N)."""
    if not torch.isfinite(logits).all():
        raise AttnlabError(
            "The model's answers are not all numbers: weights or number format let them overflow. "
            + worded("Measure in float32, with Evaluator(..., fast=False).", "Add --no-fast.")
        )
    wanted = torch.as_tensor(labels)
    index = wanted.expand(logits.shape[:-1])[..., None]
    own = logits.gather(-1, index)[..., 0]
    others = logits.scatter(-1, index, -torch.inf).amax(-1)
    losses = logits.logsumexp(-1) - own
    return losses.numpy(), (own - others).numpy(), (logits.argmax(-1) == wanted).numpy()
