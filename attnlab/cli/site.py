"""Commands that write pages for people without Python, and hand them to a room."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli.output import ERR, OUT, say
from attnlab.errors import MissingPackage

if TYPE_CHECKING:
    from attnlab.site import Built

__all__ = ["book", "desk"]


def desk(
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("site/desk"),
    model: Annotated[
        str, typer.Option(help="Name or folder of a classifier of BERT's family.")
    ] = "movie-sentiment",
    sentences: Annotated[
        int, typer.Option(min=1, help="Held-out reviews that accuracy is measured on.")
    ] = 150,
    runtime: Annotated[
        Path | None,
        typer.Option(help="Folder with ONNX Runtime's two files, got by hand. Default: npm."),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Hand the folder out; what is built is not built anew.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="127.0.0.1: for this machine only. 0.0.0.0: for the room.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8800,
) -> None:
    """Write the mixing desk for browsers: a folder that any web server hands out, with no Python.

    The model runs on the visitor's own phone. npm, which comes with Node.js, is needed once.

    Examples: [bold]attnlab site desk --out site/desk[/],
    [bold]attnlab site desk --serve --host 0.0.0.0[/]
    """
    from attnlab.site.building import CARD

    if not (serve and (out / CARD).exists()):
        from attnlab.site import build_desk

        _say_built(build_desk(out, model, sentences, runtime))
    if serve:
        from attnlab.site.serving import hand_out

        hand_out(out, host, port, _say_where)


def book(
    lessons: Annotated[
        list[str] | None, typer.Argument(help="Lessons to take, such as 01. Default: all.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("site/book"),
    without_solutions: Annotated[
        bool, typer.Option("--without-solutions", help="For a graded course: hints stay.")
    ] = False,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Each lesson as a PDF file, too; takes a Chromium.")
    ] = False,
    mathjax: Annotated[
        Path | None,
        typer.Option(help="Folder with MathJax's two files, got by hand. Default: npm."),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Hand the folder out; what is built is not built anew.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="127.0.0.1: for this machine only. 0.0.0.0: for the room.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8801,
) -> None:
    """Write the course as a book: lessons with pictures and outputs, guides, an API reference.

    It is a folder of pages that need no network; a desk in the folder beside it becomes a page.

    Examples: [bold]attnlab site book --out site/book --pdf[/],
    [bold]attnlab site book 00 01 02 --without-solutions[/]
    """
    from attnlab.site.book import CARD

    if not (serve and (out / CARD).exists()):
        from attnlab.site import build_book

        made = build_book(
            out,
            lessons or (),
            solutions=not without_solutions,
            pdf=pdf,
            mathjax=mathjax,
            progress=ERR.print,
        )
        say(f"{made.pages} pages, {len(made.pdfs)} PDF files written to {made.folder}")
        if not made.desk:
            say(f"without the desk for browsers; first: attnlab site desk --out {out.parent}/desk")
    if serve:
        from attnlab.site.serving import hand_out

        hand_out(out, host, port, _say_where)


def _say_built(built: "Built") -> None:
    say(
        f"{built.bytes_to_load / 1e6:.1f} MB to load ({built.bytes_unpacked / 1e6:.1f} MB "
        f"unpacked) written to {built.folder}"
    )
    say(
        f"{built.sentences} held-out sentences: {built.accuracy:.1%} right in int8, "
        f"{built.accuracy_before:.1%} before, {built.same_answers:.1%} answered alike; "
        f"{built.pieces:,} of {built.pieces_before:,} word pieces"
    )


def _say_where(addresses: list[str]) -> None:
    from attnlab.site.serving import qr_code

    for address in addresses:
        say(address)
    if addresses[0].startswith("http://127."):
        say("for this machine only; --host 0.0.0.0 hands it to the room, with a QR code")
    else:
        try:
            OUT.print(qr_code(addresses[0]), highlight=False, markup=False)
        except MissingPackage as error:
            say(f"no QR code: {error}")
    say("Ctrl-C stops it")


def __dir__() -> list[str]:
    return sorted(__all__)
