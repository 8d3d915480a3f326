"""Drawings that come before a new idea: boxes, arrows and small numbers, drawn by code.

Every function returns a `Picture` with its text alternative. The numbers in a drawing are computed,
so they are right.
"""

from attnlab.show.drawings.attention_from_scratch import (
    head_slices,
    joined_masks,
    mask_first,
    mask_grids,
    one_layer,
    rebuilt_model,
)
from attnlab.show.drawings.attention_maths import (
    backward,
    clock_hands,
    lesson_map,
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
    two_bands,
    two_rulers,
    two_sides,
)
from attnlab.show.drawings.finetuning import fine_tuned_parts, lora, padded_batch, tagged_pieces
from attnlab.show.drawings.head_mixing import (
    margins,
    mixing_desk,
    patching,
    path_patching,
    two_routes,
)
from attnlab.show.drawings.language_model import cache_step, copying, gpt
from attnlab.show.drawings.looking_inside import neighbour_cells, two_runs, weight_times_vector
from attnlab.show.drawings.maths_plots import (
    jacobian,
    largest_weights,
    named_curves,
    position_table,
    token_bars,
)
from attnlab.show.drawings.maths_steps import (
    all_at_once,
    bell_look_up,
    best_spread,
    growing_scores,
    heads_add_up,
    nearest_key,
    spreads,
)
from attnlab.show.drawings.sketch import ROLES, Box, Sketch
from attnlab.show.drawings.start_here import cuts_in_a_head, head_by_hand, three_cuts, whole_path
from attnlab.show.drawings.tensor_steps import (
    attention_shapes,
    attention_steps,
    multi_head,
    norm_steps,
    projections,
)
from attnlab.show.drawings.translation import (
    beam_tree,
    cross_attention_by_hand,
    decoder_layer,
    decoder_masks,
    encoder_decoder,
    kept_keys,
    search_tree,
    surplus,
    teacher_forcing,
    training_circle,
    writing_steps,
)

__all__ = [
    "ROLES",
    "Box",
    "Sketch",
    "all_at_once",
    "attention_shapes",
    "attention_steps",
    "backward",
    "beam_tree",
    "bell_look_up",
    "best_spread",
    "cache_step",
    "clock_hands",
    "copying",
    "cross_attention_by_hand",
    "cuts_in_a_head",
    "decoder_layer",
    "decoder_masks",
    "divergence",
    "encoder_decoder",
    "fine_tuned_parts",
    "gpt",
    "growing_scores",
    "guard",
    "head_by_hand",
    "head_slices",
    "heads_add_up",
    "jacobian",
    "joined_masks",
    "kept_keys",
    "largest_weights",
    "lesson_map",
    "lora",
    "margins",
    "mask_first",
    "mask_grids",
    "mixing_desk",
    "multi_head",
    "named_curves",
    "nearest_key",
    "neighbour_cells",
    "norm_steps",
    "one_layer",
    "one_query",
    "padded_batch",
    "patching",
    "path_lengths",
    "path_patching",
    "position_table",
    "projections",
    "rebuilt_model",
    "search_tree",
    "share_of_damage",
    "shared_attention",
    "spreads",
    "surplus",
    "tagged_pieces",
    "teacher_forcing",
    "three_cuts",
    "token_bars",
    "training_circle",
    "two_bands",
    "two_circuits",
    "two_routes",
    "two_rulers",
    "two_runs",
    "two_sides",
    "two_tiles",
    "weight_times_vector",
    "whole_path",
    "writing_steps",
]


def __dir__() -> list[str]:
    return sorted(__all__)
