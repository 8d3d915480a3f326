"""Hard attention: one key for each query (arg-max or sampled), and top-k attention between both."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from attnlab.attention import shapes
from attnlab.attention.masks import combine_masks
from attnlab.attention.scores import scaled_dot_scores
from attnlab.attention.soft import softmax
from attnlab.errors import TensorError, suggest


class HardAttention(NamedTuple):
    """What `hard_attention` returns.

    Attributes
    ----------
    context : Tensor, shape (..., T_q, D_v)
    weights : Tensor, shape (..., T_q, T_k): 1 at the chosen key, 0 elsewhere
    log_probability : Tensor, shape (..., T_q): of each choice under the soft weights; carries
        gradients
    """

    context: Tensor
    weights: Tensor
    log_probability: Tensor


def hard_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    method: Literal["argmax", "straight-through", "score-function"] = "argmax",
    generator: torch.Generator | None = None,
) -> HardAttention:
    """Take the value of one key per query instead of a mixture.

    Parameters
    ----------
    query, key, value, mask : as in `scaled_dot_product_attention`
    method :
        - "argmax" takes the best key. The choice has no gradient.
        - "straight-through" samples a key, and going backward pretends that the soft weights had
          been used: a biased gradient with little noise (Bengio et al. 2013).
        - "score-function" samples a key; train through `score_function_loss`: an unbiased gradient
          with much noise (Williams 1992; Xu et al. 2015, section 4.1).
    generator : source of the samples

    A query whose keys are all masked gets zeros, and log-probability 0.
    """
    methods = ("argmax", "straight-through", "score-function")
    if method not in methods:
        raise TensorError(f"There is no method {method!r}. {suggest(method, methods)}")
    soft = softmax(scaled_dot_scores(query, key), mask)  # (..., T_q, T_k)
    shapes.check_value(query, key, value)
    visible = soft.detach().sum(-1, keepdim=True) > 0
    if method == "argmax":
        choice = soft.argmax(-1, keepdim=True)
    else:
        probabilities = torch.where(visible, soft.detach(), 1.0).flatten(0, -2)
        choice = torch.multinomial(probabilities, 1, generator=generator).view(*soft.shape[:-1], 1)
    weights = torch.zeros_like(soft).scatter(-1, choice, 1.0) * visible
    log_probability = torch.where(visible, soft.gather(-1, choice), 1.0).log().squeeze(-1)
    if method == "straight-through":
        weights = weights + (soft - soft.detach())  # forward hard, backward soft
    return HardAttention(weights @ value, weights, log_probability)


def score_function_loss(
    loss: Tensor, log_probability: Tensor, baseline: float | Tensor = 0.0
) -> Tensor:
    """Return a scalar whose gradient is, on average over samples, that of the expected loss.

    Parameters
    ----------
    loss : Tensor, shape (...), the loss of each example under its sampled choices
    log_probability : Tensor, shape (..., T_q), from `hard_attention`
    baseline : anything that does not depend on the choice, such as the mean loss so far. It lowers
        the noise and changes nothing on average.

    Source: Williams 1992; Xu et al. 2015, eq. 11.
    """
    if log_probability.shape[:-1] != loss.shape:
        raise TensorError(
            f"loss has shape {shapes.shown(loss)} and log_probability "
            f"{shapes.shown(log_probability)}; they need (...) and (..., T_q). Did you average "
            "the loss already? Keep one loss for each example."
        )
    surprise = (loss.detach() - baseline) * log_probability.sum(-1)
    return (loss + surprise - surprise.detach()).mean()


def top_k_attention(
    query: Tensor, key: Tensor, value: Tensor, k: int, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attend to the ``k`` best keys of each query only; returns context and weights.

    With ``k`` of at least T_k this is `scaled_dot_product_attention`, with 1 it is hard attention.
    Source: Gupta et al. 2021.
    """
    shapes.check_count("k", k, 1)
    scores = scaled_dot_scores(query, key)
    shapes.check_value(query, key, value)
    if mask is not None:
        shapes.check_mask(mask, scores.shape)
        scores = scores.masked_fill(~mask, -math.inf)
    best = scores.topk(min(k, scores.shape[-1]), dim=-1).indices
    keep = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True)
    weights = softmax(scores, combine_masks(keep, mask))
    return weights @ value, weights
