"""The data that a command is given: a name, or a file of one's own with how it is written.

Every command that reads data has the same options, so every cure that an error names exists there.
"""

import functools
import inspect
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnlab.errors import DataError

if TYPE_CHECKING:
    from attnlab.datasets.splits import Splits
    from attnlab.datasets.texts import TextDataset

DATASET = (
    "A named data set, or a file of your own with a column of texts and one of labels: CSV, "
    "tab-separated, JSON Lines or Parquet, packed or not."
)
Dataset = Annotated[str, typer.Argument(help=DATASET)]
_PANEL = "A file of your own"


@dataclass(frozen=True)
class OwnFile:
    """How a file of one's own is written; the fields are the options of the commands."""

    text: Annotated[
        str, typer.Option(help="Your file's column of texts.", rich_help_panel=_PANEL)
    ] = "text"
    label: Annotated[
        str, typer.Option(help="Your file's column of labels.", rich_help_panel=_PANEL)
    ] = "label"
    encoding: Annotated[
        str,
        typer.Option(
            help="How your file is encoded, such as cp1252 or utf-16.", rich_help_panel=_PANEL
        ),
    ] = "utf-8"
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="What separates the cells, such as ';' or tab; default: it is recognised.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    drop_missing: Annotated[
        bool,
        typer.Option(
            "--drop-missing",
            help="Leave out rows without text or label.",
            rich_help_panel=_PANEL,
        ),
    ] = False

    def texts(self, path: str) -> "TextDataset":
        """The labelled texts in a file."""
        from attnlab import datasets

        return datasets.from_csv(
            path,
            self.text,
            self.label,
            self.encoding,
            missing="drop" if self.drop_missing else "refuse",
            delimiter=self.delimiter,
        )

    def splits(self, dataset: str) -> "Splits":
        """A named data set, or a file split into its three parts."""
        from attnlab import datasets

        if is_file(dataset):
            return datasets.split(self.texts(dataset))
        return datasets.load(dataset)

    def training(self, dataset: str) -> "TextDataset":
        """What may be learned from: train of a named data set; all of a file."""
        from attnlab import datasets

        if is_file(dataset):
            return self.texts(dataset)
        return _labelled(datasets.load(dataset).train, dataset)

    def held_out(self, dataset: str) -> "TextDataset":
        """What is measured on: dev of a named data set, test where it has none; all of a file."""
        from attnlab import datasets

        if is_file(dataset):
            return self.texts(dataset)
        splits = datasets.load(dataset)
        return _labelled(splits.dev if len(splits.dev) else splits.test, dataset)

    def options(self) -> list[str]:
        """What to type for this, without what goes without saying."""
        given = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return [
            option if value is True else f"{option} {shlex.quote(str(value))}"
            for name, (value, default) in given.items()
            if value != default
            for option in [f"--{name.replace('_', '-')}"]
        ]


def _labelled(part: Any, dataset: str) -> "TextDataset":
    from attnlab.datasets.texts import TextDataset

    if not isinstance(part, TextDataset):
        raise DataError(
            f"{dataset} holds no labelled texts to measure on. Use a data set that does."
        )
    return part


def reads_file(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `OwnFile` in the place of its parameter ``own``."""
    signature = inspect.signature(command, eval_str=True)
    parameters = {name: each for name, each in signature.parameters.items() if name != "own"}
    parameters |= {
        name: each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in inspect.signature(OwnFile).parameters.items()
    }

    @functools.wraps(command)
    def reading(**given: Any) -> None:
        own = OwnFile(**{field.name: given.pop(field.name) for field in fields(OwnFile)})
        command(**given, own=own)

    told: Any = reading  # what typer reads the options off
    told.__signature__ = signature.replace(parameters=list(parameters.values()))
    told.__annotations__ = {name: each.annotation for name, each in parameters.items()}
    return reading


def is_file(dataset: str) -> bool:
    """Whether this means a file and no named data set."""
    from attnlab.datasets.named import MADE, names

    if dataset in names() or dataset in MADE:
        return False
    return bool(Path(dataset).suffix) or Path(dataset).exists() or "/" in dataset or "\\" in dataset
