"""Compression: what can be taken away from a classifier, and what that saves.

Every function takes a `Classifier` first and returns a new, smaller one, which predicts, saves and
loads like any other; `steps` tells what was done to it.
"""

from typing import Any

from attnlab.classification import structure
from attnlab.compression.batching import Throughput, throughput
from attnlab.compression.choices import head_scores, layer_scores, neuron_scores
from attnlab.compression.comparing import compare
from attnlab.compression.describing import describe
from attnlab.compression.distilling import distil
from attnlab.compression.early_exits import EarlyExit, early_exit
from attnlab.compression.numbers import fake_quantized, prune_weights, quantize, share_weights
from attnlab.compression.removing import prune_heads, prune_layers, prune_neurons
from attnlab.compression.sharing import factorize, share_layers
from attnlab.compression.vocabulary import trim_vocabulary

__all__ = [
    "EarlyExit",
    "Throughput",
    "compare",
    "describe",
    "distil",
    "early_exit",
    "factorize",
    "fake_quantized",
    "head_scores",
    "layer_scores",
    "neuron_scores",
    "prune_heads",
    "prune_layers",
    "prune_neurons",
    "prune_weights",
    "quantize",
    "share_layers",
    "share_weights",
    "steps",
    "throughput",
    "trim_vocabulary",
]


def steps(clf: Any) -> list[dict[str, Any]]:
    """Return what was done to a classifier, in order: a dict for each step, its name as "step"."""
    return structure.steps(clf)


def __dir__() -> list[str]:
    return sorted(__all__)
