"""The layers of the Transformer: embedding, feed-forward, residual, encoder and decoder layer.

In comments B is batch, S source tokens, T target tokens, H heads, D head width, E d_model. A mask
is bool everywhere and True where attention is allowed.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attnlab.attention import MultiHeadAttention, sinusoidal_positions
from attnlab.errors import ModelError, TensorError, suggest
from attnlab.transformer.cache import KVCache, Seen

Activation = Literal["relu", "gelu", "gelu_tanh"]
HeadTensors = dict[str, Tensor]  # "scale" and "temperature", as `MultiHeadAttention` takes them


class Embedding(nn.Module):
    """A vector for each token plus one for its position.

    Parameters
    ----------
    vocabulary : number of tokens
    d_model : width of the vectors
    dropout : share of the numbers set to 0 while training
    positions : "sinusoidal", which needs no training, or "learned"
    max_length : number of positions

    Token vectors are multiplied by the square root of the width, so that they are as large as the
    position vectors. Source: Vaswani et al. 2017, sections 3.4 and 3.5.
    """

    positions: Tensor

    def __init__(
        self,
        vocabulary: int,
        d_model: int,
        dropout: float = 0.1,
        positions: Literal["sinusoidal", "learned"] = "sinusoidal",
        max_length: int = 512,
    ):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, d_model)
        self.dropout = nn.Dropout(dropout)
        if positions == "learned":
            self.positions = nn.Parameter(torch.randn(max_length, d_model) / math.sqrt(d_model))
        else:
            waves = sinusoidal_positions(max_length, d_model)
            self.register_buffer("positions", waves, persistent=False)
        nn.init.normal_(self.tokens.weight, std=1 / math.sqrt(d_model))

    def forward(self, ids: Tensor, first: int = 0) -> Tensor:
        """Embed ids, shape (B, T), the first of which has position ``first``; returns (B, T, E)."""
        max_length, d_model = self.positions.shape
        end = first + ids.shape[1]
        if end > max_length:
            raise TensorError(
                f"A text of {end} tokens does not fit: this model has {max_length} positions. Cut "
                f"the text, or make the model with max_length={end}."
            )
        return self.dropout(self.tokens(ids) * math.sqrt(d_model) + self.positions[first:end])


class FeedForward(nn.Sequential):
    """Two linear maps with a non-linear function between, for each token by itself.

    Source: Vaswani et al. 2017, section 3.3, where it is the ReLU; the GELU, a smooth one, of BERT
    and vision Transformers is from Hendrycks and Gimpel 2016. "gelu_tanh" is the approximation of
    it that GPT-2 was trained with.
    """

    def __init__(
        self,
        d_model: int,
        width: int,
        dropout: float = 0.1,
        activation: Activation = "relu",
        bias: bool = True,
    ):
        super().__init__(
            nn.Linear(d_model, width, bias),
            _activation(activation),
            nn.Dropout(dropout),
            nn.Linear(width, d_model, bias),
        )


class SwiGLU(nn.Module):
    """A feed-forward network with a gate: one linear map says how much of the other passes.

    ``down(silu(gate(x)) * up(x))``, as in Llama. Source: Shazeer 2020, "GLU variants improve
    Transformer".
    """

    def __init__(self, d_model: int, width: int, dropout: float = 0.1, bias: bool = False):
        super().__init__()
        self.gate = nn.Linear(d_model, width, bias)
        self.up = nn.Linear(d_model, width, bias)
        self.down = nn.Linear(width, d_model, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output for each token, shape of x."""
        return self.down(self.dropout(nn.functional.silu(self.gate(x)) * self.up(x)))


def _activation(name: str) -> nn.Module:
    known: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "gelu": nn.GELU,
        "gelu_tanh": lambda: nn.GELU("tanh"),
    }
    if name not in known:
        raise ModelError(f"There is no activation {name!r}. {suggest(name, known)}")
    return known[name]()


