"""Check of ``adjust_for_many``."""

from collections.abc import Callable, Generator

import numpy as np
import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    compare,
    some_numbers,
)
from attnlab.course.checks.head_mixing.arrays import from_arrays


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``adjust_for_many(p_values)``: Benjamini-Hochberg adjusted values, in the order given."""
    p = np.array([draw.whole(10, 90) / 1000])
    _same_values(
        answer,
        p,
        {
            "For a single p-value the result is infinite.\nDoes the smallest have rank 0, or 1?": (
                lambda: p / 0.0
            ),
        },
        "A single look needs no adjustment.\nWhat are the number of values and the rank here?",
    )
    yield "a single p-value stays as it is"

    count = 8
    rank = np.arange(1, count + 1)
    p = np.sort(_uniform(draw, count)) * rank / count  # p * count / rank rises: no minimum needed
    _same_values(
        answer,
        p,
        {
            "Each p-value is multiplied by the number of values. That is Bonferroni's adjustment, "
            "against a "
            "single false find; here a share of false finds is allowed.\nWhat is divided by the "
            "rank?": (lambda: np.minimum(p * count, 1)),
            "Each p-value is multiplied by the number of values, even beyond 1. That is "
            "Bonferroni's adjustment; "
            "here a share of false finds is allowed.\nWhat is divided by the rank?": lambda: (
                p * count
            ),
            "Each p-value is multiplied by the number of those from it on. That is Holm's "
            "adjustment, against a "
            "single false find.\nWhat is divided by the rank?": (
                lambda: np.minimum(np.maximum.accumulate(p * (count + 1 - rank)), 1)
            ),
            "Nothing is adjusted.\nHow many values were looked at?": lambda: p,
            "Rank and number have changed places.\nWhich of the two multiplies?": lambda: (
                p * rank / count
            ),
            "The number of values is missing.\np times what, divided by the rank?": lambda: (
                p / rank
            ),
            "The largest p-value has rank 1 here.\nWhich of them should have it?": lambda: (
                np.minimum.accumulate((p * count / rank[::-1])[::-1])[::-1]
            ),
            "The running minimum begins at the smallest p-value, so all that follow are pulled "
            "down to it.\n"
            "From which end must it run?": lambda: np.full(count, p[0] * count),
            "The values come back sorted, the largest first.\n"
            "How do you put each back into the place of its p-value?": lambda: _adjusted(p)[::-1],
            "All values are too large by the same factor. That is Benjamini and Yekutieli's "
            "adjustment, which "
            "is for any dependence.\nWhere does the sum 1 + 1/2 + 1/3 + ... come from?": lambda: (
                np.minimum(_adjusted(p) * (1 / rank).sum(), 1)
            ),
        },
        "For sorted p-values the result is wrong.\nIs it p times their number, divided by the "
        "rank?",
    )
    yield "p times the number of values, divided by the rank"

    p, raw = _crossing(draw, count)
    _same_values(
        answer,
        p,
        {
            "Some values are above 1, and a larger p-value has a smaller result than one before "
            "it.\n"
            "A value may not exceed those of larger p-values: where do you take the minimum?": (
                lambda: raw
            ),
            "A larger p-value has a smaller result than one before it; cutting at 1 does not mend "
            "that.\n"
            "A value may not exceed those of larger p-values: where do you take the minimum?": (
                lambda: np.minimum(raw, 1)
            ),
            "Results are pulled up to those of smaller p-values.\n"
            "Is it a running maximum from the smallest, or a running minimum from the largest?": (
                lambda: np.maximum.accumulate(np.minimum(raw, 1))
            ),
            "Results are pulled up to those of smaller p-values, even beyond 1.\n"
            "Is it a running maximum from the smallest, or a running minimum from the largest?": (
                lambda: np.maximum.accumulate(raw)
            ),
        },
        "For sorted p-values, where p times number by rank falls and rises, the result is wrong.\n"
        "Is it the smallest such value of this p-value and all larger ones?",
    )
    yield "never more than the value of a larger p-value"

    p = np.sort(_uniform(draw, count)) * rank / count  # all adjusted values differ
    right = _adjusted(p)
    while True:
        mixed = torch.randperm(count, generator=draw.generator).numpy()
        order = np.argsort(p[mixed])
        ours = right[mixed]
        sorted_back = right[order]  # the wrong way
        if not np.allclose(sorted_back, ours, atol=1e-3) and not np.allclose(
            right, ours, atol=1e-3
        ):
            break
    p = p[mixed]
    in_turn = p * count / rank
    _same_values(
        answer,
        p,
        {
            "The values are right, but they come back sorted, the smallest first.\n"
            "How do you put each back into the place of its p-value?": lambda: right,
            "The values come back in a wrong order: the sorting is done once more, not undone.\n"
            "Into which places must result[order] be written?": lambda: sorted_back,
            "The rank is the place in the list.\nWhich p-value has rank 1?": lambda: in_turn,
            "The rank is the place in the list, and the minimum runs over places.\n"
            "Which p-value has rank 1?": lambda: np.minimum.accumulate(in_turn[::-1])[::-1],
        },
        "Right for sorted p-values, wrong for others.\nDoes each value stand where its p-value "
        "stood?",
    )
    yield "each in the place of its p-value"

    low, high = 0.01 * (1 + _uniform(draw, 1)[0]), 0.5 + 0.4 * _uniform(draw, 1)[0]
    p = np.array([high, low, 0.0, low, high, low])
    average = np.array([5.5, 3, 1, 3, 5.5, 3])
    _same_values(
        answer,
        p,
        {
            "Equal p-values share the mean of their ranks.\n"
            "How many p-values are as small as each of them, or smaller?": (
                lambda: p * len(p) / average
            ),
            "Equal p-values have the lowest of their ranks.\n"
            "How many p-values are as small as each of them, or smaller?": (
                lambda: p * len(p) / np.array([5, 2, 1, 2, 5, 2])
            ),
        },
        "Where p-values are equal, or 0, the result is wrong.\nShould equal ones not have equal "
        "values?",
    )
    yield "equal p-values alike"


def _uniform(draw: Draw, count: int) -> np.ndarray:
    """Numbers from 0.05 to 0.95, at least 0.01 apart."""
    places = torch.randperm(91, generator=draw.generator)[:count]
    return (places.double().numpy() + 5) / 100


def _crossing(draw: Draw, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted p-values, and p times number by rank, which falls and rises and goes beyond 1."""
    rank = np.arange(1, count + 1)
    while True:
        p = np.sort(_uniform(draw, count))
        raw = p * count / rank
        ways = [
            _adjusted(p),
            raw,
            np.minimum(raw, 1),
            np.maximum.accumulate(np.minimum(raw, 1)),
            np.maximum.accumulate(raw),
        ]
        gaps = [
            np.abs(one - other).max() for at, one in enumerate(ways) for other in ways[at + 1 :]
        ]
        if min(gaps) > 0.01:
            return p, raw


