"""What a teacher can rely on: through nbgrader's own autograder, submissions get their due."""

import contextlib
import copy
import json
import os
import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pandas as pd
import psutil
import pytest
import torch
from nbclient.exceptions import CellTimeoutError
from nbgrader.validator import Validator
from thorough import THOROUGH
from traitlets.config import PyFileConfigLoader

import attnlab as al
from attnlab.cli import main
from attnlab.course import grading, judging, notebooks
from attnlab.course.checks import EXERCISES, CheckFailed, Unwritten
from attnlab.course.grading.apart import Runner
from attnlab.course.grading.assignments import OPEN
from attnlab.course.grading.autograder import open_gradebook
from attnlab.course.grading.repairing import read_submission
from attnlab.course.grading.repairing import with_marks as marked
from attnlab.errors import AttnlabError

SOURCE = '''\
# %% [markdown]
# # A tiny lesson

# %%
import torch

import attnlab as al

# %% exercise="softmax" points=2
def softmax(scores, temperature=1.0):
    """Weights that sum to 1."""
    ### BEGIN SOLUTION
    scores = scores / temperature
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)
    ### END SOLUTION

# %% check="softmax"
al.checks.softmax(softmax)

# %% [markdown] hints="softmax"
# What is exp(0)?
# ---
# And what overflows?

# %% [markdown]
# Now the entropy.

# %% exercise="entropy" points=1
def entropy(weights):
    """How widely each row is spread."""
    ### BEGIN SOLUTION
    return torch.special.entr(weights).sum(-1)
    ### END SOLUTION

# %% check="entropy"
al.checks.entropy(entropy)

# %% [markdown] hints="entropy"
# 0 log 0 is 0.

# %% exercise="scaled_dot_scores" points=3
def scaled_dot_scores(query, key, mask=None):
    """How well each key answers each query."""
    ### BEGIN SOLUTION
    scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
    return scores if mask is None else scores.masked_fill(~mask, -torch.inf)
    ### END SOLUTION

# %% check="scaled_dot_scores"
al.checks.scaled_dot_scores(scaled_dot_scores)

# %%
al.checks.summary()
'''
LESSON = "09_tiny"
POINTS = {"softmax": 2, "entropy": 1, "scaled_dot_scores": 3}
Change = Callable[[nbformat.NotebookNode], None]

UNSCALED = "def scaled_dot_scores(query, key):\n    return query @ key.transpose(-2, -1)"
UNSTABLE = (
    "def softmax(scores, temperature=1.0):\n"
    "    return scores.exp() / scores.exp().sum(-1, keepdim=True)"
)
OVER_QUERIES = "def softmax(scores, temperature=1.0):\n    return torch.softmax(scores, -2)"
UNIFORM = (
    "def softmax(scores, temperature=1.0):\n    return torch.ones_like(scores) / scores.shape[-1]"
)
IN_BITS = "def entropy(weights):\n    return -(weights * weights.log2()).sum(-1)"
ENDLESS = "def softmax(scores, temperature=1.0):\n    while True:\n        pass"
STUBBORN = (
    "while True:\n    try:\n        while True:\n            pass\n"
    "    except BaseException:\n        pass"
)
LOUD = """
import logging, os, sys
logging.basicConfig(level="INFO")
print("defined", file=sys.stderr)
def softmax(scores, temperature=1.0):
    print("called", file=sys.stderr)
    logging.info("called")
    os.write(2, b"called")
    powers = ((scores - scores.amax(-1, keepdim=True)) / temperature).exp()
    return powers / powers.sum(-1, keepdim=True)
"""
LOOKS_AROUND = """
import os, pathlib
def softmax(scores, temperature=1.0):
    here = pathlib.Path.cwd()
    seen = [path.name for up in here.parents[:4] for path in up.glob("*")]
    assert not {"source", "release", "gradebook.db", "reference"} & set(seen), seen
    assert os.environ["ATTNLAB_PROFILE"] == "ci"
    raise RuntimeError("nothing to see")
"""
LEAVES_A_PROCESS = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(987)"], start_new_session=True)
"""
AWARDS_ITSELF = """
def softmax(scores, temperature=1.0):
    get_ipython().displayhook(2.0)
    return scores
