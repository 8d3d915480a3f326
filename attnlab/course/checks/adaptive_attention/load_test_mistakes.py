"""What learners write instead of ``load_test``, and what is said of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attnlab.course.checks.adaptive_attention.virtual_time import BLOCKED, NO_COROUTINE
from attnlab.course.checks.examiner import Mistake

Send = Callable[[int], Awaitable[None]]
Times = Sequence[float]

AVERAGE = (
    "One number came back instead of a list.\nWho waited in the stall cannot be seen in a mean: "
    "which latency does each request have?"
)
CLOSED = (
    "The next request waits for the answer of the one before. While the server stands still nobody "
    "asks, and the stall counts once instead of for all who would have come in it: coordinated "
    "omission.\nHow can a request go its own way while you go on?"
)
CLOSED_INTENDED = (
    "The latencies count from the intended times, but the next request still waits for the answer "
    "of the one before: the server never sees the load that you want to test.\n"
    "How can a request go its own way while you go on?"
)
LIMITED = (
    "There are never more than {most} requests under way, so that others are sent late: whoever "
    "is slow is asked less.\nIs there a semaphore, a pool or a batch? Users do not wait for each "
    "other."
)
EARLY = (
    "Request {index} is sent at {sent:.2f} s; it should be at {time:.2f} s.\n"
    "Until when do you sleep?"
)
FROM_SEND = (
    "Latency counts from when a request was really sent, and where your own loop was late that "
    "delay is left out: coordinated omission.\nA user starts to wait at the intended time."
)
GIVEN_UP = (
    "{count} requests are given up before their answer, as with a time-out: just those that "
    "waited longest.\nHow long did they wait?"
)
LOST = (
    "There are {found} latencies for {count} requests.\nWhich ones are missing? Those that wait "
    "longest must not be left out."
)
NO_NUMBER = (
    "The latency of request {index} is {found!r}, not a number of seconds.\nWas its answer awaited?"
)
FORGOTTEN = (
    "Your function returns while requests are still under way.\nHow do you wait for all tasks at "
    "the end?"
)
NOT_SENT = (
    "`send` is called for {called} requests, but {unsent} of the calls are never awaited: a "
    "coroutine does nothing before.\nIs there an `await` or a create_task missing?"
)
MISSING = "Request {index} is never sent.\nWhich indices does your loop go through?"
AGAIN = "Request {index} is sent more than once.\nIs there a rehearsal, or a second try?"
OTHER_CLOCK = (
    "The numbers are wrong, and the clock of the loop was never read.\n"
    "Here time passes on `asyncio.get_running_loop().time()` alone; which clock do you read?"
)


def _opened(
    *,
    pause: Callable[[list[float], int], float] = lambda times, index: times[index],
    latency: Callable[[float, float, float], Any] = lambda now, sent, intended: now - intended,
    result: Callable[[list[Any]], Any] = lambda latencies: latencies,
) -> Callable[..., Any]:
    """An open loop with a part exchanged; times count from the start."""

    async def answer(send: Send, times: Times) -> Any:
        loop = asyncio.get_running_loop()
        start, given = loop.time(), list(times)

        async def one(index: int) -> Any:
            await asyncio.sleep(start + pause(given, index) - loop.time())
            sent = loop.time() - start
            await send(index)
            return latency(loop.time() - start, sent, given[index])

        return result(list(await asyncio.gather(*map(one, range(len(given))))))

    return answer


def _closed(intended: bool) -> Callable[..., Any]:
    async def answer(send: Send, times: Times) -> Any:
        loop, latencies = asyncio.get_running_loop(), []
        start = loop.time()
        for index, at in enumerate(times):
            await asyncio.sleep(start + at - loop.time())
            begin = start + at if intended else loop.time()
            await send(index)
            latencies.append(loop.time() - begin)
        return latencies

    return answer


async def _as_answered(send: Send, times: Times) -> Any:
    """In the order of the answers."""
    loop, latencies = asyncio.get_running_loop(), []
    start = loop.time()

    async def one(index: int, at: float) -> None:
        await asyncio.sleep(start + at - loop.time())
        await send(index)
        latencies.append(loop.time() - start - at)

    await asyncio.gather(*(one(index, at) for index, at in enumerate(times)))
    return latencies


async def _in_batches(send: Send, times: Times) -> Any:
    loop, latencies = asyncio.get_running_loop(), []
    start = loop.time()

    async def one(index: int, at: float) -> float:
        await asyncio.sleep(start + at - loop.time())
        await send(index)
        return loop.time() - start - at

    for first in range(0, len(times), 10):
        some = range(first, min(first + 10, len(times)))
        latencies += await asyncio.gather(*(one(index, times[index]) for index in some))
    return latencies


async def _eight_at_a_time(send: Send, times: Times) -> Any:
    loop, door = asyncio.get_running_loop(), asyncio.Semaphore(8)
    start = loop.time()

    async def one(index: int, at: float) -> float:
        await asyncio.sleep(start + at - loop.time())
        async with door:
            await send(index)
        return loop.time() - start - at

    return await asyncio.gather(*(one(index, at) for index, at in enumerate(times)))


def _with_a_time_out(dropped: bool) -> Callable[..., Any]:
    async def answer(send: Send, times: Times) -> Any:
        loop = asyncio.get_running_loop()
        start = loop.time()

        async def one(index: int, at: float) -> float | None:
            await asyncio.sleep(start + at - loop.time())
            try:
                await asyncio.wait_for(send(index), 1.0)
            except TimeoutError:
                return None if dropped else 1.0
            return loop.time() - start - at

        found = await asyncio.gather(*(one(index, at) for index, at in enumerate(times)))
        return [latency for latency in found if latency is not None]

    return answer


async def _pauses_add_up(send: Send, times: Times) -> Any:
    """Sleeps for each time anew."""
    loop, tasks = asyncio.get_running_loop(), list[Any]()

    async def one(index: int) -> float:
        begin = loop.time()
        await send(index)
        return loop.time() - begin

    for index, at in enumerate(times):
        await asyncio.sleep(at)
        tasks.append(asyncio.create_task(one(index)))
    return await asyncio.gather(*tasks)


async def _on_the_wall(send: Send, times: Times) -> Any:
    start = time.perf_counter()

    async def one(index: int, at: float) -> float:
        await asyncio.sleep(at - (time.perf_counter() - start))
        await send(index)
        return time.perf_counter() - start - at

    return await asyncio.gather(*(one(index, at) for index, at in enumerate(times)))


async def _blocking(send: Send, times: Times) -> Any:
    loop, tasks = asyncio.get_running_loop(), list[Any]()
    start = loop.time()
    for index, at in enumerate(times):
        time.sleep(max(start + at - loop.time(), 0.0))
        tasks.append(asyncio.ensure_future(send(index)))
    await asyncio.gather(*tasks)
    return [0.0 for _ in times]


async def _never_awaited(send: Send, times: Times) -> Any:
    loop, latencies = asyncio.get_running_loop(), []
    start = loop.time()
    for index, at in enumerate(times):
        await asyncio.sleep(start + at - loop.time())
        send(index)
        latencies.append(loop.time() - start - at)
    return latencies


async def _not_waited_for(send: Send, times: Times) -> Any:
    loop, latencies = asyncio.get_running_loop(), [0.0 for _ in times]
    start = loop.time()

    async def one(index: int, at: float) -> None:
        await send(index)
        latencies[index] = loop.time() - start - at

    tasks = list[Any]()
    for index, at in enumerate(times):
        await asyncio.sleep(start + at - loop.time())
        tasks.append(asyncio.create_task(one(index, at)))
    return list(latencies)


async def _rehearsed(send: Send, times: Times) -> Any:
    if times:
        await send(0)
    return await _opened()(send, times)


async def _without_the_last(send: Send, times: Times) -> Any:
    return [*await _opened()(send, list(times)[:-1]), 0.0][: len(times)]


def _at_once(send: Send, times: Times) -> Any:
    return [0.0 for _ in times]


def _evenly(times: list[float], index: int) -> float:
    return times[-1] * index / max(len(times) - 1, 1)


MISTAKES = [
    Mistake(
        _opened(latency=lambda now, sent, intended: now),
        "These are the times of the answers, counted from the start.\nFrom when does a user wait?",
    ),
    Mistake(
        _opened(latency=lambda now, sent, intended: 1000 * (now - intended)),
        "The latencies are in milliseconds; seconds are asked for.",
    ),
    Mistake(
        _opened(pause=lambda times, index: 0.0),
        "All requests are sent at once, at the start.\nWhat do `times` say?",
    ),
    Mistake(
        _opened(pause=lambda times, index: 0.0, latency=lambda now, sent, intended: now - sent),
        "All requests are sent at the start, and latencies count from there.\nWhat do `times` say?",
    ),
    Mistake(
        _pauses_add_up,
        "The pauses add up: each time is slept through after the one before.\n`times` count from "
        "the start: how long is it until then?",
    ),
    Mistake(
        _opened(pause=_evenly),
        "The requests are sent at even intervals.\nReal ones are not: what do `times` say?",
    ),
    Mistake(_closed(intended=False), CLOSED),
    Mistake(_closed(intended=True), CLOSED_INTENDED),
    Mistake(
        _opened(latency=lambda now, sent, intended: now - sent),
        FROM_SEND,
    ),
    Mistake(
        _as_answered,
        "The latencies come in the order of the answers.\nWhich one belongs to which request?",
    ),
    Mistake(
        _opened(result=sorted),
        "The latencies are sorted.\nWhich one belongs to which request?",
    ),
    Mistake(
        _opened(result=lambda latencies: [max(latencies, default=0.0)] * len(latencies)),
        "Every request is given the longest latency.\nHow long did each wait?",
    ),
    Mistake(
        _opened(result=lambda latencies: [sum(latencies) / len(latencies)] * len(latencies)),
        "Every request is given the mean latency.\nHow long did each wait?",
    ),
    *(
        Mistake(wrong, diagnosis, compared=False)
        for wrong, diagnosis in (
            (_opened(result=lambda latencies: sum(latencies) / len(latencies)), AVERAGE),
            (_in_batches, LIMITED),
            (_eight_at_a_time, LIMITED),
            (_with_a_time_out(dropped=True), GIVEN_UP),
            (_with_a_time_out(dropped=False), GIVEN_UP),
            (_opened(result=lambda latencies: latencies[1:]), LOST),
            (
                _opened(result=lambda latencies: [one if one < 1 else None for one in latencies]),
                NO_NUMBER,
            ),
            (_not_waited_for, FORGOTTEN),
            (_never_awaited, NOT_SENT),
            (_without_the_last, MISSING),
            (_rehearsed, AGAIN),
            (_on_the_wall, OTHER_CLOCK),
            (_blocking, BLOCKED),
            (_at_once, NO_COROUTINE),
        )
    ),
]
