"""An exported classifier answers as the one it was made from, in attnlab and without it."""

import contextlib
import copy
import errno
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from tiny_classifiers import LITTLE, WORDS, answering, random_settings, tiny_classifier
from tiny_models import CONFIGS

import attnlab as al
from attnlab import balance, compression, evaluation, heads
from attnlab.classification import exporting, graphs
from attnlab.classification.onnx_classifier import OnnxClassifier
from attnlab.cli import main
from attnlab.device import has_int8_products
from attnlab.errors import (
    AttnlabError,
    AttnlabWarning,
    DataError,
    MissingPackage,
    ModelError,
    SettingsError,
)

LITTLE_DATA = al.TextDataset(LITTLE, [0, 1, 2, 0], ["bad", "fair", "good"], "little")
LONG = [" ".join(WORDS), "dull", " ".join(3 * WORDS[:11])]


@pytest.fixture(scope="module")
def tiny():
    return tiny_classifier("bert")


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    return tiny.export(tmp_path_factory.mktemp("export") / "tiny")


@pytest.fixture
def exported(folder):
    return al.load_classifier(folder)


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the export, to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def logits(clf, texts, settings=None):
    return clf.logits(clf.encode(texts), settings=settings)


def near(found, wanted, atol=1e-4):
    assert torch.allclose(found, wanted, atol=atol, rtol=0), float((found - wanted).abs().max())


def plain(folder, texts=LITTLE, outputs=("logits",), **knobs):
    """What ONNX Runtime says without any of our code around it."""
    clf = al.load_classifier(folder)
    options = onnxruntime.SessionOptions()
    if not has_int8_products():  # as the card says
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(Path(folder) / "model.onnx", options)
    batch = {name: column.numpy() for name, column in clf.encode(texts).batch(range(4)).items()}
    return session.run(list(outputs), batch | knobs)


def weights_stored(folder):
    graph = onnx.load(Path(folder) / "model.onnx").graph
    return sum(len(weight.raw_data) for weight in graph.initializer)


# ── the same answers ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_answers_and_attends_as_before(family, tmp_path):
    clf = tiny_classifier(family)
    other = al.load_classifier(clf.export(tmp_path / "out"))
    assert isinstance(other, OnnxClassifier)
    settings, texts = random_settings(clf), LITTLE + LONG
    stacked = clf.settings().stack([random_settings(clf, seed) for seed in range(len(texts))])
    for each in (None, settings, stacked):
        near(logits(other, texts, each), logits(clf, texts, each))
        assert other.predict(texts, each).labels == clf.predict(texts, each).labels
    for ours, theirs in zip(
        (clf.attend(LITTLE[1], settings), clf.attend(LITTLE[1])),
        (other.attend(LITTLE[1], settings), other.attend(LITTLE[1])),
        strict=True,
    ):
        assert theirs.tokens == ours.tokens
        near(theirs.weights, ours.weights)
        near(theirs.contributions, ours.contributions)


def test_what_a_user_reads_off_a_classifier_is_the_same(tiny, exported):
    for name in ("layers", "heads", "label_names", "max_length", "task"):
        assert getattr(exported, name) == getattr(tiny, name)
    assert exported.parameters() == tiny.parameters()
    assert exported.settings() == tiny.settings()
    assert exported.device == torch.device("cpu")
    assert exported.to("cpu") is exported
    assert "float32" in repr(exported)
    assert list(exported.encode(LITTLE).columns) == list(tiny.encode(LITTLE).columns)


def test_heads_removed_for_good_stay_removed(tiny, tmp_path):
    gone = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 2)]
    smaller = heads.prune(tiny, gone)
    other = al.load_classifier(smaller.export(tmp_path / "out"))
    assert heads.removed(other) == gone
    settings = random_settings(tiny)
    near(logits(other, LITTLE, settings), logits(smaller, LITTLE, settings))
    near(other.attend(LITTLE[1]).contributions, smaller.attend(LITTLE[1]).contributions)
    with pytest.warns(AttnlabWarning, match="plain forward pass"):
        rows = al.ablate(al.Evaluator(other, LITTLE_DATA))
    assert len(rows) == 12 - len(gone)


