"""The measured curves and tables of lesson 01 show what they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import attnlab as al
from attnlab.show import drawings


def test_largest_weights_stand_between_an_equal_share_and_all_of_it():
    largest = {"not divided": [0.3, 0.5, 0.9], "divided by √d_k": [0.3, 0.27, 0.25]}
    picture = drawings.largest_weights([1, 8, 64], largest, keys=8)
    (axes,) = picture.figure.axes
    bottom, top = axes.get_ylim()
    assert bottom == 0 and top >= 1
    dotted = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert dotted == pytest.approx([1, 1 / 8])
    assert "not divided, from 0.30 to 0.90; divided by √d_k, from 0.30 to 0.25" in picture.alt
    names = [text.get_text() for text in axes.texts[2:]]
    assert names == ["not divided", r"divided by $\sqrt{d_k}$"], "no raw underscore"


def test_a_jacobian_is_drawn_with_its_numbers():
    slopes = np.array([[0.25, -0.25], [-0.25, 0.25]])
    (axes,) = drawings.jacobian(slopes, [0.5, 0.5]).figure.axes
    assert [text.get_text() for text in axes.texts] == ["0.250", "−0.250", "−0.250", "0.250"]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["weight 0, 0.50", "weight 1, 0.50"]


def test_a_position_table_lies_on_its_side():
    picture = drawings.position_table(al.attention.sinusoidal_positions(24, 6))
    axes = picture.figure.axes[0]
    assert axes.get_xlim() == (0, 24) and axes.get_ylim() == (6, 0)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "8", "16"]
    drawn = np.asarray(axes.collections[0].get_array()).reshape(6, 24)
    assert np.allclose(drawn[0], torch.arange(24).sin(), atol=1e-6)
    assert not plt.get_fignums()


def test_a_position_table_marks_the_first_full_turn_of_each_pair_that_makes_one():
    picture = drawings.position_table(al.attention.sinusoidal_positions(64, 16))
    marks = [(line.get_xdata()[0], *line.get_ydata()) for line in picture.figure.axes[0].lines]
    turns = [2 * np.pi * 10 ** (pair / 2) + 0.5 for pair in range(3)]  # the fourth needs 199
    assert np.allclose(marks, [(turn, 2 * i, 2 * i + 2) for i, turn in enumerate(turns)])
    assert "end at position 6.3, 19.9, 62.8." in picture.alt


def test_curves_are_named_at_their_ends_without_touching_each_other():
    curves = {"one": [1, 2, 3.0], "same": [0, 1, 3.0], "far": [9, 9, 9.0], "guide": [1, 1, 1.0]}
    looks = {"xlabel": "x", "ylabel": "y", "alt": "Four curves."}
    bands = {"far": ([8, 8, 8], [10, 10, 10])}
    picture = drawings.named_curves(range(3), curves, guides=["guide"], bands=bands, **looks)
    (axes,) = picture.figure.axes
    assert axes.get_legend() is None
    picture.figure.canvas.draw()
    tops = sorted(text.get_window_extent().y0 for text in axes.texts)
    high = axes.texts[0].get_window_extent().height
    assert len(tops) == 4 and min(np.diff(tops)) > 0.9 * high
    ink = {text.get_text(): text.get_color() for text in axes.texts}
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    assert all(ink[name] == colours[name] for name in ("one", "same", "far"))
    assert len(axes.collections) == 1


def test_curves_over_doublings_have_a_logarithmic_axis_with_plain_numbers():
    picture = drawings.named_curves(
        [32, 64, 128], {"time": [1, 10, 100]}, log="xy", xlabel="T", ylabel="µs", alt="A line."
    )
    (axes,) = picture.figure.axes
    picture.figure.canvas.draw()
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert {"32", "64", "128"} <= {label.get_text() for label in axes.get_xticklabels()}


def test_bars_of_tokens_name_each_and_single_out_the_largest():
    picture = drawings.token_bars(["a", "$5", "film"], [1.0, 4.25, 2.0], "size")
    (axes,) = picture.figure.axes
    assert [bar.get_height() for bar in axes.patches] == [1.0, 4.25, 2.0]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[2] != colours[1]
    assert "a 1.0, $5 4.2, film 2.0" in picture.alt
    picture.png()  # a dollar begins no formula
