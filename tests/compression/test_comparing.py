"""One table for several models: accuracy, size, memory, time; and where the weights are."""

import types

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_classifiers import answering, tiny_classifier
from tiny_models import CONFIGS
from tiny_tokenizers import subword_classifier

from attnlab import heads
from attnlab.classification.base import Predictions
from attnlab.compression.comparing import compare
from attnlab.compression.describing import PARTS, describe
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, DataError, ModelError
from attnlab.evaluation import calibration
from attnlab.heads import sites
from attnlab.statistics import paired_interval, share_interval

QUICK = {"seconds": 0.01, "repeats": 3, "threads": 1, "memory": False}
DATA = TextDataset([f"text {n}" for n in range(10)], [0, 1] * 5, ["bad", "good"], "made up")


class Says:
    """A model that gives the answers it was told to give."""

    def __init__(self, answers, label_names=("bad", "good"), surely=0.9):
        self.answers, self.label_names, self.surely = answers, list(label_names), surely
        self.asked = []

    def predict(self, texts):
        self.asked.append(list(texts))
        labels = [self.answers[int(text.split()[1])] for text in texts]
        rest = (1 - self.surely) / (len(self.label_names) - 1)
        probabilities = np.full((len(texts), len(self.label_names)), rest)
        for row, label in zip(probabilities, labels, strict=True):
            row[self.label_names.index(label)] = self.surely
        return Predictions(labels, probabilities)


RIGHT = ["bad", "good"] * 5
WRONG = ["good", "bad"] * 5
SEVEN = RIGHT[:7] + WRONG[7:]
FOUR = WRONG[:6] + RIGHT[6:]  # shares one right answer with SEVEN


def test_accuracy_difference_and_calibration_are_those_of_the_answers():
    table = compare({"first": Says(SEVEN), "second": Says(FOUR, surely=0.7)}, DATA, **QUICK)
    assert list(table["name"]) == ["first", "second"]
    assert list(table["accuracy"]) == [0.7, 0.4]
    assert tuple(table.loc[1, ["ci_low", "ci_high"]]) == share_interval(4, 10)
    assert tuple(table.loc[0, ["delta", "delta_low", "delta_high"]]) == (0, 0, 0)
    assert table["delta"][1] == pytest.approx(-0.3)
    assert tuple(table.loc[1, ["delta_low", "delta_high"]]) == paired_interval(3, 6, 10)
    assert table["calibration_error"].to_numpy() == pytest.approx([0.2, 0.3])


def test_columns_of_the_contract_come_first():
    table = compare({"a": Says(RIGHT), "b": Says(SEVEN)}, DATA, **QUICK)
    assert list(table)[:9] == [
        *("name", "accuracy", "ci_low", "ci_high", "delta"),
        *("parameters", "megabytes", "ms_batch_1", "ms_batch_32"),
    ]
    assert set(list(table)[9:]) == {
        *("delta_low", "delta_high", "calibration_error", "nonzero", "peak_mb"),
        *("ms_batch_1_p95", "texts_per_second_32"),
    }


def test_labels_in_another_order_are_compared_by_name():
    table = compare({"a": Says(SEVEN), "b": Says(SEVEN, ("good", "bad"))}, DATA, **QUICK)
    assert list(table["accuracy"]) == [0.7, 0.7]
    assert table["delta"][1] == 0
    assert table["calibration_error"][0] == table["calibration_error"][1]


def test_what_a_model_cannot_say_is_nan_and_said_why():
    table = compare({"a": Says(RIGHT), "b": Says(SEVEN)}, DATA, **QUICK)
    unknown = table[["parameters", "nonzero", "megabytes", "peak_mb"]]
    assert unknown.isna().all(axis=None)
    why = table.attrs["not_measured"]["a"]
    assert why.keys() == {"parameters", "nonzero", "megabytes", "peak_mb"}
    assert "Says" in why["megabytes"]


