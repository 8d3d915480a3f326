"""Which answers of a class look at each other's: pairs to read, and no accusation.

What two answers share counts for more the fewer others have it. Names, comments, white space, type
hints, the order of statements and that of the terms of a sum play no part; neither does what the
exercise itself gives. A short answer shares too little to stand out, and so does what everybody
writes.
"""

import ast
import builtins
import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.course import notebooks as sources
from attnlab.course.grading.repairing import read_submission
from attnlab.course.grading.scores import with_quotes
from attnlab.errors import AttnlabError, suggest
from attnlab.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ALIKE",
    "PIECES",
    "SOLUTION",
    "WHOLE",
    "Pair",
    "Submitted",
    "collect",
    "compare",
    "pieces",
    "side_by_side",
    "similar",
    "together",
    "write",
]

SOLUTION = "(the course's solution)"  # what stands in a name's place
WHOLE = "(all together)"  # what stands in an exercise's place
ALIKE = 0.6  # of the unusual pieces of both, the share that both have
PIECES = 20.0  # how many unusual pieces two answers share, at least
LONG = 4  # tokens in a piece
_COLUMNS = (
    *("lesson", "exercise", "one", "other"),
    *("alike", "shared", "usual", "like_solution", "answers"),
)

Pieces = Counter[tuple[str, ...]]


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


# --- From code to pieces --------------------------------------------------------------------------


def pieces(code: str, given: str = "") -> Pieces:
    """What an answer consists of: runs of four tokens within a statement, counted.

    Parameters
    ----------
    code : a cell with an answer
    given : the cell as it was handed out; what stands there is left out

    Returns
    -------
    How often each run occurs; empty where the code cannot be parsed
    """
    found = _runs(code)
    found.subtract(_runs(given))
    return +found


def _runs(code: str) -> Pieces:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Counter()
    reader = _Reader(_bound(tree))
    runs: Pieces = Counter()
    for statement in reader.statements(tree.body):
        tokens = ["<", *statement, ">"]
        for start in range(max(1, len(tokens) - LONG + 1)):
            runs[tuple(tokens[start : start + LONG])] += 1
    return runs


def _bound(tree: ast.AST) -> set[str]:
    """The names that the code itself gives to something, in whatever scope."""
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            bound.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    return bound


class _Reader:
    """Turns statements into tokens that stay the same when code is disguised."""

    def __init__(self, bound: set[str]):
        self._bound = bound

    def statements(self, body: Sequence[ast.stmt]) -> Iterator[list[str]]:
        """The tokens of each statement, those inside others as statements of their own."""
        for statement in body:
            if isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass):
                continue
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # a docstring, or a text in place of a comment
            inner = [
                block
                for _, block in ast.iter_fields(statement)
                if isinstance(block, list) and block and isinstance(block[0], ast.stmt)
            ]
            handlers = [h.body for h in getattr(statement, "handlers", [])]
            yield self._head(statement)
            for block in [*inner, *handlers]:
                yield from self.statements(block)

    def _head(self, statement: ast.stmt) -> list[str]:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                given = statement.args
                return ["def", *["v" for _ in (*given.posonlyargs, *given.args, *given.kwonlyargs)]]
            case ast.ClassDef():
                return ["class"]
            case ast.AugAssign():
                value = ast.BinOp(statement.target, statement.op, statement.value)
                return ["=", *self._tokens(statement.target), *self._tokens(value)]
            case ast.Assign():
                targets = [token for target in statement.targets for token in self._tokens(target)]
                return ["=", *targets, *self._tokens(statement.value)]
            case ast.AnnAssign():
                value_ = self._tokens(statement.value) if statement.value else []
                return ["=", *self._tokens(statement.target), *value_]
        tokens = [type(statement).__name__]
        for _, value in ast.iter_fields(statement):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.expr | ast.withitem):
                    tokens += self._tokens(part)
        return tokens

    def _tokens(self, node: ast.AST) -> list[str]:
        match node:
            case ast.Name():
                return [self._name(node.id)]
            case ast.Constant():
                return ["text" if isinstance(node.value, str | bytes) else repr(node.value)]
            case ast.Attribute():
                owner = [] if self._is_library(node.value) else self._tokens(node.value)
                return [f".{self._name(node.attr)}", *owner]
            case ast.Call():
                # torch.exp(x) and x.exp() alike, and with or without the name of an argument
                return [
                    "call",
                    *self._tokens(node.func),
                    *(token for part in node.args for token in self._tokens(part)),
                    *(token for word in node.keywords for token in self._tokens(word.value)),
                ]
            case ast.BinOp():
                sides = [self._tokens(node.left), self._tokens(node.right)]
                if isinstance(node.op, ast.Add | ast.Mult | ast.BitAnd | ast.BitOr):
                    sides.sort()
                return [type(node.op).__name__, *sides[0], *sides[1]]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=number)):
                return [f"-{number!r}"]
            case ast.Compare(ops=[ast.Gt() | ast.GtE()]):  # b > a as a < b
                word = "Lt" if isinstance(node.ops[0], ast.Gt) else "LtE"
                return [word, *self._tokens(node.comparators[0]), *self._tokens(node.left)]
            case ast.Compare():
                words = [type(op).__name__ for op in node.ops]
                parts = [node.left, *node.comparators]
                return [*words, *(token for part in parts for token in self._tokens(part))]
            case ast.Starred() | ast.FormattedValue():
                return self._tokens(node.value)
        tokens = [type(node).__name__]
        if isinstance(node, ast.BoolOp | ast.UnaryOp):
            tokens = [type(node.op).__name__]
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr | ast.comprehension | ast.slice | ast.arguments):
                tokens += self._tokens(child)
        return tokens

    def _is_library(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id not in self._bound | _BUILT_IN

    def _name(self, name: str) -> str:
        return "v" if name in self._bound else name


_BUILT_IN = set(dir(builtins))


# --- From a folder to answers ---------------------------------------------------------------------


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
        holes = _holes(source) if handed_in else {}
        for student, path in handed_in:
            try:
                book = read_submission(path)
            except AttnlabError:
                continue
            seen.add(student)
            for exercise, (hole, _) in holes.items():
                code = _answer(book, exercise)
                if own := pieces(code, hole):
                    answers.append(Submitted(student, source.stem, exercise, code, own))
        for exercise, (hole, solved) in holes.items():
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


def _holes(source: Path) -> dict[str, tuple[str, str]]:
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


def __dir__() -> list[str]:
    return sorted(__all__)
