"""The exercise ``Controller``."""

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from attnlab.course.checks.adaptive_attention.controller_mistakes import (
    MISTAKES,
    NO_CLASS,
    NO_INDEX,
    NO_OBSERVE,
    NOT_AN_INDEX,
    SHARED,
)
from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Unwritten,
    require,
    where,
)

NAN = float("nan")
# p95 in ms, second by second, where the load doubles and falls again; the target is 200 ms
RECORDED = (
    *(96, 101, 99, 118, 131, 164, 188, 231, 264, 247, 203, 171, 158, 149, 161, 172),
    *(190, 214, 196, 155, 139, 126, 133, 129, 141, 120, 117, 122, 145, 131, 128, 119),
    *(NAN, 88, 92, 153, 90, 84, 79, NAN, NAN, 72, 81, 140, 77, 90, 85, 240),
)


class Trace(Call):
    """Readings, and the controller that is shown them one after the other."""

    def __init__(self, points: int, target: float, readings: Sequence[float], **settings: Any):
        super().__init__(points, target, list(readings), **settings)
        self.points, self.readings = points, list(readings)

    def of(self, function: Callable[..., Any]) -> list[int]:
        """The index after each reading."""
        if function is _right:
            return _indices(*self.arguments, **self.keywords)
        if not isinstance(function, Answer):
            return _shown(function, *self.arguments, **self.keywords)
        if not callable(function.given):
            function()  # says so
        driven = replace(function, given=_driven(function.given))
        try:
            return driven(*self.arguments, **self.keywords)
        finally:
            function.seconds_left = driven.seconds_left


def check(answer: Answer, draw: Draw) -> Held:
    """``Controller(points, target_ms, headroom, patience)``: down at once, up with patience."""
    compared = Comparison(answer, _right, MISTAKES, read=_whole)
    otherwise = (
        "For the readings {readings} ms, a target of {target:.0f} ms and {points} points it "
        "returns {found}; it should return {right}."
    )

    def on(name: str, made: Callable[[], Trace], draws: int = 3) -> None:
        with where(name):
            compared.on(made, otherwise, facts=_facts, draws=draws)

    def some(low: float, high: float, count: int, target: float) -> list[float]:
        return [round(target * (low + (high - low) * draw.uniform())) for _ in range(count)]

    def between() -> Trace:
        target = 100.0 * draw.whole(1, 4)
        return Trace(4, target, some(0.75, 0.97, 5, target))

    on("Where p95 stays a little below the target:", between)
    yield "it begins with point 0, and stays there while p95 is in its range"

    def over() -> Trace:
        target, points = 100.0 * draw.whole(1, 4), draw.whole(3, 4)
        high = some(1.05, 3.0, points + 2, target)
        return Trace(points, target, some(0.75, 0.95, 2, target) + high)

    on("Where p95 rises above the target:", over)
    yield "one point cheaper for each reading above the target, up to the last one"

    def rush(points: int = 5) -> tuple[float, list[float]]:
        target = 100.0 * draw.whole(1, 4)
        high, calm = some(1.05, 2.0, 3, target), some(0.75, 0.95, 2, target)
        return target, [*high, *calm]

    def over_again() -> Trace:
        target, before = rush()
        return Trace(5, target, before + some(0.2, 0.65, draw.whole(7, 8), target))

    on("Where it is calm after a rush:", over_again)
    yield "one point dearer after three calm readings, and the count starts anew"

    def restless() -> Trace:
        target, before = rush()
        calm, between = some(0.2, 0.65, 2, target), some(0.75, 0.95, 1, target)
        more = some(0.2, 0.65, 4, target)
        above = some(1.1, 1.5, 1, target)
        return Trace(5, target, before + calm + between + calm + above + calm + between + more)

    on("Where calm readings are interrupted:", restless)
    yield "calm readings count only in a row"

    def silent() -> Trace:
        target, before = rush()
        calm = some(0.2, 0.65, 1, target)
        return Trace(5, target, before + calm + [NAN, NAN, NAN] + calm + [NAN, *calm, NAN])

    on("Where a second passes without a request (NaN):", silent)
    yield "no request is calm"

    def other() -> Trace:
        target, before = rush()
        patience, headroom = draw.whole(4, 5), 0.4
        settings = {"patience": patience, "headroom": headroom}
        calm = some(0.1, 0.35, patience + 1, target) + some(0.45, 0.65, 3, target)
        return Trace(5, target, before + calm + some(0.1, 0.35, 2 * patience, target), **settings)

    on("With another patience and headroom:", other)

    def exact() -> Trace:
        target, before = 200.0, [230.0, 250.0, 240.0]
        on_target, on_headroom = [200.0, 200.0], [100.0, 100.0, 100.0, 100.0]
        more = [99.0, 99.0, 100.0, 99.0, 99.0, 99.0]
        return Trace(5, target, before + on_target + on_headroom + more, headroom=0.5)

    on("With a headroom of 0.5, for p95 of exactly the target and exactly its half:", exact, 1)

    for points, patience in ((1, 2), (2, 1)):
        target, before = rush()
        trace = Trace(
            points, target, before + some(0.2, 0.6, 3, target) + before, patience=patience
        )
        on(f"With {points} points and a patience of {patience}:", partial(_same, trace), 1)
    yield "exactly the target, exactly the headroom, other settings"

    on("On the recorded trace:", lambda: Trace(4, 200.0, RECORDED), 1)

    def long() -> Trace:
        target, level = 150.0, 0.8
        readings = []
        for _ in range(150):
            level = min(max(level + 0.35 * (draw.uniform() - 0.5), 0.3), 1.4)
            readings.append(round(target * level) if draw.uniform() > 0.05 else NAN)
        return Trace(draw.whole(3, 6), target, readings, patience=draw.whole(2, 3))

    on("On a long trace:", long, 2)
    _by_itself(answer)
    yield "recorded traces, and two controllers at once"


