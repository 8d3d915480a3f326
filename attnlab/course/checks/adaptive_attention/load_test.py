"""The exercise ``load_test``."""

import itertools
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attnlab.course.checks.adaptive_attention.load_test_mistakes import (
    AGAIN,
    AVERAGE,
    CLOSED,
    EARLY,
    FORGOTTEN,
    GIVEN_UP,
    LIMITED,
    LOST,
    MISSING,
    MISTAKES,
    NO_NUMBER,
    NOT_SENT,
    OTHER_CLOCK,
)
from attnlab.course.checks.adaptive_attention.virtual_time import Happening, Server, Span, run
from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    a_list,
    where,
)

NEAR = 0.004  # seconds; who looks at the clock every few milliseconds is right
NEVER: Span = (0.0, 0.0)


class Load(Call):
    """A server, the times at which requests are to be sent, and when our own loop is busy."""

    def __init__(self, server: Server, times: Sequence[float], busy: Span = NEVER):
        super().__init__(server, list(times), busy)
        self.server, self.times, self.busy = server, list(times), busy

    def of(self, function: Callable[..., Any]) -> Happening:
        """What a function measures on a clock of its own, and when it sends what."""
        if function is not reference:
            return run(function, self.server, self.times, self.busy)

        def awake(at: float) -> float:
            begin, end = self.busy
            return end if begin < at < end else at

        sent = [awake(at) for at in self.times]
        answered = [awake(self.server.answered_at(*pair)) for pair in enumerate(sent)]
        return Happening(reference(answered, self.times), list(enumerate(sent)))


