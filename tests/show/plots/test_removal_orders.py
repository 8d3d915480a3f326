"""Orders in which heads go: means, bands, and the control in grey."""

import pandas as pd
import pytest

from attnlab.errors import AttnlabError
from attnlab.show import plots

ROWS = [
    ("by margin", 6, -1.0, -0.1),
    ("by margin", 12, -3.0, -0.4),
    ("random", 6, -2.0, -0.2),
    ("random", 6, -4.0, -0.6),
    ("random", 12, -6.0, -0.8),
    ("random", 12, -8.0, -1.0),
]
PATH = pd.DataFrame(ROWS, columns=["order", "heads off", "accuracy, points", "margin, logits"])


def test_every_measure_has_a_panel_with_the_mean_of_each_order():
    picture = plots.removal_orders(PATH, half=12)
    left, right = picture.figure.axes
    assert [left.get_ylabel(), right.get_ylabel()] == ["accuracy, points", "margin, logits"]
    curves = {line.get_label(): list(line.get_ydata()) for line in left.lines[2:]}
    assert curves == {"by margin": [-1, -3], "random": [-3, -7]}
    assert "accuracy, points, random: −7.00 with 12 heads off" in picture.alt


def test_the_band_reaches_from_the_lowest_to_the_highest_and_random_is_grey():
    (axes, _) = plots.removal_orders(PATH).figure.axes
    band = axes.collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (-8, -2)
    assert axes.lines[-1].get_color() == "0.45"


def test_a_path_needs_its_orders():
    with pytest.raises(AttnlabError, match="order"):
        plots.removal_orders(PATH.drop(columns="order"))