def test_a_model_without_any_head_left_is_exported_too(tmp_path):
    clf = tiny_classifier("distilbert")
    smaller = heads.prune(clf, [(layer, head) for layer in range(3) for head in range(4)])
    other = al.load_classifier(smaller.export(tmp_path / "out"))
    near(logits(other, LITTLE, other.settings()), logits(smaller, LITTLE))
    assert not other.attend(LITTLE[0]).weights.any()


def test_texts_of_a_pair_are_told_apart(tmp_path):
    clf = tiny_classifier("bert")
    clf.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    other = al.load_classifier(clf.export(tmp_path / "out"))
    pairs = [("a slow start", "dull and loud"), ("the film", "is worth it but slow")]
    assert clf.encode(pairs).columns["token_type_ids"].any()
    near(logits(other, pairs), logits(clf, pairs))
    assert other.attend(pairs[0]).second_start == clf.attend(pairs[0]).second_start


@pytest.mark.parametrize(
    "smaller",
    [
        lambda clf: compression.prune_layers(clf, keep=[0, 2]),
        lambda clf: compression.prune_neurons(clf, keep=[range(9), range(20), range(64)]),
        lambda clf: compression.share_layers(clf, [[0, 1]]),
        lambda clf: compression.factorize(clf, rank=4, parts=["query", "output", "up"]),
        lambda clf: compression.share_weights(compression.prune_heads(clf, heads_gone=[(1, 2)]), 4),
    ],
)
def test_what_was_made_smaller_is_exported_as_it_is(tiny, tmp_path, smaller):
    clf = smaller(tiny)
    other = al.load_classifier(clf.export(tmp_path / "out"))
    settings = random_settings(clf)
    near(logits(other, LITTLE, settings), logits(clf, LITTLE, settings))
    near(other.attend(LITTLE[1]).contributions, clf.attend(LITTLE[1]).contributions)
    assert other.card["steps"] == compression.steps(clf) != []
    assert other.parameters() == clf.parameters() <= tiny.parameters()


def test_an_adapter_is_merged_into_the_export(tiny, tmp_path):
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)
    adapted = tiny.with_model(get_peft_model(copy.deepcopy(tiny.model), config))
    assert not torch.allclose(logits(adapted, LITTLE), logits(tiny, LITTLE), atol=1e-3)
    near(
        logits(al.load_classifier(adapted.export(tmp_path / "out")), LITTLE),
        logits(adapted, LITTLE),
    )


def test_a_model_in_bfloat16_is_exported_in_float32(tiny, tmp_path):
    short = tiny.with_model(copy.deepcopy(tiny.model).to(torch.bfloat16))
    other = al.load_classifier(short.export(tmp_path / "out"))
    assert short.model.dtype == torch.bfloat16
    near(logits(other, LITTLE), logits(tiny.with_model(short.model.float()), LITTLE))


def test_dropout_and_settings_in_force_are_not_exported(tiny, tmp_path):
    clf = tiny.with_model(copy.deepcopy(tiny.model))
    clf.model.train()
    before = {name: tensor.clone() for name, tensor in clf.model.state_dict().items()}
    with heads.applied(clf, random_settings(clf)):
        clf.export(tmp_path / "out", data=LITTLE_DATA)
    assert all(module.training for module in clf.model.modules())
    assert clf.model.config.to_dict() == tiny.model.config.to_dict()
    assert all(torch.equal(before[name], now) for name, now in clf.model.state_dict().items())
    near(torch.from_numpy(plain(tmp_path / "out")[0]), logits(tiny, LITTLE))


def test_layers_that_share_weights_store_them_once(tmp_path):
    shared, own = tiny_classifier("albert-shared"), tiny_classifier("albert")
    sizes = [weights_stored(clf.export(tmp_path / str(clf.parameters()))) for clf in (shared, own)]
    assert sizes[0] < 1.1 * 4 * shared.parameters()
    assert sizes[1] > 2 * sizes[0]


