"""PyTorch's attention written out, for when its weights are wanted."""

import torch
from torch import Tensor, nn


def causal_mask(
    module: nn.Module, query: Tensor, key: Tensor, causal: bool | None
) -> Tensor | None:
    """Return the mask that PyTorch's attention adds by itself where a decoder gives none.

    Parameters
    ----------
    module : that attends
    query, key : (B, h, T, D)
    causal : whether later tokens are hidden; None for as the module says
    """
    tokens = query.shape[2]
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if not causal or tokens == 1:
        return None
    return torch.ones(tokens, key.shape[2], dtype=torch.bool, device=query.device).tril()


def per_query_head(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values with a head for each of the queries', where several share one (GQA).

    Parameters
    ----------
    query : (B, h, T, D)
    key, value : (B, g, T_k, D), g heads that each serve h / g neighbouring ones of the queries
    """
    times = query.shape[1] // key.shape[1]
    if times == 1:
        return key, value
    return key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)


def attention_with_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scaling: float | None,
) -> tuple[Tensor, Tensor]:
    """Return the context (B, T, h, D) and the weights (B, h, T, T) of query, key and value."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query @ key.transpose(-2, -1) * scaling).float()  # (B, h, T, T)
    if mask is not None:
        scores = (
            scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        )
    weights = scores.softmax(-1).to(value.dtype)
    if mask is not None:
        visible = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min
        if not visible.any(-1).all():
            weights = weights.nan_to_num()  # a row that sees nothing: zeros
    dropped = nn.functional.dropout(weights, p=dropout, training=dropout > 0)
    return (dropped @ value).transpose(1, 2), weights