def check(answer: Answer, draw: Draw) -> Held:
    """``load_test(send, times)``: an open loop, and latencies from the intended times."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, tolerance=NEAR)

    def on(name: str, made: Callable[[], Load], draws: int = 1) -> None:
        with where(name):
            compared.on(made, "{told}", facts=_facts, draws=draws)

    def arrivals(count: int, mean: float) -> list[float]:
        pauses = (mean * (0.3 + 1.4 * draw.uniform()) for _ in range(count))
        return [0.2 + at for at in itertools.accumulate(pauses)]

    def seconds(count: int, low: float, high: float) -> list[float]:
        return [low + (high - low) * draw.uniform() for _ in range(count)]

    def alone() -> Load:
        return Load(Server(seconds(5, 0.02, 0.09)), arrivals(5, 0.4))

    on("For five requests, each answered before the next one:", alone)
    yield "each request at its time, each latency in seconds"

    def stalled(count: int = 32, mean: float = 0.1) -> Load:
        begin = (0.25 + 0.1 * draw.uniform()) * count * mean
        times = [at for at in arrivals(count, mean) if not _just_before(begin, at)]
        return Load(Server(seconds(len(times), 0.02, 0.05), (begin, begin + 2.0)), times)

    on("For a server that stands still for two seconds:", stalled, 2)
    yield "requests go on while the server stands still: everyone who waits is counted"

    def overtaking() -> Load:
        return Load(Server(seconds(12, 0.05, 1.5)), arrivals(12, 0.15))

    on("For answers that overtake each other:", overtaking)
    yield "in the order of the requests"

    def rare() -> Load:
        waits = seconds(20, 0.02, 0.04)
        waits[draw.whole(3, 16)] = 2.0
        return Load(Server(waits), arrivals(20, 0.1))

    on("For one request that takes fifty times as long as the others:", rare)

    def late() -> Load:
        begin = 0.5 + draw.uniform()
        while True:
            server, times = Server(seconds(25, 0.02, 0.1)), arrivals(25, 0.1)
            answered = [server.answered_at(*pair) for pair in enumerate(times)]
            if not any(_just_before(begin, at) for at in [*times, *answered]):
                return Load(server, times, (begin, begin + 0.7))

    on("Where your own loop is kept busy for 0.7 seconds, and sends late:", late)
    yield "latency counts from the intended time"

    on("For requests at the same time:", lambda: Load(Server([0.3, 0.1, 0.2]), [0.5, 0.5, 0.5]))
    on("For a single request, at 0:", lambda: Load(Server([0.1]), [0.0]))
    on("Without a request:", lambda: Load(Server([]), []))
    on("For 150 requests a second and a stall:", lambda: stalled(450, 1 / 150))
    yield "any number of requests"


def _just_before(begin: float, at: float) -> bool:
    """Whether it is left to chance, or to rounding, on which side of an event a time lies."""
    return begin - 3 * NEAR < at < begin + NEAR


def reference(answered: Sequence[float], times: Sequence[float]) -> list[float]:
    """From the intended time to the answer."""
    return [at - intended for at, intended in zip(answered, times, strict=True)]


def _read(found: Happening, right: Happening) -> list[list[float]]:
    """The latencies, and when each request was sent."""
    result, count = found.result, len(right.sent)
    if isinstance(result, np.ndarray) and result.ndim == 1:
        result = result.tolist()
    if isinstance(result, numbers.Real) and not isinstance(result, bool):
        raise CheckFailed(AVERAGE)
    latencies = a_list(result, "latencies")
    if found.unsent:
        called = len(found.sent) + found.unsent
        raise CheckFailed(NOT_SENT.format(called=called, unsent=found.unsent))
    if found.given_up:
        raise CheckFailed(GIVEN_UP.format(count=found.given_up))
    indices = [index for index, _ in found.sent]
    for index in range(count):
        if index not in indices:
            raise CheckFailed(MISSING.format(index=index))
        if indices.count(index) > 1:
            raise CheckFailed(AGAIN.format(index=index))
    if found.under_way:
        raise CheckFailed(FORGOTTEN)
    if len(latencies) != count:
        raise CheckFailed(LOST.format(found=len(latencies), count=count))
    for index, latency in enumerate(latencies):
        plain = isinstance(latency, numbers.Real) and not isinstance(latency, bool)
        if not plain or not math.isfinite(latency):
            raise CheckFailed(NO_NUMBER.format(index=index, found=latency))
    return [[float(latency) for latency in latencies], [at for _, at in sorted(found.sent)]]


def _facts(call: Call, found: Happening) -> dict[str, Any]:
    """What is said where no mistake explains it."""
    assert isinstance(call, Load)
    return {"told": _told(call, found)}


def _told(call: Load, found: Happening) -> str:
    right = call.of(reference)
    if not found.clock_read:
        return OTHER_CLOCK
    sent = dict(found.sent)
    off = [index for index, at in right.sent if abs(sent[index] - at) > NEAR]
    if off:
        spans = [(at, call.server.answered_at(index, at)) for index, at in found.sent]
        most = max(sum(b <= at < e - 1e-6 for b, e in spans) for at, _ in spans)
        early = min(off, key=lambda index: sent[index] - right.sent[index][1])
        if sent[early] < right.sent[early][1]:
            return EARLY.format(index=early, sent=sent[early], time=call.times[early])
        usual = [(at, call.server.answered_at(index, at)) for index, at in right.sent]
        if most < max(sum(b <= at < e - 1e-6 for b, e in usual) for at, _ in usual):
            return CLOSED if most == 1 else LIMITED.format(most=most)
        return EARLY.format(index=off[0], sent=sent[off[0]], time=call.times[off[0]])
    pairs = zip(found.result, right.result, strict=True)
    wrong = (place for place, (mine, latency) in enumerate(pairs) if abs(mine - latency) > NEAR)
    index = next(wrong, 0)
    mine, latency = found.result[index], right.result[index]
    at = call.times[index]
    return (
        f"Request {index} should be sent at {at:.2f} s and is answered at {at + latency:.2f} s: a "
        f"latency of {latency:.3f} s. You say {mine:.3f}.\nFrom when to when does a user wait?"
    )


EXERCISE = Exercise("load_test", "adaptive_attention", 3, check, mistakes=MISTAKES)
