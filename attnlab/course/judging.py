"""Judging answers beyond the reach of the notebook that holds them.

`judge` examines one answer: the hidden tests of an assignment call it. `check` runs a finished
notebook, for learners who want to know their points.
"""

import contextlib
import copy
import importlib
import importlib.util
import inspect
import io
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from attnlab.course import notebooks as sources
from attnlab.errors import AttnlabError, suggest
from attnlab.files import PACKAGE
from attnlab.languages import later, tr

if TYPE_CHECKING:
    import pandas as pd

SECONDS = 60  # for one cell of a notebook
SEEDS = (1, 2, 3)
DIED = later("the kernel died while the notebook ran")
STUCK = later("timed out, and could not be stopped")
# a stray exit() or quit() must not cost the cells that follow
KERNEL_ARGUMENTS = ("--IPKernelApp.exec_lines=get_ipython().ask_exit = lambda *_: None",)
JUDGED = """\
import importlib, attnlab.course.judging
importlib.reload(attnlab.course.judging).judge("{name}", {name}, seeds={seeds})
"""


# --- Judging one answer --------------------------------------------------------------------------


def judge(name: str, answer: object, seeds: Sequence[int] = SEEDS) -> None:
    """Examine an answer with the installed package's own check; print one line if it is right.

    All of attnlab is imported anew for this, so nothing that a notebook puts in place of a check, a
    reference or an exception has an effect. Where ``al``, ``al.checks`` or the check itself was
    replaced, the answer fails. Nothing is written to stderr.

    Parameters
    ----------
    name : name of the exercise
    answer : what the learner wrote
    seeds : the check runs once with the random numbers of each

    Raises
    ------
    CheckFailed
        If the answer is wrong; the message says what is wrong.
    AttnlabError
        If there is no such exercise.

    Notes
    -----
    This guards against accidents and passing temptation, no more: answer and judge share one Python
    process. Code that is determined to cheat can reach torch, importlib or this module through the
    interpreter and change what they do, look up the right result on its caller's stack, or end the
    process. A submission may also do whatever the user who grades it may do: files, network and
    other processes are open to it, unless a container closes them.
    """
    problem = None
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        al = importlib.import_module("attnlab")
        live = importlib.import_module("attnlab.course.checks")
        replaced = _shadowed(al, live)
        with _imported_anew() as fresh:
            if name not in fresh.EXERCISES:
                raise AttnlabError(
                    f"There is no exercise {name!r}. {suggest(name, fresh.EXERCISES)}"
                )
            replaced = replaced or _rewritten(name, live, fresh)
            try:
                for seed in [] if replaced else seeds:
                    fresh.EXERCISES[name].examine(answer, seed)
            except fresh.CheckFailed as failed:
                problem = str(failed)
    if replaced:
        problem = (
            f"{name}\n  {replaced} was replaced in this notebook.\n"
            "  Is there an assignment to it? Take it out and run the notebook again."
        )
    if problem:
        raise live.CheckFailed(problem)
    print(f"{name}: right")


@contextlib.contextmanager
def _imported_anew() -> Iterator[ModuleType]:
    """Import the checks and all of attnlab anew, from their files; restore the modules after."""

    def ours() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] == "attnlab"]

    held = {name: sys.modules.pop(name) for name in ours()}
    try:
        # from the folder of this file: no other attnlab on the path may answer
        package = PACKAGE / "__init__.py"
        spec = importlib.util.spec_from_file_location("attnlab", package)
        if spec is None or spec.loader is None:
            raise ImportError(f"attnlab cannot be imported from {package}")
        sys.modules["attnlab"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["attnlab"])
        yield importlib.import_module("attnlab.course.checks")
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(held)


def _shadowed(al: ModuleType, live: ModuleType) -> str:
    """Which of our names stands for something else in this notebook; an empty string if none."""
    if vars(sys.modules["__main__"]).get("al", al) is not al:
        return "`al`"
    return "" if getattr(al, "checks", None) is live else "`al.checks`"


def _rewritten(name: str, live: ModuleType, fresh: ModuleType) -> str:
    """Which of our checks differs from its file; an empty string if none does."""
    public = getattr(live, name, None)
    check = getattr(getattr(public, "exercise", None), "check", None)
    if name in vars(live) or _code(check) != _code(fresh.EXERCISES[name].check):
        return f"`al.checks.{name}`"
    live_modules = _modules(live)
    for module_name, module in _modules(fresh).items():
        now = _functions(live_modules.get(module_name))
        if any(now.get(function) != code for function, code in _functions(module).items()):
            return "`al.checks`"
    return ""


