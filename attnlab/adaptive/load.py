"""A load generator: requests at given times to a real service, and when each was answered."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from attnlab.adaptive.connections import Connections
from attnlab.errors import AttnlabError, DataError, suggest
from attnlab.inference import short_pauses

__all__ = ["Trace", "arrivals", "by_window", "closed_loop", "send", "trace"]

Trace = Literal["doubling", "rush hour", "bursts"]

LONGEST_S = 600.0
MOST = 50_000  # requests
BURSTS, BURST = 4, 0.05  # how many, and each one's share of the time
OUTCOMES = {200: "answered", 429: "refused", 503: "refused", 504: "timed out"}


# --- when requests come --------------------------------------------------------------------------


def arrivals(rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Return times at which requests come that know nothing of each other (a Poisson process).

    Parameters
    ----------
    rate : requests per second, on average
    seconds : how long, at most 600
    seed : of chance

    Returns
    -------
    float array (N,), seconds from the start, in order
    """
    _check(rate, seconds)
    generator = np.random.default_rng(seed)
    return np.sort(generator.uniform(0, seconds, generator.poisson(rate * seconds)))


def trace(
    kind: Trace, rate: float = 20.0, seconds: float = 60.0, peak: float = 2.0, seed: int = 0
) -> np.ndarray:
    """Return times at which requests come under a load that changes.

    Parameters
    ----------
    kind : what the rate does

        - "doubling": after a third of the time it is ``peak`` times as high, for a third;
        - "rush hour": it rises smoothly to that in the middle, and falls again;
        - "bursts": it is that in four short bursts, a twentieth of the time each
    rate : requests per second at other times
    seconds : how long, at most 600
    peak : how many times as high, at least 1
    seed : of chance; the same seed is the same trace

    Returns
    -------
    float array (N,), seconds from the start, in order

    Source: thinning, Lewis and Shedler 1979.
    """
    if kind not in get_args(Trace):
        raise AttnlabError(f"There is no trace {kind!r}. {suggest(kind, get_args(Trace))}")
    if not 1 <= peak < np.inf:
        raise AttnlabError(f"peak is {peak}; it says how many times as high, from 1.")
    _check(rate, seconds, peak)
    generator = np.random.default_rng(seed)
    many = np.sort(generator.uniform(0, seconds, generator.poisson(peak * rate * seconds)))
    wanted = 1 + (peak - 1) * _shape(kind, many / seconds, seed)
    return many[generator.uniform(0, peak, len(many)) < wanted]


def _shape(kind: str, when: np.ndarray, seed: int) -> np.ndarray:
    """How much of the peak there is, 0 to 1, at shares of the time."""
    if kind == "doubling":
        return ((when >= 1 / 3) & (when < 2 / 3)).astype(float)
    if kind == "rush hour":
        return np.sin(np.pi * when) ** 2
    places = np.random.default_rng(seed + 1).uniform(0, 1 - BURST * BURSTS, BURSTS)
    starts = np.sort(places) + BURST * np.arange(BURSTS)  # so that none meets the next
    return ((when[:, None] >= starts) & (when[:, None] < starts + BURST)).any(1).astype(float)


def _check(rate: float, seconds: float, peak: float = 1.0) -> None:
    if not (0 < rate < np.inf and 0 < seconds <= LONGEST_S and rate * seconds * peak <= MOST / 1.1):
        raise AttnlabError(
            f"{rate} requests per second for {seconds} s, with a peak of {peak}: expected more "
            f"than 0, for at most {LONGEST_S:.0f} s, and fewer than {MOST / 1.1:,.0f} in all."
        )


# --- sending -------------------------------------------------------------------------------------


def send(
    url: str,
    texts: Sequence[str],
    at: Sequence[float] | np.ndarray,
    labels: Sequence[str] | None = None,
    timeout_s: float = 10.0,
) -> pd.DataFrame:
    """Send a request at each of these times, whatever has become of those before (an open loop).

    So a service that falls behind does not slow down those who ask it, and latency counts from the
    time at which a request was meant to be sent.

    Parameters
    ----------
    url : of a service on this machine, such as "http://127.0.0.1:8900"
    texts : one for each request, from the start again when they are used up
    at : seconds from the start, in order; of `arrivals` or `trace`
    labels : names of the true labels of the texts, from which the service learns its accuracy
    timeout_s : after which nobody waits for an answer any more

    Returns
    -------
    DataFrame, a row per request: ``meant_s``, ``sent_s``, ``answered_s`` from the start;
    ``latency_ms`` from ``meant_s``, also where the answer is a refusal; ``outcome``, "answered",
    "refused", "timed out" or "failed"; ``status``, of HTTP, 0 for none; ``label``; ``point``

    Raises
    ------
    AttnlabError : another machine, more than 50,000 requests or 600 s
    DataError : no texts, or not as many labels
    """
    client = _Client(url, texts, at, labels, timeout_s)
    return _finished(client.open_loop())


def closed_loop(
    url: str,
    texts: Sequence[str],
    at: Sequence[float] | np.ndarray,
    users: int = 1,
    labels: Sequence[str] | None = None,
    timeout_s: float = 10.0,
) -> pd.DataFrame:
    """Send the same requests by users who each wait for an answer before they ask again.

    What many load tests do. While the service is slow it is asked less, and latency counts from
    the time at which a request was really sent: the long waits are left out (coordinated
    omission).

    Parameters, result and errors as for `send`; ``users`` ask, and ``latency_ms`` is from
    ``sent_s``.
    """
    if users < 1:
        raise AttnlabError(f"users is {users}; expected 1 or more.")
    client = _Client(url, texts, at, labels, timeout_s)
    frame = _finished(client.closed_loop(users))
    return frame.assign(latency_ms=1000 * (frame["answered_s"] - frame["sent_s"]))


