"""The peeler without a browser: what is removed, what is measured and said, and what is kept."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from tiny_classifiers import answering, tiny_classifier
from tiny_models import CONFIGS

import attnlab as al
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError, SettingsError
from attnlab.show.widgets import peeler as desks
from attnlab.show.widgets import peeling
from attnlab.show.widgets.peeled_parts import Known, Timing, median_interval, sizes
from attnlab.show.widgets.peeler_report import peeler_report
from attnlab.show.widgets.peeling import (
    KINDS,
    Choice,
    Scores,
    amounts,
    as_code,
    first_choice,
    kept_layers,
    peeled,
    why_not,
)
from attnlab.statistics import paired_test

CHOICES = [
    Choice("heads", 50, "margin"),
    Choice("heads", 50, "gradient", True),
    Choice("heads", 30, "random"),
    Choice("neurons", 50, "activation"),
    Choice("neurons", 70, "magnitude", True),
    Choice("neurons", 20, "gradient"),
    Choice("neurons", 20, "random"),
    Choice("layers", 1, "ablation"),
    Choice("layers", 2, "random"),
    Choice("weights", 50, "magnitude"),
    Choice("weights", 30, "activation"),
    Choice("quantize", 5, "all"),
    Choice("codebook", 3, "all"),
    Choice("low rank", 50, "weights"),
    Choice("low rank", 50, "outputs"),
]


@pytest.fixture(scope="module")
def little():
    return answering("bert", 120)


@pytest.fixture
def desk(little):
    made = desks.Peeler(*little)
    yield made
    made.close()


def refused(*_):
    raise AssertionError("It was computed again.")


def logits(clf, texts):
    return clf.logits(clf.encode(texts))


def in_file(clf, folder):
    clf.save(folder)
    return sum(tensor.nbytes for tensor in load_file(folder / "model.safetensors").values())


def report(clf, known=None, missing=None, **changes):
    settings = dataclasses.asdict(first_choice("neurons", clf.layers)) | {"area": "parameters"}
    made = peeler_report(
        settings | changes, known or Known(), sizes(clf), clf.layers, missing or {}
    )
    json.dumps(made, allow_nan=False)
    return made


def timing_of(ratios):
    """Rounds in which the other model took so many times as long."""
    return Timing(32, [(0.01, 0.01 * r) for r in ratios], [(0.1, 0.1 * r) for r in ratios],
                  [({}, {})] * len(ratios))  # fmt: skip


# ── what is removed ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_smaller_model_is_the_one_that_the_code_makes(little, choice):
    clf, data = little
    calibration = data.select(range(40))
    smaller = peeled(clf, choice, Scores(clf, calibration))
    made = {"clf": clf, "calibration": calibration, "al": al}
    exec(as_code(choice), made)
    assert torch.equal(logits(smaller, data.texts), logits(made["smaller"], data.texts))


@pytest.mark.parametrize("family", CONFIGS)
def test_every_kind_that_a_family_has_works_and_what_it_lacks_is_named(family, tmp_path):
    clf, data = answering(family, 40)
    missing, scores = why_not(clf), Scores(clf, data)
    assert list(missing) == (["layers"] if family.startswith("albert") else [])
    for kind in KINDS:
        if kind in missing:
            continue
        choice = first_choice(kind, clf.layers)
        smaller = peeled(clf, choice, scores)
        found = sizes(smaller, kept_layers(smaller, choice), zeros=True).values()
        assert sum(size.parameters for size in found) == smaller.parameters()
        written = in_file(smaller, tmp_path / kind)
        assert sum(size.bytes for size in found) == written < in_file(clf, tmp_path / "whole")


def test_chance_is_among_the_scores_wherever_there_is_a_choice():
    chosen = {kind for kind, about in KINDS.items() if "random" in about.scores}
    assert chosen == {"heads", "neurons", "layers", "weights"}


def test_parts_hold_what_they_are_made_of():
    clf = tiny_classifier("bert")
    config, found = clf.model.config, sizes(clf)
    width, inner = config.hidden_size, config.intermediate_size
    assert found["words", -1].parameters == config.vocab_size * width
    assert found["attention", 1].parameters == 4 * width * (width + 1) + 2 * width
    assert found["feed-forward", 2].parameters == 2 * width * inner + inner + 3 * width
    assert found["head", -1].parameters == width * (width + 1) + 3 * (width + 1)


def test_layers_keep_their_numbers_when_others_go():
    clf = tiny_classifier("bert")
    smaller = al.compression.prune_layers(clf, keep=[0, 2])
    left = sizes(smaller, kept_layers(smaller, Choice("layers", 1, "random")))
    assert ("attention", 1) not in left
    shown = report(clf, Known(left), kind="layers", amount=1, by="random")
    parts = [part for column in shown["columns"] for part in column["parts"]]
    gone = [part["words"].split(":")[0] for part in parts if not part["left"]]
    assert gone == ["layer 1, attention", "layer 1, feed-forward"]


# ── what is measured ───────────────────────────────────────────────────────────────────────────


def test_accuracy_and_change_are_those_of_plain_predictions(desk, little):
    clf, _ = little
    desk.set(kind="quantize", amount=2)
    desk.wait()
    data, right = desk._data, []
    for model in (clf, desk.smaller):
        answers = np.array(model.predict(data.texts).labels)
        right.append(answers == np.array(data.label_names)[data.labels])
    test = paired_test(*right)
    untouched, now, change = desk.report["rows"][0]["cells"]
    assert untouched[0] == f"{100 * right[0].mean():.1f}\u00a0%"
    assert now[0] == f"{100 * right[1].mean():.1f}\u00a0%"
    assert change[0].startswith(f"{100 * test.delta:+.1f}".replace("-", "−").replace("+0.0", "0.0"))
    assert desk.report["state"] == "measured"
    assert len(desk.report["times"]["bars"]) == 2 + 2 * clf.layers


def test_texts_that_choose_are_not_those_that_measure(little):
    clf, data = little
    distinct = TextDataset(
        [f"{text} {number}" for number, text in enumerate(data.texts)],
        data.labels, data.label_names, "numbered",
    )  # fmt: skip
    desk = desks.Peeler(clf, distinct)
    chosen, measured = set(desk._scores.calibration.texts), set(desk._data.texts)
    assert not chosen & measured
    assert chosen | measured == set(distinct.texts)
    desk.close()


@pytest.mark.parametrize("count", range(1, 40))
def test_the_interval_of_a_median_is_the_narrowest_that_holds_it_in_95_of_100(count):
    middle, low, high = median_interval(list(np.random.default_rng(0).permutation(count)))
    assert middle == (count - 1) / 2
    if 2 * stats.binom.cdf(0, count, 0.5) > 0.05:
        assert (low, high) == (-np.inf, np.inf)
        return
    assert high == count - 1 - low
    assert 2 * stats.binom.cdf(low, count, 0.5) <= 0.05 < 2 * stats.binom.cdf(low + 1, count, 0.5)


def test_the_model_that_others_ask_is_never_watched(desk, little, monkeypatch):
    clf, _ = little
    for kind in ("register_forward_hook", "register_forward_pre_hook"):
        for module in clf.model.modules():
            monkeypatch.setattr(module, kind, refused, raising=False)
    for choice in ({"kind": "neurons", "by": "activation"}, {"kind": "heads", "by": "margin"}):
        desk.set(**choice)
        desk.wait()
        assert desk.error == ""
        assert desk.report["state"] == "measured"


def test_what_was_computed_is_not_computed_again(desk, monkeypatch):
    desk.wait()
    first = desk.report
    desk.set(amount=30)
    desk.wait()
    monkeypatch.setattr(desks, "peeled", refused)
    monkeypatch.setattr(desks, "timed_round", refused)
    desk.set(amount=50)
    assert desk.report == first
    desk.wait()
    assert desk.error == ""


def test_scores_are_computed_once_for_all_amounts(desk, monkeypatch):
    desk.wait()
    monkeypatch.setattr(peeling, "_SCORES", dict.fromkeys(peeling._SCORES, refused))
    desk.set(amount=30)
    desk.wait()
    assert desk.report["state"] == "measured"
    assert desk.error == ""


# ── what is said ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ratios", "verdict", "said"),
    [
        ([0.9, 1.1] * 5, "", "not measurably faster: a zero is multiplied like any other number"),
        ([0.5, 0.6] * 5, "good", "It is faster: 32 texts take 0.55 of the time (0.50 to 0.60)"),
        ([1.5, 1.6] * 5, "bad", "It is slower: 32 texts take 1.55 of the time"),
    ],
)
def test_whether_it_is_faster_is_read_off_the_times(ratios, verdict, said):
    clf = tiny_classifier("bert")
    choice = Choice("weights", 50, "magnitude")
    one = TextDataset(["dull"], [0], clf.label_names, "one")
    smaller = peeled(clf, choice, Scores(clf, one))
    known = Known(sizes(smaller, zeros=True), timing=timing_of(ratios), timed=True)
    shown = report(clf, known, kind="weights", by="magnitude")
    assert said in shown["remark"]
    assert "No parameter is gone" in shown["remark"]
    assert "are 0" in shown["rows"][1]["cells"][2][1]
    assert shown["rows"][-1]["verdict"] == verdict


def test_before_all_is_measured_it_says_not_final(desk):
    desk.wait()
    known = desk._known[desk._choice()]
    before, after = known.seen
    part = dataclasses.replace(before, total=10_000), dataclasses.replace(after, total=10_000)
    shown = report(desk._clf, Known(known.sizes, part))
    assert shown["state"] == "partial"
    assert "of 10,000 texts, not final" in shown["progress"]
    assert "The accuracy is not final" in shown["remark"]


def test_nothing_gone_is_the_untouched_model_and_its_noise(desk, little):
    desk.set(amount=0)
    desk.wait()
    assert desk.smaller is little[0]
    assert desk.code == "smaller = clf"
    assert "Timed against itself" in desk.report["remark"]
    assert desk.report["rows"][0]["cells"][2][0] == "0.0 points"


def test_bytes_show_what_few_bits_save(desk):
    desk.set(kind="quantize", amount=4, area="bytes")
    desk.wait()
    whole = sum(size.bytes for size in desk._untouched.values())
    drawn = [part for column in desk.report["columns"] for part in column["parts"]]
    assert sum(part["total"] for part in drawn) == whole
    assert sum(part["left"] for part in drawn) < whole / 3
    desk.set(area="parameters")
    drawn = [part for column in desk.report["columns"] for part in column["parts"]]
    assert all(part["left"] == part["total"] for part in drawn)


def test_another_kind_brings_its_own_amount_and_score(desk):
    desk.set(kind="layers")
    assert desk.settings == {
        "kind": "layers", "amount": 1, "by": "ablation", "repaired": False, "area": "parameters",
    }  # fmt: skip
    desk.set(kind="codebook", amount=2)
    assert desk.settings["by"] == "all"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "air"}, "There is no kind 'air'"),
        ({"amount": 55}, "amount is 55; for feed-forward neurons it is one of 0, 10"),
        ({"by": "margin"}, "For feed-forward neurons there are activation, gradient"),
        ({"area": "weight"}, "There are parameters, bytes"),
        ({"kind": "layers", "repaired": True}, "Nothing is repaired for layers"),
    ],
)
def test_a_setting_that_there_is_not_is_refused_and_nothing_moves(desk, changes, said):
    before = dict(desk.settings)
    with pytest.raises(SettingsError, match=re.escape(said)):
        desk.set(**changes)
    assert desk.settings == before


def test_a_kind_that_the_model_lacks_says_why():
    clf, data = answering("albert", 40)
    desk = desks.Peeler(clf, data)
    with pytest.raises(SettingsError, match="all share their weights"):
        desk.set(kind="layers")
    grey = [words for _, words, can in desk.report["kinds"] if not can]
    assert grey == ["layers (all share their weights)"]
    desk.close()


@pytest.mark.parametrize("given", [["a text"], None])
def test_texts_without_labels_are_refused(little, given):
    with pytest.raises(DataError, match="labelled texts"):
        desks.Peeler(little[0], given)


def test_its_picture_says_what_it_bought_and_cost(desk):
    desk.wait()
    alt = desk.picture().alt
    assert "word embeddings" in alt
    assert "accuracy" in alt
    assert "of the time" in alt


def test_every_kind_goes_from_nothing_to_most():
    for kind in KINDS:
        steps = [value for value, _ in amounts(kind, 6)]
        assert Choice(kind, steps[0], "").nothing
        assert not any(Choice(kind, step, "").nothing for step in steps[1:])
