"""Your own pairs of texts, from a table with two columns."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from attnlab.datasets.labels import written
from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.reading import ending_of, local_file, name_of, read_text
from attnlab.datasets.records import RECORDS, read_records
from attnlab.datasets.tables import Rows, read_rows, some_rows, warn_of_quotes
from attnlab.errors import AttnlabWarning, DataError, suggest

# what the first line says where it names the columns: the languages, their codes, or roles
_LANGUAGES = (
    "arabic bulgarian catalan chinese czech danish dutch english estonian finnish french german "
    "greek hebrew hindi hungarian indonesian italian japanese korean latin mandarin norwegian "
    "persian polish portuguese romanian russian serbian slovak slovenian spanish swedish tamil "
    "thai turkish ukrainian urdu vietnamese deutsch englisch französisch spanisch italienisch "
    "français anglais allemand espagnol español inglés francés alemán italiano português"
)
_CODES = (
    "ar bg ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv nl no pl pt ro ru sk sl "
    "sr sv ta th tr uk ur vi zh deu eng fra spa ita nld por rus zho jpn pol ukr"
)
_ROLES = (
    "source target src tgt trg input output original translation translated reference text "
    "sentence phrase question answer language lang id"
)


def pairs_from_file(
    path: str | os.PathLike[str],
    source: str | None = None,
    target: str | None = None,
    name: str | None = None,
    *,
    encoding: str = "UTF-8",
    delimiter: str | None = None,
    header: bool | None = None,
) -> ParallelDataset:
    """Read your own pairs from a file with two columns.

    Parameters
    ----------
    path : a table as text, packed or not: CSV (cells with a comma in quotes), or a tab between the
        cells (quotes are text); or records with two named columns (.jsonl, .json, .parquet)
    source, target : the names of the two columns, if the first line names them. Without them every
        line is a pair, the source first.
    name : of the data set; that of the file if not given
    encoding, delimiter : as for `from_csv`
    header : whether the first line names the columns; by default it is recognised by names of
        languages and roles (``en,fr``, ``source,target``), left out, and that is said

    Raises
    ------
    DataError : no such file, another encoding, other than two columns, no such column, an empty
        cell, no rows. Rows are counted from 1, below the header if there is one; empty lines are
        passed over.

    Notes
    -----
    Where there are more columns and none is named, those that hold what Tatoeba adds are left out:
    an attribution in the last one, numbers of the sentences.
    """
    path = local_file(path)
    if (source is None) != (target is None):
        raise DataError(
            f"source is {source!r} and target is {target!r}. Name both columns, or neither if the "
            "first line is a pair."
        )
    if ending_of(path) in RECORDS:
        return _from_records(path, encoding, source, target, name or name_of(path))
    content = read_text(path, encoding)
    wanted = [column for column in (source, target) if column is not None]
    ending = ending_of(path)
    if ending == ".tsv" and delimiter is None and not wanted:
        delimiter = "\t"  # commas stand in sentences
    rows = Rows(path.name, ",", [])
    if content.strip():
        rows = read_rows(content, path.name, ending, delimiter, wanted)
    cells = [list(row.cells) for row in rows.rows]
    if source is not None and target is not None:
        names = [cell.strip() for cell in cells.pop(0)] if cells else []
        columns, width = _named_columns(path.name, names, source, target), len(names)
    else:
        first = [cell.strip() for cell in cells[0]] if cells else []
        if header or (header is None and _is_header(first)):
            cells = cells[1:]
        columns, width = _two_columns(path.name, cells)
        if header is None and len(cells) < len(rows.rows):
            _warn_of_header(path.name, [first[column] for column in columns])
    pairs = _checked_pairs(rows, cells, columns, width)
    warn_of_quotes(rows)
    sources, targets = zip(*pairs, strict=True)
    return ParallelDataset(list(sources), list(targets), name or name_of(path))


def _from_records(
    path: Path, encoding: str, source: str | None, target: str | None, name: str
) -> ParallelDataset:
    """The pairs in a table whose columns have names of their own."""
    frame, _ = read_records(path, encoding)
    names = [str(column) for column in frame.columns]
    if source is None or target is None:
        if len(names) != 2:
            raise DataError(
                f"{path.name} has the columns {', '.join(names)}. Name two with source= and "
                "target=."
            )
        source, target = names
    _named_columns(path.name, names, source, target)
    rows = Rows(path.name, ",", [])
    cells = [[written(cell, column) or "" for cell in frame[column]] for column in (source, target)]
    pairs = _checked_pairs(rows, [list(pair) for pair in zip(*cells, strict=True)], (0, 1), 2)
    return ParallelDataset([a for a, _ in pairs], [b for _, b in pairs], name)


def _named_columns(name: str, header: list[str], source: str, target: str) -> tuple[int, int]:
    for column in (source, target):
        if column not in header:
            raise DataError(
                f"{name} has no column {column!r}. {suggest(column, header) if header else ''} "
                "The first line must name the columns."
            )
        if header.count(column) > 1:
            raise DataError(f"{name} has {header.count(column)} columns named {column!r}.")
    if source == target:
        raise DataError(f"source and target are both the column {source!r}. Name two.")
    return header.index(source), header.index(target)


def _is_header(cells: list[str]) -> bool:
    """Whether these name columns, each another one."""
    return len({*cells}) == len(cells) > 1 and all(map(_names_a_column, cells))


def _names_a_column(cell: str) -> bool:
    """Whether this names a language or a role, and is no text."""
    codes, words = set(_CODES.split()), set(f"{_LANGUAGES} {_ROLES}".split())
    word = cell.casefold()
    code = re.fullmatch(r"([a-z]{2,3})([-_][a-z]{2,4})?", word)
    if code is not None and code[1] in codes and not cell.istitle():
        return True
    parts = re.split(r"[\s_-]+", re.sub(r"([\s_-][ab]|[\s_-]?[12])$", "", word))
    known = words | codes if len(parts) > 1 else words
    return all(part in known or part.removesuffix("s") in known for part in parts)


def _warn_of_header(name: str, cells: list[str]) -> None:
    named = f"source={cells[0]!r}, target={cells[1]!r}"
    warnings.warn(
        f"The first line of {name} is {cells}. It is taken as the names of the columns and left "
        f"out; write {named} to say so, or header=False if it is a pair.",
        AttnlabWarning,
        stacklevel=3,
    )


def _two_columns(name: str, cells: list[list[str]]) -> tuple[tuple[int, int], int]:
    """Where source and target stand, and how many columns there are, without any named."""
    widths = {len(row) for row in cells}
    if len(widths) != 1 or widths == {2}:
        return (0, 1), 2
    width = widths.pop()
    columns = list(zip(*cells, strict=True))
    texts = [column for column in range(width) if not _is_beside_the_texts(columns[column])]
    if len(texts) != 2:
        return (0, 1), 2
    if not _is_attribution(columns[-1]) or width != 3:
        warnings.warn(
            f"{name} has {width} columns; texts are in columns {texts[0] + 1} and {texts[1] + 1}, "
            "and the others are left out: numbers or attributions.",
            AttnlabWarning,
            stacklevel=3,
        )
    return (texts[0], texts[1]), width


def _is_beside_the_texts(column: Sequence[str]) -> bool:
    """Whether a column is empty, or holds numbers or attributions alone."""
    if not any(cell.strip() for cell in column):
        return True
    return _is_attribution(column) or all(
        re.fullmatch(r"\s*\d+(\.\d+)?\s*", cell) for cell in column
    )


def _is_attribution(column: Sequence[str]) -> bool:
    """Whether every cell says whose sentence it is, as Tatoeba's files do."""
    return all(re.search(r"\bCC[- ]BY\b|attribution:|tatoeba\.org", cell, re.I) for cell in column)


