"""The exercises of lesson 08 ask for what the package itself computes."""

import numpy as np
import pandas as pd
import pytest
import torch

from attnlab import economics
from attnlab.course.checks.attention_economics import (
    audit,
    hard_concrete,
    knapsack,
    layer_flops,
    on_frontier,
    phone_budget,
    records,
)
from attnlab.course.checks.examiner import Draw


@pytest.mark.parametrize("tokens, heads, neurons", [(1, 12, 3072), (37, 5, 700), (512, 1, 64)])
def test_the_flops_of_a_layer_are_those_of_the_package(tokens, heads, neurons):
    one, two = (
        economics.flops(economics.Shape.of(layers, heads, neurons, 768, head_width=64), tokens)
        for layers in (1, 2)
    )
    assert layer_flops.reference(tokens, 768, heads, 64, neurons) == two - one


def test_the_frontier_of_the_exercise_is_the_packages():
    """Also where models are doubtful, equal or overtaken, and for any costs."""
    for seed in range(12):
        draw = Draw(seed)
        for kind in (on_frontier._many, on_frontier._overtaken, on_frontier._of_equal_cost):
            cost, correct = kind(draw).arguments
            table = pd.DataFrame({"cost": cost})
            rows = economics.frontier(table, correct, "cost").index
            found = np.flatnonzero(on_frontier.reference(cost, correct))
            assert sorted(rows) == found.tolist()


def test_gates_and_their_chances_are_those_of_the_package():
    gates = economics.HardConcrete(5)
    noise = torch.rand(7, 5) * 0.9 + 0.05
    with torch.no_grad():
        gates.log_alpha.copy_(torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]))
        drawn, chances = hard_concrete.reference(gates.log_alpha, noise)
        assert torch.allclose(gates(noise).double(), drawn, atol=1e-6)
        assert torch.allclose(gates.probability().double(), chances, atol=1e-6)


def test_a_part_is_bought_as_by_trying_all_sets():
    for seed in range(20):
        parts = knapsack._some(Draw(seed), 9, free=1, harmful=2)
        given = parts.value, parts.price, parts.budget
        assert parts.worth(knapsack._by_amount(*given)) == pytest.approx(
            parts.worth(knapsack.reference(*given))
        )


def test_each_trick_of_a_record_moves_what_a_careless_reader_finds():
    for trick in records.TRICKS[:-1]:
        record = records.a_record(Draw(3), trick).record
        medians = record.groupby("model")["ms"].median()
        careless = medians["old"] / medians["new"]
        assert abs(careless - audit.reference(record, draws=20)[0]) > 0.01, trick.__name__


def test_a_budget_of_what_a_phone_can_do_is_a_budget_of_the_package():
    phone = {"app_megabytes": 30, "other_megabytes": 6, "bytes_per_weight": 1, "slower": 4}
    limits = phone_budget.reference(phone | {"ms_per_answer": 60, "ms_elsewhere": 20})
    assert limits == {"megabytes": 96, "latency_ms": 10, "tokens": 32, "batch": 1}
    budget = economics.Budget(megabytes=96, latency_ms=10)
    assert (budget.tokens, budget.batch) == (32, 1)
    weights = 24_000_000  # of a byte each there, of 4 bytes here
    assert budget.spent({"megabytes": 4 * weights / 1e6, "latency_ms": 1}) == 1
