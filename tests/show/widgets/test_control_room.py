"""The control room without a browser: what is drawn and said, and what it does to a service."""

import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
from service_process import Service

import attnlab as al
from attnlab.adaptive.serving import Server
from attnlab.errors import AttnlabError, DataError, SettingsError
from attnlab.show.widgets.control_report import (
    ENDED,
    LINES,
    SHOWN_S,
    control_report,
    log_line,
    sample_of,
)
from attnlab.show.widgets.control_room import ControlRoom

SETTINGS = {"load": 20, "target": 150.0, "paused": False}
POINTS = [
    {"name": "full", "accuracy": 0.87, "ms": 10.0, "kept": 1.0},
    {"name": "exit-0.5", "accuracy": 0.85, "ms": 5.0, "kept": 0.55},
]


def state(point="full", p95=80.0, target=150.0, **changes):
    """What `Server.state` returns."""
    reading = {
        "waiting": 1,
        "p95_ms": p95,
        "kept": 1.0 if point == "full" else 0.6,
        "accuracy": 0.86,
        "accuracy_low": 0.82,
        "accuracy_high": 0.9,
        "answers_per_second": 19.0,
        "refusals_per_second": 0.0,
    }
    step = {"second": 83.4, "before": "full", "after": "exit-0.5", "why": "8 wait, 120 ms of work"}
    return {
        "point": point,
        "target_ms": target,
        "points": POINTS,
        "reading": reading | changes,
        "log": [step] if point != "full" else [],
    }


def empty(**changes):
    """The state of a service that nobody asks."""
    nothing = dict.fromkeys(("p95_ms", "kept", "accuracy", "accuracy_low", "accuracy_high"))
    nothing |= {"waiting": 0, "answers_per_second": 0.0}
    return state(**(nothing | {"p95": None} | changes))


def report(states, settings=SETTINGS, sent=20.0, **more):
    samples = [sample_of(one, 0.5 * number, sent) for number, one in enumerate(states)]
    made = control_report(samples, states[-1], settings, **more)
    json.dumps(made, allow_nan=False)
    return made


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def test_before_the_first_look_there_are_axes_and_a_word():
    made = control_report([], empty(), SETTINGS | {"load": 0})
    json.dumps(made, allow_nan=False)
    assert made["remark"].startswith("Nothing is sent.")
    assert made["axes"]["p95"]["ticks"]
    assert made["can"]["rush"] == made["can"]["stop"] == "Nothing is sent. Move the load first."


def test_curves_are_the_readings_by_seconds_before_the_last():
    made = report([state(p95=value) for value in (50.0, 90.0, None, 200.0)])
    assert made["seconds"] == [-1.5, -1.0, -0.5, 0.0]
    assert made["lines"]["p95_ms"] == [50.0, 90.0, None, 200.0]
    assert made["lines"]["target_ms"] == [150.0] * 4
    assert made["lines"]["low"] == [0.82] * 4
    assert set(made["lines"]) == set(LINES)
    assert made["axes"]["p95"]["to"] >= 225  # the promise is inside, with room above it
    assert ["Accuracy (95 %)", "86 % (82 to 90)"] in made["numbers"]


def test_only_the_last_seconds_are_drawn():
    made = report([state()] * 600)
    assert made["seconds"][0] == -SHOWN_S
    assert len(made["seconds"]) == 2 * SHOWN_S + 1


def test_operating_points_are_spans_in_lanes_the_dearest_on_top():
    made = report([state(), state(), state("exit-0.5"), state("exit-0.5"), state()])
    assert made["lanes"] == ["full", "exit-0.5"]
    assert [(one["point"], one["lane"], one["start"], one["end"]) for one in made["spans"]] == [
        ("full", 0, -2.0, -1.0),
        ("exit-0.5", 1, -1.0, 0.0),
        ("full", 0, 0.0, 0.0),
    ]
    assert "full, exit-0.5, full" in made["alt"]["points"]


