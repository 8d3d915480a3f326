"""The drawings of lesson 01 hold the numbers that attention gives."""

import math
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

import attnlab as al
from attnlab.show import drawings


def words_of(picture):
    return [text.get_text() for text in picture.figure.axes[0].texts]


def test_one_query_is_drawn_with_the_weights_and_the_output_of_attention():
    x = torch.tensor([[1.0, 0.0], [0.5, 2.0], [1.5, 1.0]])
    w_query, w_key, w_value = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0))
    picture = drawings.one_query(["a", "b", "c"], x, w_query, w_key, w_value, asking=1)
    context, weights = al.attention.scaled_dot_product_attention(
        x @ w_query, x @ w_key, x @ w_value
    )
    for word, weight in zip("abc", weights[1].tolist(), strict=True):
        assert f"{word} {weight:.2f}" in picture.alt
        assert f"{weight:.2f}" in words_of(picture)
    for number in context[1].tolist():
        assert f"{number:.2f}".replace("-", "−") in picture.alt


@pytest.mark.parametrize("tokens", [2, 5, 9, 14])
def test_paths_get_shorter_from_recurrence_to_convolution_to_attention(tokens):
    alt = drawings.path_lengths(tokens, reach=2).alt
    assert f"Recurrent network: {tokens - 1} step" in alt
    assert f"convolution, width 5: {math.ceil((tokens - 1) / 2)} layer" in alt
    assert "attention: 1 layer." in alt


def test_two_tiles_give_attention_over_all_keys():
    scores, values = torch.tensor([1.0, 5.0, 2.0]), torch.tensor([3.0, -1.0, 8.0])
    picture = drawings.two_tiles(scores, values, tile=1)
    whole = float(scores.softmax(-1) @ values)
    assert f"o / $\\ell$ = {whole:.3f}" in words_of(picture)
    assert f"all at once: {whole:.3f}" in words_of(picture)


def test_the_gradients_that_go_back_are_those_of_autograd():
    draw = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(n, 2, generator=draw, dtype=torch.float64, requires_grad=True)
        for n in (1, 3, 3)
    )
    context, _ = al.attention.scaled_dot_product_attention(q, k, v)
    gradient = torch.tensor([[1.3, -0.7]])
    context.backward(gradient.double())
    picture = drawings.backward(q.detach(), k.detach(), v.detach(), gradient)
    written = [word.replace("−", "-") for word in words_of(picture)]
    for of in (q, k, v):
        for number in of.grad.flatten().tolist():
            assert f"{round(number, 2) + 0:.2f}" in written


def test_the_map_names_sections_that_the_lesson_has():
    (source,) = (Path(__file__).parents[3] / "notebooks" / "src").glob("01_*.py")
    headings = dict(re.findall(r"^# ## (\d+)\. (.*)$", source.read_text(), flags=re.MULTILINE))
    written = [text.get_text() for text in drawings.lesson_map().figure.axes[0].texts]
    named = set(re.findall(r"\d+", " ".join(text for text in written if "section" in text)))
    assert named == {str(number) for number in range(1, 10)} <= headings.keys()
    assert "dot product" in headings["3"] and "softmax" in headings["4"]
    assert "learn" in headings["7"] and "heads" in headings["8"] and "order" in headings["9"]


def test_every_drawing_says_what_it_shows_and_is_closed():
    pictures = [
        drawings.two_circuits(384, 32),
        drawings.clock_hands(6, (1, 2)),
    ]
    assert "384 × 32" in pictures[0].alt
    assert "384 × 384, rank at most 32" in pictures[0].alt
    assert "by 2 and 4 radians" in pictures[1].alt
    assert all(len(picture.alt) > 60 for picture in pictures)
    assert not plt.get_fignums()
