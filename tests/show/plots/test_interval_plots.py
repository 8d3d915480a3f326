"""Pictures of intervals: which means lie in the middle, and which differences are clear."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.show.plots.picture import BETTER_WITHOUT, NEEDED
from attnlab.statistics import bootstrap_means

GAPS = {
    "64 labels": {"a − b": [5.0, 6.0, 7.0], "c − b": [-9.0, 0.0, 9.0]},
    "256 labels": {"a − b": [-3.0, -3.1, -2.9]},
}


def dots(picture):
    return [line for line in lines(picture) if line.get_marker() == "o"]


def lines(picture):
    return [line for axes in picture.figure.axes for line in axes.lines]


def test_a_difference_is_filled_where_its_interval_leaves_out_0():
    filled = [not same_color(dot.get_markerfacecolor(), "white") for dot in dots(drawn())]
    assert filled == [True, False, True]


def test_every_seed_has_a_tick_and_every_row_its_numbers():
    picture = drawn()
    ticks = [line for line in lines(picture) if line.get_marker() == "|"]
    assert [line.get_xdata().tolist() for line in ticks] == [
        gaps for rows in GAPS.values() for gaps in rows.values()
    ]
    first, second = picture.figure.axes
    assert [axes.get_title() for axes in (first, second)] == ["64 labels", "256 labels"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["a − b", "c − b"]
    written = [text.get_text() for text in first.texts]
    assert "+6.0 [+3.5, +8.5]" in written
    assert "256 labels, a − b: −3.0 [−3.2, −2.8]" in picture.alt


def test_the_middle_of_the_means_is_blue():
    right = np.arange(500) < 358
    means = 100 * bootstrap_means(right)
    picture = plots.resampling(means, "right answers in a round, %")
    bars = picture.figure.axes[0].patches
    blue = [bar for bar in bars if not same_color(bar.get_facecolor(), "0.75")]
    inside = sum(bar.get_height() for bar in blue) / sum(bar.get_height() for bar in bars)
    assert 0.95 <= inside < 0.98
    assert all(67 < bar.get_x() < 76 for bar in blue)
    assert sum(bar.get_height() for bar in bars) == len(means)
    assert "from 67." in picture.alt


def test_over_seeds_draws_means_and_reaches_from_the_lowest_to_the_highest_seed():
    results = pd.DataFrame(
        {"a": [50.0, 52.0, 57.0, 70.0, 70.0, 73.0], "b": [60.0, 61.0, 62.0, 80.0, 80.0, 80.0]},
        index=pd.MultiIndex.from_product([[64, 256], [1, 2, 3]]),
    )
    words = {"xlabel": "labels", "ylabel": "accuracy, %", "levels": {"zero-shot": 66}}
    picture = plots.over_seeds(results, log="x", **words)
    axes = picture.figure.axes[0]
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[53, 71], [61, 80]]
    bars = axes.containers[0].lines[2][0].get_segments()
    assert [bar[:, 1].tolist() for bar in bars] == [[50, 57], [70, 73]]
    assert "lowest to highest seed" in axes.get_ylabel()
    assert "zero-shot 66 throughout" in picture.alt
    with pytest.raises(AttnlabError, match="two levels of index"):
        plots.over_seeds(results.droplevel(1), xlabel="labels", ylabel="%")


def test_nothing_to_draw_is_refused():
    with pytest.raises(AttnlabError, match="no differences"):
        plots.differences({}, "points")
    with pytest.raises(AttnlabError, match="means of shape"):
        plots.resampling([], "%")


def drawn():
    return plots.differences(GAPS, "difference, points")


def test_values_stand_with_their_intervals_and_what_is_unknown_has_no_number():
    found = {"one\n5 labels": (0.5, 0.25, 0.75), "two": (np.nan,) * 3}
    picture = plots.intervals(found, "share", {0: "nothing", 1: "all"})
    axes = picture.figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.50"]
    assert axes.lines[0].get_xdata().tolist() == [0.25, 0.75]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["nothing", "all"]
    assert "one 5 labels 0.50 (0.25 to 0.75); two – (– to –)." in picture.alt


def test_changes_are_coloured_by_what_their_interval_leaves_out_beside_a_line_at_0():
    found = {"falls": (-0.4, -0.5, -0.3), "rises": (0.2, 0.1, 0.3), "open": (0.1, -0.1, 0.2)}
    axes = plots.intervals(found, "change, logits", zero=True).figure.axes[0]
    level, *bars = axes.lines
    assert list(level.get_xdata()) == [0, 0]
    assert [bar.get_color() for bar in bars[::2]] == [NEEDED, BETTER_WITHOUT, "0.45"]
    assert axes.get_xlabel() == "change, logits (line: 95 % interval)"


def test_a_change_whose_interval_leaves_out_0_is_never_written_as_0():
    found = {"small": (-0.0031, -0.0042, -0.0019), "open": (0.0031, -0.1, 0.1)}
    picture = plots.intervals(found, "change, logits", zero=True)
    assert [text.get_text() for text in picture.figure.axes[0].texts] == ["−0.003", "0.00"]
    assert "small −0.003 (−0.004 to −0.002)" in picture.alt


def test_second_values_are_hollow_and_stand_below_the_first():
    found, second = {"a": (-0.4, -0.5, -0.3)}, {"a": (0.0, -0.1, 0.1)}
    words = {"zero": True, "hollow": second, "names": ("change", "left")}
    picture = plots.intervals(found, "logits", **words)
    filled, hollow = dots(picture)
    assert hollow.get_ydata()[0] > filled.get_ydata()[0]  # the axis points down
    assert same_color(hollow.get_markerfacecolor(), "white")
    assert [text.get_text() for text in picture.figure.legends[0].get_texts()] == ["change", "left"]
    assert "change: a −0.40 (−0.50 to −0.30). left: a 0.00" in picture.alt
    with pytest.raises(AttnlabError, match="names of the filled ones"):
        plots.intervals(found, "logits", hollow={"b": (0, 0, 0)})


def test_intervals_need_two_ends():
    with pytest.raises(AttnlabError, match="a value and two ends"):
        plots.intervals({"one": (0.5, 0.25)}, "share")
