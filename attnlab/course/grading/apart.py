"""Running one submission apart from the course, in a process of its own.

What a submission sees is a temporary folder with its own files: not the source with its hidden
tests, nor what others handed in, nor the gradebook. Whatever it started is ended with it.

``python -m attnlab.course.grading.apart`` reads tasks from stdin and writes outcomes to stdout, a
line of JSON each; `Runner` holds the other end.
"""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from attnlab.course import notebooks as sources
from attnlab.course.grading.autograder import autograde, grades_of, open_gradebook
from attnlab.course.grading.repairing import read_submission, with_marks
from attnlab.course.judging import read_notebook
from attnlab.errors import AttnlabError

GRADEBOOK = "gradebook-apart.db"
STUDENT = "submission"  # what everybody is called apart: any name will do for a folder outside
_MARK = "ATTNLAB_GRADED"  # environment variable of whatever a submission starts


@dataclass(frozen=True)
class Task:
    """What is run: a submission of a lesson.

    Attributes
    ----------
    course, lesson, student : folder of the course, name of the lesson, name of the folder
    made : folder in which the assignment was just made anew: source, release and, in
        `GRADEBOOK`, a gradebook without students
    seconds : limit for one cell
    """

    course: str
    lesson: str
    student: str
    made: str
    seconds: int


@dataclass(frozen=True)
class Outcome:
    """How it went.

    Attributes
    ----------
    problem : why nothing was graded, a line; empty if something was
    ended : why the run ended early, a line
    finished : ids of the cells that ran to their end
    scores : points by the id of the test cell
    comments : nbgrader's comments by the id of the cell
    """

    problem: str = ""
    ended: str = ""
    finished: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)


class Runner:
    """A process that runs submissions, one after the other."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, task: Task) -> Outcome:
        """Run one; if the process itself is lost, the outcome says so and the next has another."""
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(asdict(task)) + "\n")
            process.stdin.flush()
            return Outcome(**json.loads(process.stdout.readline()))
        except (OSError, ValueError):
            self.close()
            return Outcome(problem="not graded: the process that ran it was lost")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> "subprocess.Popen[str]":
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],  # not from the folder the teacher is in
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        return self._process


def run(task: Task) -> Outcome:
    """Run a submission through nbgrader's autograder; its notebook as it ran goes to autograded/.

    Parameters
    ----------
    task : of a folder with a notebook named after the lesson
    """
    course, made, lesson = Path(task.course), Path(task.made), task.lesson
    given = course / "submitted" / task.student / lesson
    name, mark = f"{lesson}.ipynb", secrets.token_hex()
    # the gradebook holds the hidden tests: it lies elsewhere
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as other:
        folder, gradebook = Path(place) / "submitted" / STUDENT / lesson, Path(other) / GRADEBOOK
        try:
            book = with_marks(
                read_submission(given / name),
                read_notebook(made / "source" / lesson / name),
                read_notebook(made / "release" / lesson / name),
            )
        except AttnlabError as error:
            return Outcome(problem=str(error))
        shutil.copytree(given, folder, ignore=shutil.ignore_patterns("*.ipynb"), symlinks=True)
        (folder / name).write_text(sources.as_text(book), encoding="utf-8")
        shutil.copy(course / "nbgrader_config.py", place)
        shutil.copy(made / GRADEBOOK, gradebook)
        try:
            problem, ended, finished = autograde(
                Path(place), lesson, gradebook, task.seconds, os.environ | _environment(mark)
            )
        finally:
            _end_all(mark)
        if problem:
            return Outcome(problem=problem)
        ran = course / "autograded" / task.student / lesson
        shutil.rmtree(ran, ignore_errors=True)
        shutil.copytree(Path(place) / "autograded" / STUDENT / lesson, ran, symlinks=True)
        with open_gradebook(Path(place), gradebook) as entries:
            grades = grades_of(entries, lesson, STUDENT)
            scores = {cell: float(grade.auto_score or 0) for cell, grade in grades.items()}
            notebook = entries.find_submission_notebook(lesson, lesson, STUDENT)
            comments = {
                comment.name: comment.auto_comment
                for comment in notebook.comments
                if comment.auto_comment
            }
        return Outcome("", ended, finished, scores, comments)


def _environment(mark: str) -> dict[str, str]:
    """What a submission runs with: the smallest experiments, one thread, and a mark to find it by.

    Checks judge the same in every size, and several submissions run at once.
    """
    chosen = {name: os.environ.get(name, value) for name, value in _DEFAULTS.items()}
    return {**chosen, _MARK: mark}


_DEFAULTS = {"ATTNLAB_PROFILE": "ci", "OMP_NUM_THREADS": "1"}


def _end_all(mark: str) -> None:
    """End every process that a submission started and that is still there."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == mark:
                process.kill()


def main() -> None:
    """Run tasks from stdin until it is closed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")  # what else prints goes nowhere
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        try:
            outcome = run(Task(**json.loads(line)))
        except Exception as error:  # nbgrader raises whatever a strange submission leads it to
            outcome = Outcome(
                problem=f"not graded: {type(error).__name__}: {error}".splitlines()[0]
            )
        answers.write(json.dumps(asdict(outcome)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