def _modules(checks: ModuleType) -> dict[str, object]:
    """The checks, the examiner and the examiner's modules, by name."""
    examiner = getattr(checks, "examiner", None)
    parts = {name: part for name, part in vars(examiner).items() if isinstance(part, ModuleType)}
    return {"checks": checks, "examiner": examiner, **parts}


def _functions(module: object) -> dict[str, object]:
    """The code of every function of a module and of its classes."""
    found = dict(vars(module)) if isinstance(module, ModuleType) else {}
    for name, value in list(found.items()):
        if isinstance(value, type):
            found |= {f"{name}.{attribute}": method for attribute, method in vars(value).items()}
    return {name: _code(value) for name, value in found.items() if isinstance(value, FunctionType)}


def _code(function: object) -> object:
    """What a function does, to compare; anything else is compared as it is."""

    def parts(code: CodeType) -> tuple:
        constants = (
            parts(constant) if isinstance(constant, CodeType) else constant
            for constant in code.co_consts
        )
        return code.co_code, code.co_names, code.co_varnames, *constants

    function = inspect.unwrap(function) if callable(function) else function
    return parts(function.__code__) if isinstance(function, FunctionType) else function


# --- Checking one's own notebook -----------------------------------------------------------------


def check(
    notebook: Path,
    seconds: int = SECONDS,
    progress: Callable[[int, int, str], None] = lambda done, cells, text: None,
) -> "pd.DataFrame":
    """Run a learner's notebook in a fresh kernel and judge its answers; the file stays as it is.

    Parameters
    ----------
    notebook : a student notebook, or the release version of an assignment
    seconds : limit for one cell, which is then interrupted; the next cell runs
    progress : called before each cell with how many are over, how many there are, and what runs now

    Returns
    -------
    DataFrame with a row for each exercise and the columns ``exercise, points, of, note``

    Raises
    ------
    AttnlabError
        If the file cannot be read, is no notebook, or has no exercise of the course.
    """
    import pandas as pd

    book = read_notebook(notebook)
    worth = _worth(book, notebook)
    book, answers, judges = _with_judges(book, worth)
    names = {index: name for name, index in judges.items()}
    replies, ended = _run(
        book,
        notebook.resolve().parent,
        seconds,
        lambda index: progress(
            index,
            len(book.cells),
            tr("judging {name}", name=names[index])
            if index in names
            else tr("cell {number}", number=index + 1),
        ),
    )
    progress(len(book.cells), len(book.cells), tr("done"))
    failed = {index: reply for index, reply in replies.items() if reply["status"] == "error"}
    rows = []
    for name, of in worth.items():
        if name not in judges:
            note = tr("its cells are gone from the notebook")
        elif judges[name] not in replies:
            note = tr(ended)
        else:
            own = failed.get(answers[name]) if name in answers else None
            note = why(name, failed.get(judges[name]), own)
        rows.append({"exercise": name, "points": 0 if note else of, "of": of, "note": note})
    return pd.DataFrame(rows)


def _run(
    book: sources.Notebook, folder: Path, seconds: int, before: Callable[[int], None]
) -> tuple[dict[int, dict[str, Any]], str]:
    """Run a notebook in a fresh kernel, with a record of progress that is not the learner's own.

    ``before`` is called with the index of each cell before it runs.

    Returns the kernel's reply to each cell that ran, by its index, and why the run ended early, or
    an empty string.
    """
    import nbclient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    replies: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place, quiet():
        client = nbclient.NotebookClient(
            book,
            timeout=seconds,
            allow_errors=True,
            interrupt_on_timeout=True,
            error_on_timeout={"ename": "CellTimeoutError", "evalue": "", "traceback": []},
            raise_on_iopub_timeout=True,
            shutdown_kernel="immediate",
            kernel_name="python3",  # this environment, whatever the notebook was written in
            extra_arguments=list(KERNEL_ARGUMENTS),
            resources={"metadata": {"path": str(folder)}},  # for what it imports
            on_cell_start=lambda cell, cell_index: before(cell_index),
            on_cell_executed=lambda cell, cell_index, execute_reply: replies.update(
                {cell_index: execute_reply["content"]}
            ),
            log=log_to(io.StringIO()),
        )
        try:
            record = {"ATTNLAB_PROGRESS": str(Path(place) / "progress.json")}
            client.execute(stderr=subprocess.DEVNULL, env=os.environ | record)
        except DeadKernelError:
            return replies, DIED
        except CellTimeoutError:
            return replies, STUCK
    return replies, ""


