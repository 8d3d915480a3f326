"""Exercise ``align_labels``: a label for each token, made from a label for each word."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import torch

from attnlab.course.checks.examiner import (
    CHANGES_LIST,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_list,
    require,
    where,
)

WordIds = Sequence[int | None]
Aligned = list[Any]

PER_WORD = (
    "For {tokens} tokens there are {found} labels: as many as there are words, and two special "
    "tokens.\nWhat if a word is cut into pieces?"
)
NO_SPECIAL = (
    "For {tokens} tokens there are {found} labels: special tokens are left out.\n"
    "Which number marks a token that should not count?"
)
NONE_INSIDE = (
    "There is None among the labels; they have to fit into a tensor of whole numbers.\n"
    "Which number does the loss leave out?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``align_labels(word_ids, labels)``: labels of tokens; -100 but for first pieces."""

    def whole_words() -> Call:
        return Call([None, 0, 1, 2, 3, None], _labels(draw, 4))

    def words_in_pieces() -> Call:
        pieces = [draw.whole(1, 3), 3, draw.whole(1, 2), 2 + draw.whole(4, 7)]
        words = [word for word, count in enumerate(pieces) for _ in range(count)]
        return Call([None, *words, None], _labels(draw, 4))

    def neighbours_alike() -> Call:
        label = draw.whole(1, 9)
        return Call([None, 0, 1, 1, 2, 3, 3, 4, None], [label, label, label, 0, 0])

    def later_window() -> Call:
        start = draw.whole(2, 4)
        words = [None, start, start, start + 1, start + 3, start + 3, None, None, None]
        return Call(words, _labels(draw, 9))

    def long_window() -> Call:
        start, count = draw.whole(40, 90), draw.whole(120, 160)
        words = [start + word for word in range(count) for _ in range(draw.whole(1, 3))]
        return Call([None, *words, None], _labels(draw, start + count + 5, below=4000))

    def no_word() -> Call:
        return Call([None] * draw.whole(2, 5), [])

    compared = Comparison(answer, reference, MISTAKES, read=_read)
    for situation, otherwise, held in (
        (
            whole_words,
            "Where each word is one token the labels are wrong.\nWhich word does each belong to?",
            "whole words get their labels, special tokens none",
        ),
        (
            words_in_pieces,
            "Where words are cut into pieces the labels are wrong.\n"
            "Which piece of a word is its first?",
            "of a word in pieces, the first one",
        ),
        (
            neighbours_alike,
            "Where neighbouring words have the same label the labels are wrong.\n"
            "What tells you that a new word begins?",
            "neighbours with the same label stay two words",
        ),
        (
            later_window,
            "In a later window of a long text, which begins with word {start}, the labels are "
            "wrong.\nWhere do the numbers of the words come in?",
            "the numbers of the words count, in a window of a longer text, too",
        ),
    ):
        given = "\nword_ids {words}, labels {labels}: it should be {right}; you return {found}."
        compared.on(situation, otherwise + given, facts=_facts)
        yield held

    compared.on(
        long_window,
        "In a window of some hundred tokens the labels are wrong.\nIs a length typed in?",
    )
    with where("In a text without words:"):
        compared.on(no_word, "The labels are wrong.\nWhat does a special token get?")
    yield "texts of any length"


def reference(word_ids: WordIds, labels: Sequence[int]) -> Aligned:
    """A label wherever a word occurs for the first time."""
    return [
        -100 if word is None or word in word_ids[:token] else labels[word]
        for token, word in enumerate(word_ids)
    ]


def _labels(draw: Draw, words: int, below: int = 50) -> list[int]:
    """A label for each word, all different, none 0 or the index of a token."""
    return (torch.randperm(below - 20, generator=draw.generator)[:words] + 20).tolist()


def _read(result: Any, right: Aligned) -> Aligned:
    """The labels, whole numbers, one for each token."""
    found = a_list(result, "labels")
    sizes = {"tokens": len(right), "found": len(found)}
    special = right.index(-100) == 0 and right[-1] == -100
    words = sum(label != -100 for label in right)
    require(len(found) != words + 2 or len(found) == len(right), PER_WORD.format(**sizes))
    require(not special or len(found) != len(right) - 2, NO_SPECIAL.format(**sizes))
    require(
        len(found) == len(right),
        f"For {len(right)} tokens there are {len(found)} labels: one for each token is asked for.\n"
        "Which ones have none?",
    )
    require(not any(label is None for label in found), NONE_INSIDE)
    require(
        all(isinstance(label, numbers.Integral) for label in found),
        f"The labels are {found}; each should be a whole number.\nWhat do you put into the list?",
    )
    return [int(label) for label in found]


