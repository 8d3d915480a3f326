"""The forward pass of BERT and its family, written out: what many settings share is computed once.

Three savings, none of which changes an answer. *What lies below a change stays*: moving a head of
layer l leaves the hidden states up to l as they were. *A head is a summand*: the attention output
is a sum over heads, so a layer with one head changed is the old sum plus a difference of one head's
width. *Only [CLS] answers*: of the last layer one row is needed, and for one query neither keys nor
values have to be projected: ``q · (W h) = (Wᵀ q) · h``.

In comments B is batch, T tokens, E width, h active heads, D head width, V variants.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab import heads
from attnlab.classification.base import BaseClassifier, ModelInputs
from attnlab.device import float32_kernel
from attnlab.errors import ModelError
from attnlab.evaluation.layers import Layer, Norm, classification_head, copied_layers, embedded
from attnlab.evaluation.packed import Packed
from attnlab.heads.settings import HeadSettings
from attnlab.inference import check_finite, evaluating

AblationMethod = Literal["zero", "mean", "uniform", "scale", "temperature"]
AblationTarget = Literal["head", "layer", "all_but_one"]
Attend = Callable[[Tensor | None], Tensor]  # from inverse temperatures to head outputs
TOKENS_PER_BATCH = 2048  # in smaller ones the products are too small for a processor's matrix units
SHORT = 64  # tokens, up to which two batched products beat the fused kernel in bfloat16


class Engine:
    """A classifier's forward pass, in one number format, from a copy of its layers' weights.

    Parameters
    ----------
    clf : Classifier
    dtype : torch.float32, or a short format

    Raises
    ------
    ModelError : a model whose parts are not those of BERT, RoBERTa, DistilBERT, ELECTRA or ALBERT
        with a sentence classifier on top, such as one with a prefix or with quantised weights
    """

    def __init__(self, clf: BaseClassifier, dtype: torch.dtype):
        self.clf, self.dtype = clf, dtype
        if heads.prefix(clf):
            raise ModelError("A model with a prefix looks at keys that are no tokens.")
        self.model = heads.model_of(clf)
        formats = {weight.dtype for weight in self.model.parameters()} - {torch.float32}
        if formats:
            names = ", ".join(sorted(str(each).removeprefix("torch.") for each in formats))
            raise ModelError(
                f"Some weights of this model are {names}; the fast forward pass is for float32: "
                "clf.model.float()."
            )
        with torch.no_grad():
            self.layers = copied_layers(self.model, dtype)
        self._classification_head = classification_head(self.model)

    # --- one setting ----------------------------------------------------------------------------

    def start(self, encoded: ModelInputs, indices: Any) -> tuple[Tensor, Tensor | None]:
        """Hidden states before the first layer (B, T, E), and where the tokens are.

        The second is (B, 1, 1, T), None where there is no padding.
        """
        batch = {
            name: column.to(self.clf.device) for name, column in encoded.batch(indices).items()
        }
        real = batch.pop("attention_mask").bool()[:, None, None, :]
        with evaluating(self.model):
            hidden = embedded(self.model.base_model, batch).to(self.dtype)
        return hidden, None if real.all() else real

    def layer(
        self, layer: int, hidden: Tensor, mask: Tensor | None, settings: HeadSettings | None
    ) -> Tensor:
        """Hidden states after a layer: (B, T, E), after the last one only of [CLS], (B, 1, E)."""
        scale, inverse_temperature = self._factors(layer, settings)
        outputs = self._attention(layer, hidden, mask)(inverse_temperature)
        if scale is not None:
            outputs = outputs * scale[:, None, :, None]
        return self._finish(layer, hidden, self._project(layer, outputs))

    def packed_layer(self, layer: int, packed: Packed, settings: HeadSettings | None) -> Tensor:
        """Hidden states after a layer: (N, E), after the last one only of [CLS], (B, 1, E)."""
        weights, hidden = self.layers[layer], packed.hidden
        if layer == len(self.layers) - 1:
            answers = hidden.new_empty(len(packed.lengths), 1, hidden.shape[1])
            for group in packed.groups:
                answers[group.texts] = self.layer(layer, group.read(hidden), group.mask, settings)
            return answers
        scale, inverse_temperature = self._factors(layer, settings)
        if weights.active_heads:
            outputs = packed.in_groups(
                weights.qkv(hidden),
                lambda qkv, mask: _attention_with(weights, qkv, mask)(inverse_temperature),
            )
        else:
            outputs = hidden.new_zeros(len(hidden), 0, weights.head_dim)
        if scale is not None:
            outputs = outputs * scale[:, :, None]
        return self._finish(layer, hidden[None], self._project(layer, outputs[None]))[0]

    def logits(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        settings: HeadSettings | None = None,
        start: int = 0,
    ) -> Tensor:
        """Logits (B, C), float32, from the hidden states before layer ``start``."""
        for layer in range(start, len(self.layers)):
            hidden = self.layer(layer, hidden, mask, settings)
        return self.answer(hidden)

    def answer(self, hidden: Tensor) -> Tensor:
        """Logits (B, C), float32, from the last layer's row for [CLS], (B, 1, E).

        Raises ModelError if they are not finite.
        """
        with evaluating(self.model):
            return check_finite(self.model, self._classification_head(hidden.float()))

    def first_change(self, settings: HeadSettings) -> int:
        """The lowest layer with a head that is not neutral; if none is, the number of layers."""
        moved = (settings.scale != 1) | (settings.temperature != 1)  # (L, H)
        for index, layer in enumerate(self.layers):
            if moved[index, layer.active_heads].any():
                return index
        return len(self.layers)

    # --- one head after another -----------------------------------------------------------------

    def ablate(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        ablation: "Ablation",
        target: AblationTarget,
        most_rows: int,
    ) -> Iterator[tuple[int, Tensor]]:
        """Change every head, every layer, or all of a layer but one head, in turn.

        Yields (layer, logits (V, B, C)), V the heads of the layer or 1, and last (L, neutral logits
        (1, B, C)). At most ``most_rows`` tokens are computed at once.
        """
        for index, layer in enumerate(self.layers):
            attend = self._attention(index, hidden, mask)
            outputs = attend(None)
            base = self._project(index, outputs)
            if layer.active_heads:
                changed = ablation.outputs(index, outputs, attend)
                difference = (changed - outputs).permute(2, 0, 1, 3)  # (h, B, T, D)
                per_head = layer.out_proj.weight.T.unflatten(0, (-1, layer.head_dim))
                parts = (difference.flatten(1, 2) @ per_head).unflatten(1, base.shape[:2])
                if target == "layer":  # parts are (h, B, T, E)
                    parts = parts.sum(0, keepdim=True)
                elif target == "all_but_one":
                    parts = parts.sum(0) - parts
                size = max(1, most_rows // (hidden.shape[0] * hidden.shape[1]))
                answers = [
                    self._above(index, hidden, mask, base + part) for part in parts.split(size)
                ]
                yield index, torch.cat(answers)
            hidden = self._finish(index, hidden, base)
        yield len(self.layers), self.answer(hidden)[None]

    def _above(self, layer: int, hidden: Tensor, mask: Tensor | None, attended: Tensor) -> Tensor:
        """Logits (V, B, C) for several attention outputs (V, B, T, E) of a layer."""
        count = len(attended)
        several = self._finish(layer, hidden, attended).flatten(0, 1)  # (V B, T, E)
        mask = None if mask is None else mask.repeat(count, 1, 1, 1)
        return self.logits(several, mask, start=layer + 1).unflatten(0, (count, -1))

    # --- parts of a layer -----------------------------------------------------------------------

    def head_outputs(
        self, layer: int, hidden: Tensor, mask: Tensor | None, settings: HeadSettings | None = None
    ) -> Tensor:
        """Each head's output before W_O, (B, T, h, D), at its temperature and not yet scaled.

        Of the last layer only the row for [CLS], T = 1.
        """
        _, inverse_temperature = self._factors(layer, settings)
        return self._attention(layer, hidden, mask)(inverse_temperature)

    def all_head_outputs(self, hidden: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
        """`head_outputs` of one layer after the other, heads neutral."""
        for layer in range(len(self.layers)):
            outputs = self.head_outputs(layer, hidden, mask)
            yield outputs
            hidden = self._finish(layer, hidden, self._project(layer, outputs))

    def _factors(
        self, layer: int, settings: HeadSettings | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Scale and 1 / temperature of the active heads, (1 or B, h); None where neutral."""
        active = self.layers[layer].active_heads
        if settings is None or not active:
            return None, None

        def unless_neutral(factor: Tensor) -> Tensor | None:
            if not factor.requires_grad and bool((factor == 1).all()):
                return None
            return factor.to(self.clf.device, self.dtype)

        shape = (-1, len(active))
        scale = settings.scale[..., layer, :][..., active].reshape(shape)
        inverse_temperature = 1 / settings.temperature[..., layer, :][..., active].reshape(shape)
        return unless_neutral(scale), unless_neutral(inverse_temperature)

    def _attention(self, index: int, hidden: Tensor, mask: Tensor | None) -> Attend:
        """From inverse temperatures (1 or B, h), None where neutral, to head outputs (B, T, h, D).

        Of the last layer only the row for [CLS], T = 1.
        """
        layer = self.layers[index]
        if not layer.active_heads:
            return lambda _: hidden.new_zeros(*hidden.shape[:2], 0, layer.head_dim)
        last = index == len(self.layers) - 1
        return (_attention_of_cls if last else _attention_of_all)(layer, hidden, mask)

    def _project(self, layer: int, outputs: Tensor) -> Tensor:
        """The attention output (B, T, E) from the head outputs (B, T, h, D)."""
        return self.layers[layer].out_proj(outputs.flatten(-2))

    def _finish(self, layer: int, hidden: Tensor, attended: Tensor) -> Tensor:
        """The rest of a layer, from its input and its attention output."""
        weights = self.layers[layer]
        between = _normed(hidden[:, : attended.shape[-2]] + attended, weights.attention_norm)
        if weights.is_gelu:
            inner = weights.ffn_up.gelu(between)
        else:
            inner = weights.activation(weights.ffn_up(between))
        return _normed(between + weights.ffn_down(inner), weights.ffn_norm)


