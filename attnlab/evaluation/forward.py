"""The forward pass of BERT and its family, written out, so that what many settings share is computed once.

Three savings, none of which changes an answer. *What lies below a change stays*: moving a head of layer l leaves
the hidden states up to l as they were. *A head is a summand*: the attention output is a sum over heads, so a layer
with one head changed is the old sum plus a difference of one head's width. *Only [CLS] answers*: of the last layer
one row is needed, and for one query neither keys nor values have to be projected: ``q · (W h) = (Wᵀ q) · h``.

In comments B is batch, T tokens, E width, h heads that are there, D head width, V variants.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab import heads
from attnlab.classification.classifier import Classifier, Encoded
from attnlab.errors import ModelError
from attnlab.heads.settings import HeadSettings

How = Literal["scale", "uniform", "mean"]
Which = Literal["head", "layer", "others"]


@dataclass(frozen=True)
class Layer:
    """One encoder layer: its weights in the number format of the engine, and the heads it has."""

    inward: Tensor  # query, key and value, one above the other, (3 h D, E)
    inward_bias: Tensor
    outward: Tensor  # (E, h D)
    outward_bias: Tensor
    norm: tuple[Tensor, Tensor, float]
    up: tuple[Tensor, Tensor]
    activation: Callable[[Tensor], Tensor]
    down: tuple[Tensor, Tensor]
    last_norm: tuple[Tensor, Tensor, float]
    kept: list[int]
    width: int  # D


class Engine:
    """A classifier's forward pass, in one number format, from a copy of its encoder layers' weights.

    Parameters
    ----------
    clf : Classifier
    dtype : torch.float32, or a short format

    Raises
    ------
    ModelError : a model whose parts are not those of BERT, RoBERTa, DistilBERT, ELECTRA or ALBERT with a sentence
        classifier on top, such as one with a prefix or with quantised weights
    """

    def __init__(self, clf: Classifier, dtype: torch.dtype):
        self.clf, self.dtype = clf, dtype
        if heads.prefix(clf):
            raise ModelError("A model with a prefix looks at keys that are no tokens.")
        self.model = heads.model_of(clf)
        with torch.no_grad():
            self.layers = _layers(self.model, dtype)
        self._answer = _answer(self.model)

    # --- one text after another --------------------------------------------------------------------

    def start(self, encoded: Encoded, places: Any) -> tuple[Tensor, Tensor | None]:
        """Hidden states before the first layer (B, T, E), and where the tokens are (B, 1, 1, T), None if all."""
        batch = {name: one.to(self.clf.device) for name, one in encoded.batch(places).items()}
        real = batch.pop("attention_mask").bool()[:, None, None, :]
        hidden = _embedded(self.model.base_model, batch).to(self.dtype)
        return hidden, None if real.all() else real

    def layer(
        self, at: int, hidden: Tensor, mask: Tensor | None, settings: HeadSettings | None
    ) -> Tensor:
        """Hidden states after a layer: (B, T, E), after the last one only those of [CLS], (B, 1, E)."""
        scale, sharpness = self._factors(at, settings)
        context, _ = self._contexts(at, hidden, mask, sharpness)
        if scale is not None:
            context = context * scale[:, None, :, None]
        return self._finish(at, hidden, self._project(at, context))

    def logits(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        settings: HeadSettings | None = None,
        start: int = 0,
    ) -> Tensor:
        """Logits (B, C), float32, from the hidden states before layer ``start``."""
        for at in range(start, len(self.layers)):
            hidden = self.layer(at, hidden, mask, settings)
        return self.answer(hidden)

    def answer(self, hidden: Tensor) -> Tensor:
        """Logits (B, C), float32, from the last layer's row for [CLS], (B, 1, E)."""
        return self._answer(hidden.float())

    # --- one head after another --------------------------------------------------------------------

    def sweep(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        change: "Change",
        which: Which,
        most_rows: int,
    ) -> Iterator[tuple[int, Tensor]]:
        """Change every head, every layer, or all of a layer but one head, in turn.

        Yields (layer, logits (V, B, C)), V the heads of the layer or 1, and last (L, neutral logits (1, B, C)).
        At most ``most_rows`` tokens are computed at once.
        """
        for at, layer in enumerate(self.layers):
            context, changed = self._contexts(at, hidden, mask, None, change)
            base = self._project(at, context)
            if layer.kept:
                difference = (changed - context).permute(2, 0, 1, 3)  # (h, B, T, D)
                parts = difference.flatten(1, 2) @ layer.outward.T.unflatten(0, (-1, layer.width))
                parts = parts.unflatten(1, base.shape[:2])  # (h, B, T, E)
                if which == "layer":
                    parts = parts.sum(0, keepdim=True)
                elif which == "others":
                    parts = parts.sum(0) - parts
                size = max(1, most_rows // (hidden.shape[0] * hidden.shape[1]))
                answers = [self._above(at, hidden, mask, base + some) for some in parts.split(size)]
                yield at, torch.cat(answers)
            hidden = self._finish(at, hidden, base)
        yield len(self.layers), self.answer(hidden)[None]

    def _above(self, at: int, hidden: Tensor, mask: Tensor | None, attended: Tensor) -> Tensor:
        """Logits (V, B, C) for several attention outputs (V, B, T, E) of a layer."""
        count = len(attended)
        several = self._finish(at, hidden, attended).flatten(0, 1)  # (V B, T, E)
        mask = None if mask is None else mask.repeat(count, 1, 1, 1)
        return self.logits(several, mask, start=at + 1).unflatten(0, (count, -1))

    def contexts(self, hidden: Tensor, mask: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        """(layer, what its heads bring (B, T, h, D)); of the last layer only the row for [CLS]."""
        for at in range(len(self.layers)):
            context = self.brought(at, hidden, mask)
            yield at, context
            hidden = self._finish(at, hidden, self._project(at, context))

    # --- parts of a layer --------------------------------------------------------------------------

    def brought(
        self, at: int, hidden: Tensor, mask: Tensor | None, settings: HeadSettings | None = None
    ) -> Tensor:
        """What each head of a layer brings, (B, T, h, D), at its temperature and before it is scaled.

        Of the last layer only the row for [CLS], T = 1.
        """
        _, sharpness = self._factors(at, settings)
        context, _ = self._contexts(at, hidden, mask, sharpness)
        return context

    def _factors(
        self, at: int, settings: HeadSettings | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Scale and 1 / temperature of the heads that are there, (1 or B, h); None where neutral."""
        kept = self.layers[at].kept
        if settings is None or not kept:
            return None, None
        shape = (-1, len(kept))
        scale = settings.scale[..., at, :][..., kept].reshape(shape)
        sharpness = 1 / settings.temperature[..., at, :][..., kept].reshape(shape)
        return tuple(
            None
            if not one.requires_grad and bool((one == 1).all())
            else one.to(self.clf.device, self.dtype)
            for one in (scale, sharpness)
        )

    def _contexts(
        self,
        at: int,
        hidden: Tensor,
        mask: Tensor | None,
        sharpness: Tensor | None,
        change: "Change | None" = None,
    ) -> tuple[Tensor, Tensor | None]:
        """What each head brings, (B, T, h, D), and what it brings when it is changed.

        Of the last layer only the row for [CLS], T = 1.
        """
        layer = self.layers[at]
        if not layer.kept:
            return hidden.new_zeros(*hidden.shape[:2], 0, layer.width), None
        last = at == len(self.layers) - 1
        look = self._first_row(layer, hidden, mask) if last else self._rows(layer, hidden, mask)
        context = look(sharpness)
        return context, None if change is None else change.of(at, context, look)

    def _rows(
        self, layer: Layer, hidden: Tensor, mask: Tensor | None
    ) -> Callable[[Tensor | None], Tensor]:
        """Attention of all tokens, for any sharpness of the heads."""
        inward = F.linear(hidden, layer.inward, layer.inward_bias)
        query, key, value = inward.unflatten(-1, (3, -1, layer.width)).permute(2, 0, 3, 1, 4)

        def look(sharpness: Tensor | None) -> Tensor:
            asked = query if sharpness is None else query * sharpness[:, :, None, None]
            return _attention(asked, key, value, mask).transpose(1, 2)

        return look

    def _first_row(
        self, layer: Layer, hidden: Tensor, mask: Tensor | None
    ) -> Callable[[Tensor | None], Tensor]:
        """Attention of [CLS] alone: its query goes to the hidden states, instead of their keys to it.

        The bias of the keys adds the same to all scores of a head, so softmax does not see it; the weights sum to
        1, so the bias of the values is added whole.
        """
        weights = layer.inward.unflatten(0, (3, -1, layer.width))  # (3, h, D, E)
        biases = layer.inward_bias.unflatten(0, (3, -1, layer.width))
        query = torch.einsum("be,hde->bhd", hidden[:, 0], weights[0]) + biases[0]
        toward = torch.einsum("bhd,hde->bhe", query, weights[1]) * layer.width**-0.5
        scores = (toward @ hidden.transpose(1, 2)).float()  # (B, h, T)

        def look(sharpness: Tensor | None) -> Tensor:
            asked = scores if sharpness is None else scores * sharpness[:, :, None]
            if mask is not None:
                asked = asked.masked_fill(~mask[:, 0], -torch.inf)
            mixed = asked.softmax(-1).to(hidden.dtype) @ hidden  # (B, h, E)
            return (torch.einsum("bhe,hde->bhd", mixed, weights[2]) + biases[2])[:, None]

        return look

    def _project(self, at: int, context: Tensor) -> Tensor:
        """The attention output (B, T, E) of what the heads bring (B, T, h, D)."""
        layer = self.layers[at]
        return F.linear(context.flatten(-2), layer.outward, layer.outward_bias)

    def _finish(self, at: int, hidden: Tensor, attended: Tensor) -> Tensor:
        """The rest of a layer, from its input and its attention output."""
        layer = self.layers[at]
        between = _normed(hidden[:, : attended.shape[-2]] + attended, layer.norm)
        inner = layer.activation(F.linear(between, *layer.up))
        return _normed(between + F.linear(inner, *layer.down), layer.last_norm)


@dataclass(frozen=True)
class Change:
    """What happens to a head that is changed.

    Attributes
    ----------
    how : "scale" multiplies what it brings by ``scale``, after dividing its scores by ``temperature``; "uniform"
        lets it look at all tokens alike; "mean" replaces what it brings by its mean
    means : for "mean": for each layer what its heads bring on average to [CLS] and to other tokens, (2, h, D)
    """

    how: How = "scale"
    scale: float = 0.0
    temperature: float = 1.0
    means: tuple[Tensor, ...] = ()

    def of(self, at: int, context: Tensor, look: Callable[[Tensor | None], Tensor]) -> Tensor:
        """What the changed heads of a layer bring, (B, T, h, D)."""
        heads_there = context.shape[2]
        if self.how == "scale":
            if self.temperature != 1 and self.scale != 0:
                context = look(context.new_full((1, heads_there), 1 / self.temperature))
            return context * self.scale
        if self.how == "uniform":
            return look(context.new_zeros(1, heads_there))
        cls, others = self.means[at].to(context)
        return torch.cat([cls[None], others.expand(context.shape[1] - 1, -1, -1)]).expand_as(
            context
        )


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention (B, h, T, D): torch's own, but written out where a gradient has to come back on a processor.

    There the fused kernel's way back is up to 20 times slower in bfloat16.
    """
    if query.device.type != "cpu" or not query.requires_grad:
        return F.scaled_dot_product_attention(query, key, value, mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ value


def _normed(hidden: Tensor, norm: tuple[Tensor, Tensor, float]) -> Tensor:
    weight, bias, epsilon = norm
    return F.layer_norm(hidden, weight.shape, weight, bias, epsilon)


# ── where each family keeps its parts ──────────────────────────────────────────────────────────────


def _layers(model: nn.Module, dtype: torch.dtype) -> list[Layer]:
    """The encoder layers, their weights copied in ``dtype``."""

    def copied(one: Tensor) -> Tensor:
        return one.detach().to(dtype, copy=True)

    def linear(one: nn.Module) -> tuple[Tensor, Tensor]:
        if type(one) is not nn.Linear or one.bias is None:
            raise ModelError(f"{one} stands where a Linear with a bias was expected.")
        return copied(one.weight), copied(one.bias)

    def norm(one: nn.LayerNorm) -> tuple[Tensor, Tensor, float]:
        return copied(one.weight), copied(one.bias), one.eps

    layers = []
    for at, (site, rest) in enumerate(zip(heads.sites(model), _feed_forwards(model), strict=True)):
        kept = heads.active_heads(model, at)
        width = site.module.attention_head_size
        after, up, activation, down, last = rest
        if kept:
            inward = [
                linear(getattr(site.module, name)) for name in (site.query, site.key, site.value)
            ]
            outward, outward_bias = linear(site.output)
        else:  # all heads were removed: the bias is left
            outward_bias = copied(site.output.bias)
            outward = outward_bias.new_zeros(len(outward_bias), 0)
            inward = [(outward.T, outward_bias[:0])] * 3
        layers.append(
            Layer(
                torch.cat([weight for weight, _ in inward]),
                torch.cat([bias for _, bias in inward]),
                outward,
                outward_bias,
                norm(after),
                linear(up),
                activation,
                linear(down),
                norm(last),
                kept,
                width,
            )
        )
    return layers


def _feed_forwards(model: Any) -> list[tuple[Any, ...]]:
    """For each layer: norm after attention, first linear, activation, second linear, last norm."""
    base, family = model.base_model, model.config.model_type
    if family == "distilbert":
        return [
            (
                one.sa_layer_norm,
                one.ffn.lin1,
                one.ffn.activation,
                one.ffn.lin2,
                one.output_layer_norm,
            )
            for one in base.transformer.layer
        ]
    if family == "albert":
        found = []
        for index in range(base.config.num_hidden_layers):
            group = index * base.config.num_hidden_groups // base.config.num_hidden_layers
            for one in base.encoder.albert_layer_groups[group].albert_layers:
                norm, last = one.attention.LayerNorm, one.full_layer_layer_norm
                found.append((norm, one.ffn, one.activation, one.ffn_output, last))
        return found
    return [
        (
            one.attention.output.LayerNorm,
            one.intermediate.dense,
            one.intermediate.intermediate_act_fn,
            one.output.dense,
            one.output.LayerNorm,
        )
        for one in base.encoder.layer
    ]


def _embedded(base: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Hidden states before the first layer."""
    if base.config.model_type == "distilbert":
        inputs = {"input_ids": inputs["input_ids"]}
    hidden = base.embeddings(**inputs)
    if base.config.model_type == "albert":
        return base.encoder.embedding_hidden_mapping_in(hidden)
    return base.embeddings_project(hidden) if hasattr(base, "embeddings_project") else hidden


def _answer(model: Any) -> Callable[[Tensor], Tensor]:
    """From the last hidden state of [CLS], (B, 1, E), to the logits (B, C)."""
    base, family, classifier = model.base_model, model.config.model_type, model.classifier
    if family == "distilbert":
        return lambda hidden: classifier(F.relu(model.pre_classifier(hidden[:, 0])))
    if family == "albert":
        return lambda hidden: classifier(base.pooler_activation(base.pooler(hidden[:, 0])))
    if family == "bert":
        return lambda hidden: classifier(base.pooler(hidden))
    return classifier  # RoBERTa and ELECTRA: it takes [CLS] itself
