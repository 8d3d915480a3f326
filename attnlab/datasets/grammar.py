"""A small grammar of questions about digits in a picture: asking, understanding, answering.

There are four kinds: which digit is at a place, whether a digit is there, how often it is, and
which is the largest. Nothing else is understood.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from attnlab.datasets.labelled import Labelled
from attnlab.datasets.pictures import SceneDataset
from attnlab.datasets.texts import normalise
from attnlab.errors import DataError, suggest

Kind = Literal["position", "presence", "count", "size"]

KINDS: tuple[Kind, ...] = get_args(Kind)
POSITIONS = ("top left", "top right", "bottom left", "bottom right")
DIGITS = tuple("0123456789")
ANSWERS = (*DIGITS, "yes", "no")


@dataclass(frozen=True)
class Question:
    """A question of the grammar.

    Attributes
    ----------
    kind : what is asked, one of `KINDS`
    about : a place, of `POSITIONS`, for "position"; a digit for "presence" and "count"; "" for
        "size"
    """

    kind: Kind
    about: str = ""

    @property
    def text(self) -> str:
        """How it is asked in English."""
        if self.kind == "position":
            return f"which digit is at the {self.about}?"
        if self.kind == "presence":
            return f"is there {'an' if self.about == '8' else 'a'} {self.about}?"
        return f"how many {self.about}s?" if self.kind == "count" else "which digit is the largest?"


QUESTIONS = (
    *(Question("position", place) for place in POSITIONS),
    *(Question("presence", digit) for digit in DIGITS),
    *(Question("count", digit) for digit in DIGITS),
    Question("size"),
)


def words(text: str) -> list[str]:
    """The words of a question, for a model that reads it; all of them are in `VOCABULARY`.

    A digit is a word of its own, and "an" is "a".

    >>> words("How many 8s?"), words("is there an 8?")
    (['how', 'many', '8', 's'], ['is', 'there', 'a', '8'])
    """
    found = re.findall(r"[^\W\d_]+|\d", normalise(text))
    return ["a" if word == "an" else word for word in found]


VOCABULARY = tuple(sorted({word for question in QUESTIONS for word in words(question.text)}))
_KNOWN = {tuple(words(question.text)): question for question in QUESTIONS}


def parse(text: str) -> Question:
    """Understand a question; case, spaces and the question mark do not matter.

    Raises
    ------
    DataError : a question that is not of the grammar, with the nearest that is

    >>> parse("Is there a 7?")
    Question(kind='presence', about='7')
    """
    question = _KNOWN.get(tuple(words(text)))
    if question is None:
        known = [question.text for question in QUESTIONS]
        near = suggest(text, known)
        if not near.startswith("Did you mean"):
            kinds = {question.kind: question.text for question in QUESTIONS}
            near = f"Ask, for example: {' '.join(kinds.values())}"
        raise DataError(f"{text!r:.80} is no question that can be answered here. {near}")
    return question


def answer(
    question: Question, labels: Sequence[int], boxes: np.ndarray, size: tuple[int, int]
) -> str | None:
    """The right answer, from what is in the picture.

    Parameters
    ----------
    question : of the grammar
    labels : the digits in the picture
    boxes : array, shape (digits, 4): x, y, width, height in pixels
    size : the picture's height and width

    Returns
    -------
    One of `ANSWERS`; None if nothing, or more than one digit, is at that place, or several are the
    largest. The largest is the one with the longest side; a digit is where its centre is.
    """
    digits = [str(label) for label in labels]
    if question.kind == "presence":
        return "yes" if question.about in digits else "no"
    if question.kind == "count":
        count = str(digits.count(question.about))
        return count if count in ANSWERS else None
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    if question.kind == "position":
        chosen = [position == question.about for position in positions(boxes, size)]
    else:
        sides = boxes[:, 2:].max(1)
        chosen = list(sides == sides.max(initial=0))
    return digits[chosen.index(True)] if sum(chosen) == 1 else None


def positions(boxes: np.ndarray, size: tuple[int, int]) -> list[str]:
    """Which of the four `POSITIONS` each box, shape (n, 4), has its centre in."""
    height, width = size
    return [
        POSITIONS[2 * int(y + h / 2 >= height / 2) + int(x + w / 2 >= width / 2)]
        for x, y, w, h in np.asarray(boxes, dtype=float)
    ]


@dataclass(frozen=True, eq=False)
class QuestionDataset(Labelled):
    """Pictures with a question each, whose answer is the label.

    Attributes
    ----------
    scenes : SceneDataset of N pictures, with every digit in its box
    questions : list of N str
    labels : list of N int, the answers as indices into label_names
    label_names : list of str, `ANSWERS`
    name : str
    """

    scenes: SceneDataset
    questions: list[str]
    labels: list[int]
    label_names: list[str]
    name: str

    examples = "questions"

    def __post_init__(self) -> None:
        self.check_labels(len(self.questions))
        if len(self.scenes) != len(self):
            raise DataError(
                f"{self.name} has {len(self.scenes)} pictures and {len(self)} questions. Give each "
                "picture one."
            )

    @property
    def images(self) -> np.ndarray:
        """The pictures, a uint8 array, shape (N, H, W)."""
        return self.scenes.images

    @property
    def kinds(self) -> list[Kind]:
        """Which kind each question is of, to give a score for each."""
        return [parse(question).kind for question in self.questions]

    def select(self, indices: Sequence[int] | np.ndarray) -> "QuestionDataset":
        """The pictures with these indices, in this order, each with its question."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            scenes=self.scenes.select(chosen),
            questions=[self.questions[index] for index in chosen],
            labels=[self.labels[index] for index in chosen],
        )

    def __repr__(self) -> str:
        return f"QuestionDataset({self.name!r}, {len(self):,} questions about as many pictures)"
