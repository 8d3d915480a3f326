"""Tables as text: the delimiter is recognised, the cells stay as they are written.

Each format has its rule. Where tabs separate cells, a quotation mark is text, unless the header is
quoted. Everything else is CSV, read strictly (RFC 4180): a cell with a delimiter, a quotation mark
or a line break stands in quotes, and its own quotes are written twice.
"""

import csv
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from attnlab.errors import AttnlabWarning, DataError, option, worded

DELIMITERS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}
_WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|"}


@dataclass(frozen=True)
class Row:
    """The cells of a row, the line of the file on which it begins, and how many it covers."""

    cells: list[str]
    line: int
    height: int = 1

    @property
    def lines(self) -> str:
        """Where it stands, in words."""
        last = self.line + self.height - 1
        return f"line {self.line}" if self.height == 1 else f"lines {self.line} to {last}"


@dataclass(frozen=True)
class Rows:
    """The rows of a table that are not empty, a header among them, and what separates cells."""

    name: str
    delimiter: str
    rows: list[Row]

    @property
    def between(self) -> str:
        """What stands between cells, in words."""
        return DELIMITERS.get(self.delimiter, repr(self.delimiter))


def read_rows(
    text: str, name: str, ending: str, delimiter: str | None = None, wanted: Sequence[str] = ()
) -> Rows:
    """Return the cells of a table.

    Parameters
    ----------
    text : of the file
    name, ending : of the file, such as ".csv"
    delimiter : what separates cells; None to recognise a comma, tab, semicolon or bar
    wanted : names that the header should hold; they help to recognise the delimiter

    Raises
    ------
    DataError : an empty file, a delimiter that is none, quotes that do not close (with the line)
    """
    if not re.search(r"[^\s,;|]", text):
        raise DataError(
            f"{name} is not a table that can be read: it is empty. Expected a header line and one "
            "line per text."
        )
    told = re.match(r"sep=(.)\r?\n", text)  # a hint that Excel writes and reads
    if told:
        text = text[told.end() - 1 :]  # an empty line stays, so that lines are counted right
        delimiter = delimiter or told[1]
    if delimiter is None:
        delimiter = _recognised(text, ending, wanted)
    delimiter = _WORDS.get(delimiter.strip(" ").lower() or delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise DataError(
            f"The delimiter is {delimiter!r}. Expected one character, such as "
            f"{option('delimiter', ';')}, or 'tab'."
        )
    try:
        rows = list(_rows(text, delimiter, _has_quotes(text, delimiter)))
        if not rows:
            raise _Unreadable("it holds nothing but delimiters")
        return Rows(name, delimiter, rows)
    except _Unreadable as error:
        raise DataError(
            f"{name} is not a table that can be read: {error}. Put a cell that holds "
            f"{DELIMITERS.get(delimiter, repr(delimiter))}, a quote or a line break into quotes, "
            'and write its own quotes twice: "say ""yes"""'
        ) from error


def warn_of_quotes(rows: Rows) -> None:
    """Say where the number of rows is not that of the lines, and where quotes are kept as text."""
    tall = [row for row in rows.rows if row.height > 1]
    if tall:
        lines = sum(row.height for row in rows.rows)
        warnings.warn(
            f"{rows.name}: {len(rows.rows):,} rows, the first line among them, were read from "
            f"{lines:,} lines, because {len(tall):,} hold line breaks inside quotes (at first "
            f"{tall[0].lines}). "
            "If that is not meant, a quotation mark is not closed there.",
            AttnlabWarning,
            stacklevel=3,
        )
    if rows.delimiter == "\t":
        quoted = [row for row in rows.rows if any(map(_is_quoted, row.cells))]
        if quoted or _has_quoted_column(rows.rows[1:]):
            quoted = quoted or rows.rows[1:]
            warnings.warn(
                f"{rows.name}: quotation marks are text where tabs separate cells, so those "
                f"around cells in {len(quoted):,} lines are kept (the first is line "
                f"{quoted[0].line}). If a program put them there, save the table as CSV.",
                AttnlabWarning,
                stacklevel=3,
            )


def _is_quoted(cell: str) -> bool:
    """Whether a program put this cell into quotes: it is all inside, and quotes in it are twice."""
    inside = cell.strip()[1:-1]
    return (
        len(cell.strip()) > 1
        and cell.strip()[0] == cell.strip()[-1] == '"'
        and '""' in inside
        and '"' not in inside.replace('""', "")
    )


def _has_quoted_column(rows: Sequence[Row]) -> bool:
    """Whether all cells of a column stand in quotes, of at least three rows."""
    columns = zip(*(row.cells for row in rows), strict=False)
    return len(rows) > 2 and any(
        all(re.fullmatch(r'\s*"[^"]*"\s*', cell) for cell in column) for column in columns
    )


def told_width(rows: Rows, row: Row, width: int) -> str:
    """What is wrong with a row that has more or fewer cells than the header, and the cure."""
    cells = f"{len(row.cells)} {'cell' if len(row.cells) == 1 else 'cells'}"
    if len(row.cells) > width:
        what = f"more fields than its header names ({width})"
        cure = (
            "A text cannot hold a tab there; save the table as CSV."
            if rows.delimiter == "\t"
            else f"Quote texts that contain {rows.between}: "
            f'"A warm{rows.delimiter} funny film"{rows.delimiter}positive'
        )
    else:
        what = f"fewer than its header names ({width})"
        cure = (
            "Complete it; a text with a line break stands in quotes, in a CSV file. Or leave such "
            f"rows out: {leaving_out()}."
        )
    return f"{row.lines.capitalize()} of {rows.name} has {cells}, {what}. {cure}"


def leaving_out() -> str:
    """How to leave out rows that lack something, in the words of the place."""
    return worded("missing='drop'", "--drop-missing")


def some_rows(rows: Sequence[int]) -> str:
    """The numbers of some rows, in words.

    >>> some_rows([1, 2]), some_rows(range(1, 9))
    ('row 1, 2', 'row 1, 2, 3, 4, 5, ...')
    """
    return "row " + ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")


# --- Parsing and recognising ----------------------------------------------------------------------


class _Unreadable(Exception):
    """Quotes that do not fit; the message says where."""


def _rows(text: str, delimiter: str, quotes: bool) -> Iterator[Row]:
    """The rows that are not empty, in order."""
    for row in _quoted_rows(text, delimiter) if quotes else _plain_rows(text, delimiter):
        if any(cell.strip() for cell in row.cells):
            yield row


def _plain_rows(text: str, delimiter: str) -> Iterator[Row]:
    if "\n" not in text:
        text = text.replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), 1):
        yield Row(line.removesuffix("\r").split(delimiter), number)