"""


def answer(name: str, code: str) -> Change:
    """Write this in place of the answer."""

    def change(book: nbformat.NotebookNode) -> None:
        book.cells[where(book, "exercise", name)].source = code

    return change


def added(code: str) -> Change:
    """Add a cell after the imports."""
    return lambda book: book.cells.insert(2, nbformat.v4.new_code_cell(code))


def deleted(kind: str, name: str) -> Change:
    return lambda book: book.cells.pop(where(book, kind, name))


def where(book: nbformat.NotebookNode, kind: str, name: str) -> int:
    return [cell.metadata.get("attnlab", {}).get(kind) for cell in book.cells].index(name)


def after(name: str, code: str) -> Change:
    """Add a cell after the test of an exercise."""
    new = nbformat.v4.new_code_cell(code)
    return lambda book: book.cells.insert(where(book, "check", name) + 1, new)


def end(book: nbformat.NotebookNode, code: str) -> None:
    book.cells.append(nbformat.v4.new_code_cell(code))


def with_marks(**changed: object) -> Change:
    """The marks of the first test, as an editor rewrote them."""
    return lambda book: book.cells[where(book, "check", "softmax")].metadata.nbgrader.update(
        changed
    )


def without(*names: str) -> Change:
    """Cells without metadata of these names, but with the ids they came with."""

    def change(book: nbformat.NotebookNode) -> None:
        for cell in book.cells:
            for name in names:
                cell.metadata.pop(name, None)

    return change


def copied(book: nbformat.NotebookNode) -> None:
    place = where(book, "exercise", "softmax")
    book.cells.insert(place, copy.deepcopy(book.cells[place]))


def edited_test(book: nbformat.NotebookNode) -> None:
    book.cells[where(book, "check", "softmax")].source = "print('all fine')"


def skipped_test(book: nbformat.NotebookNode) -> None:
    book.cells[where(book, "check", "entropy")].metadata["tags"] = ["skip-execution"]


@dataclass(frozen=True)
class Control:
    """A submission, its points for softmax, entropy and scaled dot scores, and why, in notes."""

    points: tuple[int, int, int]
    changes: tuple[Change, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    solved: bool = True


REPLACED = "`al.checks.{}` was replaced in this notebook"
CONTROLS = {
    "reference": Control((2, 1, 3)),
    "untouched": Control((0, 0, 0), notes={"entropy": "Not written yet"}, solved=False),
    "unscaled": Control(
        (2, 1, 0),
        (answer("scaled_dot_scores", UNSCALED),),
        {"scaled_dot_scores": "standard deviation"},
    ),
    "unstable_and_in_bits": Control(
        (0, 0, 3),
        (answer("softmax", UNSTABLE), answer("entropy", IN_BITS)),
        {"softmax": "not finite", "entropy": "should give log"},
    ),
    "over_queries_and_broken": Control(
        (0, 0, 3),
        (answer("softmax", OVER_QUERIES), answer("entropy", "def entropy(weights)")),
        {"softmax": "ready-made softmax", "entropy": "its cell did not run: SyntaxError"},
    ),
    "endless_inside": Control(
        (0, 1, 3), (answer("softmax", ENDLESS),), {"softmax": "did not end within|timed out"}
    ),
    "endless_outside": Control(
        (2, 0, 3),
        (added("while True:\n    pass"), answer("entropy", "1 / 0")),
        {"entropy": "its cell did not run: ZeroDivisionError"},
    ),
    "Ann [group 2] ": Control((2, 1, 3), (answer("softmax", LOUD),)),
    "deleted_cells": Control(
        (0, 0, 3),
        (deleted("check", "softmax"), deleted("exercise", "entropy")),
        {"softmax": "^deleted test cell$", "entropy": "NameError.*entropy"},
    ),
    "replaced_check": Control(
        (0, 0, 3),
        (
            added("al.checks.softmax = lambda f: None\nal.checks.entropy = lambda f: None"),
            answer("softmax", UNIFORM),
        ),
        {"softmax": REPLACED.format("softmax"), "entropy": REPLACED.format("entropy")},
    ),
    "shadowed": Control(
        (0, 0, 0), (added("al = 0.5"),), dict.fromkeys(POINTS, "`al` was replaced")
    ),
    "tampers_with_tests": Control(
        (0, 0, 3),
        (edited_test, answer("softmax", UNIFORM), skipped_test, answer("entropy", IN_BITS)),
        {"softmax": "weights are wrong", "entropy": "should give log"},
    ),
    "awards_itself": Control(
        (0, 1, 3), (answer("softmax", AWARDS_ITSELF),), {"softmax": "weights are wrong"}
    ),
    "careless_but_right": Control((2, 1, 3), (copied, edited_test)),
    "exits": Control(
        (0, 0, 0), (added("import os; os._exit(1)"),), dict.fromkeys(POINTS, "kernel died")
    ),
    "not_a_notebook": Control((0, 0, 0), notes=dict.fromkeys(POINTS, "^not a notebook: .*no cell")),
    "broken_file": Control((0, 0, 0), notes=dict.fromkeys(POINTS, "^not a notebook: .*damaged")),
    "misnamed": Control((0, 0, 0), notes=dict.fromkeys(POINTS, "found: mine.ipynb")),
    "absent": Control((0, 0, 0), notes=dict.fromkeys(POINTS, "^not submitted$")),
    "exits_politely": Control(
        (2, 1, 3),
        # a kernel that was told to end does so a moment later
        (*[added("import time; time.sleep(1)")] * 2, added("exit()"), lambda b: end(b, "quit()")),
    ),
    "dies_half_way": Control(
        (2, 0, 0),
        (after("softmax", "import os; os._exit(1)"),),
        dict.fromkeys(("entropy", "scaled_dot_scores"), "kernel died"),
    ),
    "dies_in_a_test": Control(
        (2, 0, 0),
        (answer("entropy", "def entropy(weights):\n    import os\n    os._exit(1)"),),
        dict.fromkeys(("entropy", "scaled_dot_scores"), "kernel died"),
    ),
    "looks_around": Control((0, 1, 3), (answer("softmax", LOOKS_AROUND), added(LEAVES_A_PROCESS))),
    "without_metadata": Control((2, 1, 3), (without("nbgrader", "attnlab"),)),
    "=1+1": Control((0, 1, 3), (answer("softmax", "raise ValueError('=2+2')"),)),
}

# Of kinds of which another is among them; graded before a release, `make test THOROUGH=1`.
REPEATED = {
    "over_queries_and_broken",
    "endless_outside",
    "awards_itself",
    "careless_but_right",
    "exits",
    "exits_politely",
    "dies_in_a_test",
}
GRADED = {name: control for name, control in CONTROLS.items() if THOROUGH or name not in REPEATED}


def with_strange_marks(text: str) -> str:
    """Marks that are no marks, and marks of another assignment."""
    book = json.loads(text)
    for number, cell in enumerate(book["cells"]):
        cell["metadata"]["nbgrader"] = "v1" if number % 2 else {"grade_id": f"other-{number}"}
    return json.dumps(book)


def rewritten(change: Change) -> Callable[[str], str]:
    """The text of the notebook after a change."""

    def rewrite(text: str) -> str:
        book = nbformat.reads(text, as_version=4)
        change(book)
        return nbformat.writes(book)

    return rewrite


def in_version_3(text: str) -> str:
    book = json.loads(text)
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"input": cell.pop("source"), "language": "python", "outputs": []}
    sheets = [{"cells": book["cells"], "metadata": {}}]
    return json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": sheets})


def with_output(**output: object) -> Callable[[str], str]:
    """Every code cell with an output like this, or without the key."""

    def change(text: str) -> str:
        book = json.loads(text) | {"nbformat_minor": 4}  # in which cells have no ids
        for cell in book["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = [output]
                if not output:
                    del cell["outputs"], cell["execution_count"]
        return json.dumps(book)

    return change


WHOLE = {  # what Jupyter opens or repairs
    "version 3": in_version_3,
    "marks of nothing": with_strange_marks,
    "marks of a test no longer graded": rewritten(with_marks(grade=False, points="2")),
    "marks of an old version": rewritten(with_marks(schema_version=1)),
    "without marks": rewritten(without("nbgrader")),
    "version 4.4 with ids, no outputs": with_output(),
    "nameless stream": with_output(output_type="stream", text="1"),
    "unknown output": with_output(output_type="hologram"),
    "byte order mark": lambda text: "\ufeff" + text,
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "cp1252": lambda text: text.replace("Weights that", "Wéights that").encode("cp1252"),
    "one cell without metadata": lambda text: text.replace('"metadata": {', '"metadata_": {', 1),
}
REFUSED = {
    "": "the file is empty",
    "PK\x03\x04...": "a zip archive: unpack it",
    "<!DOCTYPE html><html></html>": "a web page",
    '"My answers are in the mail."': "the file holds no cells",
    '{"cells": [}': r"cut off or damaged \(no valid JSON, line 1\)",
    '{"cells": []}': "the file holds no cells",
    "[" * 100_000: "nested too deeply",
}


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "src").mkdir()
    (folder / "src" / f"{LESSON}.py").write_text(SOURCE)
    (folder / "src" / "09_without.py").write_text("# %%\n1 + 1\n")
    return folder


@pytest.fixture(scope="module")
def fresh(lessons, tmp_path_factory):
    """A course that was just made, to copy: a new gradebook takes seconds."""
    folder = tmp_path_factory.mktemp("fresh") / "course"
    grading.assignment(LESSON, folder, notebooks=lessons, seed=4)
    return folder


@pytest.fixture
def new_course(fresh, tmp_path):
    return Path(shutil.copytree(fresh, tmp_path / "course"))


def submission(made: grading.Assignment, control: Control) -> str:
    """The release version, filled in and changed."""
    book = nbformat.read(made.release, as_version=4)
    if control.solved:
        for cell in nbformat.read(made.source, as_version=4).cells:
            if name := cell.metadata.get("attnlab", {}).get("exercise"):
                answer(name, notebooks.without_markers(cell.source))(book)
    for change in control.changes:
        change(book)
    if len({cell.id for cell in book.cells}) < len(book.cells):
        for number, cell in enumerate(book.cells):
            cell.id = f"cell-{number}"
    return nbformat.writes(book)


def submit(course: Path, student: str, text: str, name: str = LESSON) -> Path:
    folder = course / "submitted" / student / LESSON
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.ipynb").write_text(text)
    return folder


@contextlib.contextmanager
def stderr_into(path: Path) -> Iterator[None]:
    """All that this process and its children write to stderr."""
    sys.stderr.flush()
    before = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


@pytest.fixture(scope="module")
def course(lessons, fresh, tmp_path_factory):
    """A course in which every control was submitted and graded, once."""
    folder = Path(shutil.copytree(fresh, tmp_path_factory.mktemp("teacher") / "course"))
    made = grading.assignment("09_t", folder, notebooks=lessons, seed=4)
    for student, control in GRADED.items():
        submit(folder, student, submission(made, control))
    text = (folder / "submitted" / "reference" / LESSON / f"{LESSON}.ipynb").read_text()
    submit(folder, "not_a_notebook", '"My answers are in the mail."')
    submit(folder, "broken_file", text[: len(text) // 2])
    (submit(folder, "misnamed", text, "mine") / f"{LESSON}.ipynb").unlink()
    (folder / "submitted" / "absent" / LESSON / f"{LESSON}.ipynb").unlink()
    (folder / "submitted" / "absent" / LESSON).rmdir()
    (folder / "submitted" / "notes.txt").write_text("no student")
    # a module beside the notebook must not answer for the real one
    (
        submit(folder, "untouched", submission(made, CONTROLS["untouched"])) / "attnlab.py"
    ).write_text("import types\nchecks = types.SimpleNamespace()\n__path__ = []\n")
    lines = []
    with stderr_into(folder.parent / "stderr"), pytest.MonkeyPatch.context() as patch:
        patch.delenv("ATTNLAB_PROFILE", raising=False)
        table = grading.grade(folder, seconds=11, progress=lines.append)
    return SimpleNamespace(
        folder=folder, made=made, table=table, lines=lines, stderr=folder.parent / "stderr"
    )


def rows_of(table: pd.DataFrame, student: str) -> pd.DataFrame:
    return table[table.student == student].set_index("exercise")


# --- Through the real autograder -----------------------------------------------------------------


@pytest.mark.parametrize("student", GRADED)
def test_a_submission_gets_exactly_what_it_deserves(course, student):
    rows = rows_of(course.table, student)
    assert dict(rows.of) == POINTS
    assert tuple(rows.points) == CONTROLS[student].points, rows.to_string()
    for exercise, note in CONTROLS[student].notes.items():
        assert pd.Series([rows.note[exercise]]).str.contains(note).all(), rows.note[exercise]


def test_looking_around_finds_no_source_and_no_gradebook(course):
    assert "nothing to see" in rows_of(course.table, "looks_around").note["softmax"]


def test_nothing_that_a_submission_started_is_left_running(course):
    left = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in left if "time.sleep(987)" in " ".join(line)]


def test_a_name_that_is_a_formula_stands_as_text_in_the_tables(course):
    for name in ("scores.csv", "scores_by_exercise.csv"):
        written = pd.read_csv(course.folder / name, dtype=str, keep_default_na=False)
        assert "'=1+1" in set(written.student)
        assert not written.stack().str.match(r"[=+@-]").any()


@pytest.mark.parametrize("condition", WHOLE)
def test_what_jupyter_opens_or_repairs_is_read_with_its_marks(fresh, tmp_path, condition):
    release = fresh / "release" / LESSON / f"{LESSON}.ipynb"
    changed = WHOLE[condition](release.read_text())
    path = tmp_path / "it.ipynb"
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    source, given = (
        nbformat.read(fresh / part / LESSON / f"{LESSON}.ipynb", as_version=4)
        for part in ("source", "release")
    )
    book = marked(read_submission(path), source, given)
    nbformat.validate(book)
    assert [cell.metadata.nbgrader for cell in book.cells] == [
        cell.metadata.nbgrader for cell in source.cells
    ]
    assert [cell.source.replace("é", "e") for cell in book.cells] == [
        cell.source for cell in given.cells
    ]


@pytest.mark.parametrize("content", REFUSED)
def test_what_is_no_notebook_is_refused_by_its_reason(tmp_path, content):
    path = tmp_path / "it.ipynb"
    path.write_text(content)
    with pytest.raises(AttnlabError, match=REFUSED[content]) as error:
        read_submission(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "anna/09_tiny.ipynb",
        "anna_09_tiny.ipynb",
        "anna_12345_assignsubmission_file_/09_tiny.ipynb",
    ],
)
def test_zip_collect_knows_whose_notebook_it_is(fresh, name):
    settings = PyFileConfigLoader("nbgrader_config.py", path=str(fresh)).load_config()
    found = re.match(settings.FileNameCollectorPlugin.named_regexp, f"/course/extracted/{name}")
    assert found.groupdict() == {"student_id": "anna", "file_id": "09_tiny"}


def test_validating_an_untouched_release_fails(fresh, tmp_path):
    release = fresh / "release" / LESSON / f"{LESSON}.ipynb"
    path = Path(shutil.copy(release, tmp_path / release.name))
    validator = Validator()
    failed = validator.validate(str(path))["failed"]
    assert len(failed) == len(POINTS)
    assert all("ot written yet" in one["error"] for one in failed)


def test_points_are_missing_exactly_where_a_note_says_why(course):
    assert ((course.table.points < course.table.of) == (course.table.note != "")).all()
    assert not course.table.note.str.contains("\n").any()


def test_grading_writes_nothing_to_stderr_and_tells_how_far_it_is(course):
    assert course.stderr.read_text() == ""
    assert course.lines == [
        f"{LESSON}: {student} ({number} of {len(GRADED)})"
        for number, student in enumerate(sorted(GRADED), 1)
    ]


def test_each_submission_has_a_page_for_its_author(course):
    pages = course.folder / "feedback"
    assert {path.name for path in pages.iterdir()} == GRADED.keys() - {"absent"}

    def page(student):
        return (pages / student / LESSON / f"{LESSON}.html").read_text()

    assert "6 of 6 points" in page("reference")
    said = page("unscaled")
    assert "3 of 6 points" in said
    assert "Did you divide by the square root" in said  # the question, too, not just the note
    assert "<pre>scaled_dot_scores" not in said  # the heading has the name already
    for student in GRADED.keys() - {"absent"}:
        assert "seed=" not in page(student)  # of the hidden tests
    assert "damaged" in page("broken_file")


def test_scores_are_written_for_each_student_and_for_each_exercise(course):
    scores = pd.read_csv(course.folder / "scores.csv", index_col="student")
    assert list(scores.columns) == ["total", "of", *POINTS]
    assert list(scores.loc["reference"]) == [6, 6, 2, 1, 3]
    assert list(scores.loc["absent"]) == [0, 6, 0, 0, 0]
    long = pd.read_csv(course.folder / "scores_by_exercise.csv", keep_default_na=False)
    assert list(long.columns) == ["student", "lesson", "exercise", "points", "of", "note"]
    assert (long.replace("'=", "=", regex=True).to_numpy() == course.table.to_numpy()).all()


def test_the_gradebook_of_nbgrader_holds_the_same_scores(course):
    with open_gradebook(course.folder) as gradebook:
        for student in GRADED.keys() - {"absent"}:
            found = gradebook.find_submission(LESSON, student)
            assert found.score == sum(CONTROLS[student].points), student
            assert not found.needs_manual_grade
        assert {one.id for one in gradebook.students} == GRADED.keys() - {"absent"}


def test_making_a_graded_assignment_again_keeps_submissions_and_gradebook(
    course, lessons, tmp_path
):
    again = Path(shutil.copytree(course.folder, tmp_path / "course"))
    submitted = again / "submitted" / "unscaled" / LESSON / f"{LESSON}.ipynb"
    before = submitted.read_bytes()
    with pytest.raises(AttnlabError, match=r"were graded.*test-entropy"):
        grading.assignment(LESSON, again, only=["softmax"], notebooks=lessons)
    made = grading.assignment(LESSON, again, points={"entropy": 5}, notebooks=lessons)
    assert made.submissions == len(GRADED) - 1
    assert submitted.read_bytes() == before
    with open_gradebook(again) as gradebook:
        assert gradebook.find_submission(LESSON, "unscaled").score == 3
        assert gradebook.find_assignment(LESSON).max_score == 10


def test_a_resubmission_is_graded_anew_and_a_score_by_hand_stays(lessons, new_course):
    made = grading.assignment(LESSON, new_course, notebooks=lessons)
    right = submission(made, CONTROLS["reference"])
    submit(new_course, "007", right)
    submit(new_course, "lin", submission(made, Control((0, 0, 0), (added(STUBBORN),))))
    table = grading.grade(new_course, lesson="09", seconds=9)
    assert rows_of(table, "007").points.sum() == 6
    assert rows_of(table, "lin").points.sum() == 0
    assert set(rows_of(table, "lin").note) == {"timed out, and could not be stopped"}
    with open_gradebook(new_course) as gradebook:
        gradebook.find_grade("test-entropy", LESSON, LESSON, "007").manual_score = 0.5
        gradebook.db.commit()

    submit(new_course, "007", submission(made, CONTROLS["exits"]))
    submit(new_course, "lin", submission(made, Control((2, 0, 3), (skipped_test,))))
    settings = new_course / "nbgrader_config.py"
    settings.write_text(settings.read_text().replace("secrets.token_hex()", '"skip-execution"'))
    scores = new_course / "scores_by_exercise.csv"
    earlier = pd.read_csv(scores, dtype={"student": str}).head(1)
    earlier.assign(lesson="08_earlier", exercise="mask").to_csv(scores, index=False)
    table = grading.grade(new_course)
    assert list(rows_of(table, "007").points) == [0, 0.5, 0]
    assert list(rows_of(table, "lin").points) == [2, 1, 3]  # no tag keeps a test from running
    wide = pd.read_csv(new_course / "scores.csv", dtype={"student": str}).set_index("student")
    assert list(wide.columns) == ["total", "of", "mask", *POINTS]
    assert wide.total["007"] == 2.5  # with the lesson that was graded before

    shutil.rmtree(new_course / "submitted" / "lin")
    (new_course / "submitted" / "007" / LESSON / f"{LESSON}.ipynb").unlink()
    scores.write_text("a table of my own\n")
    with pytest.raises(AttnlabError, match="Delete it, and grade all lessons again"):
        grading.grade(new_course)


def test_grading_goes_on_where_it_was_interrupted(new_course, monkeypatch):
    release = new_course / "release" / LESSON / f"{LESSON}.ipynb"
    source = new_course / "source" / LESSON / f"{LESSON}.ipynb"
    made = grading.Assignment(LESSON, source, release, POINTS, 0)
    for student in ("ann", "ben", "cem"):
        submit(new_course, student, submission(made, CONTROLS["reference"]))

    def interrupt(line):
        if "2 of 3" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grading.grade(new_course, workers=1, progress=interrupt)
    submit(new_course, "ben", submission(made, CONTROLS["unscaled"]))
    ran = []
    run = Runner.run

    def counted(runner, task):
        ran.append(task.student)
        return run(runner, task)

    monkeypatch.setattr(Runner, "run", counted)
    table = grading.grade(new_course, workers=1, resume=True)
    assert "ann" not in ran
    assert "ben" in ran  # who handed in anew
    assert dict(table.groupby("student").points.sum()) == {"ann": 6, "ben": 3, "cem": 6}
    ran.clear()
    again = grading.grade(new_course, workers=1, resume=True)
    assert not ran
    pd.testing.assert_frame_equal(again, table)


def test_who_interrupts_grading_reads_how_to_go_on(new_course, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(grading, "grade", interrupted)
    with pytest.raises(SystemExit) as end:
        main(["grade", str(new_course)])
    assert end.value.code == 1
    assert "same command with --resume goes on" in " ".join(capsys.readouterr().err.split())


def test_being_late_costs_what_the_settings_say(new_course):
    settings = new_course / "nbgrader_config.py"
    text = settings.read_text() + 'c.LateSubmissionPlugin.penalty_method = "zero"\n'
    # a page of the teacher's, besides
    text += f'c.IncludeHeaderFooter.header = "{new_course / "header.ipynb"}"\n'
    settings.write_text(text)
    header = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Our course")])
    nbformat.write(header, new_course / "header.ipynb")
    with open_gradebook(new_course) as gradebook:
        gradebook.update_or_create_assignment(LESSON, duedate="2026-01-01 12:00 UTC")
        gradebook.update_or_create_student("extended")
        gradebook.update_or_create_submission(LESSON, "extended")
        gradebook.grant_extension(LESSON, "extended", weeks=5)  # as the guide for teachers says
    release = new_course / "release" / LESSON / f"{LESSON}.ipynb"
    source = new_course / "source" / LESSON / f"{LESSON}.ipynb"
    made = grading.Assignment(LESSON, source, release, POINTS, 0)
    for student, month in {"early": 1, "extended": 2, "late": 2}.items():
        text = submission(made, CONTROLS["reference"])
        folder = submit(new_course, student, text)
        (folder / "timestamp.txt").write_text(f"2026-{month:02}-01 11:00:00 UTC\n")
    table = grading.grade(new_course)
    assert table.points.sum() == 18  # what was right stays right
    with open_gradebook(new_course) as gradebook:
        found = {
            student: gradebook.find_submission_notebook(LESSON, LESSON, student)
            for student in ("early", "extended", "late")
        }
        assert {student: book.late_submission_penalty for student, book in found.items()} == {
            "early": None,
            "extended": None,
            "late": 6,
        }


# --- Making an assignment ------------------------------------------------------------------------


def test_the_release_holds_no_solutions_and_no_hidden_tests(course):
    assert course.made.release == course.folder / "release" / LESSON / f"{LESSON}.ipynb"
    released = course.made.release.read_text()
    assert "<summary>Hint 2" in released
    for secret in ("<summary>Solution", "HIDDEN TESTS", "judge", "seeds", "SOLUTION", "amax"):
        assert secret not in released, secret
    for secret in ("BEGIN HIDDEN TESTS", "judge", "BEGIN SOLUTION", "amax"):
        assert secret in course.made.source.read_text(), secret
    hole = nbformat.read(course.made.release, as_version=4).cells
    student = notebooks.student(notebooks.read(SOURCE), solutions=False).cells
    assert [cell.source for cell in hole] == [cell.source for cell in student]


def test_cells_are_named_after_exercises_and_all_but_answers_are_locked(course):
    cells = nbformat.read(course.made.release, as_version=4).cells
    marks = {cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader for cell in cells}
    assert list(marks)[:6] == [
        "start-1", "start-2", "softmax", "test-softmax", "hints-softmax", "softmax-1",
    ]  # fmt: skip
    for name, one in marks.items():
        assert one.solution == (name in POINTS)
        assert one.locked == (name not in POINTS)
        assert one.grade == name.startswith("test-")
    assert {name: marks[f"test-{name}"].points for name in POINTS} == POINTS


def test_a_teacher_chooses_exercises_points_and_the_seed(lessons, new_course):
    def make(only: list[str], seed: int | None, worth: int) -> grading.Assignment:
        points = {"softmax": worth}
        return grading.assignment(
            LESSON, new_course, only=only, points=points, seed=seed, notebooks=lessons
        )

    made = make(["entropy", "softmax"], 1, 7)
    assert made.points == {"softmax": 7, "entropy": 1}
    assert "key.transpose" not in made.source.read_text()
    first = made.source.read_bytes()
    for others in ((None, 7), (2, 7), (1, 8)):
        make(["softmax", "entropy"], *others)
        assert made.source.read_bytes() != first
    make(["softmax", "entropy"], 1, 7)
    assert made.source.read_bytes() == first
    with pytest.raises(AttnlabError, match="Nothing was submitted"):
        grading.grade(new_course)


WITH_TASKS = """\
# %%
import torch

