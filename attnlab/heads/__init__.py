"""Attention heads of Transformers models: a scale and a temperature for each, pruning, maps.

`applied` changes a model's heads inside a block, `prune` removes them for good, `record` tells what
they did, and `self_check` proves on a model of yours that all of this is real.
"""

from attnlab.heads.control import applied, attach, current, in_force, keywords, one_setting
from attnlab.heads.families import (
    PRUNED,
    FeedForward,
    Site,
    WithoutWeights,
    active_heads,
    feed_forwards,
    layer_list,
    model_of,
    prefix,
    refuse_prefix,
    removed,
    sharing_layers,
    sites,
    size,
)
from attnlab.heads.maps import WHATS, AttentionMaps, CrossMaps, Seq2SeqMaps, What
from attnlab.heads.pruning import prune, restore_structure
from attnlab.heads.recording import LayerRecord, record
from attnlab.heads.running import run
from attnlab.heads.selfcheck import self_check
from attnlab.heads.settings import KINDS, HeadSettings, Seq2SeqSettings
from attnlab.heads.weights import effective_weight, is_plain

__all__ = [
    "KINDS",
    "PRUNED",
    "WHATS",
    "AttentionMaps",
    "CrossMaps",
    "FeedForward",
    "HeadSettings",
    "LayerRecord",
    "Seq2SeqMaps",
    "Seq2SeqSettings",
    "Site",
    "What",
    "WithoutWeights",
    "active_heads",
    "applied",
    "attach",
    "current",
    "effective_weight",
    "feed_forwards",
    "in_force",
    "is_plain",
    "keywords",
    "layer_list",
    "model_of",
    "one_setting",
    "prefix",
    "prune",
    "record",
    "refuse_prefix",
    "removed",
    "restore_structure",
    "run",
    "self_check",
    "sharing_layers",
    "sites",
    "size",
]


def __dir__() -> list[str]:
    return sorted(__all__)
