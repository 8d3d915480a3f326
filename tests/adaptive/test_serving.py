"""The service over real HTTP, in a process of its own: every request is answered or told."""

import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from service_process import ROOT, Service, environment, finish, head
from tiny_classifiers import LITTLE, tiny_classifier

from attnlab.adaptive.load import closed_loop, send
from attnlab.adaptive.serving import listen
from attnlab.cli import main
from attnlab.errors import AttnlabError, on_the_command_line


@pytest.fixture(scope="module")
def service():
    with Service(most_waiting=12, timeout=1.5, patience=0.6) as running:
        yield running


# --- answers -------------------------------------------------------------------------------------


def test_answers_are_those_of_the_classifier(service):
    expected = tiny_classifier("bert").predict(LITTLE)
    status, found = service.predict(*LITTLE)
    assert status == 200
    assert found["labels"] == expected.labels
    assert found["point"] == "full"
    rows = [list(row.values()) for row in found["probabilities"]]
    np.testing.assert_allclose(rows, expected.probabilities, atol=2e-6)
    assert list(found["probabilities"][0]) == ["bad", "fair", "good"]


def test_metrics_can_be_read_by_prometheus_and_count_what_was_asked(service):
    before = service.metrics()
    labels = service.predict(*LITTLE)[1]["labels"]
    service.predict(LITTLE[0], labels=["good" if labels[0] == "bad" else "bad"])
    after = service.metrics()
    name = "attnlab_requests_answered_total"
    assert after[name] - before[name] == 2
    assert after["attnlab_accuracy"] < 1
    status, headers, _ = service.ask("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")


def test_health(service):
    status, _, body = service.ask("GET", "/healthz")
    assert (status, json.loads(body)["status"]) == (200, "ok")


def test_the_target_is_read_and_set(service):
    for target in (150.0, 200.0):
        status, _, body = service.ask("PUT", "/controller", json.dumps({"target_ms": target}))
        assert (status, json.loads(body)["target_ms"]) == (200, target)
    _, _, body = service.ask("GET", "/controller")
    state = json.loads(body)
    assert [point["name"] for point in state["points"]] == ["full", "half"]
    assert state["reading"]["waiting"] == 0


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://example.org"}, {"Host": "example.org"}], ids=["page", "name"]
)
def test_no_web_page_steers_the_controller(service, headers):
    given = json.dumps({"target_ms": 1})
    status, _, body = service.ask("PUT", "/controller", given, headers)
    assert (status, json.loads(body)["error"]) == (403, "not_here")


# --- requests that cannot be answered ------------------------------------------------------------

