"""The drawings of single steps in lesson 01 hold the numbers that attention gives."""

import math

import matplotlib.pyplot as plt
import pytest
import torch

import attnlab as al
from attnlab.show import drawings


def words_of(picture):
    return [text.get_text() for axes in picture.figure.axes for text in axes.texts]


def test_all_at_once_is_drawn_with_the_weights_and_outputs_of_attention():
    x = torch.tensor([[1.0, 0.0], [0.5, 2.0], [1.5, 1.0]])
    weights = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0))
    picture = drawings.all_at_once(["a", "b", "c"], x, *weights)
    context, table = al.attention.scaled_dot_product_attention(*(x @ w for w in weights))
    drawn = words_of(picture)
    for number in [*table.flatten().tolist(), *context.flatten().tolist()]:
        assert f"{number:.2f}".replace("-", "−") in drawn
    assert {"3 × 2", "2 × 2", "3 × 3"} <= set(drawn)


def test_a_look_up_with_a_bell_is_a_mean_in_which_near_keys_count_more():
    picture = drawings.bell_look_up({0: 10.0, 1: 20.0, 5: 0.0}, query=1, temperature=0.5)
    powers = [math.exp(-1), 1.0, math.exp(-16)]
    answer = (10 * powers[0] + 20 * powers[1]) / sum(powers)
    assert f"is {answer:.1f}." in picture.alt
    assert f"1: {powers[1] / sum(powers):.2f}" in picture.alt


def test_distance_and_dot_product_give_keys_of_one_length_the_same_weights():
    degrees = [0, 90, 180]
    drawn = words_of(drawings.nearest_key([2.0, 1.0], degrees))
    weights = torch.tensor([2.0, 1.0, -2.0]).softmax(-1)
    for number in weights.tolist():
        assert drawn.count(f"{number:.2f}") == 2


@pytest.mark.parametrize(("scores", "temperature"), [((1, 0), 1), ((2, 1), 0.5)])
def test_the_softmax_is_the_best_of_the_ways_that_are_drawn(scores, temperature):
    picture = drawings.best_spread(scores, temperature)
    curve = {line.get_label(): line for line in picture.figure.axes[0].lines}["their sum"]
    best = temperature * torch.tensor(scores).div(temperature).logsumexp(-1).item()
    assert f"softmax {best:.2f}" in picture.alt
    assert max(curve.get_ydata()) == pytest.approx(best, abs=1e-4)


def test_rows_of_weights_say_how_many_keys_they_amount_to():
    alt = drawings.spreads([[1, 0], [0.5, 0.5]]).alt
    assert "H = 0.00, 1.0 keys; H = 0.69, 2.0 keys" in alt


def test_rows_of_weights_can_carry_titles_and_the_names_of_their_keys():
    picture = drawings.spreads([[0.5, 0.5], [1 / 3, 2 / 3]], ["wet", "river"], ["before", "after"])
    assert "before wet 0.50, river 0.50; after wet 0.33, river 0.67." in picture.alt
    for axes, title in zip(picture.figure.axes, ("before", "after"), strict=True):
        assert axes.get_title() == title
        assert [label.get_text() for label in axes.get_xticklabels()] == ["wet", "river"]
    assert {"0.33", "0.67"} <= set(words_of(picture))


def test_dot_products_of_random_signs_spread_with_the_root_of_the_width():
    picture = drawings.growing_scores([4, 9])
    assert "2 at width 4, 3 at width 9" in picture.alt
    bars = [patch for patch in picture.figure.axes[0].patches if patch.get_height() < 1]
    first, second = picture.figure.axes
    assert first.get_ylim() == second.get_ylim()  # bars get lower as they spread
    chance = {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in bars}
    assert chance == pytest.approx({-4: 1 / 16, -2: 1 / 4, 0: 3 / 8, 2: 1 / 4, 4: 1 / 16})


def test_heads_side_by_side_are_drawn_as_a_sum():
    alt = drawings.heads_add_up([[2, 0], [0, 1]], [[1, 0], [5, 5], [7, 7], [3, 4]]).alt
    assert "(2, 0) plus (3, 4) = (5, 4)" in alt
    named = drawings.heads_add_up([[2], [3]], [[1, 0], [0, 1]], ["Ann", "Bob"])
    assert words_of(named).count("Ann") == words_of(named).count("Bob") == 2  # W^O and the output
    other = drawings.heads_add_up([[2], [3]], [[1, 0], [0, 1]], name="$W_O$", first=0)
    assert {"head 0", "head 1", "$W_O$"} <= set(words_of(other))
    assert "side by side times W_O" in other.alt
    assert not plt.get_fignums()
