"""Check of ``robust_outliers``."""

import math
from collections.abc import Callable, Generator

import numpy as np
import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_tensor,
    require,
)

Rule = Callable[[np.ndarray, float], np.ndarray]
FACTOR = 1.4826  # the standard deviation of a normal distribution, in units of its MAD
OF_MEAN = 1.2533  # and in units of its mean distance from the median


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``robust_outliers(values, threshold)``: which values are out of line, by median and MAD."""
    mistakes: dict[str, Rule] = {
        "Nothing is flagged.\nIs the distance compared with the threshold?": lambda x, t: np.zeros(
            len(x), bool
        ),
        "Mean and standard deviation judge here: the outliers have stretched both, and hide "
        "behind them.\n"
        "Which two figures stay where they are if a few values fly off?": lambda x, t: (
            np.abs(x - x.mean()) > t * x.std()
        ),
        "The distance from the median is measured in standard deviations, which the outliers have "
        "stretched.\n"
        "What is the median of the distances?": lambda x, t: _far(x) > t * x.std(),
        "The factor 1.4826 is missing: one MAD is less than one standard deviation, and too much "
        "is flagged.\n"
        "Where does it stand?": lambda x, t: _far(x) > t * _mad(x),
        "You divide by 1.4826 where the MAD should be made larger, and too much is flagged.\n"
        "One MAD holds half of the values, one standard deviation 68 %: which is longer?": lambda x, t: (
            _far(x) > t * _mad(x) / FACTOR
        ),
        "Only values above the median are flagged.\n"
        "Can a head not be out of line below, too? What is a distance?": lambda x, t: (
            x - np.median(x) > t * FACTOR * _mad(x)
        ),
        "Only values below the median are flagged.\n"
        "Can a head not be out of line above, too? What is a distance?": lambda x, t: (
            np.median(x) - x > t * FACTOR * _mad(x)
        ),
        "The distances are taken from the mean, which the outliers have moved.\n"
        "From what should they be taken, both in the MAD and after?": lambda x, t: (
            np.abs(x - x.mean()) > t * FACTOR * np.median(np.abs(x - x.mean()))
        ),
        "The MAD is made of distances from the mean, which the outliers have moved.\n"
        "From what should they be taken, both in the MAD and after?": lambda x, t: (
            _far(x) > t * FACTOR * np.median(np.abs(x - x.mean()))
        ),
        "The MAD is right, but what is compared with it is the distance from the mean, which the "
        "outliers have "
        "moved.\nFrom what should it be taken?": lambda x, t: (
            np.abs(x - x.mean()) > t * FACTOR * _mad(x)
        ),
        "The distances are averaged: that is the mean absolute deviation, and the outliers "
        "stretch it.\n"
        "What else could be taken of the distances?": lambda x, t: (
            _far(x) > t * FACTOR * _far(x).mean()
        ),
        "The distances are averaged, and 1.4826 is missing.\n"
        "What else could be taken of the distances?": lambda x, t: _far(x) > t * _far(x).mean(),
        "The values that are in line are flagged, and the others are not.\n"
        "Which way does the comparison go?": lambda x, t: _far(x) < t * FACTOR * _mad(x),
        "The distance itself is compared with the threshold, whatever the unit of the values.\n"
        "In units of what should it be measured?": lambda x, t: _far(x) > t,
        "The threshold is 3, whatever is asked for.\nWhere do you use `threshold`?": lambda x, t: (
            _outliers(x, 3)
        ),
        "Values beyond one and a half interquartile ranges from the quartiles are flagged: "
        "Tukey's rule.\n"
        "A good one, too; but which one does the docstring name?": _tukey,
    }
    several = _discerning(draw, mistakes)
    _same_flags(
        answer,
        several,
        3.5,
        mistakes,
        "The flags are wrong.\n"
        "Median, distances from it, their median times 1.4826, and what is more than 3.5 of that "
        "away: which step "
        "differs?",
    )
    yield "far from the median, in units of 1.4826 times the MAD, on either side"

    middles: dict[str, Rule] = {
        "For an even number of values the median is the lower of the two in the middle; "
        "torch.median does that.\n"
        "What is the median of 1 and 2?": lambda x, t: _by_middle(x, t, lambda n: (n - 1) // 2),
        "For an even number of values the median is the upper of the two in the middle.\n"
        "What is the median of 1 and 2?": lambda x, t: _by_middle(x, t, lambda n: n // 2),
    }
    _same_flags(
        answer,
        _discerning(draw, middles, count=8),
        3.5,
        middles,
        "Right for an odd number of values, wrong for an even one.\nWhat is their median?",
    )
    yield "an even number of values, too"

    fixed: dict[str, Rule] = {
        "The threshold is 3.5, whatever is asked for.\nWhere do you use `threshold`?": lambda x, t: (
            _outliers(x, 3.5)
        ),
    }
    sets = _discerning(draw, fixed, threshold=2.0)
    _same_flags(
        answer,
        sets,
        2.0,
        fixed,
        "With threshold 2 the flags are wrong.\nWhere do you use `threshold`?",
    )
    _same_flags(
        answer,
        several,
        None,
        {},
        "With no threshold given the flags are wrong.\nIs its default 3.5?",
    )
    yield "whatever the threshold"

    removed: dict[str, Rule] = {
        "With a removed head, whose value is NaN, nothing is flagged any more.\n"
        "The median of anything with NaN is NaN: how do you leave it out?": lambda x, t: np.zeros(
            len(x), bool
        ),
        "With a removed head, whose value is NaN, everything is flagged.\n"
        "The median of anything with NaN is NaN: how do you leave it out?": lambda x, t: np.ones(
            len(x), bool
        ),
        "Removed heads, whose value is NaN, are flagged.\n"
        "Every comparison with NaN is false: do you ask which values are *not* in line?": lambda x, t: (
            _outliers(x, t) | np.isnan(x)
        ),
        "Removed heads count as 0 in the median.\nHow do you leave them out of it?": lambda x, t: (
            _outliers(np.nan_to_num(x), t)
        ),
        "Removed heads count as 0 in the median, though they are not flagged.\n"
        "How do you leave them out of it?": lambda x, t: (
            _outliers(np.nan_to_num(x), t) & ~np.isnan(x)
        ),
    }
    sets = _discerning(draw, removed, nan=4)
    _same_flags(
        answer,
        sets,
        3.5,
        removed,
        "With removed heads, whose value is NaN, the flags are wrong.\n"
        "Are they left out of both medians, and in their places in the result?",
    )
    yield "removed heads are left out, and never flagged"

    alike: dict[str, Rule] = {
        "Where more than half of the values are equal, the MAD is 0, and nothing is flagged, "
        "however far it is.\n"
        "What does the docstring put in the place of the MAD?": lambda x, t: np.zeros(len(x), bool),
        "Where more than half of the values are equal, the MAD is 0, and whatever differs by a "
        "hair is flagged.\n"
        "What does the docstring put in the place of the MAD?": lambda x, t: _far(x) > 0,
        "Where more than half of the values are equal, the MAD is 0, and everything is flagged.\n"
        "0 is not more than 0: is there a >= for >, or a `not`?": lambda x, t: np.ones(
            len(x), bool
        ),
        "Where the MAD is 0, the mean distance takes its place, but without the factor 1.2533.\n"
        "How many mean distances is one standard deviation?": lambda x, t: (
            _far(x) > t * _far(x).mean()
        ),
        "Where the MAD is 0, the mean distance takes its place, but with the factor of the MAD.\n"
        "How many mean distances is one standard deviation?": lambda x, t: (
            _far(x) > t * FACTOR * _far(x).mean()
        ),
        "Where the MAD is 0, the standard deviation takes its place.\n"
        "What does the docstring put there, which outliers stretch less?": lambda x, t: (
            _far(x) > t * x.std()
        ),
    }
    _same_flags(
        answer,
        _discerning(draw, alike, equal=9),
        3.5,
        alike,
        "Where more than half of the values are equal, the MAD is 0, and the flags are wrong.\n"
        "What does the docstring put in the place of the MAD?",
    )
    _same_flags(
        answer,
        [np.full(9, draw.whole(1, 9) / 10)],
        3.5,
        {},
        "All values are equal, and yet something is flagged.\n"
        "0 is not more than 0: is there a >= for >, or a `not`?",
    )
    yield "where the MAD is 0: in units of 1.2533 times the mean distance"


def _far(values: np.ndarray) -> np.ndarray:
    return np.abs(values - np.median(values))


def _mad(values: np.ndarray) -> float:
    return float(np.median(_far(values)))


def _outliers(values: np.ndarray, threshold: float) -> np.ndarray:
    """The right flags, from sorted lists."""
    there = [float(one) for one in values if not math.isnan(one)]

    middle = _median(there)
    distances = [abs(one - middle) for one in there]
    unit = FACTOR * _median(distances) or OF_MEAN * sum(distances) / len(there)
    return np.array([abs(one - middle) > threshold * unit for one in values.tolist()])


def _median(numbers: list[float]) -> float:
    ordered, half = sorted(numbers), len(numbers) // 2
    return (ordered[half] + ordered[-half - 1]) / 2


def _tukey(values: np.ndarray, threshold: float) -> np.ndarray:
    low, high = np.quantile(values, [0.25, 0.75])
    return (values < low - 1.5 * (high - low)) | (values > high + 1.5 * (high - low))


def _by_middle(values: np.ndarray, threshold: float, place: Callable[[int], int]) -> np.ndarray:
    """Flags with another median: the value at one place of the sorted ones."""
    middle = np.sort(values)[place(len(values))]
    far = np.abs(values - middle)
    return far > threshold * FACTOR * np.sort(far)[place(len(values))]


def _discerning(
    draw: Draw,
    rules: dict[str, Rule],
    count: int = 15,
    threshold: float = 3.5,
    nan: int = 0,
    equal: int = 0,
) -> list[np.ndarray]:
    """Sets of values for which every rule flags others than the right one, and than every other "
    "rule."""
    sets: list[np.ndarray] = []
    found: list[bytes] = []
    while len(sets) < 2 or len(set(found)) < len(found):
        values = 8 + draw.normal(count).double().numpy()
        values[: count // 3] += 3 * draw.normal(count // 3).double().numpy()
        values[0] += draw.whole(10, 30)
        values[count - equal :] = 8
        values = values[torch.randperm(count, generator=draw.generator).numpy()]
        values[:nan] = np.nan
        there = values[~np.isnan(values)]
        unit = FACTOR * _mad(there) or OF_MEAN * _far(there).mean()
        if np.abs(_far(there) / unit - threshold).min() > 1e-3:
            sets.append(values)
            flags = [rule(values, threshold).tobytes() for rule in (_outliers, *rules.values())]
            found = [was + now for was, now in zip(found or [b""] * len(flags), flags, strict=True)]
    return sets


def _same_flags(
    answer: Answer,
    sets: list[np.ndarray],
    threshold: float | None,
    mistakes: dict[str, Rule],
    otherwise: str,
) -> None:
    """Fail unless the right values are flagged; the mistake that flags these very ones is named.

    With a threshold of None none is given, and 3.5 is expected.
    """
    limit = 3.5 if threshold is None else threshold
    flags = []
    for values in sets:
        copy = values.copy()
        result = answer(copy) if threshold is None else answer(copy, threshold)
        require(
            np.array_equal(values, copy, equal_nan=True),
            "Your function changes the array that it was given.\n"
            "Is there an assignment into it, a `-=`, or a .sort()?",
        )
        flags.append(_flags(result, values))

    def flagged_by(rule: Rule) -> bool:
        return all(
            np.array_equal(found, rule(values, limit))
            for found, values in zip(flags, sets, strict=True)
        )

    if flagged_by(_outliers):
        return
    for diagnosis, rule in mistakes.items():
        require(not flagged_by(rule), diagnosis)
    for found, values in zip(flags, sets, strict=True):
        right = _outliers(values, limit)
        require(
            np.array_equal(found, right),
            f"{otherwise}\nOf {values.round(2).tolist()} these should be flagged: "
            f"{values[right].round(2).tolist()}; yours are {values[found].round(2).tolist()}.",
        )


def _flags(result: object, values: np.ndarray) -> np.ndarray:
    """The answer's flags (N,), as an array of bool."""
    count = len(values)
    if isinstance(result, list | tuple) or hasattr(result, "__array__"):
        found = np.asarray(result.detach().cpu() if isinstance(result, Tensor) else result)
    else:
        found = a_tensor(result, (count,), "flags").numpy()
    if found.dtype != bool:
        told = "numbers"
        if found.shape == (count,):
            told = "distances"
        elif found.dtype.kind in "iu":
            told = "the places of values"
        elif found.dtype.kind == "f" and np.isin(found, values).all():
            told = "the values themselves"
        raise CheckFailed(
            f"These are {told}; decisions are asked for, true or false, one for each value.\n"
            "With what comparison could your function end?"
        )
    require(
        found.shape == (count,) or found.shape != (int((~np.isnan(values)).sum()),),
        "Removed heads, whose value is NaN, have no place in the result any more.\n"
        "How will the others find theirs?",
    )
    require(
        found.shape == (count,),
        f"For {count} values came flags of shape {found.shape}.\nIs there one for each value?",
    )
    return found


EXERCISE = Exercise("robust_outliers", "attention_balance", 2, check)
