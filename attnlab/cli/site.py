"""Commands that write pages for people without Python, and hand them to a room."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli.output import OUT, say
from attnlab.errors import MissingPackage

if TYPE_CHECKING:
    from attnlab.site import Built

__all__ = ["desk"]


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