import attnlab as al

# %% [markdown]
# ## 1. Weights
#
# Scores become weights.
#
# ### Exercise 1: a softmax
#
# Write the softmax of each row.

{softmax}
# %%
softmax_of = al.checks.yours_or_ours("softmax", softmax, al.attention.softmax)

# %% [markdown]
# ### Exercise 2: an entropy
#
# Write the entropy of each row.

{entropy}
"""


def test_of_an_exercise_that_was_not_picked_no_task_is_left_and_ours_runs(new_course, tmp_path):
    cells = re.split(r"^(?=# %%)", SOURCE, flags=re.M)
    of = {
        name: "".join(cell for cell in cells if f'="{name}"' in cell.partition("\n")[0])
        for name in ("softmax", "entropy")
    }
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "08_tasks.py").write_text(WITH_TASKS.format(**of))
    made = grading.assignment("08", new_course, only=["entropy"], notebooks=tmp_path)
    release = nbformat.read(made.release, as_version=4)
    text = "\n".join(cell.source for cell in release.cells)
    for gone in ("Write the softmax", "al.checks.softmax", "What is exp(0)?", "Weights that sum"):
        assert gone not in text, gone
    for kept in ("Scores become weights.", "### Exercise 1: a softmax", "not part of this"):
        assert kept in text, kept
    for kept in ("Write the entropy", "al.checks.entropy(entropy)", "0 log 0 is 0."):
        assert kept in text, kept
    locked = {cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader for cell in release.cells}
    assert not locked["open-softmax"].solution
    assert "attnlab" not in release.cells[2].metadata  # no answer that anybody compares or judges
    ran = notebooks.execute(release)  # nothing in it fails
    printed = [output.text for cell in ran.cells for output in cell.get("outputs", [])]
    assert printed[0] == "softmax: not written yet, so ours runs here\n"


@pytest.mark.parametrize("name", EXERCISES)
def test_what_stands_for_an_answer_that_is_not_asked_counts_as_an_open_hole(name, tmp_path):
    (tmp_path / "hole.py").write_text(OPEN.format(name=name))
    hole = runpy.run_path(str(tmp_path / "hole.py"))[name]
    with pytest.raises(Unwritten):
        EXERCISES[name].examine(hole)


def test_another_lesson_joins_the_course_and_settings_stay(new_course, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "08_other.py").write_text(SOURCE)
    settings = new_course / "nbgrader_config.py"
    settings.write_text(settings.read_text() + "c.Execute.startup_timeout = 90\n")
    grading.assignment("08", new_course, only=["entropy"], notebooks=tmp_path)
    assert sorted(one.name for one in (new_course / "release").iterdir()) == ["08_other", LESSON]
    assert "startup_timeout = 90" in settings.read_text()
    with pytest.raises(AttnlabError, match=r"no assignment '07'\. Choose one of: 08_other"):
        grading.grade(new_course, lesson="07")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lesson": "77"}, "no lesson '77'"),
        ({"lesson": "09"}, "several lessons: 09_tiny, 09_without"),
        ({"lesson": "09_without"}, "no exercises"),
        ({"only": ["sofmax"]}, "no exercise 'sofmax'. Did you mean 'softmax'"),
        ({"points": {"entrpy": 1}}, "Did you mean 'entropy'"),
        ({"points": {"entropy": -1}}, "cannot be worth -1 points"),
    ],
)
def test_what_cannot_be_assigned_is_refused_with_the_cure(lessons, tmp_path, arguments, message):
    with pytest.raises(AttnlabError, match=message):
        grading.assignment(**{"lesson": LESSON, "out": tmp_path, "notebooks": lessons} | arguments)
    assert list(tmp_path.iterdir()) == []


OWN = """\
# %% exercise="doubled" points=3
def doubled(number):
    ### BEGIN SOLUTION
    return number + number
    ### END SOLUTION

