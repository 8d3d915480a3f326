"""Fusions: equal to torch's layers with the same weights, blind to what they should not see."""

import pytest
import torch
from torch import nn

from attnlab.errors import ModelError, TensorError
from attnlab.vision.fusion import FUSIONS, ModalityDropout

B, T, N, E, A = 3, 5, 7, 16, 6
SIZES = {"d_model": E, "heads": 4, "layers": 2, "feed_forward": 24}


def made(name, **sizes):
    torch.manual_seed(0)
    fusion = FUSIONS[name](A, **SIZES | sizes).eval()
    with torch.no_grad():  # biases and norms as well
        for parameter in fusion.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return fusion


def given(seed=1):
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(B, T, E, generator=generator)
    patches = torch.randn(B, N, E, generator=generator)
    mask = torch.arange(T) < torch.tensor([[5], [3], [1]])
    return text, mask, patches


def copy_attention(ours, theirs):
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.data = torch.cat([part.weight for part in parts])
    theirs.in_proj_bias.data = torch.cat([part.bias for part in parts])
    theirs.out_proj.load_state_dict(ours.output.state_dict())


def copy_rest(ours, theirs, norms):
    theirs.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward[3].state_dict())
    for index, norm in enumerate(norms, 1):
        getattr(theirs, f"norm{index}").load_state_dict(norm.norm.state_dict())


def test_cross_attention_equals_torchs_decoder_layers():
    fusion, (text, mask, patches) = made("cross-attention"), given()
    x = text
    for layer in fusion.layers:
        theirs = nn.TransformerDecoderLayer(E, 4, 24, 0.0, batch_first=True, norm_first=True)
        copy_attention(layer.attention, theirs.self_attn)
        copy_attention(layer.cross_attention, theirs.multihead_attn)
        around = (layer.around_attention, layer.around_cross_attention, layer.around_feed_forward)
        copy_rest(layer, theirs, around)
        x = theirs(x, patches, tgt_key_padding_mask=~mask)
    x = nn.functional.layer_norm(x, (E,), fusion.norm.weight, fusion.norm.bias)
    means = torch.stack([row[there].mean(0) for row, there in zip(x, mask, strict=True)])
    torch.testing.assert_close(
        fusion(text, mask, patches), fusion.output(means), atol=1e-5, rtol=1e-5
    )


def test_concatenation_equals_torchs_encoder_layers():
    fusion, (text, mask, patches) = made("concatenation"), given()
    x = torch.cat([text + fusion.kinds[0], patches + fusion.kinds[1]], 1)
    padding = torch.cat([~mask, torch.zeros(B, N, dtype=torch.bool)], 1)
    for layer in fusion.layers:
        theirs = nn.TransformerEncoderLayer(E, 4, 24, 0.0, batch_first=True, norm_first=True)
        copy_attention(layer.attention, theirs.self_attn)
        copy_rest(layer, theirs, (layer.around_attention, layer.around_feed_forward))
        x = theirs(x, src_key_padding_mask=padding)
    x = nn.functional.layer_norm(x, (E,), fusion.norm.weight, fusion.norm.bias)
    means = torch.stack([row[:T][there].mean(0) for row, there in zip(x, mask, strict=True)])
    torch.testing.assert_close(
        fusion(text, mask, patches), fusion.output(means), atol=1e-5, rtol=1e-5
    )


def test_late_averaging_is_the_mean_of_two_probabilities():
    fusion, inputs = made("late"), given()
    alone = made("question")
    alone.load_state_dict(fusion.state_dict(), strict=False)
    both = (alone(*inputs).softmax(-1) + fusion.image(*inputs).softmax(-1)) / 2
    torch.testing.assert_close(fusion(*inputs).exp(), both)


@pytest.mark.parametrize("name", FUSIONS)
def test_padding_does_not_matter(name):
    fusion, (text, mask, patches) = made(name), given()
    other = torch.where(mask[..., None], text, 100.0)
    logits = fusion(text, mask, patches)
    assert logits.shape == (B, A)
    torch.testing.assert_close(fusion(other, mask, patches), logits)


@pytest.mark.parametrize("name", FUSIONS)
def test_what_each_fusion_sees(name):
    fusion, (text, mask, patches) = made(name), given()
    logits = fusion(text, mask, patches)
    by_image = (fusion(text, mask, patches.roll(1, -1)) - logits).abs().max() > 1e-4
    by_text = (fusion(text.roll(1, -1), mask, patches) - logits).abs().max() > 1e-4
    assert bool(by_image) == (name != "question")
    assert bool(by_text) == (name != "image")


def test_silent_heads_of_cross_attention_make_it_blind():
    fusion, (text, mask, patches) = made("cross-attention"), given()
    silent = [{"scale": torch.zeros(4), "temperature": torch.ones(4)}] * 2
    blind = fusion(text, mask, patches, silent)
    torch.testing.assert_close(fusion(text, mask, 3 * patches, silent), blind)
    assert (fusion(text, mask, patches) - blind).abs().max() > 1e-3


@pytest.mark.parametrize(
    "name, shape",
    [
        ("cross-attention", (B, 4, T, N)),
        ("concatenation", (B, 4, T + N, T + N)),
        ("question", (B, 4, T, T)),
    ],
)
def test_weights_of_each_layer(name, shape):
    fusion, (text, mask, patches) = made(name), given()
    seen = []
    looked = fusion(text, mask, patches, seen=seen)
    assert [tuple(weights.shape) for weights, _ in seen] == [shape] * 2
    for weights, _ in seen:
        torch.testing.assert_close(weights.sum(-1), torch.ones(shape[:-1]))
    torch.testing.assert_close(looked, fusion(text, mask, patches), atol=1e-5, rtol=1e-5)


def test_modality_dropout_takes_one_modality_of_as_many_examples_as_it_says():
    torch.manual_seed(0)
    n = 4000
    dropout = ModalityDropout(E, 0.3)
    text, patches = torch.ones(n, T, E), torch.ones(n, N, E)
    mask = torch.ones(n, T, dtype=torch.bool)
    lost_text, lost_mask, lost_patches = dropout(text, mask, patches)
    no_text = (lost_text == dropout.no_text).flatten(1).all(1)
    no_image = (lost_patches == dropout.no_image).flatten(1).all(1)
    assert not (no_text & no_image).any()
    assert no_text.double().mean() == pytest.approx(0.15, abs=0.03)
    assert no_image.double().mean() == pytest.approx(0.15, abs=0.03)
    assert (lost_mask.sum(1) == torch.where(no_text, 1, T)).all()  # nor how long it was
    kept = ~no_text & ~no_image
    assert (lost_text[kept] == 1).all() and (lost_patches[kept] == 1).all()
    (lost_text.sum() + lost_patches.sum()).backward()
    assert dropout.no_text.grad.abs().sum() > 0 and dropout.no_image.grad.abs().sum() > 0


def test_modality_dropout_is_off_when_asked():
    inputs = given()
    for one, other in zip(ModalityDropout(E, 1.0).eval()(*inputs), inputs, strict=True):
        assert torch.equal(one, other)


def test_what_does_not_fit_is_refused():
    fusion, (text, mask, patches) = made("cross-attention"), given()
    with pytest.raises(TensorError, match="do not fit together"):
        fusion(text, mask, patches[:2])
    with pytest.raises(TensorError, match="without a word"):
        fusion(text, mask & False, patches)
    with pytest.raises(ModelError, match="0 to 1"):
        ModalityDropout(E, 1.5)
