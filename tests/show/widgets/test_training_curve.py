"""The training curve without a browser: what is drawn and said, how often, and what it survives."""

import json
import math
import re
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab as al
from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.show.widgets import live
from attnlab.show.widgets.curve_report import COLUMNS, EPOCHS, POINTS, curve_report
from attnlab.show.widgets.training_curve import MOST_RUNS, TrainingCurve
from attnlab.training import History, linear_schedule


def history(steps=60, epochs=3, until=None, every=None, loss=None, accuracy=None, rate=1e-3):
    """What `train` would note of a run of so many steps, up to some step."""
    made, every = History(epochs=epochs), every or max(1, steps // 200)
    loss = loss or (lambda step: 0.7 * math.exp(-step / steps))
    accuracy = accuracy or (lambda epoch: 0.8 + 0.02 * epoch)
    for step in range(1, (steps if until is None else until) + 1):
        if (step - 1) % every == 0:
            made.steps.append(
                {
                    "step": step,
                    "loss": loss(step),
                    "learning_rate": rate * linear_schedule(step - 1, steps, 0.06),
                    "tokens_per_second": 1000.0,
                    "memory_mb": 600.0,
                    "seconds": 2.0 * step,
                }
            )
        if step % (steps // epochs) == 0:
            epoch = step // (steps // epochs)
            measured = {"dev_accuracy": accuracy(epoch), "dev_loss": 0.5}
            made.rows.append(
                {"epoch": epoch, "train_loss": 0.4, **measured, "seconds": 2.0 * step + 0.5}
            )
    return made


def cells(report, run=0):
    return dict(zip(report["columns"], report["runs"][run]["cells"], strict=True))


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def test_the_best_of_equal_epochs_is_the_one_that_is_kept():
    rows = [
        {"epoch": epoch, "train_loss": 1.0, "dev_accuracy": 0.5, "dev_loss": loss, "seconds": 1.0}
        for epoch, loss in enumerate((0.9, 0.7, 0.8), 1)
    ]
    level = History(rows=rows, epochs=3)
    run = curve_report({"run": level})["runs"][0]
    assert run["best"]["epoch"] == level.best["epoch"] == 2


def test_a_run_without_accuracy_is_told_what_it_measured():
    row = {"epoch": 1, "train_loss": 1.0, "dev_bits_per_character": 2.0, "seconds": 1.0}
    bits = History(steps=history().steps[:1], rows=[row], epochs=1)
    for draw in (lambda: curve_report({"bits": bits}), lambda: plots.learning_curve(bits)):
        with pytest.raises(AttnlabError, match=r"but dev_bits_per_character.*to_frame"):
            draw()


def test_before_the_first_step_there_are_axes_and_a_word():
    for report in (curve_report({}), curve_report({"lora": History()}, {"lora": 60})):
        assert report["remark"] == "Waiting for the first step."
        assert "waiting for the first step" in report["alt"]["loss"]
        assert [words for _, words in report["axes"]["loss"]["ticks"]][-1] == "1.0"
        json.dumps(report, allow_nan=False)
    assert cells(report)["left, about"] == "waiting"


def test_in_the_middle_of_a_run_it_says_where_the_run_is():
    report = curve_report({"training": history(until=30)}, {"training": 60}, dev_texts=400)
    run, said = report["runs"][0], cells(report)
    assert run["state"] == "training"
    assert said["epoch"] == "2 of 3"
    assert said["step"] == "30 of 60"
    assert said["dev accuracy"] == "82.0\u00a0%"
    assert said["tokens/s"] == "1,000"
    assert said["memory"] == "600 MB"
    assert said["elapsed"] == "1:00"
    assert said["left, about"] == "1:00"
    assert report["remark"] == (
        "Epoch 1 of 3 has ended with dev accuracy 82.0\u00a0% (95\u00a0%: 77.9 to 85.5)."
    )
    assert report["axes"]["step"]["to"] == 60
    assert report["axes"]["epoch"]["ticks"] == [[1.0, "1"], [2.0, "2"], [3.0, "3"]]


def test_lines_are_the_losses_and_rates_that_were_seen():
    seen = history()
    run = curve_report({"training": seen}, {"training": 60})["runs"][0]
    assert run["step"] == [row["step"] for row in seen.steps]
    assert run["loss"] == pytest.approx([row["loss"] for row in seen.steps], rel=1e-4)
    assert run["rate"] == pytest.approx(
        [row["learning_rate"] / 1e-3 for row in seen.steps], abs=1e-4
    )
    assert run["epochs"][1]["accuracy"] == 0.84
    assert run["epochs"][1]["loss"] == 0.5
    assert run["epochs"][1]["step"] == 40


def test_guessing_is_inside_the_axis_which_begins_below_the_lowest_loss():
    seen = history(loss=lambda step: 0.7 - step / 2000)
    report = curve_report({"training": seen}, {"training": 60}, guessing=0.693)
    axis = report["axes"]["loss"]
    assert report["guessing"] == 0.693
    assert (axis["from"], axis["ticks"][0]) == (0.4, [0.4, "0.4"])  # the dev loss is 0.5
    assert axis["to"] >= 0.7
    assert report["alt"]["loss"].endswith("Grey line: guessing, 0.69.")
    plain = curve_report({"training": seen}, {"training": 60})
    assert plain["guessing"] is None
    assert plain["axes"]["loss"]["from"] == 0


def test_guessing_must_be_a_loss():
    with pytest.raises(AttnlabError, match="for two classes"):
        TrainingCurve(guessing=-1.0)
    assert TrainingCurve(guessing=math.log(2)).report["guessing"] == math.log(2)


def test_a_finished_run_says_its_best_epoch():
    down = history(accuracy=lambda epoch: 0.9 - 0.01 * epoch)
    report = curve_report({"training": down}, {"training": 60})
    assert report["runs"][0]["state"] == "finished"
    assert report["remark"] == "Finished after 3 epochs: best dev accuracy 89.0\u00a0% at epoch 1."
    assert cells(report)["best (epoch)"] == "89.0\u00a0% (1)"
    assert cells(report)["left, about"] == "finished"


def test_an_epoch_that_is_not_the_best_says_which_was():
    down = history(until=45, accuracy=lambda epoch: 0.9 - 0.01 * epoch)
    remark = curve_report({"training": down}, {"training": 60})["remark"]
    assert remark.endswith("dev accuracy 88.0\u00a0%; the best was 89.0\u00a0% at epoch 1.")


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 80), st.integers(0, 2**16))
def test_limits_only_grow_while_a_run_goes_on(steps, seed):
    rng = np.random.default_rng(seed)
    losses, levels = rng.lognormal(0, 1, steps + 1), rng.uniform(0.3, 1, steps + 1)
    whole = {
        "loss": lambda step: float(losses[step]),
        "accuracy": lambda epoch: float(levels[epoch]),
    }
    before = None
    for until in range(1, steps + 1):
        seen = history(steps, steps // 2, until=until, **whole)
        axes = curve_report({"training": seen}, {"training": steps}, dev_texts=50)["axes"]
        if before is not None:
            assert axes["loss"]["to"] >= before["loss"]["to"]
            assert axes["step"]["to"] == before["step"]["to"]
            if before["accuracy"]["ticks"][0][1]:
                assert axes["accuracy"]["from"] <= before["accuracy"]["from"]
                assert axes["accuracy"]["to"] >= before["accuracy"]["to"]
        before = axes


def test_what_is_drawn_already_does_not_change_when_more_comes():
    noise = np.random.default_rng(0).normal(0, 0.1, 1001)
    early, late = (
        curve_report(
            {"run": history(1000, 2, until, loss=lambda s: 1 + float(noise[s]))}, {"run": 1000}
        )
        for until in (400, 900)
    )
    for name in ("step", "loss", "smooth", "rate"):
        old, new = early["runs"][0][name], late["runs"][0][name]
        assert new[: len(old)] == old


def test_the_learning_rate_fills_its_strip_from_the_first_step_on():
    """A usual warm-up is foreseen, so the line does not shrink while it rises."""
    first = curve_report({"run": history(1000, 2, until=6)}, {"run": 1000})
    assert first["axes"]["rate"]["ticks"][1] == [1.0, "1e-3"]
    assert max(first["runs"][0]["rate"]) < 0.2
    last = curve_report({"run": history(1000, 2)}, {"run": 1000})
    assert last["axes"]["rate"]["ticks"][1] == [1.0, "1e-3"]
    assert max(last["runs"][0]["rate"]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("dev_texts", [None, 100])
def test_every_point_lies_inside_its_axis(dev_texts):
    seen = history(accuracy=lambda epoch: [0.0, 0.02, 0.5, 1.0][epoch])
    axes = curve_report({"run": seen}, {"run": 60}, dev_texts)["axes"]
    assert (axes["accuracy"]["from"], axes["accuracy"]["to"]) == (0, 1)
    assert axes["loss"]["to"] >= 0.7


def test_points_carry_their_number_where_there_is_room():
    few, many, two = (
        curve_report({"a": history()}),
        curve_report({"a": history(60, 20)}),
        curve_report({"a": history(), "b": history()}),
    )
    assert [one["label"] for one in few["runs"][0]["epochs"]] == ["82.0", "84.0", "86.0"]
    assert [one["label"] for one in many["runs"][0]["epochs"]].count(
        ""
    ) == 19  # the best is the last
    assert not any(one["label"] for run in two["runs"] for one in run["epochs"])


# ── smoothing ──────────────────────────────────────────────────────────────────────────────────


def test_smoothing_is_an_exponential_mean_without_bias():
    step, values = np.arange(1.0, 61), np.random.default_rng(0).normal(size=60)
    mean = plots.smoothed(step, values, 60)
    weights = np.exp(-(step[-1] - step) * 30 / 60)
    assert mean[-1] == pytest.approx((weights * values).sum() / weights.sum())
    assert mean[0] == pytest.approx(values[0])
    assert plots.smoothed(step, np.full(60, 3.0), 60) == pytest.approx(np.full(60, 3.0))


def test_smoothing_leaves_out_what_is_not_a_number():
    values = np.array([math.nan, 1.0, math.inf, 3.0])
    mean = plots.smoothed(np.arange(1.0, 5), values, 4)
    assert math.isnan(mean[0])
    assert mean[1] == mean[2] == pytest.approx(1)
    assert 1 < mean[3] < 3


def test_a_short_run_is_smoothed_too():
    up_and_down = np.array([1.0, 0.0] * 10)
    mean = plots.smoothed(np.arange(1.0, 21), up_and_down, 20)
    assert np.abs(np.diff(mean))[2:].max() < 0.5


# ── what it survives ───────────────────────────────────────────────────────────────────────────


def test_a_loss_that_is_not_a_number_leaves_a_gap_and_is_said():
    seen = history(loss=lambda step: math.nan if step == 7 else math.inf if step == 8 else 0.5)
    report = curve_report({"training": seen}, {"training": 60})
    assert report["runs"][0]["loss"][5:9] == [0.5, None, None, 0.5]
    assert report["runs"][0]["smooth"][7] == 0.5
    assert "2 steps have no finite loss" in report["remark"]
    json.dumps(report, allow_nan=False)
    nothing = curve_report({"training": history(loss=lambda step: math.nan)})
    assert "none that is a number" in nothing["alt"]["loss"]
    json.dumps(nothing, allow_nan=False)


def test_an_accuracy_that_is_not_a_number_is_no_point_and_no_best():
    seen = history(accuracy=lambda epoch: math.nan if epoch == 2 else 0.7)
    report = curve_report({"training": seen}, {"training": 60}, dev_texts=100)
    assert [one["accuracy"] for one in report["runs"][0]["epochs"]] == [0.7, None, 0.7]
    json.dumps(report, allow_nan=False)
    lost = curve_report({"training": history(accuracy=lambda epoch: math.nan)}, {"training": 60})
    assert lost["remark"] == "Finished after 3 epochs."


def test_one_step_is_a_run():
    report = curve_report({"training": history(1, 1)}, {"training": 1})
    assert report["runs"][0]["state"] == "finished"
    assert cells(report)["step"] == "1 of 1"
    first = curve_report({"training": history(60, 3, until=1)}, {"training": 60})
    assert first["runs"][0]["smooth"] == first["runs"][0]["loss"]
    assert cells(first)["left, about"] == "–"


def test_a_hundred_thousand_steps_are_sent_as_a_few_points():
    seen = history(100_000, 500, every=1)
    began = time.perf_counter()
    report = curve_report({"training": seen}, {"training": 100_000})
    assert time.perf_counter() - began < 2
    run = report["runs"][0]
    assert len(run["step"]) == len(run["smooth"]) == POINTS
    assert len(run["epochs"]) <= EPOCHS + 1
    assert len(json.dumps(report)) < 80_000
    assert run["loss"][0] == pytest.approx(0.7, abs=0.01)
    assert run["loss"][-1] == pytest.approx(0.7 / math.e, abs=0.01)
    assert run["ended"] == 500
    assert cells(report)["epoch"] == "500 of 500"


def test_a_history_without_steps_as_a_card_keeps_it_can_be_reported():
    report = curve_report({"training": History(history().rows, epochs=3)})
    assert [one["accuracy"] for one in report["runs"][0]["epochs"]] == [0.82, 0.84, 0.86]
    json.dumps(report, allow_nan=False)


def test_of_a_translator_it_says_exact_match_and_the_epoch_with_the_best_chrf():
    translator = history(accuracy=lambda epoch: 0.4 - 0.1 * epoch)
    translator.chosen_by = "dev_chrf"
    for row in translator.rows:
        row["dev_chrf"] = 50.0 + row["epoch"]
    report = curve_report({"training": translator}, {"training": 60})
    assert report["measured"] == "Dev exact match"
    assert cells(report)["dev exact match"] == "10.0\u00a0%"
    best = "best dev chrF 53.0 and exact match 10.0\u00a0% at epoch 3"
    assert report["remark"] == f"Finished after 3 epochs: {best}."
    assert best.replace("\u00a0", "") in plots.learning_curve(translator).alt
    assert report["alt"]["accuracy"].startswith("Points: dev exact match: ")
    beside = curve_report({"translator": translator, "classifier": history()})
    assert beside["measured"] == "Dev accuracy"  # of several kinds of run, what both have


def test_a_run_that_stopped_early_is_not_called_finished():
    report = curve_report({"training": history(until=40)}, {"training": 60}, stopped=["training"])
    assert report["runs"][0]["state"] == "stopped"
    assert report["remark"] == (
        "Stopped at step 40 of 60; best dev accuracy 84.0\u00a0% at epoch 2."
    )
    assert cells(report)["epoch"] == "2 of 3"


# ── several runs ───────────────────────────────────────────────────────────────────────────────


def test_several_runs_share_axes_and_each_has_its_rate_as_a_share_of_its_own():
    runs = {"lora": history(60, 3), "frozen": history(120, 2, rate=1e-2, until=100)}
    report = curve_report(runs, {"lora": 60, "frozen": 120})
    assert [run["name"] for run in report["runs"]] == ["lora", "frozen"]
    assert report["axes"]["step"]["to"] == 120
    assert report["axes"]["rate"]["ticks"][1] == [1.0, "100 %"]
    assert [max(run["rate"]) for run in report["runs"]] == pytest.approx([1, 1], abs=0.02)
    assert report["remark"].startswith("frozen: epoch 1 of 2 has ended")
    over = curve_report(runs, {"lora": 60, "frozen": 120}, stopped=runs)
    assert over["remark"] == "Best dev accuracy: lora 86.0\u00a0%, frozen 82.0\u00a0% (stopped)."
    assert "lora from 0.69 to" in over["alt"]["loss"]


def test_every_run_has_a_colour_in_light_and_dark_and_pictures_have_the_light_ones():
    css = TrainingCurve._css
    told = re.findall(r"--run-(\d): (#[0-9a-f]{6});", css)
    light, dark = told[:MOST_RUNS], told[MOST_RUNS:]
    assert [colour for _, colour in light] == list(plots.RUN_COLOURS)
    assert [int(number) for number, _ in dark] == list(range(MOST_RUNS))
    assert contrast_is_enough([c for _, c in light], 1.0)
    assert contrast_is_enough([c for _, c in dark], luminance("#111111"))


def luminance(colour):
    shares = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast_is_enough(colours, paper):
    """Whether each can be seen on the paper: 3:1, as WCAG 1.4.11 asks of graphics."""
    return all(
        (max(paper, one) + 0.05) / (min(paper, one) + 0.05) >= 3 for one in map(luminance, colours)
    )


# ── the curve ──────────────────────────────────────────────────────────────────────────────────


def seen(history, steps=60):
    """A run as callbacks see it."""
    return SimpleNamespace(history=history, steps=steps, noted=True)


def wait_until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_five_messages_a_second_at_most_and_the_last_state_always():
    curve, sent = TrainingCurve(), []
    curve.observe(lambda change: sent.append(time.monotonic()), "report")
    whole, so_far = history(240, 3), History(epochs=3)
    began = time.monotonic()
    for row in whole.steps:
        so_far.steps.append(row)
        curve.on_step(seen(so_far, 240))
        time.sleep(0.005)
    so_far.rows.extend(whole.rows)
    curve.on_epoch(seen(so_far, 240))
    wait_until(lambda: curve.report["runs"][0]["state"] == "finished")
    assert len(sent) >= 3, "it did not move"
    assert len(sent) <= 2 + (sent[-1] - began) / live.PAUSE
    assert min(np.diff(sent)) > 0.9 * live.PAUSE


def test_the_first_step_is_sent_at_once():
    curve = TrainingCurve()
    curve.on_step(seen(history(until=1)))
    assert cells(curve.report)["step"] == "1 of 60"


def test_a_resumed_run_begins_with_its_old_points():
    curve = TrainingCurve()
    curve.on_epoch(seen(history(until=20)))
    resumed = history(until=33)  # read from a checkpoint: another object, with what was seen before
    curve.on_epoch(seen(resumed))
    wait_until(lambda: curve.report["runs"][0]["done"] == 33)
    assert len(curve.report["runs"]) == 1
    assert curve.report["runs"][0]["step"][:3] == [1, 2, 3]
    assert curve.report["runs"][0]["state"] == "training"


def test_a_run_is_over_when_the_next_begins():
    curve = TrainingCurve()
    curve.run("lora").on_epoch(seen(history(until=40)))  # out of patience after two epochs
    curve.run("full").on_epoch(seen(history(until=5)))
    wait_until(lambda: len(curve.report["runs"]) == 2)
    assert [run["state"] for run in curve.report["runs"]] == ["stopped", "training"]


def test_with_the_cell_all_its_training_is_over(monkeypatch):
    heard = []
    events = SimpleNamespace(
        register=lambda name, call: heard.append(call), unregister=lambda name, call: None
    )
    monkeypatch.setattr(live, "get_ipython", lambda: SimpleNamespace(events=events))
    curve = TrainingCurve()
    for until in (10, 11, 12):
        curve.on_epoch(seen(history(until=until)))
    assert len(heard) == 1
    heard[0]()
    assert curve.report["runs"][0]["state"] == "stopped"
    assert curve.report["runs"][0]["done"] == 12  # the last state, at once
    curve.on_epoch(seen(history(until=13)))
    assert len(heard) == 2


def test_a_training_in_another_thread_is_watched_too():
    curve = TrainingCurve()
    thread = threading.Thread(target=curve.on_epoch, args=(seen(history(until=9)),))
    thread.start()
    thread.join()
    assert curve.report["runs"][0]["done"] == 9


def test_a_curve_that_cannot_be_drawn_does_not_end_the_training(monkeypatch):
    curve = TrainingCurve()
    curve.on_epoch(seen(History([], [{"step": 1}])))
    assert "Training goes on" in curve.error
    assert "KeyError" in curve.error
    monkeypatch.setattr(curve, "_sent", -math.inf)
    curve.on_epoch(seen(history(until=2)))
    assert curve.error == ""


def test_its_picture_shows_the_same_runs_and_stays():
    curve = TrainingCurve(400)
    curve.run("lora").on_epoch(seen(history()))
    curve.run("full $1").on_epoch(seen(history(until=30)))
    picture = curve.picture()
    assert "lora: over 3 epochs" in picture.alt
    assert "86.0% (95 %: 82.3 to 89.1) at epoch 3" in picture.alt
    assert picture.png().startswith(b"\x89PNG")
    with pytest.raises(AttnlabError, match="history is empty"):
        TrainingCurve().picture()


def test_it_watches_what_finetune_tells(movies):
    few = al.datasets.Splits(movies.train.sample(24), movies.dev.sample(12), movies.test)
    curve = al.TrainingCurve(len(few.dev))
    clf = al.finetune("minilm", few, method="frozen", epochs=2, batch_size=8, callbacks=[curve])
    wait_until(lambda: curve.report["runs"][0]["state"] == "finished")
    run = curve.report["runs"][0]
    assert run["step"] == [1, 2, 3, 4, 5, 6]
    assert [one["accuracy"] for one in run["epochs"]] == pytest.approx(
        [row["dev_accuracy"] for row in clf.history.rows], abs=1e-4
    )
    assert "finished" in repr(curve).lower()


@pytest.mark.parametrize("dev_texts", [0, -1, 2.5, "many"])
def test_a_number_of_texts_that_makes_no_sense_is_refused(dev_texts):
    with pytest.raises(AttnlabError, match=r"such as len\(splits.dev\)"):
        TrainingCurve(dev_texts)


def test_runs_without_a_name_and_more_than_can_be_told_apart_are_refused():
    curve = TrainingCurve()
    with pytest.raises(AttnlabError, match="Give it a text"):
        curve.run("")
    for number in range(MOST_RUNS):
        curve.run(f"run {number}").on_epoch(seen(history(until=2)))
    curve.run("run 0")  # again
    with pytest.raises(AttnlabError, match="has 6 runs already"):
        curve.run("one more")


def test_the_table_has_a_cell_for_every_column():
    assert len(cells(curve_report({"a": history(until=7)}))) == len(COLUMNS)
