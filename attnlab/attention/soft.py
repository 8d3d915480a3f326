"""Soft attention: the softmax that turns scores into weights, and the weighted mean of the values.

>>> query, key, value = torch.eye(2), torch.eye(2), torch.tensor([[1.0], [3.0]])
>>> context, weights = scaled_dot_product_attention(query, key, value)
>>> weights.sum(-1).tolist()  # each query spreads a weight of 1 over the keys
[1.0, 1.0]
>>> context.shape
torch.Size([2, 1])
"""

import math

import torch
from torch import Tensor

from attnlab.attention import shapes
from attnlab.attention.scores import scaled_dot_scores


def softmax(
    scores: Tensor, mask: Tensor | None = None, temperature: float | Tensor = 1.0
) -> Tensor:
    """Turn scores into weights that are positive and sum to 1 over the last axis.

    Parameters
    ----------
    scores : Tensor, shape (..., T_q, T_k); any shape without a mask
    mask : Tensor of bool, broadcastable to the scores; True where attention is allowed
    temperature : positive float, or Tensor broadcastable to the scores. Below 1 sharpens, above 1
        flattens.

    Returns
    -------
    weights : Tensor, shape of the scores. A row whose keys are all masked gets zeros, not NaN.

    The largest score of a row is subtracted first: the weights stay the same, and no exponential
    overflows. Source: Goodfellow et al. 2016, section 4.1.
    """
    shapes.check_float("scores", scores)
    shapes.check_temperature(temperature, scores)
    if scores.shape[-1:] == (0,):
        return torch.zeros_like(scores)  # no keys at all
    scores = scores / temperature
    if mask is not None:
        shapes.check_mask(mask, scores.shape)
        scores = scores.masked_fill(~mask, -math.inf)
    largest = scores.detach().amax(-1, keepdim=True)
    largest = largest.masked_fill(largest == -math.inf, 0)  # all masked: -inf - -inf is NaN
    exponentials = (scores - largest).exp()
    total = exponentials.sum(-1, keepdim=True)
    return exponentials / total.masked_fill(total == 0, 1)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    temperature: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor]:
    """Mix the values, each weighted by how well its key answers the query.

    Parameters
    ----------
    query : Tensor, shape (..., T_q, D)
    key : Tensor, shape (..., T_k, D)
    value : Tensor, shape (..., T_k, D_v)
    mask : Tensor of bool, broadcastable to (..., T_q, T_k); True where attention is allowed
    temperature : divides the scores; float, or Tensor broadcastable to (..., T_q, T_k)

    Returns
    -------
    context : Tensor, shape (..., T_q, D_v)
    weights : Tensor, shape (..., T_q, T_k); every row sums to 1. A query whose keys are all masked
        gets zeros.

    Source: Vaswani et al. 2017, eq. 1.
    """
    scores = scaled_dot_scores(query, key)  # (..., T_q, T_k)
    shapes.check_value(query, key, value)
    weights = softmax(scores, mask, temperature)
    return weights @ value, weights