class Residual(nn.Module):
    """Adds a sublayer's output to its input, with a norm before it or after the sum.

    The norm after the sum, "post", is the paper's. "pre" leaves a path from the loss to every layer
    that no norm rescales, and so trains without a careful warm-up. Source: Vaswani et al. 2017,
    section 3.1; Xiong et al. 2020. ``normalise`` makes the norm from the width.
    """

    def __init__(
        self,
        d_model: int,
        dropout: float = 0.1,
        norm: Literal["pre", "post"] = "pre",
        normalise: Callable[[int], nn.Module] = nn.LayerNorm,
    ):
        super().__init__()
        self.pre = norm == "pre"
        self.norm = normalise(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Return x with the sublayer's output added, shape of x."""
        if self.pre:
            return x + self.dropout(sublayer(self.norm(x)))
        return self.norm(x + self.dropout(sublayer(x)))


def through_norm(norm: Any, last: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Carry directions back through a norm whose scale is held as it is.

    A norm divides its input by a size that depends on all of it. With that number frozen the norm
    is linear, so what it says along a direction is split exactly among the parts of its input.

    Parameters
    ----------
    norm : of a model, a layer norm or an RMS norm
    last : Tensor, shape (..., E), what enters it, such as a residual stream
    direction : Tensor, shape (..., E), along which its output is read

    Returns
    -------
    reads : Tensor, shape (..., E): ``(part * reads).sum(-1)`` is what a part of the input says
    bias : Tensor, shape (...), what the norm's own bias says. With the sum of all parts it makes
        ``(norm(last) * direction).sum(-1)``
    """
    centred = isinstance(norm, nn.LayerNorm)  # an RMS norm subtracts no mean and adds no bias
    around = last - last.mean(-1, keepdim=True) if centred else last
    epsilon = torch.finfo(last.dtype).eps if norm.eps is None else norm.eps
    size = (around.square().mean(-1, keepdim=True) + epsilon).sqrt()
    reads = direction * norm.weight.float() / size
    if centred:
        reads = reads - reads.mean(-1, keepdim=True)
    bias = getattr(norm, "bias", None)
    said = last.new_zeros(last.shape[:-1]) if bias is None else direction @ bias.float()
    return reads, said


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward network, each with its residual."""

    def __init__(
        self,
        d_model: int,
        heads: int,
        feed_forward: int,
        dropout: float = 0.1,
        norm: Literal["pre", "post"] = "pre",
        fused: bool = False,
        activation: Activation = "relu",
    ):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, heads, dropout, fused=fused)
        self.feed_forward = FeedForward(d_model, feed_forward, dropout, activation)
        self.around_attention = Residual(d_model, dropout, norm)
        self.around_feed_forward = Residual(d_model, dropout, norm)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        heads: HeadTensors | None = None,
        seen: Seen | None = None,
        angles: Tensor | None = None,
    ) -> Tensor:
        """Return x of the next layer, shape (B, S, E).

        Parameters
        ----------
        x : Tensor, shape (B, S, E)
        mask : Tensor of bool, shape (B, 1, S), False at padding
        heads : scale and temperature of the heads, as `MultiHeadAttention` takes them
        seen : a list that weights (B, H, S, S) and values (B, H, S, D) are added to
        angles : Tensor, shape (S, D / 2), by which queries and keys are turned (rotary positions)
        """

        def self_attention(y: Tensor) -> Tensor:
            return attend(self.attention, y, None, mask, heads, seen, angles)

        x = self.around_attention(x, self_attention)
        return self.around_feed_forward(x, self.feed_forward)


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to the source, then a feed-forward network."""

    def __init__(
        self,
        d_model: int,
        heads: int,
        feed_forward: int,
        dropout: float = 0.1,
        norm: Literal["pre", "post"] = "pre",
        fused: bool = False,
    ):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, heads, dropout, fused=fused)
        self.cross_attention = MultiHeadAttention(d_model, heads, dropout, fused=fused)
        self.feed_forward = FeedForward(d_model, feed_forward, dropout)
        self.around_attention = Residual(d_model, dropout, norm)
        self.around_cross_attention = Residual(d_model, dropout, norm)
        self.around_feed_forward = Residual(d_model, dropout, norm)

    def forward(
        self,
        x: Tensor,
        source: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        source_mask: Tensor | None = None,
        cache: KVCache | None = None,
        heads: tuple[HeadTensors | None, HeadTensors | None] = (None, None),
        seen: tuple[Seen | None, Seen | None] = (None, None),
    ) -> Tensor:
        """Return x of the next layer, shape (B, T, E).

        Parameters
        ----------
        x : Tensor, shape (B, T, E)
        source : keys and values of the source, ``cross_attention.project(memory)``, shape
            (B, H, S, D)
        mask : Tensor of bool, broadcastable to (B, T, T_k), T_k counting cached tokens as well; see
            `causal_mask`
        source_mask : Tensor of bool, shape (B, 1, S), False at padding
        cache : keys and values of earlier tokens; those of x are appended
        heads : scale and temperature of the heads, of self-attention and of cross-attention
        seen : lists, likewise, that weights and values are added to
        """

        def self_attention(y: Tensor) -> Tensor:
            own = None if cache is None else cache.extend(*self.attention.project(y))
            return attend(self.attention, y, own, mask, heads[0], seen[0])

        def cross_attention(y: Tensor) -> Tensor:
            return attend(self.cross_attention, y, source, source_mask, heads[1], seen[1])

        x = self.around_attention(x, self_attention)
        x = self.around_cross_attention(x, cross_attention)
        return self.around_feed_forward(x, self.feed_forward)


def attend(
    attention: MultiHeadAttention,
    query: Tensor,
    projected: tuple[Tensor, Tensor] | None = None,
    mask: Tensor | None = None,
    heads: HeadTensors | None = None,
    seen: Seen | None = None,
    angles: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Attend to projected keys and values, or to ``query`` itself.

    Weights and values are added to ``seen`` if it is given.
    """
    options |= {"mask": mask, "angles": angles, **(heads or {})}
    if seen is None:
        return attention(query, projected=projected, **options)
    if projected is None:
        projected = attention.project(query, angles=angles)
    options["projected"] = projected
    output, weights = attention(query, **options, return_weights=True)
    seen.append((weights, attention.for_queries(projected[1])))
    return output
