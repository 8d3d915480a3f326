"""A measurement under way: it can be advanced, stopped, and compared with another."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from attnlab import heads
from attnlab.errors import AttnlabError
from attnlab.evaluation.scores import Comparison, Score, compare_scores
from attnlab.heads.settings import HeadSettings

if TYPE_CHECKING:
    from attnlab.evaluation.evaluator import Evaluator

FIRST = 16  # texts in the first chunk
_LARGEST = 256  # texts in a chunk


@dataclass(frozen=True, eq=False)
class Snapshot:
    """How far a measurement is.

    Attributes
    ----------
    score : Score on the texts seen so far
    indices : int array, which texts of the data set these are, in the order of the score
    total : texts in all
    """

    score: Score
    indices: np.ndarray
    total: int

    @property
    def finished(self) -> bool:
        """Whether every text was seen."""
        return len(self.indices) == self.total


class Measurement:
    """One setting, measured chunk by chunk until all texts are seen.

    Every chunk is a random sample of the texts, the same in each measurement, so that the score so
    far is an unbiased estimate, and two settings can be compared on the texts both have seen.
    Iterating over a measurement advances it, and yields each Snapshot from the first.

    Parameters
    ----------
    evaluator : Evaluator
    settings : HeadSettings; None takes the model as it stands
    first : texts in the first chunk; each further chunk is twice as large, up to 256

    Attributes
    ----------
    settings : a copy of the HeadSettings measured
    snapshots : list of Snapshot, one per chunk measured
    """

    def __init__(
        self, evaluator: "Evaluator", settings: HeadSettings | None = None, first: int = FIRST
    ):
        if first < 1:
            raise AttnlabError(f"first is {first}; a chunk holds at least 1 text.")
        self.evaluator = evaluator
        self.settings = heads.one_setting(evaluator.clf, settings)
        self.snapshots: list[Snapshot] = []
        self._chunks = list(_random_chunks(len(evaluator.dataset), first))
        self._logits: list[Tensor] = []
        self._seconds = 0.0

    @property
    def finished(self) -> bool:
        """Whether every text was seen."""
        return len(self.snapshots) == len(self._chunks)

    @property
    def score(self) -> Score | None:
        """The score on the texts seen so far; None before the first chunk."""
        return self.snapshots[-1].score if self.snapshots else None

    def advance(self, stop: Callable[[], bool] | None = None) -> Snapshot:
        """Measure one more chunk; a finished measurement stays as it is.

        Parameters
        ----------
        stop : asked between batches; when it says True the chunk is given up and
            `classification.base.Stopped` raised. Chunks measured before stay.
        """
        if self.finished:
            return self.snapshots[-1]
        evaluator, start = self.evaluator, time.perf_counter()
        latest = evaluator.logits(self.settings, self._chunks[len(self.snapshots)], stop)
        seconds = self._seconds + time.perf_counter() - start
        logits = torch.cat([*self._logits, latest])
        indices = np.concatenate(self._chunks[: len(self.snapshots) + 1])
        if len(indices) == len(evaluator.dataset):  # back into the order of the data set
            order = np.argsort(indices)
            indices, logits = indices[order], logits[order]
        score = Score.of(logits, evaluator.labels[indices], seconds)
        self._logits.append(latest)
        self._seconds = seconds
        self.snapshots.append(Snapshot(score, indices, len(evaluator.dataset)))
        return self.snapshots[-1]

    def at(self, step: int, stop: Callable[[], bool] | None = None) -> Snapshot:
        """The snapshot after chunk ``step``, counted from 0, measured now if it was not before."""
        while len(self.snapshots) <= step and not self.finished:
            self.advance(stop)
        return self.snapshots[step]

    def compare(self, other: "Measurement", step: int | None = None) -> Comparison:
        """Compare with another measurement of the same texts: ``other`` minus this one.

        Parameters
        ----------
        other : Measurement of the same evaluator
        step : after which chunk; default the last one that both have measured

        Raises
        ------
        AttnlabError : a measurement of another evaluator, or one that has not begun
        """
        both = min(len(self.snapshots), len(other.snapshots))
        if other.evaluator is not self.evaluator or not both:
            raise AttnlabError(
                "Two measurements are compared on texts that both have seen. Take both from one "
                "Evaluator, ev.stream(settings), and call advance() on each."
            )
        step = both - 1 if step is None else step
        before, after, evaluator = self.snapshots[step], other.snapshots[step], self.evaluator
        return compare_scores(
            before.score,
            after.score,
            evaluator.dataset,
            evaluator.labels,
            evaluator.clf.label_names,
            before.indices,
        )

    def __iter__(self) -> Iterator[Snapshot]:
        return (self.at(step) for step in range(len(self._chunks)))


def _random_chunks(count: int, first: int) -> Iterator[np.ndarray]:
    """Random samples of ``count`` texts, growing, that together are all of them."""
    # a running estimate must not see the short texts first: they are easier
    order = np.random.default_rng(0).permutation(count)
    start, size = 0, first
    while start < count:
        yield order[start : start + size]
        start, size = start + size, min(2 * size, _LARGEST)
