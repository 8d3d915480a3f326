"""A language model: a Transformer that reads from left to right and says what may come next.

It is the decoder of lesson 03 without a source, with the parts that today's models have: rotary
positions, heads that share keys and values, a window, attention sinks. In comments B is batch, T
tokens, T_k tokens that may be looked at, H heads, D head width, E d_model, V vocabulary.

>>> import torch
>>> model = LanguageModel(vocabulary=50, d_model=16, heads=4, layers=2, kv_heads=2)
>>> ids = torch.tensor([[5, 6, 3, 8]])
>>> model(ids).shape  # what may follow each of the four tokens
torch.Size([1, 4, 50])
"""

import copy
from collections.abc import Iterable
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from attnlab.attention import MultiHeadAttention, shapes
from attnlab.errors import ModelError, TensorError, suggest
from attnlab.heads import HeadSettings, OwnModel
from attnlab.language.cache import LanguageCache, positions_of, visible
from attnlab.language.positions import POSITIONS, PositionEncoding, Positions
from attnlab.transformer.cache import Seen
from attnlab.transformer.layers import FeedForward, HeadTensors, Residual, SwiGLU, attend
from attnlab.transformer.pruning import by_number, cut

__all__ = ["FEED_FORWARDS", "NORMS", "DecoderBlock", "FeedForwardKind", "LanguageModel"]

Norm = Literal["layer", "rms"]
FeedForwardKind = Literal["gelu", "gelu_tanh", "swiglu", "none"]
NORMS = ("layer", "rms")
FEED_FORWARDS = ("gelu", "gelu_tanh", "swiglu", "none")


class DecoderBlock(nn.Module):
    """Causal self-attention, then a feed-forward network, each added to the residual stream."""

    def __init__(self, size: dict[str, Any]):
        super().__init__()
        d_model, dropout, bias = size["d_model"], size["dropout"], size["bias"]
        kind, width = size["feed_forward"], size["feed_forward_width"]
        self.attention: Any = MultiHeadAttention(
            d_model, size["heads"], dropout, bias, fused=True, kv_heads=size["kv_heads"]
        )
        self.around_attention = Residual(d_model, dropout, "pre", _norm(size["norm"]))
        self.feed_forward: nn.Module | None = None
        if kind == "none":
            return
        self.feed_forward = (
            SwiGLU(d_model, width, dropout, bias)
            if kind == "swiglu"
            else FeedForward(d_model, width, dropout, kind, bias)
        )
        self.around_feed_forward = Residual(d_model, dropout, "pre", _norm(size["norm"]))

    def forward(
        self,
        x: Tensor,
        angles: Tensor | None = None,
        cache: tuple[LanguageCache, int] | None = None,
        heads: HeadTensors | None = None,
        seen: Seen | None = None,
        **options: Any,
    ) -> Tensor:
        """Return x of the next block, shape (B, T, E).

        Parameters
        ----------
        x : Tensor, shape (B, T, E), the residual stream
        angles : Tensor, by which queries and keys are turned (rotary positions)
        cache : keys and values of earlier tokens and the number of this layer
        heads : scale and temperature of the heads, as `MultiHeadAttention` takes them
        seen : a list that weights (B, H, T, T_k) and values (B, H, T_k, D) are added to
        **options : mask, bias, causal of `MultiHeadAttention`
        """

        def self_attention(y: Tensor) -> Tensor:
            own = None
            if cache is not None:
                own = cache[0].extend(cache[1], *self.attention.project(y, angles=angles))
            return attend(self.attention, y, own, heads=heads, seen=seen, angles=angles, **options)

        x = self.around_attention(x, self_attention)
        return x if self.feed_forward is None else self.around_feed_forward(x, self.feed_forward)


