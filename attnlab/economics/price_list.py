"""What each part of a classifier costs: heads one by one, neurons in steps, layers whole."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from attnlab.economics.budgets import Budget, Predicts, costs_of
from attnlab.economics.shapes import Shape
from attnlab.errors import worded

__all__ = ["STEPS", "Part", "PriceList", "Sizes"]

STEPS = 16
Sizes = dict[int, tuple[int, int]]  # group to (heads, step of neurons); a layer that went is absent


class Part(NamedTuple):
    """A part that may go, or come.

    Attributes
    ----------
    group : of layers
    sizes : (heads, step of neurons) of the group then, None when its layer goes
    price : (K,), what it takes of each limit, as a share
    kind : 0 a head, 1 a step of neurons, 2 a layer
    rank : among its kind in the group, 0 the most important
    """

    group: int
    sizes: tuple[int, int] | None
    price: np.ndarray
    kind: int
    rank: int


class PriceList:
    """The prices of all sizes that a classifier may have, in shares of K limits.

    Layers that share their weights are one group, and keep the same. Costs are sums over layers,
    so the price of a layer's sizes does not depend on the other layers.

    Parameters
    ----------
    shape : of the whole classifier
    budget : Budget
    latency : predicts milliseconds; needed where the budget limits them
    steps : into so many parts the neurons of each layer are cut
    number_format : of the weights, see `megabytes`

    Attributes
    ----------
    groups : first layer of each group, to all its layers
    counts : for each group the numbers of neurons that it may have, by step
    full : Sizes of the whole classifier
    layers_can_go : whether layers have weights of their own
    least : costs of the smallest model that there can be, by name
    base : (K,), costs of the model with all layers empty
    of : group to (heads + 1, steps + 1, K), what its sizes add to that
    absent : group to (K,), what it adds when its layer is gone: less than nothing

    Raises
    ------
    AttnlabError : a budget that nothing fits, with the least that is possible
    """

    def __init__(
        self,
        shape: Shape,
        budget: Budget,
        latency: Predicts | None = None,
        steps: int = STEPS,
        number_format: str = "float32",
    ):
        self.shape, self.budget, self.latency = shape, budget, latency
        self.number_format = number_format
        layers = range(len(shape.layers))
        self.groups = {
            owner: [layer for layer in layers if shape.owner(layer) == owner]
            for owner in sorted({shape.owner(layer) for layer in layers})
        }
        self.counts = {
            group: np.unique(
                [max(1, round(shape.layers[group][1] * step / steps)) for step in range(steps + 1)]
            )
            for group in self.groups
        }
        self.full: Sizes = {
            group: (shape.layers[group][0], len(self.counts[group]) - 1) for group in self.groups
        }
        self.layers_can_go = shape.family != "albert" and not shape.sharing and len(self.groups) > 1
        empty: Sizes = dict.fromkeys(self.groups, (0, 0))
        self.least = self.costs({0: (0, 0)} if self.layers_can_go else empty)
        hint = worded(
            "al.compression.trim_vocabulary takes word pieces away.",
            "attnlab compress --trim takes word pieces away.",
        )
        budget.require(self.least, hint if {"parameters", "megabytes"} & {*budget.limits} else "")
        self.base = self._shares(empty)
        self.of = self._price_sizes(empty)
        self.absent = dict.fromkeys(self.groups, np.zeros_like(self.base))
        if self.layers_can_go:
            for group in self.groups:
                others = {other: sizes for other, sizes in empty.items() if other != group}
                self.absent[group] = self._shares(others) - self.base

    def costs(self, sizes: Sizes) -> dict[str, float]:
        """Return what the classifier of these sizes costs, by name."""
        layers = tuple(
            (sizes[group][0], int(self.counts[group][sizes[group][1]]))
            for group in (self.shape.owner(layer) for layer in range(len(self.shape.layers)))
            if group in sizes
        )
        budget = self.budget
        shape = replace(self.shape, layers=layers)
        return costs_of(shape, budget.tokens, budget.batch, self.latency, self.number_format)

    def total(self, sizes: Sizes) -> np.ndarray:
        """Return the share (K,) of each limit that these sizes take."""
        parts = [
            self.of[group][sizes[group]] if group in sizes else self.absent[group]
            for group in self.groups
        ]
        return self.base + np.sum(parts, axis=0)

    def may_go(self, sizes: Sizes) -> Iterator[Part]:
        """The last head, the last step of neurons of each layer, and each layer that is empty."""
        for group, (heads, step) in sizes.items():
            price = self.of[group]
            here = price[heads, step]
            if heads:
                saved = here - price[heads - 1, step]
                yield Part(group, (heads - 1, step), saved, 0, heads - 1)
            if step:
                saved = here - price[heads, step - 1]
                yield Part(group, (heads, step - 1), saved, 1, step - 1)
            if not heads and not step and self.layers_can_go and len(sizes) > 1:
                yield Part(group, None, here - self.absent[group], 2, 0)

    def may_come(self, sizes: Sizes) -> Iterator[Part]:
        """One more head, and one more step of neurons, of each layer that is there."""
        for group, (heads, step) in sizes.items():
            price, (most, last) = self.of[group], self.full[group]
            here = price[heads, step]
            if heads < most:
                yield Part(group, (heads + 1, step), price[heads + 1, step] - here, 0, heads)
            if step < last:
                yield Part(group, (heads, step + 1), price[heads, step + 1] - here, 1, step)

    def _shares(self, sizes: Sizes) -> np.ndarray:
        costs = self.costs(sizes)
        return np.array([costs[name] / limit for name, limit in self.budget.limits.items()])

    def _price_sizes(self, empty: Sizes) -> dict[int, np.ndarray]:
        known: dict[tuple[int, ...], np.ndarray] = {}
        prices = {}
        for group, (heads, steps) in self.full.items():
            alike = (len(self.groups[group]), heads, *self.counts[group])
            if alike not in known:
                rows = [
                    [self._shares(empty | {group: (h, s)}) for s in range(steps + 1)]
                    for h in range(heads + 1)
                ]
                known[alike] = np.array(rows) - self.base
            prices[group] = known[alike]
        return prices


def __dir__() -> list[str]:
    return sorted(__all__)
