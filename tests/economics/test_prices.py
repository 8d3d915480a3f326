"""What greedy and knapsack buy, beside every choice there is; what parts give and cost."""

import itertools

import numpy as np
import pytest
import torch
from made_up_latency import Clock
from tiny_classifiers import answering, tiny_classifier
from tiny_models import CONFIGS

from attnlab import compression, heads
from attnlab.economics.budgets import Budget, costs_of
from attnlab.economics.importances import Importance, importance
from attnlab.economics.plans import Plan
from attnlab.economics.prices import Market, price_table
from attnlab.economics.shapes import Shape, shape_of
from attnlab.errors import AttnlabError, DataError

FAMILIES = list(CONFIGS)
SMALL = Shape.of(layers=3, heads=2, neurons=6, width=8, vocabulary=20, positions=10, classes=2)


def drawn(shape, seed=0):
    """Importance without a model."""
    generator = np.random.default_rng(seed)
    count = max(count for count, _ in shape.layers)
    return Importance(
        generator.random((len(shape.layers), count)),
        [generator.random(neurons) for _, neurons in shape.layers],
        generator.random(len(shape.layers)),
    )


def value(plan, given):
    """What the parts of a plan give together."""
    return sum(
        given.heads[layer, list(plan.heads[layer])].sum()
        + given.neurons[layer][list(plan.neurons[layer])].sum()
        for layer in plan.layers
    ) - sum(given.neurons[layer].max() for layer in plan.layers)  # one neuron is never sold


