"""Cells of a table in columns that are named: delimited text, JSON records and Parquet alike."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from attnlab.datasets.labels import written
from attnlab.datasets.reading import ending_of, read_text
from attnlab.datasets.records import RECORDS, read_records
from attnlab.datasets.tables import read_rows
from attnlab.errors import DataError, option, suggest


def cells_of(
    path: Path,
    columns: Sequence[str],
    encoding: str,
    delimiter: str | None,
    options: Sequence[str],
) -> Iterator[tuple[str, list[str]]]:
    """Where each row stands, in words, and its cells in these columns, as they are written.

    Parameters
    ----------
    path : of the file, as `from_csv` takes it
    columns : names that stand in its header
    options : those by which the columns can be named, for what is said if one is not there

    Raises
    ------
    DataError : no such column, or a row with more or fewer cells than the header
    """
    if ending_of(path) in RECORDS:
        frame, _ = read_records(path, encoding)
        _check(path.name, [str(column) for column in frame.columns], columns, options)
        for number, row in enumerate(frame[list(columns)].itertuples(index=False), 1):
            cells = [written(cell, column) or "" for cell, column in zip(row, columns, strict=True)]
            yield f"Row {number} of {path.name}", cells
        return
    table = read_rows(
        read_text(path, encoding), path.name, ending_of(path), delimiter, list(columns)
    )
    header = [cell.strip() for cell in table.rows[0].cells]
    _check(path.name, header, columns, options)
    for row in table.rows[1:]:
        where = f"{row.lines.capitalize()} of {path.name}"
        if len(row.cells) != len(header):
            raise DataError(
                f"{where} has {len(row.cells)} cells; the header names {len(header)} columns. Give "
                "each row as many, empty ones too."
            )
        yield where, [row.cells[header.index(column)].strip() for column in columns]


def _check(name: str, header: list[str], columns: Sequence[str], options: Sequence[str]) -> None:
    *first, last = map(option, options)
    named = f"{', '.join(first)} and {last}" if first else last
    for column in columns:
        if column not in header:
            raise DataError(
                f"There is no column {column!r} in {name}. {suggest(column, header)} Name columns "
                f"with {named}."
            )
        if header.count(column) > 1 or list(columns).count(column) > 1:
            raise DataError(f"The column {column!r} of {name} is there, or named, twice.")
