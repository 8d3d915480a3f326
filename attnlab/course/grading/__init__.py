"""Assignments made and graded by nbgrader, from the sources of the lessons.

A course is a folder as nbgrader knows it::

    nbgrader_config.py                              settings; the teacher's to change
    source/LESSON/LESSON.ipynb                      with solutions and hidden tests: keep it private
    release/LESSON/LESSON.ipynb                     to hand out
    submitted/STUDENT/LESSON/LESSON.ipynb           what came back
    autograded/STUDENT/LESSON/LESSON.ipynb          as it ran
    gradebook.db, scores.csv, scores_by_exercise.csv

A submission is code, and it is run. `attnlab.course.judging.judge` says what it cannot protect
against.
"""

from attnlab.course.grading.assignments import Assignment, assignment
from attnlab.course.grading.platforms import platform_scores, write_platform_scores
from attnlab.course.grading.submissions import grade

__all__ = ["Assignment", "assignment", "grade", "platform_scores", "write_platform_scores"]


def __dir__() -> list[str]:
    return sorted(__all__)
