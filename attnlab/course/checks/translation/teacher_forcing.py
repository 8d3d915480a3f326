"""The exercise ``teacher_forcing``."""

from collections.abc import Callable
from functools import partial

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
    a_pair,
    where,
)
from attnlab.course.checks.translation.sentences import ids_of

ANY_IDS = (
    "Right for five different ids, wrong where they repeat, are many, or where one of them or a "
    "mark is 0.\nAre ids left out, or judged by their value? 0 is an id like any other."
)

Forced = tuple[list[int], list[int]]


def check(answer: Answer, draw: Draw) -> Held:
    """``teacher_forcing(ids, start, end)``: what the decoder reads, and what it is to say."""

    def five_tokens() -> Call:
        start, end, *ids = (1 + torch.randperm(20, generator=draw.generator)[:7]).tolist()
        return Call(ids, start, end)

    Comparison(answer, _reference, MISTAKES, read=_forced).on(
        five_tokens, "{difference}", facts=_facts
    )
    yield "labels are what is fed, one place ahead, with the end mark last"
    for start_first in (True, False):
        Comparison(answer, _reference, read=_forced).on(
            partial(_any_ids, draw, start_first), ANY_IDS
        )
    yield "whichever ids, 0 and repeated ones among them, and however many"
    for ids in ([draw.whole(20, 30)], []):
        with where(f"Right for five tokens, wrong for {len(ids)}:"):
            Comparison(answer, _reference, read=_forced).on(
                partial(Call, ids, 3, 4),
                "The decoder reads {fed} and is to say {labels}.\n"
                "Even an empty sentence has an end to say: are the marks added whatever the "
                "length?",
                facts=_facts,
            )
    yield "a sentence of one token, and an empty one"


def _any_ids(draw: Draw, start_first: bool) -> Call:
    """Many ids with repetitions, the marks among them; one of the marks is 0."""
    marks = [0, draw.whole(1, 5)]
    ids = torch.randint(6, (40,), generator=draw.generator).tolist()
    start, end = marks if start_first else marks[::-1]
    return Call([*ids, 0, 0, start, end, *ids], start, end)


def _reference(ids: list[int], start: int, end: int) -> Forced:
    return [start, *ids], [*ids, end]


def _forced(result: object, right: object) -> Forced:
    fed, labels = a_pair(result, "what is fed", "labels")
    return ids_of(fed, "what is fed"), ids_of(labels, "labels")


def _facts(call: Call, result: object) -> dict[str, object]:
    ids, start, end = call.arguments
    fed, labels = _forced(result, None)
    shown = f"With ids {ids}, start {start} and end {end}"
    difference = (
        f"{shown} the decoder reads {fed}.\n"
        "Before each of the tokens to say, which one has it just read?"
        if fed != [start, *ids]
        else f"{shown} the labels are {labels}.\nAfter each token it reads, which one comes?"
    )
    return {"fed": fed, "labels": labels, "difference": difference}


# --- What learners write instead -----------------------------------------------------------------


def _appended(ids: list[int], start: int, end: int) -> Forced:
    fed = [start, *ids]
    ids.append(end)
    return fed, ids


Wrong = Callable[[list[int], int, int], Forced]

_WRONG: list[tuple[str, list[Wrong]]] = [
    (
        "What it reads and what it is to say are the same list, so copying is all that it "
        "learns.\nAt each place, what comes next?",
        [
            lambda ids, start, end: ([*ids], [*ids]),
            lambda ids, start, end: ([start, *ids], [start, *ids]),
            lambda ids, start, end: ([*ids, end], [*ids, end]),
            lambda ids, start, end: ([start, *ids, end], [start, *ids, end]),
        ],
    ),
    (
        "The decoder is asked for the token before the one it reads, which it has read already.\n"
        "Have the two lists changed places, or is the shift the other way?",
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
    *(Mistake(wrong, diagnosis) for diagnosis, wrongs in _WRONG for wrong in wrongs),
    Mistake(_appended, CHANGES_LIST, compared=False),
    *(
        Mistake(wrong, ANY_IDS, compared=False)
        for wrong in (
            lambda ids, start, end: _reference([token for token in ids if token], start, end),
            lambda ids, start, end: _reference(list(dict.fromkeys(ids)), start, end),
            lambda ids, start, end: _reference(ids[:32], start, end),
            lambda ids, start, end: ([start, *ids] if start else ids, [*ids, end]),
        )
    ),
    Mistake(
        lambda ids, start, end: _reference(ids, start, end) if ids else ([], []),
        "Right for five tokens, wrong for 0:",
        compared=False,
    ),
]

EXERCISE = Exercise("teacher_forcing", "translation", 1, check, mistakes=MISTAKES)
