"""Windowed attention: a query sees its neighbours only, and work grows with T, not with T²."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.attention import shapes
from attnlab.errors import TensorError

__all__ = ["window_attention", "window_mask"]

BLOCK = 32  # queries that share a stretch of keys; 64 and 128 were slower at all lengths tried


def window_mask(
    tokens: int, window: int, global_tokens: Sequence[int] = (), dilation: int = 1
) -> Tensor:
    """Let each token see those at most ``window`` steps away, and some tokens everything.

    Parameters
    ----------
    tokens : T
    window : steps to either side
    global_tokens : positions that see all tokens and are seen by all, as in Longformer; negative
        ones count from the end
    dilation : tokens to a step: with 2 only every other neighbour is seen, twice as far

    Returns
    -------
    mask : Tensor of bool, shape (T, T), True where attention is allowed

    Source: Beltagy et al. 2020, "Longformer", section 3.1.

    >>> window_mask(5, window=1, global_tokens=[0]).int().tolist()[3]
    [1, 0, 1, 1, 1]
    >>> window_mask(6, window=1, dilation=2).int().tolist()[2]
    [1, 0, 1, 0, 1, 0]
    """
    _check_counts(window, dilation)
    shapes.check_count("tokens", tokens, 0)
    position = torch.arange(tokens)
    apart = (position - position[:, None]).abs()
    mask = (apart <= window * dilation) & (apart % dilation == 0)
    for place in _places(global_tokens, tokens):
        mask[place], mask[:, place] = True, True
    return mask


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int,
    mask: Tensor | None = None,
    global_tokens: Sequence[int] | Tensor = (),
    dilation: int = 1,
) -> Tensor:
    """Attend within a window, without ever building a table of T × T scores.

    The same as attention with `window_mask`: queries are taken in blocks, each with the stretch of
    keys that its window reaches. Dilated windows are plain ones over every n-th token. What is
    global stands beside each stretch, and its own queries see all keys.

    Parameters
    ----------
    query, key, value : Tensor, shape (B, H, T, D)
    window, dilation : as for `window_mask`
    mask : Tensor of bool, shape (B, 1, 1, T) or (B, H, 1, T): keys that are real, such as
        `padding_mask`; None for all
    global_tokens : as for `window_mask`; or int Tensor (B, G), other ones for each text

    Returns
    -------
    context : Tensor, shape (B, H, T, D). A query that sees nothing gets zeros. There are no weights
        to return: that is the point.
    """
    _check_counts(window, dilation)
    _check_heads(query, key, value)
    tokens = query.shape[-2]
    window = min(window, tokens)  # further there is nothing
    real = _real(mask, query)
    fixed = _fixed(global_tokens, query)
    parts = [
        _plain(query, key, value, real, window, slice(first, None, dilation), fixed)
        for first in range(min(dilation, tokens))
    ]
    if not parts:
        return query.new_zeros(*query.shape[:-1], value.shape[-1])
    longest = parts[0].shape[-2]
    parts = [F.pad(part, (0, 0, 0, longest - part.shape[-2])) for part in parts]
    context = torch.stack(parts, dim=-2).flatten(-3, -2)[..., :tokens, :]  # they take turns again
    if fixed is None:
        return context
    asking = query.gather(-2, _wide(fixed, query))
    seeing = _attend(asking, key, value, real[:, :, None, :])
    return context.scatter(-2, _wide(fixed, seeing), seeing)


def _plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    real: Tensor,
    window: int,
    own: slice,
    fixed: Tensor | None,
) -> Tensor:
    """Context (B, H, t, D) of some of the tokens in a window over these, and what is global.

    ``real`` is (B, H or 1, T), ``fixed`` (B, G).
    """
    local = real
    if fixed is not None:  # global keys stand beside each stretch, once
        beside = fixed[:, None].expand(*real.shape[:2], -1)
        local = real.scatter(-1, beside, False)
    query, keys, values = (part[..., own, :] for part in (query, key, value))
    count = query.shape[-2]
    blocks = -(-count // BLOCK)
    keys, values = (_stretches(part, window, blocks) for part in (keys, values))  # (B, H, n, S, D)
    near = _stretches(local[..., own, None], window, blocks)[..., 0]  # (B, h, n, S)
    reach = torch.arange(BLOCK + 2 * window, device=real.device) - window
    band = (reach - torch.arange(BLOCK, device=real.device)[:, None]).abs() <= window
    allowed = near[..., None, :] & band  # (B, h, n, BLOCK, S)
    if fixed is not None:
        more = (part.gather(-2, _wide(fixed, part))[:, :, None] for part in (key, value))
        keys, values = (
            torch.cat([part, also.expand(-1, -1, blocks, -1, -1)], -2)
            for part, also in zip((keys, values), more, strict=True)
        )
        seen = real.gather(-1, beside) & _first(fixed)[:, None]
        seen = seen[:, :, None, None].expand(*allowed.shape[:-1], -1)
        allowed = torch.cat([allowed, seen], -1)
    asked = F.pad(query, (0, 0, 0, blocks * BLOCK - count)).unflatten(-2, (blocks, BLOCK))
    allowed = allowed.expand(-1, query.shape[1], -1, -1, -1)
    parts = (part.flatten(0, 1) for part in (asked, keys, values, allowed))
    return _attend(*parts).flatten(1, 2)[:, :count].unflatten(0, query.shape[:2])


def _stretches(tokens: Tensor, window: int, blocks: int) -> Tensor:
    """The stretch that each block of queries reaches: (..., t, D) to (..., n, S, D), a view."""
    end = blocks * BLOCK - tokens.shape[-2] + window
    padded = F.pad(tokens, (0, 0, window, end))
    return padded.unfold(-2, BLOCK + 2 * window, BLOCK).transpose(-1, -2)


def _attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """PyTorch's attention; zeros for a query that sees nothing, also going backward."""
    blind = ~allowed.any(-1, keepdim=True)
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed | blind)
    return context.masked_fill(blind, 0)


