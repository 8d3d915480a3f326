"""What a search may have found, made up: real plans and costs, answers drawn by chance."""

import numpy as np

from attnlab import heads
from attnlab.datasets.splits import Splits
from attnlab.economics.budgets import Budget, costs_of
from attnlab.economics.importances import Importance
from attnlab.economics.points import Point
from attnlab.economics.prices import Market
from attnlab.economics.results import SearchResult
from attnlab.economics.shapes import shape_of

ORIGINS = ("greedy", "knapsack in rounds", "evolution", "random", "optuna", "random")


def made_up_search(clf, data, count=24, latency=None, seed=0, best=0.87, share=0.6):
    """A SearchResult of so many sub-networks: the more one costs, the more it answers rightly."""
    shape, generator = shape_of(clf), np.random.default_rng(seed)
    whole = costs_of(shape, latency=latency)
    budget = Budget(flops=share * whole["flops"])
    bids = np.full((clf.layers, clf.heads), np.nan)  # of the heads that there are
    for layer in range(clf.layers):
        bids[layer, heads.active_heads(clf.model, layer)] = 1
    importance = Importance(
        bids,
        [np.ones(neurons) for _, neurons in shape.layers],
        np.ones(len(shape.layers)),
    )
    market = Market(shape, importance, budget, latency)
    hard = generator.random(len(data))  # a text is answered by all who are good enough for it
    points = []
    for number in range(count):
        origin = "whole" if number == 0 else ORIGINS[(number - 1) % len(ORIGINS)]
        part = generator.uniform(0.4, 1.6)
        plan = market.random(generator, part) if number else market.whole
        costs = {name: cost for name, cost in market.costs(plan).items() if cost == cost}
        spent = costs["flops"] / whole["flops"]
        skill = best * (1 - 0.45 * (1 - spent) ** 2) - 0.06 * (origin == "random")
        correct = hard + generator.normal(0, 0.02, len(data)) < skill
        points.append(Point(origin, plan, costs, 1 - skill, correct, 0.5))
    return SearchResult(clf, Splits(data, data, data), data, budget, tuple(points))
