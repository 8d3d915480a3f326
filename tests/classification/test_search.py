"""A search tries recipes within its time, keeps them, goes on with them, and leaves test alone."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from each_step import EachStep

from attnlab.classification.hyperparameters import search
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabError, DataError


@pytest.fixture(scope="module")
def little(movies):
    class Untouched:
        """A test part that nobody may look at."""

        def __getattr__(self, name):
            raise AssertionError(f"test.{name} was looked at")

    return Splits(movies.train.sample(64), movies.dev.sample(24), Untouched())


def test_a_search_keeps_its_trials_goes_on_and_names_the_best(little, tmp_path):
    options = {"texts": 48, "epochs": 1, "folder": tmp_path, "methods": ["frozen"]}
    first = search(little, most_trials=2, **options)
    assert len(first.trials) == 2
    again = search(little, most_trials=2, **options)
    assert again.trials["number"].tolist() == [0, 1, 2, 3]
    assert again.trials["learning_rate"].nunique() > 1
    assert again.trials["learning_rate"].between(1e-3, 1e-1).all()
    best = again.trials.loc[again.trials["dev_accuracy"].idxmax()]
    assert again.dev_accuracy == best["dev_accuracy"] == again.trials["dev_accuracy"].max()
    assert again.best == {name: best[name] for name in ("method", "learning_rate", "batch_size")}
    assert "4 trials" in repr(again)
    with pytest.raises(AttnlabError, match=r"another one: texts was 48, is 64"):
        search(little, most_trials=1, **options | {"texts": 64})
    turned = replace(little, train=little.train.select(range(63, -1, -1)))
    with pytest.raises(AttnlabError, match=r"another one: training_texts was"):
        search(turned, most_trials=1, **options)


def test_data_that_nothing_can_learn_is_refused_before_the_first_trial(little):
    alone = little.train.select([row for row, label in enumerate(little.train.labels) if label])
    with pytest.raises(DataError, match=r"All .* training texts have the label"):
        search(Splits(alone, little.dev, little.test), minutes=10, methods=["frozen"])


def test_the_same_seed_tries_the_same(little):
    one, two = (
        search(little, most_trials=2, texts=16, epochs=1, methods=["frozen", "lora"], seed=3)
        for _ in range(2)
    )
    columns = ["method", "learning_rate", "batch_size", "dev_accuracy"]
    assert one.trials[columns].equals(two.trials[columns])


def test_no_trial_begins_after_its_time_and_ctrl_c_keeps_what_was_found(little):
    found = search(little, minutes=0.02, texts=16, epochs=1, methods=["frozen"])
    assert 1 <= len(found.trials) < 40

    seen = []

    def ctrl_c(run):
        seen.append(run.step)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    found = search(little, texts=16, epochs=1, methods=["frozen"], callbacks=[EachStep(ctrl_c)])
    assert found.trials["state"].tolist()[-1] == "pruned"
    assert found.trials["state"].tolist()[0] == "complete"


def test_a_trial_that_fails_does_not_end_the_search(little, monkeypatch):
    from attnlab.classification import hyperparameters as module

    real, calls = module.finetune, []

    def failing(*arguments, **options):
        calls.append(options)
        if len(calls) == 1:
            raise AttnlabError("The loss is nan")
        return real(*arguments, **options)

    monkeypatch.setattr(module, "finetune", failing)
    found = search(little, most_trials=2, texts=16, epochs=1, methods=["frozen"])
    assert found.trials["state"].tolist() == ["fail", "complete"]
    monkeypatch.setattr(
        module, "finetune", lambda *a, **k: (_ for _ in ()).throw(AttnlabError("nan"))
    )
    with pytest.raises(AttnlabError, match="No trial came to an end"):
        search(little, most_trials=1, texts=16, epochs=1, methods=["frozen"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": ["lorra"]}, "Did you mean 'lora'"),
        ({"methods": []}, "both are needed"),
        ({"minutes": 0}, "both are needed"),
    ],
)
def test_a_search_without_sense_is_refused(little, options, words):
    with pytest.raises(AttnlabError, match=words):
        search(little, **options)


@pytest.mark.thorough
def test_on_the_command_line_it_prints_how_to_train_with_the_best(tmp_path, movies):
    few = movies.train.sample(60).to_frame()[["text", "label"]]
    few.to_csv(tmp_path / "mine.csv", index=False)
    command = [sys.executable, "-m", "attnlab", "search", "mine.csv", "--out", "found"]
    command += ["--minutes", "0.1", "--methods", "frozen", "--epochs", "1"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr
    assert "attnlab finetune mine.csv --method frozen --learning-rate" in run.stdout
    assert (tmp_path / "found" / "search.log").exists()
