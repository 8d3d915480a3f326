"""An event loop whose clock jumps to the next event, and a server that lives on it.

Two seconds of waiting take no time, and the same happens every time.
"""

import asyncio
import contextlib
import inspect
import selectors
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, SupportsIndex

from attnlab.course.checks.examiner import Answer, CheckFailed, require

Span = tuple[float, float]

BEGIN = 5000.0  # what the clock shows when a load test begins
SPINS = 200  # rounds without a pause, after which the clock moves by itself
LONGEST = 10_000.0  # seconds on the clock
NO_COROUTINE = "load_test(...) gave a {kind} at once, without a chance to wait.\nIs it `async def`?"
STUCK = (
    "Your function waits for something that never happens.\nWhich task, queue or event is it, and "
    "who ends it?"
)
ENDLESS = (
    "Hours have passed on the clock of the check, and your function is still waiting.\n"
    "Is there a loop whose condition never becomes false?"
)
BLOCKED = (
    "`time.sleep` stops the whole loop: no request is sent and no answer read meanwhile.\n"
    "Which sleep lets the others go on? `await asyncio.sleep(...)`."
)
NO_INDEX = "`send` was given {given!r}.\nIt takes the index of the request, 0 to {last}."
CANCELLED = "Your function was cancelled from within.\nWhich task cancels which?"


@dataclass(frozen=True)
class Server:
    """Answers each request after its own time; from ``stall[0]`` to ``stall[1]`` it stands still.

    All times are seconds from the beginning of the load test.
    """

    seconds: Sequence[float]
    stall: Span = (0.0, 0.0)

    def answered_at(self, index: int, sent: float) -> float:
        """When it answers a request that was sent at this time."""
        begin, end = self.stall
        return (end if begin <= sent < end else sent) + self.seconds[index]


@dataclass
class Happening:
    """What a load test returned, and what it did."""

    result: Any = None
    sent: list[tuple[int, float]] = field(default_factory=list)  # index and time
    given_up: int = 0  # requests that were cancelled before their answer
    under_way: int = 0  # requests without an answer when it returned
    unsent: int = 0  # calls of `send` that nobody awaited
    clock_read: bool = True


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: it moves the clock on."""

    def __init__(self, busy: Span):
        super().__init__()
        self.now, self.busy, self.spins = BEGIN, busy, 0

    def select(self, timeout: float | None = None) -> Any:
        """Events of threads, if there are any; else time passes."""
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            ready = super().select(0.1)
            require(bool(ready), STUCK)
            return ready
        self.spins = self.spins + 1 if timeout <= 0 else 0
        self.now += 0.001 if self.spins > SPINS else max(timeout, 0.0)
        begin, end = self.busy
        if begin < self.now - BEGIN < end:  # the machine of the load test has other things to do
            self.now = BEGIN + end
        require(self.now < BEGIN + LONGEST, ENDLESS)
        return []


class _Loop(asyncio.SelectorEventLoop):
    """A loop with the selector's clock."""

    def __init__(self, busy: Span):
        self.jumping = _Jumping(busy)
        self.read = False
        super().__init__(self.jumping)
        self.set_debug(False)
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        """Seconds; notes whether anyone but asyncio itself has looked."""
        if not sys._getframe(1).f_globals.get("__name__", "").startswith("asyncio"):
            self.read = True
        return self.jumping.now


def run(
    function: Callable[..., Any], server: Server, times: Sequence[float], busy: Span
) -> Happening:
    """Let a load test happen, in a thread of its own: in a notebook this one has a loop already."""

    def happen(times: list[float]) -> Happening:
        given = function.given if isinstance(function, Answer) else function
        return _happen(given, server, times, busy)

    call: Callable[..., Any] = happen
    if isinstance(function, Answer):
        if not callable(function.given):
            function()  # says so
        call = replace(function, given=happen)
    ended: list[Any] = []

    def work() -> None:
        try:
            ended.append(call(list(times)))
        except BaseException as problem:  # handed on to the thread that waits
            ended.append(problem)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    if isinstance(function, Answer) and isinstance(call, Answer):
        function.seconds_left = call.seconds_left
    if isinstance(ended[0], BaseException):
        raise ended[0]
    happening: Happening = ended[0]
    return happening


def _happen(given: Callable[..., Any], server: Server, times: list[float], busy: Span) -> Happening:
    loop, found = _Loop(busy), Happening()
    made: list[Coroutine[Any, Any, None]] = []
    problems: list[CheckFailed] = []

    async def served(index: Any) -> None:
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(times):
            problems.append(CheckFailed(NO_INDEX.format(given=index, last=len(times) - 1)))
            raise problems[-1]
        sent = loop.jumping.now - BEGIN
        found.sent.append((index, sent))
        found.under_way += 1
        try:
            await asyncio.sleep(server.answered_at(index, sent) - sent)
        except asyncio.CancelledError:
            found.given_up += not over
            raise
        found.under_way -= not over

    def send(index: int) -> Coroutine[Any, Any, None]:
        made.append(served(index))
        return made[-1]

    async def main() -> Any:
        result = given(send, times)
        if inspect.isawaitable(result):
            return await result
        if result is not None and result is not Ellipsis:
            raise CheckFailed(NO_COROUTINE.format(kind=type(result).__name__))
        return result

    over = False
    try:
        with _no_blocking(problems):
            found.result = _unwrapped(loop, main())
        over = True
        for problem in problems[:1]:
            raise problem
    finally:
        over = True
        found.unsent = sum(inspect.getcoroutinestate(one) == inspect.CORO_CREATED for one in made)
        _end(loop)
        for one in made:
            one.close()
    found.clock_read = loop.read
    return found


def _unwrapped(loop: _Loop, main: Coroutine[Any, Any, Any]) -> Any:
    """The result; of a group of exceptions the first, and none that would pass by the examiner."""
    try:
        return loop.run_until_complete(main)
    except asyncio.CancelledError:
        raise CheckFailed(CANCELLED) from None
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def _end(loop: _Loop) -> None:
    """Cancel what is left, silently."""
    with contextlib.suppress(Exception):
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1))
    with contextlib.suppress(Exception):
        loop.close()


@contextlib.contextmanager
def _no_blocking(problems: list[CheckFailed]) -> Iterator[None]:
    """Fail where this thread calls time.sleep."""
    before, here = time.sleep, threading.get_ident()

    def sleep(seconds: float | SupportsIndex) -> None:
        if threading.get_ident() != here:
            before(seconds)
            return
        problems.append(CheckFailed(BLOCKED))
        raise problems[-1]

    time.sleep = sleep
    try:
        yield
    finally:
        time.sleep = before
