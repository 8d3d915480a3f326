"""Drawings of lesson 07: their numbers are computed, and they say what they show."""

import numpy as np
import pytest

from attnlab.course.checks.attention_balance.leaves_band import reference
from attnlab.show import drawings
from attnlab.show.drawings.balance import _CALM, _RESTLESS


def test_shared_attention_says_how_many_keys_each_row_is_worth():
    picture = drawings.shared_attention()
    assert "one of four ahead: H / log n 0.68, effective keys 2.6" in picture.alt
    words = {text.get_text() for text in picture.figure.axes[0].texts}
    assert {"0.00", "0.50", "0.68", "1.00"} <= words


def test_the_divergence_of_rows_without_a_common_key_is_one_bit():
    assert "their mean, 1.00 bits" in drawings.divergence((1, 0), (0, 1)).alt
    assert "their mean, 0.00 bits" in drawings.divergence((0.5, 0.5), (0.5, 0.5)).alt


def test_the_divergence_is_the_mean_of_two_distances_that_differ():
    assert "0.57 and 0.40 bits" in drawings.divergence().alt
    assert "their mean, 0.48 bits" in drawings.divergence().alt


def test_the_sums_of_a_divergence_leave_out_what_adds_nothing():
    words = [text.get_text() for text in drawings.divergence().figure.axes[0].texts]
    assert "0.7 log₂(0.7/0.4) = 0.57" in words
    assert "0.1 log₂(0.1/0.4) + 0.6 log₂(0.6/0.3) = 0.40" in words
    equal = [text.get_text() for text in drawings.divergence((1, 0), (1, 0)).figure.axes[0].texts]
    assert equal.count("0 = 0.00") == 2


def test_among_ten_values_only_the_ruler_of_the_median_finds_the_strange_one():
    picture = drawings.two_rulers(np.append(np.linspace(0.08, 0.12, 9), 0.9))
    assert "standard deviations flags 0" in picture.alt
    assert "MAD flags 1" in picture.alt


def test_a_long_tail_is_no_outlier_by_the_ruler_of_its_own_side_and_a_strange_value_is():
    tail = [0.01, 0.02, 0.03, 0.05, 0.06, 0.08, 0.11, 0.16, 0.22, 0.33]
    assert "MAD flags 1; a unit of its own for each side flags 0" in drawings.two_sides(tail).alt
    strange = drawings.two_sides([*tail[:-1], 0.97])
    assert "a unit of its own for each side flags 1" in strange.alt


def test_the_same_jump_leaves_the_band_of_a_calm_head_and_not_that_of_a_restless_one():
    alt = drawings.two_bands().alt
    assert (
        "calm head: guesses usually off by 0.00, expected 0.45 to 0.49, came 0.60, outside" in alt
    )
    assert "restless head: guesses usually off by 0.01, expected 0.25 to 0.69, came 0.60, in" in alt


@pytest.mark.parametrize("last", [0.20, 0.26, 0.44, 0.46, 0.48, 0.50, 0.60, 0.68, 0.70])
def test_the_drawn_bands_are_those_of_the_exercise(last):
    calm, restless = (np.array([*values[:-1], last]) for values in (_CALM, _RESTLESS))
    told = drawings.two_bands(calm, restless).alt.split(";")
    for values, drawn in zip((calm, restless), told, strict=True):
        left = reference(values)
        assert left in (None, len(values) - 1)
        assert ("inside" if left is None else "outside") + " its band" in drawn


@pytest.mark.parametrize("seed", range(20))
def test_a_band_comes_from_the_distances_before_the_value_that_it_judges(seed):
    """Distances so small that the value's own, were it counted, would widen the band."""
    generator = np.random.default_rng(seed)
    values = np.append(0.4 + generator.uniform(-2e-3, 2e-3, 8), 0.4 + generator.uniform(0.02, 0.2))
    left = reference(values)
    assert left in (None, len(values) - 1)
    drawn = drawings.two_bands(values, values).alt
    assert drawn.count("inside its band" if left is None else "outside its band") == 2


@pytest.mark.parametrize(("repaired", "share"), [(0.8, "80%"), (1.0, "120%"), (0.2, "-40%")])
def test_the_share_of_a_damage_counts_from_the_damaged_model(repaired, share):
    assert f"{share} of the damage" in drawings.share_of_damage(0.9, 0.4, repaired).alt


def test_the_guard_lets_the_best_or_the_start_through():
    words = {text.get_text() for text in drawings.guard().figure.axes[0].texts}
    assert {"tune", "guard", "start", "kept: best\nor start"} <= words
