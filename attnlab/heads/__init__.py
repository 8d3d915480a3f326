"""Attention heads of Transformers models: a scale and a temperature for each, pruning, maps."""

from attnlab.heads.control import (
    applied,
    attach,
    current,
    one_setting,
    prune,
    removed,
    self_check,
    size,
)
from attnlab.heads.maps import AttentionMaps, CrossMaps, Seq2SeqMaps
from attnlab.heads.settings import HeadSettings, Seq2SeqSettings

__all__ = [
    "AttentionMaps",
    "CrossMaps",
    "HeadSettings",
    "Seq2SeqMaps",
    "Seq2SeqSettings",
    "applied",
    "attach",
    "current",
    "one_setting",
    "prune",
    "removed",
    "self_check",
    "size",
]
