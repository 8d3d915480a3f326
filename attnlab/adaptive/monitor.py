"""A load monitor: what a service is doing now, and has been doing, in constant memory."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from attnlab.adaptive.quantiles import StreamingQuantiles
from attnlab.errors import AttnlabError, needs
from attnlab.statistics import share_interval

__all__ = ["LoadMonitor", "LoadReading"]

_COUNTS = ("arrived", "answered", "refused", "right", "labelled")


@dataclass(frozen=True)
class LoadReading:
    """What was seen in the last seconds; NaN where there was nothing to see.

    Attributes
    ----------
    waiting : requests that arrived and have no answer yet
    arrivals_per_second, answers_per_second, refusals_per_second : requests
    p50_ms, p95_ms, p99_ms : percentiles of latency, milliseconds
    kept : share of attention computed, 0 to 1, a mean over answers
    accuracy, accuracy_low, accuracy_high : of answers whose labels came later, with the 95 %
        interval (Wilson 1927)
    processor : cores that this process kept busy
    memory_mb : of this process, 10^6 bytes
    point : the operating point of the last answer
    """

    waiting: int
    arrivals_per_second: float
    answers_per_second: float
    refusals_per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    kept: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    processor: float
    memory_mb: float
    point: str


class LoadMonitor:
    """Counts requests and their latencies, second by second, for the last seconds only.

    Each request is told of twice: when it has `arrived`, and when it was `answered` or `refused`.
    Any thread may tell.

    Parameters
    ----------
    window : seconds that a reading is over
    keep : seconds that are kept at most, for `to_frame`
    error : relative error of latencies
    clock : seconds that have gone by
    processor_time : seconds that this process has computed
    """

    def __init__(
        self,
        window: int = 10,
        keep: int = 600,
        error: float = 0.02,
        clock: Callable[[], float] = time.monotonic,
        processor_time: Callable[[], float] = time.process_time,
    ):
        if not 1 <= window <= keep:
            raise AttnlabError(
                f"window is {window} s and keep {keep} s; a reading is over at least a second, and "
                "over no more than are kept."
            )
        self.window, self.keep = window, keep
        self._clock, self._processor_time = clock, processor_time
        self._sketch = StreamingQuantiles(error)
        self._latencies = np.zeros((keep, len(self._sketch.counts)), dtype=np.int32)
        self._counts = {name: np.zeros(keep, dtype=np.int64) for name in _COUNTS}
        self._kept, self._computed = np.zeros(keep), np.zeros(keep)
        self._points = [""] * keep
        self._start = clock()
        self._second = 0  # since the start
        self._computed_before = processor_time()
        self._reasons: dict[str, int] = {}
        self._totals = dict.fromkeys(_COUNTS, 0)
        self._lock = threading.Lock()

    # --- what is told ----------------------------------------------------------------------------

    def arrived(self) -> None:
        """A request arrived."""
        with self._lock:
            self._count("arrived", self._row())

    def answered(self, latency_ms: float, kept: float = 1.0, point: str = "") -> None:
        """A request was answered, so long after it arrived.

        Parameters
        ----------
        latency_ms : milliseconds
        kept : share of attention computed for it, 0 to 1
        point : name of the operating point
        """
        index = self._sketch.index(latency_ms)
        with self._lock:
            row = self._row()
            self._count("answered", row)
            self._latencies[row, index] += 1
            self._kept[row] += kept
            self._points[row] = point

    def refused(self, reason: str) -> None:
        """A request that had arrived got no answer, for this reason, of which there are few."""
        with self._lock:
            self._count("refused", self._row())
            self._reasons[reason] = self._reasons.get(reason, 0) + 1

    def labelled(self, right: bool) -> None:
        """The true label of an answer came: was it right?"""
        with self._lock:
            row = self._row()
            self._count("labelled", row)
            if right:
                self._count("right", row)

    # --- what is asked ---------------------------------------------------------------------------

    def reading(self, seconds: int | None = None) -> LoadReading:
        """Return what was seen in the last seconds, the present one among them.

        Parameters
        ----------
        seconds : how many, at most those that are kept; default the monitor's ``window``
        """
        memory = _memory_mb()
        with self._lock:
            self._row()
            window = self.window if seconds is None else min(seconds, self.keep)
            first = max(0, self._second - window + 1)
            rows = np.arange(first, self._second + 1) % self.keep
            elapsed = max(self._clock() - self._start - first, 1e-3)
            seen = {name: int(column[rows].sum()) for name, column in self._counts.items()}
            latencies = self._latencies[rows].sum(0)
            kept = self._kept[rows].sum() / seen["answered"] if seen["answered"] else math.nan
            computed = self._computed[rows].sum() + self._processor_time() - self._computed_before
            named = [self._points[row] for row in rows if self._points[row]]
            waiting = self.waiting
        right, labelled = seen["right"], seen["labelled"]
        low, high = share_interval(right, labelled) if labelled else (math.nan, math.nan)
        return LoadReading(
            waiting=waiting,
            arrivals_per_second=seen["arrived"] / elapsed,
            answers_per_second=seen["answered"] / elapsed,
            refusals_per_second=seen["refused"] / elapsed,
            p50_ms=self._sketch.of(latencies, 0.5),
            p95_ms=self._sketch.of(latencies, 0.95),
            p99_ms=self._sketch.of(latencies, 0.99),
            kept=kept,
            accuracy=right / labelled if labelled else math.nan,
            accuracy_low=low,
            accuracy_high=high,
            processor=computed / elapsed,
            memory_mb=memory,
            point=named[-1] if named else "",
        )

    @property
    def waiting(self) -> int:
        """Requests that arrived and have no answer yet."""
        totals = self._totals
        return totals["arrived"] - totals["answered"] - totals["refused"]

    def to_frame(self) -> pd.DataFrame:
        """Return a row per second that is kept, the oldest first.

        Columns: ``second`` since the start; ``arrived``, ``answered``, ``refused``, requests;
        ``p50_ms``, ``p95_ms``, ``p99_ms``; ``kept``; ``accuracy``; ``processor``, cores; ``point``
        """
        with self._lock:
            self._row()
            seconds = np.arange(max(0, self._second - self.keep + 1), self._second + 1)
            rows = seconds % self.keep
            counts = {name: column[rows] for name, column in self._counts.items()}
            latencies, kept = self._latencies[rows], self._kept[rows]
            computed, points = self._computed[rows], [self._points[row] for row in rows]
        quantiles = {
            f"p{percent}_ms": [self._sketch.of(row, percent / 100) for row in latencies]
            for percent in (50, 95, 99)
        }
        with np.errstate(invalid="ignore"):  # 0 / 0 is what nobody saw: NaN
            shares = {
                "kept": kept / counts["answered"],
                "accuracy": counts["right"] / counts["labelled"],
            }
        requests = {name: counts[name] for name in ("arrived", "answered", "refused")}
        more = {"processor": computed, "point": points}
        return pd.DataFrame({"second": seconds} | requests | quantiles | shares | more)

    def prometheus(self) -> str:
        """Return everything in the text format of Prometheus; times in seconds, as is usual there.

        Raises MissingPackage without prometheus_client, which ``attnlab[serve]`` brings.
        """
        with needs("serve"):
            from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(_Collected(self))
        return generate_latest(registry).decode()

    # --- inside ----------------------------------------------------------------------------------

    def _count(self, name: str, row: int) -> None:
        self._counts[name][row] += 1
        self._totals[name] += 1

    def _row(self) -> int:
        """The row of the present second; those of seconds since the last call are emptied."""
        second = int(self._clock() - self._start)
        if second > self._second:
            computed = self._processor_time()
            self._computed[self._second % self.keep] += computed - self._computed_before
            self._computed_before = computed
            for skipped in range(max(self._second + 1, second - self.keep + 1), second + 1):
                self._empty(skipped % self.keep)
            self._second = second
        return self._second % self.keep

    def _empty(self, row: int) -> None:
        for column in self._counts.values():
            column[row] = 0
        self._latencies[row] = 0
        self._kept[row] = self._computed[row] = 0
        self._points[row] = ""


class _Collected:
    """A monitor as prometheus_client reads it."""

    def __init__(self, monitor: LoadMonitor):
        self.monitor = monitor

    def collect(self) -> Iterator[Any]:
        """Yield each metric."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        reading, totals = self.monitor.reading(), dict(self.monitor._totals)
        for name in ("arrived", "answered"):
            yield CounterMetricFamily(
                f"attnlab_requests_{name}", f"Requests {name}.", value=totals[name]
            )
        refused = CounterMetricFamily(
            "attnlab_requests_refused", "Requests without an answer.", labels=["reason"]
        )
        for reason, count in sorted(self.monitor._reasons.items()):
            refused.add_metric([reason], count)
        yield refused
        latency = GaugeMetricFamily(
            "attnlab_latency_seconds",
            f"Latency in the last {self.monitor.window} s.",
            labels=["quantile"],
        )
        for percent in (50, 95, 99):
            latency.add_metric([str(percent / 100)], getattr(reading, f"p{percent}_ms") / 1000)
        yield latency
        for field in fields(reading):
            value = getattr(reading, field.name)
            if not isinstance(value, str) and not field.name.startswith("p"):
                yield GaugeMetricFamily(f"attnlab_{field.name}", _told(field.name), value=value)
        yield GaugeMetricFamily(
            "attnlab_processor_cores", "Cores kept busy.", value=reading.processor
        )


def _told(name: str) -> str:
    """What a field of a reading is, from its name."""
    return name.replace("_", " ").capitalize() + "."


def _memory_mb() -> float:
    """Memory of this process, 10^6 bytes; NaN without psutil."""
    try:
        import psutil
    except ImportError:
        return math.nan
    return psutil.Process().memory_info().rss / 1e6


def __dir__() -> list[str]:
    return sorted(__all__)
