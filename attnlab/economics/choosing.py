"""What to try next: how the parts of a classifier bid, and how much of the budget is spent."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attnlab.economics.formats import NumberFormat
from attnlab.economics.importances import Importance
from attnlab.economics.plans import Plan
from attnlab.economics.points import Point
from attnlab.economics.prices import Market

__all__ = ["Bids", "Choice", "Chooser", "InTurn"]

_SHARES = (1.0, 0.85, 0.7, 0.55, 1.2)  # of the budget; the last says what more of it would buy
_LOWEST = 0.5  # share of the budget that a search goes down to
_RANGE = 2.0  # of bids: up to 4 times as much as importance says, or as little
_GONE = 2  # layers that go in any case, at most
_TURNS = ("evolution", "optuna", "evolution", "optuna", "evolution", "random")
_PARENTS = 4
_STEP = 0.5  # of a bid that changes
_SLACK = 0.02  # of the budget, that a parent may spend more than its child
_TRIES = 20


@dataclass(frozen=True, eq=False)
class Bids:
    """How much more than their importance the parts of a classifier bid.

    Attributes
    ----------
    share : of the budget that may be spent
    heads : (L, H), powers of 2; 0 bids the importance
    neurons : (L,), likewise, for all neurons of a layer
    gone : layers that go in any case
    """

    share: float
    heads: np.ndarray
    neurons: np.ndarray
    gone: tuple[int, ...] = ()

    def buy(self, market: Market) -> Plan:
        """Return what these bids get inside their share of the budget."""
        importance = market.importance.scaled(self.heads, self.neurons)
        return market.greedy(importance, self.share, self.gone)

    def to_json(self) -> dict[str, Any]:
        """Return a record for `from_json`."""
        return {
            "share": self.share,
            "heads": self.heads.tolist(),
            "neurons": self.neurons.tolist(),
            "gone": list(self.gone),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Bids":
        """Return the bids of a record."""
        heads, neurons = np.array(record["heads"]), np.array(record["neurons"])
        return cls(record["share"], heads, neurons, tuple(record["gone"]))


@dataclass(frozen=True, eq=False)
class Choice:
    """What is to be tried.

    Attributes
    ----------
    origin : who chose it: "whole", "greedy", "knapsack", "knapsack in rounds", "greedy in rounds",
        "evolution", "optuna" or "random"
    plan : what stays
    bids : by which it was bought, if it was
    trial : of Optuna, where Optuna chose
    chooser : that made the choice, for its number format; None for the whole classifier
    """

    origin: str
    plan: Plan
    bids: Bids | None = None
    trial: Any = None
    chooser: "Chooser | None" = None

    @property
    def number_format(self) -> NumberFormat:
        """The number format that it is to be measured in."""
        return "float32" if self.chooser is None else self.chooser.market.number_format

    @property
    def key(self) -> tuple[Plan, str]:
        """What no other choice has."""
        return self.plan, self.number_format


class Chooser:
    """Chooses what to try next from what was tried; the same from the same, also after a stop.

    First what greedy and knapsack buy at first sight; then, by importance that was measured in
    rounds, what knapsack buys, and greedy for some shares of the budget, and with one or two layers
    gone. Then in turn evolution, the search of Optuna, and chance.

    Parameters
    ----------
    market : Market, with importance measured in rounds
    first : importance in the whole classifier
    study : of Optuna
    seed : of all that is drawn
    only_random : chance alone
    """

    def __init__(
        self,
        market: Market,
        first: Importance,
        study: Any,
        seed: int,
        only_random: bool = False,
    ):
        self.market, self.first, self.study = market, first, study
        self.seed, self.only_random = seed, only_random
        # a format has its own names, since the same bids buy other parts there
        known = market.number_format
        self._prefix = "" if known == "float32" else f"{known} "
        self._order: list[int] = []  # layers, those that matter least first
        if market.prices.layers_can_go:
            self._order = np.argsort(market.importance.layers, kind="stable").tolist()
        spent = market.budget.spent
        self.lowest = min(1.0, max(_LOWEST, spent(market.prices.least) * 1.02))
        self.neutral = Bids(
            1.0, np.zeros(market.importance.heads.shape), np.zeros(len(market.whole.layers))
        )
        self._starts: list[Callable[[], Choice]] = []
        if not only_random:
            self._starts = [
                lambda: Choice("greedy", market.greedy(first)),
                lambda: Choice("knapsack", market.knapsack(first)),
                self._knapsack_in_rounds,
            ]
            whole = spent(market.costs(market.whole))
            some = [share for share in _SHARES if self.lowest <= share <= max(whole, 1)]
            bids = [replace(self.neutral, share=share) for share in some]
            bids += [
                replace(self.neutral, gone=tuple(sorted(self._order[:count])))
                for count in range(1, min(_GONE + 1, len(self._order)))
            ]
            self._starts += [
                functools.partial(self._bought, "greedy in rounds", each) for each in bids
            ]

    def choose(self, number: int, points: Sequence[Point]) -> Choice:
        """Return the choice of this number, from 1, after all that was tried in this format."""
        return replace(self._choice(number, points), chooser=self)

    def _choice(self, number: int, points: Sequence[Point]) -> Choice:
        if number <= len(self._starts):
            return self._starts[number - 1]()
        turn = (number - len(self._starts) - 1) % len(_TURNS)
        origin = "random" if self.only_random else _TURNS[turn]
        if origin == "optuna":
            return self._by_optuna(number)
        known = {point.plan for point in points}
        for attempt in range(_TRIES):
            generator = np.random.default_rng([self.seed, number, attempt])
            choice = (
                self._by_chance(generator)
                if origin == "random"
                else self._by_evolution(generator, points)
            )
            if choice.plan not in known:
                break
        return choice

    def parameters(self, bids: Bids) -> dict[str, float]:
        """Return bids as Optuna has them: one for all heads of a layer, and how many layers go."""
        own: dict[str, float] = {"share": float(np.clip(bids.share, self.lowest, 1))}
        for group in self.market.prices.groups:
            for kind, bid in (
                ("heads", float(bids.heads[group].mean())),
                ("neurons", float(bids.neurons[group])),
            ):
                own[f"{kind} {group}"] = float(np.clip(bid, -_RANGE, _RANGE))
        if self._order:
            own["gone"] = min(len(bids.gone), _GONE)
        return {f"{self._prefix}{name}": value for name, value in own.items()}

    def distributions(self) -> dict[str, Any]:
        """Return what Optuna may choose from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        special = {"share": FloatDistribution(self.lowest, 1), "gone": IntDistribution(0, _GONE)}
        return {
            name: special.get(name.removeprefix(self._prefix), FloatDistribution(-_RANGE, _RANGE))
            for name in self.parameters(self.neutral)
        }

    def _bought(self, origin: str, bids: Bids, trial: Any = None) -> Choice:
        return Choice(origin, bids.buy(self.market), bids, trial)

    def _knapsack_in_rounds(self) -> Choice:
        plan = self.market.knapsack()
        gone = set(self.market.whole.layers) - set(plan.layers)
        return Choice("knapsack in rounds", plan, replace(self.neutral, gone=tuple(sorted(gone))))

    def _by_chance(self, generator: np.random.Generator) -> Choice:
        share = 1.0 if generator.random() < 0.5 else generator.uniform(self.lowest, 1)
        return Choice("random", self.market.random(generator, share))

    def _by_optuna(self, number: int) -> Choice:
        """The tree-structured Parzen estimator for several objectives (Ozaki et al. 2022)."""
        from optuna.samplers import TPESampler

        # a sampler of its own each time, so that it does not matter when a search was stopped
        self.study.sampler = TPESampler(
            seed=int(np.random.default_rng([self.seed, number]).integers(2**31))
        )
        trial = self.study.ask(self.distributions())
        chosen = {name.removeprefix(self._prefix): own for name, own in trial.params.items()}
        layers = range(len(self.market.whole.layers))
        owner = self.market.shape.owner
        heads = np.array([chosen[f"heads {owner(layer)}"] for layer in layers])
        bids = Bids(
            chosen["share"],
            heads[:, None] + self.neutral.heads,
            np.array([chosen[f"neurons {owner(layer)}"] for layer in layers]),
            tuple(sorted(self._order[: chosen.get("gone", 0)])),
        )
        return self._bought("optuna", bids, trial)

    def _by_evolution(self, generator: np.random.Generator, points: Sequence[Point]) -> Choice:
        """A child of two of the best that its share of the budget can pay, a few bids changed."""
        share = 1.0 if generator.random() < 0.5 else float(generator.uniform(self.lowest, 1))
        parents = self._best(points, share)
        first, second = (parents[index] for index in generator.integers(len(parents), size=2))
        layers, heads = first.heads.shape
        own = generator.random(layers) < 0.5
        of_heads = np.where(own[:, None], first.heads, second.heads)
        of_neurons = np.where(own, first.neurons, second.neurons)
        for layer in generator.integers(layers, size=2):
            of_heads[layer] += _STEP * generator.normal()
            of_neurons[layer] += _STEP * generator.normal()
        for _ in range(3):
            head = generator.integers(layers), generator.integers(heads)
            of_heads[head] += 2 * _STEP * generator.normal()
        gone = set(first.gone)
        if self._order and generator.random() < 0.2:  # more likely one that matters little
            gone ^= {self._order[min(int(generator.geometric(0.5)), len(self._order)) - 1]}
        bids = Bids(share, of_heads.round(3), of_neurons.round(3), tuple(sorted(gone)))
        return self._bought("evolution", bids)

    def _best(self, points: Sequence[Point], share: float) -> list[Bids]:
        """The bids of the most accurate that spend no more than a share of the budget."""
        spent = [self.market.budget.spent(point.costs) for point in points]
        paid = [
            point
            for point, part in zip(points, spent, strict=True)
            if point.bids is not None and part <= share + _SLACK
        ]
        order = sorted(paid, key=lambda point: (-point.accuracy, point.loss))[:_PARENTS]
        return [Bids.from_json(point.bids) for point in order if point.bids] or [self.neutral]


class InTurn:
    """Chooses for one number format after the other; first the whole classifier in float32.

    Parameters
    ----------
    choosers : one for each number format in which anything fits the budget

    Attributes
    ----------
    whole : Plan that keeps everything
    budget : Budget
    """

    def __init__(self, choosers: Sequence[Chooser]):
        self.choosers = choosers
        self.whole, self.budget = choosers[0].market.whole, choosers[0].market.budget

    def choose(self, number: int, points: Sequence[Point]) -> Choice:
        """Return the choice of this number, from 0, after all that was tried."""
        if number == 0:
            return Choice("whole", self.whole)
        turn, which = divmod(number - 1, len(self.choosers))
        chooser = self.choosers[which]
        mine = [one for one in points if one.number_format == chooser.market.number_format]
        return chooser.choose(turn + 1, mine)


def __dir__() -> list[str]:
    return sorted(__all__)