def test_texts_that_are_too_long_are_cut_and_that_is_said(exported, tiny):
    long = [" ".join(4 * WORDS)]
    with pytest.warns(AttnlabWarning, match="1 of 1 texts are longer than 40"):
        found = logits(exported, long)
    with pytest.warns(AttnlabWarning):
        near(found, logits(tiny, long))


def test_a_shorter_limit_of_the_classifier_is_kept(tmp_path):
    clf = tiny_classifier("bert")
    clf.max_length = 12
    other = al.load_classifier(clf.export(tmp_path / "out"))
    assert other.max_length == 12
    assert clf.tokenizer.model_max_length == 40


# ── in ONNX Runtime alone ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_settings_may_be_left_out_and_attention_is_there_when_asked_for(tiny, tmp_path, quantize):
    out = tiny.export(tmp_path / "out", quantize=quantize)
    atol = 1e-4 if quantize is None else 0.05
    session = onnxruntime.InferenceSession(out / "model.onnx")
    assert {given.name for given in session.get_inputs()} == {"input_ids", "attention_mask"}
    knobs = {given.name: given.shape for given in session.get_overridable_initializers()}
    assert knobs == {name: ["settings", 3, 4] for name in ("scale", "temperature")}
    settings = random_settings(tiny)
    assert (logits(tiny, LITTLE) - logits(tiny, LITTLE, settings)).abs().max() > 0.1
    near(torch.from_numpy(plain(out)[0]), logits(tiny, LITTLE), atol)
    scale, temperature = settings.scale[None].numpy(), settings.temperature[None].numpy()
    found = plain(out, scale=scale, temperature=temperature)[0]
    near(torch.from_numpy(found), logits(tiny, LITTLE, settings), atol)
    both = plain(out, outputs=["attentions", "logits"], temperature=temperature)
    assert both[0].shape == (4, 3, 4, 10, 10)
    assert np.allclose(both[0].sum(-1), 1, atol=1e-5)
    size = len(tiny.encode(LITTLE[:1]).ids(0))
    only = tiny.settings()
    only.temperature = settings.temperature
    wanted = tiny.attend(LITTLE[0], only).weights
    near(torch.from_numpy(both[0][0, :, :, :size, :size]), wanted, max(atol, 1e-4))
    assert (both[0][0, :, :, :, size:] == 0).all(), "padding is looked at"


def test_the_graph_is_valid_and_holds_no_path_of_this_machine(folder):
    onnx.checker.check_model(onnx.load(folder / "model.onnx"), full_check=True)
    content = (folder / "model.onnx").read_bytes()
    assert str(Path(al.__file__).parent).encode() not in content
    assert b"site-packages" not in content


