"""Number formats of sub-networks: float32 in PyTorch, and int8 in ONNX Runtime."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from attnlab.classification.classifier import Classifier
from attnlab.classification.loading import load_classifier
from attnlab.compression.copies import copied
from attnlab.economics.budgets import Predicts
from attnlab.economics.passes import forward_pass
from attnlab.economics.shapes import Shape
from attnlab.economics.timing import interleaved
from attnlab.errors import AttnlabError, option, suggest

__all__ = [
    "FORMATS",
    "NumberFormat",
    "Scaled",
    "check_formats",
    "in_format",
    "measured_ms",
    "on_cpu",
]

NumberFormat = Literal["float32", "int8"]
FORMATS: tuple[NumberFormat, ...] = get_args(NumberFormat)


def check_formats(formats: Sequence[str]) -> None:
    """Raise AttnlabError for unknown number formats, for none, and for one that is named twice."""
    for each in [formats] if isinstance(formats, str) else formats:
        if each not in FORMATS:
            raise AttnlabError(f"There is no number format {each!r}. {suggest(each, FORMATS)}")
    if isinstance(formats, str) or not formats or len(set(formats)) < len(formats):
        raise AttnlabError(
            f"{option('formats')} are {formats!r}; expected one number format or more of "
            f"{', '.join(FORMATS)}, each once."
        )


@contextlib.contextmanager
def in_format(clf: Classifier, number_format: NumberFormat) -> Iterator[Classifier]:
    """Yield a classifier as it computes in a number format, while the block lasts.

    Parameters
    ----------
    clf : Classifier, stays as it is
    number_format : "float32" is the classifier itself; "int8" what ``clf.export(folder, "int8")``
        writes, really quantised, run by ONNX Runtime

    Raises
    ------
    MissingPackage : ONNX Runtime is not installed
    """
    if number_format == "float32":
        yield clf
        return
    with tempfile.TemporaryDirectory() as folder:
        yield load_classifier(on_cpu(clf).export(Path(folder) / "int8", quantize="int8"))


def on_cpu(clf: Classifier) -> Classifier:
    """The classifier if it is on the CPU, else a copy that is; the one given stays where it is."""
    return clf if clf.device.type == "cpu" else copied(clf).to("cpu")


def measured_ms(clf: Any, tokens: int, batch: int, rounds: int = 20, seconds: float = 5.0) -> float:
    """Return the milliseconds that a classifier takes for B texts of T tokens, see `latency`.

    It is the quiet time, ``ms_quiet``, and no warning of a busy machine comes with it.
    """
    times = interleaved({"": forward_pass(clf, tokens, batch)}, rounds=rounds, seconds=seconds)
    return float(times.summary()["ms_quiet"].iloc[0])


@dataclass(frozen=True)
class Scaled:
    """A prediction of milliseconds times a factor: a guess, good enough to choose what to measure.

    Attributes
    ----------
    latency : predicts milliseconds
    factor : such as int8's time over that of float32, measured on the whole classifier
    """

    latency: Predicts
    factor: float

    def predict(self, shape: Shape, tokens: int = 32, batch: int = 1) -> float:
        """Milliseconds of one forward pass, about."""
        return self.factor * self.latency.predict(shape, tokens, batch)


def __dir__() -> list[str]:
    return sorted(__all__)
