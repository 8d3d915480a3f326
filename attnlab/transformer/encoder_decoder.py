"""The encoder-decoder Transformer of lesson 03: layers first, then the model, then what it costs.

In comments B is batch, S source tokens, T target tokens, H heads, D head width, E d_model, V vocabulary.
A mask is bool everywhere and True where looking is allowed.

>>> model = Seq2SeqTransformer(source_vocabulary=20, target_vocabulary=30, d_model=16, heads=2)
>>> source, target = torch.tensor([[5, 6, 3]]), torch.tensor([[2, 7, 8, 9]])
>>> model(source, target).logits.shape  # what may follow each of the four target tokens
torch.Size([1, 4, 30])
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from attnlab.attention import (
    MultiHeadAttention,
    causal_mask,
    combine_masks,
    shapes,
    sinusoidal_positions,
)
from attnlab.errors import ModelError, TensorError, suggest
from attnlab.heads.settings import KINDS, HeadSettings, Seq2SeqSettings

Knobs = dict[str, Tensor]
Seen = list[tuple[Tensor, Tensor]]

# --- Layers ------------------------------------------------------------------------------------


class Embedding(nn.Module):
    """A vector for each token and one for its place, added.

    Parameters
    ----------
    vocabulary : number of tokens
    d_model : width of the vectors
    dropout : share of the numbers set to 0 while training
    positions : "sinusoidal", which needs no training, or "learned"
    longest : most places there are

    Token vectors are multiplied by the square root of the width, so that they are as large as the places'.
    Source: Vaswani et al. 2017, sections 3.4 and 3.5.
    """

    def __init__(
        self,
        vocabulary: int,
        d_model: int,
        dropout: float = 0.1,
        positions: Literal["sinusoidal", "learned"] = "sinusoidal",
        longest: int = 512,
    ):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, d_model)
        self.dropout = nn.Dropout(dropout)
        if positions == "learned":
            self.places = nn.Parameter(torch.randn(longest, d_model) / math.sqrt(d_model))
        else:
            self.register_buffer("places", sinusoidal_positions(longest, d_model), persistent=False)
        nn.init.normal_(self.tokens.weight, std=1 / math.sqrt(d_model))

    def forward(self, ids: Tensor, first: int = 0) -> Tensor:
        """Embed ids, shape (B, T), of which the first stands at place ``first``; returns (B, T, E)."""
        longest, d_model = self.places.shape
        end = first + ids.shape[1]
        if end > longest:
            raise TensorError(
                f"A text of {end} tokens does not fit: this model has places for {longest}. Cut the "
                f"text, or make the model with longest={end}."
            )
        return self.dropout(self.tokens(ids) * math.sqrt(d_model) + self.places[first:end])


class FeedForward(nn.Sequential):
    """Two linear maps with a ReLU between, for each token by itself; Vaswani et al. 2017, section 3.3."""

    def __init__(self, d_model: int, width: int, dropout: float = 0.1):
        super().__init__(
            nn.Linear(d_model, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, d_model)
        )


class Residual(nn.Module):
    """Adds to x what a part makes of it; normalised before the part ("pre") or after the sum ("post").

    "post" is the paper's. "pre" leaves a path from the loss to every layer that no norm rescales, and so trains
    without a careful warm-up. Source: Vaswani et al. 2017, section 3.1; Xiong et al. 2020.
    """

    def __init__(self, d_model: int, dropout: float = 0.1, norm: Literal["pre", "post"] = "pre"):
        super().__init__()
        self.pre = norm == "pre"
        self.norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
        """Return x with the part added, shape of x."""
        if self.pre:
            return x + self.dropout(part(self.norm(x)))
        return self.norm(x + self.dropout(part(x)))


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
    ):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, heads, dropout, fused=fused)
        self.feed_forward = FeedForward(d_model, feed_forward, dropout)
        self.around_attention = Residual(d_model, dropout, norm)
        self.around_feed_forward = Residual(d_model, dropout, norm)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        knobs: Knobs | None = None,
        seen: Seen | None = None,
    ) -> Tensor:
        """Return x of the next layer, shape (B, S, E).

        Parameters
        ----------
        x : Tensor, shape (B, S, E)
        mask : Tensor of bool, shape (B, 1, S), False at padding
        knobs : scale and temperature of the heads, as `MultiHeadAttention` takes them
        seen : a list that weights (B, H, S, S) and values (B, H, S, D) are added to
        """

        def attend(y: Tensor) -> Tensor:
            return look(self.attention, y, self.attention.project(y), mask, knobs, seen)

        x = self.around_attention(x, attend)
        return self.around_feed_forward(x, self.feed_forward)


@dataclass
class Past:
    """Keys and values of the tokens that a decoder layer was fed so far, with room for more.

    Attributes
    ----------
    keys, values : Tensor, shape (B, H, room, D), of which ``length`` places are filled
    """

    keys: Tensor | None = None
    values: Tensor | None = None
    length: int = 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append those of new tokens; returns all, shape (B, H, T, D)."""
        start, end = self.length, self.length + keys.shape[2]
        if self.keys is None or end > self.keys.shape[2]:
            # twice the room: copying everything at every step would cost more than attending does
            self.keys, self.values = (
                self._grown(self.keys, keys, end),
                self._grown(self.values, values, end),
            )
        self.keys[:, :, start:end], self.values[:, :, start:end] = keys, values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _grown(self, old: Tensor | None, new: Tensor, end: int) -> Tensor:
        batch, heads, _, width = new.shape
        room = new.new_empty(batch, heads, max(16, 2 * end), width)
        if old is not None:
            room[:, :, : self.length] = old[:, :, : self.length]
        return room

    def select(self, rows: Tensor) -> "Past":
        """Those of these rows of the batch."""
        if self.keys is None:
            return Past()
        return Past(self.keys[rows], self.values[rows], self.length)


