"""Histories by name, and from your own table."""

import os
from typing import Any

import pandas as pd

from attnlab.datasets.columns import cells_of
from attnlab.datasets.histories import Histories, histories_from_frame
from attnlab.datasets.named import load
from attnlab.datasets.reading import local_file, name_of
from attnlab.errors import DataError, option

_COLUMNS = ("user", "item", "time")


def load_histories(
    source: str | os.PathLike[str] = "films",
    user: str = "user",
    item: str = "item",
    time: str = "time",
    *,
    fewest: int = 5,
    seed: int = 0,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> Histories:
    """Load what people did, in order of time.

    Parameters
    ----------
    source : "films" (the films that 671 people rated), or a table of your own with a row for each
        event, as `from_csv` reads it
    user, item, time : names of your columns; times are numbers or dates such as 2026-01-31
    fewest : people with fewer items, and items with fewer people, are left out
    seed : draws the order of events that have the same time
    encoding, delimiter : of your own file, as for `from_csv`

    Raises
    ------
    DataError : no such file or column, an empty cell, a time that is none, too little left
    """
    if os.fspath(source) == "films":
        films: Any = load("films")
        return films
    path, columns = local_file(source), (user, item, time)
    rows = list(cells_of(path, columns, encoding, delimiter, _COLUMNS))
    for where, cells in rows:
        if not all(cells):
            raise DataError(f"{where} has an empty cell; each event has a person, an item, a time.")
    frame = pd.DataFrame([cells for _, cells in rows], columns=list(_COLUMNS))
    frame["time"] = _times([(where, cells[2]) for where, cells in rows], time)
    return histories_from_frame(frame, fewest=fewest, seed=seed, name=name_of(path))


def _times(written: list[tuple[str, str]], column: str) -> pd.Series:
    """Times as numbers, or as dates."""
    cells = pd.Series([cell for _, cell in written], dtype=object)
    numbers = pd.to_numeric(cells, errors="coerce")
    if numbers.notna().all():
        return numbers
    dates = pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True)
    if dates.notna().all():
        return dates
    bad = int((numbers if numbers.notna().sum() > dates.notna().sum() else dates).isna().argmax())
    where, cell = written[bad]
    raise DataError(
        f"{where} has the time {cell!r} in column {column!r}. Expected numbers throughout, or "
        f"dates such as 2026-01-31 or 2026-01-31T14:30. Is {option('time')} another column?"
    )
