"""What all pictures and tables share: numbers that can be read, and one convention for colours."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from attnlab.balance.reading import MEASURES
from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.show.plots import picture
from attnlab.show.wording import label_of, number, signed_points
from attnlab.training import History

PLOTS = Path(plots.__file__).parent


def luminance(colour):
    shares = np.asarray(colour[:3], dtype=float)
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrasts(axes):
    """The contrast of every written number with its cell, in one heat map."""
    mesh = axes.collections[0]
    width = mesh.get_coordinates().shape[1] - 1
    for text in axes.texts:
        column, row = (int(place) for place in text.get_position())
        paper = luminance(mesh.get_facecolor()[row * width + column])
        ink = luminance(plt.matplotlib.colors.to_rgb(text.get_color()))
        yield (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)


@pytest.mark.parametrize("colours", ["cividis", "cividis_r", "vlag", "vlag_r"])
def test_numbers_are_legible_on_every_colour_of_a_map(colours):
    _, axes = plt.subplots()
    picture.heatmap(np.linspace(-1, 1, 400).reshape(20, 20), axes, cmap=colours, annot=True)
    plt.close("all")
    found = list(contrasts(axes))
    assert len(found) == 400
    assert min(found) >= 4.5


def test_numbers_are_legible_beside_masked_cells_and_other_texts():
    _, axes = plt.subplots()
    axes.text(0.5, 0.5, "mine", color="tab:red")
    values = np.linspace(0, 1, 9).reshape(3, 3)
    picture.heatmap(values, axes, mask=np.eye(3, dtype=bool), cmap="cividis", annot=True)
    plt.close("all")
    first, *numbers = axes.texts
    assert first.get_color() == "tab:red"
    assert len(numbers) == 6
    first.remove()
    assert min(contrasts(axes)) >= 4.5


def test_every_picture_of_heads_has_legible_numbers():
    spread = np.linspace(-1, 1, 72).reshape(6, 12)
    layer, head = np.divmod(np.arange(72), 12)
    measures = pd.DataFrame({"layer": layer, "head": head, "a": spread.ravel(), "b": -layer})
    drawn = [
        plots.head_map(spread, label="x"),
        plots.head_map(np.abs(spread), label="x"),
        plots.matrix(spread, xlabel="x", ylabel="y", label="z", alt="Numbers."),
        plots.agreement(measures),
        plots.importances(measures),
    ]
    for each in drawn:
        maps = [axes for axes in each.figure.axes if axes.texts and axes.collections]
        assert maps
        for axes in maps:
            notes = [text for text in axes.texts if text.get_transform() == axes.transAxes]
            for note in notes:
                note.remove()
            assert min(contrasts(axes)) >= 4.5, each.alt


def test_no_picture_draws_a_map_past_the_one_function_that_minds_contrast():
    past = [
        path.name
        for path in PLOTS.glob("*.py")
        if "sns.heatmap(" in path.read_text() and path.name != "picture.py"
    ]
    assert past == []


def test_a_map_writes_minus_signs_and_no_minus_before_0():
    _, axes = plt.subplots()
    picture.heatmap(np.array([[-0.001, -0.31, 0.2]]), axes, annot=True, fmt=".2f")
    plt.close("all")
    assert [text.get_text() for text in axes.texts] == ["0.00", "−0.31", "0.20"]


# ── one convention for colours ─────────────────────────────────────────────────────────────────


def sweep(**columns):
    table = {"layer": [0, 0, 1, 1], "head": [0, 1, 0, 1], "delta": np.zeros(4)}
    table |= {"ci_low": np.full(4, -0.01), "ci_high": np.full(4, 0.01), "q_value": np.ones(4)}
    return pd.DataFrame(table | columns)


@pytest.mark.parametrize(
    ("column", "needed"), [("delta", -0.02), ("margin_delta", -0.5), ("loss_delta", 0.5)]
)
def test_a_needed_head_is_red_and_one_better_gone_blue_whatever_is_drawn(column, needed):
    drawn = plots.head_map(sweep(**{column: np.array([needed, -needed, 0, 0])}), column)
    mesh = drawn.figure.axes[0].collections[0]
    mesh.update_scalarmappable()
    (red, _, blue, _), (red_gone, _, blue_gone, _) = mesh.get_facecolor()[:2]
    assert red > blue
    assert blue_gone > red_gone


def test_the_map_of_accuracy_says_what_its_colours_mean():
    drawn = plots.head_map(sweep(delta=np.array([-0.02, 0.01, 0, 0])))
    labels = [axes.get_ylabel() for axes in drawn.figure.axes]
    assert any("red: needed, blue: better without" in label for label in labels)
    assert "\n" not in drawn.alt
    assert "1 heads" not in drawn.alt


# ── numbers, p-values, names ───────────────────────────────────────────────────────────────────


def test_what_rounds_to_0_has_no_minus_and_thousands_are_grouped():
    assert [number(value, 1) for value in (-0.04, 1056128.0, -2.25, np.inf)] == [
        "0.0",
        "1,056,128.0",
        "−2.2",
        "–",
    ]
    assert signed_points(-0.0004) == signed_points(0.0004) == "0.0"


def cells(styler):
    return re.findall(r"<td[^>]*>([^<]*)</td>", styler.to_html())


def test_a_table_writes_whole_numbers_shares_and_p_values_as_people_do():
    frame = pd.DataFrame(
        {
            "parameters": [1056128.0, 12.0],
            "accuracy": [0.8512345, np.nan],
            "seconds": [412.53, 0.2],
            "learning_rate": [1.58e-05, 0.0],
            "p_value": [1.5e-13, 0.0349],
            "name": ["a", "b"],
        }
    )
    assert cells(plots.table(frame)) == [
        *("1,056,128", "0.851", "413", "1.6e-5", "&lt; 0.001", "a"),
        *("12", "–", "0", "0", "0.035", "b"),
    ]
    assert cells(plots.table(frame[["seconds"]], seconds=1)) == ["412.5", "0.2"]
    with pytest.raises(AttnlabError, match="lacks 'minutes'"):
        plots.table(frame, minutes=1)


def test_a_table_sets_words_to_the_left_and_has_one_row_of_names():
    frame = pd.DataFrame(
        {"text": ["a film", None], "x": [1.5, 2.0], "change": ["+0.5 [0, 1]", "-2"]},
        index=pd.Index(["good", "bad"], name="kind"),
    )
    page = plots.table(frame).to_html()
    assert re.findall(r"\.(col\d)\s*{\s*text-align: left", page) == ["col0"]
    (names,) = re.findall(r"<thead>(.*?)</thead>", page, flags=re.DOTALL)
    assert names.count("<tr>") == 1
    assert re.findall(r">([^<\s]+)</th>", names) == ["kind", "text", "x", "change"]
    assert re.search(r"th\.row_heading,?[^{]*{\s*text-align: left", page)
    assert "th.row_heading" not in plots.table(frame.reset_index()).to_html()


def test_a_table_colours_the_rows_that_are_marked():
    frame = pd.DataFrame({"x": [1, 2, 3]}, index=["a", "a", "b"])  # names may repeat
    page = plots.table(frame, [False, True, False]).to_html()
    assert re.findall(r"\.(row\d)\s*{\s*background-color", page) == ["row1"]
    assert "background" not in plots.table(frame).to_html()
    with pytest.raises(AttnlabError, match="2 rows, and the table has 3"):
        plots.table(frame, [True, False])


def test_only_numbers_that_are_bounded_are_said_to_be_from_0_to_1():
    for measure in MEASURES:
        assert "0 to 1" not in label_of(measure, bounded=False)
    assert label_of("gini").endswith("0 to 1")


def test_all_right_is_not_drawn_as_certain():
    history = History([{"epoch": 1, "train_loss": 0.4, "dev_loss": 0.1, "dev_accuracy": 1.0}])
    picture = plots.learning_curve(history, dev_texts=40)
    assert "100.0% (95 %: 91.2 to 100.0)" in picture.alt
    bar = picture.figure.axes[1].collections[0].get_segments()[0]
    assert tuple(bar[:, 1]) == pytest.approx((91.2, 100), abs=0.1)


def test_steps_of_a_short_run_are_whole_numbers():
    steps = [
        {"step": 1.0 + at, "loss": 0.7, "learning_rate": 1e-4, "seconds": 1.0 * at}
        for at in range(20)
    ]
    row = {"epoch": 1, "train_loss": 0.4, "dev_loss": 0.1, "dev_accuracy": 0.5, "seconds": 20.0}
    figure = plots.learning_curve(History([row], steps)).figure
    figure.canvas.draw()
    ticks = [text.get_text() for text in figure.axes[2].get_xticklabels()]
    assert ticks[:3] == ["0", "5", "10"]


def test_alt_texts_have_no_minus_before_0():
    heads = np.array([[0.001, -0.0012], [0.0, -0.001]]) + 0.5
    heads[0] = -0.0004, 0.9
    assert "lowest 0.00 at layer 0 head 0" in plots.head_map(heads, label="x").alt


def test_bars_have_the_colour_of_their_curve_also_beside_dots():
    words = {"xlabel": "x", "ylabel": "y", "alt": "A curve."}
    drawn = plots.lines(
        [1, 2, 3], {"mean": [1, 2, 1]}, errors={"mean": [0.1] * 3}, points=([1], [1.5]), **words
    )
    axes = drawn.figure.axes[0]
    curve = axes.lines[1]  # before it stand the dots
    assert axes.containers[0].lines[0].get_color() == curve.get_color() != "black"


def test_no_bar_hides_another():
    x, curve = [64, 256, 1024], [1.0, 2.0, 3.0]
    same = {"first": curve, "second": curve, "third": curve}
    words = {"xlabel": "x", "ylabel": "y", "errors": {name: [0.1] * 3 for name in same}}
    for log in ("", "x"):
        axes = plots.lines(x, same, log=log, **words).figure.axes[0]
        dots = np.array([bars.lines[0].get_xdata() for bars in axes.containers])
        assert dots[1] == pytest.approx(x), "the middle one stands where it belongs"
        assert (np.diff(dots, axis=0) > 0.5).all()
        assert dots == pytest.approx(np.tile(x, (3, 1)), rel=0.2)
        assert [list(line.get_xdata()) for line in axes.lines[:3]] == dots.tolist()


def test_a_level_goes_across_in_grey_and_stands_in_no_legend():
    words = {"xlabel": "x", "ylabel": "y"}
    axes = plots.lines([1, 2], {"a": [1, 2], "b": [2, 1]}, levels={"now": 1.5}, **words).figure.axes
    (level,) = [line for line in axes[0].lines if list(line.get_ydata()) == [1.5, 1.5]]
    assert level.get_color() == "0.45"
    assert [text.get_text().strip() for text in axes[0].texts] == ["now"]
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["a", "b"]


def test_marks_are_dots_at_the_places():
    words = {"xlabel": "x", "ylabel": "y"}
    plain, dotted = (
        plots.lines([1, 2], {"a": [1, 2]}, marks=marks, **words).figure.axes[0].lines[0]
        for marks in (False, True)
    )
    assert plain.get_marker() in ("", "None")
    assert dotted.get_marker() == "o"


def test_a_single_curve_needs_no_legend():
    drawn = plots.lines([1, 2], {"a": [1, 2]}, points=([1], [1]), xlabel="x", ylabel="y")
    assert drawn.figure.axes[0].get_legend() is None


def test_curves_say_themselves_where_they_go():
    curves = {"a": [0.5, 0.125, 2, np.nan], "b": [1, 2, 3, 4], "c": [np.nan] * 4}
    words = {"xlabel": "x", "ylabel": "loss,\nnats", "levels": {"start": 1.5}}
    assert plots.lines([1, 2, 3, 1e4], curves, **words).alt == (
        "loss, nats: a from 0.5 at 1, to 2 at 3, lowest 0.125 at 2; b from 1 at 1, to 4 at 10000; "
        "start 1.5 throughout."
    )


def test_panels_show_every_curve_also_where_they_coincide():
    alike = {"first": [0, 1, 2], "second": [0, 1, 2], "third": [0, 1, 2]}
    groups = {"left": alike, "right": {"second": [2, 1, 0], "other": [1, 1, 1]}}
    drawn = plots.panels([1, 10, 100], groups, xlabel="x", ylabel="y", alt="Four.", log=True)
    left, right = drawn.figure.axes
    assert len({line.get_linewidth() for line in left.lines}) == 1  # none looks more important
    assert [line.get_linestyle() for line in left.lines] == ["-", "--", ":"]  # seen in the gaps
    assert [axes.get_title() for axes in (left, right)] == ["left", "right"]
    assert left.get_ylim() == right.get_ylim()
    assert {axes.get_xscale() for axes in (left, right)} == {"log"}
    (legend,) = drawn.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*alike, "other"]
    assert right.lines[0].get_color() == left.lines[1].get_color() != right.lines[1].get_color()
