"""The sheet for drawings: arrows touch boxes, numbers can be read, and the figure is closed."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch

from attnlab.show.drawings import ROLES, Sketch


@pytest.mark.parametrize(
    ("end", "start_side", "end_side"),
    [
        ((3.0, 1.0), "right", "left"),
        ((0.6, 1.0), "left", "right"),
        ((2.0, 1.8), "top", "bottom"),
        ((2.0, 0.2), "bottom", "top"),
    ],
)
def test_an_arrow_joins_the_sides_that_face_each_other(end, start_side, end_side):
    sheet = Sketch(4, 2)
    start = sheet.box(2.0, 1.0, "a", width=0.6)
    other = sheet.box(*end, "b", width=0.6)
    sheet.arrow(start, other)
    (arrow,) = [patch for patch in sheet.axes.patches if isinstance(patch, FancyArrowPatch)]
    assert arrow._posA_posB == [start.side(start_side), other.side(end_side)]
    sheet.picture("Two boxes.")
    assert not plt.get_fignums()


def test_numbers_are_rounded_without_a_negative_zero_and_can_be_read_on_their_cell():
    sheet = Sketch(4, 2)
    where = sheet.numbers(2, 1, np.array([[0.04, -0.02], [1.0, 0.5]]), shaded=True, rows=["x", "y"])
    assert (where.width, where.height) == pytest.approx((0.84, 0.6))
    words = [text.get_text() for text in sheet.axes.texts]
    assert words == ["0.0", "0.0", "1.0", "0.5", "x", "y"]
    dark, light = sheet.axes.texts[0].get_color(), sheet.axes.texts[2].get_color()
    assert np.mean(to_rgb(dark)) > 0.5 > np.mean(to_rgb(light))
    sheet.picture("A table.")


def test_every_role_has_a_colour_of_its_own():
    assert len(set(ROLES.values())) == len(ROLES)


def test_a_finished_drawing_has_no_empty_bands():
    sheet = Sketch(4, 9)
    sheet.box(2, 5, "film", height=0.5)
    figure = sheet.picture("A box.").figure
    assert figure.get_size_inches() == pytest.approx([4, 0.5 + 2 * 0.08], abs=0.05)
    low, high = figure.axes[0].get_ylim()
    assert low < 4.75 and high > 5.25
