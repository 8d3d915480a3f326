"""The picture of what an answer becomes without each word."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from attnlab.errors import AttnlabError
from attnlab.show import plots

WORDS = ["a", "dull", "$5", "film"]


def drawn(changes, turn=-25.0):
    return plots.word_changes(WORDS, changes, turn=turn, label="change (points)")


STRONG_BLUE, STRONG_RED = map(to_rgb, ("#2369bd", "#a9373b"))


def colours(axes):
    return [patch.get_facecolor()[:3] for patch in axes.patches[:4]]


def test_a_fall_is_blue_and_a_rise_is_red():
    for red, _, blue in colours(drawn({"left out": [-1, -30, -3, -26]}).figure.axes[0]):
        assert blue > red
    for red, _, blue in colours(drawn({"left out": [1, 30, 3, 26]}, turn=5).figure.axes[0]):
        assert red > blue


def test_words_that_turn_the_answer_are_strong_and_named():
    picture = drawn({"left out": [-30, -10, 40, -26], "[MASK]": [-27, 0, 0, -3]})
    axes = picture.figure.axes[0]
    assert [one == STRONG_BLUE for one in colours(axes)] == [True, False, False, True]
    assert "left out: the answer turns at a, film." in picture.alt
    assert "[MASK]: the answer turns at a." in picture.alt
    (legend,) = picture.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["left out", "[MASK]"]
    keys = {patch.get_facecolor()[:3] for patch in legend.findobj(Rectangle)}
    assert keys >= {to_rgb("#9dbbe0"), to_rgb("#dea5a5")}  # bars may fall or rise
    dots = axes.lines[0]
    assert list(dots.get_xdata()) == [-27, 0, 0, -3]
    plt.close(picture.figure)


def test_bars_alone_carry_their_numbers_so_that_a_word_without_one_was_measured():
    picture = drawn({"left out": [-30.4, 12.0, 0.3, 0]})
    written = [text.get_text() for text in picture.figure.axes[0].texts]
    assert written[:4] == ["−30", "+12", "0", "0"]
    plt.close(picture.figure)


def test_an_answer_below_50_turns_upward():
    picture = drawn({"left out": [-30, 12, 9, 0]}, turn=10.0)
    strong = [one == STRONG_RED for one in colours(picture.figure.axes[0])]
    assert strong == [False, True, False, False]
    assert picture.figure.legends == []


def test_without_a_turn_there_is_no_line_and_the_largest_change_is_named():
    picture = drawn({"read": [-30, 12, 9, 0], "written": [1, 2, 3, -4.4]}, turn=None)
    axes = picture.figure.axes[0]
    assert [text.get_text() for text in axes.texts] == []
    assert "read: largest at a, −30. written: largest at film, −4." in picture.alt
    assert axes.get_xlim()[0] > -35  # no room is kept for an answer that turns


def test_no_word_that_turns_is_said_to_be_none():
    assert "left out: the answer turns at no word." in drawn({"left out": [0, 0, 0, 0]}).alt


def test_numbers_that_do_not_fit_the_words_are_refused():
    with pytest.raises(AttnlabError, match="4 words"):
        drawn({"left out": [1, 2]})
    with pytest.raises(AttnlabError, match="one or two ways"):
        drawn({name: [1, 2, 3, 4] for name in "abc"})
