"""How well a classifier does on held-out texts, with its uncertainty, as its heads are moved."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy import stats

from attnlab.bert import Classifier
from attnlab.datasets import TextDataset
from attnlab.errors import AttnlabError, DataError, suggest
from attnlab.heads import removed
from attnlab.settings import HeadSettings

_Z = float(stats.norm.ppf(0.975))  # all intervals are 95 %


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
    """

    accuracy: float
    stderr: float
    loss: float
    n: int
    predictions: np.ndarray
    seconds: float
    correct: np.ndarray
    losses: np.ndarray

    def __repr__(self) -> str:
        return f"Score({self.accuracy:.1%} ± {self.stderr:.1%}, loss {self.loss:.3f}, n {self.n:,})"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two settings on the same texts: ``b`` minus ``a``.

    Attributes
    ----------
    delta : change of accuracy
    ci : its 95 % interval for paired answers (Agresti and Min 2005)
    p_value : exact McNemar test that neither is better
    flips : DataFrame with a row per text whose prediction changed: text, label, before, after
    loss_delta, loss_ci : change of the mean loss with its paired 95 % interval
    """

    delta: float
    ci: tuple[float, float]
    p_value: float
    flips: pd.DataFrame
    loss_delta: float
    loss_ci: tuple[float, float]

    def __repr__(self) -> str:
        low, high = (100 * end for end in self.ci)
        return (
            f"Comparison({100 * self.delta:+.1f} points, 95 % interval [{low:+.1f}, {high:+.1f}], "
            f"p = {self.p_value:.2g}, {len(self.flips)} answers changed)"
        )


@dataclass(frozen=True)
class Running:
    """An evaluation under way: the score on the texts seen so far, and how far it is."""

    score: Score
    places: np.ndarray
    total: int

    @property
    def finished(self) -> bool:
        """Whether every text was seen."""
        return len(self.places) == self.total


class Evaluator:
    """Measures a classifier on a data set, as it is or with head settings.

    Parameters
    ----------
    clf : Classifier
    dataset : TextDataset with the labels the classifier knows
    fast : compute in the fastest number format of the device (bfloat16 where that pays) instead of
        float32; a few predictions in a thousand may differ

    Raises
    ------
    DataError : no texts, or labels that the classifier does not know
    """

    def __init__(self, clf: Classifier, dataset: TextDataset, fast: bool = False):
        if not isinstance(dataset, TextDataset):
            raise DataError(
                f"{dataset!r} has no labels to measure against. Use a labelled data set."
            )
        if len(dataset) == 0:
            raise DataError(
                f"{dataset.name} has no texts in this part. Sets for testing only have all in .test."
            )
        self.clf, self.dataset, self.fast = clf, dataset, fast
        self.labels = np.array(_labels_of(clf, dataset))
        self.encoded = clf.encode(dataset.texts)
        # a running estimate must not see the short texts first: they are easier
        self._order = np.random.default_rng(0).permutation(len(dataset))

    def score(self, settings: HeadSettings | None = None) -> Score:
        """Accuracy and loss on all texts. None takes the model as it stands."""
        (running,) = self.running(settings, first=len(self.dataset))
        return running.score

    def running(
        self,
        settings: HeadSettings | None = None,
        first: int = 16,
        known: list[tuple[torch.Tensor, float]] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[Running]:
        """Evaluate in chunks, and yield the score so far after each.

        Every chunk is a random sample of the texts, the same at each call, so that the score so far
        is an unbiased estimate, and two settings can be compared on the texts both have seen.

        Parameters
        ----------
        settings : as for `score`
        first : texts in the first chunk; each further one is twice as long, up to 256
        known : chunks' logits and seconds from a run that was stopped; they are not computed again,
            and what is computed is added
        stop : asked between batches; when it says True the run raises `bert.Stopped`
        """
        if settings is not None:
            settings.validate(self.clf.layers, self.clf.heads)
            if settings.scale.dim() != 2:
                raise AttnlabError(
                    "The Evaluator takes one setting for all texts, not a stack. Pick one of them."
                )
        at, size = 0, first
        known = [] if known is None else known
        for step in itertools.count():
            end = min(at + size, len(self.dataset))
            if step == len(known):
                start, chunk = time.perf_counter(), self._order[at:end]
                logits = self.clf.logits(self.encoded, chunk, settings, self.fast, stop)
                known.append((logits, time.perf_counter() - start))
            at, size = end, min(2 * size, 256)
            places, done = self._order[:at], known[: step + 1]
            logits = torch.cat([part for part, _ in done])
            if at == len(self.dataset):  # all seen: back into the order of the data set
                back = np.argsort(places)
                places, logits = places[back], logits[back]
            score = _score(logits, self.labels[places], sum(seconds for _, seconds in done))
            yield Running(score, places, len(self.dataset))
            if at == len(self.dataset):
                return

    def compare(self, a: HeadSettings | Score | None, b: HeadSettings | Score | None) -> Comparison:
        """Compare two settings, or two scores of this evaluator, on the same texts."""
        first, second = (one if isinstance(one, Score) else self.score(one) for one in (a, b))
        return self.compare_on(np.arange(len(self.dataset)), first, second)

    def compare_on(self, places: np.ndarray, a: Score, b: Score) -> Comparison:
        """Compare two scores whose texts are those at ``places``, in that order."""
        if not len(places) == a.n == b.n:
            raise AttnlabError(
                f"These scores are of {a.n} and {b.n} texts; to compare them pairwise, score both on the "
                f"same {len(places)}."
            )
        gained = int((b.correct & ~a.correct).sum())
        lost = int((a.correct & ~b.correct).sum())
        names = self.clf.label_names
        changed = np.flatnonzero(a.predictions != b.predictions)
        flips = pd.DataFrame(
            {
                "text": [self.dataset.texts[places[index]] for index in changed],
                "label": [names[self.labels[places[index]]] for index in changed],
                "before": [names[a.predictions[index]] for index in changed],
                "after": [names[b.predictions[index]] for index in changed],
            },
            index=places[changed],
        )
        loss = b.losses - a.losses
        half = _Z * loss.std(ddof=1) / math.sqrt(a.n) if a.n > 1 else math.inf
        return Comparison(
            delta=(gained - lost) / a.n,
            ci=paired_interval(gained, lost, a.n),
            p_value=mcnemar(gained, lost),
            flips=flips,
            loss_delta=float(loss.mean()),
            loss_ci=(float(loss.mean() - half), float(loss.mean() + half)),
        )

    def sweep(
        self,
        scale: float = 0.0,
        mode: Literal["exact", "fast"] = "exact",
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Set one head at a time to ``scale`` and measure; every other head stays neutral.

        Parameters
        ----------
        scale : 0 silences a head
        mode : "exact" computes in float32, "fast" in the fastest number format of the device
        progress : called as progress(heads done, heads in all)

        Returns
        -------
        DataFrame, a row per head: layer, head, accuracy, delta, ci_low, ci_high, p_value (exact
        McNemar, not corrected for the number of heads), loss, loss_delta. Changes are against
        neutral settings, in shares of 1 and nats. Heads removed for good are left out.
        """
        if mode not in ("exact", "fast"):
            raise AttnlabError(f"There is no mode {mode!r}. {suggest(mode, ('exact', 'fast'))}")
        worker = (
            self
            if self.fast == (mode == "fast")
            else Evaluator(self.clf, self.dataset, mode == "fast")
        )
        neutral = worker.score(self.clf.settings())
        gone = set(removed(self.clf))
        places = [
            (layer, head)
            for layer in range(self.clf.layers)
            for head in range(self.clf.heads)
            if (layer, head) not in gone
        ]
        rows = []
        for done, (layer, head) in enumerate(places, start=1):
            settings = self.clf.settings()
            settings.scale[layer, head] = scale
            score = worker.score(settings)
            change = worker.compare(neutral, score)
            rows.append(
                {
                    "layer": layer,
                    "head": head,
                    "accuracy": score.accuracy,
                    "delta": change.delta,
                    "ci_low": change.ci[0],
                    "ci_high": change.ci[1],
                    "p_value": change.p_value,
                    "loss": score.loss,
                    "loss_delta": change.loss_delta,
                }
            )
            if progress:
                progress(done, len(places))
        return pd.DataFrame(rows)


