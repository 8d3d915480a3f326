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
    """A table of JSON records, and the line of each; None if all are in one list.

    Numbers and booleans stay as they are written.
    """
    lines: list[int] | None = None
    if content.lstrip().startswith("["):
        records = _parsed(content, name, "")
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


def _parsed(content: str, name: str, where: str) -> Any:
    try:
        return json.loads(content, parse_int=str, parse_float=str, parse_constant=str)
    except ValueError as error:
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
        raise DataError(
            f"{path.name} cannot be read as Parquet ({str(error).splitlines()[0]}). "
            + worded("Read it yourself, and give from_frame the table.", "Save it as CSV.")
        ) from error
