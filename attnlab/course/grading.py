"""Assignments, and what they are worth: made and graded by nbgrader, from the sources of the lessons.

A course is a folder as nbgrader knows it::

    nbgrader_config.py                              settings; the teacher's to change
    source/LESSON/LESSON.ipynb                      with solutions and hidden tests: for the teacher only
    release/LESSON/LESSON.ipynb                     to hand out
    submitted/STUDENT/LESSON/LESSON.ipynb           what came back
    autograded/STUDENT/LESSON/LESSON.ipynb          as it ran
    gradebook.db, scores.csv, scores_by_exercise.csv

A submission is code, and runs. What `judging.judge` cannot protect against is said there.
"""

import contextlib
import glob
import io
import logging
import os
import random
import re
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnlab.course import notebooks as sources
from attnlab.course.judging import (
    DIED,
    JUDGED,
    SECONDS,
    SEEDS,
    STUCK,
    error_of,
    log_to,
    quiet,
    read_notebook,
    why,
)
from attnlab.errors import AttnlabError, needs, suggest
from attnlab.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd


_CONFIG = """\
# Settings of this course, for `attnlab grade` and for nbgrader itself. Yours to change: never written again.
import secrets

c = get_config()
c.CourseDirectory.course_id = "attnlab"

# What learners find in place of a solution.
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("your turn")'}

# Words on stderr, a warning for example, cost no points; only an exception does.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s).*"

# Files beside a submission are not imported in place of the real modules.
c.Execute.extra_arguments = ["--InteractiveShellApp.ignore_cwd=True", "--log-level=ERROR"]

# A kernel whose notebook is done, or which does not listen any more, is stopped at once.
c.Execute.shutdown_kernel = "immediate"

# No tag on a cell keeps a test from running.
c.Execute.skip_cells_with_tag = secrets.token_hex()
"""
_DELETED = "deleted test cell"


@dataclass(frozen=True)
class Assignment:
    """An assignment that was made.

    Attributes
    ----------
    lesson : its name, such as "01_attention_maths"
    source, release : the notebook with solutions and hidden tests, and the one to hand out
    points : for each exercise, what a right answer is worth
    submissions : how many submissions of this lesson were there already; they are kept
    """

    lesson: str
    source: Path
    release: Path
    points: dict[str, int]
    submissions: int


# --- Making an assignment ------------------------------------------------------------------------


def assignment(
    lesson: str,
    out: Path,
    *,
    only: Sequence[str] = (),
    points: Mapping[str, int] | None = None,
    seed: int | None = None,
    notebooks: Path | None = None,
) -> Assignment:
    """Make an nbgrader assignment of a lesson, in a new course or in one that is there.

    Parameters
    ----------
    lesson : beginning of its name, such as "01"
    out : folder of the course; submissions, gradebook and settings in it are kept, source and release made anew
    only : names of the exercises to keep; default all
    points : what an exercise is worth, where that differs from the lesson
    seed : of the numbers that the hidden tests draw; default one that nobody knows
    notebooks : folder with ``src``; default that of the course

    Raises
    ------
    AttnlabError
        for names that do not exist, a folder that holds something else, or exercises other than those that
        submissions were already graded by
    """
    _need_nbgrader()
    found = sources.sources(notebooks or sources.folder(), [lesson])
    if len(found) > 1:
        names = ", ".join(path.stem for path in found)
        raise AttnlabError(f"{lesson!r} begins the names of several lessons: {names}. Choose one.")
    name, book = found[0].stem, sources.read(found[0].read_text(encoding="utf-8"))
    worth = _points(book, name, only, points or {})
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    book = _for_teachers(book, worth, seed)

    course = _course_folder(out)
    _same_cells_if_graded(course, name, book)
    source = course / "source" / name / f"{name}.ipynb"
    source.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(source, sources.as_text(book).encode())
    if problem := _nbgrader("GenerateAssignment", course, name):
        raise AttnlabError(f"nbgrader could not make the release version:\n{problem}")
    submissions = len(list((course / "submitted").glob(f"*/{name}")))
    return Assignment(name, source, course / "release" / name / source.name, worth, submissions)


