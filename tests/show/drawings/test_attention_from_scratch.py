"""Drawings of one layer: their numbers are computed, and their alt texts say them."""

import pytest
import torch

from attnlab.attention import causal_mask, local_mask
from attnlab.errors import AttnlabError
from attnlab.show import drawings


def written(picture):
    return [text.get_text() for text in picture.figure.axes[0].texts]


def test_a_mask_before_the_softmax_keeps_the_sum_and_one_after_it_does_not():
    scores, mask = torch.tensor([0.0, 0.0, 0.0, 0.0]), torch.tensor([True, True, True, False])
    picture = drawings.mask_first(["a", "b", "c", "d"], scores, mask)
    assert "sum to 1.00; masked after it, to 0.75" in picture.alt
    assert {"sum 1.00", "sum 0.75", "−∞"} <= set(written(picture))


def test_masks_are_counted_and_must_fit_the_words():
    assert "causal: 6" in drawings.mask_grids({"causal": causal_mask(3)}, ["a", "b", "c"]).alt
    with pytest.raises(AttnlabError, match=r"shape \(3, 3\).*\(2, 2\)"):
        drawings.mask_grids({"causal": causal_mask(3)}, ["a", "b"])


def test_every_mask_names_its_queries_and_its_keys():
    masks = dict.fromkeys(("is it no later?", "is it both?", "any"), causal_mask(2))
    words = written(drawings.mask_grids(masks, ["one", "two"]))
    assert set(masks) < set(words)
    assert words.count("one") == words.count("two") == 2 * len(masks)


def test_a_reshape_alone_mixes_tokens():
    alt = drawings.head_slices(tokens=3, heads=2, width=2).alt
    assert "[[0, 1], [100, 101], [200, 201]]" in alt
    assert "[[0, 1], [2, 3], [100, 101]]" in alt
    assert "nothing of token 2" in alt


def test_one_layer_names_its_parts_and_sizes():
    picture = drawings.one_layer(384, 12, 1536)
    assert "12 heads of width 32" in picture.alt
    assert {"up\n384 → 1536", "GELU", "down\n1536 → 384"} <= set(written(picture))


def test_a_padding_row_is_repeated_and_a_query_without_a_key_is_named():
    near, real = local_mask(4, window=1), torch.tensor([[True, True, False, False]])
    picture = drawings.joined_masks(near, real, ["a", "film", "[PAD]", "<pad>"])
    assert f"{int((near & real).sum())} squares are filled" in picture.alt
    assert "none is: <pad>." in picture.alt
    assert written(picture).count("may look nowhere") == 1


def test_a_rebuilt_model_says_which_parts_are_the_learners():
    picture = drawings.rebuilt_model(6, ["negative", "positive"])
    assert {"6 layers", "yours", "pooler", "negative\npositive"} <= set(written(picture))
    assert "only the layers are yours" in picture.alt
