"""A desk's work beside the cell: of each kind the newest request, the urgent kinds first."""

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from attnlab.classification.base import Stopped

Current = Callable[[], bool]  # tells a request whether it is still the newest of its kind
Work = Callable[[Current], Iterable[None] | None]  # a generator function may give way at each yield


class _Request(NamedTuple):
    serial: int
    steps: Iterator[None]


class Worker:
    """A thread that does the newest request of each kind and drops older ones.

    Between two steps of one kind (the yields of a generator) the more urgent kinds get their turn.
    The thread ends when it has nothing to do. One that waited would keep its share of torch's
    threads, and small steps of training in another cell would take nearly twice as long.

    Parameters
    ----------
    report : called with the kind of work and what it raised, or None when it went well
    kinds : the kinds of work, the most urgent first; others follow in the order they were asked for
    """

    def __init__(self, report: Callable[[str, Exception | None], None], kinds: Sequence[str] = ()):
        self._report = report
        self._order = {kind: rank for rank, kind in enumerate(kinds)}
        self._requests: dict[str, _Request] = {}  # of each kind the newest that is not done
        self._serials: dict[str, int] = {}
        self._count = itertools.count(1)
        self._changed = threading.Condition()
        self._runs = self._ended = False

    def start(self, kind: str, work: Work) -> None:
        """Ask for this work; an older request of the same kind is dropped."""
        with self._changed:
            if self._ended:
                return
            serial = self._serials[kind] = next(self._count)
            self._order.setdefault(kind, len(self._order))
            self._requests[kind] = _Request(serial, self._steps(kind, serial, work))
            if self._runs:
                return
            self._runs = True
        threading.Thread(target=self._work_off, name="attnlab-desk", daemon=True).start()

    def busy(self) -> bool:
        """Whether something is under way."""
        with self._changed:
            return self._runs

    def outranked(self, kind: str) -> bool:
        """Whether something more urgent than this kind waits for its turn."""
        with self._changed:
            return any(self._order[other] < self._order[kind] for other in self._requests)

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is under way, so many seconds at most; return whether it is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._runs, seconds)

    def end(self) -> None:
        """Drop all requests, now and later; what is under way stops at its next chance."""
        with self._changed:
            self._ended = True
            self._requests.clear()
            for kind in self._serials:
                self._serials[kind] = next(self._count)

    def _work_off(self) -> None:
        while (chosen := self._most_urgent()) is not None:
            kind, request = chosen
            if next(request.steps, request) is request:  # the last step is done
                with self._changed:
                    if self._requests.get(kind) is request:
                        del self._requests[kind]

    def _most_urgent(self) -> tuple[str, _Request] | None:
        """The request to go on with; None, and the thread is over, where there is none."""
        with self._changed:
            if not self._requests:
                self._runs = False
                self._changed.notify_all()
                return None
            kind = min(self._requests, key=self._order.__getitem__)
            return kind, self._requests[kind]

    def _steps(self, kind: str, serial: int, work: Work) -> Iterator[None]:
        """Do the work step by step, and report how it ended if nothing newer took its place."""

        def current() -> bool:
            return self._serials[kind] == serial

        failure: Exception | None = None
        try:
            yield from work(current) or ()
        except Stopped:  # a newer request is on its way
            return
        except Exception as error:  # whatever it is, the person at the desk must see it
            failure = error
        if current():
            self._report(kind, failure)
