"""Attention from scratch, in the order in which lessons 01 and 02 build it.

Pure functions first (scores, softmax, masks, attention soft and hard), then one module,
`MultiHeadAttention`. In comments B is batch, H heads, T tokens (``T_q`` queries, ``T_k`` keys), D width.
A mask is bool everywhere and True where looking is allowed.

>>> query, key, value = torch.eye(2), torch.eye(2), torch.tensor([[1.0], [3.0]])
>>> context, weights = scaled_dot_product_attention(query, key, value)
>>> weights.sum(-1).tolist()  # each query spreads a weight of 1 over the keys
[1.0, 1.0]
>>> context.shape
torch.Size([2, 1])
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attnlab.attention import shapes
from attnlab.errors import TensorError, suggest

# --- Scores: how well does each key answer each query? -----------------------------------------


def dot_scores(query: Tensor, key: Tensor) -> Tensor:
    """Score every key for every query by their dot product.

    Parameters
    ----------
    query : Tensor, shape (..., T_q, D)
    key : Tensor, shape (..., T_k, D)

    Returns
    -------
    scores : Tensor, shape (..., T_q, T_k)

    Source: Luong et al. 2015, eq. 8 ("dot").
    """
    shapes.check_pair(query, key)
    shapes.check_width(query, key)
    return query @ key.transpose(-2, -1)  # (..., T_q, D) @ (..., D, T_k)


def scaled_dot_scores(query: Tensor, key: Tensor) -> Tensor:
    """Dot products divided by the square root of the width, so that their variance does not grow with it.

    Shapes as in `dot_scores`. Source: Vaswani et al. 2017, section 3.2.1.
    """
    shapes.check_pair(query, key)
    shapes.check_width(query, key)
    # divided before the product: in half precision the product itself could overflow
    return dot_scores(query / math.sqrt(query.shape[-1]), key)


def general_scores(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
    """Score with a learned bilinear form, ``query @ weight @ key.T``; widths may differ.

    Parameters
    ----------
    query : Tensor, shape (..., T_q, D_q)
    key : Tensor, shape (..., T_k, D_k)
    weight : Tensor, shape (D_q, D_k)

    Source: Luong et al. 2015, eq. 8 ("general").
    """
    shapes.check_pair(query, key)
    shapes.check_parameter("weight", weight, (query.shape[-1], key.shape[-1]), query)
    return query @ weight @ key.transpose(-2, -1)


def additive_scores(
    query: Tensor, key: Tensor, query_weight: Tensor, key_weight: Tensor, vector: Tensor
) -> Tensor:
    """Score with a small network, ``vector · tanh(query @ query_weight + key @ key_weight)``.

    Parameters
    ----------
    query : Tensor, shape (..., T_q, D_q)
    key : Tensor, shape (..., T_k, D_k)
    query_weight : Tensor, shape (D_q, A)
    key_weight : Tensor, shape (D_k, A)
    vector : Tensor, shape (A,)

    Memory grows with T_q x T_k x A, where a dot product needs T_q x T_k.
    Source: Bahdanau et al. 2015, section 3.1 and appendix A.1.2.
    """
    shapes.check_pair(query, key)
    if not isinstance(vector, Tensor) or vector.dim() != 1:
        raise TensorError(
            f"vector has shape {shapes.shown(vector)}; additive scores need one axis, (A,)."
        )
    shapes.check_parameter("query_weight", query_weight, (query.shape[-1], len(vector)), query)
    shapes.check_parameter("key_weight", key_weight, (key.shape[-1], len(vector)), query)
    shapes.check_parameter("vector", vector, (len(vector),), query)
    hidden = (query @ query_weight).unsqueeze(-2) + (key @ key_weight).unsqueeze(-3)
    return hidden.tanh() @ vector  # (..., T_q, T_k, A) @ (A,)


# --- Softmax and masks -------------------------------------------------------------------------


def softmax(
    scores: Tensor, mask: Tensor | None = None, temperature: float | Tensor = 1.0
) -> Tensor:
    """Turn scores into weights that are positive and sum to 1 over the last axis.

    Parameters
    ----------
    scores : Tensor, shape (..., T_q, T_k); any shape without a mask
    mask : Tensor of bool, broadcastable to the scores; True where looking is allowed
    temperature : positive float, or Tensor broadcastable to the scores. Below 1 sharpens, above 1 flattens.

    Returns
    -------
    weights : Tensor, shape of the scores. A row that may look nowhere gets zeros, not NaN.

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
    largest = largest.masked_fill(largest == -math.inf, 0)  # nothing visible: -inf - -inf is NaN
    exponentials = (scores - largest).exp()
    total = exponentials.sum(-1, keepdim=True)
    return exponentials / total.masked_fill(total == 0, 1)


