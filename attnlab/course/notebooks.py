"""Notebooks, built from the percent-format files in notebooks/src.

One source gives three forms: the student's notebook (holes, hints, no outputs), the executed
solution, and the start of an assignment. The first line of a source cell says what the cell is::

    # %% exercise="softmax" points=2    code; ### BEGIN SOLUTION and ### END SOLUTION bound the hole
    # %% check="softmax"                code that calls the check
    # %% [markdown] hints="softmax"     hints, separated by ---
    # %% folded=true                    code that need not be read: a click unfolds it
"""

import copy
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attnlab.course import hosts
from attnlab.errors import AttnlabError, suggest
from attnlab.files import atomic_write, bundled
from attnlab.languages import tr

Notebook = Any  # nbformat's NotebookNode

_REGION = re.compile(r"^( *)### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION *\n?", re.M | re.S)
_STILL = re.compile(r"<img\b[^>]*>", re.S)
# a fold with text under it in the same cell
_FOLD = re.compile(r"^<details>(?=(?:(?!</details>).)*^</details>\n+(?!<details)\S)", re.M | re.S)
_RULE = re.compile(r"#T_\w+\s+(\w*)\.([\w.-]+)\s*\{([^}]*)\}")  # of a table: td.row0.col1 {...}
_WAY_OUT = re.compile(r"\[([^\]\[]*)\]\(\.\./([^)]*)\)")  # a link out of the notebooks' folder
MOVABLE = "*Run this cell to move it.*"
STILLS_WAIT = "ATTNLAB_STILLS_WAIT"  # a cell ends when its desks are at rest, as their pictures are
TRAIN = "ATTNLAB_TRAIN"  # cells that train only where that is asked for do so
FOLDED: dict[str, Any] = {  # in the words of JupyterLab, of Colab, of the book
    "jupyter": {"source_hidden": True},
    "cellView": "form",
    "tags": ["hide-input"],
}


def folder() -> Path:
    """The notebooks of this clone, or those that came with the installed package."""
    if (bundled("notebooks") / "src").is_dir():
        return bundled("notebooks")
    raise AttnlabError("The notebooks are not here. Install attnlab again, or run this in a clone.")


def sources(notebooks: Path, names: Sequence[str] = ()) -> list[Path]:
    """The sources, or those whose name begins with one of ``names``, such as "01"."""
    found = sorted((notebooks / "src").glob("*.py"))
    if not found:
        raise AttnlabError(
            f"There are no notebook sources in {notebooks / 'src'}. Run this in a clone."
        )
    for name in names:
        if not any(path.stem.startswith(name) for path in found):
            raise AttnlabError(
                f"There is no lesson {name!r}. {suggest(name, (path.stem for path in found))}"
            )
    return [path for path in found if not names or path.stem.startswith(tuple(names))]


# --- Building ------------------------------------------------------------------------------------


