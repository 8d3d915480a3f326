"""Adaptive attention: computing it where it is needed, and keeping a promise under load.

Fewer keys for a query, fewer tokens for a layer, fewer layers for an easy text; and a service whose
controller chooses among them so that answers come in time.
"""

from attnlab.adaptive.attributions import integrated_gradients
from attnlab.adaptive.by_input import spent, tokens_by_input
from attnlab.adaptive.controller import Controller, FixedPoint, OperatingPoint, Oracle, Shedding
from attnlab.adaptive.disturbing import IMAGE_KINDS, TEXT_KINDS, TURNING_KINDS, disturb
from attnlab.adaptive.drifting import attention_drift, robustness
from attnlab.adaptive.faithfulness import RANKINGS, areas, deletion_curves
from attnlab.adaptive.gradients import gradient_noise
from attnlab.adaptive.load import arrivals, by_window, closed_loop, send, trace
from attnlab.adaptive.measuring import measure_points
from attnlab.adaptive.monitor import LoadMonitor, LoadReading
from attnlab.adaptive.patching import patch_heads, patching_curve, patching_effects
from attnlab.adaptive.quantiles import StreamingQuantiles
from attnlab.adaptive.retraining import retrain
from attnlab.adaptive.scoring import TokenScorer, importance_by_gradient, token_scorer
from attnlab.adaptive.service import BatchingService
from attnlab.adaptive.serving import Server
from attnlab.adaptive.tokens import FewerTokens, drop_tokens, merge_tokens
from attnlab.adaptive.ways import ways

__all__ = [
    "IMAGE_KINDS",
    "RANKINGS",
    "TEXT_KINDS",
    "TURNING_KINDS",
    "BatchingService",
    "Controller",
    "FewerTokens",
    "FixedPoint",
    "LoadMonitor",
    "LoadReading",
    "OperatingPoint",
    "Oracle",
    "Server",
    "Shedding",
    "StreamingQuantiles",
    "TokenScorer",
    "areas",
    "arrivals",
    "attention_drift",
    "by_window",
    "closed_loop",
    "deletion_curves",
    "disturb",
    "drop_tokens",
    "gradient_noise",
    "importance_by_gradient",
    "integrated_gradients",
    "measure_points",
    "merge_tokens",
    "patch_heads",
    "patching_curve",
    "patching_effects",
    "retrain",
    "robustness",
    "send",
    "spent",
    "token_scorer",
    "tokens_by_input",
    "trace",
    "ways",
]


def __dir__() -> list[str]:
    return sorted(__all__)
