"""Multi-head attention: split the width into heads, attend in each, merge and project."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.attention.masks import causal_mask
from attnlab.attention.positions import rotate
from attnlab.attention.scores import scaled_dot_scores
from attnlab.attention.soft import softmax
from attnlab.errors import TensorError


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Cut the width into heads: (B, T, H * D) to (B, H, T, D)."""
    shapes.check_count("heads", heads, 1)
    if not isinstance(x, Tensor) or x.dim() < 2 or x.shape[-1] % heads:
        raise TensorError(
            f"A tensor of shape {shapes.shown(x)} cannot be split into {heads} heads. The last "
            "axis, the width, must be a multiple of the number of heads; is it (B, T, width)?"
        )
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """Put the heads side by side again: (B, H, T, D) to (B, T, H * D)."""
    if not isinstance(x, Tensor) or x.dim() < 3:
        raise TensorError(
            f"A tensor of shape {shapes.shown(x)} has no heads to merge; it needs (B, H, T, D)."
        )
    return x.transpose(-3, -2).flatten(-2)


def linear_together(x: Tensor, maps: Sequence[nn.Linear]) -> Sequence[Tensor]:
    """Apply linear maps to the same x, shape (..., d_in), by one product: quicker to train.

    Where a map is more than its numbers (wrapped by an adapter, watched by a hook), each is called.
    """
    plain = all(type(one) is nn.Linear and not _is_watched(one) for one in maps)
    if not plain or len({one.bias is None for one in maps}) > 1:
        return [one(x) for one in maps]
    weight = torch.cat([one.weight for one in maps])
    bias = None if maps[0].bias is None else torch.cat([one.bias for one in maps])
    return nn.functional.linear(x, weight, bias).split([len(one.weight) for one in maps], -1)


