"""Two runs, step by step: the loss, the gradient and the leads of the scores below each other."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.training.history import History

HISTORY = History(
    steps=[{"step": step, "loss": 0.7, "gradient_norm": 10.0 ** (step % 2)} for step in (1, 2, 3)]
)
ALARMS = {"good": np.nan, "bad": 2.0}


def table(lead, input_lead):
    """Of two layers with two heads; the second layer's numbers change by these factors a step."""
    rows = [
        (step, layer, head, measure, 2.0 * factor ** (layer * step))
        for step in (0, 1, 2)
        for layer in (0, 1)
        for head in (0, 1)
        for measure, factor in (("lead", lead), ("input_lead", input_lead), ("score", 3.0))
    ]
    return pd.DataFrame(rows, columns=["step", "layer", "head", "measure", "value"])


def drawn(alarms=ALARMS):
    runs = {"good": (HISTORY, table(1.0, 1.0)), "bad": (HISTORY, table(2.0, 1.5))}
    return plots.scores_and_gradients(runs, alarms)


def lines(axes, length):
    return [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == length]


def test_leads_are_means_over_the_heads_of_each_layer():
    loss, gradient, lead, input_lead = drawn().figure.axes
    assert [list(one) for one in lines(gradient, 3)] == [[10.0, 1.0, 10.0]] * 2
    assert len(lines(loss, 3)) == 2
    assert [list(one) for one in lines(lead, 3)][-1] == [2.0, 4.0, 8.0]
    assert [list(one) for one in lines(input_lead, 3)][-1] == [2.0, 3.0, 4.5]
    assert lead.get_ylim() == input_lead.get_ylim()


def test_the_labels_of_the_gradient_do_not_touch():
    picture = drawn()
    picture.figure.canvas.draw()
    labels = picture.figure.axes[1].get_yticklabels(which="both")
    boxes = sorted(
        (one.get_window_extent() for one in labels if one.get_text()), key=lambda b: b.y0
    )
    assert len(boxes) > 2
    assert all(low.y1 < high.y0 for low, high in itertools.pairwise(boxes))


def falling_and_rising():
    """The good run stays; of the bad one layer 1 rises, 2 falls, and 3 ends where 2 does."""
    bad = table(2.0, 1.5)
    falls = pd.concat([table(0.25, 0.5).query("layer == 1").assign(layer=n) for n in (2, 3)])
    good, worse = (HISTORY, table(1.0, 1.0)), (HISTORY, pd.concat([bad, falls]))
    return plots.scores_and_gradients({"good": good, "bad": worse}, ALARMS)


def test_every_layer_of_the_second_run_is_named_and_coloured_by_what_its_lead_does():
    picture = falling_and_rising()
    for axes in picture.figure.axes[2:]:
        colours = {text.get_text(): text.get_color() for text in axes.texts}
        assert colours["layer 1"] == "#e06000"
        assert colours["layer 2"] == colours["layer 3"] == "#1f5fa8"
        assert colours["layer 0"] == "0.25"
    assert "rises first: layer 1; only falls: layer 2, 3; changes less: layer 0" in picture.alt


def test_a_lead_that_rises_has_its_number_at_its_highest_point():
    lead, input_lead = falling_and_rising().figure.axes[2:]
    for axes, highest in ((lead, 8.0), (input_lead, 4.5)):
        (peak,) = [text for text in axes.texts if text.get_text() == "1"]
        assert peak.xy == (2, highest)


def test_names_of_layers_do_not_touch():
    picture = falling_and_rising()
    picture.figure.canvas.draw()
    for axes in picture.figure.axes[2:]:
        named = [text for text in axes.texts if text.get_text().startswith("layer")]
        names = sorted(named, key=lambda text: text.get_position()[1])
        middles = [axes.transData.transform((0, text.get_position()[1]))[1] for text in names]
        height = Text.get_window_extent(names[0]).height
        assert len(names) == 4
        assert all(high - low >= height for low, high in itertools.pairwise(middles))


def test_the_alarm_stands_in_each_panel_and_the_highest_leads_are_told():
    picture = drawn()
    for axes in picture.figure.axes:
        assert [list(one.get_xdata()) for one in axes.lines if len(one.get_xdata()) == 2] == [
            [2.0, 2.0]
        ]
    assert "lead of the scores at most 8.0 (layer 1)" in picture.alt
    assert "4.5 (layer 1) with the matrices of the start" in picture.alt


def test_it_draws_two_runs_with_their_alarms():
    with pytest.raises(AttnlabError, match="two runs with their alarms"):
        drawn({"good": 1.0})
    with pytest.raises(AttnlabError, match="ScoreRecorder"):
        plots.scores_and_gradients(dict.fromkeys(ALARMS, (HISTORY, pd.DataFrame())), ALARMS)
    assert not plt.get_fignums(), "half a picture would stand below the error"
