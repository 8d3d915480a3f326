"""Data sets by name and people's own files: texts, tagged words, pictures, histories, series.

`texts`, `pairs`, `tagged`, `tales`, `pictures`, `histories` and `series` say what a data
set is, `named` loads one by name (`fetching` brings the file, `parsers` read it), `own_*`, `pages`
and `conll` read yours, `dates`, `news`, `messages`, `scenes` and `printed` are made from a seed,
`splits` makes three parts.
"""

import importlib
from typing import TYPE_CHECKING, Any

from attnlab.datasets.captions import multi30k
from attnlab.datasets.conll import from_conll
from attnlab.datasets.duplicates import near_duplicates
from attnlab.datasets.fetching import cache_dir
from attnlab.datasets.histories import Histories, histories_from_frame
from attnlab.datasets.icons import IconDataset
from attnlab.datasets.named import fetch, is_cached, load, names, source
from attnlab.datasets.own_boxes import boxes_from_csv
from attnlab.datasets.own_files import from_csv, from_frame
from attnlab.datasets.own_histories import load_histories
from attnlab.datasets.own_pairs import pairs_from_file
from attnlab.datasets.own_pictures import images_from_folder
from attnlab.datasets.own_series import load_series
from attnlab.datasets.own_tales import load_tales
from attnlab.datasets.own_texts import texts_from_file
from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.picture_files import read_picture
from attnlab.datasets.pictures import ImageDataset, SceneDataset
from attnlab.datasets.series import SeriesDataset
from attnlab.datasets.splits import Splits, split
from attnlab.datasets.tagged import Entity, TaggedDataset
from attnlab.datasets.tales import Tales
from attnlab.datasets.texts import TextDataset, normalise

if TYPE_CHECKING:
    from attnlab.datasets import dates, messages, news, pages, printed, scenes

__all__ = [
    "Entity",
    "Histories",
    "IconDataset",
    "ImageDataset",
    "ParallelDataset",
    "SceneDataset",
    "SeriesDataset",
    "Splits",
    "TaggedDataset",
    "Tales",
    "TextDataset",
    "boxes_from_csv",
    "cache_dir",
    "dates",
    "fetch",
    "from_conll",
    "from_csv",
    "from_frame",
    "histories_from_frame",
    "images_from_folder",
    "is_cached",
    "load",
    "load_histories",
    "load_series",
    "load_tales",
    "messages",
    "multi30k",
    "names",
    "near_duplicates",
    "news",
    "normalise",
    "pages",
    "pairs_from_file",
    "printed",
    "read_picture",
    "scenes",
    "source",
    "split",
    "texts_from_file",
]


def __getattr__(name: str) -> Any:
    if name in (
        "dates",
        "messages",
        "news",
        "pages",
        "printed",
        "scenes",
    ):  # loaded when used: some need Babel
        return importlib.import_module(f"attnlab.datasets.{name}")
    raise AttributeError(f"module 'attnlab.datasets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
