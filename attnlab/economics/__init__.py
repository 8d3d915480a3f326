"""Economics: what a model costs, and the best one inside a budget.

A `Budget` says what may be spent, `search` finds the real smaller models inside it, and its result
the frontier around it and what one more unit of a cost would buy. What a model costs follows from
its `Shape`. `translators` trains translators inside limits.
"""

from attnlab.economics.budgets import COSTS, Budget, costs_of
from attnlab.economics.costs import Cost, cost
from attnlab.economics.flops import flops
from attnlab.economics.formats import FORMATS
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
from attnlab.economics.translators import (
    SizeSearch,
    close_heads,
    head_importance,
    keep_heads,
    sizes_inside,
    train_within,
)
from attnlab.economics.variants import variants

__all__ = [
    "COSTS",
    "FORMATS",
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
    "SizeSearch",
    "area_under",
    "close_heads",
    "cost",
    "costs_of",
    "flops",
    "frontier",
    "head_importance",
    "importance",
    "keep_heads",
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
    "sizes_inside",
    "train_within",
    "variants",
]


def __dir__() -> list[str]:
    return sorted(__all__)