def by_window(frame: pd.DataFrame, target_ms: float, seconds: float = 10.0) -> pd.DataFrame:
    """Say for each window of time whether a promise was kept.

    Parameters
    ----------
    frame : of `send`
    target_ms : latency that is promised for 95 % of requests
    seconds : length of a window

    Returns
    -------
    DataFrame, a row per window with requests: ``second``, its start; ``requests``; ``answered``,
    share; ``p95_ms``, in which a request without an answer counts as infinitely late; ``kept``,
    whether that is within the target
    """
    late = frame["latency_ms"].where(frame["outcome"] == "answered", np.inf)
    windows = (frame["meant_s"] // seconds).astype(int)
    rows = [
        {
            "second": seconds * int(str(window)),
            "requests": len(part),
            "answered": float(np.isfinite(part).mean()),
            "p95_ms": float(np.quantile(part, 0.95, method="higher")),
        }
        for window, part in late.groupby(windows)
    ]
    table = pd.DataFrame(rows, columns=["second", "requests", "answered", "p95_ms"])
    return table.assign(kept=table["p95_ms"] <= target_ms)


class _Client:
    """Sends requests and notes what becomes of them."""

    def __init__(
        self,
        url: str,
        texts: Sequence[str],
        at: Sequence[float] | np.ndarray,
        labels: Sequence[str] | None,
        timeout_s: float,
    ):
        self.connections = Connections(url)
        self.at = np.asarray(at, dtype=float)
        if not len(texts) or (labels is not None and len(labels) != len(texts)):
            raise DataError(
                f"There are {len(texts)} texts and "
                f"{'no' if labels is None else len(labels)} labels. Give one text or more, and a "
                "label for each or none."
            )
        ordered = self.at.ndim == 1 and bool((np.diff(self.at) >= 0).all())
        if not ordered or len(self.at) > MOST or not (self.at >= 0).all():
            raise AttnlabError(
                f"Expected at most {MOST:,} times in seconds from 0, in order, as al.adaptive."
                f"arrivals gives them; got {self.at.size:,}."
            )
        if len(self.at) and not self.at[-1] <= LONGEST_S:
            raise AttnlabError(f"The last request is at {self.at[-1]} s; {LONGEST_S} s at most.")
        self.texts, self.labels, self.timeout_s = texts, labels, timeout_s
        self.rows: list[dict[str, Any]] = [{} for _ in self.at]
        self.start = 0.0

    async def open_loop(self) -> pd.DataFrame:
        self.start = time.perf_counter()
        tasks = []
        for number in range(len(self.at)):
            await self._until(number)
            tasks.append(asyncio.create_task(self._ask(number)))
        await asyncio.gather(*tasks)
        return self._frame()

    async def closed_loop(self, users: int) -> pd.DataFrame:
        self.start = time.perf_counter()
        numbers = iter(range(len(self.at)))

        async def user() -> None:
            for number in numbers:  # which all users share
                await self._until(number)
                await self._ask(number)

        await asyncio.gather(*(user() for _ in range(users)))
        return self._frame()

    def _now(self) -> float:
        return time.perf_counter() - self.start

    async def _until(self, number: int) -> None:
        early = self.at[number] - self._now()
        if early > 0:
            await asyncio.sleep(early)

    async def _ask(self, number: int) -> None:
        place = number % len(self.texts)
        given: dict[str, Any] = {"texts": [self.texts[place]]}
        if self.labels is not None:
            given["labels"] = [self.labels[place]]
        found: dict[str, Any] = {}
        sent, status = self._now(), 0
        try:
            async with asyncio.timeout(self.timeout_s):
                status, found = await self.connections.ask("POST", "/predict", given)
            outcome = OUTCOMES.get(status, "failed")
        except TimeoutError:
            outcome = "timed out"
        except (OSError, asyncio.IncompleteReadError, ValueError):
            outcome = "failed"
        labels = found.get("labels")
        self.rows[number] = {
            "sent_s": sent,
            "answered_s": self._now(),
            "outcome": outcome,
            "status": status,
            "label": labels[0] if labels else "",
            "point": found.get("point", ""),
        }

    def _frame(self) -> pd.DataFrame:
        self.connections.close()
        columns = ["sent_s", "answered_s", "outcome", "status", "label", "point"]
        frame = pd.DataFrame(self.rows, columns=columns)
        frame.insert(0, "meant_s", self.at)
        frame.insert(3, "latency_ms", 1000 * (frame["answered_s"] - frame["meant_s"]))
        return frame


def _finished(work: Coroutine[Any, Any, pd.DataFrame]) -> pd.DataFrame:
    """The result of a coroutine, in a thread of its own: a notebook's loop is running already."""
    loops: list[asyncio.AbstractEventLoop] = []

    def run() -> pd.DataFrame:
        with short_pauses(), asyncio.Runner() as runner:
            loops.append(runner.get_loop())
            return runner.run(work)

    with ThreadPoolExecutor(1, "load generator") as pool:
        running = pool.submit(run)
        try:
            while not running.done():  # in short waits, which Ctrl-C ends everywhere
                wait([running], timeout=0.2)
            return running.result()
        except KeyboardInterrupt:  # nothing more is sent
            for loop in loops:
                loop.call_soon_threadsafe(_cancel_all, loop)
            raise


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


def __dir__() -> list[str]:
    return sorted(__all__)
