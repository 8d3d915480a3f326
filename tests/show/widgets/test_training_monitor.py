"""The training monitor without a browser: what is drawn and said, how often; what it survives."""

import json
import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import attnlab as al
from attnlab import balance
from attnlab.balance.recorder import Recorder
from attnlab.errors import AttnlabError, SettingsError
from attnlab.show.widgets import live, training_monitor
from attnlab.show.widgets.monitor_report import POINTS, monitor_report
from attnlab.show.widgets.training_monitor import TrainingMonitor

START = {"measure": "entropy", "layers": "all", "layer": 1, "head": 2, "pinned": []}


def recorded(steps=30, every=10, layers=2, heads=3, collapse=(15, 20)):
    """A Recorder's table in which layer 1 head 2 falls onto one token, and its overall figures."""
    rng, rows = np.random.default_rng(0), []
    for at in range(steps):
        for layer in range(layers):
            for head in range(heads):
                far = (layer, head) == (1, 2) and collapse[0] <= at < collapse[1]
                levels = {"entropy": 0.02 if far else 0.6, "largest": 0.99 if far else 0.3}
                levels |= {"gradient": 10.0 ** rng.normal(-2, 0.1)}
                for measure, value in levels.items():
                    noise = 0 if measure == "gradient" else rng.normal(0, 0.005)
                    rows.append((at * every, layer, head, measure, value + noise))
    table = pd.DataFrame(rows, columns=["step", "layer", "head", "measure", "value"])
    overall = pd.DataFrame({"step": range(0, steps * every, every)})
    return table, overall.assign(balance=0.8, tokens=0.7, heads=0.95)


def report(table, overall, total=None, state="training", **changes):
    made = monitor_report(table, overall, START | changes, total, state)
    json.dumps(made, allow_nan=False)
    return made


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def test_before_the_first_measurement_there_are_axes_and_a_word():
    made = report(*(one[:0] for one in recorded()))
    assert made["state"] == "waiting"
    assert made["remark"] == "Waiting for the first measurement."
    assert made["axes"]["value"]["ticks"]


def test_every_head_has_a_line_and_the_chosen_ones_are_strong():
    table, overall = recorded()
    made = report(table, overall, pinned=[[0, 1]])
    assert len(made["faint"]) == 4
    assert [one["name"] for one in made["strong"]] == ["L1H2", "L0H1"]
    own = table[(table["layer"] == 1) & (table["head"] == 2) & (table["measure"] == "entropy")]
    assert made["strong"][0]["line"] == pytest.approx(own["value"].tolist(), rel=1e-3)
    assert made["step"] == sorted(set(table["step"]))
    assert made["map"]["values"][1][2] == pytest.approx(own["value"].iloc[-1], rel=1e-3)


def test_one_layer_alone_can_be_shown():
    made = report(*recorded(), layers=0)
    assert len(made["faint"]) == 3
    assert made["spans"] == []  # that head is in another one


def test_what_is_out_of_line_is_a_span_on_the_time_axis_and_a_row():
    table, overall = recorded()
    made = report(table, overall)
    (span,) = made["spans"]
    assert (span["start"], span["end"], span["kind"], span["name"]) == (
        145,
        195,
        "collapse",
        "L1H2",
    )
    assert span["looked"]
    (row,) = made["rows"]
    assert row["cells"] == ["collapse", "L1H2", plots_name(row["measure"]), "150–200"]
    assert row["place"] == [1, 2]
    assert made["remark"].startswith("So far: out of line 1 collapse. The latest: layer 1 head 2")


def plots_name(measure):
    from attnlab.show.wording import short

    return short(measure)


def test_a_span_that_still_lasts_reaches_to_the_last_measurement():
    made = report(*recorded(collapse=(15, 99)))
    assert made["spans"][0]["end"] == 295
    assert made["rows"][0]["cells"][-1] == "150 on"


def test_the_band_is_the_one_heads_are_judged_by():
    table, overall = recorded(collapse=(99, 99))
    made = report(table, overall)
    band = balance.bands(table, 1, 2, "entropy")
    assert made["band"]["low"][:6] == [None] * 6
    assert made["band"]["low"][10:] == pytest.approx(band["low"][10:].tolist(), rel=1e-3)


