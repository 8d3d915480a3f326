"""Exercise ``robust_outliers``: which values are out of line, judged by median and MAD."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
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

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Number = float | np.floating[Any]

THRESHOLD = 3.5
FACTOR = 1.4826  # the standard deviation of a normal distribution, in units of its MAD
OF_MEAN = 1.2533  # and in units of its mean distance from the median

CHANGES_ARRAY = (
    "Your function changes the array that it was given.\n"
    "Is there an assignment into it, a `-=`, or a .sort()?"
)
NO_FLAGS = (
    "These are {what}; decisions are asked for, true or false, one for each value.\n"
    "With what comparison could your function end?"
)
DROPPED = (
    "Removed heads, whose value is NaN, are missing from the result.\n"
    "How will the others be told apart?"
)
ALL_EQUAL = (
    "All values are equal, and yet something is flagged.\n"
    "0 is not more than 0: is there a >= for >, or a `not`?"
)


class Sets(Call):
    """Several sets of values, and a threshold unless the default is meant."""

    def __init__(self, sets: Sequence[Values], *threshold: float):
        super().__init__(sets, *threshold)
        self.sets, self.threshold = sets, threshold

    def of(self, function: Callable[..., Any]) -> list[Any]:
        """The result of a function for each set, with the set."""
        results = []
        for values in self.sets:
            copy = values.copy()
            results.append((values, function(copy, *self.threshold)))
            require(np.array_equal(values, copy, equal_nan=True), CHANGES_ARRAY)
        return results


def check(answer: Answer, draw: Draw) -> Held:
    """``robust_outliers(values, threshold)``: which values are out of line, by median and MAD."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, draws=1)

    def telling(mistakes: Sequence[Mistake], *threshold: float, **of_values: Any) -> None:
        sets = _telling(draw, mistakes, threshold, **of_values)
        compared.on(lambda: Sets(sets, *threshold), otherwise + OF_THESE, facts=_facts)

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
        "What does the docstring use instead of the MAD?"
    )
    telling(ALIKE, THRESHOLD, equal=9)
    telling(ALIKE_REMOVED, THRESHOLD, equal=9, removed=2)
    alike = np.full(9, draw.whole(1, 9) / 10)
    ((_, result),) = Sets([alike], THRESHOLD).of(answer)
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
        unit = FACTOR * _mad(present) or OF_MEAN * _distances(present).mean()
        if np.abs(_distances(present) / unit - limit).min() > 1e-3:
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


# --- What learners write instead -----------------------------------------------------------------


def _distances(values: Values) -> Values:
    return np.abs(values - np.nanmedian(values))


def _mad(values: Values) -> float:
    return float(np.nanmedian(_distances(values)))


def _judging(
    centre: Callable[[Values], Number] = np.nanmedian,
    centre_of_unit: Callable[[Values], Number] | None = None,
    unit: Callable[[Values], Number] = lambda distances: FACTOR * np.nanmedian(distances),
    if_zero: Callable[[Values], Number] = lambda distances: OF_MEAN * np.nanmean(distances),
    spread: Callable[[Values], Number] | None = None,
    distance: Callable[[Values], Values] = np.abs,
    flag: Callable[[Values, float], Flags] = np.greater,
    limit: Callable[[float], float] = lambda threshold: threshold,
) -> Callable[..., Flags]:
    """Robust outliers with a part exchanged."""

    def answer(values: Values, threshold: float = THRESHOLD) -> Flags:
        distances = np.abs(values - (centre_of_unit or centre)(values))
        scale = float(spread(values) if spread else unit(distances) or if_zero(distances))
        return flag(distance(values - centre(values)), limit(threshold) * scale)

    return answer


_right = _judging()


def _nothing(values: Values, threshold: float = THRESHOLD) -> Flags:
    return np.zeros(len(values), bool)


def _beyond_tukeys_fences(values: Values, threshold: float = THRESHOLD) -> Flags:
    low, high = np.nanquantile(values, [0.25, 0.75])
    reach = 1.5 * (high - low)
    return (values < low - reach) | (values > high + reach)


