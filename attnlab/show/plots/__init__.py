"""Figures with seaborn and matplotlib, each with its text alternative.

Every function returns a `Picture`, which a notebook shows as an image with alt text (Jupyter's own
output of a figure has none). ``picture.figure`` is the matplotlib figure, yours to change.
"""

from attnlab.show.plots.balance import (
    AnomalyTable,
    anomaly_table,
    balance,
    clusters,
    episodes,
    recording,
    similarity,
    tuning,
)
from attnlab.show.plots.heads import (
    agreement,
    effects,
    entropy,
    explanations,
    importances,
    pruning,
    special_shares,
)
from attnlab.show.plots.judging import calibration, comparison, confusion, movement
from attnlab.show.plots.learning import (
    RUN_COLOURS,
    RUN_DASHES,
    RUN_MARKERS,
    brief,
    epoch_ends,
    learning_curve,
    smoothed,
)
from attnlab.show.plots.maps import MAX_TOKENS, attention_map, before_after, head_map, readable
from attnlab.show.plots.picture import Picture, lines, matrix, show
from attnlab.show.plots.translation import alignment, alignment_accuracy, alignments, next_tokens

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
    "attention_map",
    "balance",
    "before_after",
    "brief",
    "calibration",
    "clusters",
    "comparison",
    "confusion",
    "effects",
    "entropy",
    "episodes",
    "epoch_ends",
    "explanations",
    "head_map",
    "importances",
    "learning_curve",
    "lines",
    "matrix",
    "movement",
    "next_tokens",
    "pruning",
    "readable",
    "recording",
    "show",
    "similarity",
    "smoothed",
    "special_shares",
    "tuning",
]
