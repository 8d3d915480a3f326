"""Translators inside limits: heads that close or go, and sizes that fit."""

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import attnlab as al
from attnlab import economics, transformer, translation
from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.splits import Splits
from attnlab.economics import Budget
from attnlab.errors import AttnlabError, DataError
from attnlab.heads.settings import KINDS

FAST = {"epochs": 3, "batch_size": 16, "gate_rate": 200}  # few steps: gates must take large ones
SMALL = {"d_model": 16, "heads": 4, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 32}


def numbers(n, seed):
    """Numbers with their digits apart, and the same together: an easy language."""
    drawn = np.random.default_rng(seed).integers(10, 99999, n)
    return ParallelDataset(
        [" ".join(str(one)) for one in drawn], [str(one) for one in drawn], "numbers"
    )


@pytest.fixture(scope="module")
def splits():
    return Splits(numbers(400, 0), numbers(60, 1), numbers(20, 2))


@pytest.fixture(scope="module")
def translator(splits):
    return al.train_translator(
        splits, epochs=12, batch_size=16, learning_rate=1e-2, dropout=0.0, **SMALL
    )


def heads(one):
    return sum(len(active) for layers in one.model.active.values() for active in layers)


def weights(one):
    return {name: weight.clone() for name, weight in one.model.state_dict().items()}


# --- heads that close -----------------------------------------------------------------------------


def test_the_dearer_heads_are_the_fewer_stay_open(translator, splits):
    before = weights(translator)
    left = [
        heads(economics.close_heads(translator, splits, penalty, **FAST)) for penalty in (0, 0.2, 5)
    ]
    assert left[0] >= left[1] >= left[2] and left[0] > 6 and left[2] == 0
    assert all(torch.equal(weight, before[name]) for name, weight in weights(translator).items())


def test_what_is_left_answers_as_the_model_with_its_gates_did(translator, splits):
    smaller = economics.close_heads(translator, splits, 0.1, **FAST)
    assert 0 < heads(smaller) < 12
    after = translation.mean_loss(smaller, splits.dev)
    assert after == pytest.approx(smaller.history.rows[-1]["dev_loss"], abs=1e-5)
    counted = sum(parameter.numel() for parameter in smaller.model.parameters())
    assert counted == economics.parameters(smaller.model.size)
    gone = 12 - heads(smaller)
    assert economics.parameters(translator.model.size) - counted == gone * (3 * (16 * 4 + 4) + 64)


def test_gates_learn_with_a_translator_that_knows_nothing(splits):
    start = translation.untrained(splits, dropout=0.0, **SMALL)
    asked = {"epochs": 6, "batch_size": 16, "learning_rate": 1e-2, "gate_rate": 1}
    made = economics.close_heads(start, splits, 0.01, **asked)
    assert made.history.rows[-1]["dev_loss"] < made.history.rows[0]["dev_loss"] - 0.5


@pytest.mark.parametrize("penalty", [-1, math.nan, math.inf])
def test_a_penalty_is_a_price(translator, splits, penalty):
    with pytest.raises(AttnlabError, match="nats a head costs, 0 or more"):
        economics.close_heads(translator, splits, penalty)


# --- heads that go --------------------------------------------------------------------------------


def test_importance_is_what_the_loss_rises_by_without_the_head(translator, splits):
    found = economics.head_importance(translator, splits.dev)
    assert len(found) == 12 and found["importance"].max() > 0.1
    before = translation.mean_loss(translator, splits.dev)
    for row in found.iloc[[0, 5, 11]].itertuples():
        smaller = transformer.prune(translator.model, [(row.kind, row.layer, row.head)])
        after = translation.mean_loss(translator.with_model(smaller), splits.dev)
        assert row.importance == pytest.approx(after - before, abs=1e-5)
    gone = translator.with_model(transformer.prune(translator.model, [("decoder", 0, 2)]))
    rest = economics.head_importance(gone, splits.dev)
    assert len(rest) == 11 and not ((rest["kind"] == "decoder") & (rest["head"] == 2)).any()