@dataclass(frozen=True)
class Ablation:
    """What happens to a head that is changed.

    Attributes
    ----------
    method : "zero" silences it; "scale" multiplies its output by ``value``; "temperature" divides
        its scores by ``value``; "uniform" lets it look at all tokens alike; "mean" replaces its
        output by its mean
    value : for "scale" and "temperature"
    means : for "mean": for each layer the mean head outputs at [CLS] and at other tokens, (2, h, D)
    """

    method: AblationMethod = "zero"
    value: float = 0.0
    means: tuple[Tensor, ...] = ()

    def outputs(self, layer: int, outputs: Tensor, attend: Attend) -> Tensor:
        """The changed head outputs of a layer, (B, T, h, D)."""
        count = outputs.shape[2]
        if self.method == "zero":
            return outputs * 0.0
        if self.method == "scale":
            return outputs * self.value
        if self.method == "temperature":
            return attend(outputs.new_full((1, count), 1 / self.value))
        if self.method == "uniform":
            return attend(outputs.new_zeros(1, count))
        cls, others = self.means[layer].to(outputs)
        return torch.cat([cls[None], others.expand(outputs.shape[1] - 1, -1, -1)]).expand_as(
            outputs
        )


def checked_engine(
    clf: BaseClassifier, encoded: ModelInputs, dtype: torch.dtype
) -> tuple[Engine | None, str]:
    """An engine that answers as the model does on three of the texts; else None, and why."""
    try:
        indices = np.unique(np.linspace(0, len(encoded) - 1, 3).astype(int))
        with torch.inference_mode(False), torch.no_grad():
            engine = Engine(clf, dtype)
            mine = engine.logits(*engine.start(encoded, indices)).cpu()
        theirs = clf.logits(encoded, indices, clf.settings())
        difference = float((mine - theirs).abs().max() / (1 + theirs.abs().max()))
        tolerance = 1e-4 if dtype == torch.float32 else 0.2
        if not difference <= tolerance:  # nor may it be NaN
            raise ModelError(
                f"The fast forward pass differs from the model's own by {difference:.2g} "
                f"(relative); the tolerance is {tolerance:g}."
            )
    except ModelError as error:
        return None, str(error)
    return engine, ""