def padding_mask(lengths: Tensor, longest: int | None = None) -> Tensor:
    """Hide the padding of a batch.

    Parameters
    ----------
    lengths : Tensor of int, shape (B,), the number of real tokens of each text
    longest : number of tokens with padding; default the largest length

    Returns
    -------
    mask : Tensor of bool, shape (B, 1, T_k): the same for every query. With heads: ``mask[:, None]``.

    >>> padding_mask(torch.tensor([1, 3])).int().tolist()
    [[[1, 0, 0]], [[1, 1, 1]]]
    """
    whole = isinstance(lengths, Tensor) and lengths.dim() == 1
    whole = whole and not (lengths.is_floating_point() or lengths.dtype == torch.bool)
    if not whole or (len(lengths) and lengths.min() < 0):
        kind = getattr(lengths, "dtype", type(lengths).__name__)
        raise TensorError(
            f"lengths has shape {shapes.shown(lengths)} and type {kind}; padding_mask needs whole "
            "numbers, one for each text, (B,). Did you pass a mask? It may already be what you want."
        )
    if longest is None:
        longest = int(lengths.max()) if len(lengths) else 0
    shapes.check_count("longest", longest, 0)
    return (torch.arange(longest, device=lengths.device) < lengths[:, None])[:, None, :]


