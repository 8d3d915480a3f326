"""Attention heads of Transformers models: a scale and a temperature for each, pruning, maps.

`applied` changes a model's heads inside a block, `prune` removes them for good, `record` tells what
they did, and `self_check` proves on a model of yours that all of this is real. `load_pruned` reads
a model without some of its heads, and `planted` gives a layer a fault for others to find.
"""

from attnlab.heads.control import applied, attach, current, in_force, keywords, one_setting
from attnlab.heads.families import (
    PRUNED,
    WithoutWeights,
    active_heads,
    feed_forwards,
    is_decoder,
    layer_list,
    model_of,
    prefix,
    refuse_decoder,
    refuse_prefix,
    removed,
    sharing_layers,
    sites,
    size,
)
from attnlab.heads.loading import load_pruned
from attnlab.heads.maps import WHATS, AttentionMaps, CrossMaps, Seq2SeqMaps, What
from attnlab.heads.narrowing import (
    NARROWED,
    Narrow,
    narrow,
    narrowed_layers,
    note_narrowing,
    refuse_narrowing,
    restore_narrowing,
)
from attnlab.heads.own import OwnModel
from attnlab.heads.parts import FeedForward, Projection, Site
from attnlab.heads.planting import FAULTS, planted
from attnlab.heads.pruning import prune, restore_structure
from attnlab.heads.recording import LayerRecord, record
from attnlab.heads.running import run
from attnlab.heads.selfcheck import self_check
from attnlab.heads.settings import KINDS, HeadSettings, Seq2SeqSettings
from attnlab.heads.weights import effective_weight, is_plain, value_weight

__all__ = [
    "FAULTS",
    "KINDS",
    "NARROWED",
    "PRUNED",
    "WHATS",
    "AttentionMaps",
    "CrossMaps",
    "FeedForward",
    "HeadSettings",
    "LayerRecord",
    "Narrow",
    "OwnModel",
    "Projection",
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
    "is_decoder",
    "is_plain",
    "keywords",
    "layer_list",
    "load_pruned",
    "model_of",
    "narrow",
    "narrowed_layers",
    "note_narrowing",
    "one_setting",
    "planted",
    "prefix",
    "prune",
    "record",
    "refuse_decoder",
    "refuse_narrowing",
    "refuse_prefix",
    "removed",
    "restore_narrowing",
    "restore_structure",
    "run",
    "self_check",
    "sharing_layers",
    "sites",
    "size",
    "value_weight",
]


def __dir__() -> list[str]:
    return sorted(__all__)
