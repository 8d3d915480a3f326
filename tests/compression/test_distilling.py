"""Distillation: what each part of the loss is and moves, and runs that are killed and go on."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from each_step import EachStep
from tiny_classifiers import LITTLE, WORDS, answering, tiny_classifier, words_to_ids
from torch import nn

import attnlab as al
from attnlab.classification.classifier import Classifier
from attnlab.compression import distil, factorize, prune_heads, prune_layers, prune_neurons, steps
from attnlab.compression.copies import copied
from attnlab.compression.distilling import attention_loss, distillation_loss, hidden_loss
from attnlab.compression.teacher import lessons_of
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabError, DataError, ModelError, SettingsError
from attnlab.training import CHECKPOINT, Interrupted

HERE = Path(__file__).parent
FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert"]
ALL = {"logits": True, "hidden": True, "attention": True}


def case(family="bert", count=72):
    """A teacher, a student of its first and last layer, and texts that the teacher answers."""
    teacher, data = answering(family, count)
    train, dev = data.select(range(48)), data.select(range(48, count))
    student = teacher if family == "albert" else prune_layers(teacher, keep=[0, 2])
    return teacher, student, Splits(train, dev, dev)


@pytest.fixture(scope="module")
def bert():
    return case()


def same(one, other):
    return all(
        a.equal(b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True)
    )


def without_dropout(clf):
    still = copied(clf)
    for module in still.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return still


def distance(student, teacher, data):
    """How far two classifiers' answers are from one another."""
    encoded = teacher.encode(data.texts)
    return float(distillation_loss(student.logits(encoded), teacher.logits(encoded), 1.0))


# --- Losses --------------------------------------------------------------------------------------


def test_the_loss_is_the_divergence_of_softened_answers_times_temperature_squared():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 3, generator=generator) * 4
    by_hand = 0.0
    for mine, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        softened = [[math.exp(value / 2.5) for value in row] for row in (mine, theirs)]
        q, p = ([value / sum(row) for value in row] for row in softened)
        by_hand += sum(b * math.log(b / a) for a, b in zip(q, p, strict=True))
    assert float(distillation_loss(student, teacher, 2.5)) == pytest.approx(
        2.5**2 * by_hand / 5, rel=1e-5
    )
    assert float(distillation_loss(teacher, teacher + 3, 2.5)) == pytest.approx(0, abs=1e-5)


