"""Sentences in two dimensions: the directions in which they differ most, and no other numbers."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from attnlab.errors import AttnlabError
from attnlab.show import plots

LABELS = np.arange(40) % 2
ROWS = np.random.default_rng(0).normal(size=(40, 6)) * [5, 3, 1, 1, 1, 1]


def test_each_panel_shows_the_principal_components_of_its_own_vectors():
    picture = plots.sentence_map({"before": ROWS, "after": -2 * ROWS}, LABELS, ["no", "yes"])
    before, after = picture.figure.axes
    oracle = PCA(2).fit(ROWS)
    share = f"{oracle.explained_variance_ratio_.sum():.0%} of the variance"
    assert before.get_title(loc="left") == f"before ({share})"
    for number, line in enumerate(before.lines):
        expected = oracle.transform(ROWS)[number == LABELS]
        assert np.abs(line.get_xydata()) == pytest.approx(np.abs(expected))
    assert np.ptp(after.lines[0].get_xdata()) == pytest.approx(
        2 * np.ptp(before.lines[0].get_xdata())
    )
    words = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert words == ["no", "yes"]
    assert f"after: {share}" in picture.alt


@pytest.mark.parametrize(
    ("vectors", "names", "words"),
    [
        ({}, ["no"], "needs"),
        ({"before": ROWS[:3]}, ["no"], "40 labels"),
        ({"before": ROWS}, list("abcde"), "At most 4"),
    ],
)
def test_what_does_not_fit_together_is_refused(vectors, names, words):
    with pytest.raises(AttnlabError, match=words):
        plots.sentence_map(vectors, LABELS, names)
