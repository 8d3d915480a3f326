"""Making an assignment: the notebook for the teacher, and the one to hand out."""

import contextlib
import glob
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnlab.course import notebooks as sources
from attnlab.course.grading.autograder import generate, open_gradebook, require_nbgrader
from attnlab.course.judging import JUDGED, SEEDS
from attnlab.errors import AttnlabError, suggest
from attnlab.files import atomic_write

_CONFIG = """\
# Settings of this course, for `attnlab grade` and for nbgrader itself.
# Yours to change: this file is never written again.
import secrets

c = get_config()
c.CourseDirectory.course_id = "attnlab"

# What learners find in place of a solution.
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("your turn")'}

# Output on stderr, such as a warning, costs no points; only an exception does.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s).*"

# Files beside a submission are not imported in place of the real modules.
c.Execute.extra_arguments = ["--InteractiveShellApp.ignore_cwd=True", "--log-level=ERROR"]

# A kernel is stopped at once when its notebook is done or when it no longer responds.
c.Execute.shutdown_kernel = "immediate"

# What nbgrader zip_collect takes for whose notebook: STUDENT/01_attention_maths.ipynb, also in
# STUDENT.zip or in Moodle's folders, and STUDENT_01_attention_maths.ipynb.
c.FileNameCollectorPlugin.named_regexp = (
    r".*[/\\\\](?!extracted[/\\\\])(?P<student_id>[^/\\\\]+?)(_\\d+_assignsubmission_file_?)?"
    r"[/\\\\_](?P<file_id>\\d\\d_[a-z0-9_]+)\\.ipynb$"
)

# No tag on a cell keeps a test from running.
c.Execute.skip_cells_with_tag = secrets.token_hex()
"""
_KINDS = ("exercise", "check", "hints")  # of cells, as the sources of the lessons mark them
_TASK = re.compile(r"^(#{2,6} Exercise\b[^\n]*).*", re.M | re.S)  # to the end of its cell
_NOT_ASKED = "*This is not part of this assignment.*"
# calling it fails as an open hole does: later cells run ours, or say why they run nothing
OPEN = """\
def {name}(*_, **__):
    raise NotImplementedError("not part of this assignment")
"""


@dataclass(frozen=True)
class Assignment:
    """An assignment as it was made.

    Attributes
    ----------
    lesson : name of the lesson, such as "01_attention_maths"
    source, release : the notebook with solutions and hidden tests, and the one to hand out
    points : what a right answer is worth, for each exercise
    submissions : number of submissions of this lesson that were already there; they are kept
    """

    lesson: str
    source: Path
    release: Path
    points: dict[str, int]
    submissions: int


def assignment(
    lesson: str,
    out: Path,
    *,
    only: Sequence[str] = (),
    points: Mapping[str, int] | None = None,
    seed: int | None = None,
    notebooks: Path | None = None,
) -> Assignment:
    """Make an nbgrader assignment from a lesson, in a new or an existing course.

    Parameters
    ----------
    lesson : beginning of its name, such as "01"
    out : folder of the course; submissions, gradebook and settings in it are kept, source and
        release are made anew
    only : names of the exercises to keep; default all. Of the others the task, its hints and its
        check are left out, and cells that use their answer find an open hole.
    points : what an exercise is worth, where that differs from the lesson
    seed : of the numbers that the hidden tests draw; default a random one that is not shown
    notebooks : folder with ``src``; default that of the course. Lessons there may hold exercises
        of the teacher's own, with ``points`` in their cell; their check is a cell of tests, which
        may be hidden between nbgrader's ``### BEGIN HIDDEN TESTS`` and ``### END HIDDEN TESTS``.

    Raises
    ------
    AttnlabError
        If a name does not exist, the folder holds something else, or submissions were already
        graded with other exercises.
    """
    require_nbgrader()
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
    if problem := generate(course, name):
        raise AttnlabError(f"nbgrader could not make the release version:\n{problem}")
    submissions = len(list((course / "submitted").glob(f"*/{name}")))
    return Assignment(name, source, course / "release" / name / source.name, worth, submissions)


def id_of_test(exercise: str) -> str:
    """What nbgrader calls the cell that tests an exercise."""
    return f"test-{exercise}"


