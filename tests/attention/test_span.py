"""Adaptive span: dense when it is long enough, nothing beyond it, and it can be learned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab import attention as att
from attnlab.errors import TensorError


def scores(tokens=7, heads=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, heads, tokens, tokens, generator=generator, dtype=torch.float64)


def with_spans(spans, longest=20, ramp=2.0):
    module = att.AdaptiveSpan(len(spans), longest, ramp).double()
    with torch.no_grad():
        module.span.copy_(torch.tensor(spans))
    return module


@settings(deadline=None)
@given(tokens=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_a_span_that_reaches_all_is_softmax(tokens, seed):
    given_scores = scores(tokens, seed=seed)
    module = att.AdaptiveSpan(3, longest=max(1, tokens - 1), ramp=3).double()
    assert torch.allclose(module(given_scores), given_scores.softmax(-1), atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    spans=st.lists(st.floats(0, 8), min_size=3, max_size=3),
    ramp=st.floats(0.5, 5),
    seed=st.integers(0, 2**16),
)
def test_weights_follow_the_formula_key_by_key(spans, ramp, seed):
    given_scores = scores(seed=seed)
    found = with_spans(spans, ramp=ramp)(given_scores)
    span = torch.tensor(spans, dtype=torch.float64)
    for head in range(3):
        for row in range(7):
            counted = torch.stack(
                [
                    min(
                        max((ramp + span[head] - abs(row - column)) / ramp, 0 * span[0]),
                        1 + 0 * span[0],
                    )
                    * given_scores[0, head, row, column].exp()
                    for column in range(7)
                ]
            )
            wanted = counted / counted.sum()
            assert torch.allclose(
                found[0, head, row], wanted, rtol=1e-4, atol=1e-6
            )  # float32 spans


def test_span_zero_with_a_short_ramp_sees_only_itself():
    found = with_spans([0.0], ramp=1.0)(scores(heads=1))
    assert torch.equal(found, torch.eye(7, dtype=torch.float64).expand(2, 1, 7, 7))


def test_gradients_of_scores_and_spans_are_right():
    module = with_spans([0.3, 1.6, 3.45])
    given_scores = scores().requires_grad_()
    mask = torch.arange(7) < 5

    def weights(given_scores, span):
        return torch.func.functional_call(module, {"span": span}, (given_scores, mask))

    assert torch.autograd.gradcheck(weights, (given_scores, module.span))


def test_rows_without_a_key_in_their_span_get_zeros_and_finite_gradients():
    module = with_spans([1.0], ramp=1.0)
    given_scores = scores(heads=1).requires_grad_()
    found = module(given_scores, torch.arange(7) < 2)  # of keys 0 and 1 the last row is far away
    assert (found[..., 6, :] == 0).all()
    assert torch.allclose(found[..., 0, :].sum(-1), torch.ones(2, 1, dtype=torch.float64))
    found.square().sum().backward()
    assert given_scores.grad.isfinite().all() and module.span.grad.isfinite().all()


def test_a_small_score_nearby_counts_however_large_those_out_of_reach_are():
    given_scores = torch.zeros(1, 1, 3, 3)
    given_scores[..., 2] = 2000
    found = att.AdaptiveSpan(1, 1, ramp=1.0)(given_scores)
    assert torch.allclose(found[0, 0, 0], torch.tensor([0.5, 0.5, 0.0]))


def test_the_penalty_shortens_a_span_that_nothing_needs():
    module = with_spans([6.0, 6.0, 6.0])
    steps = torch.optim.SGD(module.parameters(), lr=0.3)
    own = torch.eye(7, dtype=torch.float64)
    start = module(scores())[:, 0].mul(own).sum()
    for _ in range(60):
        steps.zero_grad()
        (-module(scores())[:, 0].mul(own).sum() + module.penalty()).backward()
        steps.step()
        module.clamp_()
    assert module.span[1] < 1 and module.span[0] < 1
    assert module(scores())[:, 0].mul(own).sum() > start


@pytest.mark.parametrize("outside", [-5.0, 90.0])
def test_a_span_outside_its_limits_acts_as_at_them_and_can_return(outside):
    module = with_spans([outside] * 3, longest=4)
    limit = with_spans([min(max(outside, 0), 4.0)] * 3, longest=4)
    assert torch.equal(module(scores()), limit(scores()))
    module.penalty().backward()
    assert (module.span.grad > 0).all()
    assert torch.equal(module.clamp_().span, limit.span)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: att.AdaptiveSpan(2, 8)(torch.zeros(1, 3, 4, 4)), "each of 2 heads"),
        (lambda: att.AdaptiveSpan(3, 8)(torch.zeros(3, 4, 5)), "attends to itself"),
        (lambda: att.AdaptiveSpan(3, 8)(torch.zeros(3, 4, 4, dtype=torch.long)), "floating-point"),
        (lambda: att.AdaptiveSpan(0, 8), "heads is 0"),
        (lambda: att.AdaptiveSpan(1, 0), "longest is 0"),
        (lambda: att.AdaptiveSpan(1, 8, ramp=0), "ramp is 0"),
        (lambda: att.span_mask(3, 1.0, float("nan")), "ramp is nan"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(TensorError, match=words):
        call()
