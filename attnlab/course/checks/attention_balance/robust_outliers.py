"""Exercise ``robust_outliers``: which values are out of line, judged by median and MAD."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.course.checks.attention_balance.robust_outliers_mistakes import (
    ALIKE,
    ALIKE_REMOVED,
    ALL_EQUAL,
    ANOTHER_DEFAULT,
    DROPPED,
    EVEN,
    FACTOR,
    FIXED,
    MISTAKES,
    NO_FLAGS,
    OF_MEAN,
    PLAIN,
    REMOVED,
    SMALL,
    THRESHOLD,
    Flags,
    Values,
    distances_of,
    mad_of,
)
from attnlab.course.checks.examiner import (
    Answer,
    ArrayCalls,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_list,
    a_tensor,
    require,
)


def check(answer: Answer, draw: Draw) -> Held:
    """``robust_outliers(values, threshold)``: which values are out of line, by median and MAD."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, draws=1)

    def telling(mistakes: Sequence[Mistake], *threshold: float, **of_values: Any) -> None:
        sets = _telling(draw, mistakes, threshold, **of_values)
        compared.on(lambda: ArrayCalls(sets, *threshold), otherwise + OF_THESE, facts=_facts)

    otherwise = (
        "The flags are wrong.\n"
        "Median, distances from it, their median times 1.4826, and what is more than 3.5 of that "
        "away: which step differs?"
    )
    telling(PLAIN, THRESHOLD)
    yield "far from the median, in units of 1.4826 times the MAD, on either side"

    otherwise = "Right for an odd number of values, wrong for an even one.\nWhat is their median?"
    telling(EVEN, THRESHOLD, count=8)
    yield "an even number of values, too"

    otherwise = "With threshold 2 the flags are wrong.\nWhere do you use `threshold`?"
    telling(FIXED, 2.0)
    otherwise = "With no threshold given the flags are wrong.\nIs its default 3.5?"
    telling([ANOTHER_DEFAULT])
    yield "whatever the threshold"

    otherwise = (
        "With removed heads, whose value is NaN, the flags are wrong.\n"
        "Are they left out of both medians, and kept in the result?"
    )
    telling(REMOVED, THRESHOLD, removed=4)
    yield "removed heads are left out, and never flagged"

    otherwise = (
        "Where more than half of the values are equal, the MAD is 0, and the flags are wrong.\n"
        "What does section 5 use instead of the MAD?"
    )
    telling(ALIKE, THRESHOLD, equal=9)
    telling(ALIKE_REMOVED, THRESHOLD, equal=9, removed=2)
    alike = np.full(9, draw.whole(1, 9) / 10)
    ((_, result),) = ArrayCalls([alike], THRESHOLD).of(answer)
    require(not _flags(result, alike).any(), ALL_EQUAL)
    yield "where the MAD is 0: in units of 1.2533 times the mean distance"

    otherwise = (
        "Values around 0, and very small ones, are judged wrongly.\n"
        "Is there a threshold, a round() or a small number that you add?"
    )
    telling(SMALL, THRESHOLD, size=1e-13)
    telling([], THRESHOLD, size=1e5, count=61)
    yield "values of any size and sign"


def reference(values: Values, threshold: float = THRESHOLD) -> Flags:
    """From sorted lists of plain numbers."""

    def median(numbers: list[float]) -> float:
        ordered, half = sorted(numbers), len(numbers) // 2
        return (ordered[half] + ordered[-half - 1]) / 2

    present = [number for number in values.tolist() if not math.isnan(number)]
    middle = median(present)
    distances = [abs(number - middle) for number in present]
    unit = FACTOR * median(distances) or OF_MEAN * sum(distances) / len(present)
    return np.array([abs(number - middle) > threshold * unit for number in values.tolist()])


def _telling(
    draw: Draw,
    mistakes: Sequence[Mistake],
    threshold: tuple[float, ...],
    count: int = 15,
    removed: int = 0,
    equal: int = 0,
    size: float | None = None,
) -> list[Values]:
    """Sets of values that tell these mistakes from the right answer, and from each other.

    With a ``size`` they lie around 0, else around 8.
    A threshold of () means that none is given. No value is so near the limit that rounding decides.
    """
    limit = threshold[0] if threshold else THRESHOLD
    functions = [reference, *(mistake.wrong for mistake in mistakes)]
    sets: list[Values] = []
    flags: list[bytes] = [b""] * len(functions)
    while len(sets) < 2 or len(set(flags)) < len(flags):
        values = 8 + draw.normal(count).double().numpy()
        values[: count // 3] += 3 * draw.normal(count // 3).double().numpy()
        values[0] += draw.whole(10, 30)
        values[count - equal :] = 8
        values = values[torch.randperm(count, generator=draw.generator).numpy()]
        values[:removed] = np.nan
        values = values if size is None else (values - 8) * size
        present = values[~np.isnan(values)]
        unit = FACTOR * mad_of(present) or OF_MEAN * distances_of(present).mean()
        if np.abs(distances_of(present) / unit - limit).min() > 1e-3:
            sets.append(values)
            flags = [
                before + np.asarray(function(values.copy(), *threshold)).tobytes()
                for before, function in zip(flags, functions, strict=True)
            ]
    return sets


def _read(results: list[Any], right: list[Any]) -> list[Tensor]:
    return [torch.from_numpy(_flags(result, values)) for values, result in results]


def _flags(result: Any, values: Values) -> Flags:
    """The answer's flags (N,), as an array of bool."""
    count = len(values)
    if isinstance(result, Tensor) or hasattr(result, "__array__"):
        found = np.asarray(result.detach().cpu() if isinstance(result, Tensor) else result)
    elif isinstance(result, list | tuple):
        found = np.asarray(a_list(result))
    else:
        found = a_tensor(result, (count,), "flags").numpy()
    if found.dtype != bool:
        what = "numbers"
        if found.shape == (count,):
            what = "distances"
        elif found.dtype.kind in "iu":
            what = "the indices of values"
        elif found.dtype.kind == "f" and np.isin(found, values).all():
            what = "the values themselves"
        raise CheckFailed(NO_FLAGS.format(what=what))
    present = int((~np.isnan(values)).sum())
    require(found.shape == (count,) or found.shape != (present,), DROPPED)
    require(
        found.shape == (count,),
        f"For {count} values came flags of shape {found.shape}.\nIs there one for each value?",
    )
    return found


OF_THESE = "\nOf {values} these should be flagged: {right}; yours are {found}."


def _facts(call: Call, results: list[Any]) -> dict[str, Any]:
    """The first set whose flags are wrong, with the right ones and those that were found."""
    for (values, result), (_, right) in zip(results, call.of(reference), strict=True):
        found = _flags(result, values)
        if not np.array_equal(found, right):
            break
    return {
        "values": values.round(2).tolist(),
        "right": values[right].round(2).tolist(),
        "found": values[found].round(2).tolist(),
    }


def _ours(values: np.ndarray, threshold: float = 3.5) -> np.ndarray:
    distance = np.abs(values - np.nanmedian(values))
    unit = 1.4826 * np.nanmedian(distance) or 1.2533 * np.nanmean(distance)
    return np.asarray(distance > threshold * unit)


EXERCISE = Exercise("robust_outliers", "attention_balance", 2, check, mistakes=MISTAKES, ours=_ours)
