"""Pictures of balance: they draw the numbers they are given; their alt text says the finding."""

import dataclasses
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from attnlab import balance
from attnlab.balance.reading import Balance
from attnlab.balance.similarities import Similarity
from attnlab.errors import AttnlabError
from attnlab.show import plots


@pytest.fixture(autouse=True)
def closed():
    yield
    assert not plt.get_fignums(), "a picture left its figure open: Jupyter would show it twice"


def balance_of(seed=0, layers=3, heads=4, gone=(), measures=("entropy", "cls", "distance")):
    """A reading as `balance.measure` gives it, with numbers drawn at random."""
    rng, rows = np.random.default_rng(seed), []
    for measure in measures:
        for tokens in ("all", "text"):
            if (measure, tokens) == ("cls", "text"):
                continue
            for layer in range(layers):
                for head in range(heads):
                    mean = np.nan if (layer, head) in gone else rng.uniform(0.1, 0.9)
                    place = {"layer": layer, "head": head, "measure": measure, "tokens": tokens}
                    told = {"mean": mean, "std": 0.1, "adjusted": mean, "slope": mean - 0.5, "n": 9}
                    rows.append(place | {"by": "weights"} | told)
    parts = {"tokens": 0.5, "heads": 0.98}
    return Balance(pd.DataFrame(rows), 0.7, parts, layers, heads, 9, 120)


def recorded(layers=2, heads=3, steps=30, planted=(1, 2)):
    """A Recorder's table in which one head collapses onto one token from step 150 to 200."""
    rng, rows = np.random.default_rng(0), []
    for step in range(0, 10 * steps, 10):
        for layer in range(layers):
            for head in range(heads):
                far = (layer, head) == planted and 150 <= step < 200
                level = {"entropy": 0.02 if far else 0.6, "largest": 0.99 if far else 0.3}
                for measure, value in level.items():
                    noise = rng.normal(0, 0.005)
                    rows.append((step, layer, head, measure, value + noise))
    return pd.DataFrame(rows, columns=["step", "layer", "head", "measure", "value"])


def texts(figure):
    return [one.get_text() for axes in figure.axes for one in axes.texts]


# ── the meter ──────────────────────────────────────────────────────────────────────────────────


def test_the_map_holds_the_measure_of_every_head_and_the_alt_text_its_extremes():
    b = balance_of()
    picture = plots.balance(b, "distance", tokens="all")
    values = b.map("distance", "all")
    drawn = picture.figure.axes[2].collections[0].get_array().reshape(3, 4)
    np.testing.assert_allclose(drawn, values)
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert f"highest {values.max():.2f} at layer {row} head {column}" in picture.alt
    assert "Overall balance 0.70 of 1: 0.50 over tokens, 0.98 over heads, on 9 texts" in picture.alt
    assert {"0.70", "0.50", "0.98"} <= set(texts(picture.figure))
    assert picture.png().startswith(b"\x89PNG")


def test_a_bounded_measure_is_drawn_from_0_to_1_so_that_pictures_can_be_compared():
    heat = plots.balance(balance_of()).figure.axes[2].collections[0]
    assert heat.get_clim() == (0, 1)
    assert heat.get_cmap().name == "cividis"


def test_with_a_reference_the_change_is_drawn_centred_at_zero():
    b, other = balance_of(0), balance_of(1)
    picture = plots.balance(b, reference=other)
    maps = [
        one
        for axes in picture.figure.axes
        for one in axes.collections
        if one.get_array() is not None
    ]
    maps = [one for one in maps if one.get_array().size == 12]
    low, high = maps[1].get_clim()
    assert low == -high
    np.testing.assert_allclose(maps[1].get_array().reshape(3, 4), b.map() - other.map())
    assert "The reference has 0.70. Change from it" in picture.alt


def test_removed_heads_are_hatched_and_counted():
    picture = plots.balance(balance_of(gone={(1, 2)}))
    assert [one.get_hatch() for one in picture.figure.axes[2].patches] == ["////"]
    assert picture.alt.endswith("1 head is removed.")


def test_numbers_in_cells_can_be_read_on_their_colour():
    picture = plots.balance(balance_of())
    axes = picture.figure.axes[2]
    for words, colour in zip(axes.texts, axes.collections[0].get_facecolors(), strict=True):
        ink, paper = ({"white": 1.0, "black": 0.0}[words.get_color()], luminance(colour))
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5


