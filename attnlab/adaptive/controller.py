"""A controller keeps a promised latency: less attention for each request while many wait."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pandas as pd

from attnlab.adaptive.monitor import LoadReading
from attnlab.errors import SettingsError

__all__ = ["Controller", "FixedPoint", "OperatingPoint", "Oracle", "Policy", "Shedding"]

LOG = 1000  # entries that are kept
BUSY = 0.8  # of its capacity that a point may be asked for before a dearer one is left
PRESSED = 0.5  # of the target that what waits may take
MOST_PATIENT = 8  # times the patience that was asked for
SETTLING_S = 10.0  # as long as latencies from before a step are among those that are read


@dataclass(frozen=True)
class OperatingPoint:
    """One way to answer, with what it is worth and what it costs.

    Attributes
    ----------
    name : str
    accuracy : share of held-out texts that it answers correctly, 0 to 1
    ms : milliseconds for a text, in full batches
    kept : share of attention computed, 0 to 1
    classifier : anything with ``predict(texts)`` and ``label_names``; None where only the numbers
        are needed
    """

    name: str
    accuracy: float
    ms: float
    kept: float = 1.0
    classifier: Any = None

    def __post_init__(self) -> None:
        if not (0 <= self.accuracy <= 1 and 0 < self.ms < math.inf and 0 <= self.kept <= 1):
            raise SettingsError(
                f"The point {self.name!r} has accuracy {self.accuracy}, {self.ms} ms and kept "
                f"{self.kept}; accuracy and kept are shares, 0 to 1, and ms is above 0."
            )


class Policy(Protocol):
    """What chooses how requests are answered."""

    @property
    def point(self) -> OperatingPoint:
        """How to answer now."""

    def observe(self, reading: LoadReading) -> OperatingPoint:
        """Take note of what a monitor saw, about once a second, and return how to answer now."""

    def admits(self, waiting: int) -> bool:
        """Whether a request is to be taken while so many texts have no answer yet."""

    def measured(self, name: str, ms: float) -> None:
        """Take note of what a text really took at a point, milliseconds."""

    def failed(self, name: str, error: Exception) -> None:
        """Take note that a point could not answer."""


class FixedPoint:
    """Always answers in one way: what a service without a controller does."""

    def __init__(self, point: OperatingPoint):
        self._point = point

    @property
    def point(self) -> OperatingPoint:
        """How to answer: always so."""
        return self._point

    def observe(self, reading: LoadReading) -> OperatingPoint:
        """See `Policy`; nothing changes."""
        return self._point

    def admits(self, waiting: int) -> bool:
        """See `Policy`; every request is taken."""
        return True

    def measured(self, name: str, ms: float) -> None:
        """See `Policy`; nothing changes."""

    def failed(self, name: str, error: Exception) -> None:
        """See `Policy`; there is no other way."""


class Shedding(FixedPoint):
    """Answers in one way and refuses what could not be answered in time (load shedding).

    Parameters
    ----------
    point : how to answer
    target_ms : latency that is promised
    """

    def __init__(self, point: OperatingPoint, target_ms: float):
        super().__init__(point)
        self.target_ms = _checked_target(target_ms)

    def admits(self, waiting: int) -> bool:
        """See `Policy`; one more must be answered before its time is up."""
        return (waiting + 1) * self._point.ms <= self.target_ms


class Oracle(FixedPoint):
    """Knows all arrivals beforehand: how well could one do?

    Parameters
    ----------
    points : ways to answer
    arrivals : seconds of all requests, in order
    ahead : seconds that it looks ahead
    clock : seconds that have gone by since the first request could arrive
    """

    def __init__(
        self,
        points: Sequence[OperatingPoint],
        arrivals: Sequence[float],
        clock: Callable[[], float],
        ahead: float = 2.0,
    ):
        self.points = _in_order(points)
        super().__init__(self.points[0])
        self.arrivals, self.ahead, self._clock = arrivals, ahead, clock

    def observe(self, reading: LoadReading) -> OperatingPoint:
        """See `Policy`: the dearest point that keeps up with what will come and what waits."""
        now = self._clock()
        coming = sum(now <= at < now + self.ahead for at in self.arrivals)
        load = (coming + reading.waiting) / self.ahead
        able = [point for point in self.points if load * point.ms <= 1000 * BUSY]
        self._point = able[0] if able else self.points[-1]
        return self._point


class Controller:
    """Steps down at once when latency breaks the promise, and up again slowly.

    Asked with a `LoadReading` about once a second, and as often as one likes while too much waits.

    - *Down*: the 95th percentile is above the target, or what waits needs half of the target
      already. Then the dearest cheaper point that keeps up with the requests coming in is
      taken, at once. While a point keeps up, latencies from before the step are no reason for
      another one.
    - *Up*: by one point, after ``patience`` calm readings in a row. A reading is calm if the 95th
      percentile is below ``headroom`` of the target and the dearer point would keep up.
    - A step up that has to be taken back within twice as many seconds as the patience counts
      readings doubles the patience, once, up to eightfold in all; so a load between two points
      does not make it swing for ever.
    - Never below the floor of accuracy. A point that fails is left for a while; a point that turns
      out no faster than a dearer one is left, too.

    Parameters
    ----------
    points : ways to answer
    target_ms : latency that is promised for 95 % of requests
    floor : accuracy that must be kept, 0 to 1
    headroom : share of the target that a calm reading stays below
    patience : calm readings before a step up
    barred_s : seconds for which a point that failed is left alone
    clock : seconds that have gone by

    Raises
    ------
    SettingsError : no points, no point above the floor, numbers without sense
    """

    def __init__(
        self,
        points: Sequence[OperatingPoint],
        target_ms: float,
        floor: float = 0.0,
        headroom: float = 0.7,
        patience: int = 5,
        barred_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        everything = _in_order(points)
        self.points = [point for point in everything if point.accuracy >= floor]
        if not self.points:
            best = max(point.accuracy for point in everything)
            raise SettingsError(
                f"No point is as accurate as the floor, {floor:.3f}; the best has {best:.3f}. "
                "Lower the floor."
            )
        if not (0 < headroom < 1 and patience >= 1):
            raise SettingsError(
                f"headroom is {headroom} and patience {patience}; headroom is a share of the "
                "target, above 0 and below 1, and patience counts readings, from 1."
            )
        self.target_ms = _checked_target(target_ms)
        self.floor, self.headroom, self.barred_s = floor, headroom, barred_s
        self.patience = self._patience = patience
        self._clock = clock
        self._start = clock()
        self._index, self._calm = 0, 0
        self._went_up = self._went_down = -math.inf  # when
        self._on_trial = False  # whether the last step up may still double the patience
        self._barred: dict[str, float] = {}
        self._log: deque[tuple[float, str, str, str]] = deque(maxlen=LOG)

    @property
    def point(self) -> OperatingPoint:
        """How to answer now."""
        return self.points[self._index]

    def observe(self, reading: LoadReading) -> OperatingPoint:
        """See `Policy`."""
        wait_ms = reading.waiting * self.point.ms
        late = reading.p95_ms > self.target_ms
        settled = self._since(self._went_down) > SETTLING_S
        settled = settled or not self._keeps_up(self._index, reading, BUSY)
        if wait_ms > PRESSED * self.target_ms:  # before it is late
            self._down(reading, f"{reading.waiting} wait, {wait_ms:.0f} ms of work")
        elif late and settled:
            self._down(reading, f"p95 {reading.p95_ms:.0f} ms is above {self.target_ms:.0f}")
        elif late:
            self._calm = 0
        elif self._is_calm(reading):
            self._calm += 1
            if self._calm >= self._patience:
                self._up()
        else:
            self._calm = 0
        return self.point

    def admits(self, waiting: int) -> bool:
        """See `Policy`; every request is taken."""
        return True

    def measured(self, name: str, ms: float) -> None:
        """See `Policy`: what is promised of a point follows, by a tenth each time."""
        for index, point in enumerate(self.points):
            if point.name == name and ms > 0:
                self.points[index] = replace(point, ms=0.9 * point.ms + 0.1 * ms)

    def failed(self, name: str, error: Exception) -> None:
        """See `Policy`: the point is left alone for ``barred_s`` seconds."""
        self._barred[name] = self._clock() + self.barred_s
        if name == self.point.name:
            others = [*self._cheaper(), *reversed(range(self._index))]
            allowed = [index for index in others if not self._is_barred(index)]
            if allowed:
                self._go(allowed[0], f"{name} failed: {type(error).__name__}: {error}")

    def log(self) -> pd.DataFrame:
        """Return each step: ``second`` since the start, ``before``, ``after`` and ``why``."""
        return pd.DataFrame(list(self._log), columns=["second", "before", "after", "why"])

    def __repr__(self) -> str:
        names = ", ".join(point.name for point in self.points)
        return f"Controller({names}; target {self.target_ms:g} ms, now {self.point.name})"

    # --- inside ----------------------------------------------------------------------------------

    def _since(self, when: float) -> float:
        """Seconds that have gone by since."""
        return self._clock() - when

    def _is_barred(self, index: int) -> bool:
        return self._barred.get(self.points[index].name, -math.inf) > self._clock()

    def _cheaper(self) -> list[int]:
        """The points after this one that really cost less, in order."""
        rest = range(self._index + 1, len(self.points))
        return [index for index in rest if self.points[index].ms < self.point.ms]

    def _keeps_up(self, index: int, reading: LoadReading, busy: float) -> bool:
        return reading.arrivals_per_second * self.points[index].ms <= 1000 * busy

    def _down(self, reading: LoadReading, why: str) -> None:
        self._calm = 0
        cheaper = [index for index in self._cheaper() if not self._is_barred(index)]
        if not cheaper:
            return
        if self._on_trial and self._since(self._went_up) <= 2 * self._patience:
            self._on_trial = False
            self._patience = min(2 * self._patience, MOST_PATIENT * self.patience)
        able = [index for index in cheaper if self._keeps_up(index, reading, BUSY)]
        self._go(able[0] if able else cheaper[-1], why)
        self._went_down = self._clock()

    def _is_calm(self, reading: LoadReading) -> bool:
        dearer = self._dearer()
        quick = not reading.p95_ms > self.headroom * self.target_ms  # NaN: nothing came
        return quick and dearer is not None and self._keeps_up(dearer, reading, self.headroom)

    def _dearer(self) -> int | None:
        allowed = [index for index in range(self._index) if not self._is_barred(index)]
        return allowed[-1] if allowed else None

    def _up(self) -> None:
        dearer = self._dearer()
        if dearer is not None:
            if self._since(self._went_up) > 4 * self._patience:  # the last step up has held
                self._patience = max(self._patience // 2, self.patience)
            self._go(dearer, f"{self._calm} calm readings")
            self._went_up, self._on_trial = self._clock(), True
            self._went_down = -math.inf  # what comes late now, comes from here
        self._calm = 0

    def _go(self, index: int, why: str) -> None:
        before, self._index = self.point.name, index
        self._log.append((self._clock() - self._start, before, self.point.name, why))


def _in_order(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The points, the dearest first; SettingsError if there are none, or two of one name."""
    names = [point.name for point in points]
    if not names or len(set(names)) < len(names):
        raise SettingsError(
            f"The points are named {names}; expected one or more, each with a name of its own."
        )
    return sorted(points, key=lambda point: -point.ms)


def _checked_target(target_ms: float) -> float:
    if not 0 < target_ms < math.inf:
        raise SettingsError(f"target_ms is {target_ms}; it is milliseconds, above 0, such as 200.")
    return float(target_ms)


def __dir__() -> list[str]:
    return sorted(__all__)
