"""nbgrader as this package uses it: its converters, its settings and its gradebook."""

import contextlib
import glob
import io
import logging
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnlab.course import notebooks as sources
from attnlab.course.judging import log_to, quiet
from attnlab.errors import AttnlabError, needs


def require_nbgrader() -> None:
    """Raise an `AttnlabError` that says what to install where nbgrader is missing."""
    with needs("grading"):
        import nbgrader  # noqa: F401


def convert(
    step: str, course: Path, lesson: str, student: str = ".", seconds: int | None = None
) -> str:
    """Run one of nbgrader's converters.

    Parameters
    ----------
    step : name of the converter, such as "Autograde"
    course : folder of the course
    lesson : name of the lesson
    student : whose submission; default all
    seconds : limit for one cell; default that of the course's settings

    Returns
    -------
    What nbgrader logged if it failed, or else an empty string.
    """
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
    """Make copied cells harmless, and keep submissions from writing to the terminal."""
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
    """Remove empty nbgrader metadata.

    nbgrader empties the metadata of one copy of a cell that was copied, and then takes that for an
    outdated format.
    """
    for cell in book.cells:
        if not cell.metadata.get("nbgrader", True):
            del cell.metadata["nbgrader"]
    return book, resources


def _directory(course: Path, log: logging.Logger) -> Any:
    """The course as nbgrader sees it, with the settings from its file."""
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    return CourseDirectory(config=config, log=log, root=str(course))


@contextlib.contextmanager
def open_gradebook(course: Path) -> Iterator[Any]:
    """Open the gradebook; raise an `AttnlabError` that names it where it cannot be used."""
    with quiet(), _scripts_found():
        from nbgrader.api import Gradebook, MissingEntry
        from sqlalchemy.exc import SQLAlchemyError

        directory = _directory(course, log_to(io.StringIO()))
        try:
            with Gradebook(directory.db_url, directory.course_id) as gradebook:
                yield gradebook
        except MissingEntry as error:
            raise AttnlabError(
                f"The gradebook of {course} does not know this assignment ({error}). "
                "Make it again with attnlab assignment; submissions are kept."
            ) from error
        except SQLAlchemyError as error:
            raise AttnlabError(
                f"The gradebook {directory.db_url} cannot be used: {error}"
            ) from error


@contextlib.contextmanager
def _scripts_found() -> Iterator[None]:
    """Put this environment's scripts on the PATH.

    nbgrader runs alembic to make a gradebook, and would not find it in an environment that is not
    active.
    """
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def grades_of(gradebook: Any, lesson: str, student: str) -> dict[str, Any]:
    """The gradebook's entries for one submission, by the id of the test cell."""
    from nbgrader.api import MissingEntry

    try:
        submission = gradebook.find_submission_notebook(lesson, lesson, student)
    except MissingEntry:
        return {}
    return {grade.name: grade for grade in submission.grades}
