"""`attnlab compress`: as the functions by hand; what cannot be is refused before the work."""

import errno
import functools
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_classifiers import its_own_answers, tiny_classifier
from tiny_tokenizers import CORPUS, subword_classifier

import attnlab as al
from attnlab import compression, datasets
from attnlab.classification import exporting
from attnlab.cli import main
from attnlab.training import CHECKPOINT

EVERYTHING = ["--layers", "0,2", "--heads", "0.25", "--neurons", "0.5", "--trim", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a classifier, and a file of texts that it answers rightly."""
    folder = tmp_path_factory.mktemp("compress")
    clf, generator = subword_classifier("bert"), np.random.default_rng(0)
    words = " ".join(CORPUS[:8]).split()
    texts = [" ".join(generator.choice(words, generator.integers(3, 9))) for _ in range(240)]
    its_own_answers(clf, texts).to_frame().to_csv(folder / "mine.csv", index=False)
    clf.save(folder / "whole")
    return folder


@pytest.fixture
def compress(place, tmp_path, monkeypatch, capsys):
    """Type the command where model and texts are; what it prints, and its errors."""
    monkeypatch.chdir(place)
    few_rounds = functools.partial(compression.compare, repeats=3)
    monkeypatch.setattr(compression, "compare", few_rounds)  # times are not looked at

    def typed(*options, out=tmp_path / "out", model="whole", data="mine.csv", code=0):
        with pytest.raises(SystemExit) as end:
            main(["compress", str(model), "--data", str(data), "--out", str(out), *options])
        said = capsys.readouterr()
        assert (end.value.code or 0) == code, said.err
        return said.out if code == 0 else said.err

    return typed


def by_hand(clf, splits):
    """What EVERYTHING asks for, in Python."""
    some = splits.train.sample(500, 0)
    small = compression.prune_layers(clf, keep=[0, 2])
    small = compression.prune_heads(small, 0.25, data=some, repair=some.texts)
    small = compression.prune_neurons(small, 0.5, data=some, repair=some.texts)
    return compression.trim_vocabulary(small, splits.train.texts)


def same(one, other, texts):
    ours, theirs = (clf.predict(texts).probabilities for clf in (one, other))
    return np.allclose(ours, theirs, atol=1e-6)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


# --- the chain -----------------------------------------------------------------------------------


def test_the_result_is_that_of_the_functions_and_the_table_compares_both(compress, place, tmp_path):
    clf = al.load_classifier(place / "whole")
    splits = datasets.split(datasets.from_csv(place / "mine.csv"))
    said = compress(*EVERYTHING, "--no-distil")
    small, wanted = al.load_classifier(tmp_path / "out"), by_hand(clf, splits)
    assert same(small, wanted, splits.dev.texts)
    assert compression.steps(small) == compression.steps(wanted)
    rows = {line.split()[0]: line for line in said.splitlines() if line[:6] in ("before", "after ")}
    for name, one in (("before", clf), ("after", small)):
        accuracy = al.Evaluator(one, splits.dev).score().accuracy
        assert f"{accuracy:.1%}" in rows[name]
        assert f"{one.parameters():,}" in rows[name]
    assert re.search(r"% +\S+ \(\S+ to \S+\) ", rows["after"])
    assert f"{len(splits.dev)} dev texts" in said
    assert left_in(tmp_path) == ["out"]


def test_how_many_layers_stay_may_be_said_and_those_that_matter_most_do(compress, place, tmp_path):
    clf = al.load_classifier(place / "whole")
    some = datasets.split(datasets.from_csv(place / "mine.csv")).train.sample(500, 0)
    compress("--layers", "2", "--no-distil")
    wanted = compression.prune_layers(clf, 1, data=some)
    assert compression.steps(al.load_classifier(tmp_path / "out")) == compression.steps(wanted)


def test_what_is_left_learns_from_the_model_and_is_exported(compress, place, tmp_path):
    said = compress(*EVERYTHING, "--epochs", "2", "--seed", "3", "--quantize", "int8")
    small = al.load_classifier(tmp_path / "out")
    steps = small.card["steps"]
    assert [step["step"] for step in steps][-2:] == ["trim_vocabulary", "distil"]
    assert steps[-1] == {
        "step": "distil",
        "learned_from": ["labels", "logits"],
        "epochs": 2,
        "seed": 3,
    }
    assert small.dtype == torch.int8
    assert "dev also chose the epoch" in said
    assert CHECKPOINT not in left_in(tmp_path / "out")
    again = compress("--layers", "0,1", "--no-distil", code=1)
    assert "--overwrite" in again
    compress("--layers", "0,1", "--no-distil", "--overwrite")
    assert not hasattr(al.load_classifier(tmp_path / "out"), "card")


def test_where_only_unused_pieces_go_nothing_is_learned_unless_asked_for(compress, tmp_path):
    compress("--trim", "1")
    steps = compression.steps(al.load_classifier(tmp_path / "out"))
    assert [step["step"] for step in steps] == ["trim_vocabulary"]
    compress("--trim", "1", "--distil", "--epochs", "1", "--overwrite")
    steps = compression.steps(al.load_classifier(tmp_path / "out"))
    assert [step["step"] for step in steps] == ["trim_vocabulary", "distil"]


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--layers 0,2,5 keeps .* --heads 0.25 .* --neurons 0.5 .* --trim 1 .*attnlab export"),
        (["--quantize", "int8"], "Say what is to go"),
        (["--heads", "1.5"], "--heads 1.5 is out of range: it is a share, from 0 to 1"),
        (["--heads", "nan"], "--heads nan is out of range"),
        (["--neurons", "1"], "--neurons 1.0 is out of range.*something must stay"),
        (["--neurons", "-0.1"], "--neurons -0.1 is out of range"),
        (["--layers", "0,2,3"], "--layers 0,2,3: expected the layers that stay from 0 to 2"),
        (["--layers", "2,0"], "each once, in order"),
        (["--layers", "0,0"], "each once, in order"),
        (["--layers", "0,x"], "such as 0,2,5"),
        (["--layers", ""], "such as 0,2,5"),
        (["--layers", "0"], "how many stay"),
        (["--layers", "4"], "or how many stay, from 1 to 3"),
        (["--heads", "0.5", "--quantize", "int9"], "--quantize int9 is not known"),
        (["--heads", "0.5", "--resume"], "to go on from. Leave --resume out"),
        (["--heads", "0.5", "--resume", "--no-distil"], "Nothing is distilled.*--resume"),
    ],
)
def test_wishes_that_cannot_be_are_refused_in_words_that_can_be_typed(
    compress, tmp_path, options, words
):
    said = compress(*options, code=1)
    assert re.search(words, " ".join(said.split()))
    assert left_in(tmp_path) == []


def test_models_and_texts_that_do_not_go_together_are_refused(compress, place, tmp_path):
    some = ["--layers", "0,1"]
    assert "no folder of that name" in compress(*some, model="runs/none", code=1)
    assert "'positive' is not among them" in compress(*some, data="movie-sentiment", code=1)
    assert "take the place of whole" in compress(*some, out="whole", code=1)
    (place / "one.csv").write_text("text,label\n" + "".join(f"film {n},bad\n" for n in range(60)))
    assert "have the label 'bad'" in compress(*some, data="one.csv", code=1)
    albert = subword_classifier("albert").save(tmp_path / "models" / "albert")
    assert "layers" in compress(*some, model=albert, code=1)
    words = tiny_classifier("bert").save(tmp_path / "models" / "words")
    assert "cannot be trimmed" in compress("--trim", "1", model=words, code=1)
    exported = al.load_classifier(place / "whole").export(tmp_path / "models" / "exported")
    assert "no PyTorch weights" in compress(*some, model=exported, code=1)
    assert left_in(tmp_path) == ["models"]


def test_a_disk_that_is_full_at_the_end_costs_no_training(compress, tmp_path, monkeypatch):
    command = ["--layers", "0,2", "--epochs", "2", "--quantize", "int8"]
    with monkeypatch.context() as patch:

        def full(*args):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(exporting, "write_graph", full)
        assert "No space left" in compress(*command, code=1)
    assert left_in(tmp_path / "out") == [CHECKPOINT]
    assert "--resume" in compress(*command, code=1)
    monkeypatch.setattr("attnlab.training.loop._step", None)  # no step is taken again
    compress(*command, "--resume")
    monkeypatch.undo()
    assert CHECKPOINT not in left_in(tmp_path / "out")


KILLED = """
import os, signal, sys
from attnlab.cli import main
from attnlab.training.checkpoint import Checkpoint
def kill(self, run):
    if run.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoint.save_now_and_then = kill
main(sys.argv[1:])
"""


@pytest.mark.thorough
def test_a_command_that_is_killed_goes_on_to_the_same_result(compress, place, tmp_path):
    command = [*EVERYTHING, "--epochs", "2"]
    typed = ["compress", "whole", "--data", "mine.csv", "--out", str(tmp_path / "out"), *command]
    run = subprocess.run([sys.executable, "-c", KILLED, *typed], cwd=place, capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert left_in(tmp_path / "out") == [CHECKPOINT]
    assert "unfinished run" in compress(*command, code=1)
    assert "another one" in compress(*command, "--seed", "5", "--resume", code=1)
    compress(*command, "--resume")
    compress(*command, out=tmp_path / "whole")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole")]
    assert weights[0] == weights[1]
