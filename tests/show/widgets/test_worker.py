"""Work beside the cell: which request is done, which is dropped, and what is left at rest."""

import threading
import time

import pytest

from attnlab.classification.base import Stopped
from attnlab.show.widgets.worker import Worker


def worker_threads():
    return [thread for thread in threading.enumerate() if thread.name == "attnlab-desk"]


def at_work(*kinds):
    """A worker whose reports are kept beside it."""
    reports = []
    return Worker(lambda kind, error: reports.append((kind, error)), kinds), reports


def test_the_newest_request_wins_and_older_ones_are_dropped():
    (worker, reports), done, hold = at_work(), [], threading.Event()
    worker.start("draw", lambda current: hold.wait(5) and None)
    for number in range(5):
        worker.start("draw", lambda current, number=number: done.append(number))
    hold.set()
    assert worker.wait(5)
    assert done == [4]
    assert reports == [("draw", None)]


def test_a_request_learns_that_a_newer_one_is_there():
    (worker, _), began, stopped = at_work(), threading.Event(), threading.Event()

    def measure(current):
        began.set()
        while current():
            time.sleep(0.01)
        stopped.set()

    worker.start("measure", measure)
    assert began.wait(5)
    worker.start("measure", lambda current: None)
    assert worker.wait(5)
    assert stopped.is_set()


def test_urgent_work_goes_between_the_steps_of_other_work():
    (worker, _), order, hold = at_work("sentence", "measure"), [], threading.Event()

    def measure(current):
        assert hold.wait(5)
        for step in range(3):
            order.append(step)
            yield

    worker.start("measure", measure)
    worker.start("sentence", lambda current: order.append("sentence"))
    hold.set()
    assert worker.wait(5)
    assert order.index("sentence") <= 1
    assert [step for step in order if step != "sentence"] == [0, 1, 2]


def test_work_that_fails_is_reported_and_does_not_end_the_thread():
    worker, reports = at_work()
    worker.start("draw", lambda current: 1 / 0)
    worker.wait(5)
    worker.start("draw", lambda current: None)
    worker.wait(5)
    assert isinstance(reports[0][1], ZeroDivisionError)
    assert reports[1] == ("draw", None)


def test_work_that_was_stopped_is_not_reported():
    worker, reports = at_work()

    def stopped(current):
        raise Stopped

    worker.start("draw", stopped)
    assert worker.wait(5)
    assert reports == []


@pytest.mark.parametrize("ended", [False, True])
def test_a_worker_at_rest_keeps_no_thread(ended):
    worker, _ = at_work()
    hold = threading.Event()

    def measure(current):
        while current() and not hold.is_set():
            yield

    before = set(worker_threads())
    worker.start("measure", measure)
    (thread,) = set(worker_threads()) - before
    if ended:
        worker.end()
    else:
        hold.set()
    assert worker.wait(5)
    thread.join(5)
    assert not thread.is_alive()
