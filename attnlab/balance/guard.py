"""The guard of a tuner: texts that no knob was fitted to, which say whether a step is kept."""

import numpy as np

from attnlab import heads
from attnlab.balance.task import Objective
from attnlab.classification.classifier import Classifier
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError
from attnlab.evaluation.evaluator import Comparison, Evaluator, Score
from attnlab.heads import HeadSettings

_FEWEST = 16  # dev texts


def cut(dev: TextDataset, seed: int) -> tuple[TextDataset, TextDataset]:
    """Three quarters of the dev texts to tune on and a quarter as guard, of every label alike.

    Raises DataError for fewer than 16 texts.
    """
    if not isinstance(dev, TextDataset) or len(dev) < _FEWEST:
        raise DataError(
            f"Tuning needs labelled dev texts, at least {_FEWEST}, better a thousand; got {dev!r}."
        )
    order = np.random.default_rng([seed, 5]).permutation(len(dev))
    order = order[np.argsort(np.array(dev.labels)[order], kind="stable")]
    guard = np.zeros(len(dev), bool)
    guard[order[3::4]] = True
    return dev.select(np.flatnonzero(~guard)), dev.select(np.flatnonzero(guard))


class Guard:
    """Scores proposals on its texts, and says which are kept.

    Parameters
    ----------
    clf : the classifier that the tuner was given
    data : TextDataset
    objective : what is to become better beyond noise
    """

    def __init__(self, clf: Classifier, data: TextDataset, objective: Objective):
        self.clf, self.data, self.objective = clf, data, objective
        self._evaluator = Evaluator(clf, data)

    def score(self, clf: Classifier, settings: HeadSettings) -> Score:
        """How good a classifier is with these settings."""
        evaluator = self._evaluator if clf is self.clf else Evaluator(clf, self.data)
        return evaluator.score(settings)

    def compare(self, before: Score, after: Score) -> Comparison:
        """The change from one score to another, text by text."""
        return self._evaluator.compare(before, after)

    def gain(self, before: Score, after: Score) -> dict[str, float]:
        """What became of accuracy: ``n, before, after, delta, ci_low`` and ``ci_high``."""
        change = self.compare(before, after)
        return {
            "n": len(self.data),
            "before": before.accuracy,
            "after": after.accuracy,
            "delta": change.delta,
            "ci_low": change.ci[0],
            "ci_high": change.ci[1],
        }

    def judged(
        self,
        start: Score,
        before: Score,
        after: Score,
        heads_before: float = 1.0,
        heads_after: float = 1.0,
    ) -> tuple[bool, str]:
        """Whether a proposal is kept, and why.

        Parameters
        ----------
        start, before, after : Score when the tuner began, before the step, and with the proposal
        heads_before, heads_after : share of heads that are on

        It is kept if the objective is better beyond the 95 % interval of the loss, and accuracy is
        not worse beyond its paired interval than before the step, nor than at the start.
        """
        change = self.compare(before, after)
        for when, other in (
            ("before the step", change),
            ("at the start", self.compare(start, after)),
        ):
            if other.ci[1] < 0:
                return False, (
                    f"Guard accuracy is {-100 * other.delta:.1f} points below that {when}, beyond "
                    f"its interval ({100 * other.ci[0]:+.1f} to {100 * other.ci[1]:+.1f})."
                )
        # the share of heads is taken as it is, the loss with its noise
        moved = self.objective.heads * heads_after - self.objective.heads * heads_before
        delta, low, high = (
            self.objective.loss * loss + moved for loss in (change.loss_delta, *change.loss_ci)
        )
        what = "loss" if self.objective == Objective() else "objective"
        told = f"guard {what} {delta:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
        if high < 0:
            return True, (
                f"Better beyond noise: {told}; accuracy {100 * change.delta:+.1f} points."
            )
        return False, f"Not better beyond noise: {told}."


def count_on(clf: Classifier, settings: HeadSettings) -> int:
    """Heads that are on and were not removed."""
    on = settings.scale > 0
    for head in heads.removed(clf):
        on[head] = False
    return int(on.sum())
