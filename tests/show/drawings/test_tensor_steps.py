"""Drawings of attention as tensors: numbers and shapes are those of the code."""

import torch

from attnlab.attention import scaled_dot_product_attention
from attnlab.show import drawings


def written(picture):
    return [text.get_text() for text in picture.figure.axes[0].texts]


WORDS = ["not", "bad"]
X = torch.eye(2)
ASK = torch.tensor([[0.0, 0.5], [2.0, 0.0]])


def test_projections_show_the_products():
    meaning = dict.fromkeys(("x", "query", "key", "value"), ("one", "two"))
    matrices = {"query": ASK, "key": 3 * ASK, "value": 4 * ASK}
    picture = drawings.projections(WORDS, X, matrices, meaning)
    assert "The query of “bad” is (2, 0)" in picture.alt
    assert {"6.0", "8.0", "Q: queries", "(2, 2)"} <= set(written(picture))


def test_the_steps_show_the_weights_and_the_context_that_attention_gives():
    value = torch.tensor([[1.0], [3.0]])
    picture = drawings.attention_steps(WORDS, ASK, ASK, value, follow=1)
    context, weights = scaled_dot_product_attention(ASK, ASK, value)
    assert f"“bad” gives “bad” the weight {weights[1, 1]:.2f}" in picture.alt
    numbers = set(written(picture))
    assert {f"{weights[0, 0]:.2f}", f"{context[1, 0]:.1f}", f"{4 / 2**0.5:.1f}"} <= numbers
    assert {"(2, 2)", "(2, 1)"} <= numbers


def test_each_weight_is_written_once():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    picture = drawings.attention_steps(WORDS, query, 2 * query, query, follow=0)
    weight = torch.tensor([2 / 2**0.5, 0.0]).softmax(0)[0]
    assert written(picture).count(f"{weight:.2f}") == 4  # two in A, and A is drawn twice


def test_shapes_follow_queries_and_keys():
    picture = drawings.attention_shapes({"across": (4, 6, 2, 3)})
    shapes = {"(4, 2)", "(2, 6)", "(4, 6)", "(6, 3)", "(4, 3)"}
    assert shapes <= set(written(picture))
    assert "across: weights 4 by 6, context 4 by 3" in picture.alt


def test_multi_head_names_the_shape_of_each_step():
    picture = drawings.multi_head(tokens=5, width=12, heads=4)
    words = written(picture)
    assert words.count("(4, 5, 3)") == 4  # queries, keys, values, contexts
    assert words.count("(5, 12)") == 6  # x, three projections, merged, output
    assert {"(4, 5, 5)", "project", "split", "merge"} <= set(words)


def test_a_layer_norm_is_drawn_with_the_variance_over_all_numbers():
    picture = drawings.norm_steps([1, 3, 5, 7])
    assert {"−3", "−1.34", "1.34", "÷ √5"} <= set(written(picture))
