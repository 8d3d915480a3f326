"""nbgrader as this package uses it: its converters, its settings and its gradebook."""

import contextlib
import importlib
import io
import logging
import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnlab.course import notebooks as sources
from attnlab.course.judging import DIED, KERNEL_ARGUMENTS, STUCK, log_to, quiet
from attnlab.errors import AttnlabError, needs


def require_nbgrader() -> None:
    """Raise an `AttnlabError` that says what to install where nbgrader is missing."""
    with needs("grading"):
        importlib.import_module("nbgrader")


def generate(course: Path, lesson: str, gradebook: Path | None = None) -> str:
    """Make the release version of an assignment from its source, and its entry in the gradebook.

    Parameters
    ----------
    course, lesson : folder of the course, and name of the lesson
    gradebook : file of another gradebook than the settings name

    Returns
    -------
    What nbgrader logged if it failed, or else an empty string.
    """
    with quiet(), _scripts_found():
        from nbgrader.converters import GenerateAssignment
        from nbgrader.converters.base import NbGraderException

        said = io.StringIO()
        directory = _directory(course, log_to(said), gradebook)
        directory.assignment_id = lesson
        converter = GenerateAssignment(
            coursedir=directory, config=directory.config, log=directory.log, force=True
        )
        try:
            converter.start()
        except NbGraderException as error:
            return f"{said.getvalue()}\n{error}"
    return ""


def autograde(
    course: Path, lesson: str, gradebook: Path, seconds: int, environment: Mapping[str, str]
) -> tuple[str, str, list[str]]:
    """Run the one submission in a folder through nbgrader's autograder.

    Parameters
    ----------
    course, lesson : a folder like that of a course, and the name of the lesson
    gradebook : file of the gradebook that its scores go to
    seconds : limit for one cell
    environment : environment variables of the kernel

    Returns
    -------
    problem : why it could not be graded, a line, or an empty string
    ended : why the run ended early, a line, or an empty string
    finished : ids of the cells that ran to their end; those of a run that ended early count, too
    """
    with quiet(), _scripts_found():
        from nbgrader.converters import Autograde
        from nbgrader.converters.base import NbGraderException

        said = io.StringIO()
        directory = _directory(course, log_to(said), gradebook)
        directory.assignment_id = lesson
        directory.config.Execute.timeout = seconds
        converter = Autograde(
            coursedir=directory, config=directory.config, log=directory.log, force=True
        )
        run = _Run(environment)
        _prepare(converter, run)
        try:
            converter.start()
        except NbGraderException as error:
            return _why_not_run(f"{said.getvalue()}\n{error}"), "", []
    return "", run.ended, run.finished


@dataclass
class _Run:
    """How a notebook is run, and how it went; as for `autograde`."""

    environment: Mapping[str, str]
    ended: str = ""
    finished: list[str] = field(default_factory=list)


def assign_late_penalty(course: Path, lesson: str, student: str) -> None:
    """Enter what being late costs, by the due date in the gradebook and the course's settings."""
    with quiet(), _scripts_found():
        import nbformat
        from nbgrader.preprocessors import AssignLatePenalties

        directory = _directory(course, log_to(io.StringIO()))
        entry = {"notebook": lesson, "assignment": lesson, "student": student}
        entry["db_url"] = directory.db_url
        AssignLatePenalties(config=directory.config, log=log_to(io.StringIO())).preprocess(
            nbformat.v4.new_notebook(), {"nbgrader": entry}
        )


def _why_not_run(said: str) -> str:
    """The reason, from nbgrader's log, why a submission could not be run to its end."""
    errors = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception)\b.*)$", said, flags=re.M)
    return f"not graded: {errors[-1] if errors else said.strip().splitlines()[-1]}"


def _prepare(autograder: Any, run: _Run) -> None:
    """Make copied cells harmless, keep submissions silent, and keep what was judged in time."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from nbgrader.preprocessors import DeduplicateIds, Execute

    class ExecuteApart(Execute):
        extra_arguments: Any

        def setup_kernel(self, **settings: Any) -> Any:
            self.extra_arguments = [*self.extra_arguments, *KERNEL_ARGUMENTS]
            settings |= dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
            return super().setup_kernel(env=run.environment, **settings)

        def on_cell_executed(self, **event: Any) -> None:
            super().on_cell_executed(**event)
            run.finished.append(event["cell"].metadata.get("nbgrader", {}).get("grade_id", ""))

        def preprocess(self, nb: Any, resources: Any, **settings: Any) -> tuple[Any, Any]:
            try:
                return super().preprocess(nb, resources, **settings)
            except DeadKernelError:
                run.ended = DIED
            except CellTimeoutError:
                run.ended = STUCK
            return nb, resources

    steps = autograder.sanitize_preprocessors
    steps.insert(steps.index(DeduplicateIds) + 1, _without_empty_marks)
    autograder.autograde_preprocessors = [
        ExecuteApart if step is Execute else step for step in autograder.autograde_preprocessors
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


def _directory(course: Path, log: logging.Logger, gradebook: Path | None = None) -> Any:
    """The course as nbgrader sees it, with the settings from its file."""
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    if gradebook:
        config.CourseDirectory.db_url = f"sqlite:///{gradebook}"
    return CourseDirectory(config=config, log=log, root=str(course))


@contextlib.contextmanager
def open_gradebook(course: Path, file: Path | None = None) -> Iterator[Any]:
    """Open the gradebook; raise an `AttnlabError` that names it where it cannot be used.

    Parameters
    ----------
    course : folder of the course
    file : of another gradebook than its settings name
    """
    with quiet(), _scripts_found():
        from nbgrader.api import Gradebook, MissingEntry
        from sqlalchemy.exc import SQLAlchemyError

        directory = _directory(course, log_to(io.StringIO()), file)
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
