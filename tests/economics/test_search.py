"""A search finds the best, beside what chance finds, and goes on where it was stopped."""

import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from made_up_latency import Clock
from tiny_classifiers import answering

from attnlab import compression
from attnlab.classification.base import Stopped
from attnlab.datasets.splits import Splits
from attnlab.economics.budgets import Budget, costs_of
from attnlab.economics.frontier import frontier, shadow_prices
from attnlab.economics.importances import importance
from attnlab.economics.latency import LatencyTable
from attnlab.economics.prices import Market
from attnlab.economics.searching import in_rounds, loop, search
from attnlab.economics.shapes import shape_of
from attnlab.errors import AttnlabError, DataError
from attnlab.evaluation.evaluator import Evaluator
from attnlab.statistics import paired_bootstrap, paired_test


class Untouched:
    """A test part that nobody may look at."""

    def __getattr__(self, name):
        raise AssertionError(f"test.{name} was looked at")


def made(family="bert"):
    clf, data = answering(family, 200)
    budget = Budget(flops=0.6 * costs_of(shape_of(clf))["flops"])
    return clf, Splits(data.select(range(60)), data.select(range(60, 160)), Untouched()), budget


@pytest.fixture(scope="module")
def bert():
    return made()


@pytest.fixture(scope="module")
def found(bert):
    return search(*bert, most=30, steps=4)


def plans(result):
    return [point.plan for point in result.points]


def test_every_sub_network_is_a_real_model_with_its_own_answers(bert, found):
    clf, splits, budget = bert
    assert found.dev is splits.dev
    assert found.points[0].origin == "whole" and found.points[0].plan.apply(clf).layers == 3
    origins = {"whole", "greedy", "greedy in rounds", "evolution", "optuna", "random"}
    assert origins <= set(found.table["origin"])
    assert len(set(plans(found))) == len(found.points)
    for row in range(0, len(found.points), 5):
        smaller = found.points[row].plan.apply(clf)
        score = Evaluator(smaller, splits.dev, fast=True).score()
        assert (score.correct == found.correct[row]).all()
        told = found.table.loc[row]
        assert (told["accuracy"], told["parameters"]) == (score.accuracy, smaller.parameters())
        assert told["flops"] == costs_of(shape_of(smaller))["flops"]
        assert told["inside"] == (told["flops"] <= budget.flops)


def test_the_best_is_the_most_accurate_inside_the_budget(bert, found):
    _, splits, budget = bert
    inside = found.table[found.table["inside"]]
    best = inside.sort_values(["accuracy", "loss"], ascending=[False, True]).iloc[0]
    assert found.table.loc[found.chosen, "loss"] == best["loss"]
    assert budget.allows(costs_of(shape_of(found.best)))
    score = Evaluator(found.best, splits.dev, fast=True).score()
    assert score.accuracy == best["accuracy"]
    assert "sub-networks, best inside Budget(flops=" in repr(found)


def test_of_many_texts_some_are_drawn_and_named(bert):
    clf, splits, budget = bert
    few = search(clf, splits, budget, most=2, steps=4, texts=30)
    assert len(few.dev) == few.correct.shape[1] == 30 and set(few.dev.texts) <= {*splits.dev.texts}
    assert (few.correct[0] == Evaluator(clf, few.dev, fast=True).score().correct).all()


def test_frontier_and_prices_are_those_of_the_table(found):
    assert found.frontier().equals(frontier(found.table, found.correct, "flops"))
    both = ["flops", "parameters"]
    assert found.frontier(both).equals(frontier(found.table, found.correct, both))
    assert found.prices("parameters").equals(
        shadow_prices(found.table, found.correct, "parameters")
    )
    with pytest.raises(AttnlabError, match="latency_ms is not known"):
        found.frontier("latency_ms")


