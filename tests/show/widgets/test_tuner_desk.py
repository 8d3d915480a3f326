"""The tuner's desk without a browser: what it draws and says, who runs when, what it survives."""

import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import attnlab as al
from attnlab.balance.tuner import Tuner
from attnlab.errors import AttnlabError, SettingsError
from attnlab.heads.settings import HeadSettings
from attnlab.show import plots
from attnlab.show.widgets.tuner_desk import TunerDesk
from attnlab.show.widgets.tuner_report import KINDS, tuner_report
from attnlab.training.loop import Interrupted

TEXT = "A warm, funny film."
START = {"round": "newest", "layer": 2, "head": 1, "kind": "change", "text": TEXT}
GUARD = (0.55, 0.03, 250)
SIZE = (6, 12)


def settings_of(scale=1.0, off=()):
    made = HeadSettings(*SIZE)
    made.scale *= scale
    for place in off:
        made.scale[place] = 0
    return made


def round_of(number=1, way="gradient", accuracy=0.7, delta=0.15, accepted=True, **changes):
    told = {
        "settings": settings_of(2.0, [(3, 4)]),
        "why": "its interval is above 0.",
        "ci": (delta - 0.03, delta + 0.03),
        "balance": 0.8,
        "heads_on": 71,
        "anomalies": 3,
        "retrained": False,
        "seconds": 2.0,
    }
    made = {
        "number": number,
        "way": way,
        "accuracy": accuracy,
        "delta": delta,
        "accepted": accepted,
    }
    return SimpleNamespace(**(made | told | changes))


ROUNDS = [
    round_of(1),
    round_of(2, "random", 0.5, -0.2, accepted=False, why="its interval reaches below 0."),
    round_of(3, "greedy", 0.69, -0.01, accepted=False, settings=settings_of(0.5), retrained=True),
]


class FakeTuner:
    """Rounds without any work: the gate opens one at a time."""

    def __init__(self, clf, rounds=3):
        self.clf = self.now = clf
        self.rounds, self.start, self.doing = [], settings_of(0.5), ""
        self.guard_before = SimpleNamespace(accuracy=GUARD[0], stderr=GUARD[1], n=GUARD[2])
        self.gate, self.planned, self.stopped = threading.Semaphore(0), rounds, False

    @property
    def finished(self):
        return len(self.rounds) >= self.planned

    def run(self):
        self.stopped, self.doing = False, "gradient"
        try:
            while not self.finished:
                self.step()
                if self.stopped:
                    raise Interrupted("Stopped. Call run() again to go on.")
        finally:
            self.doing = ""

    def step(self):
        assert self.gate.acquire(timeout=10)
        self.rounds.append(round_of(len(self.rounds) + 1))

    def propose(self, settings):
        self.rounds.append(round_of(len(self.rounds) + 1, "by hand", settings=settings))

    def stop(self):
        self.stopped = True


@pytest.fixture
def desk(clf):
    made = TunerDesk(FakeTuner(clf), TEXT)
    yield made
    made.tuner.gate.release(99)
    made.close()


def wait_until(holds, seconds=5):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def report(rounds=ROUNDS, **changes):
    made = tuner_report(rounds, START | changes, SIZE, settings_of(0.25), GUARD)
    json.dumps(made, allow_nan=False)
    return made


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def test_before_the_first_round_the_start_is_shown():
    made = report([])
    assert made["remark"] == "Ready. On the guard part 55.0\u00a0% (95\u00a0%: 49.0 to 61.2)."
    assert made["name"] == "Before the first round"
    assert made["knobs"]["scale"]["words"][0][0] == "0.25"
    assert [row["number"] for row in made["rows"]] == [0]


def test_every_round_is_a_row_with_its_verdict_and_interval():
    made = report()
    assert [row["cells"][1] for row in made["rows"]] == ["start", "accepted", "refused", "refused"]
    assert made["rows"][1]["cells"][3] == "+15.0 (+12.0 to +18.0)"
    assert made["rows"][3]["cells"][0] == "greedy + retraining"
    assert made["remark"].startswith(
        "Ready. 3 rounds, 1 accepted: on the guard part from 55.0 to 70.0"
    )


