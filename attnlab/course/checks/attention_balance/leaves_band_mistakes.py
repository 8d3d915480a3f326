"""What learners write instead of ``leaves_band``, and what is said of it."""

import math
from collections.abc import Callable
from itertools import pairwise
from statistics import fmean, median, pstdev
from typing import Any

import numpy as np
import numpy.typing as npt

from attnlab.course.checks.examiner import Mistake

Values = npt.NDArray[np.float64]
Plain = list[float]  # the same as numbers of Python, whose medians are faster
Place = int | None

Z, LEAST = 15.0, 0.02
FACTOR = 1.4826  # the standard deviation of a normal distribution, in units of its MAD
KNOWN = 4  # distances that must be known before a value is judged
START = 4  # the first value with three changes before it

DECISIONS = (
    "True or false came back; asked for is where: the index of the first value outside.\n"
    "What does the loop know when it finds it?"
)
MANY = "Several numbers came back.\nThe first value outside is asked for: when can the loop stop?"
NO_INDEX = (
    "{found} came back, which is no index of these {count} values.\n"
    "What does the docstring return where no value leaves its band?"
)
NOT_NONE = (
    "No value leaves its band, and {found} came back.\n"
    "Is a head that moves evenly ever far from where it is expected?"
)


def _changes(values: Plain, first: int, end: int) -> Plain:
    """From each of values[first:end] to the next of them."""
    some = values[max(first, 0) : end]
    return [after - before for before, after in pairwise(some)]


def _usual_change(values: Plain, t: int) -> float:
    return median(_changes(values, t - 4, t))


def _sizes(distances: Plain) -> Plain:
    return [abs(away) for away in distances]


def _usual(distances: Plain) -> float:
    return FACTOR * median(_sizes(distances))


def _leaving(
    last: Callable[[Plain, int], float] = lambda values, t: values[t - 1],
    change: Callable[[Plain, int], float] = _usual_change,
    unit: Callable[[Plain], float] = _usual,
    half: Callable[[float, float], float] = max,
    far: Callable[[float], float] = abs,
    known: int = KNOWN,
    with_own: bool = False,
    fixed: dict[str, float] | None = None,
    reach: Callable[[float], float] = lambda z: z,
    place: Callable[[int], int] = lambda t: t,
    goes_on: bool = False,
    never: Callable[[Values], Any] = lambda values: None,
) -> Callable[..., Any]:
    """The rule with a part exchanged."""

    def answer(values: Values, z: float = Z, least: float = LEAST) -> Any:
        given = {"z": z, "least": least} | (fixed or {})
        plain, distances = values.tolist(), Plain()
        found: Any = never(values)
        for t in range(START, len(values)):
            away = plain[t] - last(plain, t) - change(plain, t)
            of_width = [*distances, away] if with_own else distances
            if len(distances) >= known:
                width = half(reach(given["z"]) * unit(of_width), given["least"])
                if far(away) > width:
                    found = place(t)
                    if not goes_on:
                        return found
            distances.append(away)
        return found

    return answer


_right = _leaving()


def _all_places(values: Values, z: float = Z, least: float = LEAST) -> list[int]:
    first = _right(values, z, least)
    return [] if first is None else [first, first + 1]


def _whether(values: Values, z: float = Z, least: float = LEAST) -> bool:
    return _right(values, z, least) is not None