def _facts(call: Call, result: Any) -> dict[str, Any]:
    words, labels = call.arguments
    return {
        "words": words,
        "labels": labels,
        "start": min(word for word in words if word is not None),
        "found": result,
        "right": call.of(reference),
    }


# --- What learners write instead -----------------------------------------------------------------


def _aligning(
    special: int | None = -100,
    later: Callable[[int], int] = lambda label: -100,
    first: bool = True,
    is_special: Callable[[int | None], bool] = lambda word: word is None,
) -> Callable[..., Aligned]:
    """Alignment with a part exchanged."""

    def answer(word_ids: WordIds, labels: Sequence[int]) -> Aligned:
        aligned: Aligned = []
        for token, word in enumerate(word_ids):
            if word is None or is_special(word):
                aligned.append(special)
            elif word != word_ids[token - 1 if first else token + 1]:
                aligned.append(labels[word])
            else:
                aligned.append(later(labels[word]))
        return aligned

    return answer


_right = _aligning()


def _first_of_two_pieces(word_ids: WordIds, labels: Sequence[int]) -> Aligned:
    """Each second piece counts as a new word."""
    aligned, first = _right(word_ids, labels), True
    for token, word in enumerate(word_ids):
        first = word != word_ids[token - 1] or not first
        if word is not None and first:
            aligned[token] = labels[word]
    return aligned


def _from_cls_on(word_ids: WordIds, labels: Sequence[int]) -> Aligned:
    aligned = _right(word_ids, labels)
    return aligned[1:] + aligned[:1]


def _label_by_token(word_ids: WordIds, labels: Sequence[int]) -> Aligned:
    rest = iter(labels)
    return [-100 if word is None else next(rest, -100) for word in word_ids]


def _label_by_word(word_ids: WordIds, labels: Sequence[int]) -> Aligned:
    rest = iter(labels)
    return [-100 if label == -100 else next(rest) for label in _right(word_ids, labels)]


def _new_label_new_word(word_ids: WordIds, labels: Sequence[int]) -> Aligned:
    aligned: Aligned = []
    before = None
    for word in word_ids:
        label = None if word is None else labels[word]
        aligned.append(-100 if label in (None, before) else label)
        before = label
    return aligned


def _taken_from_the_list(word_ids: WordIds, labels: list[int]) -> Aligned:
    return [-100 if label == -100 else labels.pop(0) for label in _right(word_ids, list(labels))]


MISTAKES = [
    Mistake(
        _from_cls_on,
        "The labels begin at [CLS], so each stands one token too early.\n"
        "What does word_ids say of the first token?",
    ),
    Mistake(
        _aligning(special=0),
        "[CLS] and [SEP] get the label 0, which is a class like any other.\n"
        "Which number does the loss leave out?",
    ),
    Mistake(
        _aligning(special=-1),
        "[CLS] and [SEP] get the label -1, which the loss does not leave out.\n"
        "Which number does it leave out, if nothing else is said?",
    ),
    Mistake(
        _aligning(is_special=lambda word: not word),
        "The first word gets no label. Its number is 0, and 0 counts as false.\n"
        "How do you ask whether something is None?",
    ),
    Mistake(
        _aligning(later=lambda label: label),
        "Every piece of a word gets its label: a word in three pieces counts three times.\n"
        "Which piece is to stand for the word?",
    ),
    Mistake(
        _aligning(first=False),
        "The last piece of a word gets its label, not the first.\n"
        "With which neighbour do you compare a token?",
    ),
    Mistake(
        _first_of_two_pieces,
        "In a word of three or more pieces a later one gets the label, too.\n"
        "What do you remember of the token before, if it was not a first piece?",
    ),
    Mistake(
        _label_by_token,
        "The labels are assigned token by token, as if no word were cut into pieces.\n"
        "Which word does a token belong to?",
    ),
    Mistake(
        _aligning(later=lambda label: 0),
        "Later pieces of a word get the label 0, which is a class like any other.\n"
        "Which number does the loss leave out?",
    ),
    Mistake(
        _new_label_new_word,
        "Neighbouring words with the same label are taken for one word.\n"
        "What tells you that a new word begins: its label, or its number?",
    ),
    Mistake(
        _label_by_word,
        "This is a later window of a long text: it begins with word {start}, and one word has no "
        "token. You assign the labels from the first on.\n"
        "Where do the numbers of the words come in?",
    ),
    Mistake(lambda word_ids, labels: [-100, *labels, -100], PER_WORD, compared=False),
    Mistake(lambda word_ids, labels: _right(word_ids, labels)[1:-1], NO_SPECIAL, compared=False),
    Mistake(_aligning(special=None), NONE_INSIDE, compared=False),
    Mistake(_taken_from_the_list, CHANGES_LIST, compared=False),
]

EXERCISE = Exercise("align_labels", "finetune_bert", 2, check, mistakes=MISTAKES)
