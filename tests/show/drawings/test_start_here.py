"""The drawings of lesson 00: their numbers follow from what they are given."""

import numpy as np
import pytest
from matplotlib.patches import PathPatch
from scipy.special import softmax

from attnlab.show import drawings


@pytest.mark.parametrize("vector", [(1.0, 2.0, 0.0), (0.5, -1.0, 2.0)])
def test_the_head_mixes_values_by_the_weights_of_its_query(vector):
    matrix = [[0.0, 1.0], [1.0, 0.5], [3.0, 2.0]]
    keys, values = [[1.0, 1.0], [0.0, 2.0]], [[2.0, 0.0], [1.0, 3.0]]
    picture = drawings.head_by_hand(("a", "b"), vector, matrix, keys, values)
    words = [text.get_text() for text in picture.figure.axes[0].texts]
    query = np.array(vector) @ np.array(matrix)
    assert f"is the query {query[0]:g}, {query[1]:g}." in picture.alt
    for number in query:
        assert f"{number:.1f}".replace("-", "−") in words
    weights = softmax(np.array(keys) @ np.array(query) / np.sqrt(2))
    for word, weight in zip("ab", weights, strict=True):
        assert f"{weight:.2f}" in words
        assert f"“{word}” {weight:.2f}" in picture.alt
    for number in weights @ np.array(values):
        assert f"{number:.2f}" in words
        assert f"{number:.2f}" in picture.alt
    for score in np.array(keys) @ np.array(query) / np.sqrt(2):
        assert f"{score:.2f}".replace("-", "−") in words


def test_the_path_is_that_of_the_model_and_of_its_answer():
    picture = drawings.whole_path(
        layers=3, heads=4, width=64, tokens=("[CLS]", "dull"), answer=("negative", 0.9)
    )
    words = " ".join(text.get_text() for text in picture.figure.axes[0].texts)
    for told in ("3 of them", "4 heads", "64 numbers", "dull", "read off [CLS]", "negative 90 %"):
        assert told in words
    assert "negative 90%, is read off [CLS]" in picture.alt


def test_only_lines_to_the_token_that_is_read_off_are_dark():
    tokens = ("[CLS]", "a", "dull", "film")
    picture = drawings.whole_path(tokens=tokens)
    lines = [one for one in picture.figure.axes[0].patches if isinstance(one, PathPatch)]
    dark = [line for line in lines if (line.get_alpha() or 1) > 0.5]
    ends = {round(line.get_path().vertices[-1, 1], 3) for line in dark}
    assert len(dark) == len(tokens) - 1
    assert len(ends) == 1
    assert ends == {round(max(line.get_path().vertices[-1, 1] for line in lines), 3)}


def test_a_cut_takes_away_the_lines_of_what_is_crossed_out_and_no_others():
    tokens = ("[CLS]", "a", "dull", "film", ".")
    picture = drawings.cuts_in_a_head(tokens, read=2, written=3)
    axes = picture.figure.axes[0]
    threads = [line for line in axes.lines if line.get_linewidth() == 0.9]
    assert len(threads) == 4 * len(tokens) ** 2
    panels = [
        threads[at : at + len(tokens) ** 2] for at in range(0, len(threads), len(tokens) ** 2)
    ]
    lost = [sum(line.get_linestyle() == ":" for line in panel) for panel in panels]
    assert lost == [5, 20, 5, 5]  # one mixture; the four others; one value; one mixture
    ends = [
        {line.get_ydata()[1] for line in panels[at] if line.get_linestyle() == ":"} for at in (0, 3)
    ]
    assert [len(end) for end in ends] == [1, 1]
    starts = {line.get_ydata()[0] for line in panels[2] if line.get_linestyle() == ":"}
    assert len(starts) == 1
    crosses = [line for line in axes.lines if line.get_linewidth() == 2.2]
    assert len(crosses) == 2 * (1 + 4 + 1 + 1)
    for told in ("value of “dull”", "“dull”, and so", "mixture of “film”"):
        assert told in picture.alt or told in " ".join(text.get_text() for text in axes.texts)


def test_each_cut_says_what_it_leaves_and_only_the_last_layer_is_strong():
    tokens = ("[CLS]", "a", "dull", "film")
    picture = drawings.three_cuts((0.9, 0.3, 0.8, 0.5), tokens, "L1H2", "negative")
    axes = picture.figure.axes[0]
    words = " ".join(text.get_text() for text in axes.texts)
    for told in ("L1H2 silent: negative 30.0 %", "layers 0 to 4:\nnegative 80.0 %"):
        assert told in words
    assert "layer 5:\nnegative 50.0 %" in words
    assert words.count("negative") == 4
    assert (
        "before the last it is negative 80.0 %; with nothing in the last layer, negative 50.0 %"
        in (picture.alt)
    )
    lines = [one for one in axes.patches if isinstance(one, PathPatch)]
    top = max(line.get_path().vertices[-1, 1] for line in lines)
    strong = [line for line in lines if line.get_alpha() > 0.8]
    assert len(strong) == len(tokens) - 1
    assert {line.get_path().vertices[-1, 1] for line in strong} == {top}
    assert len(lines) == 2 * (len(tokens) - 1) + 2 * (2 * len(tokens) - 1)  # two boxes of heads
    assert sum(line.get_path().vertices[-1, 1] == top for line in lines) == 2 * (len(tokens) - 1)
    cuts = [line for line in axes.lines if line.get_linewidth() == 2.4]
    assert len(cuts) == 2
    assert all(max(line.get_ydata()) < top for line in cuts)  # not through the token's own way
    unknown = drawings.three_cuts(None, tokens, "L1H2", "negative")
    said = [text.get_text() for text in unknown.figure.axes[0].texts]
    assert "1  nothing for [CLS] in layers 0 to 4" in said
    assert "2  L1H2 silent" in said
    assert not any("%" in told for told in [*said, unknown.alt])
    heads = [text for text in axes.texts if text.get_text() == "L1H2"]
    crossed = [line for line in axes.lines if line.get_linewidth() == 2.2]
    middles = [sum(line.get_xdata()) / 2 for line in crossed]
    assert middles == pytest.approx([heads[0].get_position()[0]] * 2)
