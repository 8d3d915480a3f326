"""Drawings of lesson 04: their numbers follow from what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from attnlab.show import drawings

PARAMETERS = {"embedding": 12_000, "attention": 3_400, "feed-forward": 5_678, "norms": 90}


def words(picture):
    return [text.get_text() for text in picture.figure.axes[0].texts]


def test_the_model_shows_where_its_parameters_are():
    picture = drawings.gpt(500, 24, 3, PARAMETERS)
    for count in PARAMETERS.values():
        assert f"{count:,}" in words(picture)
        assert f"{count:,}" in picture.alt
    assert "3 blocks, one after another" in words(picture)


def test_the_query_of_the_new_piece_meets_all_keys():
    picture = drawings.cache_step(["a", "b"], [[2.0], [0.0]], [[1.0], [3.0]], [1.0])
    first = np.exp(2) / (1 + np.exp(2))
    assert [f"{weight:.2f}" in words(picture) for weight in (first, 1 - first)] == [True, True]
    assert f"{first + 3 * (1 - first):.2f}" in words(picture)
    assert f"a {first:.2f}, b {1 - first:.2f}" in picture.alt


@pytest.mark.parametrize(("tokens", "said"), [(("A", "B", "C", "A"), "B"), (("x", "y", "y"), "y")])
def test_what_followed_the_earlier_copy_is_said(tokens, said):
    assert f"says {said}" in words(drawings.copying(tokens))


def test_drawings_close_their_figures():
    drawings.copying()
    assert not plt.get_fignums()