def test_others_run_it_without_attnlab_and_get_the_same_labels(clf, some, tmp_path):
    """The code in export.md runs as it stands, in another process, on the real model in int8."""
    out = clf.export(tmp_path / "movies", quantize="int8", data=some)
    (code,) = re.findall(r"```python\n(.*?)```", (out / "export.md").read_text(), re.DOTALL)
    guard = "\nimport sys\nassert not {'attnlab', 'torch', 'transformers'} & set(sys.modules)\n"
    run = subprocess.run(
        [sys.executable, "-c", code + guard], cwd=out, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    texts = ["A warm and funny film.", "Dull."]
    assert run.stdout.strip() == str(clf.predict(texts).labels) == "['positive', 'negative']"
    other = al.load_classifier(out)
    size = (out / "model.onnx").stat().st_size
    assert size < 0.27 * 4 * clf.parameters()
    assert other.card["bytes"] >= size
    settings = clf.settings()
    settings.scale[3] = 0
    for each in (None, settings):
        ours, theirs = clf.predict(some.texts, each), other.predict(some.texts, each)
        assert np.mean(np.array(ours.labels) == theirs.labels) >= 0.9
        assert np.abs(ours.probabilities - theirs.probabilities).mean() < 0.05
    right = np.array(clf.predict(some.texts).labels) == [
        some.label_names[label] for label in some.labels
    ]
    accuracy = other.card["accuracy"]
    assert (accuracy["n"], accuracy["before"]) == (len(some), right.mean())
    after = al.Evaluator(other, some).score().accuracy  # in other batches
    assert abs(accuracy["after"] - after) <= 0.1
    assert other.card["source"] == "movie-sentiment"
    assert f"{accuracy['before']:.1%} before" in (out / "export.md").read_text()


# ── int8 with fixed ranges ──────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def sure():
    """A tiny classifier, and texts that it answers."""
    return answering("bert", 120)


@pytest.fixture(scope="module")
def rounded(sure, tmp_path_factory):
    """Its exports in int8, with ranges as they come in a batch and with fixed ones."""
    clf, data = sure
    out = tmp_path_factory.mktemp("rounded")
    calibrate = {"as they come": None, "fixed": data.texts[:60]}
    return {
        name: al.load_classifier(clf.export(out / name, quantize="int8", calibrate=texts))
        for name, texts in calibrate.items()
    }


def test_with_fixed_ranges_a_text_gets_the_same_logits_whatever_it_is_asked_with(sure, rounded):
    texts = sure[1].texts[60:]
    apart = {}
    for name, clf in rounded.items():
        encoded = clf.encode(texts)
        alone = torch.cat([clf.logits(encoded, [index]) for index in range(len(texts))])
        mixed = torch.empty_like(alone)
        for group in np.array_split(np.random.default_rng(0).permutation(len(texts)), 5):
            # one padded batch, whatever the lengths
            mixed[group] = clf._answers(encoded.batch(group), None)
        apart[name] = float((alone - mixed).abs().max())
    assert apart["fixed"] < 1e-4
    assert apart["as they come"] > 1e-3


def test_fixed_ranges_are_about_as_near_to_float32_with_heads_turned_up_too(sure, rounded):
    clf, data = sure
    texts, twice = data.texts[60:], clf.settings()
    twice.scale[:] = 2
    for settings in (None, random_settings(clf), twice):
        wanted = logits(clf, texts, settings)
        errors = {
            name: float((logits(one, texts, settings) - wanted).square().mean().sqrt())
            for name, one in rounded.items()
        }
        assert errors["fixed"] < 2 * errors["as they come"]
        assert errors["fixed"] < 0.2 * wanted.std()


def test_fixed_ranges_leave_inputs_outputs_and_size_as_they_are(sure, rounded):
    fixed, other = rounded["fixed"], rounded["as they come"]
    assert fixed.card["calibrated_on"] == 60
    assert other.card["calibrated_on"] is None
    assert "whatever it is asked with" in (fixed.folder / "export.md").read_text()
    assert abs(weights_stored(fixed.folder) - weights_stored(other.folder)) < 500
    maps = [clf.attend(LITTLE[1], random_settings(clf)) for clf in (fixed, sure[0])]
    near(maps[0].weights, maps[1].weights, 0.1)
    near(maps[0].contributions, maps[1].contributions, 0.1 * maps[1].contributions.max())
    session = onnxruntime.InferenceSession(fixed.folder / "model.onnx")
    knobs = {given.name for given in session.get_overridable_initializers()}
    assert knobs == {"scale", "temperature"}


@pytest.mark.parametrize("family", CONFIGS)
def test_ranges_of_every_family_can_be_fixed(family, tmp_path):
    clf = tiny_classifier(family)
    texts = LITTLE + LONG
    other = al.load_classifier(clf.export(tmp_path / "out", quantize="int8", calibrate=texts))
    wanted = logits(clf, texts)
    assert (logits(other, texts) - wanted).square().mean().sqrt() < 0.1 * wanted.std()


def test_what_cannot_be_calibrated_is_refused(tiny, tmp_path):
    with pytest.raises(AttnlabError, match="Without quantize='int8' nothing is rounded"):
        tiny.export(tmp_path / "out", calibrate=LITTLE)
    for texts in ([], LITTLE[0]):
        with pytest.raises(DataError, match="no texts to calibrate on"):
            tiny.export(tmp_path / "out", quantize="int8", calibrate=texts)
    gone = heads.prune(tiny, [(1, head) for head in range(4)])  # its output projection sees nothing
    other = al.load_classifier(gone.export(tmp_path / "out", quantize="int8", calibrate=LITTLE))
    near(logits(other, LITTLE), logits(gone, LITTLE), 0.1)


# ── in attnlab ─────────────────────────────────────────────────────────────────────────────────


def test_measurements_are_those_of_the_classifier(tiny, exported, tmp_path):
    both = [al.Evaluator(each, LITTLE_DATA) for each in (tiny, exported)]
    settings = random_settings(tiny)
    for each in (None, settings):
        ours, theirs = (ev.score(each) for ev in both)
        assert np.array_equal(ours.predictions, theirs.predictions)
        assert np.allclose(ours.losses, theirs.losses, atol=1e-4)
    assert both[1].dtype == torch.float32
    assert both[1].agreement() == 1
    with pytest.warns(AttnlabWarning, match="no PyTorch weights"):
        table = al.ablate(both[1], resume=tmp_path / "kept.safetensors")
    assert np.allclose(al.ablate(both[0])["loss"], table["loss"], atol=1e-4)
    assert table.attrs["number_format"] == "float32"
    reports = [al.report(each, LITTLE_DATA) for each in (tiny, exported)]
    assert reports[0].confusion.equals(reports[1].confusion)
    found, wanted = (evaluation.token_ablation(each, LITTLE[0]) for each in (exported, tiny))
    assert np.allclose(found, wanted, atol=1e-4, equal_nan=True)


def test_the_desk_shows_its_answers_attention_and_accuracy(exported):
    desk = al.HeadMixer(exported, LITTLE_DATA, text=LITTLE[0])
    try:
        desk.settings = random_settings(exported)
        desk.wait()
        wanted = al.Evaluator(exported, LITTLE_DATA).score(desk.settings).accuracy
        assert desk.accuracy["state"] == "measured"
        assert desk.accuracy["accuracy"] == wanted
        assert "no PyTorch weights" in desk.first_order["error"]
        wanted = exported.predict([LITTLE[0]], desk.settings).probabilities[0]
        assert np.allclose(desk.sentence["after"], wanted)
    finally:
        desk.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda clf: clf.model,
        lambda clf: clf.model.config,
        lambda clf: heads.prune(clf, [(0, 1)]),
        lambda clf: heads.applied(clf, clf.settings()).__enter__(),
        lambda clf: heads.run(clf, clf.encode(LITTLE).batch([0])),
        lambda clf: heads.self_check(clf),
        lambda clf: al.Evaluator(clf, LITTLE_DATA).gradients(),
        lambda clf: al.ablate(al.Evaluator(clf, LITTLE_DATA), method="mean"),
        lambda clf: al.pruning_curve(al.Evaluator(clf, LITTLE_DATA)),
        lambda clf: evaluation.token_gradients(clf, LITTLE[0]),
        lambda clf: evaluation.profiles(clf, LITTLE),
        lambda clf: balance.measure(clf, LITTLE),
        lambda clf: evaluation.layer_movement(clf, clf),
        lambda clf: al.finetune(clf.folder, al.datasets.load("movie-sentiment")),
        lambda clf: clf.export("elsewhere"),
    ],
)
def test_what_needs_weights_says_that_there_are_none_and_which_model_has_them(
    ask, tiny, tmp_path_factory
):
    base = tmp_path_factory.getbasetemp() / "with a source"
    if not base.exists():
        whole = al.load_classifier(tiny.save(base / "whole"))
        whole.export(base / "exported")
    clf = al.load_classifier(base / "exported")
    with pytest.raises(ModelError, match="no PyTorch weights") as found:
        ask(clf)
    assert f"al.load_classifier({str(base / 'whole')!r})" in str(found.value)


