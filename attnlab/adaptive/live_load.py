"""A load that is steered while it runs: requests at a rate that may change at any time."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from attnlab.adaptive.connections import Connections, checked_url
from attnlab.adaptive.load import LONGEST_S, OUTCOMES
from attnlab.errors import AttnlabError, DataError

__all__ = ["MOST_PER_SECOND", "RUSH_S", "LiveLoad"]

MOST_PER_SECOND = 600  # a quick machine answers two hundred with the whole model
RUSH_S = 15.0
_LOOK_S = 0.25  # how long it waits for a request before it looks at the rate again
_BEHIND_S = 1.0  # of requests that are overdue, as the machine was busy, more are not made up for


class LiveLoad:
    """Sends requests in an open loop, from a thread of its own, at a rate that may be changed.

    Requests know nothing of each other (a Poisson process). Nothing is sent before `set_rate`; a
    load ends by itself after 600 s, and with this process.

    Parameters
    ----------
    url : of a service on this machine
    texts : sent in turn, from the start again when they are used up
    labels : names of their true labels, from which the service learns its accuracy
    timeout_s : after which nobody waits for an answer any more
    longest_s : seconds for which a load lasts at most
    seed : of chance

    Attributes
    ----------
    counts : Counter of what became of requests: "answered", "refused", "timed out" or "failed"
    trouble : str, what the service said of the last request that failed
    expired : bool, whether the last load ended by itself

    Raises
    ------
    AttnlabError : another machine
    DataError : no texts, or not as many labels
    """

    def __init__(
        self,
        url: str,
        texts: Sequence[str],
        labels: Sequence[str] | None = None,
        timeout_s: float = 10.0,
        longest_s: float = LONGEST_S,
        seed: int = 0,
    ):
        checked_url(url)
        if not len(texts) or (labels is not None and len(labels) != len(texts)):
            raise DataError(
                f"There are {len(texts)} texts and "
                f"{'no' if labels is None else len(labels)} labels. Give one text or more, and a "
                "label for each or none."
            )
        self.url, self.texts, self.labels = url, texts, labels
        self.timeout_s, self.longest_s = timeout_s, longest_s
        self.counts: Counter[str] = Counter()
        self.trouble, self.expired = "", False
        self._generator = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._rate, self._sent = 0.0, 0
        self._ends = self._rush_ends = self._next = 0.0  # time.monotonic()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None

    @property
    def rate(self) -> float:
        """Requests per second now; 0 when nothing is sent."""
        with self._lock:
            return self._rate_now()

    @property
    def rush_left_s(self) -> float:
        """Seconds that a rush hour still lasts."""
        return max(0.0, self._rush_ends - time.monotonic()) if self.rate else 0.0

    def set_rate(self, rate: float) -> None:
        """Send so many requests per second from now on; 0 stops.

        Raises
        ------
        AttnlabError : below 0, or above 200
        """
        if not 0 <= rate <= MOST_PER_SECOND:
            raise AttnlabError(
                f"{rate} requests per second; expected 0 to {MOST_PER_SECOND}, as this machine "
                "computes the answers, too."
            )
        with self._lock:
            now = time.monotonic()
            if not self._rate or now >= self._ends:  # a new start
                self._ends, self._rush_ends, self.expired = now + self.longest_s, 0.0, False
            self._rate = float(rate)
            if rate and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="attnlab load", daemon=True)
                self._thread.start()
        self._tell()

    def rush(self, seconds: float = RUSH_S) -> None:
        """Double the load for so many seconds; AttnlabError if there is none."""
        if not self.rate:
            raise AttnlabError("There is no load to double. Set one first.")
        with self._lock:
            self._rush_ends = time.monotonic() + seconds
        self._tell()

    def stop(self) -> None:
        """Send nothing more."""
        self.set_rate(0)

    # --- inside ----------------------------------------------------------------------------------

    def _rate_now(self) -> float:
        now = time.monotonic()
        if now >= self._ends:
            return 0.0
        doubled = 2 * self._rate if now < self._rush_ends else self._rate
        return min(doubled, MOST_PER_SECOND)

    def _tell(self) -> None:
        """Let a change of the rate take effect at once."""
        with self._lock:
            if self._loop is not None and self._changed is not None:
                self._loop.call_soon_threadsafe(self._changed.set)

    def _run(self) -> None:
        asyncio.run(self._send_all())

    async def _send_all(self) -> None:
        connections, tasks = Connections(self.url), set[asyncio.Task[None]]()
        with self._lock:
            self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        due = time.monotonic()
        try:
            while not self._is_over():
                if await self._until_next(due):
                    due = max(self._next, time.monotonic() - _BEHIND_S)
                    task = asyncio.create_task(self._ask(connections, self._sent))
                    self._sent += 1
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                else:
                    due = time.monotonic()
            if tasks:
                await asyncio.wait(tasks)
        finally:
            connections.close()

    def _is_over(self) -> bool:
        """Whether nothing is to be sent any more; the thread is then forgotten."""
        with self._lock:
            if self._rate_now():
                return False
            self.expired = bool(self._rate)
            self._rate, self._thread, self._loop, self._changed = 0.0, None, None, None
            return True

    async def _until_next(self, due: float) -> bool:
        """Wait for the next request; False if the rate is to be looked at again before it."""
        changed = self._changed
        if changed is None:
            return False
        changed.clear()
        rate = self.rate
        if not rate:
            return False
        self._next = due + self._generator.exponential(1 / rate)
        wait = self._next - time.monotonic()
        if wait <= 0:
            await asyncio.sleep(0)
            return True
        try:
            await asyncio.wait_for(changed.wait(), min(wait, _LOOK_S))
        except TimeoutError:
            return wait <= _LOOK_S  # what is still to come knows nothing of what has gone by
        return False

    async def _ask(self, connections: Connections, number: int) -> None:
        place = number % len(self.texts)
        given = {"texts": [self.texts[place]]}
        if self.labels is not None:
            given["labels"] = [self.labels[place]]
        try:
            async with asyncio.timeout(self.timeout_s):
                status, found = await connections.ask("POST", "/predict", given)
            outcome = OUTCOMES.get(status, "failed")
            if outcome == "failed":
                self.trouble = str(found.get("message", f"The service answered {status}."))
        except TimeoutError:
            outcome = "timed out"
        except (OSError, asyncio.IncompleteReadError, ValueError):
            outcome = "failed"
        self.counts[outcome] += 1


def __dir__() -> list[str]:
    return sorted(__all__)