def causal_mask(
    queries: int, keys: int | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Let each token look at itself and what came before.

    Returns a Tensor of bool, shape (queries, keys). With more keys than queries the last ones meet, as
    when a decoder asks about its newest tokens and remembers the keys of all before.

    >>> causal_mask(3).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    return _distances(queries, keys, device) <= 0


def local_mask(
    queries: int, window: int, keys: int | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Let each token look at most ``window`` places to either side.

    >>> local_mask(4, window=1).int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    """
    shapes.check_count("window", window, 0)
    return _distances(queries, keys, device).abs() <= window


def combine_masks(*masks: Tensor | None) -> Tensor | None:
    """Allow what every mask allows; None allows all.

    >>> combine_masks(causal_mask(3), None, local_mask(3, 1)).int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    given = [mask for mask in masks if mask is not None]
    for mask in given:
        shapes.check_bool(mask)
    combined = given[0] if given else None
    for mask in given[1:]:
        try:
            combined = combined & mask
        except RuntimeError:
            raise TensorError(
                f"These masks do not fit together: {', '.join(shapes.shown(one) for one in given)}. Does a mask "
                "(B, 1, T) meet one with a head axis? Give it one too: mask[:, None]."
            ) from None
    return combined


# --- Attention ---------------------------------------------------------------------------------


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mix the values, each weighted by how well its key answers the query.

    Parameters
    ----------
    query : Tensor, shape (..., T_q, D)
    key : Tensor, shape (..., T_k, D)
    value : Tensor, shape (..., T_k, D_v)
    mask : Tensor of bool, broadcastable to (..., T_q, T_k); True where looking is allowed
    temperature : divides the scores; float, or Tensor broadcastable to (..., T_q, T_k)
    bias : Tensor added to the scores, broadcastable to (..., T_q, T_k); see `RelativeBias`

    Returns
    -------
    context : Tensor, shape (..., T_q, D_v)
    weights : Tensor, shape (..., T_q, T_k); every row sums to 1. A query that may look nowhere gets zeros.

    Source: Vaswani et al. 2017, eq. 1.
    """
    scores = _biased(scaled_dot_scores(query, key), bias)  # (..., T_q, T_k)
    shapes.check_value(query, key, value)
    weights = softmax(scores, mask, temperature)
    return weights @ value, weights


def _biased(scores: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return scores
    shapes.check_addend("bias", bias, scores)
    return scores + bias


def additive_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_weight: Tensor,
    key_weight: Tensor,
    vector: Tensor,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mix the values with weights from `additive_scores`; returns context and weights.

    Source: Bahdanau et al. 2015, eqs. 5 and 6.
    """
    weights = softmax(additive_scores(query, key, query_weight, key_weight, vector), mask)
    shapes.check_value(query, key, value)
    return weights @ value, weights


class HardAttention(NamedTuple):
    """What `hard_attention` returns.

    Attributes
    ----------
    context : Tensor, shape (..., T_q, D_v)
    weights : Tensor, shape (..., T_q, T_k): 1 at the chosen key, 0 elsewhere
    log_probability : Tensor, shape (..., T_q): of each choice under the soft weights; carries gradients
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
        - "straight-through" samples a key, and going backward pretends that the soft weights had been used:
          a biased gradient with little noise (Bengio et al. 2013).
        - "score-function" samples a key; train through `score_function_loss`: an unbiased gradient with much
          noise (Williams 1992; Xu et al. 2015, section 4.1).
    generator : source of the samples

    A query that may look nowhere gets zeros, and log-probability 0.
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
        chances = torch.where(visible, soft.detach(), 1.0).flatten(0, -2)
        choice = torch.multinomial(chances, 1, generator=generator).view(*soft.shape[:-1], 1)
    weights = torch.zeros_like(soft).scatter(-1, choice, 1.0) * visible
    log_probability = torch.where(visible, soft.gather(-1, choice), 1.0).log().squeeze(-1)
    if method == "straight-through":
        weights = weights + (soft - soft.detach())  # forward the one, backward the other
    return HardAttention(weights @ value, weights, log_probability)


def score_function_loss(
    loss: Tensor, log_probability: Tensor, baseline: float | Tensor = 0.0
) -> Tensor:
    """Return a scalar whose gradient is, on average over samples, that of the expected loss.

    Parameters
    ----------
    loss : Tensor, shape (...), the loss of each example under its sampled choices
    log_probability : Tensor, shape (..., T_q), from `hard_attention`
    baseline : anything that does not depend on the choice, such as the mean loss so far. It lowers the
        noise and changes nothing on average.

    Source: Williams 1992; Xu et al. 2015, eq. 11.
    """
    if log_probability.shape[:-1] != loss.shape:
        raise TensorError(
            f"loss has shape {shapes.shown(loss)} and log_probability {shapes.shown(log_probability)}; they "
            "need (...) and (..., T_q). Did you average the loss already? Keep one loss for each example."
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


def tiled_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    tile: int = 128,
) -> Tensor:
    """Scaled dot-product attention that never holds all weights: memory grows with T, not with its square.

    Keys come ``tile`` at a time. Of what was seen so far each query keeps three things: its largest score, the
    sum of its exponentials and the sum of its weighted values; when a larger score turns up, the two sums are
    scaled down to it. Going backward, each tile of queries is computed again instead of being remembered.

    Parameters
    ----------
    query, key, value, mask : as in `scaled_dot_product_attention`
    causal : let no query look past itself, as `causal_mask` does, without building that mask
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
        one.requires_grad for one in (query, key, value)
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
        fade = (largest - safe).exp()  # what was summed so far was measured from a smaller largest
        total = total * fade + exponentials.sum(-1, keepdim=True)
        mixture = mixture * fade + exponentials @ value[..., columns, :].to(exact)
        largest = new_largest
    return (mixture / total.masked_fill(total == 0, 1)).to(value.dtype)


# --- Heads and positions -----------------------------------------------------------------------


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Cut the width into heads: (B, T, H * D) to (B, H, T, D)."""
    shapes.check_count("heads", heads, 1)
    if not isinstance(x, Tensor) or x.dim() < 2 or x.shape[-1] % heads:
        raise TensorError(
            f"A tensor of shape {shapes.shown(x)} cannot be split into {heads} heads. The last axis, "
            "the width, must be a "
            "multiple of the number of heads; is it (B, T, width)?"
        )
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """Put the heads side by side again: (B, H, T, D) to (B, T, H * D)."""
    if not isinstance(x, Tensor) or x.dim() < 3:
        raise TensorError(
            f"A tensor of shape {shapes.shown(x)} has no heads to merge; it needs (B, H, T, D)."
        )
    return x.transpose(-3, -2).flatten(-2)


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own slice of the width.

    Parameters
    ----------
    d_model : width of what comes in as query and of what goes out
    heads : number of heads; must divide ``d_model``
    dropout : share of the weights set to 0 while training
    bias : whether the four projections add a bias
    d_source : width of what comes in as key and value, where it differs from ``d_model``
    fused : use torch's fused attention wherever no weights are asked for: the same numbers, no (T_q, T_k) table

    Attributes
    ----------
    query, key, value, output : nn.Linear, the four projections

    Example
    -------
    >>> attention = MultiHeadAttention(d_model=16, heads=4)
    >>> x, source = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    >>> attention(x).shape  # self-attention
    torch.Size([2, 5, 16])
    >>> output, weights = attention(x, source, return_weights=True)  # cross-attention
    >>> weights.shape
    torch.Size([2, 4, 5, 7])

    Source: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(
        self,
        d_model: int,
        heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        d_source: int | None = None,
        fused: bool = False,
    ):
        super().__init__()
        d_source = d_model if d_source is None else d_source
        for name, count in (("d_model", d_model), ("heads", heads), ("d_source", d_source)):
            shapes.check_count(name, count, 1)
        if not 0 <= dropout <= 1:
            raise TensorError(f"dropout is {dropout}; it is a share of the weights, from 0 to 1.")
        if d_model % heads:
            raise TensorError(
                f"d_model = {d_model} cannot be shared by {heads} heads: the width must be a "
                "multiple of their number."
            )
        self.heads, self.dropout, self.fused = heads, dropout, fused
        self.query = nn.Linear(d_model, d_model, bias)
        self.key = nn.Linear(d_source, d_model, bias)
        self.value = nn.Linear(d_source, d_model, bias)
        self.output = nn.Linear(d_model, d_model, bias)

    def project(self, key: Tensor, value: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values of each head, for `forward` to use as often as wanted.

        Parameters
        ----------
        key, value : Tensor, shape (B, T_k, d_source); the value is the key by default

        Returns
        -------
        keys, values : Tensor, shape (B, H, T_k, D)
        """
        value = key if value is None else value
        shapes.check_input("key", key, self.key)
        shapes.check_input("value", value, self.value)
        return split_heads(self.key(key), self.heads), split_heads(self.value(value), self.heads)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        projected: tuple[Tensor, Tensor] | None = None,
        scale: Tensor | None = None,
        temperature: Tensor | None = None,
        bias: Tensor | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend from ``query`` to ``key``; to itself if no key is given.

        Parameters
        ----------
        query : Tensor, shape (B, T_q, d_model)
        key, value : Tensor, shape (B, T_k, d_source); default the query, and the key
        mask : Tensor of bool, shape (T_q, T_k), (B, 1 or T_q, T_k) or (B, 1 or H, 1 or T_q, T_k)
        projected : keys and values as `project` returns them, in place of key and value
        scale : Tensor, shape (H,) or (B, H): multiplies what each head says; 0 silences it
        temperature : Tensor, shape (H,) or (B, H): divides each head's scores
        bias : Tensor, added to the scores, broadcastable to (B, H, T_q, T_k)
        return_weights : return the weights as well

        Returns
        -------
        output : Tensor, shape (B, T_q, d_model)
        weights : Tensor, shape (B, H, T_q, T_k), before dropout; only if asked for
        """
        shapes.check_input("query", query, self.query)
        if projected is None:
            projected = self.project(query if key is None else key, value)
        elif key is not None or value is not None:
            raise TensorError(
                "Keys came twice: as key or value, and projected. Give one of them; "
                "projected holds what project(key, value) returned."
            )
        if mask is not None:
            shapes.check_bool(mask)
            mask = mask.unsqueeze(1) if mask.dim() == 3 else mask  # the same for every head
        q = split_heads(self.query(query), self.heads)  # (B, H, T_q, D)
        k, v = projected  # (B, H, T_k, D)
        heat = 1.0 if temperature is None else self._per_head("temperature", temperature, q)
        weights = None
        if self.fused and not return_weights:
            context = self._fused(q, k, v, mask, heat, bias)
        elif self.training and self.dropout:
            weights = softmax(_biased(scaled_dot_scores(q, k), bias), mask, heat)
            context = nn.functional.dropout(weights, self.dropout) @ v
        else:
            context, weights = scaled_dot_product_attention(q, k, v, mask, heat, bias)
        if scale is not None:
            context = context * self._per_head("scale", scale, q)
        output = self.output(merge_heads(context))
        return (output, weights) if return_weights else output

    def _fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        temperature: float | Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        """Context by torch's fused attention, shape (B, H, T_q, D)."""
        shapes.check_pair(query, key)
        shapes.check_value(query, key, value)
        scores = (*query.shape[:-1], key.shape[-2])
        if mask is not None:
            shapes.check_mask(mask, scores)
        if isinstance(temperature, Tensor):
            shapes.check_temperature(temperature, query)
            query = query / temperature
        if bias is not None:
            shapes.check_type("bias", bias, query)
            bias = bias / temperature
            mask = bias if mask is None else bias.masked_fill(~mask, -math.inf)
        dropout = self.dropout if self.training else 0.0
        return nn.functional.scaled_dot_product_attention(query, key, value, mask, dropout)

    def _per_head(self, name: str, given: Tensor, query: Tensor) -> Tensor:
        allowed = ((self.heads,), (len(query), self.heads))
        if not isinstance(given, Tensor) or tuple(given.shape) not in allowed:
            raise TensorError(
                f"{name} has shape {shapes.shown(given)}; with {self.heads} heads and a batch of {len(query)} it "
                f"needs {allowed[0]}, or {allowed[1]} for one setting per row of the batch."
            )
        shapes.check_type(name, given, query)
        return given[..., None, None]  # (H, 1, 1) or (B, H, 1, 1)


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """Give each position a vector of sines and cosines, from fast to slow waves.

    Returns a Tensor, shape (length, width): sines in the even columns, cosines in the odd ones. Two positions
    a fixed distance apart are related by the same rotation wherever they are.

    Source: Vaswani et al. 2017, section 3.5.
    """
    shapes.check_count("length", length, 0)
    shapes.check_count("width", width, 2)
    if width % 2:
        raise TensorError(
            f"sinusoidal_positions({length}, {width}): sines and cosines come in pairs, so the width is even."
        )
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = position * frequency  # (length, width / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).float()


class RelativeBias(nn.Module):
    """A learned number per head and distance, added to the scores.

    Parameters
    ----------
    heads : number of heads
    reach : distances beyond this share the number of the last one

    Source: Raffel et al. 2020, section 2.1 (T5), without its buckets; after Shaw et al. 2018.
    """

    def __init__(self, heads: int, reach: int):
        super().__init__()
        shapes.check_count("heads", heads, 1)
        shapes.check_count("reach", reach, 0)
        self.reach = reach
        self.table = nn.Parameter(torch.zeros(heads, 2 * reach + 1))

    def forward(self, queries: int, keys: int | None = None) -> Tensor:
        """Return the bias of each head, shape (H, queries, keys)."""
        distance = _distances(queries, keys, self.table.device).clamp(-self.reach, self.reach)
        return self.table[:, distance + self.reach]


# --- What weights say --------------------------------------------------------------------------


def entropy(weights: Tensor, mask: Tensor | None = None, normalised: bool = False) -> Tensor:
    """Say how widely weights are spread: 0 for a single key, log(number of keys) for all alike.

    Parameters
    ----------
    weights : Tensor, shape (..., T_q, T_k), rows that sum to 1 (or hold zeros only)
    mask : Tensor of bool, broadcastable to the weights: which keys could be seen; the others have weight 0
    normalised : divide by the log of the number of visible keys, so that texts of different length compare.
        Where only one key is visible there is nothing to spread, and the result is 0.

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
    if not normalised:
        return spread
    visible = torch.ones_like(weights, dtype=torch.bool) if mask is None else mask
    most = visible.expand_as(weights).sum(-1).clamp_min(1).to(weights.dtype).log()
    return torch.where(most > 0, spread / most.masked_fill(most == 0, 1), 0.0)


def effective_keys(weights: Tensor) -> Tensor:
    """Return exp(entropy): how many keys, looked at alike, would be spread as widely; shape (..., T_q)."""
    return entropy(weights).exp()


def _distances(queries: int, keys: int | None, device: torch.device | str | None) -> Tensor:
    """How far each key lies ahead of each query, shape (queries, keys), the last ones meeting."""
    keys = queries if keys is None else keys
    shapes.check_count("queries", queries, 0)
    shapes.check_count("keys", keys, 0)
    position = torch.arange(queries, device=device)[:, None] + keys - queries
    return torch.arange(keys, device=device) - position