def test_of_all_heads_the_one_goes_that_is_missed_least_and_then_again(translator, splits):
    pairs = splits.train.select(range(60))
    expected = translator
    for _ in range(2):
        there = [
            (kind, layer, head)
            for kind, layers in expected.model.active.items()
            for layer, own in enumerate(layers)
            for head in own
        ]
        without = [transformer.prune(expected.model, [head]) for head in there]
        losses = [translation.mean_loss(expected.with_model(one), pairs) for one in without]
        expected = expected.with_model(without[int(np.argmin(losses))])
    found = economics.keep_heads(translator, pairs, 10)
    assert found.model.active == expected.model.active and heads(translator) == 12
    assert heads(economics.keep_heads(found, pairs, 10)) == 10
    assert heads(economics.keep_heads(found, splits.dev.select(range(4)), 0)) == 0


def test_heads_that_cannot_stay_are_refused(translator, splits):
    for count in (13, -1, 2.0, True):
        with pytest.raises(AttnlabError, match="has 12 heads, so 0 to 12 can stay"):
            economics.keep_heads(translator, splits.dev, count)
    with pytest.raises(DataError, match="pairs of texts"):
        economics.head_importance(translator, splits.dev.select([]))


def test_retraining_buys_back_what_removing_heads_lost(translator, splits):
    smaller = economics.keep_heads(translator, splits.train.select(range(60)), 4)
    again = translation.fit(smaller, splits, epochs=4, batch_size=16, learning_rate=5e-3)
    assert again.model.size == smaller.model.size
    after = translation.mean_loss(again, splits.dev)
    assert after < translation.mean_loss(smaller, splits.dev)


def test_a_translator_without_some_heads_is_kept_drawn_and_ablated(translator, splits, tmp_path):
    removed = [("cross", 0, 1), *(("encoder", 0, head) for head in range(4))]
    smaller = translator.with_model(transformer.prune(translator.model, removed))
    again = al.load_translator(smaller.save(tmp_path / "small.safetensors"))
    texts = splits.test.sources
    assert again.translate(texts) == smaller.translate(texts)
    silent = translator.settings()
    for kind, layer, head in removed:
        getattr(silent, kind).scale[layer, head] = 0
    assert smaller.translate(texts) == translator.translate(texts, settings=silent)
    maps, expected = smaller.attend(texts[0], "123"), translator.attend(texts[0], "123", silent)
    for kind in KINDS:
        torch.testing.assert_close(
            getattr(maps, kind).contributions,
            getattr(expected, kind).contributions,
            rtol=0,
            atol=1e-5,
        )
    table = translation.ablate_heads(smaller, splits.test)
    assert len(table) == heads(smaller) == 7
    assert ("cross", 1) not in set(zip(table["kind"], table["head"], strict=True))


# --- what a bound on the norm bounds --------------------------------------------------------------


def test_weight_decay_makes_weights_small_and_no_cost(translator, splits):
    small = translation.fit(
        translator, splits, epochs=6, batch_size=16, learning_rate=5e-3, weight_decay=20.0
    )
    norms = [economics.l2_penalty(one.model).item() for one in (translator, small)]
    assert norms[1] < 0.4 * norms[0]
    assert small.model.size == translator.model.size
    costs = [economics.cost(one, 12, measured=False) for one in (translator, small)]
    assert costs[0].nonzero == costs[1].nonzero and costs[0].flops == costs[1].flops


# --- sizes ----------------------------------------------------------------------------------------


BASE = al.Seq2SeqTransformer(40, 15, d_model=16, heads=2).size
CHOICES = {"d_model": (8, 16, 20), "heads": (1, 4, 8), "feed_forward": (8, 64)}


