"""The encoder-decoder Transformer of lesson 03.

In comments B is batch, S source tokens, T target tokens, H heads, D head width, E d_model, V
vocabulary. A mask is bool everywhere and True where attention is allowed.

>>> import torch
>>> model = Seq2SeqTransformer(source_vocabulary=20, target_vocabulary=30, d_model=16, heads=2)
>>> source, target = torch.tensor([[5, 6, 3]]), torch.tensor([[2, 7, 8, 9]])
>>> model(source, target).logits.shape  # what may follow each of the four target tokens
torch.Size([1, 4, 30])
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attnlab.attention import causal_mask, combine_masks, shapes
from attnlab.errors import ModelError, TensorError, suggest
from attnlab.heads.settings import KINDS, HeadSettings, Seq2SeqSettings
from attnlab.transformer.cache import Memory, Seen
from attnlab.transformer.layers import DecoderLayer, Embedding, EncoderLayer, HeadTensors
from attnlab.transformer.pruning import by_number, remove
from attnlab.transformer.sizes import active_heads


@dataclass
class Seq2SeqOutput:
    """What `Seq2SeqTransformer` returns.

    Attributes
    ----------
    logits : Tensor, shape (B, T, V); position t is about the token after ``target[:, t]``
    loss : scalar Tensor, the mean over labels that are not padding; None without labels
    attention : for each of "encoder", "decoder", "cross" a list over layers of (weights, values),
        shapes (B, H, T_q, T_k) and (B, H, T_k, D); empty unless asked for
    """

    logits: Tensor
    loss: Tensor | None = None
    attention: dict[str, Seen] = field(default_factory=dict)


class Seq2SeqTransformer(nn.Module):
    """The Transformer: an encoder reads the source, a decoder writes the target from left to right.

    Parameters
    ----------
    source_vocabulary, target_vocabulary : number of tokens of each language
    d_model : width E of what flows from layer to layer
    heads : number of heads H of every attention; must divide ``d_model``
    encoder_layers, decoder_layers : number of layers
    feed_forward : width inside the feed-forward networks
    dropout : share of numbers set to 0 while training: of embeddings, of attention weights, inside
        and after each sublayer
    norm : "pre", with a last norm on encoder and decoder, or "post" as in the paper
    positions : "sinusoidal" or "learned"
    max_length : most tokens of a text
    tie : weight tying. "output": the target embedding is the output matrix too; "all": the source
        embedding as well, for a shared vocabulary; "none": three matrices
    padding : id of padding; masked in attention, and not counted in the loss
    label_smoothing : share of the target probability that is spread evenly over all tokens
    fused : use torch's fused attention where no weights are asked for
    removed : heads that it does not have, triples (kind, layer, head) as for `transformer.prune`;
        the others keep their numbers

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
        max_length: int = 512,
        tie: Literal["none", "output", "all"] = "output",
        padding: int = 0,
        label_smoothing: float = 0.0,
        fused: bool = False,
        removed: Iterable[Sequence[Any]] = (),
    ):
        super().__init__()
        self.size: dict[str, Any] = {
            name: value for name, value in locals().items() if name not in ("self", "__class__")
        } | {"removed": []}
        _check_size(self.size)
        self.padding, self.label_smoothing = padding, label_smoothing
        layer = (d_model, heads, feed_forward, dropout, norm, fused)
        embedding = (d_model, dropout, positions, max_length)
        self.source_embedding = Embedding(source_vocabulary, *embedding)
        self.target_embedding = Embedding(target_vocabulary, *embedding)
        self.encoder: Any = nn.ModuleList(EncoderLayer(*layer) for _ in range(encoder_layers))
        self.decoder: Any = nn.ModuleList(DecoderLayer(*layer) for _ in range(decoder_layers))
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
        remove(self, removed)

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        labels: Tensor | None = None,
        settings: Seq2SeqSettings | None = None,
        return_weights: bool = False,
    ) -> Seq2SeqOutput:
        """Say for every position of the target which token may come next.

        Parameters
        ----------
        source : Tensor of int, shape (B, S), the end mark last, then padding
        target : Tensor of int, shape (B, T), the decoder's input: the start mark first
        labels : Tensor of int, shape (B, T), the tokens to predict: the end mark last
        settings : scale and temperature of heads, for this call only
        return_weights : return the weights of every layer and head too
        """
        memory = self.encode(source, settings, return_weights)
        seen: tuple[Seen | None, Seen | None] = ([], []) if return_weights else (None, None)
        logits = self.decode(target, memory, seen)
        kinds = zip(KINDS, (memory.seen, *seen), strict=True)
        attention = {
            kind: _by_number(part, self.active[kind], self.size["heads"])
            for kind, part in kinds
            if part is not None
        }
        return Seq2SeqOutput(logits, self._loss(logits, labels), attention)

    def encode(
        self, source: Tensor, settings: Seq2SeqSettings | None = None, return_weights: bool = False
    ) -> Memory:
        """Read source ids, shape (B, S), once, for `decode` to use as often as wanted."""
        x, mask = self.embed(source)
        if settings is not None:
            layers = (len(self.encoder), len(self.decoder))
            settings.validate(*layers, self.size["heads"], batch=len(source))
        seen: Seen | None = [] if return_weights else None
        active = self.active["encoder"]
        for index, layer in enumerate(self.encoder):
            x = layer(x, mask, _head_tensors(settings, "encoder", index, active[index], x), seen)
        x = self.encoder_norm(x)
        keys_values = [layer.cross_attention.project(x) for layer in self.decoder]
        return Memory(x, mask, keys_values, settings, seen=seen)

    def embed(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """What the encoder's first layer reads, (B, S, E), and its mask, (B, 1, S).

        A model whose source is no text has its own.
        """
        _check_ids("source", source)
        return self.source_embedding(source), (source != self.padding)[:, None]

    def decode(
        self,
        target: Tensor,
        memory: Memory,
        seen: tuple[Seen | None, Seen | None] = (None, None),
    ) -> Tensor:
        """Return the logits of target ids, shape (B, T) to (B, T, V).

        With a cache (`Memory.with_cache`) the ids are those that follow what it holds, without
        padding, and their keys and values are added to it.
        """
        _check_ids("target", target)
        if len(target) != len(memory.states):
            raise TensorError(
                f"target {shapes.shown(target)} and a source of {len(memory.states)} rows: give "
                "one target per source."
            )
        x = self.target_embedding(target, first=memory.length)
        length = memory.length + target.shape[1]
        mask = None  # a single new token may attend to everything before it
        if memory.caches is None or target.shape[1] > 1:
            mask = causal_mask(target.shape[1], length, target.device)[None]  # (1, T, T_k)
        if memory.caches is None:
            mask = combine_masks(mask, (target != self.padding)[:, None])  # (B, T, T)
        active = self.active
        for index, layer in enumerate(self.decoder):
            cache = None if memory.caches is None else memory.caches[index]
            heads = tuple(
                _head_tensors(memory.settings, kind, index, active[kind][index], x)
                for kind in KINDS[1:]
            )
            x = layer(x, memory.keys_values[index], mask, memory.mask, cache, heads, seen)
        if memory.caches is not None:
            memory.length = length
        return self.output(self.decoder_norm(x))

    @property
    def active(self) -> dict[str, list[list[int]]]:
        """The heads that are there: by kind, for each layer those that were not removed."""
        return active_heads(self.size)

    def attention_modules(self) -> dict[str, list[Any]]:
        """The attention of every layer, by kind: "encoder", "decoder" and "cross"."""
        return {
            "encoder": [layer.attention for layer in self.encoder],
            "decoder": [layer.attention for layer in self.decoder],
            "cross": [layer.cross_attention for layer in self.decoder],
        }

    def neutral_settings(self) -> Seq2SeqSettings:
        """Settings that leave this model as it is."""
        return Seq2SeqSettings.neutral(len(self.encoder), len(self.decoder), self.size["heads"])

    def _loss(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        if labels is None:
            return None
        _check_ids("labels", labels)
        if labels.shape != logits.shape[:2]:
            raise TensorError(
                f"labels {shapes.shown(labels)} do not fit a target {tuple(logits.shape[:2])}. "
                "Both are one token shorter than the marked sentence: ids[:, :-1] is the "
                "decoder's input, ids[:, 1:] the labels."
            )
        return nn.functional.cross_entropy(
            logits.flatten(0, 1),
            labels.flatten(),
            ignore_index=self.padding,
            label_smoothing=self.label_smoothing,
        )


def _head_tensors(
    settings: Seq2SeqSettings | None, kind: str, layer: int, active: list[int], like: Tensor
) -> HeadTensors | None:
    """Scale and temperature of the heads of one layer, as `MultiHeadAttention` takes them."""
    if settings is None:
        return None
    heads: HeadSettings = getattr(settings, kind)
    parts = {name: getattr(heads, name)[..., layer, :] for name in ("scale", "temperature")}
    return {name: part[..., active].to(like) for name, part in parts.items()}


def _by_number(seen: Seen, active: list[list[int]], heads: int) -> Seen:
    """Weights and values of each layer, with zeros for heads that were removed."""
    return [
        (by_number(weights, own, heads), by_number(values, own, heads))
        for (weights, values), own in zip(seen, active, strict=True)
    ]


def _check_ids(name: str, ids: Tensor) -> None:
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.dtype not in (torch.int64, torch.int32):
        kind = getattr(ids, "dtype", type(ids).__name__)
        raise TensorError(
            f"{name} has shape {shapes.shown(ids)} and type {kind}; token ids are whole numbers, "
            "(batch, tokens). Is the batch axis missing (ids[None])?"
        )


def _check_size(size: dict[str, Any]) -> None:
    counted = (
        "source_vocabulary target_vocabulary encoder_layers decoder_layers feed_forward max_length"
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
            raise ModelError(f"{name} is {size[name]}; it is a share: at least 0, below 1.")
    if size["tie"] == "all" and size["source_vocabulary"] != size["target_vocabulary"]:
        raise ModelError(
            'tie="all" needs one vocabulary for both languages, not '
            f"{size['source_vocabulary']} and {size['target_vocabulary']} tokens. Train the "
            'sub-words on both, or use tie="output".'
        )