def test_a_copy_answers_alike(exported, tmp_path):
    wanted = logits(exported, LITTLE)
    assert torch.equal(logits(copy.deepcopy(exported), LITTLE), wanted)
    assert torch.equal(logits(pickle.loads(pickle.dumps(exported)), LITTLE), wanted)
    saved = al.load_classifier(exported.save(tmp_path / "elsewhere"))
    assert torch.equal(logits(saved, LITTLE), wanted)
    whole = exported.with_model(tiny_classifier("bert").model)
    near(logits(whole, LITTLE), wanted)


def test_settings_of_another_size_are_refused(exported):
    with pytest.raises(SettingsError, match="3 layers of 4 heads"):
        exported.predict(LITTLE, al.HeadSettings(2, 4))
    with pytest.raises(SettingsError, match="2 settings for a batch of 4"):
        exported.predict(LITTLE, al.HeadSettings.stack([exported.settings()] * 2))


def test_it_runs_in_as_many_threads_as_torch(folder, monkeypatch):
    used = []

    class Watched(onnxruntime.InferenceSession):
        def __init__(self, path, options, **more):
            used.append(options.intra_op_num_threads)
            super().__init__(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Watched)
    clf, before = al.load_classifier(folder), torch.get_num_threads()
    try:
        for threads in (3, 3, 1):
            torch.set_num_threads(threads)
            clf.predict(LITTLE)
    finally:
        torch.set_num_threads(before)
    assert used == [before] * (before != 3) + [3, 1]


