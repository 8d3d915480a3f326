"""The data that a command is given: a name, or a file of one's own with how it is written.

Every command that reads data has the same options, so every cure that an error names exists there.
"""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from attnlab.datasets.splits import Splits
    from attnlab.datasets.texts import TextDataset

DATASET = (
    "A named data set, or a file of your own with a column of texts and one of labels: CSV, "
    "tab-separated, JSON Lines or Parquet, packed or not."
)
Dataset = Annotated[str, typer.Argument(help=DATASET)]
Text = Annotated[str, typer.Option(help="Your file's column of texts.")]
Label = Annotated[str, typer.Option(help="Your file's column of labels.")]
Encoding = Annotated[str, typer.Option(help="How your file is encoded, such as cp1252 or utf-16.")]
Delimiter = Annotated[
    str | None,
    typer.Option(help="What separates the cells, such as ';' or tab; default: it is recognised."),
]
DropMissing = Annotated[
    bool, typer.Option("--drop-missing", help="Leave out rows without text or label.")
]


@dataclass(frozen=True)
class OwnFile:
    """How a file of one's own is written; the fields are the options of the commands."""

    text: str = "text"
    label: str = "label"
    encoding: str = "utf-8"
    delimiter: str | None = None
    drop_missing: bool = False

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

    def options(self) -> list[str]:
        """What to type for this, without what goes without saying."""
        given = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return [
            option if value is True else f"{option} {shlex.quote(str(value))}"
            for name, (value, default) in given.items()
            if value != default
            for option in [f"--{name.replace('_', '-')}"]
        ]


def is_file(dataset: str) -> bool:
    """Whether this means a file and no named data set."""
    from attnlab.datasets.named import MADE, names

    if dataset in names() or dataset in MADE:
        return False
    return bool(Path(dataset).suffix) or Path(dataset).exists() or "/" in dataset or "\\" in dataset
