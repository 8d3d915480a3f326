"""A full disk, or a process that is killed, while a small model is written: all or nothing."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from each_step import EachStep
from little_space import little_space
from tiny_classifiers import LITTLE, answering, tiny_classifier
from tiny_tokenizers import CORPUS, subword_classifier

import attnlab as al
from attnlab import compression, heads
from attnlab.compression import EarlyExit
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabError, ModelError
from attnlab.training import CHECKPOINT

SMALLER = {
    "untouched": lambda clf: clf,
    "heads": lambda clf: compression.prune_heads(clf, heads_gone=[(0, 1)]),
    "neurons": lambda clf: compression.prune_neurons(clf, keep=[range(9), range(20), range(64)]),
    "layers": lambda clf: compression.prune_layers(clf, keep=[0, 2]),
    "shared layers": lambda clf: compression.share_layers(clf, [[0, 1]]),
    "products": lambda clf: compression.factorize(clf, rank=8),
    "a codebook": lambda clf: compression.share_weights(clf, 4),
    "whole numbers": lambda clf: compression.quantize(clf),
    "zeros": lambda clf: compression.prune_weights(clf, 0.5, by="magnitude"),
}


def exits(clf):
    return EarlyExit(clf, torch.randn(2, 3, 32), torch.zeros(2, 3), threshold=0.5)


def calibrated(clf, out):
    clf.export(out, quantize="int8", calibrate=LITTLE, overwrite=True)


WRITING = {name: lambda clf, out, do=do: do(clf).save(out) for name, do in SMALLER.items()} | {
    "early exits": lambda clf, out: exits(clf).save(out),
    "an export": lambda clf, out: clf.export(out, overwrite=True),
    "an export in int8": lambda clf, out: clf.export(out, quantize="int8", overwrite=True),
    "a calibrated export": calibrated,
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def clf():
    return tiny_classifier("bert")


def refused(clf, place, write, limit):
    """What is said where files cannot grow; what is in the place, old and new, stays as it is."""
    old = tiny_classifier("distilbert").save(place / "out")
    before = contents(old)
    for out in (old, place / "new"):
        with little_space(limit), pytest.raises(ModelError, match=r"File too large.*another place"):
            write(clf, out)
    assert contents(old) == before
    assert [path.name for path in place.iterdir()] == ["out"]


@pytest.mark.parametrize("limit", [100, 6000])  # a configuration still fits, or not even that
@pytest.mark.parametrize("what", WRITING)
def test_a_full_disk_is_said_and_what_was_there_stays(clf, tmp_path, what, limit):
    refused(clf, tmp_path, WRITING[what], limit)


def test_a_full_disk_is_said_of_a_trimmed_vocabulary_and_of_the_copy_of_an_export(tmp_path):
    trimmed = compression.trim_vocabulary(subword_classifier("bert"), CORPUS[:4])
    (tmp_path / "trimmed").mkdir()
    refused(trimmed, tmp_path / "trimmed", lambda clf, out: clf.save(out), 6000)
    exported = al.load_classifier(trimmed.export(tmp_path / "exported"))
    (tmp_path / "copies").mkdir()
    refused(exported, tmp_path / "copies", lambda clf, out: clf.save(out), 6000)


def test_a_disk_that_fills_up_while_distilling_leaves_the_checkpoint_before(tmp_path):
    teacher, data = answering("bert", 72)
    splits = Splits(data.select(range(48)), data.select(range(48, 72)), data)
    student = compression.prune_layers(teacher, keep=[0, 2])
    out, options = tmp_path / "out", {"epochs": 2, "seed": 1}
    limits = []

    def fill(run):
        if run.step == 3:  # of the second epoch; that of the first is on disk
            limits.append(little_space(100))
            limits[0].__enter__()

    with pytest.raises(AttnlabError, match=r"checkpoint\.safetensors cannot be written: File too"):
        try:
            compression.distil(
                teacher, student, splits, out=out, callbacks=[EachStep(fill)], **options
            )
        finally:
            limits[0].__exit__(None, None, None)
    assert [path.name for path in out.iterdir()] == [CHECKPOINT]
    ended = compression.distil(teacher, student, splits, out=out, resume=True, **options)
    wanted = compression.distil(teacher, student, splits, **options)
    for mine, theirs in zip(ended.model.parameters(), wanted.model.parameters(), strict=True):
        assert mine.equal(theirs)


KILLED = """
import os, signal, sys
from attnlab.classification import exporting
from tiny_classifiers import tiny_classifier
exporting.readme = lambda *given: os.kill(os.getpid(), signal.SIGKILL)  # all else is written
tiny_classifier("bert").export(sys.argv[1], quantize="int8", overwrite=True)
"""


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_the_old_model_and_can_be_made_again(clf, tmp_path):
    old = heads.prune(clf, [(0, 0)])
    before = contents(old.save(tmp_path / "out"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out")]
    run = subprocess.run(command, env=environment, capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert contents(tmp_path / "out") == before
    assert heads.removed(al.load_classifier(tmp_path / "out")) == [(0, 0)]
    clf.export(tmp_path / "out", quantize="int8", overwrite=True)
    assert al.load_classifier(tmp_path / "out").dtype == torch.int8
