"""Dots of heads: where they lie, and what is said above them."""

import numpy as np
import pytest

from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.show.plots.picture import BETTER_WITHOUT, FOLLOWED, NEEDED


def test_each_head_is_a_dot_and_the_rank_correlation_stands_above():
    x = np.array([[0.1, 0.2], [0.3, 0.4]])
    picture = plots.head_scatter(
        {"same, points": (x, 2 * x), "other, logits": (x, -x)}, xlabel="dev", ylabel="test"
    )
    first, second = picture.figure.axes
    assert first.lines[0].get_xydata().tolist() == [[a, 2 * a] for a in x.ravel().tolist()]
    assert first.get_title(loc="left") == "same, points: ρ = 1.00"
    assert second.get_title(loc="left") == "other, logits: ρ = −1.00"
    assert "4 heads, dev against test" in picture.alt
    assert "other, logits: ρ = −1.00" in picture.alt


def test_marked_heads_are_drawn_once_more_and_the_diagonal_only_if_asked_for():
    x, marked = np.arange(3.0), {"L0H1": [False, True, False]}
    pair = {"margin": (x, x + 1)}
    picture = plots.head_scatter(pair, xlabel="a", ylabel="b", marked=marked)
    (axes,) = picture.figure.axes
    assert axes.lines[1].get_xydata().tolist() == [[1, 2]]
    assert len(axes.lines) == 2
    assert [text.get_text() for text in picture.figure.legends[0].get_texts()] == ["L0H1"]
    assert "L0H1 at 1.00 and 2.00" in picture.alt
    (axes,) = plots.head_scatter(pair, xlabel="a", ylabel="b", diagonal=True).figure.axes
    assert len(axes.lines) == 2


def test_the_followed_head_is_never_red_or_blue_and_the_rank_can_be_left_out():
    pair = {"margin": ([0.0, 1.0, 2.0], [0.0, 2.0, 1.0])}
    groups = {"layer 1": [False, True, True], "L0H0": [True, False, False]}
    picture = plots.head_scatter(pair, xlabel="a", ylabel="b", marked=groups, ranks=False)
    (axes,) = picture.figure.axes
    assert axes.get_title(loc="left") == "margin"
    colours = [line.get_color() for line in axes.lines[1:]]
    assert colours[-1] == FOLLOWED
    assert not {NEEDED, BETTER_WITHOUT} & set(colours)


@pytest.mark.parametrize(
    ("panels", "marked", "words"),
    [
        ({}, None, "at least one"),
        ({"margin": ([1, 2], [1, 2, 3])}, None, "2 and 3 heads"),
        ({"margin": ([1, 2], [1, 2])}, {"one": [True]}, "one: 1 heads may be marked, 2 are"),
        ({"margin": ([1], [1])}, {name: [True] for name in "abcd"}, "At most 3 groups"),
    ],
)
def test_heads_that_do_not_fit_together_are_refused(panels, marked, words):
    with pytest.raises(AttnlabError, match=words):
        plots.head_scatter(panels, xlabel="a", ylabel="b", marked=marked)
