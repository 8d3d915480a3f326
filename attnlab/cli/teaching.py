"""Commands for teachers and authors: assignments, grading, building the notebooks."""

from pathlib import Path
from typing import Annotated

import typer

from attnlab.cli.output import ERR, OUT, new_table, print_frame, say
from attnlab.errors import AttnlabError


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
    notebooks: Annotated[
        Path | None,
        typer.Option(help="Folder with src/*.py, lessons of your own; default the course's."),
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
    made = grading.assignment(
        lesson, folder, only=names, points=worth, seed=seed, notebooks=notebooks
    )
    table = new_table("exercise", "points")
    for exercise, worth_points in made.points.items():
        table.add_row(exercise, str(worth_points))
    OUT.print(table)
    say(f"hand out: {made.release}")
    say(f"collect into: {folder / 'submitted' / 'STUDENT' / made.lesson}")
    if made.submissions:
        OUT.print(f"{made.submissions} submissions that were there are kept")
    OUT.print(f"then: attnlab grade {folder}", highlight=False)


def grade(
    folder: Annotated[Path, typer.Argument(help="Folder of the course.")],
    lesson: Annotated[str | None, typer.Option(help="Which lesson; default all.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Submissions run at once; default one a core.")
    ] = None,
) -> None:
    """Run nbgrader over all submissions, print the scores, write them to CSV files.

    Submissions run as code: do this where they can do no harm (see the README).

    Example: [bold]attnlab grade course[/]
    """
    from attnlab.course import grading

    print_frame(grading.grade(folder, lesson=lesson, workers=workers, progress=ERR.print))
    say(f"written to {folder / 'scores.csv'}")


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

    stale = notebooks.build(check=check, names=names or (), progress=ERR.print)
    for path in stale:
        say(f"{'stale' if check else 'built'}: {path}")
    if check and stale:
        raise AttnlabError(
            "Some notebooks do not match their source. Type: attnlab notebooks build"
        )
    if not stale:
        OUT.print("all notebooks match their source")
