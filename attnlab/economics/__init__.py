"""Economics: what a classifier costs, and the best one inside a budget.

A `Budget` says what may be spent, `search` finds the real smaller models inside it, and its result
the frontier around it and what one more unit of a cost would buy. What a model costs follows from
its `Shape`.
"""

from attnlab.economics.budgets import COSTS, Budget, costs_of
from attnlab.economics.costs import Cost, cost
from attnlab.economics.flops import flops
from attnlab.economics.frontier import area_under, frontier, shadow_prices
from attnlab.economics.gates import HardConcrete, HeadGates, l2_penalty, learn_gates
from attnlab.economics.importances import Importance, importance
from attnlab.economics.latency import LatencyTable
from attnlab.economics.plans import Plan
from attnlab.economics.prices import Market, price_table
from attnlab.economics.results import SearchResult
from attnlab.economics.searching import loop, search
from attnlab.economics.shapes import Shape, megabytes, parameters, shape_of
from attnlab.economics.timing import latency

__all__ = [
    "COSTS",
    "Budget",
    "Cost",
    "HardConcrete",
    "HeadGates",
    "Importance",
    "LatencyTable",
    "Market",
    "Plan",
    "SearchResult",
    "Shape",
    "area_under",
    "cost",
    "costs_of",
    "flops",
    "frontier",
    "importance",
    "l2_penalty",
    "latency",
    "learn_gates",
    "loop",
    "megabytes",
    "parameters",
    "price_table",
    "search",
    "shadow_prices",
    "shape_of",
]


def __dir__() -> list[str]:
    return sorted(__all__)
