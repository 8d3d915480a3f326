"""The command line, thin over the package: ``attnlab --help`` lists the commands.

`course` has the commands for learners, `models` those that train and measure, `teaching` those for
teachers and authors of notebooks.
"""

import sys
from typing import Annotated

import typer
from rich.markup import escape

import attnlab
from attnlab.cli import course, models, teaching
from attnlab.cli.output import ERR, say
from attnlab.errors import AttnlabError, needs

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


def main() -> None:
    """Run a command; an `AttnlabError` is printed as one message, with exit code 1."""
    try:
        with needs("lab"):
            app()
    except AttnlabError as error:
        ERR.print(f"[bold red]{type(error).__name__}[/]: {escape(str(error))}", highlight=False)
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"attnlab {attnlab.__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """attnlab: an interactive course on attention, and tools for heads of BERT-family models."""


for _panel, _commands in (
    ("The course", (course.doctor, course.fetch, course.lab, course.start, course.check)),
    ("Models", (models.finetune, models.search, models.ablate)),
    ("Teaching", (teaching.assignment, teaching.grade)),
):
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)

_notebooks = typer.Typer(help="Build the notebooks of the course from their source.")
_notebooks.callback()(lambda: None)  # so that `build` stays a command of its own
_notebooks.command()(teaching.build)
app.add_typer(_notebooks, name="notebooks", rich_help_panel="Teaching")
