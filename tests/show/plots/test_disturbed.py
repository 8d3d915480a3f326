"""Pictures of small changes: what is drawn are the numbers given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.show.plots.picture import BETTER_WITHOUT, NEEDED


@pytest.fixture(autouse=True)
def closed():
    yield
    assert not plt.get_fignums(), "a picture left its figure open: Jupyter would show it twice"


CHANGES = pd.DataFrame(
    {
        "kind": ["typos", "negation"],
        "should_flip": [False, True],
        "flips": [0.1, 0.3],
        "flips_low": [0.05, 0.2],
        "flips_high": [0.2, 0.4],
        "attention": [0.01, 0.02],
    }
)


def curves():
    rows = [
        (text, method, kind, share, (2 - share if kind == "deletion" else share) + text, 0.5)
        for text in range(3)
        for method in ("attention", "random")
        for kind in ("deletion", "insertion")
        for share in (0.0, 0.5, 1.0)
    ]
    columns = ["text", "method", "kind", "share", "margin", "probability"]
    return pd.DataFrame(rows, columns=columns)


def test_flips_stand_at_their_share_inside_their_interval():
    picture = plots.robustness(CHANGES)
    left = picture.figure.axes[0]
    intervals, dots = left.lines[::2], left.lines[1::2]
    assert [list(line.get_xdata()) for line in intervals] == [[5, 20], [20, 40]]
    assert [float(line.get_xdata()[0]) for line in dots] == [10, 30]
    assert [to_hex(line.get_color()) for line in intervals] == [NEEDED, BETTER_WITHOUT]
    assert "typos 10.0 % (5.0 to 20.0)" in picture.alt


def test_heads_that_bring_the_answer_back_are_purple_and_others_orange():
    table = pd.DataFrame({"layer": [0, 0, 1, 1], "head": [0, 1, 0, 1]})
    picture = plots.patching(table.assign(restored=[0.5, 0, -0.5, 0.1]))
    (mesh, *_) = picture.figure.axes[0].collections
    purple, _, orange, _ = mesh.get_facecolor()
    assert purple[2] > purple[0] > purple[1]
    assert orange[0] > orange[1] > orange[2]
    words = [text.get_text() for text in picture.figure.axes[0].texts]
    assert words == ["50.0", "0.0", "−50.0", "10.0"]
    assert "highest L0H0, 50.0." in picture.alt


def test_intervals_stand_below_the_numbers_of_the_layers_that_there_are():
    table = pd.DataFrame({"layer": [4, 4, 5, 5], "head": [0, 1, 0, 1]})
    found = np.array([0.02, 0.0, -0.01, 0.024])
    table = table.assign(restored=found, ci_low=found - 0.005, ci_high=found + 0.005)
    picture = plots.patching(table, intervals=True)
    axes = picture.figure.axes[0]
    assert [text.get_text() for text in axes.texts][1:] == [
        "0.0\n−0.5, 0.5",
        "−1.0\n−1.5, −0.5",
        "2.4\n1.9, 2.9",
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["4", "5"]
    assert picture.alt.endswith("highest L5H1, 2.4 (1.9 to 2.9).")


def test_curves_are_the_means_of_their_texts():
    picture = plots.deletion(curves())
    for axes, ends in zip(picture.figure.axes, ((3, 2), (1, 2)), strict=True):
        for line in axes.lines:
            heights = np.asarray(line.get_ydata(), float)
            assert (heights[0], heights[-1]) == pytest.approx(ends)
    assert "3 texts" in picture.alt


def test_tables_of_something_else_are_refused():
    for draw in (plots.robustness, plots.patching, plots.deletion):
        with pytest.raises(AttnlabError, match="Pass the one that adaptive"):
            draw(pd.DataFrame({"kind": ["typos"]}))
    with pytest.raises(AttnlabError, match="'loss'"):
        plots.deletion(curves(), "loss")