PLAIN = [
    Mistake(
        lambda values, z=Z, least=LEAST: None,
        "No value ever leaves its band.\nIs there a `return` inside the loop, with the index?",
    ),
    Mistake(
        _leaving(change=lambda values, t: 0.0),
        "The middle of the band is the last value alone: a head that moves as always seems to "
        "leave.\nWhat is its usual change, and where is it added?",
    ),
    Mistake(
        _leaving(last=lambda values, t: 0.0, change=lambda values, t: median(values[:t])),
        "The middle of the band is the median of all values before.\n"
        "A head that moves steadily is expected to go on: from which value, and by how much?",
    ),
    Mistake(
        _leaving(change=lambda values, t: fmean(_changes(values, t - 4, t))),
        "The last three changes are averaged: a single jump among them moves the band.\n"
        "Which middle of three numbers does one of them not move?",
    ),
    Mistake(
        _leaving(change=lambda values, t: median(_changes(values, 0, t))),
        "The usual change is the median of all changes so far.\nHow many does the docstring take?",
    ),
    Mistake(
        _leaving(change=lambda values, t: values[t - 1] - values[t - 2]),
        "The usual change is the last change alone.\nOf how many is the median asked for?",
    ),
    Mistake(
        _leaving(change=lambda values, t: median(_changes(values, t - 3, t))),
        "The median is taken of two changes; three are asked for.\n"
        "How many values have three changes between them?",
    ),
    Mistake(
        _leaving(change=lambda values, t: median(_changes(values, t - 5, t))),
        "The median is taken of four changes; three are asked for.\n"
        "How many values have three changes between them?",
    ),
    Mistake(
        _leaving(change=lambda values, t: median(_changes(values, t - 3, t + 1))),
        "The change to the new value is one of the three: the band knows what it shall judge.\n"
        "Which changes are known before values[t] comes?",
    ),
    Mistake(
        _leaving(change=lambda values, t: median(values[t - 3 : t]) - values[t - 1]),
        "The middle of the band is the median of the last three values, and not the last value "
        "plus the median of the last three changes.\nWhich NumPy function gives changes?",
    ),
    Mistake(
        _leaving(change=lambda values, t: -_usual_change(values, t)),
        "The usual change is taken away, and not added.\n"
        "A head that rises: is it expected above its last value, or below it?",
    ),
    Mistake(
        _leaving(with_own=True),
        "The new distance is one of those that make the width, so it widens the band that judges "
        "it.\nDo you append it before you judge?",
    ),
    Mistake(
        _leaving(far=lambda away: away),
        "Only values above the band are found.\nCan a head not leave it below? What is a distance?",
    ),
    Mistake(
        _leaving(far=lambda away: -away),
        "Only values below the band are found.\nCan a head not leave it above? What is a distance?",
    ),
    Mistake(
        _leaving(unit=lambda distances: median(_sizes(distances))),
        "The factor 1.4826 is missing: the band is too narrow.\nWhere does it stand?",
    ),
    Mistake(
        _leaving(unit=lambda distances: FACTOR * fmean(_sizes(distances))),
        "The distances are averaged, and a single large one widens the band for good.\n"
        "What else could be taken of them?",
    ),
    Mistake(
        _leaving(unit=lambda distances: FACTOR * median(_sizes(distances[-KNOWN:]))),
        "Only the last four distances make the width.\nWhich ones does the docstring take?",
    ),
    Mistake(
        _leaving(unit=lambda distances: FACTOR * abs(median(distances))),
        "The median is taken of signed differences, which lie on both sides of 0: the band is much "
        "too narrow.\nWhat is a distance?",
    ),
    Mistake(
        _leaving(unit=pstdev),
        "The width is made of a standard deviation, which a single large distance stretches.\n"
        "Which unit was used in section 5?",
    ),
    Mistake(
        _leaving(reach=lambda z: z / 2),
        "The band is half as wide as it should be.\nIs z times the unit the whole width, or half?",
    ),
    Mistake(
        _leaving(place=lambda t: t - START),
        "The index counts from the first value that has a band.\n"
        "Asked for is the index in `values`: what does your loop count?",
    ),
    Mistake(
        _leaving(place=lambda t: t - 1),
        "The index is too small by 1: of the value before.\n"
        "Which value is compared with the band, and which is the last that makes it?",
    ),
    Mistake(
        _leaving(goes_on=True),
        "The last value outside is returned; the first is asked for.\nWhen can the loop stop?",
    ),
    Mistake(
        _leaving(fixed={"z": Z}),
        "z is 15, whatever is asked for.\nWhere do you use `z`?",
    ),
    Mistake(
        _leaving(half=min),
        "`least` is the most that half the width may be.\nIs it min for max?",
    ),
]
EARLY = [
    Mistake(
        _leaving(known=1),
        "A value is judged as soon as one distance is known.\nHow many does the docstring want?",
    ),
    Mistake(
        _leaving(known=KNOWN - 1),
        "A value is judged when three distances are known; four are asked for.\n"
        "Is it < for <=, or does the loop start too early?",
    ),
    Mistake(
        _leaving(known=KNOWN + 1),
        "A value is judged only when five distances are known; four are asked for.\n"
        "Is it > for >=, or does the loop start too late?",
    ),
]
ANOTHER_LEAST = [
    Mistake(
        _leaving(half=lambda width, least: width),
        "A head that has moved evenly has a band of no width, and whatever comes is outside.\n"
        "What is the least that half the width may be?",
    ),
    Mistake(
        _leaving(half=lambda width, least: width + least),
        "`least` is added to half the width.\nOf the two, which one is taken?",
    ),
]
CALM = [
    *ANOTHER_LEAST,
    Mistake(
        _leaving(fixed={"least": LEAST}),
        "`least` is 0.02, whatever is asked for.\nWhere do you use it?",
    ),
]
DEFAULTS = [
    Mistake(
        lambda values, z=3.5, least=LEAST: _right(values, z, least),
        "With no z given it is 3.5, as it seems.\nWhich default does the first line name?",
    ),
]
MISTAKES = [
    *PLAIN,
    *EARLY,
    *CALM,
    *DEFAULTS,
    Mistake(_leaving(never=len), NO_INDEX, compared=False),
    Mistake(_leaving(never=lambda values: -1), NO_INDEX, compared=False),
    Mistake(_leaving(never=lambda values: math.nan), NO_INDEX, compared=False),
    Mistake(_whether, DECISIONS, compared=False),
    Mistake(_all_places, MANY, compared=False),
]
