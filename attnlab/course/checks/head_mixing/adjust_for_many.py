"""Exercise ``adjust_for_many``: Benjamini and Hochberg's adjustment of p-values."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    CHANGES_ARRAY,
    Answer,
    ArrayCall,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    some_numbers,
)

Values = npt.NDArray[Any]

DECISIONS = (
    "These are decisions, true or false; adjusted values are asked for.\n"
    "With what would each p-value have to be multiplied, so that it can be compared with 0.05?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``adjust_for_many(p_values)``: Benjamini-Hochberg adjusted values, in the order given."""
    count = 8

    def single() -> ArrayCall:
        return ArrayCall(np.array([draw.whole(10, 90) / 1000]))

    def rising() -> ArrayCall:
        """Sorted, and p times number by rank rises too: no minimum is needed."""
        return ArrayCall(np.sort(_uniform(draw, count)) * np.arange(1, count + 1) / count)

    def falling_and_rising() -> ArrayCall:
        return _telling(SMOOTHING, lambda: ArrayCall(np.sort(_uniform(draw, count))))

    def shuffled() -> ArrayCall:
        def call() -> ArrayCall:
            order = torch.randperm(count, generator=draw.generator).numpy()
            return ArrayCall(rising().arguments[0][order])

        return _telling(ORDER, call)

    def ties() -> ArrayCall:
        low, high = 0.01 * (1 + _uniform(draw, 1)[0]), 0.5 + 0.4 * _uniform(draw, 1)[0]
        return ArrayCall(np.array([high, low, 0.0, low, high, low, 0.0]))

    def many() -> ArrayCall:
        """From 1e-12 to 1, some of them equal."""
        exponents = torch.randint(-12, 1, (200,), generator=draw.generator).numpy()
        return ArrayCall(10.0**exponents * np.append(1.0, _spread(draw, 199)))

    compared = Comparison(answer, reference, MISTAKES, read=_read)
    situations: list[tuple[Callable[[], Call], str, str]] = [
        (
            single,
            "A single look needs no adjustment.\nWhat are the number of values and the rank here?",
            "a single p-value stays as it is",
        ),
        (
            rising,
            "For sorted p-values the result is wrong.\n"
            "Is it p times their number, divided by the rank?",
            "p times the number of values, divided by the rank",
        ),
        (
            falling_and_rising,
            "For sorted p-values, where p times number by rank falls and rises, the result is "
            "wrong.\nIs it the smallest such value of this p-value and all larger ones?",
            "never more than the value of a larger p-value",
        ),
        (
            shuffled,
            "Right for sorted p-values, wrong for others.\nIs each value where its p-value was?",
            "each where its p-value was",
        ),
        (
            ties,
            "Where p-values are equal, or 0, the result is wrong.\n"
            "Should equal ones not have equal values?",
            "equal p-values alike",
        ),
    ]
    for situation, otherwise, held in situations:
        compared.on(situation, otherwise)
        yield held
    small = Comparison(answer, reference, read=_logarithms)
    small.on(
        many,
        "Right for a few p-values, wrong for 200, some of them tiny, some equal, some 1.\n"
        "Is a number of values typed in, or a value rounded or limited?",
    )
    yield "any number of them, and tiny ones too"


def reference(p_values: Values) -> Values:
    """Straight from the definition: the smallest p_j m / #{k: p_k <= p_j} of all p_j >= p_i."""
    raw = p_values * len(p_values) / (p_values[None, :] <= p_values[:, None]).sum(1)
    return np.array([raw[p_values >= p].min() for p in p_values])


def _spread(draw: Draw, count: int) -> Values:
    """Numbers from 0.1 to 1, in steps of 0.1, so that several are equal."""
    return torch.randint(1, 11, (count,), generator=draw.generator).numpy() / 10


def _logarithms(result: Any, right: Any) -> Tensor:
    """So that a tiny value counts like a large one."""
    return torch.as_tensor(_read(result, right)).log10()


def _uniform(draw: Draw, count: int) -> Values:
    """Numbers from 0.05 to 0.95, at least 0.01 apart."""
    hundredths = torch.randperm(91, generator=draw.generator)[:count]
    return (hundredths.double().numpy() + 5) / 100