def _checked_pairs(
    rows: Rows, cells: list[list[str]], columns: tuple[int, int], width: int
) -> list[tuple[str, str]]:
    """Source and target of each row; DataError unless every row has all columns, both filled."""
    if not cells:
        raise DataError(f"{rows.name} has no pairs. Give at least one.")
    wrong = [row for row, found in enumerate(cells, 1) if len(found) != width]
    if wrong:
        raise DataError(_told_width(rows, width, wrong, len(cells[wrong[0] - 1])))
    pairs = [(found[columns[0]].strip(), found[columns[1]].strip()) for found in cells]
    empty = [row for row, found in enumerate(pairs, 1) if not all(found)]
    if empty:
        raise DataError(
            f"{len(empty)} rows of {rows.name} have an empty cell ({some_rows(empty)}). A pair "
            "needs both texts: fill it in, or take the row out."
        )
    return pairs


def _told_width(rows: Rows, width: int, wrong: list[int], found: int) -> str:
    if found == 1:
        cure = f"Put {rows.between} between the source and its translation."
    elif rows.delimiter == "\t":
        cure = "Leave two, or name the columns with source= and target=."
    else:
        cure = (
            f"Put texts that hold {rows.between} into quotes, or name the columns with source= and "
            "target=."
        )
    columns = "1 column" if found == 1 else f"{found} columns"
    return (
        f"{len(wrong)} rows of {rows.name} do not have {width} columns ({some_rows(wrong)}; the "
        f"first has {columns}). {cure}"
    )
