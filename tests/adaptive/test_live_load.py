"""A load that is steered while it runs: at its rate, at once, bounded, and to this machine only."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from attnlab.adaptive.live_load import MOST_PER_SECOND, LiveLoad
from attnlab.errors import AttnlabError, DataError


class Answering(BaseHTTPRequestHandler):
    """Answers each request with the next status, and notes what was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(asked)
        body = json.dumps({"labels": ["good"], "message": "It is not so."}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.asked, server.status, server.daemon_threads = [], 200, True
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_texts_are_sent_in_turn_with_their_labels_until_the_load_is_stopped(service):
    load = LiveLoad(service.url, ["a", "b"], ["good", "bad"])
    time.sleep(0.1)
    assert service.asked == []
    load.set_rate(100)
    until(lambda: load.counts["answered"] >= 4)
    load.stop()
    assert load.rate == 0
    until(lambda: load.counts["answered"] == len(service.asked))
    assert {(*one["texts"], *one["labels"]) for one in service.asked} == {
        ("a", "good"),
        ("b", "bad"),
    }
    before = len(service.asked)
    time.sleep(0.3)
    assert len(service.asked) == before
    load.set_rate(100)
    until(lambda: len(service.asked) > before)
    load.stop()


def test_a_change_takes_effect_at_once(service):
    load = LiveLoad(service.url, ["a"])
    load.set_rate(0.01)  # the next request would be in a hundred seconds
    time.sleep(0.2)
    load.set_rate(100)
    until(lambda: len(service.asked) >= 3)
    load.stop()


def test_the_rate_is_what_was_asked_for(service):
    load = LiveLoad(service.url, ["a"])
    load.set_rate(50)
    began = time.monotonic()
    until(lambda: len(service.asked) >= 100)
    took = time.monotonic() - began
    load.stop()
    assert took > 1.2  # 100 of a Poisson process: 2 s, with a standard deviation of 0.2


def test_a_rush_hour_doubles_the_load_for_a_while_and_never_beyond_the_limit(service):
    load = LiveLoad(service.url, ["a"])
    with pytest.raises(AttnlabError, match="no load to double"):
        load.rush()
    load.set_rate(3)
    load.rush(0.3)
    assert load.rate == 6
    assert 0 < load.rush_left_s <= 0.3
    until(lambda: load.rate == 3)
    assert load.rush_left_s == 0
    load.set_rate(MOST_PER_SECOND)
    load.rush(0.3)
    assert load.rate == MOST_PER_SECOND
    load.stop()
    assert load.rush_left_s == 0


def test_a_load_ends_by_itself_and_can_be_started_again(service):
    load = LiveLoad(service.url, ["a"], longest_s=0.3)
    load.set_rate(20)
    until(lambda: load.expired)
    assert load.rate == 0
    load.set_rate(20)
    assert load.rate == 20
    assert not load.expired
    load.stop()


def test_what_becomes_of_requests_is_counted_and_a_complaint_is_kept(service):
    load = LiveLoad(service.url, ["a"])
    service.status = 429
    load.set_rate(100)
    until(lambda: load.counts["refused"] >= 2)
    assert load.trouble == ""
    service.status = 422
    until(lambda: load.counts["failed"] >= 2)
    assert load.trouble == "It is not so."
    load.stop()


def test_a_service_that_is_gone_fails_its_requests():
    load = LiveLoad("http://127.0.0.1:9", ["a"])
    load.set_rate(100)
    until(lambda: load.counts["failed"] >= 2)
    load.stop()


@pytest.mark.parametrize("rate", [-1, MOST_PER_SECOND + 1, float("nan"), float("inf")])
def test_no_load_beyond_what_one_machine_should_bear(rate):
    with pytest.raises(AttnlabError, match="0 to 600"):
        LiveLoad("http://127.0.0.1:9", ["a"]).set_rate(rate)


def test_another_machine_and_missing_texts_are_refused():
    with pytest.raises(AttnlabError, match="another machine"):
        LiveLoad("http://192.0.2.1:80", ["a"])
    with pytest.raises(DataError, match="no labels"):
        LiveLoad("http://127.0.0.1:9", [])
    with pytest.raises(DataError, match="1 texts and 2 labels"):
        LiveLoad("http://127.0.0.1:9", ["a"], ["x", "y"])
