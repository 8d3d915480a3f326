"""Comparing the answers of a class, pair by pair."""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.course.grading.scores import with_quotes
from attnlab.course.similarity.reading import SOLUTION, Submitted, collect
from attnlab.course.similarity.tokens import Pieces
from attnlab.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

WHOLE = "(all together)"  # what stands in an exercise's place
ALIKE = 0.6  # of the unusual pieces of both, the share that both have
PIECES = 20.0  # how many unusual pieces two answers share, at least
_COLUMNS = (
    *("lesson", "exercise", "one", "other"),
    *("alike", "shared", "usual", "like_solution", "answers"),
)


@dataclass(frozen=True)
class Pair:
    """How alike two students' answers to an exercise are.

    Attributes
    ----------
    one, other : the students
    shared : how many unusual pieces both have. One that nobody else has counts as 1, one that all
        others have as 0; in between as the logarithm of how rare it is.
    every : how many unusual pieces at least one of them has
    like_solution : how much of all pieces the course's own solution shares with each of them, at
        least, 0 to 1
    """

    one: str
    other: str
    shared: float
    every: float
    like_solution: float

    @property
    def alike(self) -> float:
        """The share of their unusual pieces that both have."""
        return self.shared / self.every if self.every else 0.0


def similar(
    folder: Path,
    *,
    lesson: str | None = None,
    alike: float = ALIKE,
    shared: float = PIECES,
    notebooks: Path | None = None,
) -> "pd.DataFrame":
    """Compare the answers of a class; return the pairs that stand out, the most striking first.

    Parameters
    ----------
    folder : a course, or a folder with ``STUDENT/LESSON/LESSON.ipynb``, ``STUDENT/LESSON.ipynb``
        or ``STUDENT_LESSON.ipynb``
    lesson : beginning of its name; default all
    alike, shared : a pair stands out if both its columns of these names reach them
    notebooks : folder with the sources of the lessons; default the course's

    Returns
    -------
    DataFrame with the columns ``lesson, exercise, one, other, alike, shared, usual, like_solution,
    answers``: as in `Pair`, the median of ``alike`` over all pairs of this exercise, and how many
    answers there are. A row is about an exercise or, as `WHOLE`, about a lesson, in which short
    answers add up.

    Raises
    ------
    AttnlabError
        If the folder or the lesson is not there, or nobody's answers can be read.

    Notes
    -----
    A pair that stands out wrote much alike that few others wrote. Whether one copied, both worked
    together, or both read the same page is for people to find out.
    """
    import pandas as pd

    by_lesson: dict[str, dict[str, list[Submitted]]] = {}
    for answer in collect(folder, lesson=lesson, notebooks=notebooks):
        by_lesson.setdefault(answer.lesson, {}).setdefault(answer.exercise, []).append(answer)
    rows = []
    for name, by_exercise in by_lesson.items():
        compared = {exercise: compare(_of(answers)) for exercise, answers in by_exercise.items()}
        counts = {exercise: len(answers) - 1 for exercise, answers in by_exercise.items()}
        compared[WHOLE], counts[WHOLE] = together(compared.values()), max(counts.values())
        for exercise, pairs in compared.items():
            usual = _median([pair.alike for pair in pairs])
            rows += [
                {
                    **{"lesson": name, "exercise": exercise, "one": pair.one, "other": pair.other},
                    **{"alike": pair.alike, "shared": pair.shared, "usual": usual},
                    **{"like_solution": pair.like_solution, "answers": counts[exercise]},
                }
                for pair in pairs
                if pair.alike >= alike and pair.shared >= shared
            ]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    return table.sort_values("shared", ascending=False, ignore_index=True, kind="stable")


def write(path: Path, table: "pd.DataFrame") -> Path:
    """Write the table of `similar` as a CSV file that a spreadsheet opens without computing."""
    safe = table.apply(with_quotes)
    return atomic_write(path, safe.to_csv(index=False, float_format="%.3g").encode())


def compare(answers: Mapping[str, Pieces]) -> list[Pair]:
    """Compare all pairs of answers to one exercise.

    Parameters
    ----------
    answers : the pieces of each, by student; under `SOLUTION` those of the course's own answer,
        which belongs to what others have, and to no pair
    """
    known = Counter(piece for found in answers.values() for piece in found)
    solution = answers.get(SOLUTION, Counter())
    near = {student: _overlap(found, solution) for student, found in answers.items()}
    others = len(answers) - 2
    students = [student for student in answers if student != SOLUTION]
    pairs = []
    for one, other in itertools.combinations(students, 2):
        shared, every = _unusual(answers[one], answers[other], known, others)
        pairs.append(Pair(one, other, shared, every, min(near[one], near[other])))
    return pairs


def together(compared: Iterable[Sequence[Pair]]) -> list[Pair]:
    """The pairs of several exercises, added up; the likeness to the solution is the median."""
    by_names: dict[tuple[str, str], list[Pair]] = {}
    for pair in itertools.chain.from_iterable(compared):
        by_names.setdefault((pair.one, pair.other), []).append(pair)
    return [
        Pair(
            one,
            other,
            sum(pair.shared for pair in pairs),
            sum(pair.every for pair in pairs),
            _median([pair.like_solution for pair in pairs]),
        )
        for (one, other), pairs in by_names.items()
    ]


def _of(answers: Sequence[Submitted]) -> dict[str, Pieces]:
    return {answer.student: answer.pieces for answer in answers}


def _unusual(one: Pieces, other: Pieces, known: Pieces, others: int) -> tuple[float, float]:
    """How many unusual pieces both have, and how many at least one of them has."""
    shared = every = 0.0
    for piece in one.keys() | other.keys():
        holders = known[piece] - (piece in one) - (piece in other)
        weight = 1 - math.log(holders + 1) / math.log(others + 1) if others else 1.0
        shared += weight * min(one[piece], other[piece])
        every += weight * max(one[piece], other[piece])
    return shared, every


def _overlap(one: Pieces, other: Pieces) -> float:
    """The share of all pieces that both have."""
    every = (one | other).total()
    return (one & other).total() / every if every else 0.0


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0
