"""What was graded already, so that a run that was interrupted can go on."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import attnlab
from attnlab.course.grading.apart import Outcome, Task
from attnlab.files import atomic_write

FOLDER = ".graded"  # in the folder of the course


def remembered(task: Task) -> Outcome | None:
    """The outcome of the same submission of the same assignment, if it ran to its end before."""
    course = Path(task.course)
    ran = course / "autograded" / task.student / task.lesson / f"{task.lesson}.ipynb"
    try:
        record = json.loads(_file(task).read_text(encoding="utf-8"))
        if record["key"] == _key(task) and ran.is_file():
            return Outcome(**record["outcome"])
    except (OSError, ValueError, TypeError, KeyError):
        pass  # none, or one that a person changed: it is graded anew
    return None


def remember(task: Task, outcome: Outcome) -> None:
    """Keep an outcome; not one that may be another the next time, such as a timeout."""
    if outcome.problem or outcome.ended:
        _file(task).unlink(missing_ok=True)
        return
    _file(task).parent.mkdir(parents=True, exist_ok=True)
    record = {"key": _key(task), "outcome": asdict(outcome)}
    atomic_write(_file(task), json.dumps(record).encode())


def _file(task: Task) -> Path:
    name = hashlib.sha256(task.student.encode()).hexdigest()[:32]
    return Path(task.course) / FOLDER / task.lesson / f"{name}.json"


def _key(task: Task) -> str:
    """Changes with everything that a score depends on, but for this machine's speed."""
    course, lesson = Path(task.course), task.lesson
    given = course / "submitted" / task.student / lesson
    files = sorted(path for path in given.rglob("*") if path.is_file())
    files += [course / "source" / lesson / f"{lesson}.ipynb", course / "nbgrader_config.py"]
    found = hashlib.sha256(f"{attnlab.__version__} {task.seconds}".encode())
    for path in files:
        found.update(f"{path.relative_to(course)} {path.stat().st_size} ".encode())
        found.update(path.read_bytes())
    return found.hexdigest()
