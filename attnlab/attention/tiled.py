"""Attention in tiles: the same result as soft attention, without ever holding all weights."""

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from attnlab.attention import shapes
from attnlab.attention.scores import scaled_dot_scores


def tiled_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    tile: int = 128,
) -> Tensor:
    """Attend without ever holding all weights: memory grows with T, not with its square.

    Keys come ``tile`` at a time. Of what was seen so far each query keeps three things: its largest
    score, the sum of its exponentials and the sum of its weighted values; when a larger score turns
    up, the two sums are scaled down to it. Going backward, each tile of queries is computed again
    instead of being remembered.

    Parameters
    ----------
    query, key, value, mask : as in `scaled_dot_product_attention`
    causal : let no query attend past itself, as `causal_mask` does, without building that mask
    tile : queries and keys at a time

    Returns
    -------
    context : Tensor, shape (..., T_q, D_v). There are no weights to return: that is the point.

    Source: Milakov and Gimelshein 2018 (online softmax); Dao et al. 2022, algorithm 1.
    """
    shapes.check_pair(query, key)
    shapes.check_width(query, key)
    shapes.check_value(query, key, value)
    shapes.check_count("tile", tile, 1)
    batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    if mask is not None:
        shapes.check_mask(mask, (*batch, query.shape[-2], key.shape[-2]))
        mask = mask.expand(*mask.shape[:-2], query.shape[-2], key.shape[-2])  # a view, no memory
    needs_gradient = torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (query, key, value)
    )
    contexts = [
        value.new_zeros(*torch.broadcast_shapes(batch, value.shape[:-2]), 0, value.shape[-1])
    ]
    for start in range(0, query.shape[-2], tile):
        rows = slice(start, min(start + tile, query.shape[-2]))
        arguments = (query[..., rows, :], key, value, mask, causal, rows, query.shape[-2], tile)
        if needs_gradient:
            contexts.append(checkpoint(_tile_of_queries, *arguments, use_reentrant=False))
        else:
            contexts.append(_tile_of_queries(*arguments))
    return torch.cat(contexts, dim=-2)


def _tile_of_queries(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    causal: bool,
    rows: slice,
    queries: int,
    tile: int,
) -> Tensor:
    """Context of some queries, the keys taken tile by tile."""
    ahead = key.shape[-2] - queries  # how far the last keys lie beyond the last queries
    exact = torch.promote_types(query.dtype, torch.float32)  # half precision would lose the sums
    batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    shape = (*batch, query.shape[-2])
    largest = torch.full((*shape, 1), -math.inf, dtype=exact, device=query.device)
    total = torch.zeros((*shape, 1), dtype=exact, device=query.device)
    mixture = torch.zeros((*shape, value.shape[-1]), dtype=exact, device=query.device)
    for start in range(0, key.shape[-2], tile):
        columns = slice(start, min(start + tile, key.shape[-2]))
        if causal and columns.start > rows.stop - 1 + ahead:
            break
        scores = scaled_dot_scores(query, key[..., columns, :]).to(exact)
        if mask is not None:
            scores = scores.masked_fill(~mask[..., rows, columns], -math.inf)
        if causal:
            row = torch.arange(rows.start, rows.stop, device=query.device)[:, None] + ahead
            column = torch.arange(columns.start, columns.stop, device=query.device)
            scores = scores.masked_fill(column > row, -math.inf)
        new_largest = torch.maximum(largest, scores.detach().amax(-1, keepdim=True))
        safe = new_largest.masked_fill(new_largest == -math.inf, 0)  # nothing seen yet
        exponentials = (scores - safe).exp()
        rescale = (largest - safe).exp()  # the sums so far were relative to a smaller largest
        total = total * rescale + exponentials.sum(-1, keepdim=True)
        mixture = mixture * rescale + exponentials @ value[..., columns, :].to(exact)
        largest = new_largest
    return (mixture / total.masked_fill(total == 0, 1)).to(value.dtype)
