"""The batching service: what waits is answered together, and everyone is told something."""

import threading
import time

import numpy as np
import pytest

from attnlab.adaptive.controller import Controller, FixedPoint, OperatingPoint, Shedding
from attnlab.adaptive.monitor import LoadMonitor
from attnlab.adaptive.service import BatchingService
from attnlab.adaptive.waiting import Failed, Refused, TimedOut
from attnlab.classification.base import Predictions
from attnlab.errors import SettingsError


class Echo:
    """Answers each text with its length; holds the worker up while its gate is closed."""

    label_names = ("odd", "even")

    def __init__(self, broken=False):
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches, self.broken = [], broken

    def predict(self, texts):
        self.entered.set()
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("out of order")
        if "poison" in texts:
            raise ValueError("cannot be read")
        self.batches.append(list(texts))
        even = np.array([len(text) % 2 == 0 for text in texts], dtype=float)
        labels = ["even" if each else "odd" for each in even]
        return Predictions(labels, np.stack([1 - even, even], 1))


def point(clf, name="full", ms=1.0, accuracy=0.9):
    return OperatingPoint(name, accuracy, ms, 1.0, clf)


def service_of(clf, **more):
    return BatchingService(FixedPoint(point(clf)), **more)


def held(service, clf):
    """Hold the worker up with a first request; what comes now waits."""
    clf.gate.clear()
    clf.entered.clear()
    first = service.submit(["first"])
    assert clf.entered.wait(10)
    return first


def test_each_request_gets_the_answers_to_its_own_texts():
    clf = Echo()
    with service_of(clf, most_batch=8) as service:
        first = held(service, clf)
        futures = [service.submit(["a" * n, "b" * (n + 1)]) for n in range(1, 10)]
        clf.gate.set()
        for n, future in enumerate(futures, 1):
            answer = future.result(10)
            assert answer.labels == (["odd", "even"] if n % 2 else ["even", "odd"])
            assert answer.probabilities.shape == (2, 2)
            assert answer.point == "full"
        assert first.result(10).labels == ["odd"]


def test_what_waits_is_computed_together_and_no_more_than_a_batch():
    clf = Echo()
    with service_of(clf, most_batch=4) as service:
        held(service, clf)
        futures = [service.submit(["x"]) for _ in range(10)]
        clf.gate.set()
        [future.result(10) for future in futures]
    assert [len(batch) for batch in clf.batches] == [1, 4, 4, 2]


def test_a_request_larger_than_a_batch_is_answered_by_itself():
    clf = Echo()
    with service_of(clf, most_batch=4) as service:
        assert service.predict(["x"] * 9).labels == ["odd"] * 9


def test_who_comes_when_too_much_waits_is_refused_at_once_and_told_when_to_come_again():
    clf = Echo()
    with service_of(clf, most_batch=2, most_waiting=3) as service:
        held(service, clf)
        taken = [service.submit(["x"]) for _ in range(2)]
        with pytest.raises(Refused, match="3 texts wait") as refused:
            service.submit(["one more"])
        assert refused.value.reason == "full"
        assert refused.value.retry_after_s >= 1
        clf.gate.set()
        assert [future.result(10).labels for future in taken] == [["odd"], ["odd"]]
        assert service.submit(["now"]).result(10).labels == ["odd"]


def test_a_policy_may_refuse_what_would_be_late():
    clf = Echo()
    with BatchingService(Shedding(point(clf, ms=50.0), 100.0)) as service:
        held(service, clf)
        service.submit(["in time"])
        with pytest.raises(Refused) as refused:
            service.submit(["too late"])
        assert refused.value.reason == "shed"
        clf.gate.set()


def test_a_request_whose_time_is_up_is_told_so_and_not_computed():
    clf = Echo()
    with service_of(clf, timeout_s=0.05) as service:
        held(service, clf)
        late = service.submit(["late"])
        time.sleep(0.1)
        clf.gate.set()
        with pytest.raises(TimedOut, match=r"0\.05 s"):
            late.result(10)
    assert ["late"] not in clf.batches


def test_a_request_that_nobody_wants_any_more_is_not_computed():
    clf = Echo()
    with service_of(clf) as service:
        held(service, clf)
        unwanted, wanted = service.submit(["unwanted"]), service.submit(["wanted"])
        assert unwanted.cancel()
        clf.gate.set()
        wanted.result(10)
        assert service.waiting == 0
    assert clf.batches == [["first"], ["wanted"]]


def test_one_text_that_cannot_be_read_fails_only_the_request_that_brought_it():
    clf = Echo()
    with service_of(clf) as service:
        held(service, clf)
        good, bad, other = (service.submit([text]) for text in ("xx", "poison", "yy"))
        clf.gate.set()
        assert good.result(10).labels == other.result(10).labels == ["even"]
        with pytest.raises(Failed, match="ValueError: cannot be read"):
            bad.result(10)
        assert service.predict(["later"]).labels == ["odd"]


def test_a_point_that_is_out_of_order_is_left_and_the_request_is_answered_by_another():
    whole, small = Echo(broken=True), Echo()
    controller = Controller([point(whole, "full", 2.0), point(small, "small", 1.0, 0.8)], 200.0)
    with BatchingService(controller) as service:
        assert service.predict(["x"]).point == "small"
        assert service.predict(["y"]).point == "small"
    log = controller.log()
    assert log["after"].tolist() == ["small"]
    assert "RuntimeError: out of order" in log["why"][0]


