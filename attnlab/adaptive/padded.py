"""A classifier's layers one after the other on padded batches, with gradients and dropout."""

from typing import Any

from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.compression.layer_by_layer import layer_modules
from attnlab.evaluation.layers import classification_head, embedded
from attnlab.heads.control import attached

__all__ = ["PaddedLayers"]


class PaddedLayers:
    """The layers of a classifier as its modules compute them.

    Parameters
    ----------
    clf : Classifier of texts
    """

    def __init__(self, clf: Classifier):
        self.model: Any = heads.model_of(clf)
        self._modules = layer_modules(self.model)
        self._classification_head = classification_head(self.model)

    def start(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Hidden states before the first layer (B, T, E), and where tokens are, bool (B, T)."""
        inputs = dict(inputs)
        real = inputs.pop("attention_mask").bool()
        return embedded(self.model.base_model, inputs), real

    def layer(self, index: int, hidden: Tensor, real: Tensor) -> Tensor:
        """Hidden states after a layer, (B, T, E)."""
        with attached(self.model):
            output = self._modules[index](
                hidden, real[:, None, None, :], **heads.keywords(self.model, None)
            )
        return output[0] if isinstance(output, tuple) else output

    def answer(self, hidden: Tensor) -> Tensor:
        """Logits (B, C) from the hidden states after the last layer."""
        return self._classification_head(hidden[:, :1])


def __dir__() -> list[str]:
    return sorted(__all__)
