"""A classifier's model as a function from a batch to its logits, for a training loop by hand."""

from typing import Any

from torch import Tensor, nn

from attnlab.device import autocast, number_format


class LogitsOf(nn.Module):
    """A model that takes a batch as one argument and returns its logits, in float32.

    Inside it computes in the number format that is quick on this device (mixed precision).

    Parameters
    ----------
    model : of Hugging Face transformers, such as ``clf.model``; its weights stay shared

    >>> logits_of = LogitsOf(clf.model)                            # doctest: +SKIP
    >>> logits_of({"input_ids": ids, "attention_mask": mask})      # doctest: +SKIP
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        self._format = number_format(model.device.type)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """From tensors (B, T), on any device, to logits (B, C) on that of the model."""
        device = self.model.device
        moved = {name: tensor.to(device) for name, tensor in inputs.items()}
        with autocast(device, self._format):
            logits: Tensor = self.model(**moved).logits
        return logits.float()