def test_when_every_point_is_out_of_order_the_request_is_told_and_the_service_goes_on():
    clf = Echo(broken=True)
    with service_of(clf) as service:
        with pytest.raises(Failed, match="out of order"):
            service.predict(["x"])
        clf.broken = False
        assert service.predict(["x"]).labels == ["odd"]


def test_a_stop_answers_what_was_taken_and_takes_nothing_more():
    clf = Echo()
    service = service_of(clf, most_batch=2).start()
    held(service, clf)
    taken = [service.submit(["x"]) for _ in range(7)]
    stopping = threading.Thread(target=service.stop)
    stopping.start()
    while not service.stopping:
        time.sleep(0.001)
    with pytest.raises(Refused) as refused:
        service.submit(["late"])
    assert refused.value.reason == "stopping"
    clf.gate.set()
    stopping.join(10)
    assert [future.result(0).labels for future in taken] == [["odd"]] * 7


def test_a_stop_that_may_not_wait_tells_those_who_are_left():
    clf = Echo()
    service = service_of(clf, most_batch=1).start()
    held(service, clf)
    left = service.submit(["x"])
    assert not service.stop(timeout_s=0.05)
    with pytest.raises(Refused, match="stopped"):
        left.result(0)
    clf.gate.set()


def test_a_service_can_be_started_again():
    service = service_of(Echo())
    for _ in range(2):
        with service:
            assert service.predict(["x"]).labels == ["odd"]
        with pytest.raises(Refused):
            service.submit(["x"])


def test_the_monitor_hears_of_every_request_twice():
    clf = Echo()
    with service_of(clf, most_batch=2, most_waiting=4) as service:
        held(service, clf)
        futures = [service.submit([text]) for text in ("xx", "poison", "gone")]
        futures[2].cancel()
        with pytest.raises(Refused):
            service.submit(["too", "much"])
        clf.gate.set()
        with pytest.raises(Failed):
            futures[1].result(10)
        service.predict(["last"])
    table = service.monitor.to_frame()
    assert table["arrived"].sum() == 6
    assert table["answered"].sum() == 3
    assert table["refused"].sum() == 3
    assert service.monitor.waiting == service.waiting == 0


def test_many_threads_ask_at_the_same_time_and_each_is_answered():
    clf = Echo()
    wrong = []

    def ask(service, seed):
        generator = np.random.default_rng(seed)
        for _ in range(50):
            size = int(generator.integers(1, 9))
            if service.predict(["x" * size]).labels != (["odd"] if size % 2 else ["even"]):
                wrong.append(size)

    with service_of(clf) as service:
        threads = [threading.Thread(target=ask, args=(service, seed)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert not wrong
    assert sum(map(len, clf.batches)) == 400


def test_the_controller_learns_what_full_batches_take():
    clf = Echo()
    controller = Controller([point(clf, "full", 1000.0)], 200.0)
    with BatchingService(controller, most_batch=2) as service:
        service.predict(["x"])
        assert controller.point.ms == 1000.0
        service.predict(["x", "y"])
        assert controller.point.ms < 1000.0


def test_the_controller_steps_down_before_a_second_has_gone_by_when_too_much_waits():
    whole, small = Echo(), Echo()
    controller = Controller([point(whole, "full", 50.0), point(small, "small", 1.0, 0.8)], 100.0)
    with BatchingService(controller, most_batch=2) as service:
        held(service, whole)
        futures = [service.submit(["x"]) for _ in range(6)]
        end = time.monotonic() + 10
        while controller.point.name == "full" and time.monotonic() < end:
            time.sleep(0.01)
        whole.gate.set()
        assert [future.result(10).point for future in futures] == ["small"] * 6
    assert controller.log()["why"].tolist() == ["7 wait, 350 ms of work"]


@pytest.mark.parametrize(("waiting", "asked"), [(4, []), (7, [2])])
def test_half_of_the_target_in_waiting_shows_the_controller_the_last_two_seconds(waiting, asked):
    """The mean of ten seconds hides a rush that has begun; below a half it is not asked at all."""

    class Watched(LoadMonitor):
        def reading(self, seconds=None):
            spans.append(seconds)
            return super().reading(seconds)

    clf, spans = Echo(), []
    controller = Controller([point(clf, ms=10.0)], target_ms=100.0)
    with BatchingService(controller, Watched()) as service:
        futures = [held(service, clf)]
        futures += [service.submit([str(number)]) for number in range(waiting - 1)]
        end = time.monotonic() + (10 if asked else 0.4)
        while 2 not in spans and time.monotonic() < end:
            time.sleep(0.01)
        clf.gate.set()
        for future in futures:
            future.result()
    assert sorted(set(spans) - {None}) == asked


def test_the_target_can_be_changed_where_there_is_one():
    clf = Echo()
    controller = Controller([point(clf)], 200.0)
    BatchingService(controller).set_target(50)
    assert controller.target_ms == 50
    with pytest.raises(SettingsError, match="from 1 to 60,000"):
        BatchingService(controller).set_target(float("nan"))
    with pytest.raises(SettingsError, match="fixed"):
        service_of(clf).set_target(50)


@pytest.mark.parametrize(
    "wrong", [{"most_batch": 0}, {"most_batch": 9, "most_waiting": 8}, {"timeout_s": 0}]
)
def test_numbers_without_sense_are_refused(wrong):
    with pytest.raises(SettingsError, match="most_batch"):
        service_of(Echo(), **wrong)
