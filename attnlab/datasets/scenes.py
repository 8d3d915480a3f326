"""Scenes made from digits: one among clutter, several with their boxes, and questions about them.

Everything is drawn from a seed, with the digits of a data set such as "mnist-5k"; each part of a
split is drawn from the digits of that part. Boxes are x, y, width and height in pixels, and go
along the ink.

Questions (`ask`, `questions`; `QUESTIONS` are all of them) are about a picture of two
rows and two columns, with a digit in three or four of its quarters; one is clearly the largest. The
picture does not tell what will be asked: it is drawn alike for all kinds of question. And the
question tells little about the answer: "is there" is as often yes as no, "how many" is 0, 1, 2 and
3 equally often, all other digits are about equally likely.

Some combinations are held out of train, dev and test (``hold_out``), to be asked about in the part
``held_out``, where every answer that rests on a digit rests on such a combination:

- "pairs": digits that are five apart (`HELD_OUT_PAIRS`) never stand in one picture. A model that
  reads each digit for itself does not notice.
- "places": digit d never stands at ``POSITIONS[d % 4]`` (`HELD_OUT_PLACES`). A model may learn that
  it never stands there, which is true in training, and be wrong here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from attnlab.datasets.drawing import Box, Stencils, paste
from attnlab.datasets.grammar import (
    ANSWERS,
    DIGITS,
    KINDS,
    POSITIONS,
    QUESTIONS,
    VOCABULARY,
    Kind,
    Question,
    QuestionDataset,
    answer,
    parse,
    words,
)
from attnlab.datasets.pictures import ImageDataset, SceneDataset
from attnlab.datasets.splits import Splits
from attnlab.errors import DataError, suggest

__all__ = [
    "ANSWERS",
    "HELD_OUT_PAIRS",
    "HELD_OUT_PLACES",
    "KINDS",
    "POSITIONS",
    "QUESTIONS",
    "VOCABULARY",
    "Question",
    "QuestionDataset",
    "QuestionSplits",
    "answer",
    "ask",
    "canvas",
    "parse",
    "place",
    "questions",
    "several",
    "words",
]

HoldOut = Literal["pairs", "places"]

HELD_OUT_PAIRS = frozenset(frozenset((digit, digit + 5)) for digit in range(5))
HELD_OUT_PLACES = frozenset((POSITIONS[digit % 4], digit) for digit in range(10))
_LARGE, _SMALL = (25, 28), (15, 19)  # sides of digits in question scenes of 56 x 56, in pixels


@dataclass(frozen=True, eq=False, repr=False)
class QuestionSplits(Splits):
    """Questions in four parts: ``held_out`` has combinations that the other three never have."""

    held_out: QuestionDataset

    def __repr__(self) -> str:
        return f"Question{super().__repr__()[:-1]}, {len(self.held_out):,} held out)"


# ── what and where ─────────────────────────────────────────────────────────────────────────────


def canvas(
    splits: Splits,
    size: int = 56,
    *,
    train: int = 8000,
    dev: int = 1000,
    test: int = 1000,
    clutter: int = 8,
    sides: tuple[int, int] = (16, 32),
    seed: int = 0,
) -> Splits:
    """One digit of any size anywhere on a cluttered canvas, with its box, in three parts.

    Parameters
    ----------
    splits : of an `ImageDataset` of grey pictures, bright on black, such as load("mnist-5k")
    train, dev, test : how many pictures of each part
    size, clutter, sides, seed : as for `place`, which draws more of them

    Returns
    -------
    Splits of `ImageDataset` with ``boxes``

    Raises
    ------
    DataError : as `place`
    """
    sizes = {"train": train, "dev": dev, "test": test}
    return Splits(
        **{
            part: place(
                getattr(splits, part), n, size, clutter=clutter, sides=sides, seed=4 * seed + number
            )
            for number, (part, n) in enumerate(sizes.items())
        }
    )


def place(
    digits: ImageDataset,
    n: int,
    size: int = 56,
    *,
    clutter: int = 8,
    sides: tuple[int, int] = (16, 32),
    seed: int | Sequence[int] = 0,
) -> ImageDataset:
    """Put one of the digits on each of ``n`` cluttered canvases.

    Parameters
    ----------
    digits : grey pictures, bright on black
    n : how many canvases
    size : side of a canvas in pixels
    clutter : how many pieces of other digits, at most 8 x 8 pixels each
    sides : the longer side of a digit, from and to, in pixels
    seed : the same seed gives the same pictures

    Returns
    -------
    ImageDataset, shape (n, size, size), with ``boxes``

    Raises
    ------
    DataError : pictures with colours or without ink, numbers below 0, digits larger than the canvas
    """
    scenes = several(digits, n, size, most=1, clutter=clutter, sides=sides, seed=seed)
    return scenes.single()


def several(
    digits: ImageDataset,
    n: int,
    size: int = 56,
    *,
    most: int = 4,
    clutter: int = 8,
    sides: tuple[int, int] = (12, 24),
    seed: int | Sequence[int] = 0,
) -> SceneDataset:
    """Put one digit, or up to ``most``, on each of ``n`` cluttered canvases; no boxes overlap.

    Where there is no room left for another digit, there are fewer. Parameters and errors are those
    of `place`.
    """
    _check("n", n)
    _check("clutter", clutter)
    _check("most", most, 1)
    if not 1 <= sides[0] <= sides[1] <= size:
        raise DataError(
            f"sides is {sides} and size is {size}. Give the smallest and the largest side of a "
            "digit, in pixels, which fit the canvas."
        )
    stencils = Stencils(digits)
    draw = np.random.default_rng(seed)
    images = np.zeros((n, size, size), np.uint8)
    labels: list[list[int]] = []
    boxes: list[np.ndarray] = []
    for image in images:
        found: list[Box] = []
        labels.append([])
        stencils.clutter(image, clutter, draw)
        for index in draw.integers(len(digits), size=draw.integers(1, most + 1)):
            thing = stencils.scaled(index, int(draw.integers(sides[0], sides[1] + 1)))
            free = _free(thing, found, size, draw)
            if free is not None:
                found.append(paste(image, thing, *free))
                labels[-1].append(digits.labels[index])
        boxes.append(np.array(found, np.float32))
    return SceneDataset(images, labels, boxes, digits.label_names, digits.name)


def _free(
    thing: np.ndarray, boxes: Sequence[Box], size: int, draw: np.random.Generator
) -> tuple[int, int] | None:
    """A random corner x, y for a thing that meets no box; None if forty tries find none."""
    height, width = thing.shape
    for _ in range(40):
        x, y = int(draw.integers(size - width + 1)), int(draw.integers(size - height + 1))
        if all(
            x >= left + w or left >= x + width or y >= top + h or top >= y + height
            for left, top, w, h in boxes
        ):
            return x, y
    return None


# ── questions ──────────────────────────────────────────────────────────────────────────────────


def questions(
    splits: Splits,
    size: int = 56,
    *,
    train: int = 8000,
    dev: int = 1000,
    test: int = 1000,
    held_out: int = 1000,
    kinds: Sequence[Kind] = KINDS,
    hold_out: HoldOut = "pairs",
    clutter: int = 0,
    seed: int = 0,
) -> QuestionSplits:
    """Pictures of several digits with a question each, in four parts.

    Parameters
    ----------
    splits : of digits, such as load("mnist-5k")
    train, dev, test, held_out : how many pictures of each part; those of ``held_out`` are drawn
        from the digits of test
    size, kinds, hold_out, clutter, seed : as for `ask`, which draws more of them

    Raises
    ------
    DataError : as `ask`
    """
    sizes = {"train": train, "dev": dev, "test": test, "held_out": held_out}
    more: dict[str, Any] = {"kinds": kinds, "hold_out": hold_out, "clutter": clutter}
    return QuestionSplits(
        **{
            part: ask(
                getattr(splits, part if part != "held_out" else "test"),
                n,
                size,
                held_out=part == "held_out",
                seed=4 * seed + number,
                **more,
            )
            for number, (part, n) in enumerate(sizes.items())
        }
    )


def ask(
    digits: ImageDataset,
    n: int,
    size: int = 56,
    *,
    kinds: Sequence[Kind] = KINDS,
    hold_out: HoldOut = "pairs",
    held_out: bool = False,
    clutter: int = 0,
    seed: int | Sequence[int] = 0,
) -> QuestionDataset:
    """Draw ``n`` pictures of several digits, and ask a question about each.

    Parameters
    ----------
    digits : grey pictures of the ten digits, bright on black
    n : how many pictures
    size : side of a picture in pixels; digits grow with it
    kinds : which kinds of question are asked, equally often
    hold_out : which combinations are kept out: two digits in one picture ("pairs"), or a digit at
        a position ("places")
    held_out : draw what is kept out, and ask about it
    clutter : how many pieces of other digits, at most 8 x 8 pixels each
    seed : the same seed gives the same pictures and questions

    Returns
    -------
    QuestionDataset, with pictures of shape (n, size, size)

    Raises
    ------
    DataError : pictures that are not of the ten digits, with colours or without ink; numbers below
        0; a size below 28; an unknown kind, or none; an unknown hold_out
    """
    _check("n", n)
    _check("clutter", clutter)
    _check("size", size, 28)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        told = suggest(unknown[0], KINDS) if unknown else f"Give some of {', '.join(KINDS)}."
        raise DataError(f"kinds is {kinds!r}. {told}")
    if hold_out not in get_args(HoldOut):
        raise DataError(f"hold_out is {hold_out!r}. {suggest(str(hold_out), get_args(HoldOut))}")
    by_digit = [np.flatnonzero(np.equal(digits.labels, digit)) for digit in range(10)]
    if digits.label_names != list(DIGITS) or not all(map(len, by_digit)):
        raise DataError(
            f"{digits!r} does not show all of the ten digits, labelled '0' to '9'. Use a set that "
            "does, such as mnist-5k."
        )
    stencils = Stencils(digits)
    draw = np.random.default_rng(seed)
    images = np.zeros((n, size, size), np.uint8)
    labels, boxes, asked, answers = [], [], [], []
    for image in images:
        stencils.clutter(image, clutter, draw)
        layout, question = _pose(kinds[int(draw.integers(len(kinds)))], hold_out, held_out, draw)
        found = []
        for position, digit in layout.digits.items():
            low, high = _LARGE if position == layout.largest else _SMALL
            side = int(draw.integers(low, high + 1)) * size // 56
            index = int(draw.choice(by_digit[digit]))
            thing = stencils.scaled(index, side)
            found.append(paste(image, thing, *_corner(thing, position, size, draw)))
        labels.append(list(layout.digits.values()))
        boxes.append(np.array(found, np.float32))
        asked.append(question.text)
        truth = answer(question, labels[-1], boxes[-1], (size, size))
        assert truth is not None  # each place has one digit, and one is the largest
        answers.append(ANSWERS.index(truth))
    scenes = SceneDataset(images, labels, boxes, list(DIGITS), digits.name)
    return QuestionDataset(scenes, asked, answers, list(ANSWERS), digits.name)


@dataclass(frozen=True)
class _Layout:
    """Which digit is at which position, which is there most often, and where the largest is."""

    digits: dict[str, int]
    repeated: int
    largest: str

    def held_out(self, hold_out: HoldOut) -> set[str]:
        """The positions of digits that training never has there, or never beside another here."""
        if hold_out == "places":
            return {
                place for place in self.digits if (place, self.digits[place]) in HELD_OUT_PLACES
            }
        there = {*self.digits.values()}
        together = {digit for pair in HELD_OUT_PAIRS if pair <= there for digit in pair}
        return {place for place, digit in self.digits.items() if digit in together}


def _pose(
    kind: Kind, hold_out: HoldOut, held_out: bool, draw: np.random.Generator
) -> tuple[_Layout, Question]:
    """A layout and a question of a kind, drawn again until what is held out allows both.

    What decides the answer is drawn first and stays: else the answers that are harder to allow
    would become rarer.
    """
    repeats, there = int(draw.integers(1, 4)), bool(draw.integers(2))
    if kind == "count":
        count = int(draw.integers(4))
        there, repeats = count > 0, count or repeats
    number = max(int(draw.integers(3, 5)), repeats + 1)
    while True:
        layout = _layout(repeats, number, draw)
        question, rests_on = _question(kind, there, layout, draw)
        unseen = layout.held_out(hold_out)
        if not held_out and not unseen:
            return layout, question
        if held_out and unseen & rests_on:
            if kind == "presence" and there and len(rests_on) > 1:
                continue  # found elsewhere as well
            return layout, question


def _layout(repeats: int, number: int, draw: np.random.Generator) -> _Layout:
    """So many digits at random positions, one of them so often, the others once."""
    places = draw.permutation(len(POSITIONS))[:number]
    first, *others = draw.permutation(10)[: 1 + number - repeats].tolist()
    digits = [first] * repeats + others
    largest = int(draw.integers(number))
    return _Layout(
        {POSITIONS[place]: digit for place, digit in sorted(zip(places, digits, strict=True))},
        first,
        POSITIONS[places[largest]],
    )


def _question(
    kind: Kind, there: bool, layout: _Layout, draw: np.random.Generator
) -> tuple[Question, set[str]]:
    """A question of a kind about a layout, and the positions that its answer rests on.

    ``there`` says whether the digit asked for is in the picture.
    """
    taken = layout.digits
    if kind == "position":
        about = list(taken)[int(draw.integers(len(taken)))]
        return Question(kind, about), {about}
    if kind == "size":
        return Question(kind), {layout.largest}
    if not there:
        absent = [digit for digit in range(10) if digit not in taken.values()]
        return Question(kind, str(draw.choice(absent))), {*taken}
    present = [layout.repeated] if kind == "count" else sorted({*taken.values()})
    digit = present[int(draw.integers(len(present)))]
    return Question(kind, str(digit)), {place for place, other in taken.items() if other == digit}


def _corner(
    thing: np.ndarray, position: str, size: int, draw: np.random.Generator
) -> tuple[int, int]:
    """A random corner x, y for a thing inside of its quarter."""
    half = size // 2
    row, column = divmod(POSITIONS.index(position), 2)
    height, width = thing.shape
    return (
        column * half + int(draw.integers(half - width + 1)),
        row * half + int(draw.integers(half - height + 1)),
    )


def _check(name: str, number: int, least: int = 0) -> None:
    if not isinstance(number, int | np.integer) or number < least:
        raise DataError(f"{name} is {number!r}. Give a whole number from {least}.")


def __dir__() -> list[str]:
    return sorted(__all__)
