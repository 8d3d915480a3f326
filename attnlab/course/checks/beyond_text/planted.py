"""Models of which is known what they use, pictures or questions, for ``modality_experiment``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnlab.course.checks.examiner import Draw

__all__ = [
    "Planted",
    "misled",
    "often_wrong",
    "picture_reader",
    "question_reader",
    "reader_of_both",
]


@dataclass
class Planted:
    """A model of which we know what it uses, and what it was asked."""

    images: np.ndarray
    questions: list[str]
    labels: Any
    use: Callable[[np.ndarray, np.ndarray], np.ndarray]  # from numbers in pictures and questions
    calls: list[tuple[Any, Any, np.ndarray]] = field(default_factory=list)

    def answer(self, images: Any, questions: Sequence[str]) -> np.ndarray:
        """Predicted labels (N,); each call is kept."""
        images, questions = np.asarray(images), list(questions)
        if images.shape[1:] != self.images.shape[1:] or len(images) != len(questions):
            raise ValueError(
                f"expected as many pictures (N, 4, 4) as questions, got {images.shape} and "
                f"{len(questions)} questions"
            )
        numbers = np.array([int("0" + "".join(filter(str.isdigit, str(q)))) for q in questions])
        found = self.use(images[:, 0, 0].astype(int), numbers)
        self.calls.append((images.copy(), questions, found))
        return found


def _numbers(draw: Draw, n: int) -> np.ndarray:
    return np.array([draw.whole(0, 9) for _ in range(n)])


def _planted(
    draw: Draw,
    seen: np.ndarray,
    asked: np.ndarray,
    labels: Any,
    use: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Planted:
    """Pictures whose first pixel is a number, and whose other pixels make each unique."""
    images = np.zeros((len(seen), 4, 4), np.uint8)
    images[:, 0, 0] = seen
    images[:, 1, :2] = np.stack([np.arange(len(seen)) % 250, np.arange(len(seen)) // 250], 1)
    images[:, 2:] = 100 + draw.whole(0, 50)
    return Planted(images, [f"what about {number}?" for number in asked], labels, use)


def picture_reader(draw: Draw, n: int) -> Planted:
    """Always right, by the picture alone."""
    seen, asked = _numbers(draw, n), _numbers(draw, n)
    return _planted(draw, seen, asked, seen, lambda a, b: a)


def question_reader(draw: Draw, n: int) -> Planted:
    """Always right, by the question alone, though the picture says the same."""
    same = _numbers(draw, n)
    return _planted(draw, same, same, same.tolist(), lambda a, b: b)


def reader_of_both(draw: Draw, n: int) -> Planted:
    """Always right, by a sum of both."""
    seen, asked = _numbers(draw, n), _numbers(draw, n)
    return _planted(draw, seen, asked, (seen + asked) % 10, lambda a, b: (a + b) % 10)


def often_wrong(draw: Draw, n: int) -> Planted:
    """Right on some six of ten; only one picture in ten decides."""
    seen = np.where(_numbers(draw, n) == 0, 1, 0)
    asked = _numbers(draw, n)
    right = np.where(seen == 1, 20, asked)
    labels = np.where(_numbers(draw, n) < 4, right + 30, right)
    return _planted(draw, seen, asked, labels, lambda a, b: np.where(a == 1, 20, b))


def misled(draw: Draw, n: int) -> Planted:
    """Wrong where the picture shows the number asked about, as seven in ten do."""
    asked, others = _numbers(draw, n), _numbers(draw, n)
    seen = np.where(_numbers(draw, n) < 7, asked, others)
    return _planted(draw, seen, asked, asked, lambda a, b: np.where(a == b, b + 20, b))


def __dir__() -> list[str]:
    return sorted(__all__)