def _by_one_of_the_middle(upper: bool) -> Callable[..., Flags]:
    """With a median that is one of the values."""

    def middle(values: Values) -> float:
        ordered = np.sort(values[~np.isnan(values)])
        return float(ordered[(len(ordered) - (not upper)) // 2])

    return _judging(centre=middle, unit=lambda distances: FACTOR * middle(distances))


def _nan_in_the_median(values: Values, threshold: float = THRESHOLD) -> Flags:
    distances = np.abs(values - np.median(values))
    unit = FACTOR * np.median(distances) or OF_MEAN * distances.mean()
    return distances > threshold * unit


def _nan_not_in_line(values: Values, threshold: float = THRESHOLD) -> Flags:
    if np.isnan(values).any():
        return np.ones(len(values), bool)
    return _right(values, threshold)


def _removed_flagged(values: Values, threshold: float = THRESHOLD) -> Flags:
    return _right(values, threshold) | np.isnan(values)


def _removed_as_zero(values: Values, threshold: float = THRESHOLD) -> Flags:
    return _right(np.nan_to_num(values), threshold)


def _removed_as_zero_unflagged(values: Values, threshold: float = THRESHOLD) -> Flags:
    return _removed_as_zero(values, threshold) & ~np.isnan(values)


def _removed_dropped(values: Values, threshold: float = THRESHOLD) -> Flags:
    return _right(values[~np.isnan(values)], threshold)


def _removed_set_in_place(values: Values, threshold: float = THRESHOLD) -> Flags:
    values[np.isnan(values)] = np.nanmedian(values)
    return _right(values, threshold)


def _everything_at_mad_zero(values: Values, threshold: float = THRESHOLD) -> Flags:
    return _right(values, threshold) if _mad(values) else ~np.isnan(values)


def _std_at_mad_zero(values: Values, threshold: float = THRESHOLD) -> Flags:
    return _distances(values) > threshold * (FACTOR * _mad(values) or np.nanstd(values))


def _over_all(values: Values, threshold: float = THRESHOLD) -> Flags:
    distances = _distances(values)
    unit = FACTOR * _mad(values) or OF_MEAN * np.nansum(distances) / len(values)
    return distances > threshold * unit


def _another_default(values: Values, threshold: float = 3.0) -> Flags:
    return _right(values, threshold)


PLAIN = [
    Mistake(_nothing, "Nothing is flagged.\nIs the distance compared with the threshold?"),
    Mistake(
        _judging(centre=np.nanmean, spread=np.nanstd),
        "Mean and standard deviation judge here: the outliers have stretched both, and hide behind "
        "them.\nWhich two figures stay where they are if a few values fly off?",
    ),
    Mistake(
        _judging(spread=np.nanstd),
        "The distance from the median is measured in standard deviations, which the outliers have "
        "stretched.\nWhat is the median of the distances?",
    ),
    Mistake(
        _judging(unit=np.nanmedian),
        "The factor 1.4826 is missing: one MAD is less than one standard deviation, and too much "
        "is flagged.\nWhere does it stand?",
    ),
    Mistake(
        _judging(unit=lambda distances: np.nanmedian(distances) / FACTOR),
        "You divide by 1.4826 where the MAD should be made larger, and too much is flagged.\n"
        "One MAD holds half of the values, one standard deviation 68 %: which is longer?",
    ),
    Mistake(
        _judging(distance=lambda differences: differences),
        "Only values above the median are flagged.\n"
        "Can a head not be out of line below, too? What is a distance?",
    ),
    Mistake(
        _judging(distance=np.negative),
        "Only values below the median are flagged.\n"
        "Can a head not be out of line above, too? What is a distance?",
    ),
    Mistake(
        _judging(centre=np.nanmean),
        "The distances are taken from the mean, which the outliers have moved.\n"
        "From what should they be taken, both in the MAD and after?",
    ),
    Mistake(
        _judging(centre_of_unit=np.nanmean),
        "The MAD is made of distances from the mean, which the outliers have moved.\n"
        "From what should they be taken, both in the MAD and after?",
    ),
    Mistake(
        _judging(centre=np.nanmean, centre_of_unit=np.nanmedian),
        "The MAD is right, but what is compared with it is the distance from the mean, which the "
        "outliers have moved.\nFrom what should it be taken?",
    ),
    Mistake(
        _judging(unit=lambda distances: FACTOR * np.nanmean(distances)),
        "The distances are averaged: that is the mean absolute deviation, and the outliers stretch "
        "it.\nWhat else could be taken of the distances?",
    ),
    Mistake(
        _judging(unit=np.nanmean),
        "The distances are averaged, and 1.4826 is missing.\n"
        "What else could be taken of the distances?",
    ),
    Mistake(
        _judging(flag=np.less),
        "The values that are in line are flagged, and the others are not.\n"
        "Which way does the comparison go?",
    ),
    Mistake(
        _judging(spread=lambda values: 1.0),
        "The distance itself is compared with the threshold, whatever the unit of the values.\n"
        "In units of what should it be measured?",
    ),
    Mistake(
        _judging(limit=lambda threshold: 3),
        "The threshold is 3, whatever is asked for.\nWhere do you use `threshold`?",
    ),
    Mistake(
        _beyond_tukeys_fences,
        "Values beyond one and a half interquartile ranges from the quartiles are flagged: Tukey's "
        "rule.\nA good one, too; but which one does the docstring name?",
    ),
]
EVEN = [
    Mistake(
        _by_one_of_the_middle(upper=False),
        "For an even number of values the median is the lower of the two in the middle; "
        "torch.median does that.\nWhat is the median of 1 and 2?",
    ),
    Mistake(
        _by_one_of_the_middle(upper=True),
        "For an even number of values the median is the upper of the two in the middle.\n"
        "What is the median of 1 and 2?",
    ),
]
FIXED = [
    Mistake(
        _judging(limit=lambda threshold: 3.5),
        "The threshold is 3.5, whatever is asked for.\nWhere do you use `threshold`?",
    ),
]
ANOTHER_DEFAULT = Mistake(
    _another_default,
    "With no threshold given it is 3, as it seems.\nWhich default does the docstring name?",
)
REMOVED = [
    Mistake(
        _nan_in_the_median,
        "With a removed head, whose value is NaN, nothing is flagged any more.\n"
        "The median of anything with NaN is NaN: how do you leave it out?",
    ),
    Mistake(
        _nan_not_in_line,
        "With a removed head, whose value is NaN, everything is flagged.\n"
        "The median of anything with NaN is NaN: how do you leave it out?",
    ),
    Mistake(
        _removed_flagged,
        "Removed heads, whose value is NaN, are flagged.\n"
        "Every comparison with NaN is false: do you ask which values are *not* in line?",
    ),
    Mistake(
        _removed_as_zero,
        "Removed heads count as 0 in the median.\nHow do you leave them out of it?",
    ),
    Mistake(
        _removed_as_zero_unflagged,
        "Removed heads count as 0 in the median, though they are not flagged.\n"
        "How do you leave them out of it?",
    ),
]
INSTEAD = "What does the docstring use instead of the MAD?"
HOW_MANY = "How many mean distances is one standard deviation?"
ALIKE = [
    Mistake(
        _judging(if_zero=lambda distances: math.inf),
        "Where more than half of the values are equal, the MAD is 0, and nothing is flagged, "
        f"however far it is.\n{INSTEAD}",
    ),
    Mistake(
        _judging(if_zero=lambda distances: 0.0),
        "Where more than half of the values are equal, the MAD is 0, and whatever differs by a "
        f"hair is flagged.\n{INSTEAD}",
    ),
    Mistake(
        _everything_at_mad_zero,
        "Where more than half of the values are equal, the MAD is 0, and everything is flagged.\n"
        "0 is not more than 0: is there a >= for >, or a `not`?",
    ),
    Mistake(
        _judging(if_zero=np.nanmean),
        "Where the MAD is 0, the mean distance replaces it, but without the factor 1.2533.\n"
        f"{HOW_MANY}",
    ),
    Mistake(
        _judging(if_zero=lambda distances: FACTOR * np.nanmean(distances)),
        "Where the MAD is 0, the mean distance replaces it, but with the factor of the MAD.\n"
        f"{HOW_MANY}",
    ),
    Mistake(
        _std_at_mad_zero,
        "Where the MAD is 0, the standard deviation replaces it.\n"
        "What does the docstring use instead, which outliers stretch less?",
    ),
]
ALIKE_REMOVED = [
    Mistake(
        _over_all,
        "Where the MAD is 0 and heads are removed, the sum of the distances is divided by the "
        "number of all heads.\nHow many distances are added?",
    ),
]
SMALL = [
    Mistake(
        _judging(
            unit=lambda distances: (
                FACTOR * np.nanmedian(distances) if np.nanmedian(distances) > 1e-6 else 0.0
            )
        ),
        "A small MAD counts as 0, and the mean distance replaces it, though it is the right unit "
        "where all values are small.\nWith what do you compare it?",
    ),
    Mistake(
        _judging(
            unit=lambda distances: (
                np.nanmedian(distances) and FACTOR * np.nanmedian(distances) + 1e-6
            )
        ),
        "Where all values are small, nothing is flagged.\n"
        "Is a small number added to the unit, or the least that it or a distance may be?",
    ),
]
MISTAKES = [
    *PLAIN,
    *EVEN,
    *FIXED,
    ANOTHER_DEFAULT,
    *REMOVED,
    *ALIKE,
    *ALIKE_REMOVED,
    *SMALL,
    Mistake(_judging(flag=np.greater_equal), ALL_EQUAL, compared=False),
    Mistake(_removed_dropped, DROPPED, compared=False),
    Mistake(_removed_set_in_place, CHANGES_ARRAY, compared=False),
    Mistake(
        lambda values, threshold=THRESHOLD: np.abs(values),
        NO_FLAGS.replace("{what}", "distances"),
        compared=False,
    ),
    Mistake(
        lambda values, threshold=THRESHOLD: np.flatnonzero(_right(values, threshold)),
        NO_FLAGS.replace("{what}", "the indices of values"),
        compared=False,
    ),
    Mistake(
        lambda values, threshold=THRESHOLD: values[_right(values, threshold)],
        NO_FLAGS.replace("{what}", "the values themselves"),
        compared=False,
    ),
]

EXERCISE = Exercise("robust_outliers", "attention_balance", 2, check, mistakes=MISTAKES)
