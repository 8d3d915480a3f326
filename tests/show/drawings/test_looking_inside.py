"""Drawings for looking into a model say what counts, and where two runs part."""

import pytest
from matplotlib.colors import to_rgba

from attnlab.show import drawings


def written(picture):
    return [text.get_text() for text in picture.figure.axes[0].texts]


def test_what_a_head_adds_is_weight_times_length():
    picture = drawings.weight_times_vector({"[CLS]": (0.5, 0.2), "film": (0.1, 4.0)})
    assert {"0.5 × 0.2 = 0.1", "0.1 × 4 = 0.4"} <= set(written(picture))
    assert "film: weight 0.1, length 4, area 0.4" in picture.alt


@pytest.mark.parametrize(("offset", "count"), [(-1, 3), (1, 3), (-2, 2)])
def test_only_pairs_of_words_count_as_neighbours(offset, count):
    picture = drawings.neighbour_cells(["[CLS]", "a", "very", "quiet", "film", "[SEP]"], offset)
    assert f"{count} squares count" in picture.alt
    full = to_rgba(drawings.ROLES["weights"])
    filled = [patch for patch in picture.figure.axes[0].patches if patch.get_facecolor() == full]
    assert len(filled) == count + 1  # the legend has one too


def test_two_runs_first_differ_where_their_numbers_do():
    picture = drawings.two_runs(["attention", "up", "down"], [0.5, 1.2, 0.3], [0.5, 0.9, 0.3])
    assert "first differ at up" in picture.alt
    assert [sign for sign in written(picture) if sign in "=≠"] == ["=", "≠", "="]
    same = drawings.two_runs(["up"], [1.0], [1.0])
    assert "first differ at no part" in same.alt
