"""The command that writes on with a language model, token by token."""

import itertools
from typing import Annotated

import typer

from attnlab.cli.options import Seed
from attnlab.cli.output import OUT, say

__all__ = ["write"]


def write(
    prompt: Annotated[
        str, typer.Argument(metavar="TEXT", help="What it goes on from; none: it begins a text.")
    ] = "",
    model: Annotated[str, typer.Option(help="One of ours (grimm), or a folder.")] = "grimm",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to write, at most.")] = 200,
    temperature: Annotated[
        float, typer.Option(help="Below 1 the likely gets likelier; 0: always the likeliest.")
    ] = 0.8,
    top_k: Annotated[
        int | None, typer.Option(help="Draw among this many likeliest tokens.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw among the fewest tokens that have this probability together."),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(help="Draw among tokens at least this share as likely as the likeliest."),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(min=1, help="Read so many last tokens only; default: as in training."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Go on with a text, as a language model that was trained from nothing does.

    The same seed writes the same. Ctrl-C stops it.

    Example: [bold]attnlab write "There was once a king" --temperature 0.7 --seed 3[/]
    """
    from attnlab.language import load_language_model

    writer = load_language_model(model)
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    crop = {} if context is None else {"context": context}
    pieces = writer.stream(prompt, max_new_tokens, seed=seed, **options, **crop)
    try:
        for piece in itertools.chain([prompt], pieces):
            OUT.file.write(piece)
            OUT.file.flush()  # seen while it is written
    except KeyboardInterrupt:
        raise typer.Exit() from None
    finally:
        say("")


def __dir__() -> list[str]:
    return sorted(__all__)
