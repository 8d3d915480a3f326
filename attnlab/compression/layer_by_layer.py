"""A classifier one layer after the other, so that something may happen in between."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Encoded, batches
from attnlab.errors import ModelError
from attnlab.evaluation.forward import checked_engine
from attnlab.evaluation.layers import classification_head, embedded
from attnlab.evaluation.packed import Packed
from attnlab.heads.control import attached
from attnlab.heads.settings import HeadSettings
from attnlab.inference import check_finite, evaluating

__all__ = [
    "Layers",
    "OwnLayers",
    "features_of",
    "layer_modules",
    "layers_of",
    "packed_start",
    "together",
]


_TOKENS_TOGETHER = 8192  # of texts that may share batches, whose hidden states are held at once


class Layers(Protocol):
    """What `evaluation.forward.Engine` offers of a classifier, and `OwnLayers` too."""

    def start(self, encoded: Encoded, indices: Any) -> tuple[Tensor, Tensor | None]:
        """Hidden states before the first layer, (B, T, E), and where tokens are, (B, 1, 1, T)."""

    def packed_layer(self, layer: int, packed: Packed, settings: HeadSettings | None) -> Tensor:
        """Hidden states after a layer: (N, E), after the last one of [CLS], (B, 1, E)."""

    def answer(self, hidden: Tensor) -> Tensor:
        """Logits (B, C) from the hidden states after the last layer."""


class OwnLayers:
    """The layers of a model as they are, for one whose matrices are not plain.

    Parameters
    ----------
    clf : Classifier

    Raises
    ------
    ModelError : a model with a prefix
    """

    def __init__(self, clf: Classifier):
        if heads.prefix(clf):
            raise ModelError(
                "A model with a prefix looks at keys that are no tokens, layer by layer. Fine-tune "
                "with another method, such as 'lora'."
            )
        self.clf, self.model = clf, heads.model_of(clf)
        self._modules = layer_modules(self.model)
        self._classification_head = classification_head(self.model)

    def start(self, encoded: Encoded, indices: Any) -> tuple[Tensor, Tensor | None]:
        """See `Layers`."""
        batch = {name: part.to(self.clf.device) for name, part in encoded.batch(indices).items()}
        real = batch.pop("attention_mask").bool()[:, None, None, :]
        with evaluating(self.model):
            return embedded(self.model.base_model, batch), None if real.all() else real

    def packed_layer(self, layer: int, packed: Packed, settings: HeadSettings | None) -> Tensor:
        """See `Layers`; ModelError for settings of heads."""
        if settings is not None:
            raise ModelError(
                "Some matrices of this model are not plain, and then early exits know no head "
                "settings. Leave the `applied` block."
            )

        def own(hidden: Tensor, mask: Tensor | None) -> Tensor:
            output = self._modules[layer](hidden, mask, **heads.keywords(self.model, None))
            return output[0] if isinstance(output, tuple) else output

        with evaluating(self.model), attached(self.model):
            after = packed.in_groups(packed.hidden, own)
        if layer < self.clf.layers - 1:
            return after
        return packed.with_hidden(after).pooled("cls")[:, None]

    def answer(self, hidden: Tensor) -> Tensor:
        """See `Layers`."""
        with evaluating(self.model):
            return check_finite(self.model, self._classification_head(hidden[:, :1]).float())


def layers_of(clf: Classifier, encoded: Encoded) -> Layers:
    """The quickest way through a classifier's layers that answers as it does on some texts."""
    return checked_engine(clf, encoded, torch.float32)[0] or OwnLayers(clf)


def packed_start(steps: Layers, encoded: Encoded, indices: np.ndarray) -> Packed:
    """Return hidden states before the first layer of the texts with these indices."""
    lengths = encoded.lengths[indices]
    groups = list(batches(lengths))
    hidden = [steps.start(encoded, indices[group])[0] for group in groups]
    return Packed.of(hidden, lengths, np.concatenate(groups))


def together(encoded: Encoded, indices: np.ndarray) -> Iterator[np.ndarray]:
    """Cut texts of like length into groups whose hidden states are held at once.

    Yields positions in ``indices``.
    """
    order = np.argsort(encoded.lengths[indices], kind="stable")
    chunks = encoded.lengths[indices[order]].cumsum() // _TOKENS_TOGETHER
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(chunks)) + 1)


def features_of(clf: Classifier, encoded: Encoded, pooling: str) -> Tensor:
    """Return one vector for each text after each layer but the last, (L - 1, N, E), on the CPU.

    ``pooling`` is that of `Packed.pooled`.
    """
    steps, width = layers_of(clf, encoded), heads.model_of(clf).config.hidden_size
    found = torch.empty(clf.layers - 1, len(encoded), width)
    with torch.inference_mode():
        for group in encoded.batches():
            packed = packed_start(steps, encoded, group)
            for layer in range(clf.layers - 1):
                packed = packed.with_hidden(steps.packed_layer(layer, packed, None))
                found[layer, group] = packed.pooled(pooling).cpu()
    return found


def layer_modules(model: Any) -> list[Any]:
    """Return the modules of the encoder layers, in their order."""
    config = model.config
    if config.model_type != "albert":
        return list(heads.layer_list(model))
    groups, layers = model.base_model.encoder.albert_layer_groups, config.num_hidden_layers
    return [
        layer
        for index in range(layers)
        for layer in groups[index * config.num_hidden_groups // layers].albert_layers
    ]


def __dir__() -> list[str]:
    return sorted(__all__)