def _points(
    book: sources.Notebook, lesson: str, only: Sequence[str], points: Mapping[str, int]
) -> dict[str, int]:
    """What each exercise to keep is worth, in the order of the lesson."""
    from attnlab.course.checks import EXERCISES

    cells = {cell.metadata["exercise"]: cell for cell in book.cells if "exercise" in cell.metadata}
    checked = {cell.metadata["check"] for cell in book.cells if "check" in cell.metadata}
    if not cells:
        raise AttnlabError(f"{lesson} has no exercises: there is nothing to assign.")
    for name in cells:
        if name not in EXERCISES or name not in checked:
            raise AttnlabError(
                f"The exercise {name!r} of {lesson} has no check. Write one, or take it out."
            )
    for name in [*only, *points]:
        if name not in cells:
            raise AttnlabError(f"{lesson} has no exercise {name!r}. {suggest(name, cells)}")
    for name, worth in points.items():
        if worth < 0:
            raise AttnlabError(f"{name} cannot be worth {worth} points. Choose 0 or more.")
    return {
        name: points.get(name, int(cell.metadata.get("points", EXERCISES[name].points)))
        for name, cell in cells.items()
        if not only or name in only
    }


def _for_teachers(book: sources.Notebook, points: dict[str, int], seed: int) -> sources.Notebook:
    """The notebook with solutions and hidden tests, as nbgrader reads it."""
    made = sources.student(book, solutions=False)  # hints fold, and hold no solutions
    made.metadata["attnlab"]["points"] = points
    kept, section, count = [], "start", 0
    for cell, before in zip(made.cells, book.cells, strict=True):
        kinds = [kind for kind in ("exercise", "check", "hints") if kind in before.metadata]
        name = before.metadata[kinds[0]] if kinds else None
        if name and name not in points:
            continue
        marks = {"schema_version": 3, "locked": True}
        marks |= dict.fromkeys(("grade", "solution", "task"), False)
        if kinds == ["exercise"]:
            section, count = name, 0
            cell.source = before.source
            marks |= {"grade_id": name, "solution": True, "locked": False}
        elif kinds == ["check"]:
            # a seed of its own for each, so that leaving one out changes no other
            seeds = random.Random(f"{seed} {name}").sample(range(100_000), len(SEEDS))
            judged = JUDGED.format(name=name, seeds=seeds)
            cell.source = f"### BEGIN HIDDEN TESTS\n{judged}### END HIDDEN TESTS\n{cell.source}"
            marks |= {"grade_id": _test_of(name), "grade": True, "points": points[name]}
        elif kinds == ["hints"]:
            marks |= {"grade_id": f"hints-{name}"}
        else:
            count += 1
            marks |= {"grade_id": f"{section}-{count}"}
        cell.metadata["nbgrader"] = marks
        kept.append(cell)
    made.cells = kept
    return made


def _test_of(name: str) -> str:
    return f"test-{name}"


def _course_folder(out: Path) -> Path:
    """The folder of a course, new or as it was."""
    course = out.resolve()
    if glob.escape(str(course)) != str(course):
        raise AttnlabError(f"nbgrader cannot work in {course}: choose a path without * ? and [.")
    config = course / "nbgrader_config.py"
    if course.exists() and not course.is_dir():
        raise AttnlabError(f"{course} is a file. Choose a folder, new or of a course.")
    if course.is_dir() and any(course.iterdir()) and not config.exists():
        raise AttnlabError(f"{course} holds something else than a course. Choose a new folder.")
    (course / "submitted").mkdir(parents=True, exist_ok=True)
    if not config.exists():
        atomic_write(config, _CONFIG.encode())
    return course


def _same_cells_if_graded(course: Path, lesson: str, book: sources.Notebook) -> None:
    """Refuse to change the cells that submissions were graded by: nbgrader could not grade them again."""
    from nbgrader.api import MissingEntry

    cells = {cell.metadata["nbgrader"]["grade_id"] for cell in book.cells}
    with _gradebook(course) as gradebook, contextlib.suppress(MissingEntry):
        known = gradebook.find_notebook(lesson, lesson)
        changed = cells ^ {cell.name for cell in known.source_cells}
        if known.submissions and changed:
            raise AttnlabError(
                f"Submissions of {lesson} were graded, and now its cells are others "
                f"({', '.join(sorted(changed))}). Make the same exercises again, or choose another folder."
            )


