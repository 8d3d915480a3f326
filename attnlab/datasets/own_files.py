"""Your own labelled texts, from a file or a DataFrame."""

import os
import warnings
from collections.abc import Sequence
from numbers import Number
from typing import Any, Literal, get_args

import pandas as pd

from attnlab.datasets.labels import numbered, says_nothing, with_decimals, written
from attnlab.datasets.reading import ending_of, local_file, name_of, read_text
from attnlab.datasets.records import RECORDS, read_records
from attnlab.datasets.tables import (
    Row,
    Rows,
    leaving_out,
    read_rows,
    some_rows,
    told_width,
    warn_of_quotes,
)
from attnlab.datasets.texts import TextDataset, normalise
from attnlab.errors import AttnlabWarning, DataError, option, suggest

Missing = Literal["refuse", "drop"]  # what to do with rows that lack text or label


def from_csv(
    path: str | os.PathLike[str],
    text: str = "text",
    label: str = "label",
    encoding: str = "utf-8",
    name: str | None = None,
    missing: Missing = "refuse",
    *,
    delimiter: str | None = None,
) -> TextDataset:
    """Read your own labelled texts from a table with a header line.

    Parameters
    ----------
    path : the file. ``.jsonl`` and ``.json`` hold JSON records, ``.parquet`` is read with pyarrow;
        everything else is a table as text. It may be packed: .gz, .bz2, .xz, .zip.
    text, label : the names of the two columns. Labels may be words or whole numbers.
    encoding : how the file is encoded
    missing : "drop" leaves out rows without text or label, with a warning that says how many
    delimiter : what separates the cells; by default a comma, tab, semicolon or bar is recognised

    Returns
    -------
    TextDataset. Labels are named as they are written, ``007`` too; only ``1.0`` becomes ``1`` where
    all are whole numbers.

    Raises
    ------
    DataError : no such file, wrong encoding, no table, no such column, an empty text, a missing
        label, quotes that do not close, rows with more or fewer cells than the header

    Notes
    -----
    Where tabs separate cells, quotation marks are text; else the file is CSV, read strictly. An
    empty label is missing, and so are NaN, NULL, N/A, None and their like; as texts they are texts.
    A text that occurs with different labels is kept, with a warning; so are labels that differ only
    in case, spaces or number format.
    """
    path = local_file(path)
    lines: Sequence[int] | None
    if ending_of(path) in RECORDS:
        frame, lines = read_records(path, encoding)
    else:
        content = read_text(path, encoding)
        rows = read_rows(content, path.name, ending_of(path), delimiter, (text, label))
        frame, lines = _two_columns(rows, text, label, missing)
        warn_of_quotes(rows)
    return _labelled(frame, text, label, name or name_of(path), missing, lines)


def from_frame(
    frame: pd.DataFrame,
    text: str = "text",
    label: str = "label",
    name: str = "own",
    missing: Missing = "refuse",
) -> TextDataset:
    """Make a data set of a DataFrame; see `from_csv` for columns, labels and errors."""
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"Expected a pandas DataFrame, got {type(frame).__name__}.")
    return _labelled(frame.reset_index(drop=True), text, label, name, missing)


def _labelled(
    frame: pd.DataFrame,
    text: str,
    label: str,
    name: str,
    missing: Missing,
    lines: Sequence[int] | None = None,
) -> TextDataset:
    """The data set of a table whose index counts its rows from 0, on these lines of its file."""
    _check_columns(list(frame.columns), text, label, name)
    if missing not in get_args(Missing):
        raise DataError(f"missing is {missing!r}. Write 'refuse' or 'drop'.")
    if frame.empty:
        raise DataError("The table has no rows. Give at least one text and its label.")
    numbers = sum(isinstance(cell, Number) and cell == cell for cell in frame[text])  # no NaN
    frame = pd.DataFrame(
        {column: [written(cell, column) for cell in frame[column]] for column in (text, label)},
        dtype=object,
    )
    _warn_of_gaps(frame[text], name)
    if numbers:
        warnings.warn(
            f"{numbers:,} texts of {name} are numbers, as pandas read them: 007 is 7 or 7.0 by "
            "then. They are written out as they are.",
            AttnlabWarning,
            stacklevel=3,
        )
    frame = _complete(frame, text, label, missing, lines)
    _refuse_rows(
        pd.Series(with_decimals(frame[label].tolist()), frame.index),
        "a number with decimals as label, which is no class",
        "Sort numbers into classes first, such as 0 and 1.",
        lines,
    )
    texts = frame[text].tolist()
    labels, label_names = numbered(frame[label].tolist(), name)
    keys = pd.Series([normalise(one) for one in texts])
    both = keys.groupby(labels, sort=False).unique().explode().duplicated().sum()
    if both:
        warnings.warn(
            f"{both} texts of {name} occur more than once, with different labels. Nothing can "
            "learn those.",
            AttnlabWarning,
            stacklevel=3,
        )
    return TextDataset(texts, labels, label_names, name)