def build(
    notebooks: Path | None = None,
    check: bool = False,
    names: Sequence[str] = (),
    progress: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Build student notebooks and executed solutions; return those that had to change.

    Student notebooks are the same byte for byte each time. A solution is stale when its source has
    changed since it was executed, or when its cells are not those of the source; pictures and times
    in it differ from run to run, and are not compared. Where only prose has changed, the outputs
    stay as they were. A notebook whose source is gone is deleted.

    Parameters
    ----------
    notebooks : folder with ``src``; default `folder`
    check : write nothing, execute nothing
    names : lessons to build, such as "01"; they are executed again even if nothing changed
    progress : called with a line before a notebook is executed, which takes a while
    """
    notebooks = notebooks or folder()
    changed = [] if names else _orphans(notebooks)
    if not check:
        for path in changed:
            path.unlink()
    for source in sources(notebooks, names):
        text = source.read_text(encoding="utf-8")
        student_path = notebooks / f"{source.stem}.ipynb"
        student_text = as_text(student(read(text))).encode()
        if not student_path.exists() or student_path.read_bytes() != student_text:
            changed.append(student_path)
            if not check:
                atomic_write(student_path, student_text)
        solution_path = notebooks / "solutions" / student_path.name
        if not is_solution_of(solution_path, text) or (names and not check):
            changed.append(solution_path)
            if not check:
                solved = solution(read(text))
                if names or not _keep_outputs(solved, solution_path):
                    progress(f"executing {solution_path.name}")
                    solved = without_scripts(execute(solved, where=source.name))
                solution_path.parent.mkdir(exist_ok=True)
                atomic_write(solution_path, as_text(solved).encode())
    return changed


def execute(notebook: Notebook, where: str = "notebook", seconds: int = 3600) -> Notebook:
    """Run every cell in a fresh kernel, in a folder of its own.

    Parameters
    ----------
    notebook : the notebook to run; its outputs are filled in
    where : its name, for the error
    seconds : limit for one cell; the longest trains for ten minutes and more on a slow machine

    Raises
    ------
    AttnlabError
        If a cell fails; the message shows its traceback.
    """
    import nbclient
    from nbclient.exceptions import CellExecutionError

    with tempfile.TemporaryDirectory() as place:
        client = nbclient.NotebookClient(
            notebook,
            timeout=seconds,
            coalesce_streams=True,  # lines printed in parts stay lines
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": place}},
        )
        try:
            return client.execute(env=os.environ | {STILLS_WAIT: "1", TRAIN: "1"})
        except CellExecutionError as error:
            raise AttnlabError(
                f"{where} does not run: {error.ename}: {error.evalue}\n{error.traceback}"
            ) from error


def start(
    target: Path,
    notebooks: Path | None = None,
    host: str | None = None,
    read: Callable[[Path], bytes] = Path.read_bytes,
) -> tuple[list[Path], list[Path]]:
    """Copy the student notebooks to a folder of the learner's own; overwrite nothing.

    Links to files beside the notebooks' folder lead to the repository instead, or stay as plain
    text where its address is not known.

    Parameters
    ----------
    target : the learner's folder, new or existing
    notebooks : folder with the notebooks; default `folder`
    host : "colab" or "kaggle": each notebook then begins with the cell that installs attnlab there
    read : returns what the copy of a notebook holds; default what the notebook holds

    Returns
    -------
    The files that were added, and those that were there and kept

    Raises
    ------
    AttnlabError
        If the target is a file or cannot be made, or the host needs no such cell.
    """
    opening = hosts.first_cell(host) if host else None
    if target.exists() and not target.is_dir():
        raise AttnlabError(f"{target} is a file. Choose a folder, new or with your notebooks.")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AttnlabError(
            f"{target} cannot be made: {error.strerror}. Choose another place."
        ) from error
    added, kept = [], []
    for notebook in sorted((notebooks or folder()).glob("*.ipynb")):
        copied = target / notebook.name
        if os.path.lexists(copied):
            kept.append(copied)
        else:
            added.append(atomic_write(copied, _to_go(read(notebook).decode(), opening)))
    return added, kept


def _to_go(text: str, opening: str | None) -> bytes:
    """A notebook as it stands in a folder without the repository around it."""
    address = hosts.repository()
    instead = rf"[\1]({address}/blob/HEAD/\2)" if address else r"\1"
    text = _WAY_OUT.sub(instead, text)
    if opening:
        notebook = json.loads(text)
        cell: dict[str, Any] = {
            "cell_type": "code",
            "execution_count": None,
            "id": "install",
            "metadata": {},
        }
        notebook["cells"] = [{**cell, "outputs": [], "source": opening}, *notebook["cells"]]
        text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    return text.encode()


# --- The three forms -----------------------------------------------------------------------------


def read(source: str) -> Notebook:
    """One percent-format source as a notebook.

    Cells keep in their metadata what the source says about them: ``exercise``, ``points``,
    ``check``, ``hints`` or ``folded``.

    Raises
    ------
    AttnlabError
        If an exercise has no solution to take out, or is folded.
    """
    import jupytext

    notebook = jupytext.reads(source, fmt="py:percent")
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
        "attnlab": {"source_sha256": hash_of(source)},
    }
    notebook.nbformat_minor = 5
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:03d}"
        known = ("exercise", "points", "check", "hints", "folded")
        cell.metadata = {name: cell.metadata[name] for name in known if name in cell.metadata}
        if cell.metadata.get("exercise") and not _REGION.search(cell.source):
            raise AttnlabError(
                f"The exercise {cell.metadata['exercise']!r} has no solution to take out. "
                "Put it between ### BEGIN SOLUTION and ### END SOLUTION."
            )
        if "folded" in cell.metadata and not cell.metadata.keys().isdisjoint({"exercise", "check"}):
            raise AttnlabError(
                "An exercise and its check must be seen. Take folded=true out of the line "
                f"above this cell:\n{cell.source[:60]}"
            )
    return notebook


def student(notebook: Notebook, solutions: bool = True) -> Notebook:
    """The student's form: holes, and hints that unfold one by one.

    Parameters
    ----------
    notebook : as `read` returns it
    solutions : whether the solution unfolds after the last hint

    Raises
    ------
    AttnlabError
        If hints belong to no exercise.
    """
    notebook = copy.deepcopy(notebook)
    answers = {
        cell.metadata["exercise"]: without_markers(cell.source)
        for cell in notebook.cells
        if "exercise" in cell.metadata
    }
    for cell in notebook.cells:
        if "exercise" in cell.metadata:
            cell.source = with_hole(cell.source)
        elif "hints" in cell.metadata:
            hints = re.split(r"^---$", cell.source, flags=re.M)
            folded = [
                _folded(tr("Hint {number}", number=number), hint.strip())
                for number, hint in enumerate(hints, 1)
            ]
            if cell.metadata["hints"] not in answers:
                raise AttnlabError(f"Hints for {cell.metadata['hints']!r}, but no such exercise.")
            if solutions:
                code = f"```python\n{answers[cell.metadata['hints']]}\n```"
                folded.append(_folded(tr("Solution"), code))
            cell.source = "\n\n".join(folded)
        _finish(cell)
    return notebook


def solution(notebook: Notebook) -> Notebook:
    """The solved form, not yet executed: exercises filled in, hints left out."""
    notebook = copy.deepcopy(notebook)
    notebook.cells = [cell for cell in notebook.cells if "hints" not in cell.metadata]
    for cell in notebook.cells:
        if "exercise" in cell.metadata:
            cell.source = without_markers(cell.source)
        _finish(cell)
    return notebook


def with_hole(code: str) -> str:
    """Code with its solution taken out."""
    return _REGION.sub(r'\1raise NotImplementedError("your turn")\n', code).rstrip()


def without_markers(code: str) -> str:
    """Code with its solution in place."""
    return _REGION.sub(r"\2", code).rstrip()


def without_scripts(notebook: Notebook) -> Notebook:
    """An executed notebook as it is kept: pictures, tables, text; no widgets, frames or times.

    A desk leaves its still picture, other widgets a line in their place.
    """
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = _without_desks(cell.outputs)
        for output in cell.get("outputs", []):
            data = output.get("data")
            if data and "text/html" in data:
                data["text/html"] = with_styles_inside(data["text/html"])
            if data and _is_widget(output):
                output["data"] = {"text/markdown": MOVABLE, "text/plain": MOVABLE}
            elif _still(output):
                line = f"<figcaption>{MOVABLE.strip('*')}</figcaption>"
                figure = f"<figure>{_still(output)}{line}</figure>"
                output["data"] = {"text/html": figure, "text/plain": MOVABLE}
            elif data and re.search(r"<(iframe|script)\b", data.get("text/html", "")):
                page = re.sub(r"<iframe\b.*?</iframe>", "", data["text/html"], flags=re.S)
                still = _STILL.search(page)
                shown = still.group() if still else f"<em>{MOVABLE.strip('*')}</em>"
                output["data"] = {"text/html": shown, "text/plain": data.get("text/plain", "")}
    return notebook


def with_styles_inside(page: str) -> str:
    """A table whose cells carry their styles: JupyterLab drops the sheet of what it does not trust.

    That is a notebook that somebody else has run. Only styles by class, as `plots.table` sets them.
    """
    rules = _RULE.findall(page)

    def styled(cell: re.Match[str]) -> str:
        tag, before, names = cell.groups()
        wanted = [
            " ".join(style.split())
            for of, name, style in rules
            if of in ("", tag) and {*name.split(".")} <= {*names.split()}
        ]
        inside = f' style="{" ".join(wanted)}"' if wanted else ""
        return f'<{tag}{before} class="{names}"{inside}'

    return re.sub(r'<(t[hd])((?: id="[^"]*")?) class="([^"]*)"(?! style)', styled, page)


def _is_widget(output: Any) -> bool:
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def _without_desks(outputs: list[Any]) -> list[Any]:
    """The outputs without the widgets whose still picture follows."""
    following = [*outputs, {}][1:]
    pairs = zip(outputs, following, strict=True)
    return [output for output, after in pairs if not (_is_widget(output) and _still(after))]


def _still(output: Any) -> str:
    """The picture that a desk left beside it; empty if this is none."""
    page = output.get("data", {}).get("text/html", "")
    found = _STILL.search(page) if "data-attnlab-still" in page else None
    return found.group() if found else ""


def as_text(notebook: Notebook) -> str:
    """A notebook as the text of its file."""
    import nbformat

    return nbformat.writes(notebook) + "\n"


def hash_of(source: str) -> str:
    """The hash kept in a notebook, to tell later whether its source has changed."""
    return hashlib.sha256(source.encode()).hexdigest()


def _orphans(notebooks: Path) -> list[Path]:
    """Notebooks that were built from a source that no longer exists."""
    names = {path.stem for path in sources(notebooks)}
    built = [*notebooks.glob("*.ipynb"), *(notebooks / "solutions").glob("*.ipynb")]
    return sorted(
        path for path in built if path.stem not in names and b'"source_sha256"' in path.read_bytes()
    )


def read_solution(path: Path) -> Notebook | None:
    """A solution that was kept, if there is one."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4) if path.exists() else None
    except (ValueError, OSError):  # half merged, or no notebook at all
        return None


def _keep_outputs(solved: Notebook, path: Path) -> bool:
    """Give a solution the outputs that were kept, if its code has not changed since."""
    found = read_solution(path)
    if found is None:
        return False
    before, after = (
        [cell for cell in notebook.cells if cell.cell_type == "code"]
        for notebook in (found, solved)
    )
    if [cell.source for cell in before] != [cell.source for cell in after]:
        return False
    for old, new in zip(before, after, strict=True):
        new.outputs, new.execution_count = old.outputs, old.execution_count
    return True


def is_solution_of(path: Path, source: str) -> bool:
    """Whether a file is the executed solution of this source."""
    found = read_solution(path)
    if found is None:
        return False
    wanted = [cell.source for cell in solution(read(source)).cells]
    same_source = found.metadata.get("attnlab", {}).get("source_sha256") == hash_of(source)
    return same_source and [cell.source for cell in found.cells] == wanted


def _folded(title: str, text: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"


def _finish(cell: Any) -> None:
    """Set text apart from a fold above it, fold code, and keep what the source says of the cell."""
    if cell.cell_type == "markdown":  # JupyterLab would close the text up to the fold
        cell.source = _FOLD.sub('<details style="margin-bottom: 1em">', cell.source)
    folded = copy.deepcopy(FOLDED) if cell.metadata.get("folded") else {}
    cell.metadata = {"attnlab": dict(cell.metadata), **folded} if cell.metadata else {}
