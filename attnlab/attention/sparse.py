"""Sparse weights: like softmax positive and of sum 1, but most of them exactly 0."""

import torch
from torch import Tensor

from attnlab.attention import shapes

__all__ = ["entmax15", "sparsemax"]

_OUT = -2.0  # a score below the largest by 1 or more has a weight of 0: this far it is masked


def sparsemax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Project scores onto the weights that are positive and sum to 1: the nearest such point.

    Parameters
    ----------
    scores : Tensor, shape (..., T_k)
    mask : Tensor of bool, broadcastable to the scores; True where attention is allowed

    Returns
    -------
    weights : Tensor, shape of the scores: max(scores - tau, 0), with tau so that a row sums to 1. A
        row whose keys are all masked gets zeros.

    Source: Martins and Astudillo 2016, algorithm 1.

    >>> sparsemax(torch.tensor([0.1, 2.0, 1.5])).tolist()
    [0.0, 0.75, 0.25]
    """
    scores, blind = _shifted(scores, mask)
    ordered = scores.sort(dim=-1, descending=True).values
    count = torch.arange(1, scores.shape[-1] + 1, dtype=scores.dtype, device=scores.device)
    sums = ordered.cumsum(-1)
    support = (1 + count * ordered > sums).sum(-1, keepdim=True).clamp_min(1)
    tau = (sums.gather(-1, support - 1) - 1) / support
    return (scores - tau).clamp_min(0).masked_fill(blind, 0)


def entmax15(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return weights between those of softmax and of `sparsemax`: entmax with alpha = 1.5.

    Parameters and result as for `sparsemax`; the weights are max(scores / 2 - tau, 0)².

    Source: Peters et al. 2019, "Sparse sequence-to-sequence models", algorithm 2.

    >>> [round(weight, 3) for weight in entmax15(torch.tensor([0.0, 2.0, 1.5])).tolist()]
    [0.0, 0.674, 0.326]
    """
    scores, blind = _shifted(scores, mask)
    scores = scores / 2
    ordered = scores.sort(dim=-1, descending=True).values
    count = torch.arange(1, scores.shape[-1] + 1, dtype=scores.dtype, device=scores.device)
    mean = ordered.cumsum(-1) / count
    spread = (ordered.square().cumsum(-1) / count - mean.square()) * count
    rest = (1 - spread) / count
    valid = rest > 0
    tau = mean - torch.where(valid, rest, 1.0).sqrt()  # a root of 0 has no gradient
    support = (valid & (tau <= ordered)).sum(-1, keepdim=True).clamp_min(1)
    tau = tau.gather(-1, support - 1)
    return (scores - tau).clamp_min(0).square().masked_fill(blind, 0)


def _shifted(scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores whose largest is 0 in each row, masked ones too small to count; rows without keys."""
    shapes.check_float("scores", scores)
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    shapes.check_mask(mask, scores.shape)
    mask = mask.expand(scores.shape)
    hidden = scores.masked_fill(~mask, -torch.inf)
    largest = hidden.detach().amax(-1, keepdim=True)
    blind = largest == -torch.inf
    far = 2 * _OUT  # halved for entmax, and still out of reach
    return (scores - largest.masked_fill(blind, 0)).masked_fill(~mask, far), blind


def __dir__() -> list[str]:
    return sorted(__all__)
