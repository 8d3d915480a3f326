"""The checks of all exercises: ``al.checks.softmax(softmax)`` says what is right or wrong.

``al.checks.summary()`` prints what is done and keeps it in a small JSON file beside the notebook.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attnlab.course import hosts
from attnlab.course.checks import (
    adaptive_attention,
    attention_balance,
    attention_economics,
    attention_from_scratch,
    attention_maths,
    beyond_text,
    capstone,
    compression,
    finetune_bert,
    head_mixing,
    language_model,
    translation,
)
from attnlab.course.checks.examiner import CheckFailed, Exercise, Unwritten
from attnlab.errors import AttnlabError, suggest
from attnlab.files import atomic_write
from attnlab.languages import tr

__all__ = [
    "EXERCISES",
    "CheckFailed",
    "Exercise",
    "Unwritten",
    "progress_file",
    "summary",
    "yours_or_ours",
]

LESSONS = {  # the order of the course; everything else names a lesson by its topic
    "attention_maths": "01",
    "attention_from_scratch": "02",
    "translation": "03",
    "language_model": "04",
    "finetune_bert": "05",
    "head_mixing": "06",
    "attention_balance": "07",
    "attention_economics": "08",
    "compression": "09",
    "beyond_text": "10",
    "adaptive_attention": "11",
    "capstone": "12",
}
EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for lesson in (
        attention_maths,
        attention_from_scratch,
        translation,
        language_model,
        finetune_bert,
        head_mixing,
        attention_balance,
        attention_economics,
        compression,
        beyond_text,
        adaptive_attention,
        capstone,
    )
    for exercise in lesson.EXERCISES
}

_done: dict[str, bool] = {}  # what was checked since the kernel started
_right: dict[str, Any] = {}  # the answers that passed last, and are not examined again


class _PublicCheck:
    """What ``al.checks.<exercise>`` is: call it with your answer.

    Prints what held, or raises `CheckFailed` with what went wrong. For an exercise that is not
    written yet it only prints so, and Run All goes on; nbgrader's Validate sees it fail.
    """

    def __init__(self, exercise: Exercise):
        self.exercise = exercise
        self.__name__ = exercise.name
        self.__doc__ = exercise.check.__doc__

    def __call__(self, answer: Any, *, seed: int | None = None) -> None:
        exercise = self.exercise
        _done[exercise.name] = False
        try:
            held = exercise.examine(answer, seed)
        except Unwritten:
            if "NBGRADER_VALIDATING" in os.environ:  # it takes a cell without an error for right
                raise
            print(f"{exercise.name}: {tr('not written yet')}")
            return
        _done[exercise.name] = True
        _right[exercise.name] = answer
        right = tr(
            "right, {points} of {total} points", points=exercise.points, total=exercise.points
        )
        print(f"{exercise.name}: {right}")
        for line in held:
            print(f"  ✓ {line}")

    def __repr__(self) -> str:
        return f"al.checks.{self.exercise.name}: {self.__doc__}"


_CHECKS = {name: _PublicCheck(exercise) for name, exercise in EXERCISES.items()}


def __getattr__(name: str) -> _PublicCheck:
    if name in _CHECKS:
        return _CHECKS[name]
    raise AttributeError(f"There is no check {name!r}. {suggest(name, EXERCISES)}")


def __dir__() -> list[str]:
    return sorted([*EXERCISES, "summary", "yours_or_ours"])


def yours_or_ours(name: str, yours: Any, ours: Any = None) -> Any:
    """Return your answer to an exercise if it is right, ours if it is not; prints which of them.

    With it the cell after a check runs your own function in a real model. An answer that has just
    passed its check is not examined again.

    Parameters
    ----------
    name : of the exercise
    yours : the answer in the notebook
    ours : one that is right; default that of the exercise, which no notebook shows

    Raises
    ------
    AttnlabError
        If there is no such exercise, or neither it nor you have an answer of ours.
    """
    if name not in EXERCISES:
        raise AttnlabError(f"There is no exercise {name!r}. {suggest(name, EXERCISES)}")
    ours = EXERCISES[name].ours if ours is None else ours
    if ours is None:
        raise AttnlabError(f"The exercise {name!r} has no answer of ours: give one as the third.")
    if _right.get(name) is not yours:
        try:
            EXERCISES[name].examine(yours)
        except CheckFailed as failure:
            if isinstance(failure, Unwritten):
                why = tr("not written yet, so ours runs here")
            else:
                why = tr("not right yet, so ours runs here")
            print(f"{name}: {why}")
            return ours
    print(f"{name}: {tr('yours runs here')}")
    return yours


def progress_file() -> Path:
    """Where `summary` keeps the record: beside the notebook, or where ATTNLAB_PROGRESS says."""
    return Path(os.environ.get("ATTNLAB_PROGRESS", "attnlab-progress.json"))


def summary(lesson: str | None = None) -> None:
    """Print which exercises are done, with their points, and keep a record of them.

    What was checked since the kernel started counts; the rest comes from the record.

    Parameters
    ----------
    lesson : its topic, such as "attention_maths", or its number, such as "01"; default every
        lesson of which an exercise was tried, or all lessons

    Raises
    ------
    AttnlabError
        If there is no such lesson, or the record cannot be read.
    """
    topics = {number: topic for topic, number in LESSONS.items()}
    lesson = topics.get(lesson or "", lesson)
    if lesson is not None and lesson not in LESSONS:
        raise AttnlabError(
            f"There is no lesson {lesson!r} with exercises. {suggest(lesson, LESSONS)}"
        )
    record = _read(progress_file())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for name, done in _done.items():
        exercise = EXERCISES[name]
        points = exercise.points if done else 0
        known = record.get(name, {})
        if known.get("points") != points:
            known = {"when": now}
        record[name] = {"lesson": exercise.lesson, "points": points, "of": exercise.points} | {
            "when": known["when"]
        }
    tried = {EXERCISES[name].lesson for name in record if name in EXERCISES}
    for topic in [lesson] if lesson else [topic for topic in LESSONS if topic in tried] or LESSONS:
        _print_lesson(topic, record)
    if record:
        text = json.dumps(record, indent=1, sort_keys=True) + "\n"
        atomic_write(progress_file(), text.encode())
        if hosts.host().loses_files:
            print(hosts.host().differs)


def _print_lesson(topic: str, record: dict[str, dict[str, Any]]) -> None:
    exercises = [exercise for exercise in EXERCISES.values() if exercise.lesson == topic]
    points = sum(record.get(exercise.name, {}).get("points", 0) for exercise in exercises)
    total = sum(exercise.points for exercise in exercises)
    reached = tr("{points} of {total} points", points=points, total=total)
    print(tr("Lesson {number}: {reached}", number=LESSONS[topic], reached=reached))
    for exercise in exercises:
        entry = record.get(exercise.name)
        right = entry and entry["points"]
        word = tr("right") if right else tr("not yet") if entry else tr("not tried")
        print(f"  {'✓' if right else '·'} {exercise.name:24} {word}")


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): {
                "lesson": str(entry["lesson"]),
                "points": int(entry["points"]),
                "of": int(entry["of"]),
                "when": str(entry["when"]),
            }
            for name, entry in record.items()
        }
    except (ValueError, AttributeError, TypeError, KeyError, OSError) as error:
        raise AttnlabError(
            f"{path} is not a record of progress ({type(error).__name__}: {error}). "
            "Move it away or delete it, then call summary() again."
        ) from error
