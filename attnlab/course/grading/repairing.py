"""Reading what was handed in: whatever still holds the cells of the lesson is made whole.

Editors save notebooks in old formats, leave out what the format asks for, or rewrite tags and
metadata. All that grading needs of a cell is what kind it is, its text, and which cell of the
lesson it was.
"""

import ast
import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnlab.course import notebooks as sources
from attnlab.errors import AttnlabError

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_NOTEBOOKS = (
    (b"PK\x03\x04", "a zip archive: unpack it and hand in the notebook in it"),
    (b"\x1f\x8b", "a compressed file: unpack it and hand in the notebook in it"),
    (b"%PDF", "a PDF"),
    (b"<", "a web page, such as an exported notebook: hand in the .ipynb file"),
)


def read_submission(path: Path) -> sources.Notebook:
    """Read a notebook in whatever condition; outputs are left out.

    Parameters
    ----------
    path : of any version of the format, in UTF-8, UTF-16 or UTF-32, with what the format asks for
        or without

    Returns
    -------
    The notebook in today's format: kinds, sources, metadata and ids of its cells

    Raises
    ------
    AttnlabError : the file is no notebook; the message, one line, says what it is
    """
    import nbformat

    made = nbformat.v4.new_notebook()
    ids: set[str] = set()
    for raw in _raw_cells(path):
        kind = raw.get("cell_type")
        make: Callable[..., Any] = {
            "code": nbformat.v4.new_code_cell,
            "raw": nbformat.v4.new_raw_cell,
        }.get(str(kind), nbformat.v4.new_markdown_cell)
        cell = make(_text(raw.get("source", raw.get("input", ""))))
        metadata = raw.get("metadata")
        cell.metadata = nbformat.from_dict(metadata if isinstance(metadata, dict) else {})
        known = raw.get("id")
        if isinstance(known, str) and known not in ids:
            cell.id = known  # by which `with_marks` finds a cell again; nbformat has its own rules
        ids.add(cell.id)
        made.cells.append(cell)
    return made


def with_marks(
    book: sources.Notebook, source: sources.Notebook, release: sources.Notebook
) -> sources.Notebook:
    """A submission whose cells have the marks of the assignment again, and no tags.

    A cell of the assignment is known by nbgrader's mark; where an editor removed that, by the
    course's own, by its id, by its text, or, for an answer, by the name that it defines.

    Parameters
    ----------
    book : of `read_submission`
    source : the teacher's version of the assignment
    release : what was handed out
    """
    import nbformat

    given = {_mark(cell): cell for cell in release.cells}  # a header of the teacher's has no mark
    known = {_mark(cell) for cell in source.cells}
    for cell in book.cells:
        cell.metadata.pop("tags", None)
        if _mark(cell) not in known:
            cell.metadata.pop("nbgrader", None)
    for cell in source.cells:
        for found in _same_cells(book, cell, given[_mark(cell)]):
            found.metadata = nbformat.from_dict(dict(cell.metadata))
            found.cell_type = cell.cell_type
    fresh = nbformat.v4.new_notebook(metadata=release.metadata)
    for cell in book.cells:
        made = getattr(nbformat.v4, f"new_{cell.cell_type}_cell")(cell.source)
        made.metadata = cell.metadata
        fresh.cells.append(made)
    return fresh


def _mark(cell: Any) -> str:
    """The id that nbgrader knows a cell by; empty if there is none."""
    marks = cell.metadata.get("nbgrader")
    return str(marks.get("grade_id", "")) if isinstance(marks, dict) else ""


def _same_cells(book: sources.Notebook, cell: sources.Notebook, given: Any) -> list[Any]:
    """Which cells of a submission were this cell of the assignment."""
    if marked := [one for one in book.cells if _mark(one) == _mark(cell)]:
        return marked  # several if it was copied, which nbgrader sorts out
    about, solution = cell.metadata.get("attnlab"), cell.metadata["nbgrader"]["solution"]
    tests: list[Callable[[Any], bool]] = [
        lambda one: bool(about) and one.metadata.get("attnlab") == about,
        lambda one: one.id == given.id and one.cell_type == given.cell_type,
        lambda one: one.source.strip() == given.source.strip() != "",
        lambda one: solution and _mark(cell) in _defined(one),
    ]
    unmarked = [one for one in book.cells if not _mark(one)]
    for test in tests:
        if found := [one for one in unmarked if test(one)]:
            return found[-1:]
    return []


def _defined(cell: Any) -> set[str]:
    """The functions and classes that a code cell defines."""
    if cell.cell_type != "code":
        return set()
    try:
        body = ast.parse(cell.source).body
    except (SyntaxError, ValueError):
        return set()
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {statement.name for statement in body if isinstance(statement, kinds)}


def _raw_cells(path: Path) -> list[dict[str, Any]]:
    """The cells as they stand in the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AttnlabError(f"cannot be read: {error.strerror}") from error
    if not data.strip(b"\0 \t\r\n"):
        raise AttnlabError("not a notebook: the file is empty")
    for beginning, what in _NOT_NOTEBOOKS:
        if data.lstrip().startswith(beginning):
            raise AttnlabError(f"not a notebook but {what}")
    try:
        content = json.loads(_decoded(data), strict=False)
    except ValueError as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        message = f"not a notebook: the file is cut off or damaged (no valid JSON{line})"
        raise AttnlabError(message) from error
    except RecursionError as error:
        raise AttnlabError("not a notebook: its JSON is nested too deeply") from error
    sheets = content.get("worksheets") if isinstance(content, dict) else None
    if isinstance(sheets, list):  # versions 2 and 3
        cells: Any = [cell for sheet in sheets if isinstance(sheet, dict) for cell in _of(sheet)]
    else:
        cells = _of(content)
    if not cells:
        raise AttnlabError("not a notebook: the file holds no cells")
    return [cell for cell in cells if isinstance(cell, dict)]


def _of(sheet: Any) -> list[Any]:
    cells = sheet.get("cells") if isinstance(sheet, dict) else None
    return cells if isinstance(cells, list) else []


def _decoded(data: bytes) -> str:
    for mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(name)
    if b"\0" in data[:4]:  # UTF-16 or UTF-32 without its mark, which json knows
        return data.decode(json.detect_encoding(data))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # some editors on Windows


def _text(source: Any) -> str:
    """A source, which may be a text or its lines."""
    lines = source if isinstance(source, list) else [source]
    return "".join(line for line in lines if isinstance(line, str))
