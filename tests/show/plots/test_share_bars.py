"""Bars cut into shares: as long as their shares, with legible percentages."""

import pandas as pd
import pytest

from attnlab.errors import AttnlabError
from attnlab.show import plots


def test_pieces_are_as_long_as_their_shares_and_say_so():
    table = pd.DataFrame({"right": [0.75, 0.02], "wrong": [0.25, 0.98]}, index=["old", "new"])
    picture = plots.share_bars(table, xlabel="answers", alt="Old ones come out right.")
    axes = picture.figure.axes[0]
    assert [piece.get_x() for piece in axes.patches] == pytest.approx([0, 0, 75, 2])
    assert [piece.get_width() for piece in axes.patches] == pytest.approx([75, 2, 25, 98])
    told = [text.get_text() for text in axes.texts if text.get_text()]
    assert told == ["75", "25", "98", "2 right"]
    assert axes.get_xlabel() == "answers, %"
    assert picture.alt == "Old ones come out right."


def test_a_table_without_rows_is_refused():
    with pytest.raises(AttnlabError):
        plots.share_bars(pd.DataFrame({"right": []}), xlabel="answers", alt="Nothing.")