def test_chance_is_the_mean_of_random_sub_networks_that_spend_the_budget(bert):
    found = search(*bert, most=12, steps=4, strategy="random")
    assert set(found.table["origin"][1:]) == {"random"}
    rows = found.table.query("origin == 'random' and spent >= 0.95 and inside").index
    difference = found.correct[found.chosen] - found.correct[rows].mean(0)
    assert found.above_chance()[0] == pytest.approx(difference.mean())
    assert found.above_chance()[1:] == pytest.approx(paired_bootstrap(difference))


def test_test_is_looked_at_once_and_only_when_asked(bert, monkeypatch):
    clf, splits, budget = bert
    data = answering("bert", 200)[1].select(range(160, 200))
    found = search(clf, Splits(splits.train, splits.dev, data), budget, most=4, steps=4)
    looked = []
    real = Evaluator.score
    monkeypatch.setattr(Evaluator, "score", lambda self: looked.append(1) or real(self))
    comparison = found.on_test()
    before, after = (Evaluator(one, data).logits().argmax(-1) for one in (clf, found.best))
    labels = np.array(data.labels)
    test = paired_test(before.numpy() == labels, after.numpy() == labels)
    assert comparison.test == test
    assert found.on_test() is comparison and len(looked) == 2


@pytest.mark.thorough
def test_the_search_finds_the_best_of_all_sizes():
    """Two layers of two heads and two steps of neurons: everything can be tried."""
    clf, data = answering("bert", 200)
    clf = compression.prune_layers(clf, keep=[0, 2])
    gone = [(0, 1), (0, 3), (1, 0), (1, 2)]
    clf = compression.prune_heads(clf, heads_gone=gone)
    splits = Splits(data.select(range(60)), data.select(range(60, 160)), Untouched())
    shape = shape_of(clf)
    budget = Budget(flops=0.75 * costs_of(shape)["flops"])
    found = search(clf, splits, budget, most=150, steps=2)
    market = Market(shape, importance(clf, splits.train), budget, steps=2)
    neurons = [
        np.argsort(-own, kind="stable") for own in in_rounds(clf, splits.train, market).neurons
    ]
    accuracies = []
    options = [(h, n) for h in range(4) for n in (1, 32, 64)]
    for first in [None, *options]:
        for second in [None, *options]:
            pair = [first, second]
            kept = [layer for layer in (0, 1) if pair[layer] is not None]
            if not kept:
                continue
            sizes = tuple((pair[layer][0].bit_count(), pair[layer][1]) for layer in kept)
            if not budget.allows(costs_of(type(shape)(**{**vars(shape), "layers": sizes}))):
                continue
            smaller = compression.prune_layers(clf, keep=kept)
            there = [market.whole.heads[layer] for layer in kept]
            away = [
                (number, head)
                for number, layer in enumerate(kept)
                for bit, head in enumerate(there[number])
                if not pair[layer][0] >> bit & 1
            ]
            smaller = compression.prune_heads(smaller, heads_gone=away)
            keep = [neurons[layer][: pair[layer][1]].tolist() for layer in kept]
            smaller = compression.prune_neurons(smaller, keep=keep)
            accuracies.append(Evaluator(smaller, splits.dev, fast=True).score().accuracy)
    assert len(accuracies) > 50
    best = found.table.loc[found.chosen, "accuracy"]
    assert best >= np.sort(accuracies)[-3]
    assert best > np.median(accuracies) + 0.1


def test_the_same_seed_finds_the_same_and_another_does_not(bert, found):
    again = search(*bert, most=30, steps=4)
    assert plans(again) == plans(found)
    assert (again.correct == found.correct).all()
    assert plans(search(*bert, most=30, steps=4, seed=1)) != plans(found)