# --- Grading a course ----------------------------------------------------------------------------


def grade(
    course: Path,
    *,
    lesson: str | None = None,
    seconds: int = SECONDS,
    progress: Callable[[str], None] = lambda line: None,
) -> "pd.DataFrame":
    """Run every submission through nbgrader's autograder; write scores.csv and scores_by_exercise.csv.

    Each time all submissions are graded anew. A score that was set by hand in the gradebook stays.

    Parameters
    ----------
    course : folder that `assignment` made, with ``submitted/STUDENT/LESSON/LESSON.ipynb``
    lesson : beginning of its name; default all. The scores of the others stay in the files.
    seconds : for one cell; it is interrupted then, and the next one runs. A check stops an answer after 10 seconds
        by itself, so fewer than 12 tell less.
    progress : called with a line before a submission is run

    Returns
    -------
    DataFrame with a row for each student and exercise: ``student, lesson, exercise, points, of, note``. The note
    says why points are missing: the first line of what the check said, "deleted test cell", "timed out",
    "not submitted" and so on. A submission that cannot be run gets zero points and does not stop the others.
    """
    _need_nbgrader()
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
    _write_scores(course, table)
    return table


def _graded_cells(course: Path, lesson: str) -> dict[str, str]:
    """For each exercise of an assignment, in order, the id of its test cell."""
    source = read_notebook(course / "source" / lesson / f"{lesson}.ipynb")
    names = [cell.metadata.get("attnlab", {}).get("check") for cell in source.cells]
    return {name: _test_of(name) for name in names if name}


def _grade_one(
    course: Path, lesson: str, cells: dict[str, str], student: str, seconds: int
) -> list[dict[str, object]]:
    """Run one submission; a row for each exercise."""
    path = course / "submitted" / student / lesson / f"{lesson}.ipynb"
    with _gradebook(course) as gradebook:
        if path.parent.is_dir():
            gradebook.update_or_create_student(student)
            gradebook.update_or_create_submission(lesson, student)
        for entry in _grades(gradebook, lesson, student).values():
            entry.auto_score = None  # nbgrader keeps the old score of a cell that is gone
        gradebook.db.commit()

    problem = _unreadable(path)
    if not problem and (said := _nbgrader("Autograde", course, lesson, student, seconds)):
        problem = _why_not_run(said)
    ran = None if problem else read_notebook(course / "autograded" / student / lesson / path.name)

    rows = []
    with _gradebook(course) as gradebook:
        grades = _grades(gradebook, lesson, student)
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
        others = ", ".join(sorted(one.name for one in path.parent.glob("*.ipynb"))) or "none"
        return f"no notebook {path.name} in the submission, found: {others}"
    try:
        read_notebook(path)
    except AttnlabError:
        return "not a notebook"
    return ""


def _why_not_run(said: str) -> str:
    """What nbgrader's log says about a submission that it could not run to its end."""
    if "DeadKernelError" in said:
        return DIED
    if "CellTimeoutError" in said or "unresponsive" in said:
        return STUCK
    errors = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception)\b.*)$", said, flags=re.M)
    return f"not graded: {errors[-1] if errors else said.strip().splitlines()[-1]}"


def _note(notebook: sources.Notebook, exercise: str) -> str:
    """Why an exercise of a notebook that ran gets no points, or an empty string."""
    by_id = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
    test = by_id.get(_test_of(exercise))
    if test is None or not test.metadata["nbgrader"]["grade"]:
        return _DELETED
    if test.execution_count is None:
        return "the test cell did not run"
    return why(exercise, error_of(test), error_of(by_id.get(exercise)))