@pytest.mark.parametrize("exact", [True, False])
def test_int8_is_computed_in_wider_numbers_only_where_it_could_overflow(folder, monkeypatch, exact):
    asked = []

    class Watched(onnxruntime.InferenceSession):
        def __init__(self, path, options, **more):
            with contextlib.suppress(RuntimeError):  # which has no such entry
                asked.append(options.get_session_config_entry("session.x64quantprecision"))
            super().__init__(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Watched)
    monkeypatch.setattr("attnlab.classification.onnx_graph.has_int8_products", lambda: exact)
    al.load_classifier(folder)
    assert asked == ([] if exact else ["1"])


def test_weights_that_layers_share_may_be_computed_in_wider_numbers(tmp_path, monkeypatch):
    """ONNX Runtime with that entry refuses the file itself on processors that need the entry."""
    shared = tiny_classifier("albert-shared")
    out = shared.export(tmp_path / "out", quantize="int8")
    assert "refuses that for layers that share" in (out / "export.md").read_text()
    monkeypatch.setattr("attnlab.classification.onnx_graph.has_int8_products", lambda: False)
    near(logits(al.load_classifier(out), LITTLE), logits(shared, LITTLE), 0.05)


def test_it_is_on_the_cpu(exported, folder):
    for ask in (lambda: exported.to("cuda"), lambda: al.load_classifier(folder, device="cuda")):
        with pytest.raises(ModelError, match="runs on the CPU, not on cuda"):
            ask()


# ── the card ───────────────────────────────────────────────────────────────────────────────────


def test_the_card_says_what_was_done_and_what_there_is(tiny, tmp_path):
    clf = tiny.with_model(copy.deepcopy(tiny.model))
    steps = [{"step": "prune_layers", "keep": [0, 2]}, {"step": "trim_vocabulary"}]
    clf.model.config.attnlab_steps = steps
    card = al.load_classifier(clf.export(tmp_path / "out", data=LITTLE_DATA)).card
    assert card["steps"] == steps
    assert card["labels"] == ["bad", "fair", "good"]
    assert card["accuracy"]["same_answers"] == 1
    assert card["largest_difference"] < 1e-4
    assert card["versions"]["onnxruntime"] == onnxruntime.__version__
    files = {path.name for path in (tmp_path / "out").iterdir()} - {"export.json", "export.md"}
    assert set(card["files"]) == files
    sizes = [(tmp_path / "out" / name).stat().st_size for name in files]
    assert card["bytes"] == sum(sizes)
    text = (tmp_path / "out" / "export.md").read_text()
    assert "1. prune_layers(keep=[0, 2])\n2. trim_vocabulary()" in text


