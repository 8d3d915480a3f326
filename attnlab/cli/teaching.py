"""Commands for teachers and authors: assignments, grading, building the notebooks."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from attnlab.cli.output import ERR, OUT, new_table, print_frame, say
from attnlab.errors import AttnlabError, option


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
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave alone what was graded and has not changed.")
    ] = False,
) -> None:
    """Run nbgrader over all submissions; print the scores, write CSV files and feedback pages.

    Submissions run as code: do this where they can do no harm (docs/teachers.md, Before you
    grade).

    Example: [bold]attnlab grade course[/]
    """
    from attnlab.course import grading

    try:
        table = grading.grade(
            folder, lesson=lesson, workers=workers, resume=resume, progress=ERR.print
        )
    except KeyboardInterrupt:
        raise AttnlabError(
            "Stopped. The tables of scores are as they were before. What was graded is kept: the "
            f"same command with {option('resume', True)} goes on with the rest."
        ) from None
    print_frame(table)
    say(f"written to {folder / 'scores.csv'}; pages for learners: {folder / 'feedback'}")


def scores(
    folder: Annotated[Path, typer.Argument(help="Folder of the course, graded.")],
    lms: Annotated[Literal["moodle", "canvas"], typer.Option(help="Who shall import them.")],
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write; default in the folder of the course.")
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option(help="Gradebook exported from there as CSV, to find students by their names."),
    ] = None,
    by_exercise: Annotated[
        bool, typer.Option("--by-exercise", help="A column for each exercise, not for each lesson.")
    ] = False,
    zeros: Annotated[
        bool, typer.Option("--zeros", help="Give 0 to those who handed in nothing.")
    ] = False,
) -> None:
    """Write the scores as a CSV file that Moodle or Canvas imports.

    Example: [bold]attnlab scores course --lms canvas --roster Grades.csv[/]
    """
    from attnlab.course import grading

    table, left_out = grading.platform_scores(
        folder, lms, roster=roster, by_exercise=by_exercise, zeros=zeros
    )
    path = grading.write_platform_scores(out or folder / f"scores_{lms}.csv", table)
    print_frame(table.fillna(""))
    for student in left_out:
        say(f"left out, enter by hand: {_printable(student)}")
    say(f"written to {path}")


def similar(
    folder: Annotated[Path, typer.Argument(help="A course, or a folder with submissions.")],
    lesson: Annotated[str | None, typer.Option(help="Which lesson; default all.")] = None,
    show: Annotated[
        tuple[str, str, str] | None,
        typer.Option(help="Exercise and two students: print both answers side by side."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file for the table.")] = None,
) -> None:
    """List pairs of submissions whose answers are more alike than usual: pairs to read.

    Being on the list proves nothing, and neither does not being on it.

    Examples: [bold]attnlab similar course --lesson 02[/],
    [bold]attnlab similar course --show MultiHead ann ben[/]
    """
    from attnlab.course import similarity

    if show is not None:
        codes = similarity.side_by_side(folder, *show, lesson=lesson)
        table = new_table(*map(_printable, show[1:]), expand=True)
        table.add_row(*(Text(_printable(code)) for code in codes))
        OUT.print(table)
        return
    found = similarity.similar(folder, lesson=lesson)
    if out is not None:
        similarity.write(out, found)
        say(f"written to {out}")
    if found.empty:
        OUT.print("No pair stands out.")
        return
    shown = found.assign(**{column: found[column].map(_printable) for column in ("one", "other")})
    for column in ("alike", "usual", "like_solution"):
        shown[column] = shown[column].map("{:.0%}".format)
    print_frame(shown.assign(shared=shown.shared.map("{:.0f}".format)))
    OUT.print(
        "Look at these: --show EXERCISE ONE OTHER. Pairs may also have worked together as you "
        "allowed, or have read the same page; where like_solution is high, that page may be ours."
    )


def slides(
    lesson: Annotated[str, typer.Argument(help="Which lesson, such as 01.")],
    out: Annotated[
        Path | None, typer.Option(help="HTML file; default the lesson's name here.")
    ] = None,
    reveal: Annotated[
        Path | None,
        typer.Option(help="Folder node_modules, with reveal.js and mathjax from npm."),
    ] = None,
) -> None:
    """Make slides of a lesson that need no network.

    The scripts come from npm: [bold]npm install reveal.js@5 mathjax@3[/]

    Example: [bold]attnlab slides 01 --reveal node_modules[/]
    """
    from attnlab.course import slides

    out = out or Path(f"slides_{lesson}.html")
    made = slides.slides(lesson, out, reveal=reveal)
    say(f"{made.slides} slides in {made.sections} sections, written to {made.page}")
    if made.scripts is None:
        say(f"without reveal.js it is one long page. Type: {slides.INSTALL}")
        say(f"then: attnlab slides {lesson} --reveal node_modules")
    else:
        say(f"keep this folder beside it: {made.scripts}")


def _printable(text: str) -> str:
    """A text without what a terminal would obey."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else "?" for sign in text.expandtabs()
    )


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


def badges(
    version: Annotated[str, typer.Argument(help="The branch or tag to open, such as v0.2.0.")],
) -> None:
    r"""Print Markdown links that open each notebook on Colab, Kaggle and Binder.

    The repository's address is that of \[project.urls] in pyproject.toml.

    Example: [bold]attnlab notebooks badges v0.2.0[/]
    """
    from attnlab.course import hosts
    from attnlab.course.notebooks import folder

    for notebook in sorted(folder().glob("*.ipynb")):
        say(f"{notebook.stem}: {hosts.badges(notebook.name, version)}")