def test_the_log_is_its_last_five_steps_in_words_the_newest_first():
    steps = [
        {"second": number, "before": "full", "after": "exit-0.5", "why": "late"}
        for number in range(7)
    ]
    made = report([state() | {"log": steps}])
    assert made["log"] == [f"0:0{number} full → exit-0.5: late" for number in (6, 5, 4, 3, 2)]
    assert log_line(steps[0] | {"second": 754.9}).startswith("12:34 ")


@pytest.mark.parametrize(
    ("last", "more", "told", "says"),
    [
        (state(), {}, "sending", "kept, and no point is dearer"),
        (state("exit-0.5"), {}, "sending", "kept, at a cheaper point"),
        (state(p95=300.0), {}, "sending", "Answers are late: the curve is over"),
        (state("exit-0.5", p95=300.0), {}, "sending", "there is no cheaper point"),
        (state(p95=None), {}, "sending", "none has come yet"),
        (state(target=None), {}, "sending", "nothing is promised"),
        (empty(), {"sent": 0.0}, "idle", "Nothing is sent."),
        (state(), {"rush_left_s": 3.0}, "rush", "kept"),
        (state(), {"run": "silent"}, "silent", "does not answer"),
        (state(), {"run": "ended"}, "ended", ENDED),
    ],
)
def test_the_remark_says_how_it_stands(last, more, told, says):
    made = report([last], **more)
    assert made["state"] == told
    assert says in made["remark"]


def test_a_rush_hour_and_the_end_turn_controls_off_and_say_why():
    rush = report([state()], rush_left_s=4.2)
    assert rush["load"] == "40 requests/s for 5 s more"
    assert rush["can"]["rush"] == "It is rush hour already."
    assert set(report([state()], run="ended")["can"].values()) == {ENDED}
    fixed = report([state(target=None)], SETTINGS)
    assert "no promise" in fixed["can"]["target"]
    assert fixed["settings"]["target"] is None


def test_the_remark_does_not_change_with_every_number():
    said = {report([state(p95=60.0 + number)])["remark"] for number in range(20)}
    assert len(said) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"load": 301}, "0 to 300 requests"),
        ({"load": float("nan")}, "0 to 300 requests"),
        ({"load": True}, "0 to 300 requests"),
        ({"target": 0}, "from 1 to 60,000"),
        ({"target": "soon"}, "from 1 to 60,000"),
        ({"target": None}, "from 1 to 60,000"),
        ({"paused": 1}, "True or False"),
    ],
)
def test_settings_that_cannot_stand_are_refused(change, says):
    with pytest.raises(SettingsError, match=says):
        control_report([], state(), SETTINGS | change)


def test_limits_of_the_axes_change_seldom():
    tops = {report([state(p95=float(value))])["axes"]["p95"]["to"] for value in range(10, 3000, 10)}
    assert len(tops) <= 12


# ── what it does ───────────────────────────────────────────────────────────────────────────────


class FakeServer:
    """Answers as a Server does; nothing listens at its address."""

    url = "http://127.0.0.1:9"

    def __init__(self, **first):
        self.now, self.code = state(**first), None
        self.process = SimpleNamespace(poll=lambda: self.code)
        self.promised = []

    def state(self):
        if self.code is not None:
            raise AttnlabError("This server has stopped.")
        return self.now

    def set_target(self, target_ms):
        self.promised.append(target_ms)
        self.now = self.now | {"target_ms": target_ms}
        return self.now


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def room(server):
    made = ControlRoom(server, ["A fine film."])
    yield made
    made.close()


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_it_is_a_public_name():
    assert al.ControlRoom is ControlRoom


def test_the_load_is_what_the_slider_says_and_ends_with_the_desk(room):
    assert room._sender.rate == 0
    room.set(load=7)
    assert room._sender.rate == 7
    room.rush_hour()
    assert room._sender.rate == 14
    assert room.report["state"] == "rush"
    room.stop_load()
    assert room._sender.rate == 0
    room._on_message(room, {"action": "rush"}, None)
    assert "no load to double" in room.error
    room.set(load=5)
    room.close()
    assert room._sender.rate == 0


