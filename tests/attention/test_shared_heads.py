"""Heads that share keys, biases of scores, and positions of language models."""

import pytest
import torch

from attnlab.attention import MultiHeadAttention, alibi_slopes, rotary_angles, rotate
from attnlab.attention.positions import turns
from attnlab.errors import TensorError


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_shared_keys_equal_the_same_keys_for_each_head_of_a_group(kv_heads):
    torch.manual_seed(0)
    shared = MultiHeadAttention(16, 4, kv_heads=kv_heads)
    whole = MultiHeadAttention(16, 4)
    with torch.no_grad():
        for name in ("query", "output"):
            getattr(whole, name).load_state_dict(getattr(shared, name).state_dict())
        for name in ("key", "value"):
            for part in ("weight", "bias"):
                rows = getattr(getattr(shared, name), part).unflatten(0, (kv_heads, 4))
                repeated = rows.repeat_interleave(4 // kv_heads, 0).flatten(0, 1)
                getattr(getattr(whole, name), part).copy_(repeated)
    x = torch.randn(2, 5, 16)
    assert shared.project(x)[0].shape == (2, kv_heads, 5, 4)
    for got, expected in zip(
        shared(x, return_weights=True), whole(x, return_weights=True), strict=True
    ):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("temperature", [None, torch.tensor([0.5, 1.0, 2.0, 4.0])])
def test_fused_and_written_out_agree_with_a_bias(causal, temperature):
    torch.manual_seed(0)
    written = MultiHeadAttention(16, 4)
    fused = MultiHeadAttention(16, 4, fused=True)
    fused.load_state_dict(written.state_dict())
    x, bias = torch.randn(2, 5, 16), torch.randn(4, 5, 5)
    for more in ({}, {"bias": bias}):
        options = {"causal": causal, "temperature": temperature, **more}
        output, weights = written(x, return_weights=True, **options)
        torch.testing.assert_close(fused(x, **options), output)
        assert bool((weights.triu(1) > 0).any()) is not causal
    query, key = (
        layer(x).unflatten(-1, (4, 4)).transpose(1, 2) for layer in (written.query, written.key)
    )
    expected = (query @ key.mT / 2 + bias)[:, 0] / (1 if temperature is None else 0.5)
    if causal:
        expected = expected.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(weights[:, 0], expected.softmax(-1))


def test_shared_keys_and_masks_that_cannot_be():
    with pytest.raises(TensorError, match="kv_heads must divide"):
        MultiHeadAttention(16, 4, kv_heads=3)
    x = torch.randn(1, 3, 16)
    with pytest.raises(TensorError, match="causal=True"):
        MultiHeadAttention(16, 4)(x, mask=torch.ones(3, 3).bool(), causal=True)


def test_slopes_of_alibi_are_those_of_the_paper():
    torch.testing.assert_close(alibi_slopes(8), 2.0 ** -torch.arange(1.0, 9.0))
    torch.testing.assert_close(alibi_slopes(4), torch.tensor([1 / 4, 1 / 16, 1 / 64, 1 / 256]))


def test_rows_of_a_batch_can_stand_at_positions_of_their_own():
    x, positions = torch.randn(2, 3, 4, 6), torch.tensor([[0, 1, 2, 3], [5, 6, 7, 8]])
    together = rotate(x, rotary_angles(positions, 6)[:, None])
    for row in range(2):
        alone = rotate(x[row], rotary_angles(positions[row], 6))
        torch.testing.assert_close(together[row], alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_turns_that_were_made_once_are_those_of_the_angles(dtype):
    x, angles = torch.randn(2, 3, 5, 6).to(dtype), rotary_angles(torch.arange(5), 6)
    turned = rotate(x, turns(angles))
    assert turned.dtype == dtype
    torch.testing.assert_close(turned, rotate(x, angles))