def _real(mask: Tensor | None, query: Tensor) -> Tensor:
    """Which keys are real, bool (B, H or 1, T)."""
    batch, heads, tokens = query.shape[:3]
    if mask is None:
        return torch.ones(batch, 1, tokens, dtype=torch.bool, device=query.device)
    shapes.check_bool(mask)
    if mask.dim() != 4 or mask.shape[-2] != 1 or mask.shape[-1] != tokens:
        raise TensorError(
            f"mask has shape {shapes.shown(mask)}; windows need to know which keys are real, "
            f"({batch}, 1, 1, {tokens}). Is it a mask (B, 1, T)? Give it a head axis: "
            "mask[:, None]."
        )
    if mask.shape[0] not in (1, batch) or mask.shape[1] not in (1, heads):
        raise TensorError(
            f"mask has shape {shapes.shown(mask)} and query {shapes.shown(query)}; the axes for "
            "batch and heads do not fit together."
        )
    return mask[:, :, 0].expand(batch, -1, -1)


def _check_heads(query: Tensor, key: Tensor, value: Tensor) -> None:
    shapes.check_pair(query, key)
    shapes.check_width(query, key)
    shapes.check_value(query, key, value)
    if query.dim() != 4 or query.shape[:3] != key.shape[:3] or key.shape[:3] != value.shape[:3]:
        raise TensorError(
            f"query {shapes.shown(query)}, key {shapes.shown(key)}, value {shapes.shown(value)}; "
            "a window needs all three (B, H, T, D) of as many tokens, of a text that attends to "
            "itself."
        )


def _check_counts(window: int, dilation: int) -> None:
    shapes.check_count("window", window, 0)
    shapes.check_count("dilation", dilation, 1)


def _places(global_tokens: Sequence[int], tokens: int) -> list[int]:
    """The positions, each once and counted from the start."""
    found = sorted({place + tokens if place < 0 else place for place in map(int, global_tokens)})
    if found and not 0 <= found[0] <= found[-1] < tokens:
        raise TensorError(
            f"global_tokens are {list(global_tokens)}, and there are {tokens} tokens: positions "
            f"are 0 to {tokens - 1}, or -1 for the last."
        )
    return found


def _fixed(global_tokens: Sequence[int] | Tensor, query: Tensor) -> Tensor | None:
    """The positions of each text's global tokens, int (B, G); None if there are none."""
    batch, tokens = query.shape[0], query.shape[-2]
    if not isinstance(global_tokens, Tensor):
        places = torch.tensor(_places(global_tokens, tokens), dtype=torch.long)
        global_tokens = places.expand(batch, -1)
    if global_tokens.dim() != 2 or len(global_tokens) != batch:
        raise TensorError(
            f"global_tokens have shape {shapes.shown(global_tokens)}; for a batch of {batch} they "
            f"are ({batch}, G), or positions that are the same in all texts."
        )
    if not global_tokens.shape[1]:
        return None
    _places(global_tokens.flatten().tolist(), tokens)
    return (global_tokens % tokens).to(query.device)


def _first(fixed: Tensor) -> Tensor:
    """Which positions of a text did not stand before, bool (B, G): none counts twice."""
    same = fixed[:, :, None] == fixed[:, None, :]
    return ~same.tril(-1).any(-1)


def _wide(fixed: Tensor, like: Tensor) -> Tensor:
    """Positions (B, G) as an index into (B, H, T, D)."""
    return fixed[:, None, :, None].expand(-1, like.shape[1], -1, like.shape[-1])


def __dir__() -> list[str]:
    return sorted(__all__)
