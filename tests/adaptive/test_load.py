"""Arrivals of requests, and windows of what became of them."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from service_process import environment

from attnlab.adaptive.load import arrivals, by_window, closed_loop, send, trace
from attnlab.errors import AttnlabError, DataError


def test_arrivals_come_at_the_rate_and_know_nothing_of_each_other():
    at = arrivals(50, 200, seed=3)
    gaps = np.diff(at)
    assert len(at) == pytest.approx(10_000, abs=4 * 100)  # standard deviation 100
    assert at.min() >= 0 and at.max() < 200 and (gaps >= 0).all()
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.05)  # as of an exponential law
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.05


def test_the_same_seed_is_the_same_trace():
    for kind in ("doubling", "rush hour", "bursts"):
        np.testing.assert_array_equal(trace(kind, seed=4), trace(kind, seed=4))
        assert len(trace(kind, seed=4)) != len(trace(kind, seed=5))


def test_doubling_doubles_for_a_third_of_the_time():
    thirds = np.histogram(trace("doubling", 100, 60), [0, 20, 40, 60])[0]
    np.testing.assert_allclose(thirds, [2000, 4000, 2000], atol=4 * 64)


def test_rush_hour_is_highest_in_the_middle_and_as_before_at_the_ends():
    at = trace("rush hour", 100, 60, peak=3)
    rates = np.histogram(at, [0, 2, 29, 31, 58, 60])[0] / [2, 27, 2, 27, 2]
    assert rates[2] == pytest.approx(300, abs=50)
    assert rates[0] == pytest.approx(100, abs=30) and rates[4] == pytest.approx(100, abs=30)


def test_bursts_are_a_fifth_of_the_time():
    at = trace("bursts", 100, 100, peak=3)
    seconds = np.histogram(at, np.arange(101))[0]
    assert len(at) == pytest.approx(100 * 80 + 300 * 20, rel=0.05)
    assert 14 <= (seconds > 200).sum() <= 24  # four bursts of 5 s, of which two seconds may be cut


def test_what_would_be_too_much_is_refused():
    for wrong in ({"rate": 0}, {"rate": 1, "seconds": 601}, {"rate": 1000, "seconds": 600}):
        with pytest.raises(AttnlabError, match="per second"):
            arrivals(**({"rate": 10, "seconds": 10} | wrong))
    with pytest.raises(AttnlabError, match="Did you mean 'doubling'"):
        trace("dubling")


@pytest.mark.parametrize("url", ["http://192.0.2.1:80", "http://example.org", "http://0.0.0.0:1"])
def test_other_machines_are_never_asked(url):
    for ask in (send, closed_loop):
        with pytest.raises(AttnlabError, match="another machine"):
            ask(url, ["x"], [0.0])


def test_what_cannot_be_sent_is_refused_before_anything_is():
    url = "http://127.0.0.1:1"
    with pytest.raises(DataError, match="0 texts"):
        send(url, [], [0.0])
    with pytest.raises(DataError, match="2 texts and 1 labels"):
        send(url, ["x", "y"], [0.0], labels=["good"])
    for at in ([1.0, 0.0], [-1.0], [np.nan], [700.0]):
        with pytest.raises(AttnlabError):
            send(url, ["x"], at)
    with pytest.raises(AttnlabError, match="no address"):
        send("127.0.0.1:80", ["x"], [0.0])


def test_where_nobody_listens_every_request_failed_and_says_so():
    frame = send("http://127.0.0.1:1", ["x"], [0.0, 0.01])
    assert frame["outcome"].tolist() == ["failed", "failed"]
    assert frame["status"].tolist() == [0, 0]


def test_a_window_in_which_more_than_a_twentieth_got_no_answer_broke_the_promise():
    frame = pd.DataFrame(
        {
            "meant_s": np.repeat([1.0, 11.0, 21.0], 100),
            "latency_ms": [10.0] * 300,
            "outcome": ["answered"] * 200 + ["refused"] * 6 + ["answered"] * 94,
        }
    )
    frame.loc[100:103, "latency_ms"] = 500.0  # 4 of 100
    windows = by_window(frame, target_ms=100)
    assert windows["second"].tolist() == [0, 10, 20]
    assert windows["kept"].tolist() == [True, True, False]
    assert windows["answered"].tolist() == [1, 1, 0.94]
    assert windows["p95_ms"][2] == np.inf


INTERRUPTED = """
import threading, time, _thread
from attnlab.adaptive.load import send
threading.Timer(0.5, _thread.interrupt_main).start()
start = time.monotonic()
try:
    send("http://127.0.0.1:1", ["x"], [0.0, 500.0])
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - start < 60)
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_load():
    code = [sys.executable, "-c", INTERRUPTED]
    run = subprocess.run(code, env=environment(), capture_output=True, text=True, timeout=120)
    assert run.stdout == "interrupted True\n", run.stderr
