"""A few heads side by side: which maps are drawn, and what the words say of them."""

import numpy as np
import pytest
import torch

from attnlab.errors import AttnlabError
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.show import plots


def maps(layers=2, heads=2, count=5):
    """Heads that look evenly, but for a sink in L0 H1 and a token before in L1 H0."""
    weights = torch.full((layers, heads, count, count), 1 / count)
    weights[0, 1] = torch.nn.functional.one_hot(torch.zeros(count, dtype=torch.long), count)
    weights[1, 0] = torch.eye(count).roll(-1, -1)
    return AttentionMaps(
        ["[CLS]", "one", "two", "three", "[SEP]"][:count],
        weights,
        weights,
        torch.zeros(count, dtype=torch.bool),
        HeadSettings(layers, heads),
    )


def test_the_heads_are_drawn_in_the_order_that_is_asked_for():
    given = maps()
    picture = plots.chosen_heads(given, [(1, 0), (0, 1)], "Which is which?")
    panels = [axes for axes in picture.figure.axes if axes.images]
    assert [axes.get_title("left") for axes in panels] == ["layer 1, head 0", "layer 0, head 1"]
    for axes, (layer, head) in zip(panels, [(1, 0), (0, 1)], strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), given.weights[layer, head])


def test_the_words_say_where_each_head_looks():
    alt = plots.chosen_heads(maps(), [(0, 1), (1, 0)]).alt
    assert "Layer 0, head 1: a token gives 1.00 of its weight to '[CLS]'" in alt
    assert "Layer 1, head 0: a token gives 1.00 of its weight to the token before" in alt


@pytest.mark.parametrize("heads", [[], [(2, 0)], [(0, 2)]])
def test_heads_that_are_not_there_are_refused(heads):
    with pytest.raises(AttnlabError, match=r"head|layer"):
        plots.chosen_heads(maps(), heads)
