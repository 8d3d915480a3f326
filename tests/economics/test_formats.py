"""A number format is chosen as heads and layers are: by what is really there, measured."""

import contextlib

import numpy as np
import onnx
import pytest
import torch
from made_up_latency import Clock
from onnx import numpy_helper
from tiny_classifiers import answering, tiny_classifier

import attnlab as al
from attnlab import compression
from attnlab.datasets.splits import Splits
from attnlab.economics import searching
from attnlab.economics.budgets import Budget, costs_of
from attnlab.economics.formats import in_format
from attnlab.economics.searching import search
from attnlab.economics.shapes import megabytes, shape_of
from attnlab.economics.timing import latency
from attnlab.errors import AttnlabError
from attnlab.evaluation.evaluator import Evaluator

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*this machine is doing something else", "ignore:No threshold surely loses"
)
BOTH = ("float32", "int8")
FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert", "albert-shared"]


@pytest.fixture(scope="module")
def bert():
    clf, data = answering("bert", 240)
    splits = Splits(*(data.select(range(*ends)) for ends in ((0, 60), (60, 180), (180, 240))))
    return clf, splits


@pytest.fixture(scope="module")
def small_file(bert):
    """A budget that int8 meets and float32 does not, and what was found."""
    clf, splits = bert
    budget = Budget(megabytes=1.05 * megabytes(shape_of(clf), "int8"))
    return budget, search(clf, splits, budget, most=9, steps=4, formats=BOTH)


