"""Drawings that come before a new idea: boxes, arrows and small numbers, drawn by code.

Every function returns a `Picture` with its text alternative. The numbers in a drawing are computed,
so they are right.
"""

from attnlab.show.drawings.attention_from_scratch import (
    head_slices,
    mask_first,
    mask_grids,
    one_head,
    one_layer,
)
from attnlab.show.drawings.attention_maths import (
    backward,
    clock_hands,
    one_query,
    path_lengths,
    two_circuits,
    two_tiles,
)
from attnlab.show.drawings.balance import (
    divergence,
    guard,
    share_of_damage,
    shared_attention,
    two_rulers,
    two_sides,
)
from attnlab.show.drawings.finetuning import fine_tuned_parts, lora, padded_batch, tagged_pieces
from attnlab.show.drawings.head_mixing import margins, mixing_desk, patching, two_routes
from attnlab.show.drawings.language_model import cache_step, copying, gpt
from attnlab.show.drawings.sketch import ROLES, Box, Sketch
from attnlab.show.drawings.start_here import head_by_hand, whole_path
from attnlab.show.drawings.translation import (
    beam_tree,
    cross_attention_by_hand,
    decoder_layer,
    decoder_masks,
    encoder_decoder,
    kept_keys,
    surplus,
    teacher_forcing,
)

__all__ = [
    "ROLES",
    "Box",
    "Sketch",
    "backward",
    "beam_tree",
    "cache_step",
    "clock_hands",
    "copying",
    "cross_attention_by_hand",
    "decoder_layer",
    "decoder_masks",
    "divergence",
    "encoder_decoder",
    "fine_tuned_parts",
    "gpt",
    "guard",
    "head_by_hand",
    "head_slices",
    "kept_keys",
    "lora",
    "margins",
    "mask_first",
    "mask_grids",
    "mixing_desk",
    "one_head",
    "one_layer",
    "one_query",
    "padded_batch",
    "patching",
    "path_lengths",
    "share_of_damage",
    "shared_attention",
    "surplus",
    "tagged_pieces",
    "teacher_forcing",
    "two_circuits",
    "two_routes",
    "two_rulers",
    "two_sides",
    "two_tiles",
    "whole_path",
]


def __dir__() -> list[str]:
    return sorted(__all__)