def test_hot_answers_pull_as_hard_as_squared_differences_of_logits():
    """In the limit the gradient is (z - v) / C for centred logits (Hinton et al. 2015, eq. 4)."""
    student, teacher = torch.tensor([[1.0, -3.0, 2.0]]), torch.tensor([[0.5, 0.5, -1.0]])
    student.requires_grad_(True)
    distillation_loss(student, teacher, 1e3).backward()
    torch.testing.assert_close(student.grad, (student - teacher).detach() / 3, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("loss", [hidden_loss, attention_loss])
def test_padding_has_no_say_in_what_is_learned_token_by_token(loss):
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    shape = (2, 4, 8) if loss is hidden_loss else (2, 3, 4, 4)
    mine, theirs = torch.rand(2, *shape, generator=generator)
    if loss is attention_loss:
        mine, theirs = ((one * mask[:, None, None]) for one in (mine, theirs))
        mine, theirs = mine / mine.sum(-1, keepdim=True), theirs / theirs.sum(-1, keepdim=True)
    before = loss(mine, theirs, mask)
    assert before > 0.01
    assert float(loss(theirs, theirs, mask)) == pytest.approx(0, abs=1e-6)
    changed = mine.clone()
    changed[1, ..., 2:, :] = torch.rand(changed[1, ..., 2:, :].shape, generator=generator)
    assert loss(changed, theirs, mask).equal(before)
    # texts count alike, so a batch may be computed in parts
    parts = [loss(mine[[row]], theirs[[row]], mask[[row]]) for row in (0, 1)]
    torch.testing.assert_close(sum(parts) / 2, before)
    columns = slice(2) if loss is attention_loss else slice(None)
    unpadded = loss(mine[1:, ..., :2, columns], theirs[1:, ..., :2, columns], mask[1:, :2])
    torch.testing.assert_close(unpadded, parts[1])


# --- Training ------------------------------------------------------------------------------------


def test_a_student_comes_to_answer_as_its_teacher_does(bert):
    teacher, student, splits = bert
    small = distil(teacher, student, splits, epochs=15, learning_rate=3e-3, label_weight=0)
    assert distance(small, teacher, splits.train) < 0.5 * distance(student, teacher, splits.train)
    assert len(small.history.rows) == 15
    assert small.history.best["dev_accuracy"] > 0.5
    assert small.layers == 2


@pytest.mark.parametrize(("kind", "layer_map"), [("hidden", [0, 2]), ("attention", [0, 2])])
def test_hidden_states_and_maps_are_learned_when_they_are_asked_for(bert, kind, layer_map):
    teacher, _, splits = bert
    student = prune_layers(prune_neurons(teacher, 0.5, data=splits.train), keep=[0, 2])
    options = {"epochs": 10, "learning_rate": 3e-3, "logits": False, "label_weight": 0}
    small = distil(teacher, student, splits, **options, **{kind: True}, layer_map=layer_map)

    def far(clf):
        inputs = clf.encode(splits.train.texts).batch(range(len(splits.train)))
        wanted = {"output_hidden_states": True, "output_attentions": True}
        with torch.no_grad():
            mine, theirs = (one.model(**inputs, **wanted) for one in (clf, teacher))
        mask = inputs["attention_mask"]
        if kind == "hidden":
            return float(hidden_loss(mine.hidden_states[2], theirs.hidden_states[3], mask))
        return float(attention_loss(mine.attentions[1], theirs.attentions[2], mask))

    assert far(small) < 0.8 * far(student)


def test_teacher_and_student_stay_as_they_are(bert):
    teacher, student, splits = bert
    before = [
        {name: weight.clone() for name, weight in clf.model.state_dict().items()}
        for clf in (teacher, student)
    ]
    small = distil(teacher, student, splits, epochs=1, **ALL)
    for clf, weights in zip((teacher, student), before, strict=True):
        assert all(weight.equal(weights[name]) for name, weight in clf.model.state_dict().items())
        assert not clf.model.training
        assert clf.history is None
    assert not same(small, student)
    assert all(parameter.requires_grad for parameter in small.model.parameters())
    assert [step["step"] for step in steps(student)] == ["prune_layers"]
    assert [step["step"] for step in steps(small)] == ["prune_layers", "distil"]


def test_without_a_teacher_it_is_plain_fine_tuning(bert, tmp_path):
    """The comparison that shows what a teacher is worth changes nothing else."""
    teacher, student, splits = bert
    alone = distil(None, student, splits, epochs=2)
    switched_off = distil(teacher, student, splits, epochs=2, logits=False)
    assert same(alone, switched_off)
    student.save(tmp_path / "student")
    tuned = al.finetune(
        tmp_path / "student",
        splits,
        "frozen-embeddings",
        epochs=2,
        learning_rate=2e-4,
        head_lr_multiplier=1,
    )
    for mine, theirs in zip(alone.model.parameters(), tuned.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert not same(alone, distil(teacher, student, splits, epochs=2))


def test_word_embeddings_stay_unless_they_may_move(bert):
    teacher, student, splits = bert
    words = student.model.get_input_embeddings().weight
    for freeze in (True, False):
        small = distil(teacher, student, splits, epochs=1, freeze_embeddings=freeze)
        assert small.model.get_input_embeddings().weight.equal(words) == freeze
        assert small.history.trainable == student.parameters() - (words.numel() if freeze else 0)


def test_the_same_seed_gives_the_same_student(bert):
    teacher, student, splits = bert
    one, two, other = (distil(teacher, student, splits, epochs=1, seed=seed) for seed in (3, 3, 4))
    assert same(one, two)
    assert not same(one, other)


def test_a_batch_computed_in_parts_gives_the_same_student(bert):
    teacher, student, splits = bert
    student = without_dropout(student)
    whole, parts = (
        distil(teacher, student, splits, epochs=2, dtype="float32", micro_batches=count, **ALL)
        for count in (1, 4)
    )
    for mine, theirs in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_everything_and_its_result_loads(family, tmp_path):
    teacher, student, splits = case(family)
    small = distil(teacher, student, splits, epochs=1, out=tmp_path / "out", **ALL)
    again = al.load_classifier(tmp_path / "out")
    assert np.allclose(
        again.predict(LITTLE).probabilities, small.predict(LITTLE).probabilities, atol=1e-6
    )
    assert not (tmp_path / "out" / CHECKPOINT).exists()
    with pytest.raises(ModelError, match="finished model"):
        distil(teacher, student, splits, epochs=1, out=tmp_path / "out", **ALL)


def test_students_of_other_shapes_learn_too(bert, tmp_path):
    teacher, student, splits = bert
    smaller = prune_heads(student, heads_gone=[(0, 1), (1, 0), (1, 1), (1, 2), (1, 3)])
    smaller = factorize(prune_neurons(smaller, 0.5, data=splits.train), 4)
    small = distil(teacher, smaller, splits, epochs=1, out=tmp_path / "out", **ALL)
    assert not same(small, smaller)
    again = al.load_classifier(tmp_path / "out")
    assert np.allclose(
        again.predict(LITTLE).probabilities, small.predict(LITTLE).probabilities, atol=1e-6
    )


# --- Who learns from whom ------------------------------------------------------------------------


def asked(teacher, student, texts, layer_map=None, **wanted):
    wanted = {"logits": False, "hidden": False, "attention": False} | wanted
    data = student.encode(texts)
    return lessons_of(teacher, student, texts, data, layer_map, dtype=torch.float32, **wanted)


def test_layers_are_evenly_spaced_unless_they_are_named(clf, some):
    student = prune_layers(clf, keep=[0, 2, 5])
    texts = some.texts[:2]
    assert asked(clf, student, texts, hidden=True).layer_map == [1, 3, 5]
    assert asked(clf, student, texts, [0, 2, 5], hidden=True).layer_map == [0, 2, 5]
    assert asked(clf, clf, texts, hidden=True).layer_map == list(range(6))
    for wrong in ([1, 2], [0, 2, 6], [-1, 2, 5]):
        with pytest.raises(ModelError, match="0 to 5"):
            asked(clf, student, texts, wrong, hidden=True)


def test_heads_learn_from_heads_of_the_same_number_else_from_the_mean(bert):
    teacher, _, splits = bert
    texts = splits.train.texts[:4]
    student = prune_heads(teacher, heads_gone=[(0, 1), *((1, head) for head in range(4))])
    taught = prune_heads(teacher, heads_gone=[(0, 0), (2, 3)])
    pairs = asked(taught, student, texts, attention=True).head_pairs
    assert pairs == {0: ([1, 2], [1, 2]), 2: ([0, 1, 2], [0, 1, 2])}
    other = tiny_classifier("bert", num_attention_heads=2)
    assert asked(teacher, other, texts, attention=True).head_pairs == {0: None, 1: None, 2: None}
    small = distil(teacher, other, splits, epochs=1, attention=True)
    assert not same(small, other)
    none = prune_heads(teacher, 1.0, data=splits.train)
    with pytest.raises(ModelError, match="No layer of the student has heads"):
        asked(teacher, none, texts, attention=True)


def test_labels_of_the_teacher_are_matched_by_name(bert):
    teacher, student, splits = bert
    names = ["good", "bad", "fair"]
    turned = Classifier(copied(teacher).model, teacher.tokenizer, names)
    order = [teacher.label_names.index(name) for name in names]
    with torch.no_grad():
        for tensor in (turned.model.classifier.weight, turned.model.classifier.bias):
            tensor.copy_(tensor[order].clone())
    one, two = (distil(clf, student, splits, epochs=1) for clf in (teacher, turned))
    for mine, theirs in zip(one.model.parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    turned.label_names = ["bad", "good", "neutral"]
    with pytest.raises(ModelError, match=r"'neutral'.*student\.label_names"):
        distil(turned, student, splits)


def other_pieces(clf):
    """The same model with other numbers for its words."""
    tokenizer = words_to_ids(clf.model.config.pad_token_id or 0, list(reversed(WORDS)))
    model = copied(clf).model
    old, new = clf.tokenizer.get_vocab(), tokenizer.get_vocab()
    words = model.get_input_embeddings().weight
    with torch.no_grad():
        before = words.clone()
        for word, number in new.items():
            words[number] = before[old[word]]
    return Classifier(model, tokenizer, clf.label_names)


def test_pieces_are_compared_by_what_they_stand_for_and_not_by_number(bert):
    teacher, student, splits = bert
    renumbered = other_pieces(teacher)
    one, two = (
        distil(clf, student, splits, epochs=1, dtype="float32", **ALL)
        for clf in (teacher, renumbered)
    )
    for mine, theirs in zip(one.model.parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_teacher_that_reads_other_pieces_teaches_logits_only(bert, clf):
    teacher, student, splits = bert
    fewer = Classifier(
        copied(teacher).model,
        words_to_ids(0, WORDS[:6]),
        teacher.label_names,
    )
    fewer.model.resize_token_embeddings(len(fewer.tokenizer))
    assert distil(fewer, student, splits, epochs=1).history.rows
    for kind in ("hidden", "attention"):
        with pytest.raises(ModelError, match=r"token by token.*\[UNK\].*logits alone"):
            distil(fewer, student, splits, epochs=1, **{kind: True})
    wide = tiny_classifier("bert", hidden_size=64)
    with pytest.raises(ModelError, match=r"have 64 numbers, the student's 32"):
        distil(wide, student, splits, hidden=True)


# --- What cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"label_weight": -1}, "label_weight is -1"),
        ({"hidden": float("inf")}, "hidden is inf"),
        ({"teacher": None, "attention": True}, "there is none"),
    ],
)
def test_numbers_without_sense_are_refused_before_the_work(bert, wish, words):
    teacher, student, splits = bert
    with pytest.raises(SettingsError, match=words):
        distil(wish.pop("teacher", teacher), student, splits, **wish)


def test_texts_that_teach_nothing_are_refused(bert):
    teacher, student, splits = bert
    with pytest.raises(DataError, match="distil needs texts to train on"):
        distil(teacher, student, None)
    alike = [index for index, label in enumerate(splits.train.labels) if label == 1]
    with pytest.raises(DataError, match="have the label 'fair'"):
        distil(teacher, student, Splits(splits.train.select(alike), splits.dev, splits.test))
    other = al.TextDataset(["dull", "loud"], [0, 1], ["bad", "nice"], "other")
    with pytest.raises(DataError, match="'nice' is not among them"):
        distil(teacher, student, Splits(other, other, other))


def test_a_folder_that_nothing_can_go_on_from_is_refused_before_the_work(bert, tmp_path):
    teacher, student, splits = bert
    with pytest.raises(ModelError, match="needs the folder"):
        distil(teacher, student, splits, resume=True)
    with pytest.raises(AttnlabError, match="to go on from"):
        distil(teacher, student, splits, out=tmp_path / "none", resume=True)


# --- Killed, and going on ------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from attnlab.training import checkpoint
from each_step import EachStep
from test_distilling import ALL, case, distil
checkpoint.CHECKPOINT_SECONDS = 0.0
def kill(run):
    if run.step == 3:  # in the second epoch; the checkpoint is of step 2
        os.kill(os.getpid(), signal.SIGKILL)
distil(*case(), epochs=2, out=sys.argv[1], callbacks=[EachStep(kill)], **ALL)
"""


def test_a_run_that_is_killed_goes_on_to_the_same_weights(bert, tmp_path):
    """A real process and SIGKILL; every part of the loss, so that all of it is asked anew."""
    out = tmp_path / "out"
    modules = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    command = [sys.executable, "-c", KILLED, str(out)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": modules}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in out.iterdir()] == [CHECKPOINT]
    teacher, student, splits = bert
    with pytest.raises(AttnlabError, match="unfinished run"):
        distil(teacher, student, splits, epochs=2, out=out, **ALL)
    seen = []
    ended = distil(
        teacher,
        student,
        splits,
        epochs=2,
        out=out,
        resume=True,
        callbacks=[EachStep(lambda run: seen.append(run.step))],
        **ALL,
    )
    assert seen == [3, 4]
    assert same(ended, distil(teacher, student, splits, epochs=2, **ALL))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": 3.0}, "temperature was 2.0, is 3.0"),
        ({"attention": True}, "losses was"),
        ({"teacher": "other"}, "teacher was"),
        ({"student": "other"}, "student was"),
        ({"layer_map": [0, 2]}, "layer_map was"),
    ],
)
def test_another_run_is_not_taken_for_the_one_that_was_stopped(bert, tmp_path, change, words):
    teacher, student, splits = bert
    given = {"teacher": teacher, "student": student, "hidden": True, "epochs": 1}

    def ctrl_c(run):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        distil(splits=splits, out=tmp_path, callbacks=[EachStep(ctrl_c)], **given)
    others = {
        "teacher": prune_heads(teacher, heads_gone=[(0, 0)]),
        "student": prune_layers(teacher, keep=[0, 1]),
    }
    change = {name: others[name] if value == "other" else value for name, value in change.items()}
    with pytest.raises(AttnlabError, match=words):
        distil(splits=splits, out=tmp_path, resume=True, **given | change)