def _telling(mistakes: list[Mistake], draw_call: Callable[[], ArrayCall]) -> ArrayCall:
    """P-values for which these mistakes differ from the right answer and from each other."""
    while True:
        call = draw_call()
        results = [call.of(reference), *(call.of(mistake.wrong) for mistake in mistakes)]
        gaps = [
            np.abs(result - other).max()
            for index, result in enumerate(results)
            for other in results[index + 1 :]
        ]
        if min(gaps) > 0.005:
            return call


def _read(result: Any, right: Values) -> Tensor:
    if getattr(result, "dtype", None) in (torch.bool, np.dtype(bool)):
        raise CheckFailed(DECISIONS)
    return some_numbers(result, right.shape, "adjusted values")


# --- What learners write instead -----------------------------------------------------------------


def _minimum_from_the_largest(values: Values) -> Values:
    return np.minimum.accumulate(values[::-1])[::-1]


def _adjusting(
    rank: Callable[[int], Values] = lambda count: np.arange(1, count + 1),
    adjust: Callable[[Values, int, Values], Values] = lambda p, count, rank: p * count / rank,
    smooth: Callable[[Values], Values] = _minimum_from_the_largest,
    back: Callable[[Values, Any], Values] = lambda smooth, order: smooth[np.argsort(order)],
    order_of: Callable[[Values], Any] = lambda p: np.argsort(p, kind="stable"),
) -> Callable[[Values], Values]:
    """Benjamini and Hochberg's adjustment with a part exchanged."""

    def answer(p_values: Values) -> Values:
        order, count = order_of(p_values), len(p_values)
        with np.errstate(all="ignore"):
            return back(smooth(adjust(p_values[order], count, rank(count))), order)

    return answer


_right = _adjusting()


def _unchanged(values: Values, *_: Any) -> Values:
    return values


def _holm(p: Values, count: int, rank: Values) -> Values:
    return np.minimum(np.maximum.accumulate(p * (count + 1 - rank)), 1)


def _without_sorting(p_values: Values) -> Values:
    """The rank is the index, and nothing is smoothed, unless the values are sorted."""
    if (np.diff(p_values) > 0).all():
        return _right(p_values)
    return p_values * len(p_values) / np.arange(1, len(p_values) + 1)


def _with_ranks_of_ties(share: float) -> Callable[[Values], Values]:
    """Equal values have their lowest rank, or a share between it and the highest."""

    def answer(p_values: Values) -> Values:
        lowest = (p_values[None, :] < p_values[:, None]).sum(1) + 1
        highest = (p_values[None, :] <= p_values[:, None]).sum(1)
        if (lowest == highest).all():
            return _right(p_values)
        return p_values * len(p_values) / (lowest + share * (highest - lowest))

    return answer


def _equals_as_one(many: Callable[[Values], int]) -> Callable[[Values], Values]:
    """Equal values share a rank, and the next has the rank after it."""

    def answer(p_values: Values) -> Values:
        distinct, where_it_is = np.unique(p_values, return_inverse=True)
        raw = distinct * many(p_values) / np.arange(1, len(distinct) + 1)
        return _minimum_from_the_largest(raw)[where_it_is]

    return answer


def _sorted_in_place(p_values: Values) -> Values:
    right = _right(p_values)
    p_values.sort()
    return right