class DecoderLayer(nn.Module):
    """Self-attention that looks back only, attention to the source, then a feed-forward network."""

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
        past: Past | None = None,
        knobs: tuple[Knobs | None, Knobs | None] = (None, None),
        seen: tuple[Seen | None, Seen | None] = (None, None),
    ) -> Tensor:
        """Return x of the next layer, shape (B, T, E).

        Parameters
        ----------
        x : Tensor, shape (B, T, E)
        source : keys and values of the source, ``cross_attention.project(memory)``, shape (B, H, S, D)
        mask : Tensor of bool, broadcastable to (B, T, T_k), T_k counting what was fed before; see `causal_mask`
        source_mask : Tensor of bool, shape (B, 1, S), False at padding
        past : keys and values of what was fed before; those of x are appended
        knobs : scale and temperature of the heads, of self-attention and of attention to the source
        seen : lists, likewise, that weights and values are added to
        """

        def look_back(y: Tensor) -> Tensor:
            own = self.attention.project(y)
            own = own if past is None else past.extend(*own)
            return look(self.attention, y, own, mask, knobs[0], seen[0])

        def look_across(y: Tensor) -> Tensor:
            return look(self.cross_attention, y, source, source_mask, knobs[1], seen[1])

        x = self.around_attention(x, look_back)
        x = self.around_cross_attention(x, look_across)
        return self.around_feed_forward(x, self.feed_forward)


def look(
    attention: MultiHeadAttention,
    query: Tensor,
    projected: tuple[Tensor, Tensor],
    mask: Tensor | None = None,
    knobs: Knobs | None = None,
    seen: Seen | None = None,
) -> Tensor:
    """Attend to projected keys and values, and note weights and values in ``seen`` if there is such a list."""
    knobs = knobs or {}
    if seen is None:
        return attention(query, projected=projected, mask=mask, **knobs)
    output, weights = attention(query, projected=projected, mask=mask, return_weights=True, **knobs)
    seen.append((weights, projected[1]))
    return output


# --- The model ---------------------------------------------------------------------------------


@dataclass
class Seq2SeqOutput:
    """What `Seq2SeqTransformer` returns.

    Attributes
    ----------
    logits : Tensor, shape (B, T, V); place t is about the token after ``target[:, t]``
    loss : scalar Tensor, the mean over labels that are not padding; None without labels
    attention : for each of "encoder", "decoder", "cross" a list over layers of (weights, values), shapes
        (B, H, T_q, T_k) and (B, H, T_k, D); empty unless asked for
    """

    logits: Tensor
    loss: Tensor | None = None
    attention: dict[str, Seen] = field(default_factory=dict)


