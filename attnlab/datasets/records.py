"""Tables whose columns have names of their own: JSON records and Parquet."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from attnlab.datasets.reading import ending_of, read_text
from attnlab.errors import DataError, MissingPackage, worded

RECORDS = (".json", ".jsonl", ".ndjson", ".parquet")  # endings of such files


def read_records(path: Path, encoding: str) -> tuple[pd.DataFrame, list[int] | None]:
    """Return the table in a file, and the line of each row where there are lines.

    Raises
    ------
    DataError : a file that is not what its ending says
    MissingPackage : Parquet without pyarrow
    """
    if ending_of(path) == ".parquet":
        return _parquet(path), None
    return _json(read_text(path, encoding), path.name)


def _json(content: str, name: str) -> tuple[pd.DataFrame, list[int] | None]:
    """A table of JSON records, and the line of each; None if all are in one list or in columns.

    Numbers and booleans stay as they are written.
    """
    lines: list[int] | None = None
    whole = _whole(content)
    if isinstance(whole, dict):
        whole = _of_columns(whole)
    if isinstance(whole, list):
        records = whole
    else:
        numbered_lines = [
            (number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()
        ]
        lines = [number for number, _ in numbered_lines]
        records = [_parsed(line, name, f"Line {number} of ") for number, line in numbered_lines]
    if not records:
        raise DataError(f"{name} is empty. Expected a record on each line.")
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise DataError(
                f"Record {number} of {name} is {record!r:.60}. Expected an object such as "
                '{"text": "A warm film.", "label": "positive"}.'
            )
    columns = list(dict.fromkeys(column for record in records for column in record))
    table = {
        column: [_as_json_writes(record.get(column)) for record in records] for column in columns
    }
    return pd.DataFrame(table, dtype=object), lines


def _whole(content: str) -> Any:
    """What a file holds that is one piece of JSON; None if it is a record on each line."""
    try:
        return _loads(content)
    except (ValueError, RecursionError):
        return None


def _of_columns(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of a table kept column by column, as pandas writes it; else it is a record."""
    columns = [
        list(column.values()) if isinstance(column, dict) else column for column in table.values()
    ]
    kinds = {type(column) for column in table.values()}
    if kinds not in ({dict}, {list}) or len({len(column) for column in columns}) != 1:
        return [table]
    if kinds == {dict} and len({tuple(column) for column in table.values()}) != 1:
        return [table]  # cells that belong to other rows
    return [dict(zip(table, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _loads(content: str) -> Any:
    return json.loads(content, parse_int=str, parse_float=str, parse_constant=str)


def _parsed(content: str, name: str, where: str) -> Any:
    try:
        return _loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}{name} is no JSON ({error}). Expected one record on each line, such as "
            '{"text": "A warm film.", "label": "positive"}, or a list of them.'
        ) from error


def _as_json_writes(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise MissingPackage(
            f"Reading {path.name} needs pyarrow, which is not installed. Type: pip install pyarrow"
        ) from error
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(
            f"{path.name} cannot be read as Parquet ({reason}). "
            + worded("Read it yourself, and give from_frame the table.", "Save it as CSV.")
        ) from error