def test_all_sizes_inside_a_budget_are_listed_and_no_other():
    budget = Budget(parameters=12_000, flops=400_000, tokens=12)
    table = economics.sizes_inside(budget, BASE, CHOICES)
    fitting = 0
    for d_model in CHOICES["d_model"]:
        for count in CHOICES["heads"]:
            for wide in CHOICES["feed_forward"]:
                if d_model % count:
                    continue
                sizes = {"d_model": d_model, "heads": count, "feed_forward": wide}
                model = al.Seq2SeqTransformer(**BASE | sizes)
                counted = sum(parameter.numel() for parameter in model.parameters())
                ids = torch.ones(1, 12, dtype=torch.int64)
                with FlopCounterMode(display=False) as counter:
                    model(ids, ids)
                operations = counter.get_total_flops()
                row = table[(table[list(sizes)] == list(sizes.values())).all(axis=1)]
                inside = counted <= 12_000 and operations <= 400_000
                assert len(row) == inside
                fitting += inside
                if inside:
                    share = max(counted / 12_000, operations / 400_000)
                    assert row["spent"].item() == pytest.approx(share)
                    assert row["parameters"].item() == counted
    assert 0 < fitting == len(table) < 14
    assert table["spent"].is_monotonic_decreasing


def test_a_budget_that_nothing_fits_says_the_least():
    with pytest.raises(AttnlabError, match=r"Nothing fits.*smallest model.*parameters") as refused:
        economics.sizes_inside(Budget(parameters=500), BASE, CHOICES)
    least = int(str(refused.value).rsplit("parameters=", 1)[1].split(".")[0])
    table = economics.sizes_inside(Budget(parameters=least), BASE, CHOICES)
    assert set(table["d_model"]) == {8} and set(table["feed_forward"]) == {8}


@pytest.mark.parametrize(
    ("budget", "choices", "words"),
    [
        (Budget(latency_ms=3), CHOICES, "Milliseconds"),
        (Budget(parameters=1e6), {"width": (3,)}, "no size 'width'"),
        (Budget(parameters=1e6), {"d_model": (0,)}, "d_model is to be 0"),
        (Budget(parameters=1e6), {"d_model": ()}, "d_model has no values"),
        (Budget(parameters=1e6), {"d_model": (6,), "heads": (4,)}, "No number of heads divides"),
    ],
)
def test_sizes_that_cannot_be_chosen_are_refused(budget, choices, words):
    with pytest.raises(AttnlabError, match=words):
        economics.sizes_inside(budget, BASE, choices)


def test_a_translator_is_trained_inside_its_budget(splits):
    budget, seen = Budget(parameters=9_000, tokens=8), []
    choices = {"d_model": (8, 16), "heads": (2, 4), "encoder_layers": (1,), "decoder_layers": (1,)}
    choices |= {"feed_forward": (16, 32, 64)}
    asked = {"choices": choices, "tries": 3, "short": 1, "epochs": 3, "batch_size": 16}
    asked |= {"learning_rate": 1e-2}
    found = economics.train_within(splits, budget, progress=seen.append, **asked)
    counted = sum(parameter.numel() for parameter in found.best.model.parameters())
    assert counted == economics.parameters(found.best.model.size) <= 9_000
    assert len(found.table) == len(seen) == 3
    assert found.table["dev_loss"].is_monotonic_increasing
    for name in choices:
        assert found.best.model.size[name] == found.table[name][0]
    assert found.table["dev_loss"][0] == min(row["dev_loss"] for row in seen)
    assert found.best.history.best["dev_loss"] < found.table["dev_loss"][0]
    assert len(found.best.history.rows) == 3
    again = economics.train_within(splits, budget, **asked)
    assert again.table.equals(found.table)
    assert all(torch.equal(w, weights(found.best)[name]) for name, w in weights(again.best).items())


def test_no_tries_are_refused(splits):
    with pytest.raises(AttnlabError, match="at least 1 size"):
        economics.train_within(splits, Budget(parameters=1e6), tries=0)
