"""Answers that are right or wrong: grid, dots beside 0, curves of training."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from attnlab.errors import AttnlabError
from attnlab.show import plots


def test_only_cells_with_the_right_answer_are_filled():
    found = pd.DataFrame([["a", "b"], ["b", "b"]], index=["one", "two"], columns=["fr", "ja"])
    picture = plots.answer_grid(found, ["a", "c"], xlabel="tag", ylabel="characters")
    axes = picture.figure.axes[0]
    filled = [to_hex(cell.get_facecolor()) == "#1f5fa8" for cell in axes.patches]
    assert filled == [True, False, False, False]
    assert [text.get_text() for text in axes.texts] == ["a", "b", "b", "b"]
    assert picture.alt == "Right answers. one: fr; two: none."


def test_a_grid_needs_a_right_answer_for_each_row():
    with pytest.raises(AttnlabError, match="2 rows, but 1"):
        plots.answer_grid(pd.DataFrame({"fr": ["a", "b"]}), ["a"], xlabel="", ylabel="")


def test_only_wrong_fields_of_a_date_are_marked():
    answers = pd.DataFrame(
        {
            "kind": ["new", "borrowed"],
            "source": ["fr: 24-oct.-2021", "fr: 2021-03-03"],
            "found": ["2021-02-24", "2003"],
            "wanted": ["2021-10-24", "2021-03-03"],
            "outcome": ["another day", "no day"],
        },
        index=[7, 7],
    )
    shown = plots.date_fields(answers)
    assert list(shown.data) == ["kind", "source", "year", "month", "day", "right date"]
    assert shown.data["month"].tolist() == ["02", ""]
    page = shown.to_html()
    marked = {
        (row, column)
        for row in range(2)
        for column in range(6)
        if f"td.row{row}.col{column}" in page
    }
    assert marked == {(0, 3), (1, 2), (1, 3), (1, 4)}


def test_every_value_is_a_dot_and_zero_is_in_sight():
    picture = plots.dots_beside_zero({"new": [2.0, 4.0], "old": [3.0]}, xlabel="gap (nats)")
    axes = picture.figure.axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata().tolist() for line in dots] == [[2, 4], [3]]
    assert axes.get_xlim()[0] < 0
    assert "new: mean 3.0 (of 2), 0 below 0" in picture.alt


def test_values_below_zero_are_told():
    assert (
        "new: mean 0.5 (of 2), 1 below 0"
        in plots.dots_beside_zero({"new": [-1.0, 2.0]}, xlabel="gap (nats)").alt
    )


def test_dots_beside_zero_say_what_lies_on_either_side():
    groups = {"new": [2.0, 4.0]}
    axes = plots.dots_beside_zero(groups, xlabel="gap", sides=("search", "model")).figure.axes[0]
    assert [text.get_text() for text in axes.texts][-2:] == ["search", "model"]
    assert axes.get_xlim()[0] < -1


@pytest.mark.parametrize("groups", [{}, {"new": []}])
def test_dots_need_values(groups):
    with pytest.raises(AttnlabError):
        plots.dots_beside_zero(groups, xlabel="gap")


def test_the_second_run_can_be_seen_above_the_first():
    steps = np.arange(1, 101)
    runs = {"first": (steps, 1 / steps, [(50, 0.2), (100, 0.7)]), "second": (steps, 1 / steps, [])}
    runs["second"] = (range(1, 51), list(1 / steps[:50]), [(50, 0.4)])
    picture = plots.loss_and_share(runs, share="dates right")
    shares = picture.figure.axes[1]
    np.testing.assert_allclose(shares.lines[0].get_ydata(), [20, 70])  # percent
    assert shares.get_title(loc="left") == "dates right (%)"
    first, second = picture.figure.axes[0].lines
    assert first.get_linewidth() > 2 * second.get_linewidth()
    assert first.get_alpha() < second.get_alpha()
    assert len(second.get_xdata()) == 50
    assert "first ends at 0.70; second ends at 0.40" in picture.alt


def test_no_run_is_refused():
    with pytest.raises(AttnlabError):
        plots.loss_and_share({}, share="dates right")


def test_dates_stand_to_the_left_in_a_table_and_numbers_do_not():
    frame = pd.DataFrame({"wanted": ["2021-03-03"], "count": [3]})
    styles = plots.table(frame).to_html()
    assert styles.count("text-align: left") == 1
