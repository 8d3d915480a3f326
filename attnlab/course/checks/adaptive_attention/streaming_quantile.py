"""The exercise ``StreamingQuantile``."""

import contextlib
import math
import numbers
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.adaptive_attention.streaming_quantile_mistakes import (
    AS_INDEX,
    CONSTANT,
    EMPTY,
    GUESSES,
    HIGHEST,
    LIMITED,
    LOWEST,
    MISTAKES,
    NO_CLASS,
    NO_METHOD,
    OF_THE_LATEST,
    OTHER_ERROR,
    RESET,
    SHARED,
    STORED,
    TWICE,
    WRONG,
    Guess,
)
from attnlab.course.checks.examiner import (
    READY_MADE,
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    Held,
    Unwritten,
    a_number,
    require,
    where,
)

OURS = "attnlab.adaptive.quantiles"  # the module of the package's own
LOWEST_VALUE, HIGHEST_VALUE = 0.01, 100_000.0
QUANTILES = (0.5, 0.95, 0.99, 0.9, 0.25, 0.05)
FEW, MANY = 3_000, 12_000
BYTES_A_VALUE = 2  # of what is kept, for each value added after the first few


@dataclass(frozen=True)
class Stream:
    """Values in their order, and the error that is allowed."""

    values: list[float]
    error: float = 0.05

    def between(self, q: float) -> tuple[float, float]:
        """The values that stand next to the quantile, by whichever definition."""
        ordered, place = sorted(self.values), q * (len(self.values) - 1)
        return ordered[math.floor(place + 1e-9)], ordered[math.ceil(place - 1e-9)]

    def holds(self, found: float, q: float, error: float | None = None) -> bool:
        """Whether a number is the quantile up to the error."""
        low, high = self.between(q)
        error = (self.error if error is None else error) * (1 + 1e-6) + 1e-9
        return low * (1 - error) <= found <= high * (1 + error)

    def told(self, found: float, q: float) -> str:
        """What is said of a wrong number that no mistake explains."""
        low, high = self.between(q)
        apart = max(low / found - 1 if found > 0 else math.inf, found / high - 1)
        apart = 1 - found / low if found < low else apart
        return WRONG.format(
            count=len(self.values),
            q=q,
            low=low,
            high=high,
            found=found,
            apart=apart,
            error=self.error,
        )


def check(answer: Answer, draw: Draw) -> Held:
    """``StreamingQuantile(error)``: quantiles of a stream, in memory that does not grow."""
    _empty(answer)
    yield "no value yet: NaN"

    _apart(answer)
    with where("For a few values, in ms:"):
        _judge(answer, Stream(_latencies(draw, 50, 0.5)), (0.5, 0.9, 0.25))
    yield "a few values"

    rising = sorted(_latencies(draw, 4_000, 1.0))
    with where("For values that rise all the time:"):
        _judge(answer, Stream(rising), (0.5, 0.1, 0.95), [*GUESSES, *OF_THE_LATEST])
    yield "all values count, not only the latest"

    for spread in (0.3, 0.6, 1.0):
        with where("For values like the latencies of a service, in ms:"):
            _judge(answer, Stream(_latencies(draw, 800, spread)), QUANTILES)
    yield "the middle and the tail"

    with where("For values from 0.01 to 100,000:"):
        _judge(answer, Stream(_wide(draw, 900)), (*QUANTILES, 0.3, 0.33, 0.01, 0.999))
        _judge(answer, Stream([0.02, 0.07, 0.3, 90_000.0, 40_000.0]), (0.5, 0.25, 0.75))
    for value in (7.0, 1, 0.4 + draw.uniform(), LOWEST_VALUE, HIGHEST_VALUE):
        with where(f"After the single value {value:g}:"):
            _judge(answer, Stream([value]), (0.5, 0.0, 1.0))
    with where("For q = 0 and q = 1:"):
        _judge(answer, Stream(_wide(draw, 50)), (0.0, 1.0))
    with where("Where many values are equal:"):
        _judge(answer, Stream([12.0] * 90 + _latencies(draw, 10, 1.0)), (0.5, 0.2, 0.8))
    yield "any values from 0.01 to 100,000, any q"

    for error in (0.2, 0.01):
        with where(f"With error={error}:"):
            _judge(answer, Stream(_wide(draw, 600), error), (0.5, 0.9, 0.2, 0.97))
    _asked_again(answer, draw)
    yield "the error that is asked for, and asking changes nothing"

    _memory(answer, draw)
    yield "memory that does not grow"


