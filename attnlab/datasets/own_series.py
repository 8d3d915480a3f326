"""Series by name, and from your own table."""

import math
import os

import numpy as np

from attnlab.datasets.labels import numbered, says_nothing
from attnlab.datasets.named import load
from attnlab.datasets.reading import ending_of, local_file, name_of, read_text
from attnlab.datasets.series import SHORTEST, SeriesDataset, series_hashes
from attnlab.datasets.splits import Splits, split_by
from attnlab.datasets.tables import Rows, read_rows, told_width
from attnlab.errors import DataError, option, suggest


def load_series(
    source: str | os.PathLike[str] = "appliances",
    label: str = "label",
    series: str = "series",
    value: str = "value",
    *,
    dev: int | float = 0.2,
    test: int | float = 0.2,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> Splits:
    """Load labelled series in three parts.

    Parameters
    ----------
    source : "appliances" (PLAID: recordings of 11 kinds of appliance), or a table of your own. In
        its long form a row is one value and names its series and label, and the values of a series
        stand in order of time; without the columns ``series`` and ``value`` a row is a whole series
        with its label, and empty cells at the end make it shorter.
    label, series, value : names of your columns
    dev, test : how many of your series, or which share; copies of a series stay in one part
    encoding, delimiter : of your own file, as for `from_csv`

    Raises
    ------
    DataError : no such file or column, a cell that is no number, a gap within a series, a series
        with two labels, a series of fewer than 8 values

    Notes
    -----
    PLAID comes in a training and a test part of 537 series each; a fifth of the first becomes dev,
    and the series of it that stand in the test part too are left out. The values are as published,
    after some processing; their unit is not stated, and its size differs from device to device.

    Devices, and with them houses, stand on both sides. The file names none, but within a kind both
    parts are in the same order: for 72 % of the test series, the training series of their kind with
    the nearest four numbers (mean, spread, minimum, maximum) stands at the same place of it to 5 %,
    where chance gives 12 %. So what is measured here is to know a device again. Source: Gao et al.
    2014.
    """
    if os.fspath(source) == "appliances":
        return load("appliances")
    path = local_file(source)
    text = read_text(path, encoding)
    table = read_rows(text, path.name, ending_of(path), delimiter, [label])
    header = [cell.strip() for cell in table.rows[0].cells]
    long = series in header and value in header
    for column in (label, series, value) if long else (label,):
        if header.count(column) != 1:
            raise DataError(
                f"{path.name} has {header.count(column) or 'no'} column {column!r}. "
                f"{suggest(column, header)} Name columns with {option('label')}, "
                f"{option('series')} and {option('value')}."
            )
    if len(table.rows) < 2:
        raise DataError(f"{path.name} has a header and no rows. Give at least one series.")
    names = (label, series, value)
    found, labels = _long(table, header, names) if long else _wide(table, header, label)
    numbers, label_names = numbered(labels, path.name, "series")
    data = SeriesDataset(found, numbers, label_names, name_of(path))
    return split_by(series_hashes(data), data, dev, test)


def _long(
    table: Rows, header: list[str], names: tuple[str, str, str]
) -> tuple[list[np.ndarray], list[str]]:
    """Series and labels of a table with a row for each value."""
    places = [header.index(column) for column in names]
    values: dict[str, list[float]] = {}
    labels: dict[str, str] = {}
    for row in table.rows[1:]:
        if len(row.cells) != len(header):
            raise DataError(told_width(table, row, len(header)))
        label, series, value = (row.cells[place].strip() for place in places)
        where = f"{row.lines.capitalize()} of {table.name}"
        _check_label(label, where)
        if labels.setdefault(series, label) != label:
            raise DataError(
                f"{where} gives series {series!r} the label {label!r}; before it had "
                f"{labels[series]!r}. Give each series one label."
            )
        values.setdefault(series, []).append(_number(value, where))
    return [np.array(own, dtype=np.float32) for own in values.values()], list(labels.values())


def _wide(table: Rows, header: list[str], label: str) -> tuple[list[np.ndarray], list[str]]:
    """Series and labels of a table with a row for each series."""
    place = header.index(label)
    found, labels = [], []
    for row in table.rows[1:]:
        where = f"{row.lines.capitalize()} of {table.name}"
        cells = [cell.strip() for cell in row.cells]
        if not place < len(cells) <= len(header):
            raise DataError(told_width(table, row, len(header)))
        labels.append(cells.pop(place))
        _check_label(labels[-1], where)
        while cells and not cells[-1]:
            cells.pop()
        found.append(np.array([_number(cell, where) for cell in cells], dtype=np.float32))
        if len(found[-1]) < SHORTEST:
            raise DataError(
                f"{where} holds {len(found[-1])} values; a series needs at least {SHORTEST}. Leave "
                "shorter ones out."
            )
    return found, labels


def _check_label(label: str, where: str) -> None:
    if says_nothing(label):
        raise DataError(f"{where} has no label. Give every series one.")


def _number(cell: str, where: str) -> float:
    """A finite number; DataError for a gap or anything else."""
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{where} has the value {cell!r}; expected a number. Fill gaps, or leave the series "
            "out."
        )
    return number