@dataclass
class Memory:
    """What the decoder knows: the source, and in `pasts` what it was fed so far.

    Attributes
    ----------
    states : Tensor, shape (B, S, E), what the encoder made of the source
    mask : Tensor of bool, shape (B, 1, S), False at padding
    keys_values : for each decoder layer keys and values of the source, shape (B, H, S, D)
    settings : of all rows, or one for each; None for neutral ones
    pasts : for each decoder layer what it was fed; None where nothing is to be remembered
    length : how many tokens that is
    seen : of the encoder, for maps; None unless asked for
    """

    states: Tensor
    mask: Tensor
    keys_values: list[tuple[Tensor, Tensor]]
    settings: Seq2SeqSettings | None = None
    pasts: list[Past] | None = None
    length: int = 0
    seen: Seen | None = None

    def remember(self) -> "Memory":
        """The same, beginning to keep keys and values of what the decoder is fed."""
        return replace(
            self,
            # laid out as attention reads them, step after step
            keys_values=[
                (keys.contiguous(), values.contiguous()) for keys, values in self.keys_values
            ],
            pasts=[Past() for _ in self.keys_values],
            length=0,
        )

    def reorder(self, rows: Tensor) -> "Memory":
        """What was fed to these rows of the batch, each in place of one with the same source."""
        pasts = None if self.pasts is None else [past.select(rows) for past in self.pasts]
        return replace(self, pasts=pasts)

    def select(self, rows: Tensor) -> "Memory":
        """What is known about these rows of the batch, in this order, each as often as it is named."""
        settings = self.settings
        if settings is not None:  # of each kind one for all rows, or one for each
            settings = Seq2SeqSettings(
                *(
                    HeadSettings.of(one.scale[rows], one.temperature[rows])
                    if one.scale.dim() == 3
                    else one
                    for one in settings
                )
            )
        return replace(
            self.reorder(rows),
            states=self.states[rows],
            mask=self.mask[rows],
            keys_values=[(keys[rows], values[rows]) for keys, values in self.keys_values],
            settings=settings,
            seen=None,
        )