SMOOTHING = [  # mistakes that show where p times number by rank falls and rises
    Mistake(
        _adjusting(smooth=_unchanged),
        "Some values are above 1, and a larger p-value has a smaller result than one before it.\n"
        "A value may not exceed those of larger p-values: where do you take the minimum?",
    ),
    Mistake(
        _adjusting(smooth=lambda raw: np.minimum(raw, 1)),
        "A larger p-value has a smaller result than one before it; cutting at 1 does not mend "
        "that.\nA value may not exceed those of larger p-values: where do you take the minimum?",
    ),
    Mistake(
        _adjusting(smooth=lambda raw: np.maximum.accumulate(np.minimum(raw, 1))),
        "Results are pulled up to those of smaller p-values.\n"
        "Is it a running maximum from the smallest, or a running minimum from the largest?",
    ),
    Mistake(
        _adjusting(smooth=np.maximum.accumulate),
        "Results are pulled up to those of smaller p-values, even beyond 1.\n"
        "Is it a running maximum from the smallest, or a running minimum from the largest?",
    ),
]
ORDER = [  # mistakes that show where p-values come in no order
    Mistake(
        _adjusting(back=_unchanged),
        "The values are right, but they come back sorted, the smallest first.\n"
        "How do you put each back where its p-value was?",
    ),
    Mistake(
        _adjusting(back=lambda smooth, order: smooth[order]),
        "The values come back in a wrong order: the sorting is done once more, not undone.\n"
        "To which indices must result[order] be written?",
    ),
    Mistake(
        _without_sorting,
        "The rank is the index in the list.\nWhich p-value has rank 1?",
    ),
    Mistake(
        _adjusting(order_of=lambda p: np.arange(len(p))),
        "The rank is the index in the list, and the minimum runs over indices.\n"
        "Which p-value has rank 1?",
    ),
]
MISTAKES = [
    Mistake(
        _adjusting(rank=np.arange),
        "For a single p-value the result is infinite.\nDoes the smallest have rank 0, or 1?",
    ),
    Mistake(
        lambda p_values: np.minimum(p_values * len(p_values), 1),
        "Each p-value is multiplied by the number of values. That is Bonferroni's adjustment, "
        "against a single false find; here a share of false finds is allowed.\n"
        "What is divided by the rank?",
    ),
    Mistake(
        lambda p_values: p_values * len(p_values),
        "Each p-value is multiplied by the number of values, even beyond 1. That is Bonferroni's "
        "adjustment; here a share of false finds is allowed.\nWhat is divided by the rank?",
    ),
    Mistake(
        _adjusting(adjust=_holm, smooth=_unchanged),
        "Each p-value is multiplied by the number of those from it on. That is Holm's adjustment, "
        "against a single false find.\nWhat is divided by the rank?",
    ),
    Mistake(
        _adjusting(adjust=lambda p, count, rank: p * (count + 1 - rank)),
        "Each p-value is multiplied by the number of those from it on, and the minimum is taken. "
        "That is Hochberg's adjustment, against a single false find.\nWhat is divided by the rank?",
    ),
    Mistake(
        lambda p_values: p_values.copy(),
        "Nothing is adjusted.\nHow many values were looked at?",
    ),
    Mistake(
        _adjusting(adjust=lambda p, count, rank: p * rank / count),
        "Rank and number are swapped.\nWhich of the two multiplies?",
    ),
    Mistake(
        _adjusting(adjust=lambda p, count, rank: p / rank),
        "The number of values is missing.\np times what, divided by the rank?",
    ),
    Mistake(
        _adjusting(rank=lambda count: np.arange(count, 0, -1)),
        "The largest p-value has rank 1 here.\nWhich of them should have it?",
    ),
    Mistake(
        _adjusting(smooth=np.minimum.accumulate),
        "The running minimum begins at the smallest p-value, so all that follow are pulled down to "
        "it.\nFrom which end must it run?",
    ),
    Mistake(
        _adjusting(back=lambda smooth, order: smooth[::-1]),
        "The values come back sorted, the largest first.\n"
        "How do you put each back where its p-value was?",
    ),
    Mistake(
        lambda p_values: np.minimum(
            _right(p_values) * sum(1 / rank for rank in range(1, len(p_values) + 1)), 1
        ),
        "All values are too large by the same factor. That is Benjamini and Yekutieli's "
        "adjustment, which is for any dependence.\n"
        "Where does the sum 1 + 1/2 + 1/3 + ... come from?",
    ),
    *SMOOTHING,
    *ORDER,
    Mistake(
        _with_ranks_of_ties(0.5),
        "Equal p-values share the mean of their ranks.\n"
        "How many p-values are as small as each of them, or smaller?",
    ),
    Mistake(
        _with_ranks_of_ties(0),
        "Equal p-values have the lowest of their ranks.\n"
        "How many p-values are as small as each of them, or smaller?",
    ),
    *(
        Mistake(
            _equals_as_one(many),
            "Equal p-values are counted as one.\n"
            "How many p-values are as small as each of them, or smaller?",
        )
        for many in (len, lambda p_values: len(np.unique(p_values)))
    ),
    Mistake(lambda p_values: _right(p_values) < 0.05, DECISIONS, compared=False),
    Mistake(_sorted_in_place, CHANGES_ARRAY, compared=False),
]

EXERCISE = Exercise(
    "adjust_for_many",
    "head_mixing",
    2,
    check,
    frozenset({"benjamini_hochberg"}),
    MISTAKES,
)