def every_plan(market, steps):
    """All plans that keep the best heads and neurons of each layer, in steps of neurons."""
    given, layers = market.importance, len(market.shape.layers)
    options = []
    for layer in range(layers):
        count, neurons = market.shape.layers[layer]
        best = np.argsort(-given.heads[layer][:count]), np.argsort(-given.neurons[layer])
        sizes = sorted({max(1, round(neurons * step / steps)) for step in range(steps + 1)})
        options.append(
            [
                (tuple(sorted(best[0][:h].tolist())), tuple(sorted(best[1][:n].tolist())))
                for h in range(count + 1)
                for n in sizes
            ]
            + [None]
        )
    for chosen in itertools.product(*options):
        kept = tuple(layer for layer in range(layers) if chosen[layer] is not None)
        if kept:
            pairs = [pair or ((), ()) for pair in chosen]
            yield Plan(kept, tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


BUDGETS = [  # and which part of the best greedy gets: it never lets a layer go for its fixed cost
    (lambda whole: Budget(flops=0.6 * whole["flops"]), 0.9),
    (lambda whole: Budget(parameters=0.55 * whole["parameters"], latency_ms=1.1), 0.75),
    (lambda whole: Budget(flops=0.35 * whole["flops"], latency_ms=1.14), 0.0),
]


@pytest.mark.parametrize(("make", "part"), BUDGETS)
@pytest.mark.parametrize("seed", range(3))
def test_the_knapsack_is_the_best_of_all_choices(make, part, seed):
    budget, clock = make(costs_of(SMALL, latency=Clock())), Clock()
    market = Market(SMALL, drawn(SMALL, seed), budget, clock, steps=3)
    affordable = [plan for plan in every_plan(market, 3) if budget.allows(market.costs(plan))]
    best = max(value(plan, market.importance) for plan in affordable)
    found, sold = market.knapsack(), market.greedy()
    assert budget.allows(market.costs(found)) and budget.allows(market.costs(sold))
    assert value(found, market.importance) == pytest.approx(best, rel=1e-5)
    assert part * best <= value(sold, market.importance) <= best + 1e-9


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_nothing_more_fits_beside_what_greedy_buys(share):
    whole = costs_of(SMALL)["flops"]
    market = Market(SMALL, drawn(SMALL), Budget(flops=share * whole), steps=3)
    plan = market.greedy()
    for layer in plan.layers:
        for head in set(range(2)) - set(plan.heads[layer]):
            more = list(plan.heads)
            more[layer] = (*more[layer], head)
            larger = Plan(plan.layers, tuple(more), plan.neurons)
            assert not market.budget.allows(market.costs(larger))


def test_greedy_sells_what_gives_least_for_its_price():
    """With one part between full and affordable, it is the one of the lowest ratio."""
    whole = costs_of(SMALL)["flops"]
    market = Market(SMALL, drawn(SMALL, 5), Budget(flops=whole - 1), steps=3)
    table = price_table(market)
    last = table[table["per_share"] == table["per_share"].min()].iloc[0]
    plan = market.greedy()
    if last["part"] == "head":
        assert last["head"] not in plan.heads[last["layer"]]
    else:
        assert len(plan.neurons[last["layer"]]) == 6 - last["count"]
    kept = sum(map(len, plan.heads)) + sum(map(len, plan.neurons))
    assert kept == 6 + 18 - last["count"]


def test_the_table_of_prices_says_what_the_model_saves_without_each_part():
    market = Market(SMALL, drawn(SMALL), Budget(flops=3e4, parameters=700), steps=3)
    table, whole = price_table(market), market.costs(market.whole)
    assert len(table) == 3 * (2 + 3)
    assert (table["per_share"].diff().dropna() <= 0).all()
    for row in table.query("part == 'head'").itertuples():
        left = list(market.whole.heads)
        left[row.layer] = tuple({0, 1} - {row.head})
        without = market.costs(Plan(market.whole.layers, tuple(left), market.whole.neurons))
        assert row.importance == market.importance.heads[row.layer, row.head]
        if row.head == np.argmin(market.importance.heads[row.layer]):  # the last that was bought
            for name in ("flops", "parameters"):
                assert getattr(row, name) == pytest.approx(whole[name] - without[name])
                assert (
                    row.share >= (whole[name] - without[name]) / market.budget.limits[name] - 1e-9
                )
    neurons = table.query("part == 'neurons'").groupby("layer")["importance"].sum()
    for layer in range(3):
        own = market.importance.neurons[layer]
        assert neurons[layer] == pytest.approx(own.sum() - own.max())


def test_chance_spends_the_budget_and_is_the_same_from_a_seed():
    budget = Budget(flops=0.5 * costs_of(SMALL)["flops"])
    market = Market(SMALL, drawn(SMALL), budget, steps=3)
    plans = [market.random(np.random.default_rng(seed)) for seed in range(40)]
    assert all(budget.allows(market.costs(plan)) for plan in plans)
    assert market.random(np.random.default_rng(7)) == plans[7]
    assert len(set(plans)) > 20
    assert {len(plan.layers) for plan in plans} == {1, 2, 3}
    kept = np.zeros((3, 2))
    for plan in plans:
        for layer in plan.layers:
            kept[layer, list(plan.heads[layer])] += 1
    assert (kept > 4).all() and (kept < 36).all()  # no head has it easier


def test_layers_that_are_named_go_and_one_stays():
    market = Market(SMALL, drawn(SMALL), Budget(flops=costs_of(SMALL)["flops"]), steps=3)
    assert market.greedy(gone=[1]).layers == (0, 2)
    assert market.greedy(gone=[0, 1, 2]).layers == (0,)
    assert market.greedy() == market.whole


def test_what_nothing_fits_is_refused_with_the_least():
    with pytest.raises(AttnlabError, match=r"Give at least parameters=\d+\. .*trim_vocabulary"):
        Market(SMALL, drawn(SMALL), Budget(parameters=10))
    market = Market(SMALL, drawn(SMALL), Budget(parameters=costs_of(SMALL)["parameters"]))
    for buy in (market.greedy, market.knapsack):
        with pytest.raises(AttnlabError, match="Nothing fits 10% of this budget"):
            buy(share=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_bought_is_a_real_model_of_that_cost(family):
    clf, data = answering(family, 60)
    shape = shape_of(clf)
    budget = Budget(parameters=0.8 * clf.parameters(), flops=0.7 * costs_of(shape)["flops"])
    market = Market(shape, importance(clf, data), budget, steps=4)
    for plan in (market.greedy(), market.knapsack(), market.random(np.random.default_rng(0))):
        smaller = plan.apply(clf)
        assert smaller.parameters() == market.costs(plan)["parameters"] <= 0.8 * clf.parameters()
        assert shape_of(smaller) == plan.shape(shape)
        assert budget.allows(costs_of(shape_of(smaller)))
        assert Plan.from_json(plan.to_json(market.whole), market.whole) == plan


def test_a_plan_for_a_pruned_model_keeps_its_numbers():
    clf, data = answering("bert", 60)
    clf = compression.prune_heads(clf, heads_gone=[(0, 1), (2, 0), (2, 1), (2, 2), (2, 3)])
    market = Market(shape_of(clf), importance(clf, data), Budget(parameters=1e9), steps=4)
    assert market.whole.heads == ((0, 2, 3), (0, 1, 2, 3), ())
    plan = Plan((0, 2), ((2, 3), (), ()), ((0, 5), (), (7,)))
    smaller = plan.apply(clf)
    assert [heads.active_heads(smaller.model, layer) for layer in range(2)] == [[2, 3], []]
    assert shape_of(smaller) == plan.shape(shape_of(clf))


@pytest.mark.parametrize("family", FAMILIES)
def test_importance_is_the_slope_of_gates(family):
    """By differences: the loss of each text with one gate a little open or closed."""
    clf, data = answering(family, 12)
    encoded, labels = clf.encode(data.texts), torch.tensor(data.labels)
    model = clf.model.double()

    def losses(module, columns, factor):
        def scaled(module, inputs):
            inputs[0][..., columns] *= factor
            return inputs

        handle = module.register_forward_pre_hook(scaled)
        batch = encoded.batch(range(len(encoded)))
        with torch.no_grad():
            logits = model(**batch).logits
        handle.remove()
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none").numpy()

    def slopes(module, columns):
        return (losses(module, columns, 1 + 1e-4) - losses(module, columns, 1 - 1e-4)) / 2e-4

    sites, blocks = heads.sites(model), heads.feed_forwards(model)
    expected_head = slopes(sites[1].output, slice(16, 24))
    expected_neuron = slopes(blocks[2].down, slice(9, 10))
    clf.model.float()
    fisher, gradient = (importance(clf, data, by) for by in ("fisher", "gradient"))
    for found, measure in ((fisher, np.square), (gradient, np.abs)):
        assert found.heads[1, 2] == pytest.approx(measure(expected_head).mean(), rel=2e-2)
        assert found.neurons[2][9] == pytest.approx(measure(expected_neuron).mean(), rel=2e-2)


def test_importance_of_layers_is_what_is_lost_without_them():
    clf, data = answering("bert", 60)
    found = importance(clf, data).layers
    scores = compression.choices.layer_scores(clf, "ablation", data.sample(200))
    assert found.tolist() == scores.tolist()
    assert np.isnan(importance(clf, data, layers=False).layers).all()
    assert np.isnan(importance(tiny_classifier("albert-shared"), data).layers).all()


def test_what_was_measured_later_counts_for_what_is_left():
    first, later = drawn(SMALL, 1), drawn(SMALL, 2)
    plan = Plan((0, 2), ((1,), (), (0, 1)), ((3, 4), (), (0,)))
    small = Importance(later.heads[:2], [later.neurons[0][:2], later.neurons[1][:1]], later.layers)
    found = first.updated(small, plan)
    assert found.heads[0].tolist() == [first.heads[0, 0], later.heads[0, 1]]
    assert found.heads[1].tolist() == first.heads[1].tolist()
    assert found.heads[2].tolist() == later.heads[1].tolist()
    assert found.neurons[0][[3, 4]].tolist() == later.neurons[0][:2].tolist()
    assert found.neurons[2][1:].tolist() == first.neurons[2][1:].tolist()
    assert found.neurons[2][0] == later.neurons[1][0]


def test_importance_needs_labelled_texts_and_a_known_way():
    clf, data = answering("bert", 12)
    with pytest.raises(DataError, match="labelled texts"):
        importance(clf, data.texts)
    with pytest.raises(AttnlabError, match="Did you mean 'fisher'"):
        importance(clf, data, by="fischer")


def test_a_plan_names_heads_and_neurons_of_every_layer():
    for layers, count in (((), 3), ((0, 3), 3)):
        with pytest.raises(AttnlabError, match="keeps one layer or more"):
            Plan(layers, ((0,),) * count, ((0,),) * count)