def test_a_promise_is_told_to_the_service_and_one_made_elsewhere_is_followed(room, server):
    room.set(target=90)
    room.wait()
    assert server.promised == [90]
    until(lambda: room.report["lines"]["target_ms"][-1:] == [90])
    server.set_target(333.0)
    until(lambda: room.settings["target"] == 333)
    assert server.promised == [90, 333.0]


def test_a_promise_that_the_service_refuses_is_a_complaint(room, server, monkeypatch):
    def refuse(_):
        raise AttnlabError("Not here.")

    monkeypatch.setattr(server, "set_target", refuse)
    room.set(target=90)
    room.wait()
    assert room.error == "Not here."


def test_paused_curves_stand_still_and_then_catch_up(room, server):
    until(lambda: room.report["seconds"])
    room.set(paused=True)
    assert room.report["state"] == "paused"
    stamp, count = room.report["stamp"], len(room._samples)
    until(lambda: len(room._samples) >= count + 2)
    assert room.report["stamp"] == stamp
    room.set(paused=False)
    assert room.report["stamp"] > stamp


def test_it_says_when_the_service_has_ended_and_sends_nothing_more(room, server):
    room.set(load=5)
    server.code = -9
    until(lambda: room.report["state"] == "ended")
    assert room.report["remark"] == ENDED
    assert room._sender.rate == 0
    assert room.watch(60) is room  # does not wait for what has ended
    room.set(load=9)
    assert room._sender.rate == 0


def test_a_service_that_does_not_answer_for_a_while_is_asked_again(room, server, monkeypatch):
    until(lambda: room.report["seconds"])

    def busy():
        raise AttnlabError("It does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(server, "state", busy)
        until(lambda: room.report["state"] == "silent")
    until(lambda: room.report["state"] != "silent")


def test_nothing_is_drawn_while_nothing_happens(server):
    server.now = empty()
    room = ControlRoom(server, ["A fine film."])
    until(lambda: room._samples)
    room.watch(1.2)
    assert len(room._samples) == 1
    room.close()


def test_a_load_that_ended_by_itself_moves_the_slider_back(room):
    room.set(load=4)
    room._sender._ends = 0.0
    until(lambda: room.settings["load"] == 0)
    assert "Ten minutes" in room.error


def test_the_picture_tells_what_was_seen(room):
    until(lambda: len(room._samples) >= 3)
    alt = room.picture().alt
    assert "95th percentile of latency" in alt
    assert "now 80 ms" in alt
    frame = room.to_frame()
    assert {"second", "point", *LINES} <= set(frame)


def test_without_texts_or_with_a_load_that_is_too_high_there_is_no_desk(server):
    with pytest.raises(DataError):
        ControlRoom(server, [])
    with pytest.raises(SettingsError, match="0 to 300"):
        ControlRoom(server, ["Fine."], load=1000)


def test_labels_of_a_data_set_are_sent_by_their_names(server):
    data = al.TextDataset(["Fine.", "Dull."], [1, 0], ["bad", "good"], "ours")
    room = ControlRoom(server, data)
    assert room._sender.labels == ["good", "bad"]
    room.close()


@pytest.mark.slow
def test_a_real_service_is_shown_with_its_accuracy_and_its_end():
    with Service() as service:
        server = Server.__new__(Server)  # the same process, started otherwise
        server.process, server.url = service.process, service.url
        data = al.TextDataset(["Dull.", "A fine film."], [0, 2], ["bad", "fair", "good"], "ours")
        room = ControlRoom(server, data, load=30)
        until(lambda: room.report["numbers"][4][1] not in ("0/s", "1/s"))
        until(lambda: room.report["lines"]["accuracy"][-1] is not None)
        assert room.report["point"] == "full"
        room.set(target=500)
        room.wait()
        until(lambda: server.state()["target_ms"] == 500)
        assert room.error == ""
        os.kill(service.process.pid, signal.SIGKILL)
        until(lambda: room.report["remark"] == ENDED)
        assert room._sender.rate == 0
        room.close()
