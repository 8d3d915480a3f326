"""Runs side by side: every head has the colour of what it does, and the alt text counts them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.show.wording import alarm_in_words
from attnlab.training.history import History

STEPS = range(0, 41, 10)
LINES = {  # entropy of each head at the five steps
    "falls": [0.5, 0.5, 0.02, 0.3, 0.99],
    "fell before the alarm": [0.5, 0.02, 0.5, 0.5, 0.5],
    "sharp from the first": [0.01, 0.01, 0.01, 0.01, 0.01],
    "spreads": [0.5, 0.6, 0.9, 0.98, 0.98],
    "stays": [0.5, 0.5, 0.5, 0.5, 0.5],
}
LOSS = History(steps=[{"step": step, "loss": 0.7} for step in range(1, 41)])


def table(lines=LINES):
    return pd.DataFrame(
        [
            (step, 0, head, measure, value)
            for head, values in enumerate(lines.values())
            for step, value in zip(STEPS, values, strict=True)
            for measure in ("entropy", "largest")
        ],
        columns=["step", "layer", "head", "measure", "value"],
    )


def drawn(alarm=20.0, **options):
    calm = table(dict.fromkeys(LINES, LINES["stays"]))
    runs = {"good run": (LOSS, calm), "reckless run": (LOSS, table())}
    return plots.loss_and_heads(runs, {"good run": np.nan, "reckless run": alarm}, **options)


def colours(picture):
    """Of each line of the reckless run, by where it was at first and at last."""
    axes = picture.figure.axes[2]
    lines = [line for line in axes.lines if len(line.get_xdata()) == len(STEPS)]
    return {tuple(np.asarray(line.get_ydata())[[1, 2, 4]]): line.get_color() for line in lines}


def test_heads_that_fall_after_the_alarm_are_orange_and_those_that_spread_blue():
    found = colours(drawn())
    expected = ("#e06000", "0.55", "0.55", "#1f5fa8", "0.55")
    for values, colour in zip(LINES.values(), expected, strict=True):
        assert same_color(found[values[1], values[2], values[4]], colour)


def test_each_panel_says_how_many_heads_it_colours():
    titles = [axes.get_title(loc="left") for axes in drawn().figure.axes[1:]]
    assert titles == [
        "heads of the good run: 0 of 5 coloured",
        "heads of the reckless run: 2 of 5 coloured",
    ]


def test_without_an_alarm_the_whole_run_counts():
    found = colours(drawn(alarm=np.nan))
    assert same_color(found[0.02, 0.5, 0.5], "#e06000")


def test_both_runs_share_their_scale_and_the_alarm_is_told():
    picture = drawn()
    loss, good, reckless = picture.figure.axes
    assert good.get_ylim() == reckless.get_ylim()
    assert "good run: 5 others, 0 end above 0.97, 0 fall under 0.05." in picture.alt
    assert "1 fall under 0.05; the first head left its band at step 20" in picture.alt
    dashed = [
        line
        for axes in (loss, good, reckless)
        for line in axes.lines
        if line.get_linestyle() == "--"
    ]
    assert [line.get_xdata()[0] for line in dashed] == [20, 20]


def test_every_loss_is_named_beside_its_end_and_a_guess_where_it_is_given():
    assert {text.get_text() for text in drawn().figure.axes[0].texts} == {
        "good run",
        "reckless run",
    }
    loss = drawn(guessing=0.69).figure.axes[0]
    heights = {text.get_text(): text.get_position()[1] for text in loss.texts}
    assert set(heights) == {"good run", "guessing", "reckless run"}
    assert len(set(heights.values())) == 3
    assert [line.get_ydata()[0] for line in loss.lines if line.get_linestyle() == ":"] == [0.69]


def test_a_run_shorter_than_the_window_ends_at_its_mean():
    short = History(steps=[{"step": step, "loss": float(step)} for step in (1, 2, 3)])
    runs = {name: (short, table()) for name in ("good run", "reckless run")}
    picture = plots.loss_and_heads(runs, dict.fromkeys(runs, np.nan), window=9, guessing=0.69)
    loss = picture.figure.axes[0]
    assert [2.0] in [list(line.get_ydata()) for line in loss.lines]
    assert {text.get_text() for text in loss.texts} == {*runs, "guessing"}


def test_runs_without_alarms_are_refused():
    with pytest.raises(AttnlabError, match="two runs with their alarms"):
        plots.loss_and_heads({"good run": (LOSS, table())}, {"good run": 3.0})


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        ([], "no head left its band"),
        ([(0, 1, 30)], "1 head left its band, at step 30"),
        ([(0, 1, 30), (0, 1, 50)], "1 head left its band, at step 30"),
        ([(0, 1, 30), (1, 1, 22)], "2 heads left their bands, the first at step 22"),
    ],
)
def test_an_alarm_counts_heads_and_not_stretches(heads, words):
    found = pd.DataFrame(heads, columns=["layer", "head", "start"])
    assert alarm_in_words(found) == words
