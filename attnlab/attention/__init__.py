"""Attention from scratch, as lessons 01 and 02 derive it.

`scores` rates each key for each query, `soft` turns scores into weights and mixes the values,
`masks` says who may attend to whom; then `hard` and `tiled` attention, `multi_head`, `positions`,
and `spread` (entropy). In comments B is batch, H heads, T tokens (T_q queries, T_k keys), D width.
"""

from attnlab.attention.hard import (
    HardAttention,
    hard_attention,
    score_function_loss,
    top_k_attention,
)
from attnlab.attention.masks import causal_mask, combine_masks, local_mask, padding_mask
from attnlab.attention.multi_head import MultiHeadAttention, merge_heads, split_heads
from attnlab.attention.positions import (
    rotary_angles_2d,
    rotate,
    sinusoidal_positions,
    sinusoidal_positions_2d,
)
from attnlab.attention.scores import (
    additive_scores,
    dot_scores,
    general_scores,
    scaled_dot_scores,
)
from attnlab.attention.soft import scaled_dot_product_attention, softmax
from attnlab.attention.spread import effective_keys, entropy
from attnlab.attention.tiled import tiled_attention

__all__ = [
    "HardAttention",
    "MultiHeadAttention",
    "additive_scores",
    "causal_mask",
    "combine_masks",
    "dot_scores",
    "effective_keys",
    "entropy",
    "general_scores",
    "hard_attention",
    "local_mask",
    "merge_heads",
    "padding_mask",
    "rotary_angles_2d",
    "rotate",
    "scaled_dot_product_attention",
    "scaled_dot_scores",
    "score_function_loss",
    "sinusoidal_positions",
    "sinusoidal_positions_2d",
    "softmax",
    "split_heads",
    "tiled_attention",
    "top_k_attention",
]


def __dir__() -> list[str]:
    return sorted(__all__)