class LanguageModel(OwnModel):
    """A decoder-only Transformer.

    Parameters
    ----------
    vocabulary : number of tokens V
    d_model : width E of the residual stream
    heads : number of query heads H in a layer; must divide ``d_model``
    layers : number of blocks
    kv_heads : number of heads of keys and values, shared by groups of query heads: ``heads`` is
        multi-head, 1 multi-query, anything between grouped-query attention; default ``heads``
    positions : what tells tokens apart by where they stand. "rope": queries and keys are turned;
        "learned" or "sinusoidal" vectors are added to the embedding; "alibi": scores fall with
        the distance; "none": only the causal mask does
    window : how many tokens, itself included, a token can look at; None for all before it
    sinks : first tokens of a text that are seen from beyond the window, too
    norm : before each sublayer and at the end, "layer" or "rms" (of the root mean square)
    feed_forward : "gelu", "gelu_tanh" (its approximation in GPT-2), "swiglu" as in Llama, or
        "none" for attention only
    feed_forward_width : width inside it; default 4 * d_model, for "swiglu" 8/3 * d_model, which
        makes as many parameters
    tied : weight tying: the embedding is the output matrix, too
    bias : whether linear maps add one
    max_length : number of learned positions; other kinds have no limit
    dropout : share of numbers set to 0 while training
    rope_base : of the speeds of "rope"
    removed : heads (layer, head) that it does not have; the others keep their numbers

    Attributes
    ----------
    size : dict of these; ``LanguageModel(**model.size)`` builds the same
    layers, heads : as given
    embedding, positions, blocks, norm, unembedding : its parts, in order

    Source: Radford et al. 2019 (GPT-2); Touvron et al. 2023 (Llama).
    """

    def __init__(
        self,
        vocabulary: int,
        d_model: int = 96,
        heads: int = 4,
        layers: int = 4,
        *,
        kv_heads: int | None = None,
        positions: Positions = "rope",
        window: int | None = None,
        sinks: int = 0,
        norm: Norm = "layer",
        feed_forward: FeedForwardKind = "gelu",
        feed_forward_width: int | None = None,
        tied: bool = True,
        bias: bool = True,
        max_length: int = 512,
        dropout: float = 0.0,
        rope_base: float = 10000.0,
        removed: Iterable[Iterable[int]] = (),
    ):
        super().__init__()
        size = {
            name: value for name, value in locals().items() if name not in ("self", "__class__")
        } | {"removed": []}
        self.size: dict[str, Any] = _checked(size)
        self.layers, self.heads = layers, heads
        self.embedding = nn.Embedding(vocabulary, d_model)
        self.dropout = nn.Dropout(dropout)
        self.blocks: Any = nn.ModuleList(DecoderBlock(self.size) for _ in range(layers))
        self.norm = _norm(norm)(d_model)
        self.unembedding = nn.Linear(d_model, vocabulary, bias=False)
        self.positions = PositionEncoding(positions, d_model, heads, max_length, rope_base)
        self._initialise()
        if tied:
            self.unembedding.weight = self.embedding.weight
        self._remove(removed)

    def forward(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        *,
        cache: LanguageCache | None = None,
        settings: HeadSettings | None = None,
        seen: Seen | None = None,
        states: list[Tensor] | None = None,
    ) -> Tensor:
        """Say for every token what may come after it.

        Parameters
        ----------
        ids : Tensor of int, shape (B, T)
        mask : Tensor of bool, shape (B, T), False at padding, which may stand on either side;
            None if there is none
        cache : what `cache` returned, with the tokens that came before; these are added to it
        settings : scale and temperature of heads, (L, H), or (B, L, H) with one for each row;
            None takes those of a `heads.applied` block around the call
        seen : a list that weights (B, H, T, T_k) and values (B, H, T_k, D) of each layer are added
            to, zeros for heads that were removed
        states : a list that the residual stream is added to, (B, T, E): after the embedding, then
            after each block

        Returns
        -------
        logits : Tensor, shape (B, T, V); what stands at padding means nothing
        """
        _check_ids(ids, self.size["vocabulary"])
        if settings is not None:
            settings.validate(self.layers, self.heads, batch=len(ids))
        plain = mask is None and cache is None and self.size["window"] is None
        if cache is None:
            queries = keys = positions_of(ids[:1] if plain else ids, mask)
        else:
            queries, keys = cache.begin(ids.shape[1], mask)
        looking: dict[str, Any] = {"causal": plain}
        if not plain and (cache is None or not cache.all_visible):
            looking = {"mask": visible(queries, keys, self.size["window"], self.size["sinks"])}
        active = [self.active_heads(layer) for layer in range(self.layers)]
        options = self.positions.options(queries, keys, active)
        x = self.dropout(self.positions.add(self.embedding(ids), queries))
        recorded: Seen | None = None if seen is None else []
        if states is not None:
            states.append(x)
        for layer, block in enumerate(self.blocks):
            x = block(
                x,
                cache=None if cache is None else (cache, layer),
                heads=_head_tensors(settings, layer, active[layer], x),
                seen=recorded,
                **looking,
                **options[layer],
            )
            if states is not None:
                states.append(x)
        if cache is not None:
            cache.finish()
        if seen is not None and recorded is not None:
            for own, both in zip(active, recorded, strict=True):
                weights, values = (by_number(part, own, self.heads) for part in both)
                seen.append((weights, values))
        return self.unembedding(self.norm(x))

    def cache(self, batch: int = 1, dtype: torch.dtype | None = None) -> LanguageCache:
        """An empty cache of keys and values for so many texts, for `forward` to fill."""
        weight = self.embedding.weight
        return LanguageCache(
            [block.attention.kv_heads for block in self.blocks],
            self.size["d_model"] // self.heads,
            batch,
            window=self.size["window"],
            sinks=self.size["sinks"],
            device=weight.device,
            dtype=weight.dtype if dtype is None else dtype,
        )

    def neutral_settings(self) -> HeadSettings:
        """Settings that leave this model as it is."""
        return HeadSettings(self.layers, self.heads)

    @property
    def removed_heads(self) -> list[tuple[int, int]]:
        """Heads (layer, head) that were removed for good."""
        return [(layer, head) for layer, head in self.size["removed"]]

    def active_heads(self, layer: int) -> list[int]:
        """The heads of a layer that were not removed."""
        gone = {head for gone_from, head in self.removed_heads if gone_from == layer}
        return [head for head in range(self.heads) if head not in gone]

    def without_heads(self, heads: Iterable[tuple[int, int]]) -> Self:
        """Return a new, smaller model without these heads, see `heads.prune`."""
        smaller = copy.deepcopy(self)
        smaller._remove([*self.removed_heads, *heads])
        return smaller

    def _initialise(self) -> None:
        """Small random weights; smaller where they are added to the stream, as in GPT-2."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                added = name.endswith(("attention.output", "feed_forward.3", "feed_forward.down"))
                std = 0.02 / (2 * self.layers) ** 0.5 if added else 0.02
                nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def _remove(self, removed: Iterable[Iterable[int]]) -> None:
        """Cut heads out, in place; ``removed`` names those that went earlier, too."""
        wanted = sorted({(int(layer), int(head)) for layer, head in removed})
        for layer, head in wanted:
            if not (0 <= layer < self.layers and 0 <= head < self.heads):
                raise ModelError(
                    f"There is no head ({layer}, {head}) to remove: layers are 0 to "
                    f"{self.layers - 1}, heads 0 to {self.heads - 1}."
                )
        before = [self.active_heads(layer) for layer in range(self.layers)]
        self.size["removed"] = [list(head) for head in wanted]
        for layer, block in enumerate(self.blocks):
            kept = self.active_heads(layer)
            if kept != before[layer]:
                block.attention = cut(block.attention, [before[layer].index(head) for head in kept])

    def __repr__(self) -> str:
        count = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"LanguageModel({self.size['vocabulary']:,} tokens, {self.layers} layers x "
            f"{self.heads} heads, width {self.size['d_model']}, {count:,} parameters)"
        )


def _norm(kind: str) -> Any:
    """What makes a norm from a width."""
    return nn.LayerNorm if kind == "layer" else lambda width: nn.RMSNorm(width, eps=1e-6)


def _head_tensors(
    settings: HeadSettings | None, layer: int, active: list[int], like: Tensor
) -> HeadTensors | None:
    """Scale and temperature of the heads that a layer has."""
    if settings is None:
        return None
    parts = {"scale": settings.scale, "temperature": settings.temperature}
    return {name: part[..., layer, :][..., active].to(like) for name, part in parts.items()}


def _check_ids(ids: Tensor, vocabulary: int) -> None:
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.dtype not in (torch.int64, torch.int32):
        kind = getattr(ids, "dtype", type(ids).__name__)
        raise TensorError(
            f"ids has shape {shapes.shown(ids)} and type {kind}; token ids are whole numbers, "
            "(batch, tokens). Is the batch axis missing (ids[None])?"
        )
    if not ids.numel():
        raise TensorError(f"ids has shape {shapes.shown(ids)}: there is no token to read.")
    if ids.device.type == "cpu" and (int(ids.min()) < 0 or int(ids.max()) >= vocabulary):
        raise TensorError(
            f"ids reach from {int(ids.min())} to {int(ids.max())}; this model knows tokens 0 to "
            f"{vocabulary - 1}. Were they made with other tokens?"
        )


def _checked(size: dict[str, Any]) -> dict[str, Any]:
    """The size with its defaults filled in; an error for one that cannot be."""
    for name in ("vocabulary", "d_model", "heads", "layers", "max_length"):
        shapes.check_count(name, size[name], 1)
    for name, allowed in {
        "positions": POSITIONS,
        "norm": NORMS,
        "feed_forward": FEED_FORWARDS,
    }.items():
        if size[name] not in allowed:
            raise ModelError(f"There is no {name} {size[name]!r}. {suggest(size[name], allowed)}")
    if size["window"] is not None:
        shapes.check_count("window", size["window"], 1)
    shapes.check_count("sinks", size["sinks"], 0)
    if size["sinks"] and size["window"] is None:
        raise ModelError(
            f"sinks is {size['sinks']}, but without a window all tokens are seen anyway. Give a "
            "window, or leave sinks at 0."
        )
    if not 0 <= size["dropout"] < 1:
        raise ModelError(f"dropout is {size['dropout']}; it is a share: at least 0, below 1.")
    if not size["rope_base"] > 0:
        raise ModelError(f"rope_base is {size['rope_base']}; it must be positive, 10000 is usual.")
    if size["feed_forward_width"] is None:
        wide = 4 * size["d_model"]
        size["feed_forward_width"] = wide * 2 // 3 if size["feed_forward"] == "swiglu" else wide
    shapes.check_count("feed_forward_width", size["feed_forward_width"], 1)
    size["kv_heads"] = size["heads"] if size["kv_heads"] is None else size["kv_heads"]
    if size["positions"] == "rope" and (size["d_model"] // size["heads"]) % 2:
        raise ModelError(
            f"Heads of width {size['d_model'] // size['heads']} cannot be turned: rotary positions "
            "turn numbers in pairs, so d_model / heads must be even."
        )
    return size


def __dir__() -> list[str]:
    return sorted(__all__)