def test_the_same_export_has_the_same_bytes(tiny, folder, tmp_path):
    again = tiny.export(tmp_path / "again")
    for file in folder.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name


# ── faults ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["model.onnx", "config.json", "tokenizer.json"])
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:-9]), "is cut off"),
        (lambda file: file.write_bytes(file.read_bytes() + b" "), "was changed"),
        (
            lambda file: file.write_bytes(file.read_bytes()[:-40] + b"0" + file.read_bytes()[-39:]),
            "was changed since it was exported",
        ),
    ],
)
def test_a_file_that_is_not_as_it_was_exported_is_named(copied, name, damage, told):
    damage(copied / name)
    with pytest.raises(ModelError, match=rf"{name} {told}.*overwrite=True"):
        al.load_classifier(copied)


def test_a_card_that_is_missing_damaged_or_of_another_version_is_said(copied):
    card = copied / "export.json"
    text = card.read_text()
    for content, told in (
        (text[:90], "no valid JSON"),
        ("{}", "lacks something"),
        (text.replace('"format": 1', '"format": 7'), "format 7"),
        (text.replace('"model.onnx"', '"other.onnx"'), "lacks something"),
    ):
        card.write_text(content)
        with pytest.raises(ModelError, match=told):
            al.load_classifier(copied)
    card.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx and no export\.json"):
        al.load_classifier(copied)


def test_a_file_changed_after_loading_is_seen_before_it_is_read_again(copied):
    clf, before = al.load_classifier(copied), torch.get_num_threads()
    (copied / "model.onnx").write_bytes(b"something else")
    try:
        torch.set_num_threads(before + 1)
        with pytest.raises(ModelError, match=r"model\.onnx is cut off"):
            clf.predict(LITTLE)
    finally:
        torch.set_num_threads(before)


def test_a_folder_with_other_files_or_a_finished_model_is_left_alone(tiny, tmp_path, copied):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds other files and no model"):
        tiny.export(tmp_path / "mine")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="is a file"):
        tiny.export(tmp_path / "file")
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    with pytest.raises(ModelError, match=r"finished model, which would be lost.*overwrite=True"):
        tiny.export(copied)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before


