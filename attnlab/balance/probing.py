"""What looks at the same few texts again and again while a model trains."""

from collections.abc import Sequence
from typing import Any

from attnlab.classification.classifier import Classifier, Text
from attnlab.errors import AttnlabError, DataError
from attnlab.training.callbacks import Callback


class Probing(Callback):
    """Measures a fixed set of texts, the probe, every few steps of a training.

    What is measured, a subclass says in ``__call__(clf, step)``.

    Parameters
    ----------
    texts : list of str, or of (str, str)
    every : steps between two measurements
    enough : how many texts do; for the message where there are none

    Raises
    ------
    DataError : no texts
    AttnlabError : ``every`` below 1
    """

    def __init__(self, texts: Sequence[Text], every: int, enough: int):
        if isinstance(texts, str) or not isinstance(texts, Sequence) or not texts:
            raise DataError(
                f"A {type(self).__name__} needs texts to measure. Give a list of some {enough}."
            )
        if every < 1 or every != int(every):
            raise AttnlabError(f"every is {every}; it counts steps: 1, 2, 3 or more.")
        self.texts, self.every = list(texts), int(every)

    def __call__(self, clf: Classifier, step: int) -> None:
        """Measure, if it is time: after step number ``step``, or with 0 before the first."""
        raise NotImplementedError

    def on_start(self, run: Any) -> None:
        """Measure before the first step; of a run that goes on this was done before."""
        if run.step == 0:
            self(run.learner, 0)

    def on_step(self, run: Any) -> None:
        """Measure after a step, if it is time."""
        if not run.left_out:
            self(run.learner, run.step)
