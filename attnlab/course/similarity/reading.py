"""Reading the answers of a class from what was handed in."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attnlab.course import notebooks as sources
from attnlab.course.grading.repairing import read_submission
from attnlab.course.similarity.tokens import Pieces, pieces
from attnlab.errors import AttnlabError, suggest

SOLUTION = "(the course's solution)"  # what stands in a name's place


@dataclass(frozen=True)
class Submitted:
    """An answer that was handed in.

    Attributes
    ----------
    student, lesson, exercise : whose answer to what
    code : the cell as it was written
    pieces : what it consists of, without what the exercise gives; see `pieces`
    """

    student: str
    lesson: str
    exercise: str
    code: str
    pieces: Pieces


def collect(
    folder: Path, *, lesson: str | None = None, notebooks: Path | None = None
) -> list[Submitted]:
    """Read everybody's answers, and the course's own under the name `SOLUTION`.

    Parameters are those of `similar`. A notebook that cannot be read is left out, and so is an
    answer that is missing or as it was handed out.
    """
    if not folder.is_dir():
        raise AttnlabError(f"There is no folder {folder}. Give a course, or one with submissions.")
    given = sources.sources(notebooks or sources.folder(), [lesson] if lesson else [])
    submitted = folder / "submitted" if (folder / "submitted").is_dir() else folder
    answers, seen = [], set()
    for source in given:
        handed_in = list(_notebooks(submitted, source.stem))
        cells = holes(source) if handed_in else {}
        for student, path in handed_in:
            try:
                book = read_submission(path)
            except AttnlabError:
                continue
            seen.add(student)
            for exercise, (hole, _) in cells.items():
                code = _answer(book, exercise)
                if own := pieces(code, hole):
                    answers.append(Submitted(student, source.stem, exercise, code, own))
        for exercise, (hole, solved) in cells.items():
            own = pieces(solved, hole)
            answers.append(Submitted(SOLUTION, source.stem, exercise, solved, own))
    if not seen:
        names = ", ".join(path.stem for path in given)
        raise AttnlabError(
            f"No submission of {names} can be read in {submitted}. Expected are notebooks such as "
            f"{submitted / 'STUDENT' / given[0].stem / given[0].stem}.ipynb"
        )
    return answers


def side_by_side(
    folder: Path,
    exercise: str,
    one: str,
    other: str,
    *,
    lesson: str | None = None,
    notebooks: Path | None = None,
) -> tuple[str, str]:
    """The code of two answers to an exercise, as it was handed in.

    Parameters
    ----------
    folder, lesson, notebooks : as for `similar`
    exercise : its name
    one, other : students, or `SOLUTION`

    Raises
    ------
    AttnlabError
        If one of them has no such answer.
    """
    found = collect(folder, lesson=lesson, notebooks=notebooks)
    exercises = {answer.exercise for answer in found}
    if exercise not in exercises:
        raise AttnlabError(f"There is no exercise {exercise!r}. {suggest(exercise, exercises)}")
    by_student = {answer.student: answer.code for answer in found if answer.exercise == exercise}
    for student in (one, other):
        if student not in by_student:
            raise AttnlabError(
                f"{student!r} has no answer to {exercise}. {suggest(student, by_student)}"
            )
    return by_student[one], by_student[other]


def holes(source: Path) -> dict[str, tuple[str, str]]:
    """The cells of a lesson's exercises: as handed out, and solved."""
    book = sources.read(source.read_text(encoding="utf-8"))
    return {
        cell.metadata["exercise"]: (
            sources.with_hole(cell.source),
            sources.without_markers(cell.source),
        )
        for cell in book.cells
        if "exercise" in cell.metadata
    }


def _notebooks(folder: Path, lesson: str) -> Iterator[tuple[str, Path]]:
    """Whose submissions of a lesson there are, and where."""
    for path in sorted(folder.glob("[!.]*")):
        if path.is_dir():
            for found in (path / lesson / f"{lesson}.ipynb", path / f"{lesson}.ipynb"):
                if found.is_file():
                    yield path.name, found
                    break
        elif path.name.endswith(f"_{lesson}.ipynb"):
            yield path.name.removesuffix(f"_{lesson}.ipynb"), path


def _answer(book: sources.Notebook, exercise: str) -> str:
    """The code of the last cell that holds an answer to this exercise; empty if there is none."""
    named = ""
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        about, marks = (cell.metadata.get(name) for name in ("attnlab", "nbgrader"))
        marked = (isinstance(about, dict) and about.get("exercise") == exercise) or (
            isinstance(marks, dict) and marks.get("grade_id") == exercise
        )
        if marked or (not named and _defines(cell.source, exercise)):
            named = cell.source
    return named


def _defines(code: str, name: str) -> bool:
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError):
        return False
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(statement, kinds) and statement.name == name for statement in body)