def _quoted_rows(text: str, delimiter: str) -> Iterator[Row]:
    before = csv.field_size_limit(2**31 - 1)  # texts may be long
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    line = 1
    try:
        for cells in reader:
            yield Row(cells, line, reader.line_num - line + 1)
            line = reader.line_num + 1
    except csv.Error as error:
        if "end of data" in str(error):
            raise _Unreadable(
                f"a quotation mark in line {line} opens a cell that is never closed"
            ) from error
        raise _Unreadable(
            f"in line {reader.line_num} a quotation mark closes a cell, and its text goes on"
        ) from error
    finally:
        csv.field_size_limit(before)


def _has_quotes(text: str, delimiter: str) -> bool:
    """Whether cells may stand in quotes: not between tabs, unless the header is quoted."""
    if delimiter != "\t":
        return True
    header = next(_rows(text, "\t", quotes=False), Row([], 0)).cells
    return bool(header) and all(re.fullmatch(r'"[^"]*"', cell.strip()) for cell in header)


def _recognised(text: str, ending: str, wanted: Sequence[str]) -> str:
    """What separates the cells: what finds the names wanted, else what cuts all rows alike."""
    usual = "\t" if ending in (".tsv", ".tab") else ","
    candidates = [usual, *(sign for sign in DELIMITERS if sign != usual)]
    first = {sign: _beginning(text, sign) for sign in candidates}
    names = {name.casefold() for name in wanted}
    for sign in candidates:
        header = first[sign][0].cells if first[sign] else []
        if names and names <= {cell.strip().casefold() for cell in header}:
            return sign
    for sign in candidates:
        widths = {len(row.cells) for row in first[sign]}
        if len(widths) == 1 and max(widths) > 1:
            return sign
    line = text.lstrip("\r\n").split("\n", 1)[0]
    return max(candidates, key=line.count)


def _beginning(text: str, delimiter: str) -> list[Row]:
    """The first hundred rows, if this is what separates their cells; fewer if they break off."""
    rows: list[Row] = []
    try:
        for row in islice(_rows(text, delimiter, _has_quotes(text, delimiter)), 100):
            rows.append(row)
    except _Unreadable:
        return rows[:1]
    return rows
