"""The tuner keeps what helps, rolls back what does not, can be stopped anywhere, and is honest."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_classifiers import answering, damage

import attnlab as al
from attnlab import balance, heads
from attnlab.balance import Tuned, Tuner, retrain, tuner
from attnlab.balance.guard import Guard
from attnlab.balance.knobs import Adjustment
from attnlab.balance.task import Objective
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, DataError, ModelError
from attnlab.training import Interrupted
from attnlab.training import checkpoint as checkpoints

CHANCE = {"random": {"trials": 5}}
QUICK = {"gradient": {"epochs": 3}, "random": {"trials": 5}}


class Untouched:
    """A test part that nobody may look at."""

    def __getattr__(self, name):
        raise AssertionError(f"test.{name} was looked at")


@pytest.fixture(scope="module")
def task():
    """A tiny classifier that answers rightly; its texts in splits; and unused ones."""
    clf, data = answering("bert", count=420)
    parts = [data.select(range(*ends)) for ends in ((0, 100), (100, 340), (340, 420))]
    return clf, Splits(parts[0], parts[1], Untouched()), parts[2]


@pytest.fixture(scope="module")
def tuned(task):
    clf, splits, _ = task
    return Tuner(clf, splits, damage(clf), rounds=3, options=QUICK).run()


def shown(rounds):
    """Rounds without the time they took, to be compared."""
    return [vars(one) | {"seconds": 0} for one in rounds]


# ── what is kept, and what is rolled back ────────────────────────────────────────────────────────


def test_damage_is_made_good_on_texts_that_were_not_tuned_on(task, tuned):
    clf, _, unused = task
    report = tuned.report(unused)
    assert report["name"].tolist() == ["nothing done", "tuned", "random knobs"]
    columns = ["name", "accuracy", "stderr", "delta", "ci_low", "ci_high", "p_value", "loss"]
    assert list(report) == columns
    nothing, best, chance = report.to_dict("records")
    ev = al.Evaluator(clf, unused)
    assert nothing["accuracy"] == ev.score(damage(clf)).accuracy
    assert best["accuracy"] == ev.score(tuned.settings).accuracy
    change = ev.compare(damage(clf), tuned.settings)
    assert (best["delta"], best["ci_low"], best["p_value"]) == pytest.approx(
        (change.delta, change.ci[0], change.p_value)
    )
    assert best["ci_low"] > 0.2
    assert best["accuracy"] > chance["accuracy"]
    assert report.attrs["verdict"].startswith("It paid: accuracy")
    assert "80 test texts" in report.attrs["verdict"]
    assert tuned.verdict.startswith("It paid")
    assert tuned.clf is clf
    assert any(one.accepted for one in tuned.rounds)


def test_the_guard_part_is_a_quarter_of_dev_that_no_knob_is_fitted_to(task, monkeypatch):
    clf, splits, _ = task
    seen = []

    def spied(clf, data, *arguments, **options):
        seen.append(set(data.texts))
        return balance.adjust(clf, data, *arguments, **options)

    monkeypatch.setattr(tuner, "adjust", spied)
    dev = TextDataset(
        [f"{text} {at}" for at, text in enumerate(splits.dev.texts)],
        splits.dev.labels,
        splits.dev.label_names,
        "told apart",
    )
    one = Tuner(clf, Splits(splits.train, dev, Untouched()), rounds=1, options=QUICK)
    one.run()
    assert len(one.guard) == 60
    assert len(one.tune) == 180
    assert len(seen) == 2  # the round, and random knobs to compare
    assert not any(set(one.guard.texts) & texts for texts in seen)
    shares = [np.bincount(part.labels, minlength=3) / len(part) for part in (one.guard, one.tune)]
    assert np.abs(shares[0] - shares[1]).max() < 0.02


def test_a_harmful_adjustment_is_rolled_back(task, monkeypatch):
    clf, splits, _ = task
    harmful = damage(clf)
    monkeypatch.setattr(
        tuner, "adjust", lambda *arguments, **_: Adjustment("gradient", harmful, None, 0.0)
    )
    one = Tuner(clf, splits)
    found = one.run()
    assert [each.accepted for each in found.rounds] == [False, False]
    assert "beyond its interval" in found.rounds[0].why
    assert found.rounds[0].settings == harmful  # what was refused can be seen
    assert found.rounds[0].delta < -0.2
    assert found.settings.is_neutral()
    assert one.guard_now.accuracy == one.guard_before.accuracy
    assert found.verdict.startswith("It did not pay: of 2 steps none")


def test_a_change_within_the_noise_is_rolled_back(task, monkeypatch):
    clf, splits, _ = task
    near = damage(clf, sigma=0.01)
    monkeypatch.setattr(
        tuner, "adjust", lambda *arguments, **_: Adjustment("gradient", near, None, 0.0)
    )
    one = Tuner(clf, splits)
    found = one.run()
    low, high = found.rounds[0].loss_ci
    assert low < high
    assert high >= 0
    assert found.rounds[0].ci[0] < 0 < found.rounds[0].ci[1]
    assert "Not better beyond noise" in found.rounds[0].why
    assert found.settings.is_neutral()


def test_it_stops_when_nothing_is_to_be_gained(task):
    clf, splits, unused = task
    found = Tuner(
        clf, splits, rounds=6, ways=("least-squares", "least-squares"), options=CHANCE
    ).run()
    assert len(found.rounds) == 2
    assert not any(one.accepted for one in found.rounds)
    assert found.settings.is_neutral()
    report = found.report(unused)
    assert report["delta"][1] == 0
    assert report.attrs["verdict"].startswith("It made no sure difference")


def test_gain_and_loss_add_up_over_rounds_of_different_ways(task):
    clf, splits, _ = task
    one = Tuner(clf, splits, damage(clf), ways=("random", "gradient"), rounds=4, options=QUICK)
    seen = []
    while not one.finished:
        one.step()
        seen.append(one.guard_now.accuracy)
    found = one.run()
    assert [each.way for each in found.rounds] == ["random", "gradient", "random", "gradient"]
    now = one.guard_before.accuracy
    for each, after in zip(found.rounds, seen, strict=True):
        assert each.accuracy - each.delta == pytest.approx(now)
        now = each.accuracy if each.accepted else now
        assert after == pytest.approx(now)
        assert each.ci[0] <= each.delta <= each.ci[1]
        assert each.heads_on == 12
        assert 0 < each.balance < 1
        assert each.anomalies >= 0
    assert found.guard["delta"] == pytest.approx(now - one.guard_before.accuracy)
    frame = found.rounds_frame()
    assert len(frame) == 4
    assert {"ci_low", "ci_high", "loss_low", "loss_high"} <= set(frame)
    assert "settings" not in frame


def test_settings_of_ones_own_are_judged_like_all_others(task):
    clf, splits, _ = task
    one = Tuner(clf, splits, damage(clf), options=QUICK)
    assert one.propose(clf.settings()).accepted
    worse = one.propose(damage(clf))
    assert not worse.accepted
    assert worse.way == "by hand"
    assert one.settings.is_neutral()
    assert not one.finished  # rounds by hand do not end a run


def test_small_losses_of_accuracy_do_not_add_up_unseen(task):
    """Each step may be within the noise of the last one; the sum is held against the start."""
    clf, splits, _ = task
    guard = Guard(clf, Tuner(clf, splits).guard, Objective(loss=0.0, heads=1.0))
    start = now = guard.score(clf, clf.settings())
    settings, kept = clf.settings(), 0
    for _ in range(60):
        settings.temperature *= 1.03
        proposed = guard.score(clf, settings)
        accepted, why = guard.judged(start, now, proposed, heads_before=1.0, heads_after=0.9)
        if not accepted:
            break
        now, kept = proposed, kept + 1
    assert kept > 1 and "below that at the start" in why
    assert guard.compare(start, now).ci[1] >= 0


def test_fewer_heads_can_be_the_objective(task):
    clf, splits, _ = task
    found = Tuner(
        clf,
        splits,
        ways=("greedy",),
        objective=Objective(loss=0.01, heads=1),
        rounds=1,
        options={"greedy": {"most": 2}} | CHANCE,
    ).run()
    assert found.rounds[0].heads_on < 12
    kept = found.rounds[0].accepted
    assert kept == (found.rounds[0].ci[1] >= 0)
    assert (found.settings.scale == 0).any() == kept


@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_other_families_with_heads_removed_are_tuned(family):
    clf, data = answering(family, count=300)
    smaller = heads.prune(clf, [(0, 1), (1, 2)])
    splits = Splits(data, data.select(range(260)), Untouched())
    found = Tuner(
        smaller, splits, damage(clf), rounds=1, options={**QUICK, "gradient": {"epochs": 6}}
    ).run()
    assert found.rounds[0].accepted
    assert found.rounds[0].heads_on == 10


# ── retraining ───────────────────────────────────────────────────────────────────────────────────


def test_retraining_learns_with_the_settings_in_force_and_leaves_the_model_given(task):
    clf, splits, unused = task
    before = {name: one.clone() for name, one in clf.model.state_dict().items()}
    start = damage(clf, sigma=1.0)
    found = retrain(clf, splits.train, splits.dev, start, epochs=5, learning_rate=1e-4)
    assert all(torch.equal(one, before[name]) for name, one in clf.model.state_dict().items())
    one, two = (al.Evaluator(each, unused).score(start).loss for each in (clf, found))
    assert two < 0.5 * one
    words = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(found.model.state_dict()[words], before[words])
    assert all(one.requires_grad for one in found.model.parameters())


@pytest.fixture(scope="module")
def retrained(task):
    clf, splits, _ = task
    return _with_retraining(clf, splits).run()


def _with_retraining(clf, splits, out=None, **more):
    recipe = {"texts": 96, "epochs": 5, "learning_rate": 1e-4}
    start = damage(clf, sigma=1.0)
    options = {"ways": ("random",), "options": CHANCE, "rounds": 2, "seed": 2}
    return Tuner(clf, splits, start, retrain=recipe, out=out, **options, **more)


def test_retraining_with_nothing_but_its_defaults_is_a_plan(task):
    clf, splits, _ = task
    assert Tuner(clf, splits, damage(clf), ways=[], retrain={}, rounds=1).plan.retrain == {}
    with pytest.raises(al.AttnlabError, match="give a list of ways, or retrain"):
        Tuner(clf, splits, damage(clf), ways=[], rounds=1)


def test_the_same_retraining_without_tuning_is_in_the_report(task, retrained):
    clf, _, unused = task
    assert [one.retrained for one in retrained.rounds] == [False, True]
    assert retrained.rounds[1].accepted
    assert retrained.clf is not clf
    report = retrained.report(unused)
    assert report["name"].tolist()[-1] == "retrained only"
    score = al.Evaluator(retrained.alone, unused).score(damage(clf, sigma=1.0))
    assert report["accuracy"].iloc[-1] == score.accuracy


# ── stopping and going on ────────────────────────────────────────────────────────────────────────


def test_a_run_stopped_between_rounds_and_in_a_retraining_ends_as_if_it_never_had_been(
    task, retrained, tmp_path, monkeypatch
):
    clf, splits, _ = task

    _with_retraining(clf, splits, tmp_path).step()
    one = _with_retraining(clf, splits, tmp_path)
    assert len(one.rounds) == 1
    told = []

    def stop_in_training(step, steps, text=""):
        told.append(text)
        if text and step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(one, "_progress", stop_in_training)
    with pytest.raises(Interrupted, match="made anew, goes on from there"):
        one.run()
    assert told[-1]
    assert len(list((tmp_path / "weights").glob("retraining-2/*"))) == 1

    found = _with_retraining(clf, splits, tmp_path).run()
    assert shown(found.rounds) == shown(retrained.rounds)
    assert found.settings == retrained.settings
    assert found.random == retrained.random
    for mine, theirs in ((found.clf, retrained.clf), (found.alone, retrained.alone)):
        other = theirs.model.state_dict()
        assert all(torch.equal(one, other[name]) for name, one in mine.model.state_dict().items())
    left = sorted(one.name for one in (tmp_path / "weights").iterdir())
    assert left == ["alone-after-1", "model-after-1"]

    again = _with_retraining(clf, splits, tmp_path)  # a finished run is read, not made again
    monkeypatch.setattr(tuner, "adjust", None)
    assert shown(again.run().rounds) == shown(retrained.rounds)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.thorough
def test_a_run_that_was_killed_goes_on_to_the_same_end(task, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from test_tuner import QUICK, Splits, Tuner, Untouched, answering, damage\n"
        "clf, data = answering('bert', count=420)\n"
        "splits = Splits(data.select(range(100)), data.select(range(100, 340)), Untouched())\n"
        "Tuner(clf, splits, damage(clf), rounds=2, options=QUICK, out=sys.argv[1]).step()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, str(tmp_path)]
    run = subprocess.run(command, cwd=Path(__file__).parent, env=environment, timeout=240)
    assert run.returncode == -signal.SIGKILL
    clf, splits, _ = task
    options = {"rounds": 2, "options": QUICK}
    one = Tuner(clf, splits, damage(clf), out=tmp_path, **options)
    assert len(one.rounds) == 1
    found, wanted = one.run(), Tuner(clf, splits, damage(clf), **options).run()
    assert torch.allclose(found.settings.scale, wanted.settings.scale, rtol=1e-3)
    assert [each.accepted for each in found.rounds] == [each.accepted for each in wanted.rounds]


def test_a_folder_of_another_run_is_refused(task, tmp_path):
    clf, splits, _ = task
    options = {"rounds": 1, "options": QUICK, "out": tmp_path}
    Tuner(clf, splits, damage(clf), **options).run()
    with pytest.raises(AttnlabError, match="differs in start, seed"):
        Tuner(clf, splits, seed=4, **options)
    other = clf.with_model(retrain(clf, splits.train, splits.dev, texts=32).model)
    with pytest.raises(AttnlabError, match="differs in weights"):
        Tuner(other, splits, damage(clf), **options)


def test_a_run_in_another_thread_can_be_stopped(task, monkeypatch):
    clf, splits, _ = task
    one = Tuner(clf, splits, damage(clf), options=QUICK)
    monkeypatch.setattr(one, "_save", one.stop)  # at the end of a round
    with pytest.raises(Interrupted, match=r"Stopped in round 2: gradient, step 1 of 18\. Call run"):
        one.run()
    assert len(one.rounds) == 1
    monkeypatch.undo()
    assert len(one.run().rounds) > 1


# ── saving ───────────────────────────────────────────────────────────────────────────────────────


def test_what_was_tuned_is_saved_and_read_again(task, tuned, retrained, tmp_path):
    _, _, unused = task
    for at, one in enumerate((tuned, retrained, tuned)):  # the last takes the place of the second
        folder = tmp_path / str(min(at, 1))
        one.save(folder)
        again = Tuned.load(folder)
        assert shown(again.rounds) == shown(one.rounds)
        assert (again.settings, again.start, again.random) == (one.settings, one.start, one.random)
        assert (again.guard, again.verdict) == (one.guard, one.verdict)
        assert again.report(unused).equals(one.report(unused))
    assert not (tmp_path / "1" / "alone").exists()


def test_saving_is_whole_or_not_at_all(tuned, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError("disk full")

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(AttnlabError, match="holds other files"):
        tuned.save(tmp_path / "mine")
    with pytest.raises(AttnlabError, match=r"has no tuned\.json"):
        Tuned.load(tmp_path / "mine")
    tuned.save(tmp_path / "kept")
    monkeypatch.setattr("attnlab.balance.tuned.atomic_write", fails)
    for name in ("new", "kept"):
        with pytest.raises(OSError, match="disk full"):
            tuned.save(tmp_path / name)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "mine"]
    assert Tuned.load(tmp_path / "kept").settings == tuned.settings


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ways": ("gradiant",)}, "Did you mean 'gradient'"),
        ({"ways": ()}, "give a list of ways"),
        ({"rounds": 0}, "at least 1 round"),
        ({"options": {"optuna": {}}}, "which is none of"),
    ],
)
def test_a_tuner_without_sense_is_refused(task, options, words):
    clf, splits, _ = task
    with pytest.raises(AttnlabError, match=words):
        Tuner(clf, splits, **options)


def test_data_that_cannot_be_tuned_on_is_refused(task):
    clf, splits, _ = task
    few = dataclasses.replace(splits, dev=splits.dev.select(range(10)))
    with pytest.raises(DataError, match="at least 16"):
        Tuner(clf, few)
    with pytest.raises(DataError, match="no training texts"):
        Tuner(
            clf,
            dataclasses.replace(splits, train=splits.train.select([]), test=few.dev),
            retrain={},
        )
    with pytest.raises(DataError, match="needs labelled texts in train"):
        retrain(clf, splits.train.select([]), splits.dev)
    off = clf.settings()
    off.scale[:] = 0
    with pytest.raises(ModelError, match="off or was removed"):
        Tuner(clf, splits, off).run()