def test_gradients_are_drawn_on_a_logarithmic_axis():
    made = report(*recorded(), measure="gradient")
    assert all(-3 < one < -1 for one in made["strong"][0]["line"])
    assert made["axes"]["value"]["ticks"][0][1].startswith("1e-")
    table, overall = recorded()
    nothing = table.assign(value=table["value"].where(table["measure"] != "gradient"))
    assert report(nothing, overall, measure="gradient")["strong"][0]["line"] == [None] * 30


def test_limits_only_grow_while_a_run_goes_on():
    table, overall = recorded(60)
    before = None
    for until in range(1, 61, 3):
        part = table[table["step"] < 10 * until]
        axes = report(part, overall[:until], total=600)["axes"]
        if before is not None:
            assert axes["step"]["to"] == before["step"]["to"] == 600
            assert axes["value"]["to"] >= before["value"]["to"]
        before = axes
    grown = [
        report(table[table["step"] < 10 * n], overall[:n])["axes"]["step"]["to"]
        for n in range(2, 60)
    ]
    assert grown == sorted(grown)
    assert len(set(grown)) < 15


def test_a_long_run_is_sent_as_a_few_points():
    table, overall = recorded(500)
    made = report(table, overall)
    assert len(made["step"]) <= POINTS
    assert made["step"][-1] == 4990
    assert all(len(line) == len(made["step"]) for line in made["faint"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"measure": "warmth"}, "was not recorded"),
        ({"layers": 2}, "from 0 to 1"),
        ({"head": 3}, "no head"),
        ({"pinned": [[0, 0]] * 6}, "Unpin some"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_cure(changes, says):
    with pytest.raises(SettingsError, match=says):
        report(*recorded(), **changes)


# ── the monitor ────────────────────────────────────────────────────────────────────────────────


class FakeRecorder(Recorder):
    """Hands out a table that grows by what was recorded in advance."""

    def __init__(self, every=10):
        super().__init__(["A fine film."], every)
        self.whole, self.parts, self.until = *recorded(), -1

    def on_start(self, run):
        self.on_step(run)

    def on_step(self, run):
        if run.step % self.every == 0:
            self.until = run.step

    @property
    def table(self):
        return self.whole[self.whole["step"] <= self.until]

    @property
    def overall(self):
        return self.parts[self.parts["step"] <= self.until]


def at_step(step, steps=0):
    """A run as callbacks see it."""
    return SimpleNamespace(step=step, steps=steps)


def wait_until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_the_first_measurement_is_shown_at_once_and_the_last_always():
    monitor = TrainingMonitor(FakeRecorder())
    monitor.on_step(at_step(0))
    assert monitor.report["stamp"] == 0
    for step in range(1, 291):
        monitor.on_step(at_step(step))
    wait_until(lambda: monitor.report["stamp"] == 290)
    assert monitor.report["count"] == 1


def test_a_few_messages_a_second_at_most():
    monitor, sent = TrainingMonitor(FakeRecorder()), []
    monitor.observe(lambda change: sent.append(time.monotonic()), "report")
    for step in range(0, 291, 2):
        monitor.on_step(at_step(step))
        time.sleep(0.005)
    wait_until(lambda: monitor.report["stamp"] == 290)
    assert 2 <= len(sent) <= 3 + (sent[-1] - sent[0]) / live.PAUSE
    assert min(np.diff(sent)) > 0.9 * live.PAUSE


def test_from_the_start_it_knows_how_long_the_run_is():
    monitor = TrainingMonitor(FakeRecorder())
    monitor.on_start(at_step(0, 290))
    assert monitor.report["axes"]["step"]["to"] == 290
    monitor.on_step(at_step(290))
    wait_until(lambda: monitor.report["state"] == "finished")


def test_with_the_cell_all_its_training_is_over(monkeypatch):
    heard = []
    events = SimpleNamespace(
        register=lambda name, call: heard.append(call), unregister=lambda name, call: None
    )
    monkeypatch.setattr(live, "get_ipython", lambda: SimpleNamespace(events=events))
    monitor = TrainingMonitor(FakeRecorder())
    monitor.on_start(at_step(0, 500))
    for step in (10, 20):
        monitor.on_step(at_step(step))
    assert len(heard) == 1
    heard[0]()
    assert monitor.report["state"] == "stopped"
    assert monitor.report["stamp"] == 20


def test_controls_work_before_during_and_after():
    monitor = TrainingMonitor(FakeRecorder())
    monitor.set(measure="largest")
    monitor.on_step(at_step(0))
    assert monitor.report["settings"]["measure"] == "largest"
    monitor.set(layer=0, head=1, pinned=[[1, 2]])
    assert monitor.report["strong"][0]["name"] == "L0H1"
    monitor.settings = monitor.settings | {"head": 99}
    assert "no head" in monitor.error
    monitor.reset()
    assert monitor.error == ""


def test_what_was_recorded_before_is_shown_at_once():
    recorder = FakeRecorder()
    recorder.until = 290
    monitor = TrainingMonitor(recorder)
    assert monitor.report["state"] == "finished"
    assert monitor.report["stamp"] == 290
    assert len(monitor.found) == 1


def test_a_monitor_that_cannot_be_drawn_does_not_end_the_training(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no ink")

    monitor = TrainingMonitor(FakeRecorder())
    monkeypatch.setattr(training_monitor, "monitor_report", fail)
    monitor.on_step(at_step(0))
    assert "no ink" in monitor.error
    assert "Training goes on" in monitor.error


def test_it_can_be_called_from_another_thread():
    monitor = TrainingMonitor(FakeRecorder())
    thread = threading.Thread(target=monitor.on_step, args=(at_step(0),))
    thread.start()
    thread.join()
    assert monitor.report["stamp"] == 0


def test_its_picture_shows_the_same_and_stays():
    monitor = TrainingMonitor(FakeRecorder())
    with pytest.raises(AttnlabError, match="Train with it first"):
        monitor.picture()
    for step in range(0, 291, 10):
        monitor.on_step(at_step(step))
    monitor.set(layer=1, head=2)
    assert "the strongest: layer 1 head 2, collapse" in monitor.picture().alt
    assert "text/html" in monitor._repr_mimebundle_()[0]


def test_at_the_end_the_head_of_the_strongest_anomaly_is_drawn_strong():
    monitor = TrainingMonitor(FakeRecorder())
    monitor.on_start(at_step(0, 290))
    for step in range(1, 290):
        monitor.on_step(at_step(step))
    assert monitor.report["strong"][0]["name"] == "L0H0", "it jumped while people looked"
    monitor.on_step(at_step(290))
    wait_until(lambda: monitor.report["state"] == "finished")
    assert monitor.report["strong"][0]["name"] == "L1H2"
    labels = monitor.picture().figure.axes[0].get_legend().get_texts()
    assert [label.get_text() for label in labels] == ["L1H2"]


@pytest.mark.parametrize("chosen", [{"layer": 0, "head": 1}, {"pinned": [[0, 1]]}])
def test_at_the_end_a_choice_of_heads_stays(chosen):
    monitor = TrainingMonitor(FakeRecorder())
    monitor.on_start(at_step(0, 290))
    monitor.set(**chosen)
    monitor.on_step(at_step(290))
    wait_until(lambda: monitor.report["state"] == "finished")
    assert monitor.settings == monitor.start | chosen


def test_a_recording_begins_at_the_head_of_its_strongest_anomaly():
    recorder = FakeRecorder()
    recorder.until = 290
    assert TrainingMonitor(recorder).report["strong"][0]["name"] == "L1H2"


def test_a_measure_that_is_none_is_refused():
    with pytest.raises(AttnlabError, match="no measure 'warmth'"):
        TrainingMonitor(FakeRecorder(), "warmth")


def test_it_records_and_shows_a_real_training(movies):
    few = al.datasets.Splits(movies.train.sample(24), movies.dev.sample(12), movies.test)
    monitor = al.TrainingMonitor(Recorder(few.dev.texts[:4], every=2))
    al.finetune("minilm", few, "frozen", epochs=2, batch_size=8, callbacks=[monitor])
    wait_until(lambda: monitor.report["state"] == "finished")
    assert monitor.report["step"] == [0, 2, 4, 6]
    assert math.isfinite(monitor.report["overall"]["balance"][-1])
    assert len(monitor.report["map"]["values"]) == 6
    json.dumps(monitor.report, allow_nan=False)
