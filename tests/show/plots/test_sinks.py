"""What the first token gets of the weight and what it adds, by layer."""

import pytest
import torch

from attnlab.errors import AttnlabError
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.show import plots


def reading(count):
    """Two layers of one head: all weight alike; half of it on the first token, whose vector is 0.2
    long and those of the others 2."""
    even = torch.full((1, count, count), 1 / count)
    resting = torch.full((1, count, count), 0.5 / (count - 1))
    resting[..., 0] = 0.5
    lengths = torch.full((count,), 2.0)
    lengths[0] = 0.2
    weights = torch.stack([even, resting])
    return AttentionMaps(
        ["[CLS]", *(f"t{at}" for at in range(1, count))],
        weights,
        weights * lengths,
        torch.zeros(count, dtype=torch.bool),
        HeadSettings(2, 1),
    )


def heights(axes):
    return [[bar.get_height() for bar in bars] for bars in axes.containers]


def test_shares_and_lengths_are_those_of_the_first_token_and_of_the_words():
    picture = plots.sink([reading(5)])
    shares, lengths = (heights(axes) for axes in picture.figure.axes)
    assert shares[0] == pytest.approx([20, 50])
    assert shares[1] == pytest.approx([100 * 0.2 / 8.2, 100 * 0.1 / 1.1], rel=1e-5)
    assert lengths == [pytest.approx([0.2, 0.2]), pytest.approx([2, 2])]
    assert "layer 1 50 and 9 % (length 0.20, a word 2.00)" in picture.alt
    level = picture.figure.axes[0].lines[0].get_ydata()[0]
    assert level == pytest.approx(20)  # what each of five tokens would get


def test_no_number_is_struck_through_by_the_line_of_an_even_share():
    axes = plots.sink([reading(5)]).figure.axes[0]
    line = axes.lines[0]
    assert all(line.get_zorder() < bar.get_zorder() for bars in axes.containers for bar in bars)
    numbers = [note for note in axes.texts if note.get_text().isdigit()]
    assert len(numbers) == 4
    level = line.get_ydata()[0]
    bottoms = [note.get_window_extent().y0 for note in numbers]
    tops = [note.get_window_extent().y1 for note in numbers]
    at = axes.transData.transform((0, level))[1]
    assert all(at < low or high < at for low, high in zip(bottoms, tops, strict=True))


def test_several_texts_are_averaged():
    shares = heights(plots.sink([reading(5), reading(10)]).figure.axes[0])
    assert shares[0] == pytest.approx([15, 50])


@pytest.mark.parametrize("readings", [[], [reading(2)]])
def test_without_a_word_there_is_nothing_to_compare(readings):
    with pytest.raises(AttnlabError, match="a word or more"):
        plots.sink(readings)