def without_twins(clf):
    """The same with weights that all differ, as after training: a graph stores equal ones once."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in clf.model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return clf


def weights_in(folder):
    """What the graph in a folder stores, by name, without the defaults of the head settings."""
    stored = onnx.load(folder / "model.onnx").graph.initializer
    found = {weight.name: numpy_helper.to_array(weight) for weight in stored}
    return {name: one for name, one in found.items() if name not in ("scale", "temperature")}


# --- megabytes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", ["", "pruned", "factorized"])
@pytest.mark.parametrize("family", FAMILIES)
def test_megabytes_of_int8_are_those_of_the_weights_in_the_file(family, changed, tmp_path):
    clf = without_twins(tiny_classifier(family))
    if changed == "factorized":
        clf = compression.factorize(clf, 4)
    if changed == "pruned":
        gone = [(0, head) for head in range(4)] + [(1, 2)]
        if family.startswith("albert"):
            gone = [(layer, 1) for layer in range(3)]
        clf = compression.prune_heads(clf, heads_gone=gone)
        clf = compression.prune_neurons(clf, 0.5, by="random")
    weights = weights_in(clf.export(tmp_path / "int8", "int8"))
    stored = sum(one.nbytes for one in weights.values())
    assert 1e6 * megabytes(shape_of(clf), "int8") == pytest.approx(stored)
    assert not [name for name, one in weights.items() if one.dtype == np.float32 and one.ndim > 1]


def test_only_megabytes_depend_on_the_format(bert):
    shape = shape_of(bert[0])
    one, other = (costs_of(shape, latency=Clock(), number_format=each) for each in BOTH)
    assert other.pop("megabytes") < 0.45 * one.pop("megabytes")
    assert one == other
    with pytest.raises(AttnlabError, match="Only classifiers"):
        megabytes({"encoder_layers": 1, "decoder_layers": 1, "d_model": 4}, "int8")
    with pytest.raises(AttnlabError, match="number_format='int4' is not known"):
        megabytes(shape, "int4")


# --- searching -----------------------------------------------------------------------------------


def test_a_budget_of_megabytes_is_met_by_int8_where_that_costs_less_than_pruning(bert, small_file):
    clf, splits = bert
    budget, found = small_file
    assert found.number_format == "int8"
    assert found.table["megabytes"][found.chosen] == megabytes(shape_of(found.best), "int8")
    assert found.table["number_format"][0] == "float32" and set(found.table["number_format"]) == {
        *BOTH
    }
    alone = search(clf, splits, budget, most=9, steps=4)
    assert set(alone.table["number_format"]) == {"float32"}
    chosen = [one.table["accuracy"][one.chosen] for one in (found, alone)]
    assert chosen[0] > chosen[1]


def test_what_is_measured_of_int8_is_what_is_saved(bert, small_file, tmp_path):
    clf, splits = bert
    _, found = small_file
    saved = al.load_classifier(found.save(tmp_path / "small"))
    assert saved.dtype == torch.int8
    assert (Evaluator(saved, splits.dev).score().correct == found.correct[found.chosen]).all()
    before, after = (Evaluator(one, splits.test).score().accuracy for one in (clf, saved))
    assert found.on_test().delta == pytest.approx(after - before)
    with pytest.raises(AttnlabError, match="overwrite=True"):
        found.save(tmp_path / "small")
    stored = sum(one.nbytes for one in weights_in(tmp_path / "small").values())
    assert stored / 1e6 <= found.budget.megabytes


def test_where_float32_cannot_fit_int8_is_searched_alone_and_float32_stays_the_measure(bert):
    clf, splits = bert
    market = searching.Market(shape_of(clf), searching.importance(clf, splits.train), Budget(1e9))
    least = market.prices.least["megabytes"]
    found = search(clf, splits, Budget(megabytes=0.9 * least), most=4, steps=4, formats=BOTH)
    assert found.points[0].number_format == "float32" and not found.table["inside"][0]
    assert set(found.table["number_format"][1:]) == {"int8"} and found.number_format == "int8"
    with pytest.raises(AttnlabError, match="Nothing fits this budget") as error:
        search(clf, splits, Budget(megabytes=1e-4), most=4, steps=4, formats=BOTH)
    smallest = float(str(error.value).rpartition("megabytes=")[2].split(" ")[0].rstrip("."))
    assert smallest < least
    search(clf, splits, Budget(megabytes=smallest), most=2, steps=4, formats=BOTH)


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_where_no_format_fits_the_least_is_that_of_the_quicker_one(bert, monkeypatch, ratio):
    clf, splits = bert
    monkeypatch.setattr(searching, "_ratio", lambda *given: ratio)
    with pytest.raises(AttnlabError, match="Nothing fits this budget") as error:
        search(clf, splits, Budget(latency_ms=1e-6), steps=4, formats=BOTH, latency=Clock())
    smallest = float(str(error.value).rpartition("latency_ms=")[2].rstrip("."))
    importances = searching.importance(clf, splits.train)
    market = searching.Market(shape_of(clf), importances, Budget(1e9), Clock())
    least = min(ratio, 1) * market.prices.least["latency_ms"]
    assert least <= smallest < 1.01 * least


def test_a_search_that_goes_on_keeps_formats_and_finds_the_same(bert, small_file, tmp_path):
    clf, splits = bert
    budget, found = small_file
    search(clf, splits, budget, most=5, steps=4, formats=BOTH, folder=tmp_path)
    again = search(clf, splits, budget, most=9, steps=4, formats=BOTH, folder=tmp_path, resume=True)
    assert [one.key for one in again.points] == [one.key for one in found.points]
    assert (again.correct == found.correct).all()
    with pytest.raises(AttnlabError, match="formats was"):
        search(clf, splits, budget, most=9, steps=4, folder=tmp_path, resume=True)


def test_all_ways_of_choosing_take_part_in_every_format(bert, monkeypatch):
    def as_it_is(clf, number_format):  # answers are not looked at
        return contextlib.nullcontext(clf)

    clf, splits = bert
    monkeypatch.setattr(searching, "in_format", as_it_is)
    budget = Budget(flops=0.7 * costs_of(shape_of(clf))["flops"])
    found = search(clf, splits, budget, most=19, steps=2, formats=("int8",))
    assert {"whole", "greedy", "evolution", "optuna", "random"} <= set(found.table["origin"])
    assert found.table["number_format"].tolist() == ["float32"] + ["int8"] * (len(found.table) - 1)


def test_milliseconds_of_int8_are_measured_one_by_one(bert, monkeypatch):
    clf, splits = bert
    clock, asked = Clock(), []

    def measured(ready, tokens, batch):
        assert ready.dtype == torch.int8 and (tokens, batch) == (16, 2)
        asked.append(0.5 + 0.01 * len(asked))
        return asked[-1]

    monkeypatch.setattr(searching, "measured_ms", measured)
    monkeypatch.setattr(searching, "_ratio", lambda *given: 0.9)
    budget = Budget(latency_ms=0.8 * clock.predict(shape_of(clf)), tokens=16, batch=2)
    found = search(clf, splits, budget, most=7, steps=4, formats=BOTH, latency=clock)
    rows = found.table["number_format"] == "int8"
    assert found.table["latency_ms"][rows].tolist() == asked and len(asked) >= 2
    for row in found.table.index[~rows]:
        shape = found.points[row].plan.shape(shape_of(clf))
        assert found.table["latency_ms"][row] == clock.predict(shape)


def test_a_search_that_goes_on_chooses_int8_by_the_same_milliseconds(bert, monkeypatch, tmp_path):
    clf, splits = bert
    clock, ratios = Clock(), [0.9]
    monkeypatch.setattr(searching, "_ratio", lambda *given: ratios.pop())
    monkeypatch.setattr(searching, "measured_ms", lambda *given: 1.0)
    budget = Budget(latency_ms=0.8 * clock.predict(shape_of(clf)))
    how = {"steps": 4, "formats": BOTH, "latency": clock, "folder": tmp_path}
    first = search(clf, splits, budget, most=3, **how)
    again = search(clf, splits, budget, most=7, resume=True, **how)
    assert not ratios and len(again.points) > len(first.points)
    assert [one.key for one in again.points][: len(first.points)] == [
        one.key for one in first.points
    ]


def test_what_runs_in_onnx_runtime_is_timed_beside_what_runs_in_pytorch(bert):
    with in_format(bert[0], "int8") as small:
        table = latency({"float32": bert[0], "int8": small}, 16, 4, rounds=3, seconds=1)
    assert table["name"].tolist() == list(BOTH) and (table["ms_quiet"] > 0).all()


@pytest.mark.parametrize(
    ("formats", "words"),
    [
        (("float16",), "There is no number format 'float16'"),
        (("int9",), "Did you mean 'int8'"),
        ((), "one number format or more"),
        (("int8", "int8"), "each once"),
        ("int8", "one number format or more"),
    ],
)
def test_formats_that_there_are_not_are_refused(bert, formats, words):
    with pytest.raises(AttnlabError, match=words):
        search(*bert, Budget(flops=1e9), formats=formats)


# --- the last step -------------------------------------------------------------------------------


def test_variants_are_the_chosen_and_the_frontier_in_every_format_and_leaving_early(
    bert, small_file, tmp_path
):
    _, splits = bert
    _, found = small_file
    table = found.variants(repeats=3, seconds=1, most_lost=100)
    rows = {found.chosen, *found.frontier().index}
    assert table["row"].tolist()[0] == "whole" and set(table["row"][1:]) == rows
    for row, part in table[1:].groupby("row"):
        assert part["number_format"].tolist() == ["float32", "int8", "float32"]
        leaving = part[part["threshold"].notna()].iloc[0]
        small = found.points[row].plan.apply(found.clf)
        early = compression.early_exit(small, splits, most_lost=100)
        assert leaving["threshold"] == early.threshold > 0
        answers = early.predict(splits.dev.texts)
        right = np.array(answers.labels) == np.array(splits.dev.label_names)[splits.dev.labels]
        assert leaving["accuracy"] == right.mean()
        assert leaving["exits"] == answers.exits.mean() + 1 < small.layers
        saved = small.export(tmp_path / str(row), "int8") / "model.onnx"
        (int8,) = part["megabytes"][part["number_format"] == "int8"]
        assert int8 == saved.stat().st_size / 1e6
    assert {"cpu", "torch"} <= set(table.attrs)  # times say where they are from
    assert found.variants(("float32",), None, repeats=3, seconds=1)["threshold"].isna().all()
