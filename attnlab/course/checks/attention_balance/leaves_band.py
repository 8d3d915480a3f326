"""Exercise ``leaves_band``: the first value that is not where the head would go on to."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.course.checks.attention_balance.leaves_band_mistakes import (
    ANOTHER_LEAST,
    CALM,
    DECISIONS,
    DEFAULTS,
    EARLY,
    FACTOR,
    KNOWN,
    LEAST,
    MANY,
    MISTAKES,
    NO_INDEX,
    NOT_NONE,
    PLAIN,
    START,
    Place,
    Values,
    Z,
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
    a_number,
    require,
)

_MOST = 400  # series drawn for one comparison


def check(answer: Answer, draw: Draw) -> Held:
    """``leaves_band(values, z, least)``: the first value outside its band, or None."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, draws=1)

    def telling(mistakes: Sequence[Mistake], *limits: float, **of_values: Any) -> None:
        heads = _telling(draw, mistakes, limits, **of_values)
        compared.on(lambda: ArrayCalls(heads, *limits), otherwise + OF_THESE, facts=_facts)

    otherwise = (
        "The index is wrong.\n"
        "The last value, the median of the last three changes, the distance from their sum, the "
        "median of the earlier distances times 1.4826 times z: which step differs?"
    )
    telling(PLAIN, 4.0, LEAST, unlike=[*EARLY, *ANOTHER_LEAST])
    yield "the first value outside, above or below; its band is known before it"

    otherwise = "Early values are judged wrongly.\nHow many distances must be known before?"
    telling(EARLY, 4.0, LEAST, jump=START + KNOWN - 1)
    yield "a value is judged once four distances are known"

    otherwise = "With calm heads the index is wrong.\nHow narrow may the band become?"
    telling(CALM, 4.0, 0.05, calm=True)
    yield "half the width is at least `least`"

    steady = np.linspace(0.8, 0.04, 39)
    for values in (steady, steady[:3], np.full(12, 0.5)):
        ((_, result),) = ArrayCalls([values], 4.0, LEAST).of(answer)
        _place(result, values)
        require(result is None, NOT_NONE.replace("{found}", repr(result)))
    yield "None where no value leaves, also of a few values"

    otherwise = "With no z and no `least` given the index is wrong.\nAre the defaults 15 and 0.02?"
    telling(DEFAULTS)
    yield "z is 15 and `least` 0.02 by default"


def reference(values: Values, z: float = Z, least: float = LEAST) -> Place:
    """From sorted lists of plain numbers."""

    def median(numbers: list[float]) -> float:
        ordered, half = sorted(numbers), len(numbers) // 2
        return (ordered[half] + ordered[-half - 1]) / 2

    plain, distances = values.tolist(), list[float]()
    for t in range(START, len(plain)):
        a, b, c, last = plain[t - 4 : t]
        expected = last + median([b - a, c - b, last - c])
        distance = abs(plain[t] - expected)
        if t >= START + KNOWN and distance > max(least, z * FACTOR * median(distances)):
            return t
        distances.append(distance)
    return None


def _telling(
    draw: Draw,
    mistakes: Sequence[Mistake],
    limits: tuple[float, ...],
    unlike: Sequence[Mistake] = (),
    jump: int | None = None,
    calm: bool = False,
) -> list[Values]:
    """Values of heads that tell these mistakes from the right answer, and from each other.

    Those that they are ``unlike`` make no difference. No value is so near its limit that rounding
    decides. Of many heads only those are kept that tell something new.
    """
    functions = [reference, *(mistake.wrong for mistake in mistakes)]
    heads: list[Values] = []
    found: list[tuple[Any, ...]] = [()] * len(functions)
    for _ in range(_MOST):
        values = _head(draw, jump, calm)
        first = reference(values, *limits)
        same = all(mistake.wrong(values.copy(), *limits) == first for mistake in unlike)
        if not (same and _clear(values, *limits)):
            continue
        more = [
            (*before, function(values.copy(), *limits))
            for before, function in zip(found, functions, strict=True)
        ]
        if len(heads) < 2 or len(set(more)) > len(set(found)):
            heads, found = [*heads, values], more
        if len(set(found)) == len(found):
            break
    return heads


def _head(draw: Draw, jump: int | None, calm: bool) -> Values:
    """Values of a head that moves, more or less evenly, and jumps a few times."""
    count = 16
    noise = draw.normal(count).double().numpy()
    size = 0.0 if calm and draw.whole(0, 1) else 10 ** (-0.3 - 1.5 * draw.uniform())
    values = 0.1 * draw.whole(-3, 3) * np.arange(count) + size * noise
    for _ in range(draw.whole(1, 3)):
        where = draw.whole(START, count - 1) if jump is None else jump + draw.whole(-2, 2)
        values[where:] += float(draw.normal(1))
        if draw.whole(0, 1):
            values[where + 1 :] -= values[where] - values[where - 1]
    return values + draw.uniform()


def _clear(values: Values, z: float = Z, least: float = LEAST) -> bool:
    """Whether the first value outside is the same with slightly wider and narrower bands."""
    near = {reference(values, z * by, least * by) for by in (0.99, 1.0, 1.01)}
    return len(near) == 1


def _read(results: list[Any], right: list[Any]) -> list[Tensor]:
    return [torch.tensor(_place(result, values)) for values, result in results]


def _place(result: Any, values: Values) -> float:
    """The answer's index, -1 for None."""
    if result is None:
        return -1.0
    require(not isinstance(result, bool | np.bool_), DECISIONS)
    if isinstance(result, np.ndarray | Tensor) and result.ndim == 0:
        result = result.item()
    require(not isinstance(result, list | tuple | np.ndarray | Tensor), MANY)
    place = (
        math.inf if isinstance(result, float) and math.isnan(result) else a_number(result, "index")
    )
    if place not in range(len(values)):
        raise CheckFailed(NO_INDEX.format(found=result, count=len(values)))
    return place


OF_THESE = "\nOf the values {values} the answer is {right}; yours is {found}."


def _facts(call: Call, results: list[Any]) -> dict[str, Any]:
    """The first head whose index is wrong, with the right one and the one that was found."""
    for (values, found), (_, right) in zip(results, call.of(reference), strict=True):
        if _place(found, values) != _place(right, values):
            break
    return {"values": values.round(3).tolist(), "right": right, "found": found}


def _ours(values: np.ndarray, z: float = 15.0, least: float = 0.02) -> int | None:
    distances = list[float]()
    for t in range(4, len(values)):
        expected = values[t - 1] + np.median(np.diff(values[t - 4 : t]))
        distance = abs(values[t] - expected)
        if t >= 8 and distance > max(z * 1.4826 * np.median(distances), least):
            return t
        distances.append(distance)
    return None


EXERCISE = Exercise("leaves_band", "attention_balance", 3, check, mistakes=MISTAKES, ours=_ours)