def _latencies(draw: Draw, count: int, spread: float) -> list[float]:
    """Log-normal, as latencies often are."""
    values: Tensor = 30 * torch.exp(spread * draw.normal(count).double())
    return [float(value) for value in values.clamp(LOWEST_VALUE, HIGHEST_VALUE)]


def _wide(draw: Draw, count: int) -> list[float]:
    shares = torch.rand(count, generator=draw.generator).double()
    values = LOWEST_VALUE * (HIGHEST_VALUE / LOWEST_VALUE) ** shares
    return [float(value) for value in values.clamp(LOWEST_VALUE, HIGHEST_VALUE)]


def _run(answer: Answer, use: Callable[[Callable[..., Any]], Any]) -> Any:
    """Let something be done with the learner's class, in limited time."""
    if not callable(answer.given):
        answer()  # says so
    driven = replace(answer, given=lambda: use(answer.given))
    try:
        return driven()
    finally:
        answer.seconds_left = driven.seconds_left


def _made(given: Callable[..., Any], *settings: Any, **more: Any) -> Any:
    stream = given(*settings, **more)
    if stream is Ellipsis:
        raise Unwritten("Not written yet: it is still `...`.")
    for part in (stream, *getattr(stream, "__dict__", {}).values()):
        ours = any(kind.__module__ == OURS for kind in type(part).__mro__)
        require(not ours, READY_MADE.format(name="StreamingQuantiles"))
    for method in ("add", "quantile"):
        if not hasattr(stream, method):
            raise CheckFailed((NO_CLASS if stream is None else NO_METHOD).format(method=method))
    return stream


def _filled(given: Callable[..., Any], stream: Stream, quantiles: Sequence[float]) -> list[Any]:
    made = _made(given, error=stream.error)
    for value in stream.values:
        made.add(value)
    return [made.quantile(q) for q in quantiles]


def _empty(answer: Answer) -> None:
    """Before any value; and a stream of its own is not filled by another."""

    def use(given: Callable[..., Any]) -> list[Any]:
        found, other = _made(given).quantile(0.5), _made(given)
        other.add(0.5)
        return [found, _made(given).quantile(0.5)]

    before, after = _run(answer, use)
    for found in (before, after):
        if not isinstance(found, numbers.Real) or isinstance(found, bool):
            a_number(found, "quantile")  # says what came instead
        require(not found > 0, SHARED)  # from a stream before
        require(math.isnan(found), EMPTY.format(found=found))


def _judge(
    answer: Answer,
    stream: Stream,
    quantiles: Sequence[float],
    guesses: Sequence[tuple[str, Guess]] = GUESSES,
) -> None:
    """Compare with the values, sorted; name the mistake that gives all of the wrong numbers."""
    given = _run(answer, lambda given: _filled(given, stream, quantiles))
    found = [
        a_number(number, f"quantile {q:g}") for q, number in zip(quantiles, given, strict=True)
    ]
    pairs = list(zip(quantiles, found, strict=True))
    wrong = [(q, number) for q, number in pairs if not stream.holds(number, q)]
    if not wrong:
        return
    for sentence, guess in guesses if len(set(stream.values)) > 1 else ():
        guessed = [guess(stream.values, q) for q in quantiles]
        if all(
            Stream(list(values), stream.error).holds(number, q)
            for number, (values, q) in zip(found, guessed, strict=True)
        ):
            raise CheckFailed(sentence)
    raise CheckFailed(_named(stream, pairs, wrong))


