"""Synthetic messages to a shop, and the answer book that goes with them.

Nobody ever wrote these: they come from templates of ours, and whoever writes templates for a test
knows what is tested. What scores on them show is that a method works at all, not how well it would
do for customers. The templates of the part "unseen" are worded unlike those of "seen", so that a
score there is no test of memory; there are few, so intervals must be taken over templates.
"""

import random
import re
from typing import Literal

import pandas as pd

from attnlab.datasets.message_templates import BOOK, SLOTS
from attnlab.datasets.texts import normalise
from attnlab.errors import DataError, suggest

__all__ = ["TOPICS", "Part", "answer_book", "messages"]

TOPICS = tuple(BOOK)
Part = Literal["seen", "unseen"]  # by a model in training, or kept out of it
_PARTS = ("seen", "unseen")


def answer_book() -> pd.DataFrame:
    """The 24 entries of the answer book: ``topic``, ``question``, ``answer``."""
    rows = [(topic, entry.question, entry.answer) for topic, part in BOOK.items() for entry in part]
    return pd.DataFrame(rows, columns=["topic", "question", "answer"])


def messages(n: int, part: Part = "seen", seed: int = 0) -> pd.DataFrame:
    """Synthetic messages, all different.

    Parameters
    ----------
    n : how many; each entry of the book and each template has about as many as the others, until
        one has no more
    part : "seen" for templates to learn from, "unseen" for others
    seed : of what is drawn; the same on every machine

    Returns
    -------
    DataFrame with ``text``; ``topic``; ``entry``, the row of `answer_book` that answers it; and
    ``template``, a number: messages of one template are alike

    Raises
    ------
    DataError : another part, a negative number, or more messages than there are

    Examples
    --------
    >>> messages(2)["topic"].tolist()
    ['delivery', 'delivery']
    """
    if part not in _PARTS:
        raise DataError(f"There is no part {part!r}. {suggest(part, _PARTS)}")
    if n < 0:
        raise DataError(f"n is {n}. Give the number of messages.")
    draw = random.Random(f"{seed} {part}")
    entries = [(topic, entry) for topic, own in BOOK.items() for entry in own]
    templates = [
        (row, topic, template)
        for row, (topic, entry) in enumerate(entries)
        for template in getattr(entry, part)
    ]
    rows: list[tuple[str, str, int, int]] = []
    known: set[str] = set()
    tries = last = 0  # and the try that gave something new
    while len(rows) < n:
        if tries > last + 20 * len(templates):
            raise DataError(
                f"There are {len(rows)} different messages of this part, or few more, and not {n}."
            )
        number = tries % len(templates)
        tries += 1
        row, topic, template = templates[number]
        text = _filled(template, draw)
        if normalise(text) not in known:
            known.add(normalise(text))
            last = tries
            rows.append((text, topic, row, number))
    return pd.DataFrame(rows, columns=["text", "topic", "entry", "template"])


def _filled(template: str, draw: random.Random) -> str:
    """The template with its choices made and its slots filled."""

    def one(choices: list[str]) -> str:
        return choices[int(draw.random() * len(choices))]  # alike in all versions of Python

    chosen = re.sub(r"\[(.*?)\]", lambda found: one(found[1].split("|")), template)
    return re.sub(r"\{(\w+)\}", lambda found: one(SLOTS[found[1]]), chosen)


def __dir__() -> list[str]:
    return sorted(__all__)
