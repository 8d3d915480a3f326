"""Windowed attention equals attention with the mask of the window, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.attention import scaled_dot_product_attention, window_attention, window_mask
from attnlab.errors import TensorError


def random(tokens, width=4, batch=2, heads=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shape = (3, batch, heads, tokens, width)
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


def dense(qkv, window, mask, places, dilation):
    allowed = window_mask(qkv.shape[-2], window, places, dilation)
    if mask is not None:
        allowed = allowed & mask
    return scaled_dot_product_attention(*qkv, allowed)[0]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 100),
    st.integers(0, 40),
    st.integers(1, 5),
    st.lists(st.integers(-1, 0), max_size=2),
    st.booleans(),
    st.integers(0, 999),
)
def test_it_is_attention_with_the_mask(tokens, window, dilation, places, padded, seed):
    qkv = random(tokens, seed=seed)
    mask = None
    if padded:
        mask = torch.rand(2, 1, 1, tokens, generator=torch.Generator().manual_seed(seed)) < 0.8
    found = window_attention(*qkv, window, mask, places, dilation)
    wanted = dense(qkv, window, mask, places, dilation)
    assert torch.allclose(found, wanted, atol=1e-10)
    gradients = [
        torch.autograd.grad((each * each.detach().cos()).sum(), qkv)[0] for each in (found, wanted)
    ]
    assert torch.allclose(*gradients, atol=1e-9)
    assert gradients[0].isfinite().all()


def test_float32_and_a_wide_window_give_ordinary_attention():
    qkv = random(70, 32, dtype=torch.float32)
    whole = torch.nn.functional.scaled_dot_product_attention(*qkv)
    assert torch.allclose(window_attention(*qkv, 70), whole, atol=1e-5)
    assert torch.allclose(window_attention(*qkv, 10**9), whole, atol=1e-5)  # and no such table
    assert torch.allclose(window_attention(*qkv, 69, global_tokens=[3]), whole, atol=1e-5)


def test_no_table_of_all_scores_is_built():
    class Watch(torch.overrides.TorchFunctionMode):
        largest = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.largest = max(self.largest, result.numel())
            return result

    qkv = random(4000, 8, 1, 1).detach()
    with Watch() as watch:
        window_attention(*qkv, 16, global_tokens=[0])
    assert watch.largest < 4000 * 4000 / 10


def test_each_text_may_have_global_tokens_of_its_own():
    qkv = random(50)
    places = torch.tensor([[0, 30], [7, 7]])  # of the second text one, said twice
    found = window_attention(*qkv, 3, global_tokens=places)
    for text, own in enumerate(([0, 30], [7])):
        wanted = dense(qkv[:, text : text + 1], 3, None, own, 1)
        assert torch.allclose(found[text : text + 1], wanted, atol=1e-10)


def test_global_tokens_see_all_and_are_seen_by_all():
    mask = window_mask(9, 1, [0, -1])
    assert mask[0].all() and mask[:, 0].all() and mask[8].all() and mask[:, 8].all()
    assert mask[4].int().tolist() == [1, 0, 0, 1, 1, 1, 0, 0, 1]


def test_what_does_not_fit_is_refused():
    query, key, value = random(6).detach()
    with pytest.raises(TensorError, match="window"):
        window_attention(query, key, value, -1)
    with pytest.raises(TensorError, match="as many tokens"):
        window_attention(query, key[..., :5, :], value[..., :5, :], 2)
    with pytest.raises(TensorError, match=r"positions are 0 to 5"):
        window_attention(query, key, value, 2, global_tokens=[6])
    with pytest.raises(TensorError, match=r"mask\[:, None\]"):
        window_attention(query, key, value, 2, mask=torch.ones(2, 1, 6, dtype=torch.bool))
    with pytest.raises(TensorError, match="do not fit"):
        window_attention(query, key, value, 2, mask=torch.ones(3, 1, 1, 6, dtype=torch.bool))
