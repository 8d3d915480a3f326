"""Attention from scratch, as lessons 01 and 02 derive it.

`scores` rates each key for each query, `soft` turns scores into weights and mixes the values,
`masks` says who may attend to whom; then `hard` and `tiled` attention, the `ring` of several
processes, `multi_head`, `positions`, and `spread` (entropy). In comments B is batch, H heads, T
tokens (T_q queries, T_k keys), D width.
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
    alibi_slopes,
    rotary_angles,
    rotary_angles_2d,
    rotate,
    sinusoidal_positions,
    sinusoidal_positions_2d,
)
from attnlab.attention.processes import in_processes
from attnlab.attention.ring import ring_attention, ring_join, ring_part
from attnlab.attention.scores import (
    additive_scores,
    dot_scores,
    general_scores,
    scaled_dot_scores,
)
from attnlab.attention.soft import scaled_dot_product_attention, softmax
from attnlab.attention.span import AdaptiveSpan, span_mask
from attnlab.attention.sparse import entmax15, sparsemax
from attnlab.attention.spread import effective_keys, entropy
from attnlab.attention.tiled import tiled_attention
from attnlab.attention.windows import window_attention, window_mask

__all__ = [
    "AdaptiveSpan",
    "HardAttention",
    "MultiHeadAttention",
    "additive_scores",
    "alibi_slopes",
    "causal_mask",
    "combine_masks",
    "dot_scores",
    "effective_keys",
    "entmax15",
    "entropy",
    "general_scores",
    "hard_attention",
    "in_processes",
    "local_mask",
    "merge_heads",
    "padding_mask",
    "ring_attention",
    "ring_join",
    "ring_part",
    "rotary_angles",
    "rotary_angles_2d",
    "rotate",
    "scaled_dot_product_attention",
    "scaled_dot_scores",
    "score_function_loss",
    "sinusoidal_positions",
    "sinusoidal_positions_2d",
    "softmax",
    "span_mask",
    "sparsemax",
    "split_heads",
    "tiled_attention",
    "top_k_attention",
    "window_attention",
    "window_mask",
]


def __dir__() -> list[str]:
    return sorted(__all__)
