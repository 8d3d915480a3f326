"""The measured curves and tables of lesson 01 show what they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import attnlab as al
from attnlab.show import drawings


def test_largest_weights_stand_between_an_equal_share_and_all_of_it():
    largest = {"not divided": [0.3, 0.9], "divided": [0.3, 0.25]}
    picture = drawings.largest_weights([1, 64], largest, keys=8)
    (axes,) = picture.figure.axes
    bottom, top = axes.get_ylim()
    assert bottom == 0 and top >= 1
    dotted = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert dotted == pytest.approx([1, 1 / 8])
    assert "not divided, from 0.30 to 0.90; divided, from 0.30 to 0.25" in picture.alt


def test_a_jacobian_is_drawn_with_its_numbers():
    (axes, _) = drawings.jacobian(np.array([[0.25, -0.25], [-0.25, 0.25]])).figure.axes
    assert [text.get_text() for text in axes.texts] == ["0.250", "−0.250", "−0.250", "0.250"]


def test_a_position_table_lies_on_its_side():
    picture = drawings.position_table(al.attention.sinusoidal_positions(24, 6))
    axes = picture.figure.axes[0]
    assert axes.get_xlim() == (0, 24) and axes.get_ylim() == (6, 0)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "8", "16"]
    drawn = np.asarray(axes.collections[0].get_array()).reshape(6, 24)
    assert np.allclose(drawn[0], torch.arange(24).sin(), atol=1e-6)
    assert not plt.get_fignums()
