"""A market for the parts of a classifier: each bids with what it gives, and has its price."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, milp

from attnlab.economics.budgets import Budget, Predicts, costs_of
from attnlab.economics.formats import NumberFormat
from attnlab.economics.importances import Importance
from attnlab.economics.plans import Plan
from attnlab.economics.price_list import STEPS, Part, PriceList, Sizes
from attnlab.economics.shapes import Shape
from attnlab.errors import AttnlabError

__all__ = ["Market", "price_table"]

Values = dict[int, tuple[np.ndarray, np.ndarray]]  # of heads and of steps of neurons, best first
_TINY = 1e-12
_TOLERANCE = 1e-6  # of HiGHS, by which limits may be exceeded


class Market:
    """What can be bought of a classifier inside a budget.

    Parameters
    ----------
    shape : of the whole classifier
    importance : of its parts: what they bid. It tells which heads there are.
    budget : Budget
    latency : predicts milliseconds; needed where the budget limits them
    steps : into so many parts the neurons of each layer are cut
    number_format : of the weights, "float32" or "int8"; see `megabytes`

    Attributes
    ----------
    whole : Plan that keeps everything
    prices : PriceList

    Raises
    ------
    AttnlabError : a budget that nothing fits, with the least that is possible

    Notes
    -----
    Nothing here runs a model: what is chosen follows from importance and from sizes.
    """

    def __init__(
        self,
        shape: Shape,
        importance: Importance,
        budget: Budget,
        latency: Predicts | None = None,
        steps: int = STEPS,
        number_format: NumberFormat = "float32",
    ):
        self.number_format: NumberFormat = number_format
        self.shape, self.importance, self.budget, self.latency = shape, importance, budget, latency
        self.whole = Plan(
            tuple(range(len(shape.layers))),
            tuple(tuple(np.flatnonzero(~np.isnan(row)).tolist()) for row in importance.heads),
            tuple(tuple(range(neurons)) for _, neurons in shape.layers),
        )
        self.prices = PriceList(shape, budget, latency, steps, number_format)

    def costs(self, plan: Plan) -> dict[str, float]:
        """Return what a plan costs, by name."""
        shape, budget = plan.shape(self.shape), self.budget
        return costs_of(shape, budget.tokens, budget.batch, self.latency, self.number_format)

    def greedy(
        self, importance: Importance | None = None, share: float = 1.0, gone: Sequence[int] = ()
    ) -> Plan:
        """Sell what gives least for its price, part by part, until the rest is affordable.

        Parameters
        ----------
        importance : other bids than those of the market
        share : of the budget that may be spent
        gone : layers that go first, whole; one stays in any case
        """
        importance = importance or self.importance
        values = self.values(importance)

        def gives_least(parts: list[Part], over: np.ndarray) -> int:
            saved = np.array([part.price[over].sum() for part in parts])
            given = np.array([_given(values, part) for part in parts])
            return int(np.argmin(np.where(saved > 0, given / np.maximum(saved, _TINY), np.inf)))

        sizes = self._sell(self._without(gone), share, gives_least)
        return self._plan(self._fill(sizes, values, share), importance)

    def knapsack(self, importance: Importance | None = None, share: float = 1.0) -> Plan:
        """Buy what gives most together inside the budget: one choice of sizes for each layer.

        This is the multiple-choice knapsack problem (Sinha and Zoltners 1979), solved to within a
        millionth of the best by HiGHS.

        Parameters
        ----------
        importance, share : as for `greedy`
        """
        importance, prices = importance or self.importance, self.prices
        values = self.values(importance)
        options: list[tuple[Any, ...]] = []  # row, group, sizes, value, price
        for row, group in enumerate(prices.groups):
            heads, steps = (np.append(0, own.cumsum()) for own in values[group])
            for sizes, value in np.ndenumerate(heads[:, None] + steps):
                options.append((row, group, sizes, value, prices.of[group][sizes]))
            if prices.layers_can_go:
                options.append((row, group, None, 0.0, prices.absent[group]))
        chosen = _best_choice(options, share - prices.base)
        if chosen is None:
            raise self._too_little(share)
        bought = {group: sizes for _, group, sizes, *_ in chosen if sizes is not None}
        return self._plan(self._fill(bought, values, share), importance)

    def random(self, generator: np.random.Generator, share: float = 1.0) -> Plan:
        """Sell by chance: first layers, then heads and steps of neurons, each as likely as another.

        How many layers go is drawn, too, from none to as many as would do alone.
        """
        prices, importance = self.prices, self.importance
        chance = Importance(
            importance.heads * 0 + generator.random(importance.heads.shape),
            [generator.random(len(own)) for own in importance.neurons],
            importance.layers,
        )
        gone = np.empty(0, int)
        if prices.layers_can_go:
            order = generator.permutation(list(prices.groups))[:-1]
            fits = [
                bool((prices.total(self._without(order[:count])) <= share).all())
                for count in range(len(order) + 1)
            ]
            most = fits.index(True) if True in fits else len(order)
            gone = order[: generator.integers(most + 1)]

        def any_part(parts: list[Part], over: np.ndarray) -> int:
            left = np.array([part.rank + 1.0 for part in parts])
            return int(generator.choice(len(parts), p=left / left.sum()))

        return self._plan(self._sell(self._without(gone), share, any_part), chance)

    # --- parts and what they bid ----------------------------------------------------------------

    def ranked(self, importance: Importance, group: int) -> tuple[np.ndarray, np.ndarray]:
        """The heads of a group that there are, and its neurons, the most important first."""
        active = np.array(self.whole.heads[group], int)
        heads = active[np.argsort(-importance.heads[group][active], kind="stable")]
        return heads, np.argsort(-importance.neurons[group], kind="stable")

    def values(self, importance: Importance) -> Values:
        """What the heads of each group bid, and its steps of neurons, the most important first."""
        values = {}
        for group, counts in self.prices.counts.items():
            heads, neurons = self.ranked(importance, group)
            sums = np.append(0, importance.neurons[group][neurons].cumsum())
            values[group] = importance.heads[group][heads], np.diff(sums[counts])
        return values

    def _plan(self, sizes: Sizes, importance: Importance) -> Plan:
        heads: list[tuple[int, ...]] = [()] * len(self.whole.layers)
        neurons: list[tuple[int, ...]] = [()] * len(self.whole.layers)
        for group, (count, step) in sizes.items():
            best_heads, best_neurons = self.ranked(importance, group)
            for layer in self.prices.groups[group]:
                heads[layer] = tuple(sorted(best_heads[:count].tolist()))
                most = self.prices.counts[group][step]
                neurons[layer] = tuple(sorted(best_neurons[:most].tolist()))
        layers = sorted(layer for group in sizes for layer in self.prices.groups[group])
        return Plan(tuple(layers), tuple(heads), tuple(neurons))

    # --- selling and buying ---------------------------------------------------------------------

    def _without(self, gone: Sequence[int] | np.ndarray) -> Sizes:
        prices = self.prices
        if len(gone) and not prices.layers_can_go:
            raise AttnlabError("No layer of this model can go: it has one, or they share weights.")
        left = [group for group in prices.groups if group not in set(gone)]
        return {group: prices.full[group] for group in left or list(prices.groups)[:1]}

    def _sell(
        self, sizes: Sizes, share: float, choose: Callable[[list[Part], np.ndarray], int]
    ) -> Sizes:
        """Let parts go one after the other until the rest takes a share of the budget at most."""
        sizes, total = dict(sizes), self.prices.total(sizes)
        while (over := total > share + _TINY).any():
            parts = list(self.prices.may_go(sizes))
            if not parts:
                raise self._too_little(share)
            part = parts[choose(parts, over)]
            total = total - part.price
            if part.sizes is None:
                del sizes[part.group]
            else:
                sizes[part.group] = part.sizes
        return sizes

    def _fill(self, sizes: Sizes, values: Values, share: float) -> Sizes:
        """Buy what still fits, what gives most for its price first."""
        sizes, total = dict(sizes), self.prices.total(sizes)
        while True:
            parts = [
                part
                for part in self.prices.may_come(sizes)
                if (total + part.price <= share + _TINY).all() and _given(values, part) > 0
            ]
            if not parts:
                return sizes
            best = max(parts, key=lambda part: _given(values, part) / max(*part.price, _TINY))
            total = total + best.price
            assert best.sizes is not None
            sizes[best.group] = best.sizes

    def _too_little(self, share: float) -> AttnlabError:
        return AttnlabError(
            f"Nothing fits {share:.0%} of this budget; the smallest model takes "
            f"{self.budget.spent(self.prices.least):.0%} of it."
        )


def price_table(market: Market, importance: Importance | None = None) -> pd.DataFrame:
    """Return what each part of a classifier gives and costs.

    Parameters
    ----------
    market : Market
    importance : other bids than those of the market

    Returns
    -------
    DataFrame, a row per head and per step of neurons, what gives most for its price first:
    ``layer``, ``part`` ("head" or "neurons"), ``head`` (missing for neurons), ``count`` (of
    neurons), ``importance``, a column for each limited cost, ``share`` (of the limit that it takes
    most of) and ``per_share``, importance for each whole budget spent so
    """
    importance, prices = importance or market.importance, market.prices
    values, rows = market.values(importance), []
    limits = market.budget.limits
    for group, (most, last) in prices.full.items():
        order = market.ranked(importance, group)[0]
        for step in range(last, 0, -1):
            price = prices.of[group][most, step] - prices.of[group][most, step - 1]
            count = int(np.diff(prices.counts[group])[step - 1])
            rows.append([group, "neurons", None, count, values[group][1][step - 1], *price])
        for rank in range(most - 1, -1, -1):
            price = prices.of[group][rank + 1, last] - prices.of[group][rank, last]
            rows.append([group, "head", int(order[rank]), 1, values[group][0][rank], *price])
    columns = ["layer", "part", "head", "count", "importance", *limits]
    table = pd.DataFrame(rows, columns=columns).astype({"head": "Int64"})
    table["share"] = table[list(limits)].max(axis=1)
    table["per_share"] = table["importance"] / table["share"].where(table["share"] > 0)
    for name, limit in limits.items():
        table[name] *= limit
    return table.sort_values("per_share", ascending=False, ignore_index=True, kind="stable")


def _best_choice(options: list[tuple[Any, ...]], limits: np.ndarray) -> list[Any] | None:
    """One option for each row that together give most inside the limits; None if none are inside.

    Options are (row, group, sizes, value, price (K,)); one at least must have sizes.
    """
    rows, _, sizes, gains, prices = zip(*options, strict=True)
    value, costs = np.array(gains), np.array(prices)
    one_each = np.equal.outer(np.unique(rows), rows).astype(float)
    stays = np.array([[float(pair is not None) for pair in sizes]])
    for slack in (0, 2 * _TOLERANCE):
        found = milp(
            -value * len(value) / max(value.sum(), _TINY),
            integrality=np.ones(len(options)),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(one_each, 1, 1),
                LinearConstraint(costs.T, ub=limits - slack),
                LinearConstraint(stays, 1),
            ],
            options={"mip_rel_gap": 1e-6},
        )
        if found.x is None:
            return None
        chosen = np.flatnonzero(found.x > 0.5)
        if (costs[chosen].sum(0) <= limits + _TINY).all():  # and not only within its tolerance
            break
    return [options[index] for index in chosen]


def _given(values: Values, part: Part) -> float:
    """What a part bids; an empty layer bids nothing."""
    return 0.0 if part.kind == 2 else float(values[part.group][part.kind][part.rank])


def __dir__() -> list[str]:
    return sorted(__all__)
