"""Rollout, occlusion and their agreement, against reckonings that share no code with them."""

import numpy as np
import pytest
import torch
from scipy import stats
from tiny_images import NAMES, images, tiny_image_classifier

from attnlab import heads
from attnlab.errors import AttnlabError, DataError, TensorError
from attnlab.vision.looking import (
    COVERS,
    attention_rollout,
    cover_patches,
    occlusion,
    over_patches,
    rank_agreement,
)


@pytest.fixture(scope="module")
def clf():
    return tiny_image_classifier()


def some_weights(layers=3, count=4, tokens=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(layers, count, tokens, tokens, generator=generator, dtype=torch.float64)
    return scores.softmax(-1)


# ── rollout ────────────────────────────────────────────────────────────────────────────────────


def test_rollout_sums_over_every_path_through_the_layers():
    weights = some_weights(layers=3, tokens=3)
    mixed = weights.mean(1).numpy()
    expected = np.zeros((3, 3))
    for end in range(3):  # one path after another: stay through the residual, or go with attention
        for late in range(3):
            for early in range(3):
                for start in range(3):
                    path = 1.0
                    steps = [(2, end, late), (1, late, early), (0, early, start)]
                    for layer, to, source in steps:
                        path *= 0.5 * mixed[layer, to, source] + 0.5 * (to == source)
                    expected[end, start] += path
    rolled = attention_rollout(weights)
    np.testing.assert_allclose(rolled.numpy(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(rolled.sum(-1).numpy(), 1, atol=1e-12)


def test_layers_that_attend_nowhere_else_roll_out_to_the_tokens_themselves():
    weights = torch.eye(4).expand(5, 2, 4, 4)
    torch.testing.assert_close(attention_rollout(weights), torch.eye(4))


def test_the_first_layer_is_multiplied_first():
    there = torch.eye(2).flip(1)  # each looks at the other
    only_to_first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    rolled = attention_rollout(torch.stack([there, only_to_first])[:, None])
    # the second token mixes the first in layer 1, when layer 0 has already mixed both
    torch.testing.assert_close(rolled, torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    swapped = attention_rollout(torch.stack([only_to_first, there])[:, None])
    torch.testing.assert_close(swapped, torch.tensor([[0.75, 0.25], [0.75, 0.25]]))


def test_removed_heads_do_not_count_and_a_layer_without_heads_passes_on(clf):
    weights = some_weights()
    gone = weights.clone()
    gone[1, 2] = 0
    kept = torch.stack([weights[0].mean(0), weights[1, [0, 1, 3]].mean(0), weights[2].mean(0)])
    torch.testing.assert_close(attention_rollout(gone), attention_rollout(kept[:, None]))
    gone[1] = 0
    torch.testing.assert_close(attention_rollout(gone), attention_rollout(weights[[0, 2]]))
    pruned = heads.prune(tiny_image_classifier(), [(0, 1), (1, 0)])
    rolled = attention_rollout(pruned.attend(images(1)[0]).weights)
    torch.testing.assert_close(rolled.sum(-1), torch.ones(7))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (torch.rand(2, 4, 4), r"shape \(2, 4, 4\); it needs \(layers, heads, tokens, tokens\)"),
        (torch.rand(2, 1, 4, 5), r"clf\.attend\(image\)\.weights"),
        (torch.rand(0, 1, 4, 4), "it needs"),
        (np.ones((1, 1, 2, 2)), "not a torch tensor"),
    ],
)
def test_weights_that_cannot_be_rolled_out_are_refused(weights, words):
    with pytest.raises(TensorError, match=words):
        attention_rollout(weights)


def test_the_patches_stand_last_among_the_tokens(clf):
    tokens = clf.attend(images(1)[0]).tokens
    numbered = over_patches(torch.arange(len(tokens)), clf.grid)
    for row, column in np.ndindex(*clf.grid):
        assert tokens[int(numbered[row, column])] == f"{row},{column}"
    distilled = over_patches(torch.arange(2 + 6), (2, 3))  # [CLS] and [DIST]
    assert distilled.tolist() == [[2, 3, 4], [5, 6, 7]]
    with pytest.raises(TensorError, match="6 are the patches of a grid of 2 x 3"):
        over_patches(torch.arange(5), (2, 3))


# ── occlusion ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cover", [*COVERS, 100])
def test_occlusion_is_what_the_classifier_answers_to_each_covered_image(clf, cover):
    image = images(1)[0]
    found = occlusion(clf, image, cover=cover)
    colour = {"mean": round(image.mean()), "black": 0, "white": 255}.get(cover, cover)
    plain = clf.predict([image]).probabilities[0]
    assert found.label == plain.argmax()
    assert found.before == pytest.approx(plain.max(), abs=1e-6)
    for row, column in np.ndindex(2, 3):
        by_hand = image.copy()
        by_hand[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = colour
        answer = clf.predict([by_hand])
        assert found.after[row, column] == pytest.approx(
            answer.probabilities[0, found.label], abs=1e-6
        )
        assert NAMES[found.answers[row, column]] == answer.labels[0]
    assert np.ptp(found.after) > 0
    np.testing.assert_array_equal(found.drop, found.before - found.after)


def test_a_patch_that_covering_does_not_change_has_no_effect(clf):
    image = images(1)[0]
    image[:4, 4:8] = 0
    assert occlusion(clf, image, cover="black").drop[0, 1] == 0
    assert abs(occlusion(clf, image, cover="white").drop[0, 1]) > 1e-4


def test_any_answer_can_be_asked_about_and_together_they_lose_nothing(clf):
    image = images(1)[0]
    found = [occlusion(clf, image, label) for label in range(3)]
    assert [answer.label for answer in found] == [0, 1, 2]
    np.testing.assert_allclose(sum(answer.drop for answer in found), 0, atol=1e-12)


def test_patches_may_be_covered_from_the_beginning_with_the_colour_of_the_whole_image(clf):
    image = images(1)[0]
    covered = cover_patches(image, [(0, 0), (1, 2)], clf.patch)
    found = occlusion(clf, image, 1, covered=[(0, 0), (1, 2)])
    assert found.before == pytest.approx(clf.predict([covered]).probabilities[0, 1], abs=1e-6)
    assert found.drop[0, 0] == found.drop[1, 2] == 0
    assert (covered[:4, :4] == round(image.mean())).all()
    assert (covered[4:, 8:] == round(image.mean())).all()
    assert (covered[:4, 4:] == image[:4, 4:]).all()


def test_the_mean_of_a_picture_in_colour_is_one_of_each_colour():
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0], image[:2, :, 1] = 200, 100
    covered = cover_patches(image, [(1, 1)], (2, 2), "mean")
    assert covered[3, 3].tolist() == [200, 50, 0]
    assert (covered[:2] == image[:2]).all()
    assert image[3, 3].tolist() == [200, 0, 0], "the image itself stays"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"label": 3}, "no label 3: labels are 0 to 2"),
        ({"label": -1}, "no label -1"),
        ({"cover": "grey"}, "no cover 'grey'.*mean.*number from 0 to 255"),
        ({"cover": 256}, "cover is 256.*whole number from 0"),
        ({"cover": 0.5}, "cover is 0.5"),
        ({"covered": [(2, 0)]}, "no patch in row 2, column 0: rows are 0 to 1, columns 0 to 2"),
        ({"covered": [(0, -1)]}, "no patch in row 0, column -1"),
    ],
)
def test_what_cannot_be_covered_is_refused_with_what_can(clf, given, words):
    with pytest.raises(DataError, match=words):
        occlusion(clf, images(1)[0], **given)


def test_an_image_that_the_classifier_does_not_read_is_refused(clf):
    with pytest.raises(AttnlabError, match="8 x 12"):
        occlusion(clf, np.zeros((12, 12), np.uint8))
    with pytest.raises(AttnlabError, match="uint8"):
        occlusion(clf, np.zeros((8, 12)))


# ── agreement ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_spearmans_rank_correlation_also_with_ties(seed):
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(3, 4)), generator.integers(0, 4, (3, 4))
    expected = stats.spearmanr(first.ravel(), second.ravel()).statistic
    assert rank_agreement(first, second) == pytest.approx(expected, abs=1e-12)
    assert rank_agreement(first, first**3) == pytest.approx(1)
    assert rank_agreement(first, -first) == pytest.approx(-1)


def test_a_map_that_is_the_same_everywhere_agrees_with_nothing():
    flat, other = np.full((2, 2), 0.25), np.arange(4).reshape(2, 2)
    assert np.isnan(rank_agreement(flat, other))
    assert np.isnan(rank_agreement(other, flat))
    with pytest.raises(TensorError, match=r"\(2, 2\) and \(2, 3\)"):
        rank_agreement(flat, np.ones((2, 3)))