def _attention_of_all(layer: Layer, hidden: Tensor, mask: Tensor | None) -> Attend:
    """Attention of all tokens, for any temperatures of the heads."""
    return _attention_with(layer, layer.qkv(hidden), mask)


def _attention_with(layer: Layer, qkv: Tensor, mask: Tensor | None) -> Attend:
    """The same from queries, keys and values, (B, T, 3 h D)."""
    query, key, value = qkv.unflatten(-1, (3, -1, layer.head_dim)).permute(2, 0, 3, 1, 4)

    def attend(inverse_temperature: Tensor | None) -> Tensor:
        asked = query
        if inverse_temperature is not None:
            asked = query * inverse_temperature[:, :, None, None]
        return _scaled_dot_product(asked, key, value, mask).transpose(1, 2)

    return attend


def _attention_of_cls(layer: Layer, hidden: Tensor, mask: Tensor | None) -> Attend:
    """Attention of [CLS] alone: its query goes to the hidden states, instead of their keys to it.

    The bias of the keys adds the same to all scores of a head, so softmax does not see it; the
    weights sum to 1, so the bias of the values is added whole.
    """
    weights = layer.qkv.weight.unflatten(0, (3, -1, layer.head_dim))  # (3, h, D, E)
    biases = layer.qkv.bias.unflatten(0, (3, -1, layer.head_dim))
    query = torch.einsum("be,hde->bhd", hidden[:, 0], weights[0]) + biases[0]
    toward = torch.einsum("bhd,hde->bhe", query, weights[1]) * layer.head_dim**-0.5
    scores = (toward @ hidden.transpose(1, 2)).float()  # (B, h, T)

    def attend(inverse_temperature: Tensor | None) -> Tensor:
        asked = scores
        if inverse_temperature is not None:
            asked = scores * inverse_temperature[:, :, None]
        if mask is not None:
            asked = asked.masked_fill(~mask[:, 0], -torch.inf)
        mixed = asked.softmax(-1).to(hidden.dtype) @ hidden  # (B, h, E)
        return (torch.einsum("bhe,hde->bhd", mixed, weights[2]) + biases[2])[:, None]

    return attend


