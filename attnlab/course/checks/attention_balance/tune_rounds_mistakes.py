"""What learners write instead of ``tune_rounds``, and what is said of it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from attnlab.course.checks.examiner import CHANGES_TENSOR, Mistake

Settings = Any  # a tensor; checks only compare them
Propose = Callable[[Settings], Settings]
Compare = Callable[[Settings, Settings], tuple[float, float, float]]
Event = tuple[str, int] | tuple[str, int, int]

NOT_SETTINGS = (
    "propose and compare take settings as they are, the start or something proposed.\n"
    "What do you call them with?"
)
UNKNOWN = (
    "There are settings at work that were neither the start nor ever proposed.\n"
    "Do you change or mix settings yourself?"
)
NO_END = (
    "For rounds={rounds} propose was called {count} times, and there is no end.\n"
    "What makes your loop stop?"
)
ASKED_AGAIN = (
    "The result is right, but compare is asked more than once about the same proposal, and every "
    "time it runs the model on all sentences.\nWhere can you keep its three numbers?"
)
MORE_THAN_SETTINGS = (
    "A {kind} of {count} came back; only the settings that are kept are asked for.\n"
    "Does your function return just what the docstring says?"
)
NO_ROUNDS = "With rounds=0 a proposal is made.\nIs the number of rounds asked only after the first?"


@dataclass
class _State:
    """Settings that learners might hold on to, and the refusals since the last gain."""

    start: Settings
    kept: Settings
    last: Settings
    best: Settings
    first: Settings
    refusals: int = 0


Choose = Callable[[_State], Settings]
Judge = Callable[[float, float, float], bool]


def _kept(state: _State) -> Settings:
    return state.kept


def _tuning(
    base: Choose = _kept,
    against: Choose = _kept,
    back: Choose = _kept,
    result: Choose = _kept,
    keep: Judge = lambda delta, low, high: low > 0,
    counts: Judge = lambda delta, low, high: True,
    patience: int = 2,
    resets: bool = True,
    rounds_of: Callable[[int], Iterable[int]] = range,
) -> Callable[..., Settings]:
    """Tuning with a part exchanged."""

    def answer(start: Settings, propose: Propose, compare: Compare, rounds: int) -> Settings:
        state = _State(start, start, start, start, start)
        highest = -math.inf
        for number in rounds_of(rounds):
            proposal = propose(base(state))
            delta, low, high = compare(against(state), proposal)
            state.last = proposal
            if number == 0:
                state.first = proposal
            if delta > highest:
                state.best, highest = proposal, delta
            if keep(delta, low, high):
                state.kept = proposal
                state.refusals = 0 if resets else state.refusals
            else:
                state.kept = back(state)
                state.refusals += counts(delta, low, high)
            if state.refusals >= patience:
                break
        return result(state)

    return answer


_right = _tuning()


def _swapped(start: Settings, propose: Propose, compare: Compare, rounds: int) -> Settings:
    return _right(start, propose, lambda before, after: compare(after, before), rounds)


def _proposes_again(start: Settings, propose: Propose, compare: Compare, rounds: int) -> Settings:
    kept, refusals = start, 0
    for _ in range(rounds):
        _, low, _ = compare(kept, propose(kept))
        if low > 0:
            kept, refusals = propose(kept), 0
        else:
            refusals += 1
        if refusals == 2:
            break
    return kept


def _compares_nothing(start: Settings, propose: Propose, compare: Compare, rounds: int) -> Settings:
    return propose(start)


def _compares_for_each_number(
    start: Settings, propose: Propose, compare: Compare, rounds: int
) -> Settings:
    def change(before: Settings, after: Settings) -> tuple[float, ...]:
        return tuple(compare(before, after)[index] for index in range(3))

    return _right(start, propose, change, rounds)


def _copies_into_the_start(
    start: Settings, propose: Propose, compare: Compare, rounds: int
) -> Settings:
    kept = start
    for _ in range(rounds):
        proposal = propose(kept)
        if compare(kept, proposal)[1] > 0:
            kept.copy_(proposal)
    return kept


def _averages(start: Settings, propose: Propose, compare: Compare, rounds: int) -> Settings:
    proposal = propose(start)
    compare(start, proposal)
    return (start + proposal) / 2


def _numbers_them(start: Settings, propose: Propose, compare: Compare, rounds: int) -> Settings:
    """Proposes from the number of a round."""
    proposals = [propose(number) for number in range(rounds)]
    return proposals[-1] if proposals else start


def _asks_for_rounds_at_the_end(
    start: Settings, propose: Propose, compare: Compare, rounds: int
) -> Settings:
    return _right(start, propose, compare, max(rounds, 1))


def _goes_on_and_on(start: Settings, propose: Propose, compare: Compare, rounds: int) -> Settings:
    while True:
        proposal = propose(start)
        if compare(start, proposal)[1] > 1:
            return proposal


def _with_the_number_of_rounds(
    start: Settings, propose: Propose, compare: Compare, rounds: int
) -> tuple[Settings, int]:
    return _right(start, propose, compare, rounds), rounds


WHICH_ROUNDS = "Which rounds are refused?"
HOW_OFTEN = "How often does range(rounds) run?"
MISTAKES = [
    Mistake(
        _tuning(result=lambda state: state.start),
        "One round, and a gain: the start came back.\n"
        "Is the gain refused, or kept under another name than the one you return?",
    ),
    Mistake(
        _swapped,
        "compare got its two settings in the wrong order, so every change has the wrong sign.\n"
        "Which of them comes first?",
    ),
    Mistake(
        _proposes_again,
        "What is kept is not what was compared: propose is asked once more, and makes something "
        "new.\nWhere can you keep the proposal until you know?",
    ),
    Mistake(
        _tuning(rounds_of=lambda rounds: range(rounds + 1)),
        f"One round is asked for, and two are made.\n{HOW_OFTEN}",
    ),
    Mistake(
        _tuning(rounds_of=lambda rounds: range(1, rounds)),
        f"One round is asked for, and none is made.\n{HOW_OFTEN}",
    ),
    Mistake(
        _compares_nothing,
        "One proposal was asked for and never compared.\nWhat tells you whether to keep it?",
    ),
    Mistake(
        _tuning(base=lambda state: state.start),
        "Every proposal is made from the start, so nothing adds up.\n"
        "What does propose change once there has been a gain?",
    ),
    Mistake(
        _tuning(against=lambda state: state.start),
        "Proposals are compared with the start, not with what is kept: a loss hides behind an "
        "earlier gain.\nWhat would the model be without this proposal?",
    ),
    Mistake(
        _tuning(keep=lambda delta, low, high: True),
        "Nothing is rolled back: what is worse beyond noise is kept.\n"
        "Which end of the interval tells that a proposal is better?",
    ),
    Mistake(
        _tuning(result=lambda state: state.last),
        "The last proposal comes back, though it was refused.\n"
        "Are there two names, for what is kept and for what is tried?",
    ),
    Mistake(
        _tuning(result=lambda state: state.best),
        "The settings with the largest change come back.\n"
        "It was measured against what was kept then; what has been added since?",
    ),
    Mistake(
        _tuning(result=lambda state: state.first),
        "The settings of the first round come back.\nWhich name do you return?",
    ),
    Mistake(
        _tuning(base=lambda state: state.last),
        "After a refusal the next proposal begins from the refused settings.\n"
        "From what should propose begin?",
    ),
    Mistake(
        _tuning(back=lambda state: state.start),
        "After a refusal you go on from the start, and an earlier gain is lost.\n"
        "To what should you roll back?",
    ),
    Mistake(
        _tuning(against=lambda state: state.last),
        "After a refusal the next proposal is compared with the refused settings; to beat those is "
        "easy.\nWith what is it to be compared?",
    ),
    Mistake(
        _tuning(patience=1),
        "You stop at the first refusal.\nCould the next proposal not be a better one?",
    ),
    Mistake(
        _tuning(resets=False),
        "You stop at the second refusal, but there was a gain between the two.\n"
        "When must the count begin again at 0?",
    ),
    Mistake(
        _tuning(rounds_of=lambda rounds: range(min(rounds, 1))),
        "You stop after the first round.\nIs `return` inside the loop?",
    ),
    Mistake(
        _tuning(keep=lambda delta, low, high: high >= 0),
        "A loss inside the noise is kept, because it might be none.\n"
        "Only what is *better* beyond noise is kept: which end of the interval tells?",
    ),
    Mistake(
        _tuning(keep=lambda delta, low, high: delta > 0),
        "A change upwards is kept, though it is inside the noise: `delta` is judged, not its "
        "interval.\nOnly what is better *beyond* noise is kept: which end of the interval tells?",
    ),
    Mistake(
        _tuning(keep=lambda delta, low, high: low >= 0),
        "An interval that begins at 0 counts as a gain; it still holds 0.\nIs there a >= for >?",
    ),
    Mistake(
        _tuning(patience=99),
        "Two refusals in a row, and you go on to the last round.\n"
        "What do you count, and when do you stop?",
    ),
    Mistake(
        _tuning(patience=3),
        "You stop after three refusals in a row.\nHow many are asked for?",
    ),
    Mistake(
        _tuning(counts=lambda delta, low, high: high < 0),
        "Only losses beyond noise are counted as refusals; inside the noise nothing is gained, "
        f"either.\n{WHICH_ROUNDS}",
    ),
    Mistake(
        _tuning(counts=lambda delta, low, high: delta < 0),
        f"Only changes downwards are counted as refusals.\n{WHICH_ROUNDS}",
    ),
    Mistake(_compares_for_each_number, ASKED_AGAIN, compared=False),
    Mistake(_copies_into_the_start, CHANGES_TENSOR, compared=False),
    Mistake(_averages, UNKNOWN, compared=False),
    Mistake(_numbers_them, NOT_SETTINGS, compared=False),
    Mistake(_asks_for_rounds_at_the_end, NO_ROUNDS, compared=False),
    Mistake(_goes_on_and_on, NO_END, compared=False),
    Mistake(_with_the_number_of_rounds, MORE_THAN_SETTINGS, compared=False),
]
