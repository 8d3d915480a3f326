"""The frontier holds what is better by a difference that holds, and prices follow from it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.economics.frontier import area_under, frontier, shadow_prices
from attnlab.errors import AttnlabError
from attnlab.statistics import paired_test, share_interval


def answers(*rights, n=100):
    """Models that answer the first so many texts rightly."""
    return np.array([np.arange(n) < right for right in rights])


def by_hand(costs, correct):
    """By the definition, from the cheapest up; with the test that the course uses."""
    models, right = range(len(costs)), correct.sum(1)
    found = []
    for model in sorted(models, key=lambda one: (*costs[one], -right[one], one)):
        cheaper = [one for one in models if one != model and (costs[one] <= costs[model]).all()]
        same = [one for one in cheaper if (costs[one] == costs[model]).all()]
        beaten = [one for one in cheaper if one not in same and right[one] >= right[model]]
        beaten += [one for one in same if (right[one], -one) > (right[model], -model)]
        holds = [
            paired_test(correct[one], correct[model]).low > 0 for one in cheaper if one in found
        ]
        if not beaten and all(holds):
            found.append(model)
    return sorted(found)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8).flatmap(
        lambda count: st.tuples(
            st.lists(
                st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=count, max_size=count
            ),
            st.lists(st.sampled_from([0.2, 0.4, 0.6, 0.9]), min_size=count, max_size=count),
            st.integers(0, 10_000),
            st.sampled_from([["a"], ["b"], ["a", "b"]]),
        )
    )
)
def test_the_frontier_is_that_of_the_definition(drawn):
    costs, shares, seed, names = drawn
    generator = np.random.default_rng(seed)
    correct = generator.random((len(costs), 60)) < np.array(shares)[:, None]
    table = pd.DataFrame(costs, columns=["a", "b"])
    found = frontier(table, correct, names)
    assert sorted(found.index) == by_hand(table[names].to_numpy(), correct)


def test_a_difference_that_may_be_chance_buys_no_place():
    table = pd.DataFrame({"ms": [1.0, 2.0, 3.0, 4.0]}, index=list("abcd"))
    correct = answers(60, 62, 80, 79)
    found = frontier(table, correct, "ms")
    assert found.index.tolist() == ["a", "c"]
    test = paired_test(correct[0], correct[2])
    row = found.loc["c"]
    assert (row.gain, row.gain_low, row.gain_high) == (test.delta, test.low, test.high)
    assert (row.accuracy, row.ci_low, row.ci_high) == (0.8, *share_interval(80, 100))
    assert np.isnan(found.loc["a", "gain"])


def test_of_two_that_cost_the_same_the_better_counts_however_little():
    table = pd.DataFrame({"ms": [1.0, 1.0, 1.0]})
    assert frontier(table, answers(60, 62, 62), "ms").index.tolist() == [1]


def test_with_two_costs_neither_need_win():
    table = pd.DataFrame({"ms": [1.0, 2.0], "megabytes": [2.0, 1.0]})
    correct = answers(60, 60)
    assert frontier(table, correct, ["ms", "megabytes"]).index.tolist() == [0, 1]
    assert frontier(table, correct, "ms").index.tolist() == [0]


def test_a_shadow_price_is_the_gain_for_each_unit_of_cost():
    table = pd.DataFrame({"ms": [4.0, 1.0, 2.0]})
    correct = answers(95, 30, 70)
    prices = shadow_prices(table, correct, "ms")
    assert prices[["from", "to"]].to_numpy().tolist() == [[1, 2], [2, 0]]
    assert prices["price"].tolist() == pytest.approx([0.4 / 1, 0.25 / 2])
    test = paired_test(correct[2], correct[0])
    assert prices.loc[1, ["gain_low", "price_high"]].tolist() == pytest.approx(
        [test.low, test.high / 2]
    )
    assert shadow_prices(table.iloc[:1], correct[:1], "ms").empty


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 10)), min_size=1, max_size=8),
    st.integers(0, 9),
    st.integers(1, 12),
)
def test_the_area_is_the_mean_of_the_best_that_each_cost_buys(pairs, low, width):
    table = pd.DataFrame(pairs, columns=["cost", "accuracy"]).assign(
        accuracy=lambda one: one["accuracy"] / 10
    )
    middles = low + (np.arange(width * 10) + 0.5) / 10
    best = [table["accuracy"][table["cost"] <= middle].max() for middle in middles]
    expected = np.nan_to_num(np.array(best)).mean()
    assert area_under(table, "cost", low, low + width) == pytest.approx(expected)


def test_what_makes_no_frontier_is_refused():
    table = pd.DataFrame({"flops": [1.0, 2.0], "latency_ms": [1.0, np.nan]})
    correct = answers(3, 4)
    for bad, words in (
        (lambda: frontier(table, correct, "flop"), "Did you mean 'flops'"),
        (lambda: frontier(table, correct, "latency_ms"), "latency_ms is not known for 1 of 2"),
        (lambda: frontier(table, correct[:1], "flops"), r"shape \(2, N\).*got \(1, 100\)"),
        (lambda: frontier(table, correct, []), "got 2 and"),
        (lambda: frontier(table[:0], correct[:0], "flops"), "needs models and costs"),
        (lambda: area_under(table.assign(accuracy=1.0), "flops", 2, 2), "from low to high"),
    ):
        with pytest.raises(AttnlabError, match=words):
            bad()


def test_the_order_of_the_models_does_not_matter():
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"ms": generator.permutation(12).astype(float)})
    correct = generator.random((12, 80)) < table["ms"].to_numpy()[:, None] / 14
    whole = set(frontier(table, correct, "ms").index)
    for _ in range(5):
        order = generator.permutation(12)
        assert set(frontier(table.iloc[order], correct[order], "ms").index) == whole