def test_a_new_model_takes_the_place_of_an_old_one_of_the_other_kind(tiny, tmp_path):
    out = tiny.save(tmp_path / "out")
    (out / "README.md").write_text("about my model")
    tiny.export(out, overwrite=True)
    assert not (out / "model.safetensors").exists()
    assert (out / "README.md").read_text() == "about my model"
    assert isinstance(al.load_classifier(out), OnnxClassifier)
    tiny.save(out)
    assert not {"model.onnx", "export.json", "export.md"} & {path.name for path in out.iterdir()}
    assert not isinstance(al.load_classifier(out), OnnxClassifier)


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["before", "graph", "tokenizer", "readme"])
def test_a_full_disk_is_said_and_nothing_is_left(tiny, tmp_path, monkeypatch, where):
    out = tiny.save(tmp_path / "out")
    if where == "before":
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(exporting.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    elif where == "graph":
        monkeypatch.setattr(exporting, "write_graph", no_space)
    elif where == "readme":
        monkeypatch.setattr(exporting, "readme", no_space)
    else:

        def of_rust(*args):
            raise Exception("No space left on device (os error 28)")

        kind = type(tiny.tokenizer)
        monkeypatch.setattr(kind, "save_pretrained", of_rust)
    with pytest.raises(ModelError, match=r"(MB are free|No space left).*another place"):
        tiny.export(out, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "model.safetensors").exists()


def test_a_graph_that_answers_otherwise_is_not_written(tiny, tmp_path, monkeypatch):
    other = tiny.with_model(copy.deepcopy(tiny.model))
    with torch.no_grad():
        other.model.classifier.bias += 0.01

    def of_another(clf, *rest):
        graphs.write_graph(other, *rest)

    monkeypatch.setattr(exporting, "write_graph", of_another)
    with pytest.raises(ModelError, match=r"differ from the classifier's by 0\.01"):
        tiny.export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_loss_of_accuracy_is_said(tmp_path, monkeypatch):
    clf, data = answering("bert")
    other = clf.with_model(copy.deepcopy(clf.model))
    with torch.no_grad():
        other.model.classifier.bias[0] += 3

    def of_another(clf, *rest):
        graphs.write_graph(other, *rest)

    monkeypatch.setattr(exporting, "write_graph", of_another)
    with pytest.warns(AttnlabWarning, match=r"and the classifier on 100\.0%.*float32"):
        clf.export(tmp_path / "out", quantize="int8", data=data)
    assert al.load_classifier(tmp_path / "out").card["accuracy"]["ci_high"] < 0


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(tiny, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(AttnlabError, match=r"quantize='int9'.*'int8'"):
        tiny.export(out, quantize="int9")
    with pytest.raises(DataError, match="labelled texts"):
        tiny.export(out, data=LITTLE)
    with pytest.raises(DataError, match="'other' is not among them"):
        tiny.export(out, data=al.TextDataset(["a"], [0], ["other"], "foreign"))
    config = PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
    prefix = tiny.with_model(get_peft_model(copy.deepcopy(tiny.model), config))
    with pytest.raises(ModelError, match="prefix"):
        prefix.export(out)
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(tiny.model))
    with pytest.raises(ModelError, match="before it was quantised"):
        tiny.with_model(quantised).export(out)
    with monkeypatch.context() as patch:
        patch.setattr(graphs, "_LARGEST", 1000)
        with pytest.raises(ModelError, match="one file of ONNX holds 2 GB"):
            tiny.export(out)
    wrong = tiny.with_model(copy.deepcopy(tiny.model))
    wrong.model.classifier.weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"classifier\.weight"):
        wrong.export(out)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_line_to_type(tiny, folder, tmp_path, monkeypatch):
    for package in ("onnx", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            patch.delitem(sys.modules, "onnxruntime.quantization", raising=False)
            with pytest.raises(MissingPackage, match=rf'{package} .*pip install "attnlab\[lab\]"'):
                tiny.export(tmp_path / "out")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackage, match=r'onnxruntime .*pip install "attnlab\[lab\]"'):
        al.load_classifier(folder)
    assert list(tmp_path.iterdir()) == []


def test_the_command_exports_and_refuses_to_overwrite(tiny, tmp_path, capsys):
    source = tiny.save(tmp_path / "source")
    rows = [
        f"{text},{label}"
        for text, label in zip(LITTLE, ["bad", "bad", "fair", "good"], strict=True)
    ]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *rows]))
    command = ["export", str(source), str(tmp_path / "out"), "--quantize", "int8"]
    with pytest.raises(SystemExit) as end:
        main([*command, "--data", str(tmp_path / "mine.csv")])
    said = capsys.readouterr()
    assert not end.value.code, said.err
    assert "4 texts: " in said.out
    assert "MB (int8) written to" in said.out
    assert al.load_classifier(tmp_path / "out").dtype == torch.int8
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 1
    assert "--overwrite" in capsys.readouterr().err


def test_the_command_calibrates_on_texts(tiny, tmp_path, capsys):
    source = tiny.save(tmp_path / "source")
    (tmp_path / "mine.csv").write_text("text,label\n" + "".join(f"{text},bad\n" for text in LITTLE))
    command = ["export", str(source), str(tmp_path / "out"), "--calibrate"]
    command += [str(tmp_path / "mine.csv")]
    with pytest.raises(SystemExit):
        main(command)
    assert "Without --quantize int8 nothing is rounded" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main([*command, "--quantize", "int8"])
    assert not end.value.code, capsys.readouterr().err
    assert al.load_classifier(tmp_path / "out").card["calibrated_on"] == 4
