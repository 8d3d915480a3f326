"""The exercise ``teacher_forcing``."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    CHANGES_LIST,
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_pair,
    a_tensor,
    require,
    where,
)

ANY_IDS = (
    "Right for different ids, wrong where they repeat, are many, or where one of them or a mark is "
    "0.\nAre ids left out, or judged by their value? 0 is an id like any other."
)
NOT_WHOLE = (
    "The tensor of {what} is of type {dtype}; ids are whole numbers.\n"
    "Was it made by torch.zeros or torch.full without a dtype?"
)
OTHERWISE = "{difference}"
SEVERAL = (
    "Right for one sentence, wrong for several of different lengths.\n{difference}\n"
    "Both tensors are as wide as the longest sentence and its mark, with padding at the end of "
    "every shorter row: which row differs?"
)
EMPTY = (
    "{difference}\nEven an empty sentence has an end to say: are the marks added whatever the "
    "length?"
)

Rows = list[list[int]]
Forced = tuple[Tensor, Tensor]


def check(answer: Answer, draw: Draw) -> Held:
    """``teacher_forcing(targets, start, end, padding)``: what is read, and what is to be said."""
    compared = Comparison(answer, _reference, MISTAKES, read=_forced)
    compared.on(partial(_sentences, draw, [5]), OTHERWISE, facts=_facts)
    yield "one sentence: labels are what it reads, one place ahead, with the end mark last"
    compared.on(lambda: _sentences(draw, _lengths(draw)), SEVERAL, facts=_facts)
    yield "several: padding stands at the end of the shorter ones"
    for zero in ("start", "end", "padding", "a token"):
        Comparison(answer, _reference, read=_of_any_ids).on(partial(_any_ids, draw, zero), ANY_IDS)
    yield "whichever ids, 0 and repeated ones among them, and however many"
    for lengths in ([1], [0], [0, 4, 1]):
        told = " and ".join(map(str, lengths))
        with where(f"For sentences of {told} tokens:"):
            Comparison(answer, _reference, read=_forced).on(
                partial(_sentences, draw, lengths), EMPTY, facts=_facts, draws=1
            )
    yield "a sentence of one token, and an empty one"


def _lengths(draw: Draw) -> list[int]:
    """Different lengths, the longest neither first nor last."""
    return [draw.whole(2, 3), draw.whole(6, 8), draw.whole(4, 5)]


def _sentences(draw: Draw, lengths: Sequence[int]) -> Call:
    """Sentences of different ids, none of them 0, and three other ids for the marks."""
    ids = (1 + torch.randperm(40, generator=draw.generator)).tolist()
    start, end, padding = ids[:3]
    rows, place = [], 3
    for length in lengths:
        rows.append(ids[place : place + length])
        place += length
    return Call(rows, start, end, padding)


def _any_ids(draw: Draw, zero: str) -> Call:
    """Many ids with repetitions, the marks among them; one id is 0."""
    marks = {"start": 1, "end": 2, "padding": 3} | {zero: 0}
    words = [word for word in range(7) if word != marks["padding"]]
    picked = torch.randint(len(words), (2, 40), generator=draw.generator)
    long, short = ([words[index] for index in row] for row in picked.tolist())
    both = [marks["start"], marks["end"]]
    return Call([[*long, *both, *long], short], marks["start"], marks["end"], marks["padding"])


def _filled(rows: Rows, padding: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows]).long()


def _reference(targets: Rows, start: int, end: int, padding: int) -> Forced:
    return (
        _filled([[start, *ids] for ids in targets], padding),
        _filled([[*ids, end] for ids in targets], padding),
    )


def _forced(result: Any, right: Any) -> Forced:
    parts = a_pair(result, "what is fed", "labels")
    for what, part in zip(("what is fed", "labels"), parts, strict=True):
        a_tensor(part, tuple(right[0].shape), what)
        whole = not part.is_floating_point() and part.dtype != torch.bool
        require(whole, NOT_WHOLE.format(what=what, dtype=part.dtype))
    return parts[0].long(), parts[1].long()


def _of_any_ids(result: Any, right: Any) -> Forced:
    """As `_forced`; other lengths than with other ids mean that ids are lost."""
    try:
        return _forced(result, right)
    except CheckFailed:
        raise CheckFailed(ANY_IDS) from None


def _facts(call: Call, result: Any) -> dict[str, object]:
    """The first row that differs, in words."""
    targets, start, end, padding = call.arguments
    right = call.of(_reference)
    try:
        found = _forced(result, right)
    except CheckFailed as failure:
        return {"difference": str(failure)}
    for row, ids in enumerate(targets):
        shown = f"With ids {ids}, start {start}, end {end} and padding {padding}"
        fed, labels = (part[row].tolist() for part in found)
        if fed != right[0][row].tolist():
            told = "Before each of the tokens to say, which one has it just read?"
            return {"difference": f"{shown} the decoder reads {fed}.\n{told}"}
        if labels != right[1][row].tolist():
            told = "After each token it reads, which one comes?"
            return {"difference": f"{shown} the labels are {labels}.\n{told}"}
    return {"difference": ""}


# --- What learners write instead -----------------------------------------------------------------

Wrong = Callable[[list[int], int, int], tuple[list[int], list[int]]]


def _lifted(wrong: Wrong) -> Callable[..., Forced]:
    """What is done to one sentence, done to each, with padding at the end."""

    def answer(targets: Rows, start: int, end: int, padding: int) -> Forced:
        pairs = [wrong(ids, start, end) for ids in targets]
        return (
            _filled([list(fed) for fed, _ in pairs], padding),
            _filled([list(labels) for _, labels in pairs], padding),
        )

    return answer


def _appended(targets: Rows, start: int, end: int, padding: int) -> Forced:
    fed = [[start, *ids] for ids in targets]
    for ids in targets:
        ids.append(end)
    return _filled(fed, padding), _filled(targets, padding)


def _end_behind_padding(targets: Rows, start: int, end: int, padding: int) -> Forced:
    ids = _filled(targets, padding)
    mark = torch.full((len(ids), 1), end)
    return torch.cat([torch.full_like(mark, start), ids], 1), torch.cat([ids, mark], 1)


def _rolled(targets: Rows, start: int, end: int, padding: int) -> Forced:
    labels = _reference(targets, start, end, padding)[1]
    fed = labels.roll(1, 1)
    fed[:, 0] = start
    return fed, labels


def _in_front(targets: Rows, start: int, end: int, padding: int) -> Forced:
    fed, labels = ([row[::-1] for row in rows] for rows in _lists(targets, start, end))
    return _filled(fed, padding).flip(1), _filled(labels, padding).flip(1)


def _cut(targets: Rows, start: int, end: int, padding: int) -> Forced:
    width = 1 + min(map(len, targets))
    fed, labels = _reference(targets, start, end, padding)
    return fed[:, :width], labels[:, :width]


def _as_float(targets: Rows, start: int, end: int, padding: int) -> Forced:
    fed, labels = _reference(targets, start, end, padding)
    return fed.float(), labels.float()


def _lists(targets: Rows, start: int, end: int) -> tuple[Rows, Rows]:
    return [[start, *ids] for ids in targets], [[*ids, end] for ids in targets]


_WRONG: list[tuple[str, list[Wrong]]] = [
    (
        "What it reads and what it is to say are the same, so copying is all that it learns.\n"
        "At each place, what comes next?",
        [
            lambda ids, start, end: ([*ids], [*ids]),
            lambda ids, start, end: ([start, *ids], [start, *ids]),
            lambda ids, start, end: ([*ids, end], [*ids, end]),
            lambda ids, start, end: ([start, *ids, end], [start, *ids, end]),
        ],
    ),
    (
        "The decoder is asked for the token before the one it reads, which it has read already.\n"
        "Have the two changed places, or is the shift the other way?",
        [
            lambda ids, start, end: ([*ids, end], [start, *ids]),
            lambda ids, start, end: (ids, [start, *ids]),
            lambda ids, start, end: (ids, [start, *ids[:-1]]),
        ],
    ),
    (
        "Start and end have changed places: it begins with the end mark and is to say the start "
        "mark.\nWhich of the two is the first thing it reads?",
        [lambda ids, start, end: ([end, *ids], [*ids, start])],
    ),
    (
        "The decoder is never asked for the end mark, so it will not learn to stop.\n"
        "What is it to say after the last token?",
        [
            lambda ids, start, end: ([start, *ids], ids),
            lambda ids, start, end: ([start, *ids[:-1]], ids),
            lambda ids, start, end: ([start, *ids, end], [*ids, start]),
        ],
    ),
    (
        "The labels hold the start mark. Nobody says it: it is there so that there is something "
        "to read first.\nWhat is the first token to say?",
        [
            lambda ids, start, end: ([start, *ids], [start, *ids, end]),
            lambda ids, start, end: ([start, *ids, end], [*ids, end, start]),
            lambda ids, start, end: (ids, [start, *ids, end]),
        ],
    ),
    (
        "The last token is lost: it is never to be said.\n"
        "Do you cut one off where nothing is too many?",
        [
            lambda ids, start, end: ([start, *ids[:-1]], [*ids[:-1], end]),
            lambda ids, start, end: ([start, *ids], [*ids[:-1], end]),
            lambda ids, start, end: ([start, *ids[:-1]], ids[:-1]),
            lambda ids, start, end: ([start, *ids], ids[:-1]),
        ],
    ),
    (
        "The decoder reads the end mark, too, and nothing is left to say after it.\n"
        "What is the last thing it has to read?",
        [lambda ids, start, end: ([start, *ids, end], [*ids, end])],
    ),
    (
        "The decoder does not read the start mark: what has it read when it is to say the first "
        "token?",
        [
            lambda ids, start, end: (ids, [*ids, end]),
            lambda ids, start, end: (ids, [*ids[1:], end]),
        ],
    ),
    (
        "The labels are shifted twice: the decoder is to say the token after the next.\n"
        "After the start mark, what is to be said?",
        [
            lambda ids, start, end: ([start, *ids], [*ids[1:], end]),
            lambda ids, start, end: ([start, *ids], [*ids[1:], end, end]),
        ],
    ),
    (
        "The labels are right, but the last token is missing in what the decoder reads.\n"
        "What does it read just before it is to say the end mark?",
        [lambda ids, start, end: ([start, *ids[:-1]], [*ids, end])],
    ),
]

MISTAKES = [
    *(Mistake(_lifted(wrong), diagnosis) for diagnosis, wrongs in _WRONG for wrong in wrongs),
    Mistake(
        _end_behind_padding,
        "The end mark of a short sentence stands behind its padding, so the model would learn to "
        "end only there.\nWhich comes first: adding the marks, or filling up with padding?",
    ),
    Mistake(
        _rolled,
        "A short sentence reads its own end mark: the labels were shifted as a whole. (Its label "
        "there is padding, so the loss would not notice.)\nWhat stands after the last token of a "
        "short sentence, in what the decoder reads?",
    ),
    Mistake(
        _in_front,
        "The padding stands in front of the short sentences.\nAt which end of a row is it asked "
        "for?",
    ),
    Mistake(
        lambda targets, start, end, padding: _reference(targets, start, end, 0),
        "Short rows are filled up with 0, and not with `padding`.\nIs the id written as a number?",
    ),
    Mistake(
        _cut,
        "All rows are cut to the length of the shortest sentence.\n"
        "How wide is the tensor that holds the longest?",
    ),
    Mistake(_as_float, NOT_WHOLE, compared=False),
    Mistake(_appended, CHANGES_LIST, compared=False),
    *(
        Mistake(_lifted(wrong), ANY_IDS, compared=False)
        for wrong in (
            lambda ids, start, end: ([start, *filter(None, ids)], [*filter(None, ids), end]),
            lambda ids, start, end: ([start, *dict.fromkeys(ids)], [*dict.fromkeys(ids), end]),
            lambda ids, start, end: ([start, *ids[:32]], [*ids[:32], end]),
        )
    ),
]

EXERCISE = Exercise("teacher_forcing", "translation", 2, check, mistakes=MISTAKES, ours=_reference)
