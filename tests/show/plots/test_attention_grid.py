"""All heads of a model as small maps: what is drawn where, and what the words say of it."""

import numpy as np
import pytest
import torch

from attnlab.errors import AttnlabError
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.show import plots


def maps(layers=2, heads=3, count=5):
    """Heads that look at all tokens alike, but for a column in L0H2 and a diagonal in L1H1."""
    weights = torch.full((layers, heads, count, count), 1 / count)
    weights[0, 2] = torch.nn.functional.one_hot(torch.full((count,), 3), count)
    weights[1, 1] = torch.eye(count).roll(1, -1)
    return AttentionMaps(
        [f"t{index}" for index in range(count)],
        weights,
        weights,
        torch.zeros(count, dtype=torch.bool),
        HeadSettings(layers, heads),
    )


def test_every_head_is_where_its_layer_and_number_say():
    given = maps()
    picture = plots.attention_grid(given)
    axes = picture.figure.axes[0]
    (image,) = axes.images
    drawn = image.get_array()
    count = len(given.tokens)
    for row, layer in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        for head, column in enumerate(axes.get_xticks()):
            top, left = (round(place - (count - 1) / 2) for place in (row, column))
            shown = np.asarray(drawn[top : top + count, left : left + count])
            expected = given.weights[int(layer.get_text()), head]
            np.testing.assert_allclose(shown, expected)


def test_every_head_has_its_name_above_its_map_and_below_the_next():
    picture = plots.attention_grid(maps(layers=3, heads=3, count=15), framed=[(1, 1)])
    axes = picture.figure.axes[0]
    picture.figure.canvas.draw()
    rows, columns = axes.get_yticks(), axes.get_xticks()
    assert len(axes.texts) == 9
    for text in axes.texts:
        layer, head = map(int, text.get_text()[1:].split("H"))
        box = text.get_window_extent().transformed(axes.transData.inverted())
        assert box.x0 < columns[head] < box.x1
        assert box.y1 < rows[layer] - 7 or box.y0 < rows[layer] - 7
        if layer:  # the map above is not touched
            assert min(box.y0, box.y1) > rows[layer - 1] + 7
        assert (text.get_fontweight() == "bold") == ((layer, head) == (1, 1))


def test_the_words_name_the_clearest_column_and_diagonal():
    alt = plots.attention_grid(maps()).alt
    assert "Clearest column: layer 0, head 2, in which tokens give 1.00" in alt
    assert "'t3' on average" in alt
    assert "Clearest diagonal: layer 1, head 1, in which a token gives 1.00 to the next" in alt


def test_framed_heads_have_a_frame_round_their_map_and_are_named():
    given = maps()
    picture = plots.attention_grid(given, framed=[(1, 2)])
    axes = picture.figure.axes[0]
    (frame,) = axes.patches
    middle = axes.get_xticks()[2], axes.get_yticks()[1]
    for low, size, place in zip(
        frame.get_xy(), (frame.get_width(), frame.get_height()), middle, strict=True
    ):
        assert low < place < low + size
        assert len(given.tokens) <= size < len(given.tokens) + 2
    assert picture.alt.endswith("Framed: layer 1 head 2.")


def test_a_frame_round_a_head_that_there_is_not_is_refused():
    with pytest.raises(AttnlabError):
        plots.attention_grid(maps(), framed=[(2, 0)])


def test_some_layers_keep_their_numbers():
    picture = plots.attention_grid(maps(), framed=[(1, 2)], layers=[1])
    axes = picture.figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1"]
    side = round(axes.get_xticks()[1] - axes.get_xticks()[0])
    second = axes.images[0].get_array()[:5, side : side + 5]
    np.testing.assert_allclose(second, maps().weights[1, 1])
    assert "Clearest diagonal: layer 1, head 1" in picture.alt
    (frame,) = axes.patches
    assert frame.get_y() < 0
    with pytest.raises(AttnlabError, match="no layer 4"):
        plots.attention_grid(maps(), layers=[4])


def test_maps_in_several_rows_for_a_layer_have_their_names_above_them():
    given = maps()
    heads, count = given.heads, len(given.tokens)
    picture = plots.attention_grid(given, framed=[(1, heads - 1)], across=2)
    axes = picture.figure.axes[0]
    drawn, names = axes.images[0].get_array(), [text.get_text() for text in axes.texts]
    assert names == [f"L{layer}H{head}" for layer in range(given.layers) for head in range(heads)]
    (frame,) = axes.patches
    corners = []
    for text in axes.texts:
        layer, head = map(int, text.get_text()[1:].split("H"))
        x, y = text.get_position()
        framed = (layer, head) == (1, heads - 1)
        top, left = round(y + (2.2 if framed else 1.1)), round(x - (count - 1) / 2)
        corners.append((left, top))
        shown = np.asarray(drawn[top : top + count, left : left + count])
        np.testing.assert_allclose(shown, given.weights[layer, head])
    assert frame.get_xy() == pytest.approx((corners[-1][0] - 1.2, corners[-1][1] - 1.2))
    assert axes.texts[-1].get_position()[1] < frame.get_y()  # its name is not crossed
    with pytest.raises(AttnlabError, match="1 or more"):
        plots.attention_grid(given, across=0)
