"""The command that reads print from pictures, and marks what it is not sure of."""

from typing import Annotated

import typer

from attnlab.cli.output import say

__all__ = ["read"]

_IN_WORDS = {"": "the end", " ": "a space"}  # what cannot be seen


def read(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Pictures, PNG or JPEG: a line, or a page of them."),
    ],
    unsure: Annotated[
        float, typer.Option(min=0, max=1, help="Characters less probable than this are marked.")
    ] = 0.9,
    alternatives: Annotated[
        bool, typer.Option("--alternatives", help="Say what a marked character may be instead.")
    ] = False,
    reader: Annotated[
        str, typer.Option(help="One of ours (printed), or a file of Reader.save.")
    ] = "printed",
) -> None:
    """Read lines of print from pictures; what is in brackets is unsure: k[i]ng.

    A page is cut into lines where rows without ink lie between them: one column, straight, no
    frames or drawings. It knows printed English in common fonts, no handwriting and no other
    alphabet, and it may be sure of a wrong letter. Do not use it for what must be right to the
    letter, such as medicine, money, contracts or names on a list, nor to spare a person the second
    look.

    Example: [bold]attnlab apps read letter.png --unsure 0.8 --alternatives[/]
    """
    from attnlab.applications import load_reader
    from attnlab.datasets import pages
    from attnlab.errors import DataError

    model = load_reader(reader)
    for file in files:
        try:
            lines = pages.cut_lines(pages.read_page(file))
        except DataError as error:
            raise DataError(f"{file}: {error}") from error
        if not lines:
            raise DataError(f"{file}: no line of print was found, only specks.")
        if len(files) > 1:
            say(f"{file}:")
        for number, reading in enumerate(model.read([line.image for line in lines]), 1):
            say(reading.marked(unsure))
            if not alternatives:
                continue
            for place, chance in enumerate(reading.probabilities):
                if chance < unsure:
                    told = ", ".join(
                        f"{_IN_WORDS.get(character, character)} {share:.0%}"
                        for character, share in reading.alternatives[place]
                    )
                    say(f"    line {number}, character {place + 1}: {told}")


def __dir__() -> list[str]:
    return sorted(__all__)
