"""Grading what was handed in, one submission after the other."""

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from attnlab.course import notebooks as sources
from attnlab.course.grading.apart import GRADEBOOK, Outcome, Runner, Task
from attnlab.course.grading.assignments import id_of_test
from attnlab.course.grading.autograder import (
    assign_late_penalty,
    generate,
    grades_of,
    open_gradebook,
    require_nbgrader,
)
from attnlab.course.grading.feedback import write_feedback
from attnlab.course.grading.resuming import remember, remembered
from attnlab.course.grading.scores import COLUMNS, write_scores
from attnlab.course.judging import SECONDS, error_of, read_notebook, why
from attnlab.errors import AttnlabError, suggest

if TYPE_CHECKING:
    import pandas as pd


def grade(
    course: Path,
    *,
    lesson: str | None = None,
    seconds: int = SECONDS,
    workers: int | None = None,
    resume: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> "pd.DataFrame":
    """Run every submission through nbgrader's autograder, and write the tables of scores.

    Each runs in a copy, apart from the course and from the others, with the notebooks' experiments
    in their smallest size. What Jupyter would open or repair is repaired first. All submissions are
    graded anew each time, unless ``resume`` is set. A score that was set by hand in the gradebook
    stays. The tables are ``scores.csv`` and ``scores_by_exercise.csv`` in the folder of the course;
    ``feedback/STUDENT/LESSON/LESSON.html`` is for the author of a submission.

    Parameters
    ----------
    course : folder that `assignment` made, with ``submitted/STUDENT/LESSON/LESSON.ipynb``
    lesson : beginning of its name; default all. The scores of other lessons stay in the files.
    seconds : limit for one cell, which is then interrupted; the next cell runs. A check itself
        stops an answer after 10 seconds and says why, which a limit below 12 may prevent.
    workers : how many submissions run at once, each on one core; default as many as there are
        cores and memory for
    resume : do not run again what ran to its end before and has not changed since, nor its
        assignment or this package
    progress : called with a line when a submission has been run

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
        with _made_anew(course, name) as made:
            tasks = [Task(str(course), name, student, str(made), seconds) for student in students]
            cells = _graded_cells(course, name)
            for task, outcome in _run_all(tasks, workers or _workers(), resume, progress):
                rows += _entered(course, task, cells, outcome)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_scores(course, table)
    return table


def _workers() -> int:
    """How many submissions run at once: one on each core, and two gigabytes of memory for each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, int(psutil.virtual_memory().available / 2e9)))


def _run_all(
    tasks: Sequence[Task], workers: int, resume: bool, progress: Callable[[str], None]
) -> Iterator[tuple[Task, Outcome]]:
    """Run submissions, several at once; yields them in their order."""
    ours = threading.local()
    runners: list[Runner] = []

    def run(task: Task) -> Outcome:
        if problem := _unreadable(task):
            return Outcome(problem=problem)
        if resume and (before := remembered(task)):
            return before
        if not hasattr(ours, "runner"):
            ours.runner = Runner()
            runners.append(ours.runner)
        outcome: Outcome = ours.runner.run(task)
        remember(task, outcome)
        return outcome

    with ThreadPoolExecutor(workers) as pool:
        try:
            outcomes = zip(tasks, pool.map(run, tasks), strict=True)
            for number, (task, outcome) in enumerate(outcomes, 1):
                progress(f"{task.lesson}: {task.student} ({number} of {len(tasks)})")
                yield task, outcome
        finally:  # also where it is interrupted
            pool.shutdown(wait=False, cancel_futures=True)
            for runner in runners:
                runner.close()