WRONG = {
    "nothing": (b"", 400, "no_json"),
    "no JSON": (b"{'texts': ", 400, "no_json"),
    "no Unicode": (b'{"texts": ["\xff"]}', 400, "no_json"),
    "too deep": (b"[" * 9000, 400, "no_json"),
    "a list": (b"[]", 422, "no_object"),
    "a number": (b"7", 422, "no_object"),
    "no texts": (b"{}", 422, "no_texts"),
    "an empty list": (b'{"texts": []}', 422, "no_texts"),
    "a string for a list": (b'{"texts": "dull"}', 422, "no_texts"),
    "something else, too": (b'{"texts": ["dull"], "settings": 1}', 422, "no_texts"),
    "a number for a text": (b'{"texts": ["dull", 7]}', 422, "no_text"),
    "null": (b'{"texts": [null]}', 422, "no_text"),
    "an empty text": (b'{"texts": [""]}', 422, "no_text"),
    "blanks": (b'{"texts": [" \\n "]}', 422, "no_text"),
    "half a character": (b'{"texts": ["\\ud800"]}', 422, "no_text"),
    "too many": (json.dumps({"texts": ["dull"] * 5}).encode(), 422, "too_many_texts"),
    "too long": (json.dumps({"texts": ["dull " * 50]}).encode(), 422, "too_long"),
    "too large": (json.dumps({"texts": ["dull " * 3000]}).encode(), 413, "too_large"),
    "too few labels": (b'{"texts": ["a", "b"], "labels": ["bad"]}', 422, "labels"),
    "another label": (b'{"texts": ["a"], "labels": ["goood"]}', 422, "labels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_told_what_to_do(service, name):
    body, status, error = WRONG[name]
    found, headers, answer = service.ask("POST", "/predict", body)
    told = json.loads(answer)
    assert (found, told["error"]) == (status, error)
    assert headers["content-type"] == "application/json"
    assert len(told["message"]) > 20
    assert service.predict("dull")[0] == 200


@pytest.mark.parametrize("target", ["200", None, True, -1, 1e9, float("nan")])
def test_a_target_without_sense_is_refused(service, target):
    status, _, body = service.ask("PUT", "/controller", json.dumps({"target_ms": target}))
    assert (status, json.loads(body)["error"]) == (422, "no_target")


def test_other_addresses_say_which_there_are(service):
    for method, path, status in (("GET", "/", 404), ("GET", "/predict", 405)):
        found, _, body = service.ask(method, path)
        assert found == status
        assert "POST /predict" in json.loads(body)["message"]


def test_what_is_no_http_is_refused(service):
    with service.connect() as connection:
        connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400")
    assert service.predict("dull")[0] == 200


def test_a_text_that_the_model_cannot_read_fails_alone(service):
    status, told = service.predict("raise")
    assert (status, told["error"]) == (500, "failed")
    assert "ValueError: this text cannot be read" in told["message"]
    assert service.predict("dull")[1]["point"] == "full"


# --- clients that are slow or go away ------------------------------------------------------------


def test_a_body_that_comes_too_slowly_is_given_up(service):
    with service.connect() as connection:
        connection.sendall(head(100) + b'{"texts"')
        assert finish(connection) == 408


@pytest.mark.parametrize("said", [b"", b"POST /predict HTTP/1.1\r\nhost:"])
def test_a_request_that_does_not_begin_is_given_up(service, said):
    with service.connect() as connection:
        connection.sendall(said)
        assert connection.recv(1000) == b""  # closed


def test_a_second_request_that_does_not_begin_is_given_up_too(service):
    with service.connect() as connection:
        body = b'{"texts": ["dull"]}'
        connection.sendall(head(len(body)) + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200 and answer.read()
        connection.sendall(b"POST /pre")
        assert connection.recv(1000) == b""


def test_many_slow_clients_hinder_nobody(service):
    slow = [service.connect() for _ in range(100)]
    for connection in slow:
        connection.sendall(head(100) + b'{"texts"')
    assert service.predict("dull")[0] == 200
    for connection in slow:
        assert finish(connection) == 408


def test_clients_that_go_away_in_mid_request_leave_nothing_behind(service):
    held = service.begin("sleep 0.5")
    for _ in range(8):
        service.begin("dull").close()
    for _ in range(8):
        with service.connect() as connection:
            connection.sendall(head(100) + b'{"texts"')
    assert finish(held) == 200
    assert service.quiet()["attnlab_waiting"] == 0
    assert service.predict("dull")[0] == 200


# --- too much to do ------------------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_those_who_were_taken_are_answered(service):
    held = service.begin("sleep 1")
    time.sleep(0.2)
    waiting = [service.begin("dull") for _ in range(20)]
    status, headers, body = service.ask("POST", "/predict", '{"texts": ["dull"]}')
    assert (status, json.loads(body)["error"]) == (429, "full")
    assert int(headers["retry-after"]) >= 1
    assert not select.select([held], [], [], 0)[0], "at once: the worker is still held up"
    statuses = [finish(connection) for connection in (held, *waiting)]
    assert statuses.count(200) == 12 and statuses.count(429) == 9
    assert service.quiet()["attnlab_waiting"] == 0


def test_an_answer_that_takes_too_long_is_not_waited_for(service):
    held = service.begin("sleep 2.2")
    time.sleep(0.2)
    status, told = service.predict("dull")
    assert (status, told["error"]) == (504, "timed_out")
    assert finish(held) == 504
    service.quiet()
    assert service.predict("dull")[0] == 200


# --- the load generator --------------------------------------------------------------------------


def test_an_open_loop_sends_on_time_whatever_the_service_does(service):
    at = np.arange(30) * 0.02
    frame = send(service.url, ["sleep 0.3", *["dull"] * 4], at)
    assert len(frame) == 30
    assert (frame["sent_s"] - frame["meant_s"]).max() < 0.25
    assert set(frame["outcome"]) <= {"answered", "refused", "timed out"}
    waited = frame["answered_s"] - frame["meant_s"]
    np.testing.assert_allclose(frame["latency_ms"], 1000 * waited)
    assert set(frame.loc[frame["outcome"] == "answered", "point"]) <= {"full", "half"}
    service.quiet()


def test_a_closed_loop_leaves_out_the_waits_that_an_open_loop_sees(service):
    """Ten requests meet a pause of .8 s: one user waits once, and sends the others afterwards."""
    at, texts = np.arange(10) * 0.05, ["sleep 0.8", *["dull"] * 9]
    closed = closed_loop(service.url, texts, at)["latency_ms"]
    service.quiet()
    opened = send(service.url, texts, at)["latency_ms"]
    assert closed[0] > 700
    assert closed[1:].median() < 300 < opened[1:].median()


def test_the_labels_that_a_load_brings_become_an_accuracy(service):
    labels = service.predict(*LITTLE)[1]["labels"]
    frame = send(service.url, LITTLE, np.arange(8) * 0.01, labels)
    assert frame["label"].tolist() == labels * 2


# --- ends and beginnings -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_graceful_stop_answers_what_was_taken_and_a_port_is_free_after_a_kill():
    with Service() as service:
        waiting = [service.begin("sleep 0.5"), *(service.begin("dull") for _ in range(20))]
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        assert [finish(connection) for connection in waiting] == [200] * 21
        assert service.process.wait(20) == 0
        assert service.process.stdout.read() == "stopped\n"
    with Service(port=service.port) as again:
        waiting = again.begin("sleep 5")
        time.sleep(0.2)
        again.process.kill()
        assert finish(waiting) == 0  # the connection says so at once
    with Service(port=service.port) as again:
        assert again.predict("dull")[0] == 200


def test_a_port_in_use_is_named_with_its_cure():
    with listen(port=0) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(AttnlabError, match=f"port {port}.*port=0"):
            listen(port=port)
        with on_the_command_line(), pytest.raises(AttnlabError, match="--port 0"):
            listen(port=port)
    with pytest.raises(AttnlabError, match=r"no\.such\.host"):
        listen("no.such.host")


@pytest.mark.parametrize(
    "typed, said",
    [
        (["movie-sentiment", "--strategy", "shed"], "Did you mean 'shedding'"),
        (["movie-sentiment", "--points", "half"], "no way 'half'"),
        (["movie-sentiment", "--points", "full,full"], "each once"),
        (["movie-sentimant"], "Did you mean 'movie-sentiment'"),
        (["tests"], "Add --data"),
    ],
)
def test_the_command_says_what_to_type(typed, said, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        main(["serve", *typed, "--port", "0"])
    assert end.value.code == 1
    assert said in capsys.readouterr().err


def test_the_command_says_that_a_port_is_in_use_before_it_loads_anything(capsys):
    with listen(port=0) as bound, pytest.raises(SystemExit):
        main(["serve", "movie-sentiment", "--port", str(bound.getsockname()[1])])
    assert "--port 0 takes any port that is free" in capsys.readouterr().err


OWNER = """
import os, sys, time
from attnlab.adaptive.serving import Server
server = Server({model!r}, data={data!r}, points="full,exit-0.5", texts=40)
print(server.process.pid, server.url, os.getpgid(server.process.pid) == os.getpgid(0), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a classifier that was saved, and a file of texts."""
    from tiny_classifiers import its_own_answers
    from tiny_tokenizers import CORPUS, subword_classifier

    folder = tmp_path_factory.mktemp("serve")
    clf, generator = subword_classifier("bert"), np.random.default_rng(0)
    words = " ".join(CORPUS[:8]).split()
    texts = [" ".join(generator.choice(words, generator.integers(3, 9))) for _ in range(240)]
    its_own_answers(clf, texts).to_frame().to_csv(folder / "mine.csv", index=False)
    clf.save(folder / "model")
    return folder


@pytest.mark.slow
def test_a_server_ends_with_the_process_that_started_it_even_when_that_is_killed(place):
    code = OWNER.format(model=str(place / "model"), data=str(place / "mine.csv"))
    owner = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        pid, url, same_group = owner.stdout.readline().split()
        frame = send(url, ["A slow start."], [0.0])
        assert same_group == "True"
        assert frame["outcome"].tolist() == ["answered"]
        owner.kill()
        owner.wait()
        end = time.monotonic() + 30
        while not _has_ended(int(pid)) and time.monotonic() < end:
            time.sleep(0.1)
        assert _has_ended(int(pid))
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()


def _has_ended(pid):
    """Whether a process has ended, also where nobody asks how, as its parent was killed."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
def test_a_server_for_notebooks_answers_is_steered_and_stops(place, monkeypatch):
    from attnlab.adaptive.serving import Server

    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    model, data = str(place / "model"), str(place / "mine.csv")
    with Server(model, data=data, points="full,exit-0.5", texts=40, target=300) as server:
        points = {point["name"] for point in server.state()["points"]}
        assert server.predict(["A slow start."])["point"] in points <= {"full", "exit-0.5"}
        assert server.state()["target_ms"] == 300
        assert server.set_target(100)["target_ms"] == 100
        os.kill(server.process.pid, signal.SIGINT)  # Jupyter's interrupt reaches the whole group
        with pytest.raises(AttnlabError, match="something in it"):
            server.predict([""])
        assert server.predict(["Dull."])["labels"]
    assert server.process.poll() == 0
    with pytest.raises(AttnlabError, match="stopped"):
        server.predict(["Dull."])
    with pytest.raises(AttnlabError, match="no strategy 'brave'"):  # what the command says
        Server(model, data=data, strategy="brave")


# --- the whole at length -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.thorough
def test_ten_thousand_requests_one_in_ten_wrong_slow_clients_and_a_kill():
    """Every request that was accepted is answered or told; memory stays."""
    generator = np.random.default_rng(0)
    with Service(patience=1.0) as service:
        statuses, memory = _endure(service, 5000, generator)
        port = service.port
    with Service(patience=1.0, port=port) as service:
        again, more = _endure(service, 5000, generator)
        assert service.quiet()["attnlab_waiting"] == 0
    assert len(statuses + again) == 10_000
    assert set(statuses + again) <= {200, 400, 408, 413, 422, 429, 504}
    assert (statuses + again).count(200) > 7000
    for sizes in (memory, more):
        assert sizes[-1] < sizes[len(sizes) // 3] * 1.1 + 5, sizes


def _endure(service, count, generator):
    """Statuses of so many requests by four clients, and megabytes on the way; then it is killed."""
    wrong = [body for body, _, _ in WRONG.values()]
    process, statuses, memory, slow = psutil.Process(service.process.pid), [], [], []

    def drawn():
        kind = generator.uniform()
        if kind < 0.01:
            return None  # a client that is too slow
        if kind < 0.11:
            return wrong[generator.integers(len(wrong))]
        text = " ".join(generator.choice(["dull", "film", "slow"], generator.integers(1, 12)))
        return json.dumps({"texts": [text]}).encode()

    def ask(body):
        if body is not None:
            return service.ask("POST", "/predict", body)[0]
        connection = service.connect()
        connection.sendall(head(100) + b'{"texts"')
        slow.append(connection)
        return None

    with ThreadPoolExecutor(4) as clients:
        for _ in range(count // 250):
            found = clients.map(ask, [drawn() for _ in range(250)])
            statuses += [status for status in found if status is not None]
            memory.append(process.memory_info().rss / 1e6)
    statuses += [finish(connection) for connection in slow]
    return statuses, memory