def _worth(book: sources.Notebook, path: Path) -> dict[str, int]:
    """The exercises that a notebook should hold, and their points."""
    from attnlab.course.checks import EXERCISES

    assigned = book.metadata.get("attnlab", {}).get("points", {})
    names = {
        _about(cell).get(kind) for cell in book.cells for kind in ("exercise", "check", "hints")
    }
    lessons = {EXERCISES[name].lesson for name in names if name in EXERCISES}
    if not lessons:
        raise AttnlabError(
            f"{path} has none of our exercises. Is it a notebook of the course? "
            "Get a fresh one: attnlab start"
        )
    return {
        name: assigned.get(name, exercise.points)
        for name, exercise in EXERCISES.items()
        if exercise.lesson in lessons and (not assigned or name in assigned)
    }


def _with_judges(
    book: sources.Notebook, names: Iterable[str]
) -> tuple[sources.Notebook, dict[str, int], dict[str, int]]:
    """A copy of the notebook with a cell after each exercise that judges it.

    Returns the notebook, the index of each answer's cell, and the index of each judging cell, both
    by the name of the exercise.
    """
    import nbformat

    def last(kind: str, cells: list[sources.Notebook]) -> dict[str, int]:
        marks = enumerate(map(_about, cells))
        return {about[kind]: index for index, about in marks if kind in about}

    book = copy.deepcopy(book)
    # after the check or, where that is gone, after the answer
    place = {**last("exercise", book.cells), **last("check", book.cells)}
    given, book.cells, judges = book.cells, [], {}
    for index, cell in enumerate(given):
        book.cells.append(cell)
        for name in names:
            if place.get(name) == index:
                judges[name] = len(book.cells)
                code = JUDGED.format(name=name, seeds=list(SEEDS))
                book.cells.append(nbformat.v4.new_code_cell(code))
    return book, last("exercise", book.cells), judges


def _about(cell: sources.Notebook) -> dict[str, Any]:
    """What the metadata of a cell say about it."""
    return cell.metadata.get("attnlab", {})


# --- What went wrong, in a line -------------------------------------------------------------------


def error_of(cell: sources.Notebook | None) -> dict[str, str] | None:
    """The error in the outputs of a cell, if there is one."""
    outputs = cell.get("outputs", []) if cell else []
    return next((output for output in outputs if output["output_type"] == "error"), None)


def why(exercise: str, error: dict[str, str] | None, own: dict[str, str] | None) -> str:
    """Describe an error of the test in one line, or, where the answer is missing, that of its cell.

    Parameters
    ----------
    exercise : name of the exercise
    error : error of the test, if it failed
    own : error of the answer's own cell, if that failed
    """
    if error and own and error["ename"] == "NameError":
        return tr("its cell did not run: {error}", error=first_line(exercise, own))
    return first_line(exercise, error) if error else ""


def first_line(exercise: str, error: dict[str, str]) -> str:
    """An error in one line, without the name of the exercise that a check puts first."""
    kind = error["ename"]
    if kind in ("CellTimeoutError", "KeyboardInterrupt"):  # the latter by the former
        return tr("timed out")
    lines = [line.strip() for line in error["evalue"].splitlines() if line.strip()]
    if kind in ("CheckFailed", "Unwritten"):
        return next((line for line in lines if line != exercise), kind)
    return f"{kind}: {lines[0]}" if lines else kind


# --- Reading, and staying silent ------------------------------------------------------------------


def read_notebook(path: Path) -> sources.Notebook:
    """A notebook from its file; `AttnlabError` if it cannot be read or is no notebook."""
    import nbformat

    try:
        with quiet():
            book = nbformat.read(path, as_version=4)
            nbformat.validate(book)
        return book
    except OSError as error:
        raise AttnlabError(f"Cannot read {path}: {error}") from error
    except Exception as error:  # nbformat raises whatever a strange file leads it to
        raise AttnlabError(f"{path} is not a notebook: {type(error).__name__}.") from error


def log_to(said: io.StringIO) -> logging.Logger:
    """A logger that writes to this text alone."""
    log = logging.Logger("nbgrader", logging.WARNING)
    log.addHandler(logging.StreamHandler(said))
    return log


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, and asyncio about what nbclient leaves behind when a kernel is lost."""
    log = logging.getLogger("asyncio")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