def _write_scores(course: Path, table: "pd.DataFrame") -> None:
    """Both files, with what is known of the lessons that were not graded this time."""
    import pandas as pd

    path = course / "scores_by_exercise.csv"
    if path.exists():
        try:
            known = pd.read_csv(path, dtype={"student": str}, keep_default_na=False)
            known = known[list(table.columns)].astype({"points": float, "of": float})
        except (ValueError, KeyError) as error:
            raise AttnlabError(
                f"{path} is not as it was written ({error}). Delete it, and grade all lessons again."
            ) from error
        known = known[~known.lesson.isin(table.lesson)]
        table = pd.concat([known, table]) if len(known) else table
        table = table.sort_values(["lesson", "student"], kind="stable")
    wide = table.pivot_table(index="student", columns="exercise", values="points", aggfunc="sum")
    wide = wide[list(dict.fromkeys(table.exercise))]
    sums = table.groupby("student")[["points", "of"]].sum().rename(columns={"points": "total"})
    atomic_write(course / "scores.csv", sums.join(wide).to_csv(float_format="%g").encode())
    atomic_write(path, table.to_csv(index=False, float_format="%g").encode())


# --- nbgrader --------------------------------------------------------------------------------------


def _need_nbgrader() -> None:
    with needs("grading"):
        import nbgrader  # noqa: F401


def _nbgrader(
    step: str, course: Path, lesson: str, student: str = ".", seconds: int | None = None
) -> str:
    """Run one of nbgrader's converters; return what it said if it failed, or an empty string."""
    with quiet():
        from nbgrader import converters
        from nbgrader.converters.base import NbGraderException

        said = io.StringIO()
        directory = _directory(course, log_to(said))
        directory.assignment_id, directory.student_id = lesson, glob.escape(student)
        if seconds:
            directory.config.Execute.timeout = seconds
        converter = getattr(converters, step)(
            coursedir=directory, config=directory.config, log=directory.log, force=True
        )
        if step == "Autograde":
            _prepare(converter)
        try:
            converter.start()
        except NbGraderException as error:
            return f"{said.getvalue()}\n{error}"
    return ""


def _prepare(autograder: Any) -> None:
    """Let copied cells do no harm, and submissions not write to the terminal."""
    from nbgrader.preprocessors import DeduplicateIds, Execute

    class ExecuteSilently(Execute):
        def setup_kernel(self, **settings: Any) -> Any:
            nowhere = subprocess.DEVNULL
            return super().setup_kernel(stdout=nowhere, stderr=nowhere, **settings)

    steps = autograder.sanitize_preprocessors
    steps.insert(steps.index(DeduplicateIds) + 1, _without_empty_marks)
    autograder.autograde_preprocessors = [
        ExecuteSilently if step is Execute else step for step in autograder.autograde_preprocessors
    ]


def _without_empty_marks(book: sources.Notebook, resources: Any) -> tuple[sources.Notebook, Any]:
    """Of a cell that was copied nbgrader empties the metadata of one copy, and then takes them for outdated."""
    for cell in book.cells:
        if not cell.metadata.get("nbgrader", True):
            del cell.metadata["nbgrader"]
    return book, resources


def _directory(course: Path, log: logging.Logger) -> Any:
    """nbgrader's idea of a course, with the settings from its file."""
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    return CourseDirectory(config=config, log=log, root=str(course))


@contextlib.contextmanager
def _gradebook(course: Path) -> Iterator[Any]:
    """The gradebook, opened; what is wrong with it becomes an error that says so."""
    with quiet(), _scripts_found():
        from nbgrader.api import Gradebook, MissingEntry
        from sqlalchemy.exc import SQLAlchemyError

        directory = _directory(course, log_to(io.StringIO()))
        try:
            with Gradebook(directory.db_url, directory.course_id) as gradebook:
                yield gradebook
        except MissingEntry as error:
            raise AttnlabError(
                f"The gradebook of {course} does not know this assignment ({error}). Make it again with "
                "attnlab assignment; submissions are kept."
            ) from error
        except SQLAlchemyError as error:
            raise AttnlabError(
                f"The gradebook {directory.db_url} cannot be used: {error}"
            ) from error


@contextlib.contextmanager
def _scripts_found() -> Iterator[None]:
    """nbgrader calls alembic to make a gradebook; in an environment that is not active nobody finds it."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _grades(gradebook: Any, lesson: str, student: str) -> dict[str, Any]:
    """The entries of one submission by the id of the test cell; none if there is no submission."""
    from nbgrader.api import MissingEntry

    try:
        submission = gradebook.find_submission_notebook(lesson, lesson, student)
    except MissingEntry:
        return {}
    return {one.name: one for one in submission.grades}