def paired_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    """95 % interval of a difference of paired proportions (Agresti and Min 2005: half a count added).

    >>> low, high = paired_interval(0, 0, 1000)   # no change seen is not proof of no change
    >>> low < 0 < high
    True
    """
    b, c, size = gained + 0.5, lost + 0.5, n + 2
    centre = (b - c) / size
    half = _Z * math.sqrt(max(b + c - (b - c) ** 2 / size, 0)) / size
    return max(centre - half, -1.0), min(centre + half, 1.0)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p-value from the numbers of answers gained and lost.

    >>> mcnemar(0, 0)
    1.0
    """
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue)


def _score(logits: torch.Tensor, labels: np.ndarray, seconds: float) -> Score:
    losses = torch.nn.functional.cross_entropy(
        logits, torch.as_tensor(labels), reduction="none"
    ).numpy()
    predictions = logits.argmax(-1).numpy()
    correct = predictions == labels
    accuracy = float(correct.mean())
    return Score(
        accuracy=accuracy,
        stderr=math.sqrt(accuracy * (1 - accuracy) / len(labels)),
        loss=float(losses.mean()),
        n=len(labels),
        predictions=predictions,
        seconds=seconds,
        correct=correct,
        losses=losses,
    )


def _labels_of(clf: Classifier, dataset: TextDataset) -> list[int]:
    """The data set's labels in the classifier's numbering, matched by name."""
    ours, theirs = clf.label_names, dataset.label_names
    unnamed = all(name.startswith("LABEL_") for name in ours)
    if unnamed and len(ours) == len(theirs) and not set(theirs) <= set(ours):
        return list(dataset.labels)
    return dataset.labels_in(ours)
