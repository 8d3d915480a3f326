"""Scores as learning platforms import them: Moodle's and Canvas's CSV files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attnlab.course.grading.scores import read_scores, with_quotes
from attnlab.errors import AttnlabError
from attnlab.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

Platform = Literal["moodle", "canvas"]

_CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
_POINTS = "    Points Possible"  # Canvas knows the row by these words
# columns of an exported gradebook by which a student can be found, in English exports
_KNOWN_BY = {
    "moodle": ("Email address", "ID number", "Username"),
    "canvas": ("SIS Login ID", "SIS User ID", "ID", "Student"),
}
_NAMES = (("First name", "Last name"), ("First name", "Surname"))  # Moodle gives them apart


def platform_scores(
    course: Path,
    platform: Platform,
    *,
    roster: Path | None = None,
    by_exercise: bool = False,
    zeros: bool = False,
) -> tuple["pd.DataFrame", list[str]]:
    """The scores of a course as a table that a learning platform imports.

    Parameters
    ----------
    course : folder that was graded
    platform : "moodle", whose columns are then chosen on import, or "canvas", which knows them by
        their names
    roster : the gradebook that the platform exported, by which folders get their student's name
        and numbers; default: the folders are named by e-mail address, login or number already
    by_exercise : a column for each exercise; default one for each lesson
    zeros : whether who handed in nothing gets 0; default an empty cell, which changes nothing in
        Canvas and is no grade in Moodle

    Returns
    -------
    table : a row for each student; Canvas's first row says what a column is worth
    left_out : students that the roster does not know, or whose name a spreadsheet would compute,
        which no platform would recognise behind its quotation mark

    Raises
    ------
    AttnlabError
        If nothing was graded, the roster names no students, or none of those that were graded.
    """
    import pandas as pd

    scores = read_scores(course)
    scores["what"] = scores.lesson
    if by_exercise:
        scores["what"] = scores.lesson.str[:2] + " " + scores.exercise
    handed_in = scores.note != "not submitted"
    scores = scores.assign(points=scores.points.where(handed_in | zeros))
    columns = list(dict.fromkeys(scores.what))
    grouped = scores.groupby(["student", "what"], sort=False)[["points", "of"]].sum(min_count=1)
    points, of = grouped.points.unstack()[columns], grouped.of.unstack()[columns].max()
    known = _identities(list(points.index), platform, roster)
    left_out = [student for student in points.index if student not in known]
    rows = [
        {**known[student], **points.loc[student].to_dict()}
        for student in points.index
        if student in known
    ]
    if not rows:
        raise AttnlabError(
            f"None of the {len(left_out)} students was found: {', '.join(left_out[:5])}. "
            "Name the folders by e-mail address, number or full name, as the roster has them."
        )
    identity = list(known[next(iter(known))])
    if platform == "canvas":
        rows = [{**dict.fromkeys(_CANVAS, ""), "Student": _POINTS, **of.to_dict()}, *rows]
    table = pd.DataFrame(rows, columns=[*identity, *columns])
    return table, left_out


def write_platform_scores(path: Path, table: "pd.DataFrame") -> Path:
    """Write the table; a text that a spreadsheet would compute stands behind a quotation mark."""
    safe = table.apply(with_quotes)
    safe.columns = with_quotes(table.columns.to_series())
    return atomic_write(path, safe.to_csv(index=False, float_format="%g").encode())


def _identities(
    students: Sequence[str], platform: Platform, roster: Path | None
) -> dict[str, Mapping[str, str]]:
    """What the platform calls each student, by the name of the folder."""
    plain = [student for student in students if not student.startswith(("=", "+", "-", "@"))]
    if roster is None:
        if platform == "canvas":
            return {
                name: {**dict.fromkeys(_CANVAS, ""), "Student": name, "SIS Login ID": name}
                for name in plain
            }
        column = "Email address" if all("@" in name for name in plain) else "ID number"
        return {name: {column: name} for name in plain}
    listed = _read_roster(roster, platform)
    found: dict[str, Mapping[str, str]] = {}
    for student in students:
        rows = [row for row in listed if _folded(student) in _called(row, platform)]
        if len(rows) == 1:
            columns = _CANVAS if platform == "canvas" else (_known_by(rows[0], platform)[0],)
            found[student] = {column: rows[0].get(column, "") for column in columns}
    return found


def _read_roster(path: Path, platform: Platform) -> list[dict[str, str]]:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise AttnlabError(f"The roster {path} cannot be read as CSV: {error}") from error
    rows = table.to_dict("records")
    rows = [row for row in rows if not row.get("Student", "").strip().startswith("Points Possible")]
    if not rows or not _known_by(rows[0], platform):
        wanted = ", ".join(_KNOWN_BY[platform])
        raise AttnlabError(
            f"The roster {path} names no students by any of: {wanted}. It has the columns: "
            f"{', '.join(map(str, table.columns))}. Export the gradebook in English, as CSV."
        )
    return rows


def _known_by(row: Mapping[str, str], platform: Platform) -> list[str]:
    return [column for column in _KNOWN_BY[platform] if column in row]


def _called(row: Mapping[str, str], platform: Platform) -> set[str]:
    """Everything that a student's folder may be called."""
    names = {row[column] for column in _known_by(row, platform)}
    names |= {f"{row[first]} {row[last]}" for first, last in _NAMES if {first, last} <= row.keys()}
    last, comma, first = row.get("Student", "").partition(", ")
    names |= {f"{first} {last}"} if comma else set()
    return {_folded(name) for name in names} - {""}


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