def _check_columns(columns: list[Any], text: str, label: str, name: str) -> None:
    """Raise DataError unless text and label are two columns, each there once."""
    for role, column in (("text", text), ("label", label)):
        if column not in columns:
            raise DataError(
                f"There is no column {column!r} in {name}. {suggest(column, columns)} "
                f"Name it with {option(role)}"
            )
        if columns.count(column) > 1:
            raise DataError(
                f"{name} has {columns.count(column)} columns named {column!r}. Give each a name of "
                "its own."
            )
    if text == label:
        raise DataError(
            f"Text and label are both the column {text!r}. Name two: {option('text')} "
            f"{option('label')}"
        )


def _warn_of_gaps(texts: pd.Series, name: str) -> None:
    """Point at texts such as "NaN", which are kept as texts."""
    odd = [text for text in texts if text is not None and says_nothing(text)]
    if odd:
        warnings.warn(
            f"{len(odd)} texts of {name} are {', '.join(map(repr, sorted(set(odd))[:3]))} and are "
            "kept as texts. If they stand for no text, take these rows out.",
            AttnlabWarning,
            stacklevel=4,
        )


def _complete(
    frame: pd.DataFrame, text: str, label: str, missing: Missing, lines: Sequence[int] | None
) -> pd.DataFrame:
    """The rows that have both text and label; DataError or a warning if some have not."""
    no_text, no_label = frame[text].isna(), frame[label].map(says_nothing)
    bad = no_text | no_label
    words = sorted({cell for cell in frame[label][no_label] if cell})
    spelled = f" ({', '.join(map(repr, words[:4]))} is read as no label)" if words else ""
    if missing == "refuse":
        cure = f"Give them one, or leave such rows out: {leaving_out()}."
        _refuse_rows(no_text, "an empty text", cure, lines)
        if words:
            cure += f" If {words[0]!r} is a label of its own, give it another name in the file."
        _refuse_rows(no_label, f"no label{spelled}", cure, lines)
    elif bad.all():
        raise DataError("No row has both a text and a label. Check which columns you named.")
    elif bad.any():
        warnings.warn(
            f"{bad.sum()} of {len(frame)} rows without text or label are left out{spelled}.",
            AttnlabWarning,
            stacklevel=4,
        )
    return frame[~bad]


def _refuse_rows(bad: pd.Series, what: str, cure: str, lines: Sequence[int] | None) -> None:
    """Raise DataError naming the first rows (counted from 1, below the header) that are bad."""
    rows = bad.index[bad]
    if len(rows):
        where = some_rows([row + 1 for row in rows])
        line = "" if lines is None else f" The first is line {lines[rows[0]]} of the file."
        raise DataError(f"{len(rows)} rows have {what} ({where}).{line} {cure}")


# --- Tables as text -------------------------------------------------------------------------------


def _two_columns(
    rows: Rows, text: str, label: str, missing: Missing
) -> tuple[pd.DataFrame, list[int]]:
    """The columns of texts and labels as they are written, and the line of each row."""
    header = [cell.strip() for cell in rows.rows[0].cells]
    if len(header) == 1 and text != label and {text, label} - set(header):
        raise DataError(_told_one_column(rows, header[0], text, label))
    _check_columns(header, text, label, rows.name)
    places = {column: header.index(column) for column in (text, label)}
    found: list[Row] = []
    named = max((place for place, cell in enumerate(header, 1) if cell), default=0)
    for row in rows.rows[1:]:
        cells = list(row.cells)
        cells += [""] * (len(header) - len(cells)) if len(cells) >= named else []
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) > len(header) or (len(cells) < len(header) and missing != "drop"):
            raise DataError(told_width(rows, row, len(header)))
        whole = len(cells) == len(header)  # of a row that is cut off nothing is sure
        found.append(Row(cells if whole else [""] * len(header), row.line, row.height))
    _refuse_swallowed(rows, found, len(header), places[label])
    frame = pd.DataFrame(
        {column: [row.cells[place] for row in found] for column, place in places.items()},
        dtype=object,
    )
    return frame, [row.line for row in found]


def _told_one_column(rows: Rows, header: str, text: str, label: str) -> str:
    missing = text if text != header else label
    return (
        f"There is no column {missing!r} in {rows.name}: its first line, {header[:60]!r}, is one "
        "column. Expected a header line that names a column of texts and one of labels, with a "
        f"comma, tab, semicolon or bar between; another one is named with {option('delimiter')}"
    )


def _refuse_swallowed(rows: Rows, found: list[Row], width: int, label: int) -> None:
    """Raise DataError where a cell over several lines holds rows: its quotes close too late."""
    known = {row.cells[label].strip() for row in found}
    for row in found:
        if row.height == 1:
            continue
        if "\n" in row.cells[label].strip():
            raise DataError(
                f"The label in {row.lines} of {rows.name} goes over several lines. Is a quotation "
                "mark not closed there?"
            )
        for cell in row.cells:
            for line in cell.splitlines():
                inside = line.split(rows.delimiter)
                if len(inside) == width and inside[label].strip(' "') in known:
                    raise DataError(
                        f"A cell in {row.lines} of {rows.name} holds what looks like a row: "
                        f"{line[:60]!r}. A quotation mark that opens it closes too late; write a "
                        'mark that is text twice, and quotes around its cell: """Great"" film"'
                    )