def test_in_each_round_all_models_get_the_same_texts_in_turn():
    models = {name: Says(RIGHT) for name in ("a", "b", "c")}
    log = []
    for name, model in models.items():
        plain = model.predict
        model.predict = lambda texts, name=name, plain=plain: (
            log.append((name, tuple(texts))),
            plain(texts),
        )[1]
    table = compare(models, DATA, seconds=60, repeats=4, threads=1, memory=False)
    log = log[3:]  # the answers
    assert table.attrs["rounds"] == {1: 4, 32: 4}
    for batch, warm, timed, part in ((1, 2, 6, log[:96]), (32, 1, 1, log[96:])):
        assert all(len(texts) == batch for _, texts in part)
        size = warm + timed
        turns = [part[start : start + size] for start in range(0, len(part), size)]
        assert len(turns) == 12  # four rounds of three models
        assert all(len({name for name, _ in turn}) == 1 for turn in turns)
        rounds = [turns[start : start + 3] for start in range(0, 12, 3)]
        for each in rounds:
            assert {turn[0][0] for turn in each} == {"a", "b", "c"}
            asked = [[texts for _, texts in turn] for turn in each]
            assert asked[0] == asked[1] == asked[2]
            assert batch == 32 or not {*asked[0][:warm]} & {*asked[0][warm:]}, "warm by others"
        assert len({each[0][0][0] for each in rounds[:3]}) == 3, "each is the first in its turn"
    single = [texts for turn in range(4) for _, texts in log[24 * turn : 24 * turn + 8][2:]]
    assert len({*single}) == 10, "different texts at batch 1"


def test_it_stops_when_the_time_is_over_but_not_before_three_rounds():
    table = compare(
        {"a": Says(RIGHT), "b": Says(RIGHT)}, DATA, seconds=1e-6, threads=1, memory=False
    )
    assert table.attrs["rounds"] == {1: 3, 32: 3}


def test_times_are_medians_over_the_rounds(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        "attnlab.compression.comparing.time", types.SimpleNamespace(perf_counter=lambda: clock.now)
    )
    model, other, plain = Says(RIGHT), Says(RIGHT), Says(RIGHT).predict

    def slow(waits):
        def predict(texts):
            clock.now += next(waits) / 1000
            return plain(texts)

        return predict

    model.predict = slow(iter([9, *3 * [9, 9, 1, 2, 6, 1, 2, 6], 9, 64, 9, 32, 9, 32]))
    other.predict = slow(iter([1] * 31))
    table = compare({"a": model, "b": other}, DATA, **QUICK)
    assert table["ms_batch_1"].to_numpy() == pytest.approx([2, 1])
    assert table["ms_batch_1_p95"][0] == pytest.approx(np.quantile(6 * [1, 2, 6], 0.95))
    assert table["ms_batch_32"][0] == pytest.approx(32)
    assert table["texts_per_second_32"][0] == pytest.approx(1000)


def test_threads_are_pinned_said_and_given_back():
    before = torch.get_num_threads()
    seen = []

    model = Says(RIGHT)
    plain = model.predict
    model.predict = lambda texts: (seen.append(torch.get_num_threads()), plain(texts))[1]
    options = QUICK | {"threads": before + 1}
    table = compare({"a": model, "b": Says(RIGHT)}, DATA, **options)
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
    assert table.attrs["threads"] == before + 1


def test_models_take_one_thread_unless_asked_otherwise():
    pair = {"a": Says(RIGHT), "b": Says(RIGHT)}
    assert compare(pair, DATA, **QUICK | {"threads": None}).attrs["threads"] == 1


def test_the_table_says_what_its_times_depend_on():
    attrs = compare({"a": Says(RIGHT), "b": Says(RIGHT)}, DATA, **QUICK).attrs
    assert attrs["texts"] == 10
    assert attrs["torch"] == torch.__version__
    assert attrs["cpu"]
    assert isinstance(attrs["cpu_flags"], list)
    assert {"onnxruntime", "float32_kernel"} <= attrs.keys()


@pytest.fixture(scope="module")
def pair():
    clf, data = answering("bert", count=60)
    smaller = heads.prune(clf, [(0, 0), (1, 2), (2, 1)])
    with torch.no_grad():
        smaller.model.bert.encoder.layer[0].intermediate.dense.weight[:5] = 0
    return clf, smaller, data


