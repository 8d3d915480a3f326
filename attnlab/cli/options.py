"""Options that several commands have, in the same words."""

from pathlib import Path
from typing import Annotated

import typer

from attnlab.errors import ModelError

__all__ = ["Base", "Model", "Overwrite", "Quantize", "Resume", "Seed", "refuse_own_place"]

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="One of ours, a folder, or a hub name.")
]
Base = Annotated[str, typer.Option(help="minilm (bundled), a folder, or a hub name")]
Seed = Annotated[int, typer.Option(min=0)]
Quantize = Annotated[
    str | None,
    typer.Option(help="int8: a quarter of the size, and faster with VNNI. Default: float32."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Put the result in place of one in the folder.")
]


def refuse_own_place(model: str, out: Path) -> None:
    """Raise ModelError if a result would be written over the model that it is made from."""
    if out.exists() and Path(model).exists() and out.samefile(model):
        raise ModelError(
            f"The result would take the place of {model}, which it is made from. Name another "
            "folder."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
