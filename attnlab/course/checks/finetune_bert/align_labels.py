"""Check of ``align_labels``."""

import numbers
from collections.abc import Generator

import torch

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_list,
    require,
)


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``align_labels(word_ids, labels)``: one label per token; -100 but for the first piece of "
    "each word."""
    labels = _labels(draw, 4)
    words = [None, 0, 1, 2, 3, None]
    found = _aligned(answer, words, labels)
    _same_labels(
        found,
        words,
        labels,
        {
            "The labels begin at [CLS], so each stands one token too early.\n"
            "What does word_ids say of the first token?": [*labels, -100, -100],
            "[CLS] and [SEP] get the label 0, which is a class like any other.\n"
            "Which number does the loss leave out?": [0, *labels, 0],
            "[CLS] and [SEP] get the label -1, which the loss does not leave out.\n"
            "Which number does it leave out, if nothing else is said?": [-1, *labels, -1],
            "The first word gets no label. Its number is 0, and 0 counts as false.\n"
            "How do you ask whether something is None?": [-100, -100, *labels[1:], -100],
        },
        "Where each word is one token the labels are wrong.\nWhich word does each token belong to?",
    )
    yield "whole words get their labels, special tokens none"

    labels = _labels(draw, 4)
    pieces = [draw.whole(1, 3), 3, draw.whole(1, 2), 2]
    words = [None, *(word for word, count in enumerate(pieces) for _ in range(count)), None]
    found = _aligned(answer, words, labels)
    inside = words[1:-1]
    last = [a != b for a, b in zip(inside, [*inside[1:], None], strict=True)]
    in_turn = [*labels, *[-100] * len(words)][: len(inside)]
    first = _reference_labels(words, labels)
    _same_labels(
        found,
        words,
        labels,
        {
            "Every piece of a word gets its label: a word in three pieces counts three times.\n"
            "Which piece is to stand for the word?": [-100, *(labels[w] for w in inside), -100],
            "The last piece of a word gets its label, not the first.\n"
            "With which neighbour do you compare a token?": [
                -100,
                *(labels[w] if yes else -100 for w, yes in zip(inside, last, strict=True)),
                -100,
            ],
            "The labels are dealt out token by token, as if no word were cut into pieces.\n"
            "Which word does a token belong to?": [-100, *in_turn, -100],
            "Later pieces of a word get the label 0, which is a class like any other.\n"
            "Which number does the loss leave out?": [
                -100,
                *(0 if one == -100 else one for one in first[1:-1]),
                -100,
            ],
        },
        "Where words are cut into pieces the labels are wrong.\nWhich piece of a word is its "
        "first?",
    )
    yield "of a word in pieces, the first one"

    label = draw.whole(1, 9)
    labels, words = [label, label, label, 0, 0], [None, 0, 1, 1, 2, 3, 3, 4, None]
    merged = [-100, label, -100, -100, -100, 0, -100, -100, -100]
    _same_labels(
        _aligned(answer, words, labels),
        words,
        labels,
        {
            "Neighbouring words with the same label are taken for one word.\n"
            "What tells you that a new word begins: its label, or its number?": merged,
        },
        "Where neighbouring words have the same label the labels are wrong.\n"
        "What tells you that a new word begins?",
    )
    yield "neighbours with the same label stay two words"

    labels, start = _labels(draw, 9), draw.whole(2, 4)
    words = [None, start, start, start + 1, start + 3, start + 3, None, None, None]
    dealt = iter(labels)
    in_order = [-100 if one == -100 else next(dealt) for one in _reference_labels(words, labels)]
    _same_labels(
        _aligned(answer, words, labels),
        words,
        labels,
        {
            f"This is a later window of a long text: it begins with word {start}, and one word "
            f"has no token. You "
            "deal the labels out from the first on.\n"
            "Where do the numbers of the words come in?": in_order,
        },
        f"In a later window of a long text, which begins with word {start}, the labels are wrong.\n"
        "Where do the numbers of the words come in?",
    )
    yield "the numbers of the words count, in a window of a longer text, too"


def _labels(draw: Draw, words: int) -> list[int]:
    """A label for each word, all different, none 0 or equal to a place."""
    return (torch.randperm(30, generator=draw.generator)[:words] + 20).tolist()


def _reference_labels(words: list[int | None], labels: list[int]) -> list[int]:
    return [
        -100 if word is None or word in words[:place] else labels[word]
        for place, word in enumerate(words)
    ]


def _aligned(answer: Answer, words: list[int | None], labels: list[int]) -> list[int]:
    """The answer's labels, whole numbers, one for each token."""
    found = a_list(answer(words, labels), "labels")
    real = [word for word in words if word is not None]
    shorter = {
        len(labels) + 2: "as many as there are words, and two special tokens.\n"
        "What if a word is cut into pieces?",
        len(
            real
        ): "special tokens are left out.\nWhich number marks a token that should not count?",
    }
    require(
        len(found) == len(words),
        f"For {len(words)} tokens there are {len(found)} labels: "
        + shorter.get(len(found), "one for each token is asked for.\nWhich ones have none?"),
    )
    require(
        not any(one is None for one in found),
        "There is None among the labels; they have to fit into a tensor of whole numbers.\n"
        "Which number does the loss leave out?",
    )
    require(
        all(isinstance(one, numbers.Integral) for one in found),
        f"The labels are {found}; each should be a whole number.\nWhat do you put into the list?",
    )
    return found


def _same_labels(
    found: list[int],
    words: list[int | None],
    labels: list[int],
    mistakes: dict[str, list[int]],
    otherwise: str,
) -> None:
    """Fail unless the labels are right; the mistake that gives these very labels is named."""
    right = _reference_labels(words, labels)
    if found == right:
        return
    for diagnosis, mistaken in mistakes.items():
        require(found != mistaken, diagnosis)
    raise CheckFailed(
        f"{otherwise}\nword_ids {words}, labels {labels}: it should be {right}; you return {found}."
    )


EXERCISE = Exercise("align_labels", "finetune_bert", 2, check)
