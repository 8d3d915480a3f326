"""A service that answers what waits together, and refuses at once what would wait too long."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from attnlab.adaptive.controller import PRESSED, OperatingPoint, Policy
from attnlab.adaptive.monitor import LoadMonitor
from attnlab.adaptive.waiting import Answer, Failed, Refused, Request, WaitingLine
from attnlab.errors import SettingsError

__all__ = ["BatchingService"]

PROBE = ["good"]  # what every point can answer that is not broken
MOST_TARGET_MS = 60_000
A_SECOND, A_LOOK = 1.0, 0.05  # between two readings for the controller; between two looks
LATELY = 2  # seconds that count while too much waits: the mean of ten hides a rush that has begun


class BatchingService:
    """Takes requests from any thread and answers what waits together, in batches.

    One worker thread computes. While it does, requests wait, and what waits then is the next batch
    (dynamic batching): alone when there is little to do, full when there is much. A bounded number
    of texts may wait; whoever comes then is refused at once and told when to come again
    (back-pressure). Once a second the controller sees what the monitor saw, and at once while what
    waits takes half as long as is promised.

    Parameters
    ----------
    controller : a `Policy`, such as `Controller` or `FixedPoint`
    monitor : is told of every request; default a new one
    most_waiting : texts that may have no answer yet
    most_batch : texts that are computed together
    timeout_s : after which a request that still waits is given up
    clock : seconds that have gone by

    As a context manager it starts, and stops gracefully.

    Raises
    ------
    SettingsError : numbers without sense
    """

    def __init__(
        self,
        controller: Policy,
        monitor: LoadMonitor | None = None,
        most_waiting: int = 256,
        most_batch: int = 32,
        timeout_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        if not (1 <= most_batch <= most_waiting and 0 < timeout_s < math.inf):
            raise SettingsError(
                f"most_batch is {most_batch}, most_waiting {most_waiting} and timeout_s "
                f"{timeout_s}; expected 1 text or more in a batch, as many waiting, and seconds "
                "above 0."
            )
        self.controller = controller
        self.monitor = LoadMonitor() if monitor is None else monitor
        self.most_waiting, self.most_batch, self.timeout_s = most_waiting, most_batch, timeout_s
        self._line = WaitingLine(self.monitor, most_batch, timeout_s, clock)
        self._policy = threading.Lock()  # around calls of the controller that change it
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    # --- what is asked ---------------------------------------------------------------------------

    @property
    def point(self) -> OperatingPoint:
        """How requests are answered now."""
        return self.controller.point

    @property
    def label_names(self) -> list[str]:
        """Names of the labels."""
        return list(self.point.classifier.label_names)

    @property
    def waiting(self) -> int:
        """Texts without an answer yet."""
        return self._line.unanswered

    @property
    def stopping(self) -> bool:
        """Whether nothing is taken any more."""
        return self._line.closed

    def steps(self, most: int = 20) -> list[dict[str, Any]]:
        """Return the last steps of a controller that keeps a log, as rows."""
        if not hasattr(self.controller, "log"):
            return []
        with self._policy:
            frame = self.controller.log().tail(most)
        return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]

    def set_target(self, target_ms: float) -> None:
        """Promise another latency; SettingsError if the controller promises none."""
        if not hasattr(self.controller, "target_ms"):
            raise SettingsError(
                "This service has no controller that keeps to a target: its point is fixed."
            )
        if not 1 <= target_ms <= MOST_TARGET_MS:
            raise SettingsError(
                f"target_ms is {target_ms}; expected milliseconds from 1 to {MOST_TARGET_MS:,}."
            )
        with self._policy:
            self.controller.target_ms = float(target_ms)

    def submit(self, texts: Sequence[str]) -> "Future[Answer]":
        """Take a request; the future holds its `Answer`, or raises `TimedOut` or `Failed`.

        Whoever does not want the answer any more cancels the future.

        Raises
        ------
        Refused : too much waits, or the service stops
        """
        return self._line.put(list(texts), self._why_not)

    def predict(self, texts: Sequence[str]) -> Answer:
        """Answer texts, and wait for it; raises what `submit` and its future raise."""
        return self.submit(texts).result()

    def _why_not(self, texts: int) -> Refused | None:
        """Why so many more texts are not taken; None if they are."""
        waiting = self.waiting
        again = max(1, math.ceil(waiting * self.point.ms / 1000))
        if self.stopping:
            return Refused("This service is not running. Start it, or ask later.", "stopping")
        if waiting + texts > self.most_waiting:
            said = f"{waiting} texts wait, and {self.most_waiting} may."
            return Refused(f"{said} Ask again in {again} s.", "full", again)
        if not self.controller.admits(waiting):
            return Refused(f"No answer would come in time. Ask again in {again} s.", "shed", again)
        return None

    # --- starting and stopping -------------------------------------------------------------------

    def start(self) -> "BatchingService":
        """Start the threads, and return the same service."""
        if not self._threads:
            self._line.open()
            self._stopped.clear()
            self._threads = [
                threading.Thread(target=work, name=f"attnlab {name}", daemon=True)
                for name, work in (("worker", self._work), ("controller", self._watch))
            ]
            for thread in self._threads:
                thread.start()
        return self

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Take nothing more and answer what was taken; return whether all of it was answered.

        What is not answered after ``timeout_s`` is refused.
        """
        self._line.close()
        self._stopped.set()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        message = "The service stopped before its turn came. Ask again."
        left = self._line.clear(Refused(message, "stopping"), "stopping")
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return not left and not self._threads

    def __enter__(self) -> "BatchingService":
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    # --- inside ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Show the controller what the monitor saw: each second, and at once when too much waits.

        A second is long for those who come meanwhile: at twice the load they are 5 % of a window.
        """
        last = time.monotonic()
        while not self._stopped.wait(A_LOOK):
            due = time.monotonic() - last >= A_SECOND
            if due or self._is_pressed():
                last = time.monotonic() if due else last
                reading = self.monitor.reading(None if due else LATELY)
                with self._policy:
                    self.controller.observe(reading)

    def _is_pressed(self) -> bool:
        """Whether what waits takes half as long as is promised, so that the next ones are late."""
        target_ms = getattr(self.controller, "target_ms", math.inf)
        return self.waiting * self.point.ms > PRESSED * target_ms

    def _work(self) -> None:
        """Answer batch after batch until the service stops and nothing waits."""
        while (requests := self._line.next()) is not None:
            self._answer(requests)

    def _answer(self, requests: list[Request]) -> None:
        """Answer some requests together; whatever is raised, each of them learns something."""
        texts = [text for request in requests for text in request.texts]
        tried: set[str] = set()  # points that are broken
        while self.point.name not in tried:
            point = self.point
            try:
                found = self._ask(point, texts)
            except Exception as error:  # a model may raise anything, and the service goes on
                why = error
                if self._is_broken(point):
                    tried.add(point.name)
                    with self._policy:
                        self.controller.failed(point.name, error)
                    continue
                if len(requests) > 1:  # one of them is to blame
                    for request in requests:
                        self._answer([request])
                    return
                break
            self._hand_out(requests, found, point)
            return
        for request in requests:
            message = f"These texts could not be answered: {type(why).__name__}: {why}"
            self._line.give_up(request, Failed(message), "failed")

    def _ask(self, point: OperatingPoint, texts: list[str]) -> Any:
        """What a point answers; the controller learns what full batches take."""
        start = time.perf_counter()
        found = point.classifier.predict(texts)
        if len(found.labels) != len(texts):
            raise Failed(f"{len(found.labels)} answers to {len(texts)} texts.")
        if len(texts) >= self.most_batch:  # what is promised of a point is for these
            with self._policy:
                took_ms = 1000 * (time.perf_counter() - start)
                self.controller.measured(point.name, took_ms / len(texts))
        return found

    def _hand_out(self, requests: list[Request], found: Any, point: OperatingPoint) -> None:
        names, start = list(point.classifier.label_names), 0
        for request in requests:
            rows = slice(start, start + len(request.texts))
            start = rows.stop
            answer = Answer(found.labels[rows], found.probabilities[rows], names, point.name)
            self._line.answered(request, answer, point.kept)

    def _is_broken(self, point: OperatingPoint) -> bool:
        """Whether a point cannot even answer a harmless text."""
        try:
            point.classifier.predict(PROBE)
        except Exception:  # a model may raise anything, and whatever it is, it cannot answer
            return True
        return False


def __dir__() -> list[str]:
    return sorted(__all__)