def _points(
    book: sources.Notebook, lesson: str, only: Sequence[str], points: Mapping[str, int]
) -> dict[str, int]:
    """What each exercise that is kept is worth, in the order of the lesson."""
    from attnlab.course.checks import EXERCISES

    cells = {cell.metadata["exercise"]: cell for cell in book.cells if "exercise" in cell.metadata}
    checked = {cell.metadata["check"] for cell in book.cells if "check" in cell.metadata}
    if not cells:
        raise AttnlabError(f"{lesson} has no exercises: there is nothing to assign.")
    for name, cell in cells.items():
        if name not in checked:
            raise AttnlabError(
                f"The exercise {name!r} of {lesson} has no check. Write one, or take it out."
            )
        if name not in EXERCISES and "points" not in cell.metadata:
            raise AttnlabError(
                f"The exercise {name!r} of {lesson} is not one of the course's. Say in its cell "
                f'what it is worth: # %% exercise="{name}" points=2'
            )
    for name in [*only, *points]:
        if name not in cells:
            raise AttnlabError(f"{lesson} has no exercise {name!r}. {suggest(name, cells)}")
    for name, worth in points.items():
        if worth < 0:
            raise AttnlabError(f"{name} cannot be worth {worth} points. Choose 0 or more.")
    return {
        name: points.get(
            name,
            int(cell.metadata["points"] if "points" in cell.metadata else EXERCISES[name].points),
        )
        for name, cell in cells.items()
        if not only or name in only
    }


def _for_teachers(book: sources.Notebook, points: dict[str, int], seed: int) -> sources.Notebook:
    """The notebook with solutions and hidden tests, as nbgrader reads it."""
    from attnlab.course.checks import EXERCISES

    made = sources.student(book, solutions=False)  # hints fold, and hold no solutions
    made.metadata["attnlab"]["points"] = points
    kept: list[sources.Notebook] = []
    section, count = "start", 0
    for cell, before in zip(made.cells, book.cells, strict=True):
        kind = next((kind for kind in _KINDS if kind in before.metadata), "text")
        name = str(before.metadata.get(kind, ""))
        left_out = bool(name) and name not in points
        if left_out and kind != "exercise":
            continue
        marks: dict[str, object] = {"schema_version": 3, "locked": True}
        marks |= dict.fromkeys(("grade", "solution", "task"), False)
        if left_out:
            _without_task(kept[-1] if kept else None)
            cell.source, cell.metadata = OPEN.format(name=name).rstrip(), {}
            marks |= {"grade_id": f"open-{name}"}
        elif kind == "exercise":
            section, count = name, 0
            cell.source = before.source
            marks |= {"grade_id": name, "solution": True, "locked": False}
        elif kind == "check":
            if name in EXERCISES:  # a teacher's own exercise brings its tests along
                cell.source = _hidden_test(name, seed) + cell.source
            marks |= {"grade_id": id_of_test(name), "grade": True, "points": points[name]}
        elif kind == "hints":
            marks |= {"grade_id": f"hints-{name}"}
        else:
            count += 1
            marks |= {"grade_id": f"{section}-{count}"}
        cell.metadata["nbgrader"] = marks
        kept.append(cell)
    made.cells = kept
    return made


def _without_task(before: sources.Notebook | None) -> None:
    """Leave only its heading of a task, which stands in the text right before an exercise."""
    if before is not None and before.cell_type == "markdown":
        before.source = _TASK.sub(rf"\1\n\n{_NOT_ASKED}", before.source)


def _hidden_test(exercise: str, seed: int) -> str:
    """What only the teacher's notebook holds: the call of the judge, with seeds that are secret."""
    # drawn for each exercise by itself, so that leaving one out does not change the others
    seeds = random.Random(f"{seed} {exercise}").sample(range(100_000), len(SEEDS))
    call = JUDGED.format(name=exercise, seeds=seeds)
    return f"### BEGIN HIDDEN TESTS\n{call}### END HIDDEN TESTS\n"


def _course_folder(out: Path) -> Path:
    """The folder of a course, made if it is new."""
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
    """Refuse to change cells of a graded lesson: nbgrader could not grade it again."""
    from nbgrader.api import MissingEntry

    cells = {cell.metadata["nbgrader"]["grade_id"] for cell in book.cells}
    with open_gradebook(course) as gradebook, contextlib.suppress(MissingEntry):
        known = gradebook.find_notebook(lesson, lesson)
        changed = cells ^ {cell.name for cell in known.source_cells}
        if known.submissions and changed:
            raise AttnlabError(
                f"Submissions of {lesson} were graded, and now its cells are others "
                f"({', '.join(sorted(changed))}). "
                "Make the same exercises again, or choose another folder."
            )