def _is_watched(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    return any(hooks) or any((module._backward_hooks, module._backward_pre_hooks))


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own slice of the width.

    Parameters
    ----------
    d_model : width of what comes in as query and of what goes out
    heads : number of heads; must divide ``d_model``
    dropout : share of the weights set to 0 while training
    bias : whether the four projections add a bias
    d_source : width of what comes in as key and value, where it differs from ``d_model``
    fused : use torch's fused attention wherever no weights are asked for: the same numbers, no
        (T_q, T_k) table
    kv_heads : number of heads K of keys and values, each shared by a group of H / K queries' heads
        (grouped-query attention; 1 is multi-query attention); default ``heads``: none is shared

    Attributes
    ----------
    query, key, value, output : nn.Linear, the four projections
    groups : list of H int, which key and value head each query head looks at

    Example
    -------
    >>> import torch
    >>> attention = MultiHeadAttention(d_model=16, heads=4)
    >>> x, source = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    >>> attention(x).shape  # self-attention
    torch.Size([2, 5, 16])
    >>> output, weights = attention(x, source, return_weights=True)  # cross-attention
    >>> weights.shape
    torch.Size([2, 4, 5, 7])

    Source: Vaswani et al. 2017, section 3.2.2; Shazeer 2019 (multi-query), Ainslie et al. 2023
    (grouped-query).
    """

    def __init__(
        self,
        d_model: int,
        heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        d_source: int | None = None,
        fused: bool = False,
        kv_heads: int | None = None,
    ):
        super().__init__()
        d_source = d_model if d_source is None else d_source
        kv_heads = heads if kv_heads is None else kv_heads
        counts = {"d_model": d_model, "heads": heads, "d_source": d_source, "kv_heads": kv_heads}
        for name, count in counts.items():
            shapes.check_count(name, count, 1)
        if not 0 <= dropout <= 1:
            raise TensorError(f"dropout is {dropout}; it is a share of the weights, from 0 to 1.")
        if d_model % heads:
            raise TensorError(
                f"d_model = {d_model} cannot be shared by {heads} heads: the width must be a "
                "multiple of their number."
            )
        if heads % kv_heads:
            raise TensorError(
                f"{heads} heads cannot share {kv_heads} heads of keys and values: kv_heads must "
                "divide heads, so that all groups are alike."
            )
        self.heads, self.kv_heads, self.dropout, self.fused = heads, kv_heads, dropout, fused
        self.groups = [head * kv_heads // heads for head in range(heads)]
        shared = kv_heads * (d_model // heads)
        self.query = nn.Linear(d_model, d_model, bias)
        self.key = nn.Linear(d_source, shared, bias)
        self.value = nn.Linear(d_source, shared, bias)
        self.output = nn.Linear(d_model, d_model, bias)

    def project(
        self, key: Tensor, value: Tensor | None = None, angles: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Keys and values, for `forward` to use as often as wanted.

        Parameters
        ----------
        key, value : Tensor, shape (B, T_k, d_source); the value is the key by default
        angles : Tensor, shape (T_k, D / 2), by which keys are turned (rotary positions);
            (B, 1, T_k, D / 2) where rows differ

        Returns
        -------
        keys, values : Tensor, shape (B, K, T_k, D), K heads of keys and values
        """
        value = key if value is None else value
        shapes.check_input("key", key, self.key)
        shapes.check_input("value", value, self.value)
        keys = split_heads(self.key(key), self.kv_heads)
        keys = keys if angles is None else rotate(keys, angles)
        return keys, split_heads(self.value(value), self.kv_heads)

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
        angles: Tensor | None = None,
        bias: Tensor | None = None,
        causal: bool = False,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend from ``query`` to ``key``; to itself if no key is given.

        Parameters
        ----------
        query : Tensor, shape (B, T_q, d_model)
        key, value : Tensor, shape (B, T_k, d_source); default the query, and the key
        mask : Tensor of bool, shape (T_q, T_k), (B, 1 or T_q, T_k) or (B, 1 or H, 1 or T_q, T_k)
        projected : keys and values as `project` returns them, in place of key and value
        scale : Tensor, shape (H,) or (B, H): multiplies each head's output; 0 silences it
        temperature : Tensor, shape (H,) or (B, H): divides each head's scores
        angles : Tensor, shape (T_q, D / 2), by which queries are turned, and in self-attention keys
            (rotary positions, see `rotary_angles`); projected keys were turned by `project`
        bias : Tensor, broadcastable to (B, H, T_q, T_k), added to the scores (see `alibi_slopes`)
        causal : hide from each query what comes after it; in place of a mask, and faster
        return_weights : return the weights as well

        Returns
        -------
        output : Tensor, shape (B, T_q, d_model)
        weights : Tensor, shape (B, H, T_q, T_k), before dropout; only if asked for
        """
        shapes.check_input("query", query, self.query)
        if projected is not None and not (key is None and value is None):
            raise TensorError(
                "Keys came twice: as key or value, and projected. Give one of them; "
                "projected holds what project(key, value) returned."
            )
        if projected is None and key is None and value is None:
            q, projected = self._of_itself(query, angles)
        else:
            if projected is None:
                source, turned = (query, angles) if key is None else (key, None)
                projected = self.project(source, value, turned)
            q = split_heads(self.query(query), self.heads)  # (B, H, T_q, D)
            q = q if angles is None else rotate(q, angles)
        k, v = (self.for_queries(part) for part in projected)  # (B, H, T_k, D)
        mask = self._mask(mask, causal, q, k, whole=return_weights or not self.fused)
        divisor = 1.0 if temperature is None else self._per_head("temperature", temperature, q)
        weights: Tensor | None = None
        if self.fused and not return_weights:
            context = self._fused(q, k, v, mask, bias, divisor, causal)
        else:
            scores = scaled_dot_scores(q, k)
            if bias is not None:
                shapes.check_addend("bias", bias, scores)
                scores = scores + bias
            shapes.check_value(q, k, v)
            weights = softmax(scores, mask, divisor)
            drop = self.dropout if self.training else 0.0
            context = nn.functional.dropout(weights, drop) @ v
        if scale is not None:
            context = context * self._per_head("scale", scale, q)
        output = self.output(merge_heads(context))
        if not return_weights:
            return output
        assert weights is not None  # fused attention ran only if nobody asked for them
        return output, weights

    def _of_itself(self, x: Tensor, angles: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Queries (B, H, T, D), and keys and values (B, K, T, D), of self-attention."""
        shapes.check_input("key", x, self.key)
        maps = (self.query, self.key, self.value)
        flat = linear_together(x, maps) if self.training else [one(x) for one in maps]
        counts = (self.heads, self.kv_heads, self.kv_heads)
        q, keys, values = (split_heads(*each) for each in zip(flat, counts, strict=True))
        if angles is not None:
            q, keys = rotate(q, angles), rotate(keys, angles)
        return q, (keys, values)

    def for_queries(self, part: Tensor) -> Tensor:
        """Keys or values for each query head: (B, K, T_k, D) to (B, H, T_k, D)."""
        return part if self.groups == [*range(part.shape[1])] else part[:, self.groups]

    def _mask(
        self, mask: Tensor | None, causal: bool, query: Tensor, key: Tensor, whole: bool
    ) -> Tensor | None:
        """The mask with an axis for heads; the causal one as a table where that is wanted."""
        if causal and mask is not None:
            raise TensorError("A mask came with causal=True. Put causal_mask into the mask.")
        if causal and whole:
            return causal_mask(query.shape[-2], key.shape[-2], query.device)
        if mask is None:
            return None
        shapes.check_bool(mask)
        return mask.unsqueeze(1) if mask.dim() == 3 else mask  # the same for every head

    def _fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        bias: Tensor | None,
        temperature: float | Tensor,
        causal: bool,
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
        added = mask
        if bias is not None:
            shapes.check_type("bias", bias, query)
            added = bias / temperature
            visible = causal_mask(scores[-2], scores[-1], query.device) if causal else mask
            added = added if visible is None else added.masked_fill(~visible, -math.inf)
        dropout = self.dropout if self.training else 0.0
        return nn.functional.scaled_dot_product_attention(
            query, key, value, added, dropout, is_causal=causal and bias is None
        )

    def _per_head(self, name: str, given: Tensor, query: Tensor) -> Tensor:
        allowed = ((self.heads,), (len(query), self.heads))
        if not isinstance(given, Tensor) or tuple(given.shape) not in allowed:
            raise TensorError(
                f"{name} has shape {shapes.shown(given)}; with {self.heads} heads and a batch of "
                f"{len(query)} it needs {allowed[0]}, or {allowed[1]} for one setting per row of "
                "the batch."
            )
        shapes.check_type(name, given, query)
        return given[..., None, None]  # (H, 1, 1) or (B, H, 1, 1)
