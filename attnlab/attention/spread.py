"""How widely is attention spread? Entropy, and the number of keys it amounts to."""

import torch
from torch import Tensor

from attnlab.attention import shapes


def entropy(weights: Tensor, mask: Tensor | None = None, normalised: bool = False) -> Tensor:
    """Say how widely weights are spread: 0 for a single key, log(number of keys) for all alike.

    Parameters
    ----------
    weights : Tensor, shape (..., T_q, T_k), rows that sum to 1 (or hold zeros only)
    mask : Tensor of bool, broadcastable to the weights: which keys could be seen; the others have
        weight 0
    normalised : divide by the log of the number of visible keys, so that texts of different length
        compare. Where only one key is visible there is nothing to spread, and the result is 0.

    Returns
    -------
    entropy : Tensor, shape (..., T_q), in nats; between 0 and 1 if normalised

    Source: Shannon 1948.
    """
    shapes.check_float("weights", weights)
    if mask is not None:
        shapes.check_mask(mask, weights.shape)
    # 0 log 0 counts as 0; torch.special.entr says so too, but its gradient there is infinite
    spread = -(weights * torch.where(weights > 0, weights, 1.0).log()).sum(-1)
    # rounding may leave it a hair below 0, or at -0.0: the value becomes 0, the gradient stays
    spread = spread - spread.detach().clamp_max(0)
    if not normalised:
        return spread
    visible = torch.ones_like(weights, dtype=torch.bool) if mask is None else mask
    most = visible.expand_as(weights).sum(-1).clamp_min(1).to(weights.dtype).log()
    return torch.where(most > 0, spread / most.masked_fill(most == 0, 1), 0.0)


def effective_keys(weights: Tensor) -> Tensor:
    """Return exp(entropy), shape (..., T_q): so many keys with equal weights have this entropy."""
    return entropy(weights).exp()