# %% check="doubled"
assert doubled(1) == 2
### BEGIN HIDDEN TESTS
assert doubled(-3) == -6, "negative numbers"
### END HIDDEN TESTS
"""


def test_a_teacher_adds_an_exercise_that_the_package_does_not_hold(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / f"{LESSON}.py").write_text(OWN)
    folder = tmp_path / "course"
    made = grading.assignment(LESSON, folder, notebooks=tmp_path)
    assert made.points == {"doubled": 3}
    assert "-6" not in made.release.read_text()
    for student, code in {"right": "return 2 * number", "wrong": "return 2 * abs(number)"}.items():
        book = nbformat.read(made.release, as_version=4)
        book.cells[0].source = f"def doubled(number):\n    {code}"
        submit(folder, student, nbformat.writes(book))
    table = grading.grade(folder).set_index("student")
    assert dict(table.points) == {"right": 3, "wrong": 0}
    assert table.note["wrong"] == "AssertionError: negative numbers"
    (tmp_path / "src" / f"{LESSON}.py").write_text(OWN.replace(" points=3", ""))
    with pytest.raises(AttnlabError, match='# %% exercise="doubled" points=2'):
        grading.assignment(LESSON, folder, notebooks=tmp_path)


def test_an_exercise_without_a_check_is_refused(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / f"{LESSON}.py").write_text(SOURCE.replace('check="entropy"', ""))
    with pytest.raises(AttnlabError, match="'entropy' of 09_tiny has no check"):
        grading.assignment(LESSON, tmp_path / "course", notebooks=tmp_path)


def test_a_folder_that_holds_something_else_is_left_alone(lessons, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    for folder, message in (
        (tmp_path / "thesis", "holds something else"),
        (tmp_path / "thesis" / "chapter.txt", "is a file"),
        (tmp_path / "course [1]", "without"),
    ):
        with pytest.raises(AttnlabError, match=message):
            grading.assignment(LESSON, folder, notebooks=lessons)
    assert [one.name for one in tmp_path.rglob("*")] == ["thesis", "chapter.txt"]
    with pytest.raises(AttnlabError, match="is not a course"):
        grading.grade(tmp_path / "thesis")


def test_without_nbgrader_the_error_says_what_to_install(lessons, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    for call in (
        lambda: grading.assignment(LESSON, tmp_path, notebooks=lessons),
        lambda: grading.grade(tmp_path),
    ):
        with pytest.raises(AttnlabError, match=r'pip install "attnlab\[grading\]"'):
            call()


def test_a_gradebook_that_cannot_be_used_is_named(new_course):
    submit(new_course, "kim", "{}")
    (new_course / "gradebook.db").unlink()
    with pytest.raises(AttnlabError, match="does not know this assignment"):
        grading.grade(new_course)
    (new_course / "gradebook.db").write_text("no data base " * 100)
    with pytest.raises(AttnlabError, match="cannot be used"):
        grading.grade(new_course)


def test_when_nbgrader_fails_its_words_are_shown(lessons, new_course):
    settings = new_course / "nbgrader_config.py"
    settings.write_text(settings.read_text() + 'c.IncludeHeaderFooter.header = "none.ipynb"\n')
    with pytest.raises(AttnlabError, match=r"(?s)could not make the release.*none\.ipynb"):
        grading.assignment(LESSON, new_course, notebooks=lessons)
    settings.write_text('get_config().OverwriteCells.add_missing_cells = "perhaps"\n')
    source = new_course / "source" / LESSON / f"{LESSON}.ipynb"
    submit(new_course, "kim", source.read_text())
    assert grading.grade(new_course).note.str.startswith("not graded: TraitError").all()


# --- Judging -------------------------------------------------------------------------------------


def softmax(scores, temperature=1.0):
    powers = ((scores - scores.amax(-1, keepdim=True)) / temperature).exp()
    return powers / powers.sum(-1, keepdim=True)


def uniform(scores, temperature=1.0):
    return torch.ones_like(scores) / scores.shape[-1]


def test_the_judge_prints_one_line_for_a_right_answer_and_nothing_to_stderr(capfd):
    def loud(scores, temperature=1.0):
        print("called", file=sys.stderr)
        return softmax(scores, temperature)

    assert judging.judge("softmax", loud) is None
    assert capfd.readouterr() == ("softmax: right\n", "")


def test_the_judge_says_what_is_wrong_as_the_check_does(capfd):
    with pytest.raises(CheckFailed, match=r"^softmax\n  For a single row"):
        judging.judge("softmax", uniform)
    with pytest.raises(CheckFailed, match="Not written yet"):
        judging.judge("softmax", lambda scores: ...)
    with pytest.raises(AttnlabError, match="Did you mean 'softmax'"):
        judging.judge("sofmax", softmax)
    assert capfd.readouterr() == ("", "")


def test_the_judge_leaves_all_modules_as_they_were():
    before = {name: id(one) for name, one in sys.modules.items() if name.startswith("attnlab")}
    judging.judge("softmax", softmax)
    after = {name: id(one) for name, one in sys.modules.items() if name.startswith("attnlab")}
    assert after == before
    assert al.checks is sys.modules["attnlab.course.checks"]


def nothing(*_: object, **__: object) -> list[str]:
    return []


def check_of_entropy():
    return al.checks.EXERCISES["entropy"].check


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("__main__", "al", 0.5),
        ("__main__", "al", None),
        ("attnlab", "checks", ModuleType("checks")),
        ("attnlab.course.checks", "softmax", nothing),
        ("attnlab.course.checks", "_CHECKS", {}),
        ("attnlab.course.checks", "_PublicCheck", type("_PublicCheck", (), {})),
        ("attnlab.course.checks.examiner", "require", nothing),
        ("attnlab.course.checks.examiner.mistakes", "agree", nothing),
        ("attnlab.course.checks.examiner", "Exercise", type("Exercise", (), {"examine": nothing})),
    ],
)
def test_a_replaced_check_gets_no_points_even_for_a_right_answer(monkeypatch, place, name, value):
    monkeypatch.setattr(sys.modules[place], name, value, raising=False)
    for given in (softmax, uniform):
        with pytest.raises(CheckFailed, match=r"`al.*` was replaced in this notebook"):
            judging.judge("softmax", given)


def test_replacing_one_check_costs_no_other_exercise(monkeypatch):
    monkeypatch.setattr(al.checks, "entropy", nothing, raising=False)
    judging.judge("softmax", softmax)
    monkeypatch.setattr(sys.modules["__main__"], "al", al, raising=False)
    judging.judge("softmax", softmax)


def test_patched_limits_and_errors_have_no_effect_on_the_judge(monkeypatch):
    monkeypatch.setattr(al.checks.examiner.answer, "SECONDS", 0.0)
    monkeypatch.setitem(al.checks.EXERCISES, "softmax", al.checks.EXERCISES["entropy"])
    judging.judge("softmax", softmax)
    with pytest.raises(CheckFailed):
        judging.judge("softmax", uniform)


# --- Checking one's own notebook -----------------------------------------------------------------


def learners_notebook(path: Path, *changes: Change) -> Path:
    """A finished student notebook, and what was done to it."""
    book = notebooks.student(notebooks.read(SOURCE))
    for cell in notebooks.read(SOURCE).cells:
        if "exercise" in cell.metadata:
            answer(cell.metadata["exercise"], notebooks.without_markers(cell.source))(book)
    for change in changes:
        change(book)
    path.write_text(notebooks.as_text(book))
    return path


def test_a_learner_gets_points_and_notes_for_each_exercise_of_the_lesson(tmp_path, capfd):
    path = learners_notebook(
        tmp_path / "mine.ipynb",
        added("import sys; print('noise', file=sys.stderr)\n1 / 0"),
        deleted("check", "softmax"),
        answer("entropy", "while True:\n    pass"),
        answer("scaled_dot_scores", UNSCALED),
    )
    before = path.read_bytes()
    table = judging.check(path, seconds=6).set_index("exercise")
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["mine.ipynb"]
    assert capfd.readouterr().err == ""
    assert list(table.points[list(POINTS)]) == [2, 0, 0]
    assert list(table.of[list(POINTS)]) == [2, 1, 1]  # the points of the lesson
    assert table.note["softmax"] == ""
    assert table.note["entropy"] == "its cell did not run: timed out"
    assert "standard deviation" in table.note["scaled_dot_scores"]
    assert table.note["additive_scores"] == "its cells are gone from the notebook"
    assert table.points["additive_scores"] == 0


def test_the_release_of_an_assignment_can_be_checked_before_it_is_handed_in(
    lessons, new_course, tmp_path
):
    made = grading.assignment(LESSON, new_course, only=["entropy"], notebooks=lessons)
    path = tmp_path / "mine.ipynb"
    path.write_text(submission(made, Control((2, 1, 3), (added("al = 0.5"),))))
    table = judging.check(path)
    assert list(table.exercise) == ["entropy"]
    assert list(table.points) == [0]
    assert table.note[0] == "`al` was replaced in this notebook."


def test_what_was_judged_before_the_kernel_died_counts(tmp_path):
    path = learners_notebook(tmp_path / "mine.ipynb", answer("entropy", "import os; os._exit(1)"))
    table = judging.check(path).set_index("exercise")
    assert list(table.points[list(POINTS)]) == [2, 0, 0]
    assert list(table.note[list(POINTS)]) == ["", *["the kernel died while the notebook ran"] * 2]


def test_a_kernel_that_does_not_listen_any_more_ends_the_check(tmp_path, monkeypatch):
    def stuck(*_, **__):
        raise CellTimeoutError("Timeout waiting for IOPub output")

    monkeypatch.setattr("nbclient.NotebookClient.execute", stuck)
    table = judging.check(learners_notebook(tmp_path / "mine.ipynb")).set_index("exercise")
    assert table.points.sum() == 0
    assert set(table.note[list(POINTS)]) == {"timed out, and could not be stopped"}


def test_a_file_that_cannot_be_checked_is_named_with_the_cure(tmp_path):
    (tmp_path / "text.ipynb").write_text("my answers")
    (tmp_path / "other.ipynb").write_text(nbformat.writes(nbformat.v4.new_notebook()))
    for name, message in (
        ("none", "Cannot read"),
        ("text", "is not a notebook"),
        ("other", "none of our exercises"),
    ):
        with pytest.raises(AttnlabError, match=message):
            judging.check(tmp_path / f"{name}.ipynb")
