"""The command line, thin over the package: ``attnlab --help`` lists the commands.

`course` has the commands for learners, `models` those that train and measure, `budgeting`,
`compressing` and `exporting` those that make a classifier small and hand it on, `serving` the one
that answers over HTTP, `writing` the one that goes on with a text, `applying` and `reading` those
of the small applications (``attnlab apps``), `teaching` those for teachers and authors of
notebooks, `translating` those for translators (``attnlab words``), `site` those that write pages
for people without Python (``attnlab site``).
"""

import sys
import warnings
from typing import Annotated, TextIO

import typer
from rich.markup import escape

import attnlab
from attnlab.cli import (
    applying,
    budgeting,
    compressing,
    course,
    exporting,
    models,
    reading,
    serving,
    site,
    teaching,
    translating,
    writing,
)
from attnlab.cli.output import ERR, say
from attnlab.errors import AttnlabError, AttnlabWarning, needs, on_the_command_line

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


def main(arguments: list[str] | None = None) -> None:
    """Run a command; an `AttnlabError` is printed as one message, with exit code 1.

    Parameters
    ----------
    arguments : what was typed behind ``attnlab``; default that of this process
    """
    try:
        with needs("lab"), on_the_command_line(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            app(arguments)
    except AttnlabError as error:
        _say_aloud(error, "red")
        sys.exit(1)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of ours as a message; others as Python does."""
    if isinstance(message, AttnlabWarning):
        _say_aloud(message, "yellow")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _say_aloud(message: Exception, colour: str) -> None:
    """Print an error or a warning to stderr, unbroken, so that its cures can be copied."""
    kind = f"[bold {colour}]{type(message).__name__}[/]"
    ERR.print(f"{kind}: {escape(str(message))}", highlight=False, soft_wrap=True)


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
    (
        "The course",
        (course.doctor, course.fetch, course.lab, course.start, course.check, course.demo),
    ),
    (
        "Models",
        (
            models.finetune,
            models.search,
            models.ablate,
            compressing.compress,
            budgeting.budget,
            exporting.export,
            serving.serve,
            writing.write,
        ),
    ),
    (
        "Teaching",
        (
            teaching.assignment,
            teaching.grade,
            teaching.scores,
            teaching.similar,
            teaching.slides,
        ),
    ),
):
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)

_notebooks = typer.Typer(help="Build the notebooks of the course from their source.")
_notebooks.callback()(lambda: None)  # so that `build` stays a command of its own
_notebooks.command()(teaching.build)
_notebooks.command()(teaching.badges)
app.add_typer(_notebooks, name="notebooks", rich_help_panel="Teaching")

_words = typer.Typer(help="The words of the course in other languages.", no_args_is_help=True)
_words.callback()(lambda: None)
_words.command()(translating.build)
_words.command()(translating.check)
app.add_typer(_words, name="words", rich_help_panel="Teaching")

_apps = typer.Typer(help="Small real uses of attention, on your own file.", no_args_is_help=True)
_apps.callback()(lambda: None)
_apps.command()(applying.appliances)
_apps.command()(applying.recommend)
_apps.command()(applying.feedback)
_apps.command()(applying.news)
_apps.command()(reading.read)
app.add_typer(_apps, name="apps", rich_help_panel="Models")

_site = typer.Typer(help="Pages for people without Python.", no_args_is_help=True)
_site.callback()(lambda: None)
_site.command()(site.book)
_site.command()(site.desk)
app.add_typer(_site, name="site", rich_help_panel="Teaching")


def __dir__() -> list[str]:
    return sorted(__all__)
