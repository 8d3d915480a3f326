"""One more token for texts of one length: the model's forward pass in a straight line.

A step with a cache is a hundred small operations. Each takes microseconds, and so do the checks and
the choices around it, which a text in a batch of its own does not need. In comments R is texts, H
heads, K heads of keys and values, D head width, S tokens read so far, E d_model, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.attention import MultiHeadAttention, rotate
from attnlab.language.cache import LanguageCache
from attnlab.language.model import LanguageModel

__all__ = ["can_step", "one_more"]


def can_step(model: LanguageModel) -> bool:
    """Whether `one_more` knows this model: no window, no bias of scores, no layer without heads."""
    return (
        model.size["window"] is None
        and model.size["positions"] != "alibi"
        and all(isinstance(block.attention, MultiHeadAttention) for block in model.blocks)
    )


def one_more(model: LanguageModel, ids: Tensor, cache: LanguageCache) -> Tensor:
    """Read one token of each text, without head settings; the same numbers as the model's own call.

    Parameters
    ----------
    model : LanguageModel that `can_step`
    ids : Tensor of int, shape (R,), the tokens
    cache : of what was read before, texts of one length; the tokens are added to it

    Returns
    -------
    logits : Tensor, shape (R, V), of what comes after them
    """
    slot = cache.advance()
    position = ids.new_full((1, 1), slot)
    active = [model.active_heads(layer) for layer in range(model.layers)]
    angles = model.positions.options(position, position, active)[0].get("angles")
    x = model.positions.add(model.embedding(ids[:, None]), position)  # (R, 1, E)
    for layer, block in enumerate(model.blocks):
        attention, y = block.attention, block.around_attention.norm(x)
        heads, shared = attention.heads, attention.kv_heads
        both = torch.cat([attention.query(y), attention.key(y)], -1)
        both = both.view(len(ids), heads + shared, 1, -1)
        if angles is not None:
            both = rotate(both, angles)
        query, key = both.split([heads, shared], 1)  # (R, H, 1, D) and (R, K, 1, D)
        value = attention.value(y).view(key.shape)
        keys, values = (
            attention.for_queries(part)  # (R, H, S, D)
            for part in cache.put(layer, slot, key, value)
        )
        context = F.scaled_dot_product_attention(query, keys, values)
        x = x + attention.output(context.view(len(ids), 1, -1))
        if block.feed_forward is not None:
            x = x + block.feed_forward(block.around_feed_forward.norm(x))
    return model.unembedding(model.norm(x))[:, 0]


def __dir__() -> list[str]:
    return sorted(__all__)