def test_a_search_that_was_stopped_goes_on_to_the_same(bert, found, tmp_path):
    first = search(*bert, most=14, steps=4, folder=tmp_path)
    assert plans(first) == plans(found)[: len(first.points)]
    again = search(*bert, most=30, steps=4, folder=tmp_path, resume=True)
    assert plans(again) == plans(found)
    same = ["accuracy", "loss", "flops", "origin"]
    assert again.table[same].equals(found.table[same])
    assert again.points[0].seconds == first.points[0].seconds  # not measured again


def test_a_search_that_was_killed_loses_only_what_was_under_way(bert, found, tmp_path):
    helpers = Path(__file__).parent.parent / "helpers"
    script = f"""
import os, signal, sys
sys.path[:0] = [{str(helpers)!r}, {str(Path(__file__).parent)!r}]
import test_search
from attnlab.economics import searching
clf, splits, budget = test_search.made()
real, calls = searching._measured, []
def measured(*given):
    calls.append(1)
    if len(calls) == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given)
searching._measured = measured
searching.search(clf, splits, budget, most=30, steps=4, folder={str(tmp_path)!r})
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    again = search(*bert, most=30, steps=4, folder=tmp_path, resume=True)
    assert plans(again) == plans(found)


@pytest.mark.parametrize("how", ["Ctrl+C", "Stopped"])
def test_an_interrupted_search_keeps_what_it_found(bert, tmp_path, how):
    def stop(result):
        if len(result.points) == 5:
            if how == "Stopped":
                raise Stopped
            os.kill(os.getpid(), signal.SIGINT)

    found = search(*bert, most=30, steps=4, folder=tmp_path, callback=stop)
    assert found.interrupted and len(found.points) == 5 and "interrupted" in repr(found)
    assert found.best.layers <= 3
    again = search(*bert, most=8, steps=4, folder=tmp_path, resume=True)
    assert not again.interrupted and plans(again)[:5] == plans(found)


def test_the_callback_sees_each_sub_network_once(bert):
    seen = []
    found = search(*bert, most=9, steps=4, callback=lambda result: seen.append(len(result.points)))
    assert seen == list(range(1, len(found.points) + 1))


def test_two_searches_in_one_folder_are_refused(bert, tmp_path):
    with (
        FileLock(tmp_path / "sub-networks.lock"),
        pytest.raises(AttnlabError, match="Another search is at work"),
    ):
        search(*bert, most=2, steps=4, folder=tmp_path)
    search(*bert, most=2, steps=4, folder=tmp_path)
    with pytest.raises(AttnlabError, match=r"There is a search in .*resume=True"):
        search(*bert, most=2, steps=4, folder=tmp_path)
    clf, splits, budget = bert
    for other, words in (
        ((clf, splits, budget.scaled(0.9)), "budget was"),
        ((clf, Splits(splits.train, splits.dev.select(range(50)), None), budget), "dev_texts was"),
        ((compression.prune_layers(clf, keep=[0, 2]), splits, budget), "model was"),
    ):
        with pytest.raises(AttnlabError, match=f"another one: .*{words}"):
            search(*other, most=2, steps=4, folder=tmp_path, resume=True)
    with pytest.raises(AttnlabError, match="seed was 0, is 3"):
        search(*bert, most=2, steps=4, folder=tmp_path, resume=True, seed=3)


def test_a_search_ends_with_its_time_and_has_something_in_any_case(bert):
    found = search(*bert, minutes=1e-6, steps=4)
    assert found.table["origin"].tolist() == ["whole", "greedy"]
    assert found.table["inside"].tolist() == [False, True]


def test_a_search_ends_where_nothing_is_left_to_try():
    clf, splits, _ = made()
    clf = compression.prune_neurons(compression.prune_layers(clf, keep=[1]), keep=[[5]])
    found = search(clf, splits, Budget(parameters=clf.parameters()), steps=1)
    assert 8 <= len(found.points) <= 2**4  # any of four heads


def test_milliseconds_are_those_of_the_latency_table(bert):
    clf, splits, _ = bert
    clock = Clock()
    budget = Budget(latency_ms=0.6 * clock.predict(shape_of(clf)), flops=1e9)
    found = search(clf, splits, budget, most=14, steps=4, latency=clock)
    for row, point in enumerate(found.points):
        shape = shape_of(point.plan.apply(clf))
        assert found.table.loc[row, "latency_ms"] == clock.predict(shape)
    inside = found.table["latency_ms"] <= budget.latency_ms
    assert found.table["inside"].equals(inside) and inside.any() and not inside.all()
    assert {"origin", "gain_low"} <= set(found.frontier("latency_ms").columns)


@pytest.mark.filterwarnings("ignore:.*this machine is doing something else")
def test_without_a_latency_table_one_is_measured_and_kept(bert, tmp_path):
    clf, splits, _ = bert
    budget = Budget(latency_ms=1000, parameters=0.8 * clf.parameters())
    found = search(clf, splits, budget, most=3, steps=4, folder=tmp_path)
    kept = LatencyTable.load(tmp_path / "latency.json")
    again = search(clf, splits, budget, most=8, steps=4, folder=tmp_path, resume=True)
    assert again.table["latency_ms"][: len(found.points)].equals(found.table["latency_ms"])
    for row, point in enumerate(again.points):
        expected = kept.predict(point.plan.shape(shape_of(clf)))
        assert again.table.loc[row, "latency_ms"] == pytest.approx(expected)


@pytest.mark.parametrize("family", ["roberta", "distilbert", "electra", "albert", "albert-shared"])
def test_other_families_are_searched_too(family):
    clf, splits, budget = made(family)
    found = search(clf, splits, budget, most=16, steps=4)
    assert budget.allows(costs_of(shape_of(found.best)))
    assert len(found.points) > 8


def test_repaired_sub_networks_are_nearer_to_the_whole(bert):
    clf, splits, _ = bert
    texts = splits.train.texts
    plain, repaired = (search(*bert, most=2, steps=4, repair=one) for one in (None, texts))
    assert plans(plain) == plans(repaired)
    logits = [one.logits(clf.encode(splits.dev.texts)) for one in (clf, plain.best, repaired.best)]
    far = [float((one - logits[0]).square().mean()) for one in logits[1:]]
    assert far[1] < far[0]


def test_importance_in_rounds_is_measured_on_what_is_left(bert):
    clf, splits, budget = bert
    market = Market(shape_of(clf), importance(clf, splits.train), budget, steps=4)
    found = in_rounds(clf, splits.train, market, rounds=2)
    plan = market.greedy(share=(1 / 0.6) ** 0.5)
    later = importance(plan.apply(clf), splits.train)
    for number, layer in enumerate(plan.layers):
        for head in range(4):
            there = head in plan.heads[layer]
            expected = later.heads[number, head] if there else market.importance.heads[layer, head]
            assert found.heads[layer, head] == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"minutes": 0}, "minutes above 0"),
        ({"minutes": float("nan")}, "minutes above 0"),
        ({"most": 1}, "2 sub-networks at least"),
        ({"strategy": "randon"}, "Did you mean 'random'"),
        ({"by": "fish"}, "Did you mean 'fisher'"),
        ({"resume": True}, r"resume=True needs folder=\.\.\."),
    ],
)
def test_a_search_without_sense_is_refused(bert, options, words):
    with pytest.raises(AttnlabError, match=words):
        search(*bert, steps=4, **options)


def test_a_search_needs_texts_and_a_budget_that_something_fits(bert):
    clf, splits, _ = bert
    with pytest.raises(DataError, match="dev has no labelled texts"):
        search(clf, Splits(splits.train, splits.dev.select([]), None), Budget(flops=1e9))
    with pytest.raises(AttnlabError, match=r"Give at least parameters=\d+"):
        search(clf, splits, Budget(parameters=100))


def test_the_loop_of_the_course_is_short():
    assert len(inspect.getsource(loop).splitlines()) < 40
