"""A dot for each head at its ranks within its layer, over one number or several."""

import numpy as np
import pytest
from scipy import stats

from attnlab.errors import AttnlabError
from attnlab.show import plots

HEADS = np.array([[0.1, 0.3, 0.2], [5.0, 4.0, 6.0]])
RANKS = [[1, 3, 2], [2, 1, 3]]


def drawn(**options):
    over = {"entropy": HEADS, "divergence": -HEADS}
    titles = {"entropy": "trend -0.10", "divergence": "trend\n+0.20"}
    return plots.layer_scatter(over, HEADS, "rank of the change of margin", titles, **options)


def dots(axes):
    return [line for line in axes.lines if line.get_marker() not in ("", "None")]


def test_every_layer_has_its_colour_and_its_heads_stand_at_their_ranks():
    straight, turned = drawn().figure.axes
    for line, ranks in zip(dots(turned), RANKS, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), ranks)
        np.testing.assert_allclose(line.get_xdata(), 4 - np.array(ranks), atol=0.2)
    looks = {(line.get_color(), line.get_marker()) for line in dots(straight)}
    assert len(looks) == 2


def test_heads_with_the_same_two_ranks_do_not_hide_each_other():
    points = [
        point for line in dots(drawn().figure.axes[0]) for point in line.get_xydata().tolist()
    ]
    assert len(points) == 6
    assert len(set(map(tuple, points))) == 6


def test_the_slope_of_the_grey_line_is_the_rank_correlation_within_layers():
    over = {"entropy": HEADS[:, [1, 0, 2]]}
    (axes,) = plots.layer_scatter(over, HEADS, "rank", {"entropy": ""}).figure.axes
    trend = next(line for line in axes.lines if line not in dots(axes))
    slope = np.diff(trend.get_ydata()) / np.diff(trend.get_xdata())
    ranks = [stats.rankdata(one, axis=1).ravel() for one in (over["entropy"], HEADS)]
    np.testing.assert_allclose(slope, np.corrcoef(*ranks)[0, 1])


def test_titles_are_told_and_written_with_a_minus_sign():
    picture = drawn()
    assert "over entropy: trend -0.10; over divergence: trend +0.20." in picture.alt
    assert picture.figure.axes[0].get_title(loc="left") == "trend −0.10"


def test_marked_heads_have_their_names_between_two_rows_of_dots():
    names = drawn(marked=[(1, 0), (0, 1)]).figure.axes[1].texts
    assert [name.get_text() for name in names] == ["L1H0", "L0H1"]
    assert [name.xy[1] for name in names] == [2.5, 2.5]
    assert [round(name.xy[0]) for name in names] == [2, 1]


def test_arrays_of_another_shape_are_refused():
    with pytest.raises(AttnlabError, match="one shape"):
        plots.layer_scatter({"entropy": HEADS[:1]}, HEADS, "change", {"entropy": ""})
