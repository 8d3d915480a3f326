"""The tables of scores, as CSV files in the folder of the course."""

from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.errors import AttnlabError
from attnlab.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("student", "lesson", "exercise", "points", "of", "note")


def write_scores(course: Path, table: "pd.DataFrame") -> None:
    """Write both tables, and keep the scores of lessons that were not graded this time.

    Parameters
    ----------
    course : folder of the course
    table : a row for each student and exercise, as `grade` returns it
    """
    import pandas as pd

    path = course / "scores_by_exercise.csv"
    if path.exists():
        known = read_scores(course)
        known = known[~known.lesson.isin(table.lesson)]
        table = pd.concat([known, table]) if len(known) else table
        table = table.sort_values(["lesson", "student"], kind="stable")
    wide = table.pivot_table(index="student", columns="exercise", values="points", aggfunc="sum")
    wide = wide[list(dict.fromkeys(table.exercise))]
    sums = table.groupby("student")[["points", "of"]].sum().rename(columns={"points": "total"})
    wide = sums.join(wide).reset_index()
    for target, content in ((course / "scores.csv", wide), (path, table)):
        safe = content.apply(with_quotes)
        atomic_write(target, safe.to_csv(index=False, float_format="%g").encode())


def read_scores(course: Path) -> "pd.DataFrame":
    """The table of all lessons that were graded, a row for each student and exercise.

    Raises
    ------
    AttnlabError
        If nothing was graded yet, or the file was changed.
    """
    import pandas as pd

    path = course / "scores_by_exercise.csv"
    if not path.exists():
        raise AttnlabError(f"There is no {path}. Grade first: attnlab grade {course}")
    try:
        table = pd.read_csv(path, dtype={"student": str}, keep_default_na=False)
        table = table.apply(_without_quotes)
        return table[list(COLUMNS)].astype({"points": float, "of": float})
    except (ValueError, KeyError) as error:
        raise AttnlabError(
            f"{path} is not as it was written ({error}). Delete it, and grade all lessons again."
        ) from error


_FORMULA = r"(?=[=+\-@\t\r])"  # how a cell begins that a spreadsheet would compute


def with_quotes(column: "pd.Series") -> "pd.Series":
    """Put a quotation mark before texts that a spreadsheet would take for formulas."""
    return (
        column if column.dtype.kind in "if" else column.str.replace(f"^{_FORMULA}", "'", regex=True)
    )


def _without_quotes(column: "pd.Series") -> "pd.Series":
    """Take them away again."""
    return (
        column if column.dtype.kind in "if" else column.str.replace(f"^'{_FORMULA}", "", regex=True)
    )
