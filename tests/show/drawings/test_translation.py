"""Drawings of translation: their numbers are computed, and told in their alt texts."""

import math

import pytest
import torch

from attnlab.show import drawings


def words_of(picture):
    return [text.get_text() for text in picture.figure.axes[0].texts]


def test_cross_attention_by_hand_computes_weights_and_mixture():
    query, keys = torch.tensor([0.0, math.sqrt(2) * math.log(3)]), torch.eye(2)
    values = torch.tensor([[4.0, 0.0], [0.0, 8.0]])
    picture = drawings.cross_attention_by_hand(query, keys, values, ["a", "b"], "asks")
    assert "weights 0.25, 0.75: most falls on 'b'" in picture.alt
    assert {"0.25", "0.75", "1.00", "6.00"} <= set(words_of(picture))


def test_masks_hide_the_future_and_padding():
    picture = drawings.decoder_masks(["start", "2", "pad"])
    assert picture.alt.endswith("allowed: the past: 6; no padding: 6; both: 5.")


@pytest.mark.parametrize("count", [3, 5])
def test_a_cache_computes_one_key_a_step(count):
    picture = drawings.kept_keys(["x"] * count)
    words = words_of(picture)
    assert f"without a cache: {count * (count + 1) // 2} computed" in words
    assert f"with a cache: {count} computed" in words
    assert words.count("kept") == count * (count - 1) // 2


def test_a_surplus_is_what_two_heads_cost_beyond_the_sum():
    picture = drawings.surplus((4, 1), 15)
    assert picture.alt.endswith("Without both 15 are lost: a surplus of 10.")
    assert "surplus: 10 points" in words_of(picture)


def test_teacher_forcing_shifts_by_one():
    words = words_of(drawings.teacher_forcing(["2", "0"]))
    assert words[1:7] == ["start", "2", "2", "0", "0", "end"]


def test_a_tree_of_beams_says_what_is_likeliest_in_its_last_column():
    steps = [[("a", 0, -0.5, True), ("b", 0, -0.9, True)], [("c", 0, -2.0, False), ("d", 1, -1, 1)]]
    picture = drawings.beam_tree(steps)
    assert "'d' is the likeliest, with -1.00" in picture.alt
    assert {"c", "−2.00"} <= set(words_of(picture))


def test_in_a_tree_of_beams_the_likelier_stands_higher():
    first = [("a", 0, -0.5, True), ("b", 0, -0.9, True), ("c", 0, -1.0, True)]
    second = [("d", 2, -1.1, True), ("e", 0, -1.2, True), ("f", 1, -1.3, True)]
    third = [("g", 0, -1.4, True), ("h", 2, -1.5, True), ("i", 1, -1.6, True)]
    picture = drawings.beam_tree([first, second, third])
    heights = {text.get_text(): text.get_position()[1] for text in picture.figure.axes[0].texts}
    for column in ("abc", "def", "ghi"):
        assert sorted(column, key=heights.get, reverse=True) == list(column)


def test_a_heavy_line_leads_to_the_likeliest_beginning():
    steps = [[("a", 0, -0.5, True), ("b", 0, -0.9, True)], [("c", 0, -2, True), ("d", 1, -1, True)]]
    picture = drawings.beam_tree(steps)
    arrows = [patch for patch in picture.figure.axes[0].patches if hasattr(patch, "set_arrowstyle")]
    widths = [arrow.get_linewidth() for arrow in arrows]
    assert [width > 2 for width in widths] == [False, True, True, False]  # likelier first
    colours = {tuple(arrow.get_edgecolor()) for arrow in arrows if arrow.get_linewidth() > 2}
    others = {tuple(arrow.get_edgecolor()) for arrow in arrows if arrow.get_linewidth() < 2}
    assert len(colours) == 1 and not colours & others


def test_the_encoder_and_the_layer_are_told_in_words():
    whole = drawings.encoder_decoder(["3", "mars"], ["0", "3"])
    assert "says 0 3 end, one token ahead" in whole.alt
    assert words_of(drawings.decoder_layer()).count("norm") == 3


def test_training_goes_round_from_a_batch_to_its_loss_and_back_to_the_weights():
    circle = drawings.training_circle()
    assert {"64 pairs", "loss", "gradients", "optimizer"} <= set(words_of(circle))
    assert "from it come gradients" in circle.alt


def test_each_step_of_writing_reads_what_was_said_before():
    words = words_of(drawings.writing_steps(["2", "0"]))
    assert words[2:6] == ["step 1", "start", "decoder", "2"]
    assert words[6:11] == ["step 2", "start", "2", "decoder", "0"]
    assert words[-5:] == ["start", "2", "0", "decoder", "end"]


def test_a_search_tree_adds_up_the_log_probabilities_of_what_was_continued():
    logs = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]))
    asked = {(9,): logs[0], (9, 0): logs[1], (9, 1): logs[2], (9, 0, 1): logs[0]}
    picture = drawings.search_tree(asked, "abc".__getitem__)
    assert {"a", "b", "−0.69", "−1.20", "−0.92"} <= set(words_of(picture))
    assert "over 2 steps" in picture.alt
    assert "'b' is the likeliest, with -0.92" in picture.alt
    shorter = drawings.search_tree(asked, "abc".__getitem__, depth=1)
    assert "over 1 steps" in shorter.alt
