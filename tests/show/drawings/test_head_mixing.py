"""Drawings of lesson 06: their numbers follow from what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from attnlab.show import drawings


def words(picture):
    return [text.get_text() for text in picture.figure.axes[0].texts]


def test_the_desk_divides_before_the_softmax_and_scales_after_it():
    picture = drawings.mixing_desk((1.0, 0.0), temperature=0.5, scale=3.0, values=(2.0, 0.0))
    first = np.exp(2) / (1 + np.exp(2))
    for number in (first, 1 - first, 2 * first, 6 * first):
        assert f"{number:.2f}" in words(picture)
        assert f"{number:.2f}" in picture.alt


@pytest.mark.parametrize(
    ("after", "right", "mean"), [((2.0, 0.5), "2 of 2", "−0.50"), ((2.5, -0.5), "1 of 2", "−0.75")]
)
def test_accuracy_counts_margins_above_0_and_the_mean_counts_all(after, right, mean):
    picture = drawings.margins((2.5, 1.0), after)
    assert f"2 of 2 → {right}" in words(picture)
    assert f"{mean} logits" in words(picture)


def test_drawings_say_what_they_show_and_close_their_figures():
    for picture in (drawings.two_routes(), drawings.patching(), drawings.path_patching()):
        assert "head" in picture.alt
    assert not plt.get_fignums()


def test_a_patch_names_the_sentences_that_it_goes_from_and_to():
    picture = drawings.patching("… a joy", "… a mess", "“positive”")
    told = words(picture)
    for part in ("… a joy", "… a mess", "“positive”,\nfirst", "“positive”,\npatched"):
        assert part in told
    assert "“positive” of the second run" in picture.alt
