"""Grading what was handed in, one submission after the other."""

import glob
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.course import notebooks as sources
from attnlab.course.grading.assignments import id_of_test
from attnlab.course.grading.autograder import convert, grades_of, open_gradebook, require_nbgrader
from attnlab.course.grading.scores import write_scores
from attnlab.course.judging import DIED, SECONDS, STUCK, error_of, read_notebook, why
from attnlab.errors import AttnlabError, suggest

if TYPE_CHECKING:
    import pandas as pd


def grade(
    course: Path,
    *,
    lesson: str | None = None,
    seconds: int = SECONDS,
    progress: Callable[[str], None] = lambda line: None,
) -> "pd.DataFrame":
    """Run every submission through nbgrader's autograder, and write the tables of scores.

    All submissions are graded anew each time. A score that was set by hand in the gradebook stays.
    The tables are ``scores.csv`` and ``scores_by_exercise.csv`` in the folder of the course.

    Parameters
    ----------
    course : folder that `assignment` made, with ``submitted/STUDENT/LESSON/LESSON.ipynb``
    lesson : beginning of its name; default all. The scores of other lessons stay in the files.
    seconds : limit for one cell, which is then interrupted; the next cell runs. A check itself
        stops an answer after 10 seconds and says why, which a limit below 12 may prevent.
    progress : called with a line before a submission is run

    Returns
    -------
    DataFrame with a row for each student and exercise and the columns ``student, lesson, exercise,
    points, of, note``. The note says why points are missing: the first line of what the check
    said, "deleted test cell", "timed out", "not submitted" and so on. A submission that cannot be
    run gets zero points and does not stop the others.

    Raises
    ------
    AttnlabError
        If the folder is no course, the lesson is not assigned in it, or nothing was submitted.
    """
    require_nbgrader()
    import pandas as pd

    course = course.resolve()
    names = sorted(path.parent.name for path in (course / "source").glob("*/*.ipynb"))
    if not names or not (course / "nbgrader_config.py").exists():
        raise AttnlabError(
            f"{course} is not a course. Make one: attnlab assignment 01 --out {course}"
        )
    chosen = [name for name in names if name.startswith(lesson or "")]
    if not chosen:
        raise AttnlabError(f"{course} has no assignment {lesson!r}. {suggest(lesson, names)}")
    folders = (path for path in (course / "submitted").glob("[!.]*") if path.is_dir())
    students = sorted(path.name for path in folders)
    if not students:
        raise AttnlabError(
            f"Nothing was submitted. Put notebooks where they are looked for: "
            f"{course / 'submitted' / 'STUDENT' / chosen[0] / chosen[0]}.ipynb"
        )
    rows = []
    for name in chosen:
        cells = _graded_cells(course, name)
        for student in students:
            progress(f"{name}: {student}")
            rows += _grade_one(course, name, cells, student, seconds)
    table = pd.DataFrame(rows, columns=["student", "lesson", "exercise", "points", "of", "note"])
    write_scores(course, table)
    return table


def _graded_cells(course: Path, lesson: str) -> dict[str, str]:
    """The ids of the test cells of an assignment, by exercise, in order."""
    source = read_notebook(course / "source" / lesson / f"{lesson}.ipynb")
    names = [cell.metadata.get("attnlab", {}).get("check") for cell in source.cells]
    return {name: id_of_test(name) for name in names if name}


def _grade_one(
    course: Path, lesson: str, cells: dict[str, str], student: str, seconds: int
) -> list[dict[str, object]]:
    """Run one submission; return a row for each exercise."""
    path = course / "submitted" / student / lesson / f"{lesson}.ipynb"
    with open_gradebook(course) as gradebook:
        if path.parent.is_dir():
            gradebook.update_or_create_student(student)
            gradebook.update_or_create_submission(lesson, student)
        for entry in grades_of(gradebook, lesson, student).values():
            entry.auto_score = None  # nbgrader keeps the old score of a cell that is gone
        gradebook.db.commit()

    problem = _unreadable(path)
    if not problem and (said := convert("Autograde", course, lesson, student, seconds)):
        problem = _why_not_run(said)
    ran = None if problem else read_notebook(course / "autograded" / student / lesson / path.name)

    rows = []
    with open_gradebook(course) as gradebook:
        grades = grades_of(gradebook, lesson, student)
        for exercise, cell in cells.items():
            note = problem or _note(ran, exercise)
            row = {"student": student, "lesson": lesson, "exercise": exercise, "points": 0.0}
            if entry := grades.get(cell):
                entry.auto_score = 0.0 if note else entry.auto_score or 0.0
                entry.needs_manual_grade = False
                gradebook.db.commit()
                row["points"] = entry.score
            of = gradebook.find_grade_cell(cell, lesson, lesson).max_score
            rows.append(row | {"of": of, "note": note})
    return rows


def _unreadable(path: Path) -> str:
    """Why there is nothing to run, or an empty string."""
    if glob.escape(path.parents[1].name) != path.parents[1].name:
        return "nbgrader cannot open a folder with * ? or [ in its name: rename it"
    if not path.parent.is_dir():
        return "not submitted"
    if not path.is_file():
        others = ", ".join(sorted(other.name for other in path.parent.glob("*.ipynb"))) or "none"
        return f"no notebook {path.name} in the submission, found: {others}"
    try:
        read_notebook(path)
    except AttnlabError:
        return "not a notebook"
    return ""


def _why_not_run(said: str) -> str:
    """The reason, from nbgrader's log, why a submission could not be run to its end."""
    if "DeadKernelError" in said:
        return DIED
    if "CellTimeoutError" in said or "unresponsive" in said:
        return STUCK
    errors = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception)\b.*)$", said, flags=re.M)
    return f"not graded: {errors[-1] if errors else said.strip().splitlines()[-1]}"


def _note(notebook: sources.Notebook, exercise: str) -> str:
    """Why an exercise of a notebook that ran gets no points, or an empty string."""
    by_id = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
    test = by_id.get(id_of_test(exercise))
    if test is None or not test.metadata["nbgrader"]["grade"]:
        return "deleted test cell"
    if test.execution_count is None:
        return "the test cell did not run"
    return why(exercise, error_of(test), error_of(by_id.get(exercise)))