@contextlib.contextmanager
def _made_anew(course: Path, lesson: str) -> Iterator[Path]:
    """A folder with source and release of an assignment, and a gradebook that knows no student."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source" / lesson
        shutil.copytree(course / "source" / lesson, source)
        shutil.copy(course / "nbgrader_config.py", place)
        if problem := generate(Path(place), lesson, Path(place) / GRADEBOOK):
            raise AttnlabError(f"nbgrader could not make the release version again:\n{problem}")
        yield Path(place)


def _graded_cells(course: Path, lesson: str) -> dict[str, str]:
    """The ids of the test cells of an assignment, by exercise, in order."""
    source = read_notebook(course / "source" / lesson / f"{lesson}.ipynb")
    names = [cell.metadata.get("attnlab", {}).get("check") for cell in source.cells]
    return {name: id_of_test(name) for name in names if name}


def _entered(
    course: Path, task: Task, cells: dict[str, str], outcome: Outcome
) -> list[dict[str, object]]:
    """Enter how a submission did in the gradebook; return a row for each exercise."""
    lesson, student = task.lesson, task.student
    path = course / "autograded" / student / lesson / f"{lesson}.ipynb"
    ran = None if outcome.problem else read_notebook(path)
    given = course / "submitted" / student / lesson
    rows = []
    with open_gradebook(course) as gradebook:
        if given.is_dir():
            gradebook.update_or_create_student(student)
            submission = gradebook.update_or_create_submission(lesson, student, **_when(given))
            for notebook in submission.notebooks:
                for comment in notebook.comments:
                    comment.auto_comment = outcome.comments.get(comment.name)
        grades = grades_of(gradebook, lesson, student)
        for grade in grades.values():
            grade.auto_score, grade.needs_manual_grade = 0.0, False
        notes = {name: outcome.problem or _note(ran, name, outcome) for name in cells}
        for exercise, cell in cells.items():
            if cell in grades and not notes[exercise]:
                grades[cell].auto_score = outcome.scores.get(cell, 0.0)
        gradebook.db.commit()  # scores are computed from what is stored
        for exercise, cell in cells.items():
            row: dict[str, object] = {"student": student, "lesson": lesson, "exercise": exercise}
            row["points"] = grades[cell].score if cell in grades else 0.0
            row["of"] = gradebook.find_grade_cell(cell, lesson, lesson).max_score
            rows.append(row | {"note": notes[exercise]})
    if given.is_dir():
        write_feedback(course, rows, {name: _said(ran, name) for name in cells})
    if _when(given):
        assign_late_penalty(course, lesson, student)
    return rows


def _when(given: Path) -> dict[str, str]:
    """When a submission was handed in, where nbgrader noted it beside the notebook."""
    stamp = given / "timestamp.txt"
    return {"timestamp": stamp.read_text().strip()} if stamp.is_file() else {}


def _unreadable(task: Task) -> str:
    """Why there is nothing to run, or an empty string."""
    folder = Path(task.course) / "submitted" / task.student / task.lesson
    if not folder.is_dir():
        return "not submitted"
    if not (folder / f"{task.lesson}.ipynb").is_file():
        others = ", ".join(sorted(other.name for other in folder.iterdir())) or "none"
        return f"no notebook {task.lesson}.ipynb in the submission, found: {others}"
    return ""


def _said(notebook: sources.Notebook | None, exercise: str) -> str:
    """All that the check of an exercise said."""
    cells = notebook.cells if notebook else []
    by_id = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in cells}
    error = error_of(by_id.get(id_of_test(exercise)))
    return error["evalue"] if error and error["ename"] in ("CheckFailed", "Unwritten") else ""


def _note(notebook: sources.Notebook | None, exercise: str, outcome: Outcome) -> str:
    """Why an exercise of a notebook that ran gets no points, or an empty string."""
    cells = notebook.cells if notebook else []
    by_id = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in cells}
    test = by_id.get(id_of_test(exercise))
    if test is None or not test.metadata["nbgrader"]["grade"]:
        return "deleted test cell"
    if id_of_test(exercise) not in outcome.finished:
        return outcome.ended or "the test cell did not run"
    return why(exercise, error_of(test), error_of(by_id.get(exercise)))
