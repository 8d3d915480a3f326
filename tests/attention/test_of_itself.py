"""Self-attention in training: query, key and value by one product, which changes no number."""

import pytest
import torch
from torch import nn

from attnlab.attention import MultiHeadAttention


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_in_training_one_product_gives_the_same_outputs_and_gradients(bias, kv_heads):
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 4, bias=bias, kv_heads=kv_heads).double().train()
    x, angles = torch.randn(2, 5, 16).double(), torch.rand(5, 2).double()
    found = []
    for output in (
        lambda: attention(x, angles=angles, causal=True),
        lambda: attention(
            x, projected=attention.project(x, angles=angles), angles=angles, causal=True
        ),
    ):
        attention.zero_grad()
        y = output()
        y.square().sum().backward()
        found.append([y, *(part.grad.clone() for part in attention.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_in_training_a_map_that_is_watched_or_wrapped_is_called():
    attention, x = MultiHeadAttention(16, 4).train(), torch.randn(2, 5, 16)
    plain = attention(x)
    seen = []
    handle = attention.key.register_forward_hook(lambda module, given, out: seen.append(out))
    attention(x)
    assert len(seen) == 1
    handle.remove()
    attention.value = nn.Sequential(attention.value, nn.Identity())
    attention.value.in_features = 16
    torch.testing.assert_close(attention(x), plain)
    nn.utils.parametrize.register_parametrization(attention.query, "weight", Doubled())
    assert not torch.allclose(attention(x), plain)
