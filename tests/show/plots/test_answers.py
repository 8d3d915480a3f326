"""The picture of what a classifier makes of a few texts."""

import numpy as np
import pytest

from attnlab.errors import AttnlabError
from attnlab.show import plots

LABELS = ("negative", "positive")
SHARES = np.array([[0.25, 0.75], [0.9, 0.1]])


def test_each_text_has_its_answer_and_whether_it_is_right():
    picture = plots.answers(["a $5 film", "dull"], SHARES, LABELS, ["negative", "negative"])
    axes = picture.figure.axes[0]
    words = [text.get_text() for text in axes.texts]
    assert words == [
        "“a \\$5 film”",
        "positive 75 %",
        "✗ wrong, should be negative",
        "“dull”",
        "negative 90 %",
        "✓ right",
    ]
    assert picture.alt == (
        "“a $5 film”: positive 75 %, wrong, should be negative. “dull”: negative 90 %, right."
    )


def test_bars_show_the_second_label_and_wrong_answers_are_dark():
    picture = plots.answers(["a", "b"], SHARES, LABELS, ["negative", "negative"])
    bars = picture.figure.axes[0].patches
    assert [round(bars[place].get_width()) for place in (1, 3)] == [75, 10]
    assert bars[1].get_facecolor()[0] < 0.2 < bars[3].get_facecolor()[0]


def test_a_text_without_a_right_label_is_refused():
    with pytest.raises(AttnlabError, match="2 texts need"):
        plots.answers(["a", "b"], SHARES, LABELS, ["negative"])
