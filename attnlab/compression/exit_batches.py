"""Texts on their way through the layers, of which some leave: those that are left close ranks."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from attnlab.classification.encoding import batches

__all__ = ["OnTheWay", "regrouped"]


@dataclass(frozen=True)
class OnTheWay:
    """A batch of texts between two layers.

    Attributes
    ----------
    texts : int array (B,), their places in the answers
    hidden : hidden states, (B, T, E)
    mask : bool (B, 1, 1, T), where tokens are; None without padding
    """

    texts: np.ndarray
    hidden: Tensor
    mask: Tensor | None

    def kept(self, staying: np.ndarray, lengths: np.ndarray) -> "OnTheWay":
        """Return those that stay, bool (B,), without what was padded to a text that left.

        ``lengths`` are the numbers of tokens by place, as for `regrouped`.
        """
        if staying.all():
            return self
        texts, rows = self.texts[staying], torch.from_numpy(staying)
        longest = int(lengths[texts].max(initial=0))
        mask = None if self.mask is None else self.mask[rows, :, :, :longest]
        mask = None if mask is None or mask.all() else mask
        return OnTheWay(texts, self.hidden[rows, :longest], mask)


def regrouped(there: list[OnTheWay], lengths: np.ndarray) -> list[OnTheWay]:
    """Return the same texts in fewer batches, where so much padding as is usual allows it.

    Parameters
    ----------
    there : batches between the same two layers
    lengths : number of tokens of each text, by its place in the answers, (N,)
    """
    texts = np.concatenate([batch.texts for batch in there]) if there else np.empty(0, int)
    groups = list(batches(lengths[texts]))
    if len(groups) >= len(there):
        return there
    states = [
        row[:length]
        for batch in there
        for row, length in zip(batch.hidden, lengths[batch.texts], strict=True)
    ]
    found = []
    for group in groups:
        hidden = pad_sequence([states[place] for place in group], batch_first=True)
        here = torch.arange(hidden.shape[1]) < torch.from_numpy(lengths[texts[group]])[:, None]
        mask = None if here.all() else here[:, None, None].to(hidden.device)
        found.append(OnTheWay(texts[group], hidden, mask))
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
