"""A budget limits what it says, refuses what is no limit, and says the least that is possible."""

import math

import pytest
from made_up_latency import Clock

from attnlab.economics.budgets import COSTS, Budget, costs_of
from attnlab.economics.shapes import Shape, megabytes, parameters
from attnlab.errors import AttnlabError

SHAPE = Shape.of(layers=3, heads=4, neurons=64, width=32, vocabulary=60, positions=40, classes=3)


def test_a_budget_is_spent_where_its_nearest_limit_is():
    budget = Budget(parameters=1000, flops=5e4)
    assert budget.spent({"parameters": 500, "flops": 2e4, "megabytes": 9.0}) == 0.5
    assert budget.spent({"parameters": 500, "flops": 1e5}) == 2
    assert budget.allows({"parameters": 1000, "flops": 5e4})
    assert not budget.allows({"parameters": 1001, "flops": 1})


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("limit", [0, -1, math.nan, math.inf, "many", True, [3]])
def test_what_is_no_limit_is_refused_by_name(name, limit):
    with pytest.raises(AttnlabError, match=f"{name}=.*is no limit"):
        Budget(**{name: limit})


def test_a_budget_without_limits_is_refused():
    with pytest.raises(AttnlabError, match="limits nothing"):
        Budget()
    with pytest.raises(AttnlabError, match="tokens=0"):
        Budget(flops=1, tokens=0)
    with pytest.raises(AttnlabError, match="batch=True"):
        Budget(flops=1, batch=True)


def test_a_limited_cost_that_is_not_known_is_no_cost_of_zero():
    budget = Budget(latency_ms=3)
    with pytest.raises(AttnlabError, match="limits latency_ms, and this cost is not known"):
        budget.spent({"latency_ms": math.nan})
    with pytest.raises(AttnlabError, match=r"Give latency=, a LatencyTable"):
        budget.spent(costs_of(SHAPE))
    assert budget.spent(costs_of(SHAPE, latency=Clock())) == pytest.approx((1 + 0.01 * 204) / 3)


def test_costs_are_those_of_the_shape_at_the_budgets_length():
    costs = costs_of(SHAPE, tokens=8, batch=2, latency=Clock())
    assert list(costs) == list(COSTS)
    assert costs["parameters"] == parameters(SHAPE) and costs["megabytes"] == megabytes(SHAPE)
    assert costs["flops"] == 2 * costs_of(SHAPE, tokens=8)["flops"]


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(parameters=1000), ["1,000 parameters", "has 4,200 parameters", "parameters=4200"]),
        (
            Budget(parameters=10_000, megabytes=0.01, latency_ms=2),
            ["allows 0.01 MB and 2 ms", "has 0.0168 MB and 2.5 ms", "megabytes=0.0168"],
        ),
    ],
)
def test_a_budget_that_nothing_fits_says_the_least(budget, words):
    least = {"parameters": 4200.0, "flops": 1e5, "megabytes": 0.0168, "latency_ms": 2.5}
    with pytest.raises(AttnlabError) as error:
        budget.require(least)
    for word in words:
        assert word in str(error.value)
    enough = str(error.value).partition("Give at least ")[2].rstrip(".")
    raised = eval(f"dict({enough})")
    Budget(**{name: raised.get(name, limit) for name, limit in budget.limits.items()}).require(
        least
    )


def test_a_scaled_budget_has_each_limit_scaled():
    budget = Budget(parameters=1000, latency_ms=3, tokens=8).scaled(0.5)
    assert budget.limits == {"parameters": 500, "latency_ms": 1.5} and budget.tokens == 8
    assert repr(budget) == "Budget(parameters=500, latency_ms=1.5, tokens=8, batch=1)"
