"""A forest plot says which changes are worse, which are better, and which may be nothing."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from attnlab.errors import AttnlabError
from attnlab.evaluation.scores import Comparison
from attnlab.show import plots
from attnlab.show.plots.picture import BETTER_WITHOUT, NEEDED
from attnlab.statistics import paired_test


def change(lost, gained, loss, margin, n=100):
    """So many answers lost and gained, and changes of loss and margin that hardly vary."""
    before = np.arange(n) < 50
    after = before.copy()
    after[:lost] = False
    after[50 : 50 + gained] = True
    noise = np.linspace(-0.01, 0.01, n)
    return Comparison(paired_test(before, after), pd.DataFrame(), loss + noise, margin + noise)


SEVERAL = {
    "worse": change(30, 0, 0.5, -1.5),
    "better": change(0, 30, -0.5, 1.5),
    "nothing": change(3, 3, 0.0, 0.0),
}


@pytest.mark.parametrize("measure", ["accuracy", "margin", "loss"])
def test_red_is_worse_and_blue_is_better_whatever_the_measure(measure):
    axes = plots.forest(SEVERAL, [measure]).figure.axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [same_color(dot.get_color(), NEEDED) for dot in dots] == [True, False, False]
    assert [same_color(dot.get_color(), BETTER_WITHOUT) for dot in dots] == [False, True, False]


def test_numbers_are_written_and_told():
    picture = plots.forest(SEVERAL, title="Three changes")
    written = [text.get_text() for text in picture.figure.axes[1].texts]
    assert written == ["−1.50", "+1.50", "0.00"]
    assert picture.alt.startswith("Three changes") and "worse −30.0" in picture.alt


def test_the_picture_says_what_line_and_colours_are():
    words = plots.forest(SEVERAL).figure.get_supxlabel()
    assert words == "line: 95 % interval; red: worse, blue: better, grey: unclear"


def test_an_unknown_measure_or_nothing_to_compare_is_refused():
    with pytest.raises(AttnlabError, match="accuracy"):
        plots.forest(SEVERAL, ["acuracy"])
    with pytest.raises(AttnlabError, match="at least one comparison"):
        plots.forest({})
