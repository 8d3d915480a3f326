"""Sparsemax and entmax: the weights that solve their problem, with the right gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnlab.attention import entmax15, softmax, sparsemax

BOTH = pytest.mark.parametrize("weights_of", [sparsemax, entmax15])


def bisection(row, power):
    """Weights by bisection of tau: max(scores · (alpha - 1) - tau, 0) to the power, sum 1."""
    row = row * (1 / power)
    low, high = row.max() - 1, row.max()
    for _ in range(80):
        tau = (low + high) / 2
        if (row - tau).clamp_min(0).pow(power).sum() > 1:
            low = tau
        else:
            high = tau
    return (row - (low + high) / 2).clamp_min(0).pow(power)


@BOTH
@given(
    st.lists(st.integers(-40, 40), min_size=1, max_size=12),
    st.sampled_from([0.01, 0.1, 1.0]),
)
def test_they_are_what_bisection_finds(weights_of, values, scale):
    scores = torch.tensor(values, dtype=torch.float64) * scale
    wanted = bisection(scores, 1 if weights_of is sparsemax else 2)
    assert torch.allclose(weights_of(scores), wanted, atol=1e-9)


@BOTH
def test_gradients_are_right_masks_too(weights_of):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 7, generator=generator, dtype=torch.float64).requires_grad_()
    mask = torch.rand(5, 7, generator=generator) < 0.7
    mask[2] = False
    assert torch.autograd.gradcheck(lambda given: weights_of(given, mask), scores)
    assert torch.autograd.gradcheck(weights_of, scores)


@BOTH
def test_masked_keys_get_nothing_and_rows_without_keys_zeros(weights_of):
    scores = torch.tensor([[9.0, 1.0, 1.2], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[False, True, True], [False, False, False]])
    weights = weights_of(scores, mask)
    assert weights[0, 0] == 0
    assert torch.allclose(weights[0, 1:], weights_of(scores[0, 1:]))
    assert (weights[1] == 0).all()


def test_many_weights_are_zero_and_softmax_has_none():
    scores = torch.randn(200, generator=torch.Generator().manual_seed(0)) * 2
    zeros = [(each(scores) == 0).sum() for each in (softmax, entmax15, sparsemax)]
    assert zeros[0] == 0 < zeros[1] < zeros[2]