def _adjusted(p: np.ndarray) -> np.ndarray:
    """Straight from the definition: the smallest p_j m / #{k: p_k <= p_j} of all p_j >= p_i."""
    raw = p * len(p) / (p[None, :] <= p[:, None]).sum(1)
    return np.array([raw[p >= one].min() for one in p])


def _same_values(
    answer: Answer,
    p_values: np.ndarray,
    mistakes: dict[str, Callable[[], np.ndarray]],
    otherwise: str,
) -> None:
    """Compare the answer's adjusted values with the right ones, and with what mistakes would "
    "give."""
    result = from_arrays(answer, [p_values])
    if getattr(result, "dtype", None) in (torch.bool, np.dtype(bool)):
        raise CheckFailed(
            "These are decisions, true or false; adjusted values are asked for.\n"
            "With what would each p-value have to be multiplied, so that it can be compared with "
            "0.05?"
        )

    def tensor(mistaken: Callable[[], np.ndarray]) -> Callable[[], Tensor]:
        def made() -> Tensor:
            with np.errstate(all="ignore"):
                return torch.from_numpy(np.ascontiguousarray(mistaken()))

        return made

    compare(
        some_numbers(result, p_values.shape, "adjusted values"),
        torch.from_numpy(_adjusted(p_values)),
        {diagnosis: tensor(mistaken) for diagnosis, mistaken in mistakes.items()},
        otherwise,
    )


EXERCISE = Exercise("adjust_for_many", "head_mixing", 2, check, frozenset({"benjamini_hochberg"}))