class Seq2SeqTransformer(nn.Module):
    """The Transformer: an encoder reads the source, a decoder writes the target from left to right.

    Parameters
    ----------
    source_vocabulary, target_vocabulary : number of tokens of each language
    d_model : width E of what flows from layer to layer
    heads : number of heads H of every attention; must divide ``d_model``
    encoder_layers, decoder_layers : number of layers
    feed_forward : width inside the feed-forward networks
    dropout : share of numbers set to 0 while training: of embeddings, of weights, inside and after each part
    norm : "pre", with a last norm on encoder and decoder, or "post" as in the paper
    positions : "sinusoidal" or "learned"
    longest : most tokens of a text
    tie : "output": the target embedding is the output matrix too; "all": the source's as well, for one common
        vocabulary; "none": three matrices
    padding : id that fills up short rows; never looked at, never learned from
    label_smoothing : share of the probability that is asked for evenly over all tokens
    fused : use torch's fused attention where no weights are asked for

    Attributes
    ----------
    size : dict of these; ``Seq2SeqTransformer(**model.size)`` builds the same

    Source: Vaswani et al. 2017.
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        d_model: int = 128,
        heads: int = 4,
        encoder_layers: int = 2,
        decoder_layers: int = 2,
        feed_forward: int = 512,
        dropout: float = 0.1,
        norm: Literal["pre", "post"] = "pre",
        positions: Literal["sinusoidal", "learned"] = "sinusoidal",
        longest: int = 512,
        tie: Literal["none", "output", "all"] = "output",
        padding: int = 0,
        label_smoothing: float = 0.0,
        fused: bool = False,
    ):
        super().__init__()
        self.size: dict[str, Any] = {
            name: value for name, value in locals().items() if name not in ("self", "__class__")
        }
        _check_size(self.size)
        self.padding, self.label_smoothing = padding, label_smoothing
        layer = (d_model, heads, feed_forward, dropout, norm, fused)
        place = (d_model, dropout, positions, longest)
        self.source_embedding = Embedding(source_vocabulary, *place)
        self.target_embedding = Embedding(target_vocabulary, *place)
        self.encoder = nn.ModuleList(EncoderLayer(*layer) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*layer) for _ in range(decoder_layers))
        last = nn.LayerNorm if norm == "pre" else nn.Identity
        self.encoder_norm, self.decoder_norm = last(d_model), last(d_model)
        self.output = nn.Linear(d_model, target_vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if tie != "none":
            self.output.weight = self.target_embedding.tokens.weight
        if tie == "all":
            self.source_embedding.tokens.weight = self.target_embedding.tokens.weight

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        labels: Tensor | None = None,
        settings: Seq2SeqSettings | None = None,
        return_weights: bool = False,
    ) -> Seq2SeqOutput:
        """Say for every place of the target which token may come next.

        Parameters
        ----------
        source : Tensor of int, shape (B, S), the end mark last, then padding
        target : Tensor of int, shape (B, T), what is fed: the start mark first
        labels : Tensor of int, shape (B, T), what is to come: the end mark last
        settings : scale and temperature of heads, for this call only
        return_weights : return the weights of every layer and head too
        """
        memory = self.encode(source, settings, return_weights)
        seen: tuple[Seen | None, Seen | None] = ([], []) if return_weights else (None, None)
        logits = self.decode(target, memory, seen)
        attention = dict(zip(KINDS, (memory.seen, *seen), strict=True)) if return_weights else {}
        return Seq2SeqOutput(logits, self._loss(logits, labels), attention)

    def encode(
        self, source: Tensor, settings: Seq2SeqSettings | None = None, return_weights: bool = False
    ) -> Memory:
        """Read source ids, shape (B, S), once, for `decode` to use as often as wanted."""
        _check_ids("source", source)
        if settings is not None:
            layers = (len(self.encoder), len(self.decoder))
            settings.validate(*layers, self.size["heads"], batch=len(source))
        seen: Seen | None = [] if return_weights else None
        mask = (source != self.padding)[:, None]  # (B, 1, S)
        x = self.source_embedding(source)
        for number, layer in enumerate(self.encoder):
            x = layer(x, mask, _knobs(settings, "encoder", number, x), seen)
        x = self.encoder_norm(x)
        keys_values = [layer.cross_attention.project(x) for layer in self.decoder]
        return Memory(x, mask, keys_values, settings, seen=seen)

    def decode(
        self,
        target: Tensor,
        memory: Memory,
        seen: tuple[Seen | None, Seen | None] = (None, None),
    ) -> Tensor:
        """Return the logits of target ids, shape (B, T) to (B, T, V).

        If the memory is to `remember`, the ids are those that follow what it was fed, without padding, and it
        remembers them too.
        """
        _check_ids("target", target)
        if len(target) != len(memory.states):
            raise TensorError(
                f"target {shapes.shown(target)} and a source of {len(memory.states)} rows: give one target "
                "per source."
            )
        x = self.target_embedding(target, first=memory.length)
        length = memory.length + target.shape[1]
        mask = None  # a single new token may look at all that was fed before
        if memory.pasts is None or target.shape[1] > 1:
            mask = causal_mask(target.shape[1], length, target.device)[None]  # (1, T, T_k)
        if memory.pasts is None:
            mask = combine_masks(mask, (target != self.padding)[:, None])  # (B, T, T)
        for number, layer in enumerate(self.decoder):
            past = None if memory.pasts is None else memory.pasts[number]
            knobs = tuple(_knobs(memory.settings, kind, number, x) for kind in KINDS[1:])
            x = layer(x, memory.keys_values[number], mask, memory.mask, past, knobs, seen)
        if memory.pasts is not None:
            memory.length = length
        return self.output(self.decoder_norm(x))

    def neutral_settings(self) -> Seq2SeqSettings:
        """Settings that leave this model as it is."""
        return Seq2SeqSettings.neutral(len(self.encoder), len(self.decoder), self.size["heads"])

    def _loss(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        if labels is None:
            return None
        _check_ids("labels", labels)
        if labels.shape != logits.shape[:2]:
            raise TensorError(
                f"labels {shapes.shown(labels)} do not fit a target {tuple(logits.shape[:2])}. Both are "
                "one token shorter than the marked sentence: ids[:, :-1] is fed, ids[:, 1:] is asked for."
            )
        return nn.functional.cross_entropy(
            logits.flatten(0, 1),
            labels.flatten(),
            ignore_index=self.padding,
            label_smoothing=self.label_smoothing,
        )


def _knobs(settings: Seq2SeqSettings | None, kind: str, layer: int, like: Tensor) -> Knobs | None:
    """Scale and temperature of the heads of one layer, as `MultiHeadAttention` takes them."""
    if settings is None:
        return None
    one: HeadSettings = getattr(settings, kind)
    return {name: getattr(one, name)[..., layer, :].to(like) for name in ("scale", "temperature")}


def _check_ids(name: str, ids: Tensor) -> None:
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.dtype not in (torch.int64, torch.int32):
        kind = getattr(ids, "dtype", type(ids).__name__)
        raise TensorError(
            f"{name} has shape {shapes.shown(ids)} and type {kind}; token ids are whole numbers, "
            "(batch, tokens). Is the batch axis missing (ids[None])?"
        )


def _check_size(size: dict[str, Any]) -> None:
    counted = (
        "source_vocabulary target_vocabulary encoder_layers decoder_layers feed_forward longest"
    )
    for name in counted.split():
        shapes.check_count(name, size[name], 1)
    choices = {
        "norm": ("pre", "post"),
        "positions": ("sinusoidal", "learned"),
        "tie": ("none", "output", "all"),
    }
    for name, allowed in choices.items():
        if size[name] not in allowed:
            raise ModelError(f"There is no {name} {size[name]!r}. {suggest(size[name], allowed)}")
    for name in ("dropout", "label_smoothing"):
        if not 0 <= size[name] < 1:
            raise ModelError(f"{name} is {size[name]}; it is a share, from 0 up to 1.")
    if size["tie"] == "all" and size["source_vocabulary"] != size["target_vocabulary"]:
        raise ModelError(
            f'tie="all" needs one vocabulary for both languages, not {size["source_vocabulary"]} and '
            f'{size["target_vocabulary"]} tokens. Train the sub-words on both, or use tie="output".'
        )


# --- What it costs -----------------------------------------------------------------------------


def parameters_of(size: dict[str, Any]) -> pd.DataFrame:
    """Count the parameters of a model of this size by formula.

    Parameters
    ----------
    size : dict, as ``model.size`` holds it

    Returns
    -------
    frame with columns part, parameters; they add up to what the model has
    """
    d, wide = size["d_model"], size["feed_forward"]
    encoders, decoders = size["encoder_layers"], size["decoder_layers"]
    attention = 4 * (d * d + d)  # query, key, value, output, each with its bias
    network = d * wide + wide + wide * d + d
    norm = 2 * d
    places = size["longest"] * d if size["positions"] == "learned" else 0
    last = norm if size["norm"] == "pre" else 0
    source, target = size["source_vocabulary"] * d, size["target_vocabulary"] * d
    return _frame(
        "parameters",
        {
            "source embedding": (0 if size["tie"] == "all" else source) + places,
            "target embedding": target + places,
            "encoder self-attention": encoders * attention,
            "encoder feed-forward": encoders * network,
            "decoder self-attention": decoders * attention,
            "decoder cross-attention": decoders * attention,
            "decoder feed-forward": decoders * network,
            "norms": (2 * encoders + 3 * decoders) * norm + 2 * last,
            "output": target if size["tie"] == "none" else 0,
        },
    )


def flops_of(
    size: dict[str, Any], source_tokens: int, target_tokens: int, batch: int = 1
) -> pd.DataFrame:
    """Count the floating-point operations of matrix products in one forward pass by formula.

    Parameters
    ----------
    size : dict, as ``model.size`` holds it
    source_tokens, target_tokens : S and T
    batch : B

    Returns
    -------
    frame with columns part, flops; a multiplication with its addition counts as 2

    torch's FlopCounterMode gives the same sum, except that it does not see a CPU's fused attention kernel.
    """
    d, wide = size["d_model"], size["feed_forward"]
    encoders, decoders = size["encoder_layers"], size["decoder_layers"]
    s, t = source_tokens, target_tokens

    def attention(queries: int, keys: int) -> int:
        projections = 2 * queries * d * d + 2 * keys * d * d  # query and output; key and value
        return 2 * (projections + 2 * queries * keys * d)  # scores, and weights times values

    def network(tokens: int) -> int:
        return 2 * 2 * tokens * d * wide

    counts = {
        "encoder self-attention": encoders * attention(s, s),
        "encoder feed-forward": encoders * network(s),
        "decoder self-attention": decoders * attention(t, t),
        "decoder cross-attention": decoders * attention(t, s),
        "decoder feed-forward": decoders * network(t),
        "output": 2 * t * d * size["target_vocabulary"],
    }
    return _frame("flops", {part: batch * count for part, count in counts.items()})


def _frame(column: str, counts: dict[str, int]) -> pd.DataFrame:
    return pd.DataFrame({"part": list(counts), column: list(counts.values())})