def test_random_knobs_are_told_apart_in_the_chart():
    made = report()
    assert [one["kind"] for one in made["points"]] == ["accepted", "random", "refused"]
    first = made["points"][0]
    assert (first["low"], first["high"]) == (0.67, 0.73)
    axes = made["axes"]["accuracy"]
    assert all(axes["from"] <= one["low"] <= one["high"] <= axes["to"] for one in made["points"])


def test_the_newest_is_the_last_one_that_was_kept():
    assert report()["looked"] == 1
    assert report(ROUNDS[1:])["looked"] == 3
    assert report(round=2)["looked"] == 2
    assert report(round=0)["looked"] == 0


def test_the_round_looked_at_says_why():
    assert report(round=2)["why"].endswith("Refused: its interval reaches below 0.")
    assert "balance 0.80, 3 anomalies, 71 heads on, 2 s" in report(round=1)["why"]


def test_knobs_are_coloured_by_doublings_and_silent_heads_are_hatched():
    knobs = report(round=1)["knobs"]
    values = np.array(knobs["scale"]["values"], dtype=float)
    assert values[0, 0] == 1  # a doubling
    assert np.isnan(values[3, 4])
    assert knobs["scale"]["words"][3][4] == "off"
    assert np.array(knobs["temperature"]["values"])[0, 0] == knobs["temperature"]["blank"]
    assert np.array(knobs["temperature"]["values"]).any() == 0
    assert "1 off" in knobs["scale"]["alt"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"round": 9}, "no round 9"),
        ({"layer": 6}, "from 0 to 5"),
        ({"kind": "film"}, "no picture 'film'"),
        ({"text": ""}, "sentence is empty"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_cure(changes, says):
    with pytest.raises(SettingsError, match=says):
        report(**changes)


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


def test_rounds_appear_as_they_come_and_one_can_be_looked_at_meanwhile(desk):
    desk.run()
    assert desk.report["state"] == "running"
    assert desk.report["can"] == ["stop"]
    desk.tuner.gate.release()
    wait_until(lambda: len(desk.report["points"]) == 1)
    desk.set(round=0)
    assert desk.report["looked"] == 0
    desk.tuner.gate.release(2)
    wait_until(lambda: desk.report["state"] == "finished")
    assert len(desk.report["points"]) == 3
    assert desk.error == ""


def test_a_tuner_that_was_stopped_can_go_on(desk):
    desk.run()
    desk.stop()
    assert desk.report["state"] == "stopping"
    desk.tuner.gate.release()
    wait_until(lambda: desk.report["state"] == "stopped")
    assert desk.error == ""
    assert len(desk.tuner.rounds) == 1
    assert desk.report["can"] == ["run", "step", "propose"]
    desk.run()
    desk.tuner.gate.release(2)
    wait_until(lambda: desk.report["state"] == "finished")
    assert desk.report["can"] == ["step", "propose"]


def test_a_tuner_that_runs_in_a_cell_is_shown_and_stopped_too(desk):
    def cell():
        with pytest.raises(Interrupted):
            desk.tuner.run()

    thread = threading.Thread(target=cell)
    thread.start()
    wait_until(lambda: desk.report["state"] == "running")
    assert desk.report["doing"] == "gradient"
    with pytest.raises(AttnlabError, match="is running"):
        desk.run()
    desk.stop()
    desk.tuner.gate.release(1)
    wait_until(lambda: len(desk.report["points"]) == 1)
    thread.join()
    wait_until(lambda: desk.report["state"] == "stopped")


def test_settings_of_a_mixing_desk_become_a_round(desk):
    desk.propose(settings_of(off=[(0, 0)]))
    wait_until(lambda: len(desk.report["points"]) == 1)
    assert desk.report["rows"][1]["cells"][0] == "by hand"
    assert desk.round_settings == settings_of(off=[(0, 0)])
    with pytest.raises(AttnlabError):
        desk.propose(HeadSettings(2, 2))


def test_buttons_do_what_they_say_and_say_what_goes_wrong(desk):
    desk._on_message(desk, {"action": "propose", "text": "no settings"}, [])
    assert "These are no head settings" in desk.error
    desk._on_message(desk, {"action": "run"}, [])
    assert desk.error == ""
    desk._on_message(desk, {"action": "run"}, [])
    assert "The tuner is running" in desk.error
    desk._on_message(desk, {"action": "stop"}, [])
    desk.tuner.gate.release()
    wait_until(lambda: desk.report["state"] == "stopped")


def test_what_goes_wrong_in_the_tuner_is_said_on_the_desk(desk, monkeypatch):
    def fail():
        raise AttnlabError("The guard is asleep.")

    monkeypatch.setattr(desk.tuner, "run", fail)
    desk.run()
    wait_until(lambda: desk.report["state"] == "ready")
    wait_until(lambda: "The guard is asleep." in desk.error)


def test_a_rounds_settings_can_be_copied_as_code_and_json(desk):
    desk.tuner.gate.release(1)
    desk.step()
    wait_until(lambda: desk.report["looked"] == 1)
    desk.wait()
    assert HeadSettings.from_json(desk.json) == ROUNDS[0].settings
    assert "settings.scale[3, 4] = 0" in desk.code
    desk.set(round=0)
    assert HeadSettings.from_json(desk.json) == desk.tuner.start


def test_the_sentence_shows_what_the_knobs_change(desk, clf):
    desk.tuner.gate.release(1)
    desk.step()
    wait_until(lambda: desk.report["looked"] == 1)
    desk.set(layer=2, head=1)
    desk.wait()
    before, after = (
        clf.attend(TEXT, one).of("scaled")[2, 1] for one in (settings_of(0.5), ROUNDS[0].settings)
    )
    np.testing.assert_allclose(desk.sentence["values"], after - before, atol=1e-3)
    for kind, expected in (("before", before), ("after", after)):
        desk.set(kind=kind)
        desk.wait()
        np.testing.assert_allclose(desk.sentence["values"], expected, atol=1e-3)
    desk.set(kind="bertviz after")
    desk.wait()
    assert desk.sentence["kind"] == "bertviz"
    desk.set(text="fine " * 400)
    desk.wait()
    assert desk.sentence["kind"] == "map"
    assert set(KINDS) == {one[0] for one in desk.report["kinds"]}


def test_retrained_weights_are_said(desk, clf):
    desk.tuner.rounds.extend([round_of(1), round_of(2, "retrain", retrained=True)])
    desk.tuner.now = clf.with_model(clf.model)
    assert desk._weights(1) == (clf, "")
    assert desk._weights(2) == (desk.tuner.now, "With retrained weights.")
    desk.tuner.rounds.append(round_of(3, "retrain", retrained=True, accepted=False))
    assert desk._weights(3) == (clf, "The weights of this round were dropped.")
    desk.wait()
    desk.set(kind="after", round=2)
    desk.wait()
    assert desk.sentence["note"].endswith("With retrained weights.")


def test_its_picture_shows_the_same_and_stays(desk):
    desk.tuner.rounds.extend(ROUNDS)
    assert "3 rounds of the tuner, 1 accepted" in desk.picture().alt
    assert "text/html" in desk._repr_mimebundle_()[0]


def test_a_desk_that_is_gone_is_not_kept_alive_by_its_thread(clf):
    import gc
    import weakref

    desk = TunerDesk(FakeTuner(clf), TEXT)
    desk.wait()
    desk.close()
    gone = weakref.ref(desk)
    del desk
    gc.collect()
    before = time.monotonic()
    while gone() is not None and time.monotonic() - before < 3:
        gc.collect()
        time.sleep(0.05)
    assert gone() is None


def test_it_runs_and_shows_a_real_tuner(clf, movies):
    few = al.datasets.Splits(movies.train.sample(8), movies.dev.sample(40), movies.test.sample(8))
    start = clf.settings()
    start.scale[5] = 0
    tuner = Tuner(
        clf, few, start, rounds=1, options={"gradient": {"epochs": 1}, "random": {"trials": 2}}
    )
    desk = TunerDesk(tuner, TEXT)
    assert desk.report["can"][0] == "run"
    desk.run()
    desk.wait(60)
    assert desk.error == ""
    assert desk.report["state"] == "finished"
    assert len(desk.report["points"]) == 1
    assert desk.report["start"] == pytest.approx(tuner.guard_before.accuracy, abs=1e-4)
    json.dumps(desk.report, allow_nan=False)
    assert "1 round of the tuner" in plots.tuning(tuner).alt
    desk.close()


def test_it_is_one_of_the_names_of_the_package():
    assert al.TunerDesk is TunerDesk