def _scaled_dot_product(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention (B, h, T, D): torch's own, but written out where that is quicker.

    On a processor the fused kernel's way back is up to 20 times slower in bfloat16; and where
    oneDNN has to be asked for, short texts take it twice as long as two batched products.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, mask)
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad):
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(-1) @ value
    short = key.dtype == torch.bfloat16 and key.shape[-2] <= SHORT
    if short and float32_kernel() == "onednn":
        return _of_short_texts(query, key, value, mask)
    return F.scaled_dot_product_attention(query, key, value, mask)


def _of_short_texts(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention (B, h, T, D) by two batched products, the scores in float32; no gradients.

    Keys and values are filled up to whole registers of 16 numbers, at scores of -inf.
    """
    *rows, count, width = key.shape
    filled = count + -count % 16
    keys = key.new_empty(*rows, filled, width, dtype=torch.float32)
    values = value.new_empty(*rows, filled, width)
    for whole, given in ((keys, key), (values, value)):
        whole[..., :count, :], whole[..., count:, :] = given, 0
    allowed = keys.new_full((len(key), 1, 1, filled), -torch.inf)
    allowed[..., :count] = 0
    if mask is not None:
        allowed[..., :count].masked_fill_(~mask, -torch.inf)
    asked = query.to(torch.float32, memory_format=torch.contiguous_format)
    scores = asked @ keys.transpose(-2, -1)
    weights = torch.add(allowed, scores, alpha=width**-0.5).softmax(-1)
    return weights.to(value.dtype) @ values


def _normed(hidden: Tensor, norm: Norm) -> Tensor:
    weight, bias, epsilon = norm
    return F.layer_norm(hidden, weight.shape, weight, bias, epsilon)
