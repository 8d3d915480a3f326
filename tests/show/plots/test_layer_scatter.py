"""A dot for each head, over one number or several."""

import numpy as np
import pytest

from attnlab.errors import AttnlabError
from attnlab.show import plots

HEADS = np.arange(6.0).reshape(2, 3)


def drawn(**options):
    over = {"entropy": HEADS / 6, "divergence, bits": HEADS[::-1]}
    titles = {"entropy": "trend -0.10", "divergence, bits": "trend\n+0.20"}
    return plots.layer_scatter(over, -HEADS, "change of margin, logits", titles, **options)


def test_every_panel_has_a_dot_for_each_head_in_the_colour_of_its_layer():
    for axes, across in zip(drawn().figure.axes, (HEADS / 6, HEADS[::-1]), strict=False):
        (dots,) = axes.collections
        np.testing.assert_allclose(dots.get_offsets(), np.c_[across.ravel(), -HEADS.ravel()])
        assert dots.get_array().tolist() == [0, 0, 0, 1, 1, 1]


def test_titles_are_told_and_written_with_a_minus_sign():
    picture = drawn()
    assert "over entropy: trend -0.10; over divergence, bits: trend +0.20." in picture.alt
    assert picture.figure.axes[0].get_title(loc="left") == "trend −0.10"


def test_the_marked_head_has_its_name_beside_its_dot():
    (name,) = drawn(marked=(1, 2)).figure.axes[1].texts
    assert name.get_text().strip() == "L1H2"
    assert name.get_position() == (2, -5)


def test_arrays_of_another_shape_are_refused():
    with pytest.raises(AttnlabError, match="one shape"):
        plots.layer_scatter({"entropy": HEADS[:1]}, HEADS, "change", {"entropy": ""})
