"""The Recorder: what it notes while a model trains, without disturbing it, and through a kill."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_classifiers import LITTLE, random_settings, tiny_classifier, words_to_ids
from tiny_models import tiny
from transformers import Trainer, TrainerCallback, TrainingArguments

import attnlab as al
from attnlab import balance, heads
from attnlab.balance.recorder import Recorder
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabError, DataError, ModelError

HERE = Path(__file__).parent
PROBE = LITTLE
TEXTS = ["A dull film.", "Fine and funny, all of it."]


def learn(clf, rows=6, settings=None):
    """One backward pass over arbitrary tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 20, (rows, 9), generator=generator)
    clf.model.zero_grad()
    control = heads.keywords(clf.model, settings) if settings else {}
    labels = torch.arange(rows) % clf.model.config.num_labels
    clf.model(
        input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, **control
    ).loss.backward()


def recorded(clf, step=0, **options):
    recorder = Recorder(PROBE, **options)
    recorder(clf, step)
    return recorder.table.pivot(index=["layer", "head"], columns="measure", values="value")


# ── what is recorded ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "albert-shared"])
def test_the_table_is_what_the_meter_reads_and_the_gradient_of_each_heads_own_weights(family):
    clf = tiny_classifier(family)
    learn(clf)
    wide = recorded(clf)
    read = balance.measure(clf, PROBE)
    by_weights = read.wide().set_index(["layer", "head"])
    by_contributions = read.wide(by="contributions").set_index(["layer", "head"])
    assert set(wide) == {*by_weights, "contribution", "gradient"}
    for name in by_weights:
        np.testing.assert_allclose(wide[name], by_weights[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(wide["contribution"], by_contributions["contribution"], rtol=1e-6)
    for layer, site in enumerate(heads.sites(clf.model)):
        width = 32 // clf.heads
        for head in range(clf.heads):
            own = slice(head * width, (head + 1) * width)
            parts = [site.output.weight.grad[:, own]]
            for name in (site.query, site.key, site.value):
                linear = getattr(site.module, name)
                parts += [linear.weight.grad[own], linear.bias.grad[own]]
            expected = torch.cat([one.flatten() for one in parts]).norm()
            assert wide["gradient"][layer, head] == pytest.approx(float(expected), rel=1e-4)


def test_heads_removed_for_good_have_no_figures_and_the_others_keep_theirs():
    clf, gone = tiny_classifier("bert"), [(0, 1), *((2, head) for head in range(4))]
    silent = clf.settings()
    for place in gone:
        silent.scale[place] = 0
    learn(clf, settings=silent)
    with al.heads.applied(clf, silent):
        whole = recorded(clf).drop(gone)
    smaller = heads.prune(clf, gone)
    learn(smaller)
    wide = recorded(smaller)
    assert wide.loc[gone].isna().all(axis=None)
    pd.testing.assert_frame_equal(wide.drop(gone), whole, rtol=1e-3, atol=1e-6)


def test_settings_of_a_block_hold():
    clf = tiny_classifier("bert")
    settings = random_settings(clf)
    with al.heads.applied(clf, settings):
        inside = recorded(clf)
    expected = balance.measure(clf, PROBE, settings).map("entropy", tokens="all")
    np.testing.assert_allclose(inside["entropy"], expected.ravel(), rtol=1e-6)
    assert not np.allclose(inside["entropy"], recorded(clf)["entropy"], rtol=1e-3)


def test_it_measures_every_so_many_steps_and_the_model_as_a_whole():
    clf, recorder = tiny_classifier("bert"), Recorder(PROBE, every=3)
    assert len(recorder.table) == len(recorder.overall) == 0
    for step in range(8):
        recorder(clf, step)
    assert recorder.table["step"].unique().tolist() == [0, 3, 6]
    assert list(recorder.table) == ["step", "layer", "head", "measure", "value"]
    read = balance.measure(clf, PROBE)
    expected = {"balance": read.overall, **read.parts}
    assert recorder.overall.iloc[2].to_dict() == pytest.approx({"step": 6, **expected})
    assert list(recorder.overall) == ["step", "balance", "tokens", "heads"]
    assert "3 measurements to step 6" in repr(recorder)


def test_the_overhead_is_its_own_time_as_a_share_of_the_rest(monkeypatch):
    clock, measure = [100.0], Recorder._measured

    def measured(self, clf, step):
        clock[0] += 3  # seconds
        return measure(self, clf, step)

    monkeypatch.setattr(balance.recorder.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(Recorder, "_measured", measured)
    clf, recorder = tiny_classifier("bert"), Recorder(PROBE, every=2)
    assert np.isnan(recorder.overhead)
    for run in (20, 50):  # seconds a step; a run that begins anew counts anew
        for step in range(5):
            recorder(clf, step)
            clock[0] += run
        assert recorder.overhead == pytest.approx(3 * 3 / (4 * run))


# ── training is not disturbed ──────────────────────────────────────────────────────────────────


def test_modes_random_numbers_and_gradients_stay_as_they_were_also_after_an_error(monkeypatch):
    clf = tiny_classifier("bert")
    clf.model.train()
    clf.model.bert.embeddings.eval()
    learn(clf)
    before = [module.training for module in clf.model.modules()]
    gradients = [one.grad.clone() for one in clf.model.parameters()]
    drawn = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 - the state that must not be touched
    wide = recorded(clf)
    assert [module.training for module in clf.model.modules()] == before
    assert all(a.equal(b.grad) for a, b in zip(gradients, clf.model.parameters(), strict=True))
    assert torch.get_rng_state().equal(drawn[0])
    assert (np.random.get_state()[1] == drawn[1]).all()  # noqa: NPY002 - likewise
    assert random.getstate() == drawn[2]
    pd.testing.assert_frame_equal(wide, recorded(clf))  # dropout would differ

    def fails(*args):
        raise RuntimeError

    monkeypatch.setattr(balance.recorder.Meter, "feed", fails)
    with pytest.raises(RuntimeError):
        recorded(clf)
    assert [module.training for module in clf.model.modules()] == before


def little_splits():
    movies = al.datasets.load("movie-sentiment")
    short = [at for at, text in enumerate(movies.train.texts) if len(text) < 60]
    train = movies.train.select(short[:64])
    return Splits(train, movies.dev.select(range(8)), movies.test.select(range(8)))


def finetuned(base, *callbacks, out=None, **options):
    fixed = {"epochs": 2, "batch_size": 8, "callbacks": callbacks}
    return al.finetune(base, little_splits(), "frozen-embeddings", out, **fixed, **options)


@pytest.fixture(scope="module")
def whole(tiny_base, tmp_path_factory):
    """A recorded run that was never stopped."""
    recorder = Recorder(TEXTS, 2, tmp_path_factory.mktemp("whole") / "run.csv")
    return finetuned(tiny_base, recorder), recorder


def test_a_recorded_run_ends_as_it_would_have_without(tiny_base, whole):
    watched, recorder = whole
    pairs = zip(finetuned(tiny_base).model.parameters(), watched.model.parameters(), strict=True)
    assert all(a.equal(b) for a, b in pairs)
    wide = recorder.table.pivot_table(index="step", columns="measure", values="value", dropna=False)
    assert wide.index.tolist() == list(range(0, 17, 2))
    assert np.isnan(wide["gradient"][0])
    assert (wide["gradient"][1:] > 0).all()
    assert wide["entropy"].nunique() == 9


def test_adapters_are_recorded_without_gradients_since_heads_own_weights_do_not_train(
    tiny_base, tmp_path
):
    recorder = Recorder(["A dull film."], 4)
    al.finetune(tiny_base, little_splits(), "lora", epochs=1, batch_size=8, callbacks=[recorder])
    wide = recorder.table.pivot_table(index="step", columns="measure", values="value", dropna=False)
    assert wide.index.tolist() == [0, 4, 8]
    assert wide["gradient"].isna().all()
    assert not wide.drop(columns="gradient").isna().any(axis=None)
    with pytest.raises(ModelError, match="prefix"):
        al.finetune(tiny_base, little_splits(), "prefix", epochs=1, callbacks=[recorder])


# ── killed, and going on ───────────────────────────────────────────────────────────────────────

KILLED = """
import os, signal, sys
from attnlab.training import checkpoint
from each_step import EachStep
from test_recorder import Recorder, TEXTS, finetuned
base, out, path = sys.argv[1:]
checkpoint.CHECKPOINT_SECONDS = 0.0
def kill(run):
    if run.step == 10:  # measured, but not yet in the checkpoint
        os.kill(os.getpid(), signal.SIGKILL)
finetuned(base, Recorder(TEXTS, 2, path), EachStep(kill), out=out)
"""


def test_a_run_that_was_killed_and_went_on_leaves_the_table_of_one_that_never_stopped(
    tiny_base, whole, tmp_path
):
    path = tmp_path / "killed.csv"
    modules = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    command = [sys.executable, "-c", KILLED, str(tiny_base), str(tmp_path / "killed"), str(path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": modules}, check=False)
    assert done.returncode == -signal.SIGKILL
    before = pd.read_csv(path)
    assert before["step"].max() == 10
    # what is measured again takes its place
    before.loc[(before["step"] == 10) & (before["measure"] != "probe"), "value"] = 99.0
    before.to_csv(path, index=False)
    again = Recorder(TEXTS, 2, path)
    assert again.overall["step"].tolist() == [0, 2, 4, 6, 8, 10]
    finetuned(tiny_base, again, out=tmp_path / "killed", resume=True)
    never_stopped = whole[1]
    pd.testing.assert_frame_equal(again.table, never_stopped.table)
    pd.testing.assert_frame_equal(again.overall, never_stopped.overall)
    assert path.read_bytes() == never_stopped.path.read_bytes()


def test_the_file_is_the_table_after_each_measurement_and_read_again(tmp_path):
    clf, path = tiny_classifier("bert"), tmp_path / "run.csv"
    recorder = Recorder(PROBE, 2, path)
    for step in (0, 2, 4):
        recorder(clf, step)
        read = pd.read_csv(path).dropna(subset="layer")
        np.testing.assert_array_equal(read["value"], recorder.table["value"])
    assert [one.name for one in tmp_path.iterdir()] == ["run.csv"]
    pd.testing.assert_frame_equal(Recorder(PROBE, 2, path).table, recorder.table)
    anew = Recorder(PROBE, 2, path)
    anew(clf, 0)
    assert pd.read_csv(path)["step"].unique().tolist() == [0]


# ── Trainer ────────────────────────────────────────────────────────────────────────────────────


class Snapshots(TrainerCallback):
    """Weights and gradients whenever the optimizer has made a step."""

    def __init__(self):
        self.taken = []

    def on_optimizer_step(self, args, state, control, model, **kwargs):
        gradients = {name: one.grad.clone() for name, one in model.named_parameters()}
        weights = {name: one.clone() for name, one in model.state_dict().items()}
        self.taken.append((weights, gradients))


def trained_by_trainer(folder, *callbacks, steps=4, resume=None, **options):
    tokenizer = words_to_ids(0)
    rows = [{**tokenizer(text), "labels": at % 3} for at, text in enumerate(LITTLE * 8)]
    arguments = TrainingArguments(
        output_dir=folder, max_steps=steps, per_device_train_batch_size=8, learning_rate=1e-3,
        save_steps=2, logging_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    options = {"processing_class": tokenizer} | options
    trainer = Trainer(
        tiny("bert"), arguments, train_dataset=rows, callbacks=list(callbacks), **options
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer.model


def test_under_trainer_it_records_what_it_would_in_our_loop_at_the_same_weights(tmp_path):
    recorder, snapshots = Recorder(PROBE, 2), Snapshots()
    model = trained_by_trainer(tmp_path, recorder.callback(), snapshots)
    by_hand, clf = Recorder(PROBE, 2), tiny_classifier("bert")
    by_hand(clf, 0)
    for step, (weights, gradients) in enumerate(snapshots.taken, 1):
        clf.model.load_state_dict(weights)
        for name, one in clf.model.named_parameters():
            one.grad = gradients[name]
        by_hand(clf, step)
    assert recorder.table["step"].unique().tolist() == [0, 2, 4]
    pd.testing.assert_frame_equal(recorder.table, by_hand.table)
    pd.testing.assert_frame_equal(recorder.overall, by_hand.overall)
    plain = trained_by_trainer(tmp_path)
    assert all(a.equal(b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_a_trainer_run_that_goes_on_from_a_checkpoint_leaves_the_same_table(tmp_path):
    recorder = Recorder(PROBE, 1)
    trained_by_trainer(tmp_path, recorder.callback())
    whole = recorder.table
    trained_by_trainer(tmp_path, recorder.callback(), resume=tmp_path / "checkpoint-2")
    pd.testing.assert_frame_equal(recorder.table, whole)


def test_trainer_must_know_the_tokenizer(tmp_path):
    tokenizer = words_to_ids(0)
    from transformers import DataCollatorWithPadding

    with pytest.raises(AttnlabError, match="processing_class"):
        trained_by_trainer(
            tmp_path,
            Recorder(PROBE).callback(),
            processing_class=None,
            data_collator=DataCollatorWithPadding(tokenizer),
        )


# ── bad input ──────────────────────────────────────────────────────────────────────────────────


def test_bad_input_is_told_at_once(tmp_path):
    for texts in ([], "a film", None):
        with pytest.raises(DataError, match="list of some 32"):
            Recorder(texts)
    for every in (0, -1, 2.5):
        with pytest.raises(AttnlabError, match="counts steps"):
            Recorder(PROBE, every)
    (tmp_path / "folder.csv").mkdir()
    for name in ("run.json", "run", "folder.csv"):
        with pytest.raises(AttnlabError, match=r"no \.csv"):
            Recorder(PROBE, path=tmp_path / name)
    with pytest.raises(AttnlabError, match="Make it first"):
        Recorder(PROBE, path=tmp_path / "absent" / "run.csv")


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"\xff\x00\xfe", b"step,layer,head,measure,value\n"]
)
def test_a_file_of_another_kind_is_refused_and_stays_as_it_is(content, tmp_path):
    path = tmp_path / "notes.csv"
    path.write_bytes(content)
    with pytest.raises(AttnlabError, match="is not what a Recorder wrote"):
        Recorder(PROBE, path=path)
    assert path.read_bytes() == content


def test_a_table_of_other_texts_or_of_a_model_of_another_size_is_not_gone_on_with(clf, tmp_path):
    path = tmp_path / "run.csv"
    Recorder(PROBE, 2, path)(tiny_classifier("bert"), 0)
    with pytest.raises(AttnlabError, match="other texts"):
        Recorder([*PROBE, "one more"], 2, path)
    with pytest.raises(AttnlabError, match="another size"):
        Recorder(PROBE, 2, path)(clf, 2)
