"""The tuner keeps what other texts confirm, takes back what they do not, and says which it was."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from test_knobs import answering, damage

import attnlab as al
from attnlab.balance import Objective, Tuned, Tuner, measure
from attnlab.datasets import Splits
from attnlab.errors import AttnlabError, DataError, SettingsError
from attnlab.training import Interrupted

QUICK = {"gradient": {"epochs": 3}, "random": {"trials": 3}}


def parts(data):
    return Splits(
        data.select(range(0, 60)), data.select(range(60, 180)), data.select(range(180, 240))
    )


@pytest.fixture(scope="module")
def task():
    clf, data = answering("bert")
    return clf, parts(data)


@pytest.fixture(scope="module")
def mended(task):
    clf, splits = task
    return Tuner(clf, splits, damage(clf), rounds=2, options=QUICK)


@pytest.fixture(scope="module")
def tuned(mended):
    return mended.run()


def same(one, other):
    """Whether two rounds say the same, but for the time they took."""
    return {**vars(one), "seconds": 0} == {**vars(other), "seconds": 0}


def test_damage_is_mended_and_the_report_on_test_says_so(task, tuned):
    clf, splits = task
    assert tuned.rounds[0].accepted and tuned.clf is clf
    assert tuned.verdict.startswith("It paid: accuracy")
    report = tuned.report(splits.test).set_index("name")
    assert list(report.index) == ["nothing done", "tuned", "random knobs"]
    ev = al.Evaluator(clf, splits.test)
    for name, settings in (("nothing done", tuned.start), ("tuned", tuned.settings)):
        assert report.loc[name, "accuracy"] == ev.score(settings).accuracy
    change = ev.compare(tuned.start, tuned.settings)
    assert report.loc["tuned", "delta"] == pytest.approx(change.delta)
    assert tuple(report.loc["tuned", ["ci_low", "ci_high"]]) == pytest.approx(change.ci)
    assert report.loc["tuned", "accuracy"] > report.loc["nothing done", "accuracy"] + 0.15
    assert report.loc["tuned", "accuracy"] > report.loc["random knobs", "accuracy"]


def test_each_round_is_written_down_as_it_was_measured(task, mended, tuned):
    clf, _ = task
    first = tuned.rounds[0]
    score = al.Evaluator(clf, mended.guard).score(first.settings)
    assert (first.accuracy, first.loss) == (score.accuracy, score.loss)
    assert first.delta == pytest.approx(score.accuracy - mended.guard_before.accuracy)
    even = measure(clf, mended.guard.texts, first.settings).overall
    assert first.balance == pytest.approx(even, abs=1e-6)
    assert first.heads_on == 12
    frame = tuned.rounds_frame()
    assert list(frame["number"]) == [1, 2]
    assert (frame["ci_low"] <= frame["delta"]).all() and (frame["delta"] <= frame["ci_high"]).all()


def test_the_guard_part_has_no_text_in_common_with_the_part_that_is_tuned_on(task, mended):
    _, splits = task
    tune, guard = set(mended.tune.texts), set(mended.guard.texts)
    assert not tune & guard and tune | guard == set(splits.dev.texts)
    assert len(mended.guard) == pytest.approx(len(splits.dev) / 4, abs=2)


def test_a_model_with_nothing_to_gain_is_left_as_it_was(task):
    """Its texts are labelled with its own answers: nothing can be better."""
    clf, splits = task
    tuner = Tuner(clf, splits, rounds=4, options=QUICK)
    tuned = tuner.run()
    assert not any(one.accepted for one in tuned.rounds)
    assert len(tuned.rounds) == 2  # two in a row brought nothing
    assert tuned.settings == clf.settings() and tuned.verdict.startswith("It did not pay")
    assert tuned.guard["delta"] == 0


def test_a_proposal_that_harms_is_rolled_back_and_the_next_starts_from_what_is_kept(task):
    clf, splits = task
    tuner = Tuner(clf, splits, damage(clf), rounds=3, options=QUICK)
    better = tuner.propose(clf.settings())
    assert better.accepted and better.way == "by hand" and tuner.settings == clf.settings()
    silent = clf.settings()
    silent.scale[:] = 0
    worse = tuner.propose(silent)
    assert not worse.accepted and "below that before the step" in worse.why
    assert tuner.settings == clf.settings() and worse.delta < 0
    again = tuner.propose(clf.settings())
    assert not again.accepted and again.why == "Nothing was changed."
    assert not tuner.finished  # rounds by hand do not count
    with pytest.raises(SettingsError):
        tuner.propose(al.HeadSettings(2, 2))


def test_small_losses_do_not_add_up_unseen(task):
    """A step may not be worse than the start beyond noise, however little it is below the last one."""
    clf, splits = task
    tuner = Tuner(clf, splits, objective=Objective(loss=0.0, heads=1.0))
    refused, settings = None, clf.settings()
    for place in range(12):
        settings.scale.view(-1)[place] = 0
        refused = tuner.propose(settings.copy())
        if not refused.accepted:
            break
    assert not refused.accepted
    kept = tuner._guard.compare(tuner.guard_before, tuner.guard_now)
    assert kept.ci[1] >= 0


def test_heads_as_the_objective_takes_heads_away_within_the_guard(task):
    clf, splits = task
    objective = Objective(loss=0.1, heads=3.0)
    options = {"greedy": {"most": 3, "candidates": 2}, "random": {"trials": 2}}
    tuned = Tuner(
        clf, splits, ways=["greedy"], objective=objective, rounds=1, options=options
    ).run()
    (only,) = tuned.rounds
    assert only.heads_on < 12
    assert only.accepted == bool((tuned.settings.scale == 0).any())


def test_retraining_is_a_round_of_its_own_beside_the_same_without_tuning(task):
    clf, splits = task
    before = {name: one.clone() for name, one in clf.model.state_dict().items()}
    plan = {"texts": 60, "learning_rate": 1e-3, "epochs": 4}
    tuned = Tuner(
        clf, splits, damage(clf), retrain=plan, rounds=2, options=QUICK, objective=Objective(1.0)
    ).run()
    assert [one.way for one in tuned.rounds] == ["gradient", "retrain"]
    assert [one.retrained for one in tuned.rounds] == [False, True]
    after = clf.model.state_dict()
    assert all(torch.equal(one, after[name]) for name, one in before.items())
    names = list(tuned.report(splits.test)["name"])
    assert ("retrained only" in names) == tuned.rounds[1].accepted == (tuned.clf is not clf)


def test_what_was_tuned_is_saved_and_loaded_whole(tuned, task, tmp_path):
    clf, splits = task
    again = Tuned.load(tuned.save(tmp_path / "tuned"))
    assert again.settings == tuned.settings and again.start == tuned.start
    assert again.verdict == tuned.verdict
    assert all(same(one, other) for one, other in zip(again.rounds, tuned.rounds, strict=True))
    one, other = (each.report(splits.test) for each in (tuned, again))
    assert np.allclose(one["accuracy"], other["accuracy"])
    tuned.save(tmp_path / "tuned")  # in its own place
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(AttnlabError, match="other files"):
        tuned.save(tmp_path / "full")
    with pytest.raises(AttnlabError, match=r"Tuned\.save"):
        Tuned.load(tmp_path / "full")


def test_a_run_that_was_stopped_goes_on_to_the_same_end(task, tuned, tmp_path):
    clf, splits = task

    def stop(tuner):
        tuner.stop()

    first = Tuner(clf, splits, damage(clf), rounds=2, options=QUICK, out=tmp_path, watch=stop)
    with pytest.raises(Interrupted, match="goes on from there"):
        first.run()
    assert len(first.rounds) == 1
    second = Tuner(clf, splits, damage(clf), rounds=2, options=QUICK, out=tmp_path)
    assert len(second.rounds) == 1
    result = second.run()
    assert result.settings == tuned.settings
    assert all(same(one, other) for one, other in zip(result.rounds, tuned.rounds, strict=True))
    with pytest.raises(AttnlabError, match="differs in start"):
        Tuner(clf, splits, rounds=2, options=QUICK, out=tmp_path)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_run_that_was_killed_goes_on_to_the_same_end(tuned, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from test_tuner import QUICK, answering, damage, parts\n"
        "from attnlab.balance import Tuner\n"
        "clf, data = answering('bert')\n"
        "def kill(tuner): os.kill(os.getpid(), signal.SIGKILL)\n"
        "Tuner(clf, parts(data), damage(clf), rounds=2, options=QUICK, out=sys.argv[1], watch=kill).run()\n"
    )
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=here, env=environment, timeout=240
    )
    assert run.returncode == -signal.SIGKILL
    clf, data = answering("bert")
    tuner = Tuner(clf, parts(data), damage(clf), rounds=2, options=QUICK, out=tmp_path)
    assert len(tuner.rounds) == 1
    assert torch.allclose(tuner.run().settings.scale, tuned.settings.scale, rtol=1e-3)


def test_a_run_in_another_thread_can_be_stopped_and_watched(task):
    clf, splits = task
    seen, stopped = [], []
    options = {"gradient": {"epochs": 200}, "random": {"trials": 2}}
    tuner = Tuner(clf, splits, damage(clf), options=options, watch=seen.append)

    def run():
        try:
            tuner.run()
        except Interrupted as error:
            stopped.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    while "step" not in tuner.doing:
        pass
    tuner.stop()
    thread.join(60)
    assert not thread.is_alive() and stopped and not seen
    assert stopped[0].endswith("Call run() again to go on.")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ways": ["gradeint"]}, "gradient"),
        ({"ways": "gradient"}, "a list of ways"),
        ({"ways": []}, "a list of ways"),
        ({"rounds": 0}, "at least 1 round"),
        ({"options": {"greedy": {}}}, "none of"),
    ],
)
def test_a_plan_without_sense_is_refused(task, options, words):
    clf, splits = task
    with pytest.raises(AttnlabError, match=words):
        Tuner(clf, splits, **options)


def test_too_few_texts_are_refused(task):
    clf, splits = task
    few = Splits(splits.train.select([]), splits.dev.select(range(12)), splits.test)
    with pytest.raises(DataError):
        Tuner(clf, few)
    none = Splits(splits.train.select([]), splits.dev, splits.test)
    with pytest.raises(DataError, match="no training texts"):
        Tuner(clf, none, retrain={})
