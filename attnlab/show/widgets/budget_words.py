"""What the budget explorer says: costs in units of a readable size, and sentences on a search."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attnlab.economics.budgets import Budget
from attnlab.economics.results import SearchResult
from attnlab.show.wording import (
    change_in_words,
    counted,
    number,
    signed_points,
    with_interval,
)
from attnlab.statistics import paired_test

NAMES = {
    "parameters": "parameters",
    "flops": "FLOPs",
    "megabytes": "megabytes",
    "latency_ms": "milliseconds",
}
# the unit and its size, from which number on; the last one holds for all
_UNITS: dict[str, list[tuple[float, str, float]]] = {
    "parameters": [(1e6, "M", 1e6), (0, "", 1)],
    "flops": [(1e8, "GFLOPs", 1e9), (1e5, "MFLOPs", 1e6), (0, "FLOPs", 1)],
    "megabytes": [(0, "MB", 1)],
    "latency_ms": [(0, "ms", 1)],
}
_STOPS = 100  # of a slider, about


@dataclass(frozen=True)
class Scale:
    """How a cost is written, and where its slider stops.

    Attributes
    ----------
    name : of the cost
    unit : that follows a number, "" where there is none
    size : of the unit
    step : from one stop to the next, in units
    first, last : stops, in steps; the last one allows the whole classifier
    """

    name: str
    unit: str
    size: float
    step: float
    first: int
    last: int

    @classmethod
    def of(cls, name: str, least: float, whole: float) -> "Scale":
        """A scale from the least that a cost can be up to that of the whole classifier."""
        unit, size = next((unit, size) for start, unit, size in _UNITS[name] if whole >= start)
        least = min(least, 0.9 * whole)
        step = _nice((whole - least) / size / _STOPS)
        if size == 1 and name in ("parameters", "flops"):
            step = max(1.0, step)
        first = max(1, math.floor(least / size / step + 1e-9))
        return cls(name, unit, size, step, first, math.ceil(whole / size / step - 1e-9))

    @property
    def decimals(self) -> int:
        """How many tell one stop from the next."""
        return max(0, -math.floor(math.log10(self.step) + 1e-9))

    @property
    def stops(self) -> list[float]:
        """The limits that the slider offers, as a `Budget` takes them."""
        return [self._value(stop) for stop in range(self.first, self.last + 1)]

    def position(self, value: float) -> int:
        """The stop that is nearest to a value, from 0."""
        stop = round(value / self.size / self.step)
        return min(max(stop, self.first), self.last) - self.first

    def units(self, value: float) -> float:
        """A cost in units, such as 0.34 for 0.34 GFLOPs."""
        return float(value / self.size)

    def bare(self, value: float) -> str:
        """A cost in units, without the unit; what is too small to be seen is not 0.

        >>> Scale("flops", "GFLOPs", 1e9, 0.01, 1, 70).bare(3e5)
        '<0.01'
        """
        told = number(self.units(value), self.decimals)
        least = 10.0**-self.decimals
        return f"<{least:g}" if value > 0 and self.units(value) < least / 2 else told

    def told(self, value: float) -> str:
        """A cost with its unit and what it is of, as in "15.2 M parameters"."""
        return self._with_noun(self.bare(value))

    def told_of(self, value: float, whole: float) -> str:
        """A cost beside that of the whole classifier, as in "0.34 of 0.69 GFLOPs"."""
        return self._with_noun(f"{self.bare(value)} of {self.bare(whole)}")

    def price(self, price: float) -> tuple[str, float]:
        """A handy amount in words, and what it buys where one more unit buys ``price``."""
        handy = 10.0 ** math.floor(math.log10(self.last * self.step / 5) + 1e-9)
        decimals = max(0, -round(math.log10(handy)))
        return self._with_noun(number(handy, decimals)), price * handy * self.size

    def _with_noun(self, digits: str) -> str:
        noun = "parameters" if self.name == "parameters" else ""
        return "\u00a0".join(filter(None, (digits, self.unit, noun)))

    def _value(self, stop: int) -> float:
        value = round(stop * self.step, self.decimals) * self.size
        return float(round(value)) if self.name in ("parameters", "flops") else value


def _nice(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below this."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(part * power for part in (1, 2, 5, 10) if part * power >= least * (1 - 1e-9))


# ── sentences ──────────────────────────────────────────────────────────────────────────────────


def remarks(
    limited: SearchResult,
    scales: Mapping[str, Scale],
    cost: str,
    frontier: pd.DataFrame,
    prices: pd.DataFrame,
    searching: bool = False,
) -> list[str]:
    """What the chosen sub-network costs, how accurate it is, and what more of a cost would buy.

    Parameters
    ----------
    limited : SearchResult inside the limits
    scales : of the costs that are known
    cost : that accuracy is drawn against
    frontier, prices : of it, see `SearchResult.frontier` and `SearchResult.prices`
    searching : whether more is on its way

    Returns
    -------
    list of str, one or more sentences each
    """
    if not limited.points:
        return [
            f"Nothing is measured{' yet. The whole classifier comes first.' * searching or '.'}"
        ]
    if not limited.table["inside"].any():
        return _nothing_fits(limited, scales)
    table, correct, row = limited.table, limited.correct, limited.chosen
    chosen = table.loc[row]
    costs = ", ".join(
        scale.told(chosen[name]) if row == 0 else scale.told_of(chosen[name], table.loc[0, name])
        for name, scale in scales.items()
    )
    if chosen["number_format"] != "float32":
        costs += f", in {chosen['number_format']}"
    known = with_interval(chosen["accuracy"], (chosen["ci_low"], chosen["ci_high"]))
    if row == 0:
        said = ["The whole classifier is the best.", f"{costs}.", f"Accuracy on dev {known}."]
    else:
        said = [f"{costs}.", f"Accuracy on dev {known}, whole classifier {_percent(table, 0)}."]
        said.append(change_in_words(paired_test(correct[0], correct[row])))
    if row not in frontier.index:
        said.append(_as_good(table, correct, row, scales[cost], frontier))
    said.append(_price(chosen[cost], scales[cost], prices))
    return list(filter(None, said))


def _percent(table: pd.DataFrame, row: int) -> str:
    return f"{100 * table.loc[row, 'accuracy']:.1f}\u00a0%"


def _nothing_fits(limited: SearchResult, scales: Mapping[str, Scale]) -> list[str]:
    """Say so, with the least of each cost whose limit is below it, and with the nearest to all."""
    table, limits = limited.table, limited.budget.limits
    least = {name: table[name].min() for name in limits}
    missed = [
        f"{scales[name].told(least[name])} (limit {scales[name].bare(limit)})"
        for name, limit in limits.items()
        if least[name] > limit
    ]
    said = ["Nothing that was measured fits these limits."]
    if missed:
        said.append(f"The least is {' and '.join(missed)}.")
    else:
        said.append("Each of them can be kept, but not all at once.")
    nearest = table.loc[table["spent"].idxmin()]
    if any(nearest[name] > least[name] for name in limits):
        needs = " and ".join(scales[name].told(nearest[name]) for name in limits)
        said.append(f"The nearest takes {needs}.")
    return [*said, "Raise a limit, or search inside this budget: more may be possible."]


def _as_good(
    table: pd.DataFrame, correct: np.ndarray, row: int, scale: Scale, frontier: pd.DataFrame
) -> str:
    """Which cheaper one of the frontier it does not surely beat: the best of them."""
    spent = table.loc[row, scale.name]
    for other in reversed(frontier.index[frontier[scale.name] <= spent]):
        test = paired_test(correct[other], correct[row])
        if test.low <= 0:
            costs = table.loc[other, scale.name]
            differs = scale.bare(costs) != scale.bare(spent)
            what = f"{scale.told(costs)} give" if differs else "one that costs no more has"
            return (
                f"It is not on the frontier: {what} {_percent(table, other)}, and the difference "
                f"({signed_points(test.low)} to {signed_points(test.high)} points) may be chance."
            )
    return ""


def _price(spent: float, scale: Scale, prices: pd.DataFrame) -> str:
    """What one more unit buys on the next step up the frontier."""
    steps = prices[prices["cost_to"] > spent]
    if steps.empty:
        return "Nothing more expensive that was measured is shown to be better."
    step = steps.iloc[0]
    gain, low, high = (scale.price(step[name])[1] for name in ("price", "price_low", "price_high"))
    return (
        f"Up the frontier, from {scale.bare(step['cost_from'])} to {scale.told(step['cost_to'])}, "
        f"each {scale.price(0)[0]} buys {signed_points(gain)} "
        f"points (95\u00a0%: {signed_points(low)} to {signed_points(high)})."
    )


def progress(result: SearchResult, inside: int, state: str, doing: str) -> str:
    """How much is measured, and what is under way."""
    count = len(result.points)
    if state in ("searching", "stopping"):
        return doing
    if not count:
        return ""
    told = (
        f"{counted(count, 'sub-network')} measured on {len(result.points[0].correct):,} dev texts, "
        f"{inside} inside the limits."
    )
    if state == "stopped":
        told += " The search was stopped."
    return f"{told} Only test data can tell what the best one is worth." if inside else told


def as_budget(limits: Mapping[str, Any], tokens: int, batch: int) -> str:
    """The limits as Python code."""
    given = [f"{name}={_digits(limit)}" for name, limit in limits.items()]
    if not given:
        return "budget = None  # no limits"
    plain = Budget.__dataclass_fields__
    for name, value in (("tokens", tokens), ("batch", batch)):
        if value != plain[name].default:
            given.append(f"{name}={value}")
    return f"budget = al.economics.Budget({', '.join(given)})"


def _digits(value: float) -> str:
    return f"{int(value):_}" if float(value).is_integer() else repr(float(value))
