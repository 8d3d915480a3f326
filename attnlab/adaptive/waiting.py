"""Requests that wait for their turn: a bounded number, and each learns what became of it."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from attnlab.adaptive.monitor import LoadMonitor
from attnlab.errors import AttnlabError

__all__ = ["Answer", "Failed", "Refused", "Request", "TimedOut", "WaitingLine"]


class Refused(AttnlabError):
    """A request that is not taken, or that the service has to give up.

    Attributes
    ----------
    reason : "full", "shed" or "stopping"
    retry_after_s : when it may be worth while to ask again
    """

    def __init__(self, message: str, reason: str, retry_after_s: int = 1):
        super().__init__(message)
        self.reason, self.retry_after_s = reason, retry_after_s


class TimedOut(AttnlabError):
    """A request whose time was up before its turn came."""


class Failed(AttnlabError):
    """A request that no operating point could answer."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Answers to the N texts of a request.

    Attributes
    ----------
    labels : N names
    probabilities : (N, C)
    label_names : C names
    point : name of the operating point that gave them
    """

    labels: list[str]
    probabilities: np.ndarray
    label_names: list[str]
    point: str


@dataclass(eq=False)
class Request:
    """Texts that somebody wants answered.

    Attributes
    ----------
    texts : list of str
    arrived : seconds, by the clock of the line
    future : of the `Answer`
    """

    texts: list[str]
    arrived: float
    future: "Future[Answer]" = field(default_factory=Future)


class WaitingLine:
    """Requests in the order in which they came, taken in batches.

    Whatever becomes of a request, its future learns of it, and so does the monitor.

    Parameters
    ----------
    monitor : is told of every request twice
    most_batch : texts that are taken together; a larger request is taken by itself
    timeout_s : after which a request that still waits is given up
    clock : seconds that have gone by

    Attributes
    ----------
    unanswered : texts that wait or are being computed
    closed : whether nothing is taken any more
    """

    def __init__(
        self,
        monitor: LoadMonitor,
        most_batch: int,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.monitor, self.most_batch, self.timeout_s = monitor, most_batch, timeout_s
        self.unanswered, self.closed = 0, True
        self._clock = clock
        self._queue: deque[Request] = deque()
        self._changed = threading.Condition()

    def open(self) -> None:
        """Take requests."""
        self.closed = False

    def close(self) -> None:
        """Take no more requests; those that wait can still be taken by `next`."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def put(self, texts: list[str], why_not: Callable[[int], Refused | None]) -> "Future[Answer]":
        """Take a request, unless ``why_not``, given how many texts would be too many, refuses."""
        request = Request(texts, self._clock())
        self.monitor.arrived()
        with self._changed:
            refusal = why_not(len(texts))
            if refusal is None:
                self._queue.append(request)
                self.unanswered += len(texts)
                self._changed.notify()
        if refusal is not None:
            self.monitor.refused(refusal.reason)
            raise refusal
        return request.future

    def next(self) -> list[Request] | None:
        """Wait for requests and return those of a batch; None once it is closed and empty.

        Requests that nobody wants any more, or whose time is up, are left out.
        """
        while (requests := self._batch()) is not None:
            begun = [request for request in requests if self._begins(request)]
            if begun:
                return begun
        return None

    def answered(self, request: Request, answer: Answer, kept: float) -> None:
        """Give a request its answer, for which this share of attention was computed."""
        self._leave(request)
        latency_ms = 1000 * (self._clock() - request.arrived)
        self.monitor.answered(latency_ms, kept, answer.point)
        request.future.set_result(answer)

    def give_up(self, request: Request, error: AttnlabError, reason: str) -> None:
        """Tell a request that was taken why there is no answer."""
        self._leave(request)
        self.monitor.refused(reason)
        request.future.set_exception(error)

    def clear(self, error: AttnlabError, reason: str) -> int:
        """Tell all requests that still wait why there is no answer; return how many."""
        with self._changed:
            left = list(self._queue)
            self._queue.clear()
        for request in left:
            if self._is_wanted(request):
                self.give_up(request, error, reason)
        return len(left)

    # --- inside ----------------------------------------------------------------------------------

    def _batch(self) -> list[Request] | None:
        """What waits, as far as it fits into a batch."""
        with self._changed:
            while not self._queue and not self.closed:
                self._changed.wait()
            if not self._queue:
                return None
            requests = [self._queue.popleft()]
            texts = len(requests[0].texts)
            while self._queue and texts + len(self._queue[0].texts) <= self.most_batch:
                requests.append(self._queue.popleft())
                texts += len(requests[-1].texts)
            return requests

    def _begins(self, request: Request) -> bool:
        """Whether a request is still wanted and in time."""
        if not self._is_wanted(request):
            return False
        if self._clock() - request.arrived > self.timeout_s:
            message = f"No answer within {self.timeout_s:g} s: too much waits. Ask again later."
            self.give_up(request, TimedOut(message), "timed out")
            return False
        return True

    def _is_wanted(self, request: Request) -> bool:
        """Whether nobody has cancelled this request; after that nobody can."""
        if request.future.set_running_or_notify_cancel():
            return True
        self._leave(request)
        self.monitor.refused("given up")
        return False

    def _leave(self, request: Request) -> None:
        with self._changed:
            self.unanswered -= len(request.texts)


def __dir__() -> list[str]:
    return sorted(__all__)
