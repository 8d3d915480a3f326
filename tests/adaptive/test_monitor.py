"""Quantiles and the load monitor: right within their error, in memory that does not grow."""

import math
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from attnlab.adaptive import LoadMonitor, StreamingQuantiles
from attnlab.errors import AttnlabError


class Clock:
    """Seconds that go by when they are told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@settings(deadline=None)
@given(
    st.lists(st.floats(0.002, 1e6), min_size=1, max_size=50),
    st.sampled_from([0, 0.25, 0.5, 0.9, 0.95, 0.99, 1]),
    st.sampled_from([0.005, 0.02, 0.1]),
)
def test_quantiles_are_those_of_numpy_within_the_error(values, q, error):
    sketch = StreamingQuantiles(error)
    for value in values:
        sketch.add(value)
    wanted = np.quantile(values, q, method="lower")
    assert abs(sketch.quantile(q) / wanted - 1) <= error + 1e-9
    assert len(sketch) == len(values)


def test_memory_does_not_grow_with_the_number_of_values():
    sketch = StreamingQuantiles()
    before = len(pickle.dumps(sketch))
    for value in np.random.default_rng(0).lognormal(3, 2, 20_000):
        sketch.add(float(value))
    assert len(pickle.dumps(sketch)) == before


def test_two_counts_merge_to_that_of_all():
    one, two, both = StreamingQuantiles(), StreamingQuantiles(), StreamingQuantiles()
    for value in range(1, 100):
        (one if value % 3 else two).add(value)
        both.add(value)
    one.merge(two)
    assert (one.counts == both.counts).all()
    with pytest.raises(AttnlabError, match="The errors differ"):
        one.merge(StreamingQuantiles(0.1))


def test_values_that_are_none_are_refused_and_extremes_are_kept_in_range():
    sketch = StreamingQuantiles()
    assert math.isnan(sketch.quantile(0.5))
    for value in (-1, math.inf, math.nan):
        with pytest.raises(AttnlabError, match="from 0, not infinite"):
            sketch.add(value)
    sketch.add(0)
    sketch.add(1e12)
    assert sketch.quantile(0) == pytest.approx(1e-3, rel=0.03)
    assert sketch.quantile(1) == pytest.approx(1e7, rel=0.03)
    with pytest.raises(AttnlabError, match=r"95th percentile is 0\.95"):
        sketch.quantile(95)
    with pytest.raises(AttnlabError, match="error is 0"):
        StreamingQuantiles(0)


def test_a_reading_is_over_the_last_seconds_only(clock):
    monitor = LoadMonitor(window=10, clock=clock)
    for latency in (500, 600, 700):
        monitor.arrived()
        monitor.answered(latency, kept=0.5, point="cheap")
    clock.now += 20
    for latency in range(1, 101):
        monitor.arrived()
        monitor.answered(latency, kept=1.0, point="full")
    reading = monitor.reading()
    assert reading.p50_ms == pytest.approx(50, rel=0.03)
    assert reading.p95_ms == pytest.approx(95, rel=0.03)
    assert reading.p99_ms == pytest.approx(99, rel=0.03)
    assert reading.kept == 1
    assert reading.point == "full"
    assert reading.waiting == 0


def test_a_reading_may_be_over_fewer_seconds_so_that_a_rush_shows_at_once(clock):
    monitor = LoadMonitor(window=10, clock=clock)
    for _ in range(9):
        monitor.arrived()
        clock.now += 1
    for _ in range(50):
        monitor.arrived()
    clock.now += 0.999
    assert monitor.reading().arrivals_per_second == pytest.approx(5.9, rel=0.01)
    assert monitor.reading(2).arrivals_per_second == pytest.approx(25.5, rel=0.01)
    assert monitor.reading(1).arrivals_per_second == pytest.approx(50, rel=0.01)


def test_rates_are_per_second_and_waiting_is_what_has_no_answer(clock):
    monitor = LoadMonitor(window=5, clock=clock)
    clock.now += 100
    for _ in range(10):
        for _ in range(4):
            monitor.arrived()
        monitor.answered(10)
        monitor.refused("full")
        clock.now += 1
    reading = monitor.reading()
    assert reading.waiting == 20
    elapsed = 4  # four whole seconds, and the present one has just begun
    assert reading.arrivals_per_second == pytest.approx(16 / elapsed)
    assert reading.answers_per_second == pytest.approx(4 / elapsed)
    assert reading.refusals_per_second == pytest.approx(4 / elapsed)


def test_labels_may_come_later(clock):
    monitor = LoadMonitor(window=10, clock=clock)
    assert math.isnan(monitor.reading().accuracy)
    for right in [True] * 9 + [False]:
        monitor.labelled(right)
    reading = monitor.reading()
    assert reading.accuracy == 0.9
    assert reading.accuracy_low < 0.9 < reading.accuracy_high


def test_the_table_has_a_row_per_second_and_quiet_ones_are_empty(clock):
    monitor = LoadMonitor(window=2, keep=5, clock=clock)
    for second in range(8):
        if second != 6:
            monitor.arrived()
            monitor.answered(10 * (second + 1), point=f"point {second}")
        clock.now += 1
    table = monitor.to_frame()
    assert list(table["second"]) == [4, 5, 6, 7, 8]
    assert list(table["answered"]) == [1, 1, 0, 1, 0]
    assert table["p95_ms"].iloc[1] == pytest.approx(60, rel=0.03)
    assert math.isnan(table["p95_ms"].iloc[2])
    assert list(table["point"]) == ["point 4", "point 5", "", "point 7", ""]


def test_a_long_silence_empties_everything(clock):
    monitor = LoadMonitor(window=3, keep=5, clock=clock)
    for _ in range(7):
        monitor.arrived()
        monitor.answered(10)
        clock.now += 1
    clock.now += 10_000
    assert monitor.to_frame()["answered"].sum() == 0
    assert monitor.reading().answers_per_second == 0


def test_memory_is_flat_over_many_events(clock):
    monitor = LoadMonitor(clock=clock)

    def size():
        arrays = [monitor._latencies, *monitor._counts.values(), monitor._kept, monitor._computed]
        return sum(array.nbytes for array in arrays), len(monitor._points), len(monitor._reasons)

    before = size()
    for event in range(20_000):
        clock.now += 0.05
        monitor.arrived()
        monitor.answered(event % 300, point="full")
    assert size() == before


def test_threads_lose_nothing():
    monitor = LoadMonitor(window=600)

    def tell():
        for _ in range(500):
            monitor.arrived()
            monitor.answered(5)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.to_frame()["answered"].sum() == 2000
    assert monitor.waiting == 0


def test_the_cores_kept_busy_are_counted(clock):
    computed = Clock()
    monitor = LoadMonitor(window=10, clock=clock, processor_time=computed)
    for _ in range(20):
        clock.now += 1
        computed.now += 1.5
        monitor.arrived()
    assert monitor.reading().processor == pytest.approx(1.5, rel=0.01)


def test_prometheus_reads_it(clock):
    monitor = LoadMonitor(clock=clock)
    for latency in (100, 200, 300):
        monitor.arrived()
        monitor.answered(latency, kept=0.5)
    monitor.arrived()
    monitor.refused("full")
    monitor.arrived()
    families = {f.name: f for f in text_string_to_metric_families(monitor.prometheus())}

    def value(name):
        (sample,) = families[name].samples
        return sample.value

    assert value("attnlab_requests_arrived") == 5
    assert value("attnlab_requests_answered") == 3
    assert value("attnlab_waiting") == 1
    assert value("attnlab_kept") == 0.5
    (refused,) = families["attnlab_requests_refused"].samples
    assert (refused.labels, refused.value) == ({"reason": "full"}, 1)
    quantiles = {s.labels["quantile"]: s.value for s in families["attnlab_latency_seconds"].samples}
    assert quantiles["0.5"] == pytest.approx(0.2, rel=0.03)


def test_a_window_longer_than_what_is_kept_is_refused():
    with pytest.raises(AttnlabError, match="window is 20 s and keep 10 s"):
        LoadMonitor(window=20, keep=10)