def test_sizes_are_those_of_the_files_that_are_written(pair, tmp_path):
    clf, smaller, data = pair
    table = compare({"whole": clf, "pruned": smaller}, data, **QUICK)
    assert list(table["parameters"]) == [clf.parameters(), smaller.parameters()]
    weights = list(smaller.model.parameters())
    assert table["nonzero"][1] == sum(int((one != 0).sum()) for one in weights)
    assert table["nonzero"][1] <= smaller.parameters() - 5 * 32
    for name, model, megabytes in zip("ab", (clf, smaller), table["megabytes"], strict=True):
        model.save(tmp_path / name)
        assert megabytes == (tmp_path / name / "model.safetensors").stat().st_size / 1e6
    assert table["accuracy"][0] == 1
    right = np.array(smaller.predict(data.texts).labels) == np.array(
        [data.label_names[label] for label in data.labels]
    )
    assert table["accuracy"][1] == right.mean()
    probabilities = smaller.predict(data.texts).probabilities
    assert table["calibration_error"][1] == pytest.approx(
        calibration(probabilities, np.array(data.labels))[1]
    )


class Exported(Says):
    """Has no weights here, as a model for ONNX Runtime, and lies in a folder."""

    def __init__(self, folder):
        super().__init__(RIGHT)
        self.folder = folder

    @property
    def model(self):
        raise ModelError("The weights are not here.")

    def parameters(self):
        return 1234


def test_a_model_that_lies_in_a_folder_is_measured_there(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"0" * 5000)
    (tmp_path / "tokenizer.json").write_bytes(b"0" * 9000)
    table = compare({"a": Says(RIGHT), "b": Exported(tmp_path)}, DATA, **QUICK)
    assert table["megabytes"][1] == 0.005
    assert table["parameters"][1] == 1234
    assert np.isnan(table["nonzero"][1])
    assert table.attrs["not_measured"]["b"]["nonzero"] == "Exported does not say"


def test_a_class_with_its_own_load_is_read_by_it(tmp_path, monkeypatch):
    asked = []

    class Early(Says):
        @classmethod
        def load(cls, folder):
            raise NotImplementedError

        def save(self, folder):
            folder.mkdir()
            (folder / "model.safetensors").write_bytes(b"0" * 100)

    def peak(folder, texts, threads, loader):
        asked.append((loader, threads, len(texts)))
        return 500.0, 300.0

    monkeypatch.setattr("attnlab.compression.comparing.peak_memory", peak)
    models = {"a": Early(RIGHT), "b": Exported(tmp_path)}
    table = compare(models, DATA, **QUICK | {"memory": True})
    assert [loader.rpartition(":")[2].rpartition(".")[2] for loader, _, _ in asked] == [
        "load",
        "load_classifier",
    ]
    assert asked[0][1:] == (1, 10)
    assert list(table["peak_mb"]) == [500, 500]
    assert table.attrs["libraries_mb"] == 300


@pytest.mark.slow  # starts three processes
@pytest.mark.thorough
def test_peak_memory_is_that_of_a_process_with_this_model_alone(tmp_path):
    clf = subword_classifier("bert")
    large = subword_classifier("bert")
    words = large.model.get_input_embeddings()
    rows = torch.nn.Embedding(len(large.tokenizer), words.embedding_dim, padding_idx=0)
    large.model.set_input_embeddings(rows)
    inner = large.model.config.intermediate_size = 100_000  # 26 MB in each of three layers
    for layer in large.model.bert.encoder.layer:
        layer.intermediate.dense = torch.nn.Linear(32, inner)
        layer.output.dense = torch.nn.Linear(inner, 32)
    texts = ["a slow start", "dull"]
    data = TextDataset(texts, [0, 1], clf.label_names, "made up")
    broken = Says(RIGHT)
    broken.predict = clf.predict
    broken.label_names = clf.label_names
    broken.folder = tmp_path
    table = compare(
        {"small": clf, "large": large, "broken": broken}, data, **QUICK | {"memory": True}
    )
    small, more, none = table["peak_mb"]
    libraries = table.attrs["libraries_mb"]
    assert 50 < libraries <= small
    assert 70 < more - small < 400
    assert np.isnan(none)
    assert "Peak memory cannot be measured" in table.attrs["not_measured"]["broken"]["peak_mb"]
    assert np.isnan(table["megabytes"][2])