def _named(
    stream: Stream, pairs: list[tuple[float, float]], wrong: list[tuple[float, float]]
) -> str:
    """What is said where no other quantile was given."""
    q, number = wrong[0]
    low, high = stream.between(q)
    several = len({stream.between(q) for q, _ in pairs}) > 1
    if several and len({number for _, number in pairs}) == 1:
        return CONSTANT.format(found=number)
    near = all(stream.holds(number, q, 0.3) for q, number in pairs)
    whole = not near and all(number == int(number) for _, number in pairs)
    if whole and several:
        by_rank = [number for _, number in sorted(pairs)]
        if by_rank == sorted(by_rank):
            return AS_INDEX.format(found=number)
    if all(q in (0.0,) for q, _ in wrong):
        return LOWEST.format(found=number, right=low)
    if all(q in (1.0,) for q, _ in wrong):
        return HIGHEST.format(found=number, right=high)
    if stream.error < 0.05 and all(stream.holds(number, q, 0.05) for q, number in pairs):
        return OTHER_ERROR.format(error=stream.error)
    if all(stream.holds(number, q, 2.2 * stream.error) for q, number in pairs):
        return TWICE.format(error=stream.error) + "\n" + stream.told(number, q)
    few = [number < stream.between(q)[0] for q, number in wrong]
    several = len({stream.between(q) for q, _ in wrong}) > 1 or len(stream.values) == 1
    if (
        several
        and len({number for _, number in wrong}) == 1
        and (all(few) or all(number > stream.between(q)[1] for q, number in wrong))
    ):
        return LIMITED.format(found=number, low=low)
    return stream.told(number, q)


def _apart(answer: Answer) -> None:
    """A second stream changes nothing about the first."""

    def both(given: Callable[..., Any]) -> list[Any]:
        one, other = _made(given), _made(given)
        one.add(7.0)
        before = one.quantile(0.5)
        other.add(900.0)
        other.add(900.0)
        return [before, one.quantile(0.5)]

    before, after = (a_number(number, "quantile 0.5") for number in _run(answer, both))
    require(before == after, SHARED)


def _asked_again(answer: Answer, draw: Draw) -> None:
    """Ask after every value."""
    first = _latencies(draw, 60, 0.5)

    def asked(given: Callable[..., Any]) -> list[Any]:
        made, found = _made(given), []
        for value in first:
            made.add(value)
            found.append(made.quantile(0.9))
        return found

    for count, number in enumerate(_run(answer, asked), 1):
        require(Stream(first[:count]).holds(a_number(number, "quantile 0.9"), 0.9), RESET)


def _memory(answer: Answer, draw: Draw) -> None:
    """Look at what is held after a few thousand values, and after many."""
    values = _wide(draw, FEW + MANY)

    def held(given: Callable[..., Any]) -> int:
        made = _made(given)
        with _traced():
            for value in values[:FEW]:
                made.add(value)
            made.quantile(0.5)
            before = tracemalloc.get_traced_memory()[0] + _of_tensors(made)
            for value in values[FEW:]:
                made.add(value)
            made.quantile(0.5)
            return tracemalloc.get_traced_memory()[0] + _of_tensors(made) - before

    more = _run(answer, held)
    require(more <= BYTES_A_VALUE * MANY, STORED.format(few=FEW, many=FEW + MANY, bytes=more))


@contextlib.contextmanager
def _traced() -> Iterator[None]:
    """Count Python's memory, as long as nobody else does."""
    ours = not tracemalloc.is_tracing()
    if ours:
        tracemalloc.start()
    try:
        yield
    finally:
        if ours:
            tracemalloc.stop()


def _of_tensors(made: Any) -> int:
    """Bytes of tensors, which Python does not count."""
    held = list(getattr(made, "__dict__", {}).values())
    return sum(part.untyped_storage().nbytes() for part in held if isinstance(part, Tensor))


EXERCISE = Exercise(
    "StreamingQuantile",
    "adaptive_attention",
    3,
    check,
    mistakes=MISTAKES,
)
