"""Your own files: labelled texts, or pairs of texts, from a table."""

import csv
import io
import os
import re
import warnings
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.reading import reading
from attnlab.datasets.texts import TextDataset, normalise
from attnlab.errors import AttnlabWarning, DataError, suggest

Missing = Literal["refuse", "drop"]  # what to do with rows that lack text or label


def from_csv(
    path: str | os.PathLike[str],
    text: str = "text",
    label: str = "label",
    encoding: str = "utf-8",
    name: str | None = None,
    missing: Missing = "refuse",
) -> TextDataset:
    """Read your own labelled texts from a CSV file with a header line.

    Parameters
    ----------
    path : the file; tab-separated if it ends in .tsv or .tab
    text, label : the names of the two columns. Labels may be words or whole numbers.
    encoding : how the file is encoded
    missing : "drop" leaves out rows without text or label, with a warning that says how many

    Raises
    ------
    DataError : no such file, wrong encoding, no such column, an empty text, a missing label

    Notes
    -----
    A text that occurs with different labels is kept, with a warning.
    """
    path = Path(path)
    separator = "\t" if path.suffix in (".tsv", ".tab") else ","
    try:
        with reading(path, encoding):
            frame = pd.read_csv(path, sep=separator, encoding=encoding, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(
            f"{path.name} is not a table that can be read: {error}. Expected a header line and one "
            f"line per text, separated by {separator!r}; quote texts that contain it."
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise DataError(
            f"Rows of {path.name} have more fields than its header names. Quote texts that contain "
            f'{separator!r}: "A warm, funny film",positive'
        )
    if missing == "drop" and {text, label} <= set(frame.columns):
        whole = _complete(frame, text, label, missing)
        if len(whole) < len(frame):  # numbers in a column with gaps were read as words
            again = io.StringIO(whole[[label]].to_csv(index=False))
            frame = whole.assign(
                **{label: pd.read_csv(again, keep_default_na=False)[label].to_numpy()}
            )
    return _labelled(frame, text, label, name or path.stem, missing)


def from_frame(
    frame: pd.DataFrame,
    text: str = "text",
    label: str = "label",
    name: str = "own",
    missing: Missing = "refuse",
) -> TextDataset:
    """Make a data set of a DataFrame; see `from_csv` for columns and errors."""
    return _labelled(frame.reset_index(drop=True), text, label, name, missing)


def _labelled(
    frame: pd.DataFrame, text: str, label: str, name: str, missing: Missing
) -> TextDataset:
    """The data set of a table whose index counts its rows from 0."""
    for column in (text, label):
        if column not in frame.columns:
            raise DataError(
                f"There is no column {column!r}. {suggest(column, frame.columns)} "
                "Name it with text=... or label=..."
            )
    if frame.empty:
        raise DataError("The table has no rows. Give at least one text and its label.")
    if missing not in get_args(Missing):
        raise DataError(f"missing is {missing!r}. Write 'refuse' or 'drop'.")
    frame = _complete(frame, text, label, missing)
    texts, given = frame[text].map(lambda value: str(value).strip()), frame[label]
    if pd.api.types.is_float_dtype(given):
        _refuse_rows(
            given % 1 != 0,
            "a number with decimals as label, which is no class",
            "Sort numbers into classes first, such as 0 and 1.",
        )
        given = given.astype(int)
    if not pd.api.types.is_numeric_dtype(given):
        given = given.astype(str).str.strip()
    values = sorted(given.unique())
    label_names = [str(value) for value in values]
    number = {value: index for index, value in enumerate(label_names)}
    labels = [number[str(value)] for value in given]
    both = texts.map(normalise).groupby(labels, sort=False).unique().explode().duplicated().sum()
    if both:
        warnings.warn(
            f"{both} texts of {name} occur more than once, with different labels. Nothing can "
            "learn those.",
            AttnlabWarning,
            stacklevel=2,
        )
    return TextDataset(texts.tolist(), labels, label_names, name)


def _complete(frame: pd.DataFrame, text: str, label: str, missing: Missing) -> pd.DataFrame:
    """The rows that have both text and label; DataError or a warning if some have not."""
    empty = {
        column: frame[column].isna() | (frame[column].astype(str).str.strip() == "")
        for column in (text, label)
    }
    bad = empty[text] | empty[label]
    if missing == "refuse":
        cure = "Give them one, or leave such rows out with missing='drop' (--drop-missing)."
        _refuse_rows(empty[text], "an empty text", cure)
        _refuse_rows(empty[label], "no label", cure)
    elif bad.all():
        raise DataError("No row has both a text and a label. Check which columns you named.")
    elif bad.any():
        told = f"{bad.sum()} of {len(frame)} rows without text or label are left out."
        warnings.warn(told, AttnlabWarning, stacklevel=3)
    return frame[~bad]


def _refuse_rows(bad: pd.Series, what: str, cure: str) -> None:
    """Raise DataError naming the first rows (counted from 1, below the header) that are bad."""
    rows = bad.index[bad]
    if len(rows):
        some = _some([row + 1 for row in rows])
        raise DataError(f"{len(rows)} rows have {what} ({some}). {cure}")


def pairs_from_file(
    path: str | os.PathLike[str],
    source: str | None = None,
    target: str | None = None,
    name: str | None = None,
) -> ParallelDataset:
    """Read your own pairs from a file with two columns, in UTF-8.

    Parameters
    ----------
    path : a .csv file (cells with a comma in quotes), or a .tsv file (a tab between the cells;
        quotes are text)
    source, target : the names of the two columns, if the first line names them. Without them every
        line is a pair, the source first.
    name : of the data set; that of the file if not given

    Raises
    ------
    DataError : no such file, another ending, not UTF-8, other than two columns, no such column, an
        empty cell, no rows. Rows are counted from 1, below the header if there is one; empty lines
        are passed over.
    """
    path = Path(path)
    separators = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
    if path.suffix.lower() not in separators:
        raise DataError(f"{path.name} ends in {path.suffix!r}. Give a .csv or a .tsv file.")
    separator = separators[path.suffix.lower()]
    if (source is None) != (target is None):
        raise DataError(
            f"source is {source!r} and target is {target!r}. Name both columns, or neither if the "
            "first line is a pair."
        )
    rows = [row for row in _rows(path, separator) if any(cell.strip() for cell in row)]
    columns, width = (0, 1), 2
    if source is not None and target is not None:
        header = [cell.strip() for cell in rows.pop(0)] if rows else []
        columns, width = _named_columns(path.name, header, source, target), len(header)
    pairs = _checked_pairs(path.name, rows, columns, width, separator)
    if source is None and _is_header(pairs[0]):
        warnings.warn(
            f"The first line of {path.name} is {pairs[0]}. If that names the columns, write "
            f"source={pairs[0][0]!r}, target={pairs[0][1]!r}; now it is taken as a pair.",
            AttnlabWarning,
            stacklevel=2,
        )
    sources, targets = zip(*pairs, strict=True)
    return ParallelDataset(list(sources), list(targets), name or path.stem)


def _named_columns(name: str, header: list[str], source: str, target: str) -> tuple[int, int]:
    for column in (source, target):
        if column not in header:
            raise DataError(
                f"{name} has no column {column!r}. {suggest(column, header) if header else ''} "
                "The first line must name the columns."
            )
    return header.index(source), header.index(target)


def _checked_pairs(
    name: str, rows: list[list[str]], columns: tuple[int, int], width: int, separator: str
) -> list[tuple[str, str]]:
    """Source and target of each row; DataError unless every row has all columns, both filled."""
    if not rows:
        raise DataError(f"{name} has no pairs. Give at least one.")
    wrong = [row for row, cells in enumerate(rows, 1) if len(cells) != width]
    if wrong:
        raise DataError(_told_width(name, separator, width, wrong, len(rows[wrong[0] - 1])))
    pairs = [(cells[columns[0]].strip(), cells[columns[1]].strip()) for cells in rows]
    empty = [row for row, cells in enumerate(pairs, 1) if not all(cells)]
    if empty:
        raise DataError(
            f"{len(empty)} rows of {name} have an empty cell ({_some(empty)}). A pair needs "
            "both texts: fill it in, or take the row out."
        )
    return pairs


def _rows(path: Path, separator: str) -> list[list[str]]:
    cure = "Save it as UTF-8: a spreadsheet offers 'CSV UTF-8'."
    try:
        with (
            reading(path, "UTF-8", cure),
            path.open(encoding="utf-8-sig", newline="") as file,
        ):
            if separator == ",":
                return list(csv.reader(file, strict=True))
            return list(csv.reader(file, delimiter=separator, quoting=csv.QUOTE_NONE, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path.name} is not a table that can be read: {error}. Put a cell that holds a comma "
            'or a quote into quotes, and write its own quotes twice: "say ""yes"""'
        ) from error


def _told_width(name: str, separator: str, width: int, wrong: list[int], found: int) -> str:
    between = "a comma" if separator == "," else "a tab"
    if found == 1:
        cure = f"Put {between} between the source and its translation."
    elif separator == ",":
        cure = (
            "Put texts that hold a comma into quotes, or name the columns with source= and target=."
        )
    else:
        cure = "Leave two, or name the columns with source= and target=."
    columns = "1 column" if found == 1 else f"{found} columns"
    return (
        f"{len(wrong)} rows of {name} do not have {width} columns ({_some(wrong)}; the first has "
        f"{columns}). {cure}"
    )


def _some(rows: list[int]) -> str:
    return "row " + ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")


def _is_header(cells: tuple[str, str]) -> bool:
    """Whether a first line looks like names of columns: language codes, or source and target."""
    return all(
        re.fullmatch(r"[a-z]{2}([-_][A-Za-z]{2,4})?|source|target|src|tgt", cell) for cell in cells
    )
