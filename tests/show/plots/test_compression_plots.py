"""Pictures of compressed models: what is drawn are the numbers given, and names can be read."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Annotation, Text

from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.show.plots.compression import on_frontier


@pytest.fixture(autouse=True)
def closed():
    yield
    assert not plt.get_fignums(), "a picture left its figure open: Jupyter would show it twice"


def table_of(*rows):
    table = pd.DataFrame(rows, columns=["name", "accuracy", "ms_batch_1", "megabytes"])
    return table.assign(ci_low=table["accuracy"] - 0.02, ci_high=table["accuracy"] + 0.015)


FEW = table_of(
    ("untouched", 0.87, 40.0, 90.0),
    ("int8", 0.86, 4.0, 22.5),
    ("random heads", 0.8, 20.0, 80.0),
    ("exported $", 0.871, 41.0, np.nan),
)


def models(picture):
    (circles,) = [
        one for one in picture.figure.axes[0].collections if isinstance(one, PathCollection)
    ]
    return circles


def names(picture):
    return [one for one in picture.figure.axes[0].texts if isinstance(one, Annotation)]


# ── accuracy against time ──────────────────────────────────────────────────────────────────────


def test_a_model_is_a_circle_at_its_time_and_accuracy_with_its_size_as_area():
    circles = models(plots.compression_frontier(FEW))
    np.testing.assert_allclose(
        circles.get_offsets(), np.stack([FEW["ms_batch_1"], 100 * FEW["accuracy"]], 1)
    )
    sizes = circles.get_sizes()
    np.testing.assert_allclose(sizes[:3] / sizes[0], FEW["megabytes"][:3] / 90)
    assert 0 < sizes[3] < sizes[1]


def test_bars_are_the_intervals():
    axes = plots.compression_frontier(FEW).figure.axes[0]
    (bars,) = [one for one in axes.collections if not isinstance(one, PathCollection)]
    ends = np.array(bars.get_segments())[:, :, 1]
    np.testing.assert_allclose(ends, 100 * FEW[["ci_low", "ci_high"]].to_numpy())


def test_the_frontier_joins_the_models_that_none_beats_and_fills_them():
    picture = plots.compression_frontier(FEW)
    (line,) = picture.figure.axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), [[4, 86], [40, 87], [41, 87.1]])
    fills = [to_hex(colour) for colour in models(picture).get_facecolors()]
    edges = [to_hex(colour) for colour in models(picture).get_edgecolors()]
    assert fills[0] == fills[1] != fills[2]
    assert edges[0] == edges[1] == edges[3] != edges[2]
    assert "On the frontier: int8 86.0% in 4.0 ms with 22 MB; untouched 87.0%" in picture.alt
    assert "random heads" not in picture.alt


def test_of_two_alike_both_are_on_the_frontier():
    alike = table_of(("a", 0.8, 3.0, 1.0), ("b", 0.8, 3.0, 2.0), ("c", 0.8, 3.1, 1.0))
    assert on_frontier(alike).tolist() == [True, True, False]


MANY = [
    *((0.868, 6.3, 91), (0.869, 6.2, 66), (0.867, 6.4, 80), (0.86, 6.2, 20), (0.871, 6.0, 50)),
    *((0.86, 2.0, 23), (0.862, 2.1, 19), (0.858, 1.9, 7), (0.72, 3.2, 80), (0.81, 5.4, 82)),
]
CROWD = table_of(*((f"a model with number {index}", *row) for index, row in enumerate(MANY)))


def text_box(note):
    """Where the words of an annotation are, without its line."""
    renderer = FigureCanvasAgg(note.figure).get_renderer()
    note.update_positions(renderer)
    return Text.get_window_extent(note, renderer)


@pytest.mark.parametrize("table", [FEW, CROWD, CROWD.iloc[::-1], FEW.iloc[:2]])
def test_names_cover_neither_each_other_nor_circles_and_end_inside(table):
    picture = plots.compression_frontier(table)
    figure, axes = picture.figure, picture.figure.axes[0]
    figure.canvas.draw()
    written = names(picture)
    assert len(written) == len(table)
    boxes = [text_box(one) for one in written]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    middles = axes.transData.transform(models(picture).get_offsets())
    radii = np.sqrt(models(picture).get_sizes()) / 2 * figure.dpi / 72
    for box, (middle, radius) in itertools.product(boxes, zip(middles, radii, strict=True)):
        nearest = np.clip(middle, box.min, box.max)
        assert np.hypot(*(nearest - middle)) >= radius - 1
    page = axes.bbox
    for box in boxes:
        assert page.x0 <= box.x0 < box.x1 <= page.x1 + 1
        assert page.y0 <= box.y0 < box.y1 <= page.y1 + 1


def test_each_name_says_its_size_and_belongs_to_its_point():
    picture = plots.compression_frontier(FEW)
    written = {one.get_text(): one.xy for one in names(picture)}
    assert set(written) == {
        *("untouched, 90 MB", "int8, 22 MB", "random heads, 80 MB", r"exported \$")
    }
    assert written["int8, 22 MB"] == (4.0, 86.0)


def test_times_close_to_each_other_still_have_a_scale():
    close = table_of(("a", 0.8, 40.1, 1.0), ("b", 0.81, 41.3, 2.0))
    assert len(plots.compression_frontier(close).figure.axes[0].get_xticks()) >= 3


def test_a_table_without_times_is_refused():
    with pytest.raises(AttnlabError, match="lacks 'ms_batch_1'"):
        plots.compression_frontier(FEW.drop(columns="ms_batch_1"))
    with pytest.raises(AttnlabError, match="no time is known of: int8"):
        plots.compression_frontier(FEW.assign(ms_batch_1=[1, np.nan, 2, 3]))


# ── a model drawn to scale ─────────────────────────────────────────────────────────────────────


def parts_of(words=600, layers=2, attention=40, feed_forward=80, zeros=0.0):
    rows = [("word embeddings", pd.NA, words)]
    for layer in range(layers):
        rows += [("attention", layer, attention), ("feed-forward", layer, feed_forward)]
    rows += [("pooler and classifier", pd.NA, 20)]
    table = pd.DataFrame(rows, columns=["part", "layer", "parameters"])
    nonzero = np.where(table["part"] == "feed-forward", 1 - zeros, 1) * table["parameters"]
    return table.astype({"layer": "Int64"}).assign(nonzero=nonzero.round().astype(int))


def areas(picture):
    return [
        one.get_width() * one.get_height()
        for one in picture.figure.axes[0].patches
        if not one.get_hatch()
    ]


def test_a_weight_takes_the_same_area_in_every_part_and_every_model():
    whole, smaller = parts_of(), parts_of(words=200, layers=1, attention=10)
    picture = plots.weights_by_part({"untouched": whole, "smaller": smaller})
    counts = np.concatenate([whole["parameters"], smaller["parameters"]])
    np.testing.assert_allclose(np.array(areas(picture)) / areas(picture)[0], counts / counts[0])
    written = [one.get_text() for one in picture.figure.axes[0].texts]
    assert "untouched\n860 parameters" in written
    assert "smaller\n310 parameters" in written


def test_parts_lie_on_each_other_without_gaps():
    boxes = plots.weights_by_part(parts_of()).figure.axes[0].patches
    words, first, second = boxes[:3]
    assert words.get_y() == 0
    assert first.get_y() == second.get_y() == pytest.approx(words.get_height())
    assert second.get_x() == pytest.approx(first.get_x() + first.get_width())
    assert first.get_width() + second.get_width() == pytest.approx(words.get_width())
    top = boxes[5]
    assert top.get_y() + top.get_height() == pytest.approx(1)


def test_zeros_are_hatched_in_proportion():
    picture = plots.weights_by_part(parts_of(zeros=0.25))
    boxes = picture.figure.axes[0].patches
    hatched = [one for one in boxes if one.get_hatch()]
    assert len(hatched) == 2
    whole = boxes[2]
    assert hatched[0].get_width() / whole.get_width() == pytest.approx(0.25)
    assert "zeros" in [one.get_text() for one in picture.figure.axes[0].get_legend().get_texts()]
    assert "5% of the weights are 0" in picture.alt
    plain = plots.weights_by_part(parts_of())
    assert not [one for one in plain.figure.axes[0].patches if one.get_hatch()]
    assert "weights are 0" not in plain.alt


def test_the_alternative_says_where_most_weights_are():
    alt = plots.weights_by_part(parts_of()).alt
    assert alt.startswith("A model of 860 parameters, drawn to scale: word embeddings 69.8%, ")


def test_texts_stay_inside_their_boxes():
    picture = plots.weights_by_part({"a": parts_of(), "b": parts_of(words=50, attention=7)})
    figure, axes = picture.figure, picture.figure.axes[0]
    figure.canvas.draw()
    boxes = [one.get_window_extent() for one in axes.patches]
    inside = [one for one in axes.texts if one.get_ha() == "center" and one.get_va() == "center"]
    assert len(inside) >= 6
    for text in inside:
        own = text.get_window_extent()
        assert any(
            box.x0 <= own.x0 and own.x1 <= box.x1 and box.y0 <= own.y0 and own.y1 <= box.y1
            for box in boxes
        ), text.get_text()


def test_what_is_no_table_of_parts_is_refused():
    with pytest.raises(AttnlabError, match="lacks 'layer'"):
        plots.weights_by_part(parts_of().drop(columns="layer"))
    with pytest.raises(AttnlabError, match="no model to draw"):
        plots.weights_by_part({})
