"""What was measured of one sub-network, and how it is written down."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Text
from attnlab.economics.formats import NumberFormat, in_format
from attnlab.economics.plans import Plan

__all__ = ["Point"]


@dataclass(frozen=True, eq=False)
class Point:
    """A sub-network that was measured.

    Attributes
    ----------
    origin : who chose it
    plan : what stays
    costs : by name; a cost that is not known is absent
    loss : mean cross-entropy on dev, nats
    correct : bool array (N,), whether each answer is right
    seconds : that building and measuring it took
    bids : by which it was bought, a record, if it was
    number_format : "float32" or "int8", in which all this was measured
    """

    origin: str
    plan: Plan
    costs: dict[str, float]
    loss: float
    correct: np.ndarray
    seconds: float
    bids: dict[str, Any] | None = None
    number_format: NumberFormat = "float32"

    @property
    def key(self) -> tuple[Plan, str]:
        """What no other point of a search has."""
        return self.plan, self.number_format

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.correct.mean())

    @contextlib.contextmanager
    def classifier(
        self, clf: Classifier, repair: Sequence[Text] | None = None
    ) -> Iterator[Classifier]:
        """Give the sub-network itself, in its number format, while the block lasts.

        Parameters
        ----------
        clf : the classifier that was searched, whole
        repair : what it was repaired with, see `Plan.apply`
        """
        smaller = clf if self.origin == "whole" else self.plan.apply(clf, repair)
        with in_format(smaller, self.number_format) as ready:
            yield ready

    def to_json(self, whole: Plan) -> dict[str, Any]:
        """Return a record; ``whole`` is the plan that keeps everything."""
        packed = np.packbits(self.correct).tobytes().hex()
        return {
            "origin": self.origin,
            "plan": self.plan.to_json(whole),
            "costs": self.costs,
            "loss": self.loss,
            "correct": [packed, len(self.correct)],
            "seconds": self.seconds,
            "bids": self.bids,
            "number_format": self.number_format,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any], whole: Plan) -> "Point":
        """Return the point of a record."""
        packed, count = record["correct"]
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(packed), np.uint8), count=count)
        read = {"plan": Plan.from_json(record["plan"], whole), "correct": bits.astype(bool)}
        return cls(**record | read)


def __dir__() -> list[str]:
    return sorted(__all__)
