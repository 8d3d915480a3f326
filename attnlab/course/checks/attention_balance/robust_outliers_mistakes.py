"""What learners write instead of ``robust_outliers``, and what is said of it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from attnlab.course.checks.examiner import CHANGES_ARRAY, Mistake

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Number = float | np.floating[Any]

THRESHOLD = 3.5
FACTOR = 1.4826  # the standard deviation of a normal distribution, in units of its MAD
OF_MEAN = 1.2533  # and in units of its mean distance from the median

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


def distances_of(values: Values) -> Values:
    """How far values are from their median."""
    return np.abs(values - np.nanmedian(values))


def mad_of(values: Values) -> float:
    """Their median absolute deviation (MAD)."""
    return float(np.nanmedian(distances_of(values)))


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
    return _right(values, threshold) if mad_of(values) else ~np.isnan(values)


def _std_at_mad_zero(values: Values, threshold: float = THRESHOLD) -> Flags:
    return distances_of(values) > threshold * (FACTOR * mad_of(values) or np.nanstd(values))


def _over_all(values: Values, threshold: float = THRESHOLD) -> Flags:
    distances = distances_of(values)
    unit = FACTOR * mad_of(values) or OF_MEAN * np.nansum(distances) / len(values)
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
INSTEAD = "What does section 5 use instead of the MAD?"
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
        "What does section 5 use instead, which outliers stretch less?",
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