def _same(trace: Trace) -> Trace:
    return trace


def _by_itself(answer: Answer) -> None:
    """Two controllers that are shown their readings in turns."""

    def in_turns() -> tuple[list[Any], list[Any]]:
        busy, calm = answer.given(3, 100.0), answer.given(3, 100.0)
        pairs = [(busy.observe(300.0), calm.observe(80.0)) for _ in range(2)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    one = replace(answer, given=in_turns)
    require(one() == ([1, 2], [0, 0]), SHARED)


def _driven(given: Callable[..., Any]) -> Callable[..., Any]:
    """What makes a controller of this class and shows it readings."""

    def shown(points: int, target: float, readings: list[float], **settings: Any) -> Any:
        return _shown(given, points, target, readings, **settings)

    return shown


def _shown(
    made: Callable[..., Any], points: int, target: float, readings: list[float], **settings: Any
) -> list[Any]:
    controller = made(points, target, **settings)
    if controller is Ellipsis:
        raise Unwritten("Not written yet: it is still `...`.")
    if not hasattr(controller, "observe"):
        raise CheckFailed((NO_CLASS if controller is None else NO_OBSERVE).format(controller))
    return [controller.observe(reading) for reading in readings]


def _right(points: int, target_ms: float, headroom: float = 0.7, patience: int = 3) -> Any:
    """Stands for `_indices`, which knows all readings at once."""


def _indices(
    points: int,
    target: float,
    readings: list[float],
    headroom: float = 0.7,
    patience: int = 3,
) -> list[int]:
    """Reading by reading."""
    index, calm, found = 0, 0, []
    for reading in readings:
        if reading > target:
            index, calm = min(index + 1, points - 1), 0
        elif math.isnan(reading) or reading < headroom * target:
            calm += 1
        else:
            calm = 0
        if calm == patience:
            index, calm = max(index - 1, 0), 0
        found.append(index)
    return found


def _whole(result: list[Any], right: list[int]) -> list[int]:
    """The indices as whole numbers."""
    for index in result:
        if index is None:
            raise CheckFailed(NO_INDEX)
        if isinstance(index, bool) or not isinstance(index, numbers.Integral):
            raise CheckFailed(NOT_AN_INDEX.format(found=index))
    return [int(index) for index in result]


def _facts(call: Call, result: list[Any]) -> dict[str, Any]:
    """The readings up to where it goes wrong."""
    assert isinstance(call, Trace)
    right = call.of(_right)
    wrong = [mine != theirs for mine, theirs in zip(result, right, strict=True)]
    last = (wrong.index(True) if True in wrong else len(wrong) - 1) + 1
    first = max(last - 8, 0)
    shown = ", ".join(f"{reading:.0f}" for reading in call.readings[first:last])
    return {
        "readings": ("... " if first else "") + shown,
        "target": call.arguments[1],
        "points": call.points,
        "found": ", ".join(map(str, result[first:last])),
        "right": ", ".join(map(str, right[first:last])),
    }


EXERCISE = Exercise("Controller", "adaptive_attention", 3, check, mistakes=MISTAKES)
