"""Data sets by name, and people's own files: texts with labels, pairs, tagged words, dates, news."""

from attnlab.datasets.pairs import ParallelDataset, near_duplicates, normalise, pairs_from_file
from attnlab.datasets.tagged import Entity, TaggedDataset
from attnlab.datasets.texts import (
    Splits,
    TextDataset,
    cache_dir,
    fetch,
    from_csv,
    from_frame,
    is_cached,
    load,
    multi30k,
    names,
    source,
    split,
)

__all__ = [
    "Entity",
    "ParallelDataset",
    "Splits",
    "TaggedDataset",
    "TextDataset",
    "cache_dir",
    "fetch",
    "from_csv",
    "from_frame",
    "is_cached",
    "load",
    "multi30k",
    "names",
    "near_duplicates",
    "normalise",
    "pairs_from_file",
    "source",
    "split",
]
