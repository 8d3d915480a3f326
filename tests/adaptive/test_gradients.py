"""Gradients of a sampled choice: which are biased, which are noisy, and by how much."""

import pytest
import torch

import attnlab as al
from attnlab.errors import TensorError

METHODS = ["straight-through", "score-function", "score-function, baseline"]


def enumerated(keys, width, seed):
    """Bias and noise of each method without sampling: every choice with its probability."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v, target = (
        torch.randn(rows, width, generator=generator, dtype=torch.float64)
        for rows in (1, keys, keys, 1)
    )
    p = (q @ k.T / width**0.5).softmax(-1)[0]
    loss = ((v - target) ** 2).sum(-1)
    of_log = (k - p @ k) / width**0.5  # d log p_i / d q, (T_k, D)
    truth = (p * loss) @ of_log
    # straight-through: d loss / d context at the value chosen, through the soft weights
    soft = (p[:, None] * of_log).T @ v  # d context / d q, (D, D_v)
    estimates = {
        METHODS[0]: 2 * (v - target) @ soft.T,
        METHODS[1]: loss[:, None] * of_log,
        METHODS[2]: (loss - p @ loss)[:, None] * of_log,
    }
    for name, each in estimates.items():
        mean = p @ each
        noise = (p @ ((each - mean) ** 2).sum(-1)).sqrt()
        yield name, float((mean - truth).norm() / truth.norm()), float(noise / truth.norm())


@pytest.mark.parametrize("keys, width, seed", [(8, 4, 0), (5, 3, 1), (12, 6, 2)])
def test_what_is_measured_is_what_all_choices_give(keys, width, seed):
    table = al.adaptive.gradient_noise(20_000, keys, width, seed).set_index("method")
    assert list(table.index) == METHODS
    for name, bias, noise in enumerated(keys, width, seed):
        row = table.loc[name]
        assert abs(row.bias - bias) < 5 * row.bias_error + 1e-9
        assert row.noise == pytest.approx(noise, rel=0.1)
        assert row.bias_error == pytest.approx(row.noise / 20_000**0.5)


def test_the_score_function_has_no_bias_and_straight_through_has_one():
    table = al.adaptive.gradient_noise().set_index("method")
    unbiased = table.loc[METHODS[1:]]
    assert (unbiased.bias < 4 * unbiased.bias_error).all() and (unbiased.cosine > 0.9).all()
    assert table.bias[METHODS[0]] > 10 * table.bias_error[METHODS[0]]


def test_the_same_seed_gives_the_same_table():
    first, second = (al.adaptive.gradient_noise(50, seed=3) for _ in range(2))
    assert first.equals(second)
    assert not first.equals(al.adaptive.gradient_noise(50, seed=4))


@pytest.mark.parametrize("sizes", [{"draws": 1}, {"keys": 1}, {"width": 0}])
def test_what_cannot_be_measured_is_refused(sizes):
    with pytest.raises(TensorError, match=f"{next(iter(sizes))} is"):
        al.adaptive.gradient_noise(**sizes)
