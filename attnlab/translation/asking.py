"""What a search asks a translator: how likely is each token after these?"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attnlab.translation.batches import padded

if TYPE_CHECKING:
    from attnlab.translation.translator import Translator

Prefixes = Sequence[Sequence[int]]
Asked = dict[tuple[int, ...], Tensor]


@torch.no_grad()
def asking(
    translator: "Translator", text: str, decode: Callable[[Any, Tensor, Any], Tensor]
) -> tuple[Callable[[Prefixes], Tensor], Asked]:
    """Return a function for a search to ask, and a dict that fills with what it was asked.

    Parameters
    ----------
    translator : Translator
    text : the source
    decode : ``(model, target (B, T), memory)`` to logits (B, T, V)

    Returns
    -------
    next_log_probabilities : n prefixes (lists of ids) to log-probabilities (n, V), on the CPU;
        padding and the start mark are never next
    asked : the log-probabilities (V,) by prefix
    """
    model, where = translator.model, translator.device
    memory = model.encode(padded(translator.encode([text])).to(where))
    asked: Asked = {}

    @torch.no_grad()
    def next_log_probabilities(prefixes: Prefixes) -> Tensor:
        keys = [tuple(map(int, ids)) for ids in prefixes]
        for key in keys:
            logits = decode(model, torch.tensor([key], device=where), memory)[0, -1].cpu()
            logits = logits.clone()
            logits[[model.padding, translator.target_words.start]] = -torch.inf
            asked[key] = logits.log_softmax(-1)
        return torch.stack([asked[key] for key in keys])

    return next_log_probabilities, asked
