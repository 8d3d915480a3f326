"""Figures with seaborn and matplotlib, each with its text alternative.

Every function returns a `Picture`, which a notebook shows as an image with alt text (Jupyter's own
output of a figure has none). ``picture.figure`` is the matplotlib figure, yours to change.
"""

from attnlab.show.plots.anomaly_tables import AnomalyTable, anomaly_table
from attnlab.show.plots.answers import answers
from attnlab.show.plots.attention_grid import attention_grid
from attnlab.show.plots.balance_meter import balance
from attnlab.show.plots.compression import compression_frontier, weights_by_part
from attnlab.show.plots.date_plots import answer_grid, date_fields, dots_beside_zero, loss_and_share
from attnlab.show.plots.disturbed import deletion, patching, robustness
from attnlab.show.plots.explained_tokens import explanations
from attnlab.show.plots.forest_plot import forest
from attnlab.show.plots.head_effects import effects, pruning
from attnlab.show.plots.head_focus import entropy, special_shares
from attnlab.show.plots.head_importance import agreement, importances
from attnlab.show.plots.head_kinds import clusters, similarity
from attnlab.show.plots.head_scatter import head_scatter
from attnlab.show.plots.image_grid import image_maps, images
from attnlab.show.plots.inside import head_ablation, head_scores, induction, logit_lens
from attnlab.show.plots.interval_plots import differences, intervals, over_seeds, resampling
from attnlab.show.plots.judging import calibration, comparison, confusion, movement
from attnlab.show.plots.layer_scatter import layer_scatter
from attnlab.show.plots.learning import (
    RUN_COLOURS,
    RUN_DASHES,
    RUN_MARKERS,
    brief,
    epoch_ends,
    learning_curve,
    smoothed,
)
from attnlab.show.plots.loss_and_heads import loss_and_heads
from attnlab.show.plots.maps import (
    MAX_TOKENS,
    attention_map,
    before_after,
    chosen_heads,
    head_map,
    readable,
)
from attnlab.show.plots.number_table import table
from attnlab.show.plots.picture import Picture, lines, matrix, panels, show
from attnlab.show.plots.rebuilt_map import rebuilt_map
from attnlab.show.plots.removal_orders import removal_orders
from attnlab.show.plots.rug_plot import rug
from attnlab.show.plots.scores_and_gradients import scores_and_gradients
from attnlab.show.plots.sentence_map import sentence_map
from attnlab.show.plots.share_bars import share_bars
from attnlab.show.plots.sinks import sink
from attnlab.show.plots.training_run import episodes, recording
from attnlab.show.plots.translation import (
    alignment,
    alignment_accuracy,
    alignments,
    attention_kinds,
    next_tokens,
)
from attnlab.show.plots.tuner_rounds import tuning
from attnlab.show.plots.word_changes import word_changes
from attnlab.show.plots.word_shares import word_shares

__all__ = [
    "MAX_TOKENS",
    "RUN_COLOURS",
    "RUN_DASHES",
    "RUN_MARKERS",
    "AnomalyTable",
    "Picture",
    "agreement",
    "alignment",
    "alignment_accuracy",
    "alignments",
    "anomaly_table",
    "answer_grid",
    "answers",
    "attention_grid",
    "attention_kinds",
    "attention_map",
    "balance",
    "before_after",
    "brief",
    "calibration",
    "chosen_heads",
    "clusters",
    "comparison",
    "compression_frontier",
    "confusion",
    "date_fields",
    "deletion",
    "differences",
    "dots_beside_zero",
    "effects",
    "entropy",
    "episodes",
    "epoch_ends",
    "explanations",
    "forest",
    "head_ablation",
    "head_map",
    "head_scatter",
    "head_scores",
    "image_maps",
    "images",
    "importances",
    "induction",
    "intervals",
    "layer_scatter",
    "learning_curve",
    "lines",
    "logit_lens",
    "loss_and_heads",
    "loss_and_share",
    "matrix",
    "movement",
    "next_tokens",
    "over_seeds",
    "panels",
    "patching",
    "pruning",
    "readable",
    "rebuilt_map",
    "recording",
    "removal_orders",
    "resampling",
    "robustness",
    "rug",
    "scores_and_gradients",
    "sentence_map",
    "share_bars",
    "show",
    "similarity",
    "sink",
    "smoothed",
    "special_shares",
    "table",
    "tuning",
    "weights_by_part",
    "word_changes",
    "word_shares",
]


def __dir__() -> list[str]:
    return sorted(__all__)