# ── what is refused ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("models", "data", "error", "message"),
    [
        ({"a": Says(RIGHT)}, DATA, AttnlabError, "two or more models by name, got 1"),
        ({}, DATA, AttnlabError, "two or more models by name, got 0"),
        (Says(RIGHT), DATA, AttnlabError, "by name, got a Says"),
        ({"a": Says(RIGHT), "b": "file"}, DATA, AttnlabError, "'b' is a str; expected a model"),
        ({"a": Says(RIGHT), "b": Says(RIGHT)}, DATA.select([]), DataError, "got no texts"),
        ({"a": Says(RIGHT), "b": Says(RIGHT)}, ["text 1"], DataError, "got a list"),
        (
            {"a": Says(RIGHT), "b": Says(RIGHT, ("bad", "good", "fair"))},
            DATA,
            ModelError,
            "'b' has the labels .*'fair'.* and 'a' ",
        ),
        (
            {"a": Says(RIGHT, ("0", "1")), "b": Says(RIGHT, ("0", "1"))},
            DATA,
            DataError,
            "'bad', 'good' is not among them",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(models, data, error, message):
    with pytest.raises(error, match=message):
        compare(models, data, **QUICK)


def test_a_model_that_answers_too_little_is_refused():
    short = Says(RIGHT)
    plain = short.predict
    short.predict = lambda texts: plain(texts[:-1])
    with pytest.raises(ModelError, match=r"'b' gave 9 labels .* for 10 texts"):
        compare({"a": Says(RIGHT), "b": short}, DATA, **QUICK)


@pytest.mark.parametrize(
    ("option", "value"), [("seconds", 0), ("repeats", 0), ("repeats", 2.5), ("threads", -1)]
)
def test_times_and_counts_that_are_none_are_refused(option, value):
    with pytest.raises(AttnlabError, match=f"{option} is {value}; expected a number above 0"):
        compare({"a": Says(RIGHT), "b": Says(RIGHT)}, DATA, **QUICK | {option: value})


# ── where the weights are ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", CONFIGS)
def test_every_weight_is_in_one_part(family):
    clf = tiny_classifier(family)
    table = describe(clf)
    assert table["parameters"].sum() == clf.parameters()
    assert table["share"].sum() == pytest.approx(1)
    assert set(table["part"]) == set(PARTS)
    counts = dict(clf.model.named_parameters())
    words = table[table["part"] == "word embeddings"]["parameters"].item()
    assert words == clf.model.get_input_embeddings().weight.numel()
    norms = sum(one.numel() for name, one in counts.items() if "norm" in name.lower())
    assert table[table["part"] == "norms"]["parameters"].item() == norms
    layers = 1 if family == "albert-shared" else 3
    for layer, site in enumerate(sites(clf.model)[:layers]):
        row = table[(table["part"] == "attention") & (table["layer"] == layer)]
        four = [getattr(site.module, name) for name in (site.query, site.key, site.value)]
        own = sum(p.numel() for one in (*four, site.output) for p in one.parameters())
        assert row["parameters"].item() == own
        feed = table[(table["part"] == "feed-forward") & (table["layer"] == layer)]
        assert feed["parameters"].item() == 2 * 32 * 64 + 32 + 64
    assert table["layer"].max() == layers - 1
    assert list(table["part"])[:2] == ["word embeddings", "other embeddings"]
    top = [counts[name].numel() for name in counts if "classifier" in name or "pooler" in name]
    assert table[table["part"] == "pooler and classifier"]["parameters"].item() == sum(top)


def test_zeros_and_removed_heads_are_seen(pair):
    _, smaller, _ = pair
    table = describe(smaller).set_index(["part", "layer"])
    assert table["parameters"].sum() == smaller.parameters()
    assert table["nonzero"].sum() == sum(int((p != 0).sum()) for p in smaller.model.parameters())
    feed = table.loc[("feed-forward", 0)]
    assert feed["parameters"] - feed["nonzero"] >= 5 * 32
    assert pd.isna(describe(smaller)["layer"][0])
