"""How wrong and how noisy are the gradients of a sampled choice? Measured where they are known."""

import pandas as pd
import torch
from torch import Tensor

from attnlab.attention import (
    hard_attention,
    scaled_dot_scores,
    score_function_loss,
    softmax,
)
from attnlab.attention.shapes import check_count

__all__ = ["gradient_noise"]


def gradient_noise(
    draws: int = 10_000, keys: int = 8, width: int = 4, seed: int = 0
) -> pd.DataFrame:
    """Compare gradient estimates for hard attention with the true gradient of the expected loss.

    One query samples one of several keys; the loss is the squared distance of that key's value from
    a random target. Its mean over all choices, and the gradient of that mean with respect to the
    query, can be computed exactly.

    Parameters
    ----------
    draws : samples, each of which gives one estimate
    keys : T_k
    width : D of query, keys and values
    seed : of the problem and of the samples

    Returns
    -------
    DataFrame with a row for each method and the columns

    - method : "straight-through", "score-function", "score-function, baseline" (the baseline is the
      mean loss);
    - bias : distance of the mean estimate from the true gradient, in units of the latter's length;
    - bias_error : standard error of the mean estimate, in the same units. A bias within about twice
      that is none that was found;
    - noise : standard deviation of a single estimate, in the same units;
    - cosine : of the mean estimate and the true gradient.

    Raises
    ------
    TensorError : fewer than 2 draws or keys, width below 1

    Source: Bengio et al. 2013; Williams 1992.
    """
    check_count("draws", draws, 2)
    check_count("keys", keys, 2)
    check_count("width", width, 1)
    generator = torch.Generator().manual_seed(seed)
    query, key, value, target = (
        torch.randn(rows, width, generator=generator, dtype=torch.float64)
        for rows in (1, keys, keys, 1)
    )
    truth, mean_loss = _truth(query, key, value, target)
    rows = []
    for name, baseline in (
        ("straight-through", None),
        ("score-function", 0.0),
        ("score-function, baseline", mean_loss),
    ):
        estimates = _estimates(query, key, value, target, draws, baseline, generator)
        mean, length = estimates.mean(0), truth.norm()
        noise = estimates.var(0).sum().sqrt()
        rows.append(
            {
                "method": name,
                "bias": float((mean - truth).norm() / length),
                "bias_error": float(noise / length / draws**0.5),
                "noise": float(noise / length),
                "cosine": float(torch.cosine_similarity(mean, truth, dim=0)),
            }
        )
    return pd.DataFrame(rows)


def _truth(query: Tensor, key: Tensor, value: Tensor, target: Tensor) -> tuple[Tensor, float]:
    """Gradient (D,) of the expected loss with respect to the query, and that loss."""
    query = query.clone().requires_grad_()
    probabilities = softmax(scaled_dot_scores(query, key))[0]
    expected = (probabilities * (value - target).square().sum(-1)).sum()
    return torch.autograd.grad(expected, query)[0][0], expected.item()


def _estimates(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    target: Tensor,
    draws: int,
    baseline: float | None,
    generator: torch.Generator,
) -> Tensor:
    """One estimate of the gradient for each draw, (N, D); straight-through without a baseline."""
    queries = query.expand(draws, 1, -1).clone().requires_grad_()  # each with its own gradient
    hard = hard_attention(
        queries,
        key,
        value,
        method="straight-through" if baseline is None else "score-function",
        generator=generator,
    )
    loss = (hard.context[:, 0] - target).square().sum(-1)  # (N,)
    if baseline is None:
        total = loss.sum()
    else:
        total = score_function_loss(loss, hard.log_probability, baseline) * draws
    return torch.autograd.grad(total, queries)[0][:, 0]


def __dir__() -> list[str]:
    return sorted(__all__)