def luminance(colour):
    linear = np.where(
        colour[:3] <= 0.04045, colour[:3] / 12.92, ((colour[:3] + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"measure": "entropi"}, "There is no measure 'entropi'"),
        ({"tokens": "words"}, "There is no tokens 'words'"),
        ({"by": "norms"}, "There is no by 'norms'"),
        ({"value": "median"}, "There is no value 'median'"),
        ({"reference": balance_of(layers=2)}, "models of one size"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_the_cure(given, says):
    with pytest.raises(AttnlabError, match=re.escape(says)):
        plots.balance(balance_of(), **given)


def test_a_measure_that_was_not_taken_so_is_said():
    with pytest.raises(AttnlabError, match=r"no 'cls'|not measured with"):
        plots.balance(balance_of(), "cls", tokens="text")


# ── between heads ──────────────────────────────────────────────────────────────────────────────


def test_similar_heads_are_named_and_a_head_is_not_compared_with_itself():
    places = [(layer, head) for layer in range(2) for head in range(3)]
    js = np.full((6, 6), 0.5)
    np.fill_diagonal(js, 0)
    js[1, 4] = js[4, 1] = 0.01
    picture = plots.similarity(Similarity(js, 1 - js, places))
    assert "layer 0 head 1 and layer 1 head 1, 0.010" in picture.alt
    heat = picture.figure.axes[0].collections[0].get_array().reshape(6, 6)
    assert np.ma.getmaskarray(heat).diagonal().all() or np.isnan(np.asarray(heat)).diagonal().all()
    assert len(picture.figure.axes[0].lines) == 2  # layers are ruled off
    assert "0.990" in plots.similarity(Similarity(js, 1 - js, places), "cka").alt
    with pytest.raises(AttnlabError, match="no similarity 'cos'"):
        plots.similarity(Similarity(js, js, places), "cos")


@pytest.fixture(scope="module")
def kinds():
    rng = np.random.default_rng(0)
    b = balance_of(layers=4, heads=6)
    near = b.table["head"] < 3
    b.table["mean"] = np.where(near, 0.2, 0.8) + rng.normal(0, 0.02, len(near))
    return balance.clusters(b)


def test_clusters_are_told_apart_by_colour_and_marker_and_typical_heads_are_named(kinds):
    picture = plots.clusters(kinds)
    points = picture.figure.axes[0].collections
    assert len(points) == kinds.k == 2
    assert len({tuple(one.get_facecolor()[0]) for one in points}) == 2
    assert len({len(one.get_paths()[0].vertices) for one in points}) == 2
    typical = kinds.table[kinds.table["typical"]]
    named = [f"L{row.layer}H{row.head}" for row in typical.itertuples()]
    assert sorted(texts(picture.figure)[:2]) == sorted(named)
    assert "24 heads in 2 clusters (silhouette" in picture.alt
    bars = picture.figure.axes[1].patches
    assert [one.get_height() for one in bars] == list(kinds.silhouettes.values())


def test_typical_heads_are_shown_at_work(clf, kinds):
    picture = plots.clusters(kinds, clf, "A warm, funny film.")
    assert len(picture.figure.axes) == 2 + kinds.k
    assert "'A warm, funny film.'" in picture.alt
    with pytest.raises(AttnlabError, match="give both clf and text"):
        plots.clusters(kinds, clf)


# ── over a training run ────────────────────────────────────────────────────────────────────────


def test_an_episode_is_drawn_with_its_band_and_said_in_words():
    table = recorded()
    found = balance.episodes(table)
    picture = plots.episodes(table, found)
    assert "layer 1 head 2, collapse, step 150 to 200" in picture.alt
    (axes,) = [one for one in picture.figure.axes if one.get_title(loc="left")]
    assert axes.get_title(loc="left") == "L1H2: collapse"
    line = axes.lines[0]
    own = table[
        (table["layer"] == 1) & (table["head"] == 2) & (table["measure"] == found["measure"][0])
    ]
    np.testing.assert_allclose(line.get_ydata(), own["value"])
    span = axes.patches[0]
    assert (span.get_x(), span.get_x() + span.get_width()) == (145, 195)


def test_where_nothing_is_out_of_line_the_picture_says_so():
    table = recorded(planted=None)
    found = balance.episodes(table)
    assert "no head left its band" in plots.episodes(table, found).alt
    assert plots.anomaly_table(found, table)._repr_html_() == "<p>No head left its band.</p>"


def test_spans_say_of_how_many_heads_the_strongest_are_drawn():
    table = recorded()
    found = pd.concat([balance.episodes(table)] * 8, ignore_index=True)
    found = found.assign(layer=[0, 0, 0, 0, 1, 1, 1, 1], head=[0, 1, 2, 3] * 2)
    spans = plots.recording(table, "entropy", found).figure.axes[1]
    assert spans.get_legend().get_title().get_text() == "the strongest 6\nof 8 heads"
    assert len(spans.get_yticks()) == 6


def test_the_overall_balance_of_all_runs_is_drawn_on_one_axis():
    table = recorded()
    steps = sorted(set(table["step"]))
    ends = [(0.84, 0.85), (0.55, 0.95)]
    limits = [
        plots.recording(
            table, overall=pd.DataFrame({"step": steps, "balance": np.linspace(*two, len(steps))})
        )
        .figure.axes[-1]
        .get_ylim()
        for two in ends
    ]
    assert limits == [(0.5, 1)] * 2


def test_only_the_strongest_episodes_are_drawn():
    table = recorded()
    found = pd.concat([balance.episodes(table)] * 9, ignore_index=True)
    picture = plots.episodes(table, found, most=4)
    assert len([one for one in picture.figure.axes if one.get_title(loc="left")]) == 4
    assert "the 4 strongest of 9" in picture.alt


def test_the_table_of_anomalies_is_plain_html_with_a_picture_in_every_row():
    table = recorded()
    shown = plots.anomaly_table(balance.episodes(table), table)
    page = shown._repr_html_()
    assert len(shown) == page.count("<details>") == page.count('<img alt="layer 1 head 2') == 1
    assert "<script" not in page
    assert list(shown.frame.iloc[0][["what", "head", "steps"]]) == [
        "collapse",
        "L1H2",
        "150 to 200",
    ]


def test_outliers_over_heads_have_a_table_too():
    b = balance_of(layers=4, heads=6)
    b.table["mean"] = 0.5 + 0.01 * np.random.default_rng(0).normal(size=len(b.table))
    odd = (b.table["layer"] == 2) & (b.table["head"] == 1) & (b.table["measure"] == "distance")
    b.table.loc[odd, "mean"] = 0.9
    found = balance.outliers(b)
    shown = plots.anomaly_table(found, b)
    assert shown.frame.iloc[0]["head"] == "L2H1"
    assert "layer 2 head 1 has 0.9" in shown.pictures[0].alt
    assert shown.frame.iloc[0]["value"] == "0.900"  # as many digits in each row
    low = plots.anomaly_table(found.assign(z=-found["z"]), b).frame.iloc[0]["robust z"]
    assert low.startswith("−")
    odd = found.assign(measure="contribution", value=2.0)  # measured by contributions alone
    rows = b.table[b.table["measure"] == "distance"]
    rows = rows.assign(measure="contribution", by="contributions")
    other = dataclasses.replace(b, table=pd.concat([b.table, rows], ignore_index=True))
    assert "contribution of all heads" in plots.anomaly_table(odd, other).pictures[0].alt
    with pytest.raises(AttnlabError, match="lacks 'z'"):
        plots.anomaly_table(found.drop(columns="z"), b)


def test_a_recording_draws_every_head_and_the_chosen_ones_strong():
    table = recorded()
    whole = pd.DataFrame({"step": sorted(set(table["step"])), "balance": np.linspace(0.5, 0.6, 30)})
    picture = plots.recording(table, "entropy", balance.episodes(table), [(1, 2)], whole)
    lines = picture.figure.axes[0].lines
    assert len(lines) == 6
    assert [one.get_label() for one in lines if not one.get_label().startswith("_")] == ["L1H2"]
    assert (
        "Overall balance from 0.50 to 0.60. 1 anomaly of 1 head, the strongest: layer 1 head 2"
        in picture.alt
    )
    assert len(plots.recording(table, layer=0).figure.axes[0].lines) == 3
    with pytest.raises(AttnlabError, match="was not recorded"):
        plots.recording(table, "gini")


# ── values and a rule ──────────────────────────────────────────────────────────────────────────


def test_a_rug_marks_the_values_outside_of_the_band_and_counts_them():
    values = np.array([0.1, 0.2, 0.3, np.nan, 0.9])
    picture = plots.rug({"plain": (values, 0.0, 0.5), "own unit": (values, 0.15, 1.0)})
    first, second = picture.figure.axes
    assert first.get_title(loc="left") == "plain: 1 of 5 flagged"
    assert first.lines[-1].get_xdata().tolist() == [0.9]
    assert second.lines[-1].get_xdata().tolist() == [0.1]
    assert second.lines[0].get_xdata()[0] == pytest.approx(0.25)  # the median
    assert "plain: band 0.00 to 0.50, 1 of 5 outside" in picture.alt


def test_a_rug_marks_what_a_rule_of_the_learners_own_flags():
    mine = np.array([True, False, True])
    picture = plots.rug({"mine": (np.array([0.1, 0.2, 0.3]), 0.0, 0.5)}, flagged=mine)
    (axes,) = picture.figure.axes
    assert axes.get_title(loc="left") == "mine: 2 of 3 flagged"
    assert axes.lines[-1].get_xdata().tolist() == [0.1, 0.3]
    assert "2 of 3 flagged" in picture.alt


def test_flagged_values_near_each_other_can_be_told_apart():
    values = np.array([0.1, 0.902, 0.9, 0.901, 0.5])
    picture = plots.rug({"one": (values, 0.0, 0.2)}, flagged=values > 0.2)
    dots = picture.figure.axes[0].lines[-1]
    heights = dict(zip(dots.get_xdata(), dots.get_ydata(), strict=True))
    assert heights[0.5] == 0
    assert len({heights[one] for one in (0.9, 0.901, 0.902)}) == 3


# ── the tuner ──────────────────────────────────────────────────────────────────────────────────


def rounds():
    made = []
    told = [
        ("gradient", True, 0.7, 0.15),
        ("random", False, 0.5, -0.2),
        ("greedy", False, 0.69, -0.01),
    ]
    for number, (way, accepted, accuracy, delta) in enumerate(told, 1):
        made.append(
            SimpleNamespace(
                number=number, way=way, settings=None, accepted=accepted, why="because",
                accuracy=accuracy, delta=delta, ci=(delta - 0.03, delta + 0.03), balance=0.8,
                heads_on=70, anomalies=3, retrained=False, seconds=2.0,
            )
        )  # fmt: skip
    return made


REPORT = pd.DataFrame(
    {
        "name": ["before", "tuned", "random knobs"],
        "accuracy": [0.55, 0.7, 0.52],
        "stderr": [0.016, 0.015, 0.016],
        "delta": [0.0, 0.15, -0.03],
        "ci_low": [0.0, 0.12, -0.06],
        "ci_high": [0.0, 0.18, 0.0],
        "p_value": [1.0, 1e-9, 0.05],
    }
)


def test_rounds_are_drawn_by_what_became_of_them_with_their_intervals():
    picture = plots.tuning(rounds(), REPORT)
    left, right = picture.figure.axes
    names = [one.get_text() for one in left.get_legend().get_texts()]
    assert names == ["kept", "accepted", "refused", "random knobs"]
    kept = left.lines[0].get_ydata()
    np.testing.assert_allclose(kept, [55, 70, 70, 70])
    assert [one.get_text() for one in right.get_yticklabels()] == [
        "before",
        "tuned",
        "random knobs",
    ]
    assert any(
        "70.0" in words and "+15.0, +12.0 to +18.0" in words for words in texts(picture.figure)
    )
    assert (
        "3 rounds of the tuner, 1 accepted: accuracy on the guard part from 55.0% to 70.0%"
        in picture.alt
    )
    assert "On 967 test texts: before 55.0%" in picture.alt


def test_what_is_said_of_test_accuracies_ends_inside_the_axes_and_nothing_done_is_grey():
    figure = plots.tuning(rounds(), REPORT.assign(accuracy=[0.603, 0.845, 0.642])).figure
    figure.canvas.draw()
    right = figure.axes[1]
    inside = right.get_window_extent()
    for words in right.texts:
        box = words.get_window_extent()
        assert inside.x0 <= box.x0
        assert box.x1 <= inside.x1
    first, second, _ = (one.lines[0].get_color() for one in right.containers)
    assert first != second


def test_a_tuner_with_few_rounds_has_a_low_picture():
    assert "none yet" in plots.tuning([]).alt
    low, high = (plots.tuning(rounds()[:many]).figure.get_figheight() for many in (1, 4))
    assert low < 0.7 * high
    assert len(plots.tuning(SimpleNamespace(rounds=rounds())).figure.axes) == 1
