"""The command that hands a classifier to those who have no Python, or no PyTorch."""

from pathlib import Path
from typing import Annotated, cast

import typer

from attnlab.cli.data import (
    DATASET,
    Delimiter,
    DropMissing,
    Encoding,
    Label,
    OwnFile,
    Text,
    is_file,
)
from attnlab.cli.output import say


def export(
    model: Annotated[
        str, typer.Argument(metavar="NAME", help="One of ours, a folder, or a hub name.")
    ],
    folder: Annotated[Path, typer.Argument(help="Folder for the result.")],
    quantize: Annotated[
        str | None, typer.Option(help="int8: a quarter of the size, and faster. Default: float32.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Put the result in place of one in the folder.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--data", help=f"Measure accuracy before and after. {DATASET} Of a named one, its dev."
        ),
    ] = None,
    text: Text = "text",
    label: Label = "label",
    encoding: Encoding = "utf-8",
    delimiter: Delimiter = None,
    drop_missing: DropMissing = False,
) -> None:
    """Write a classifier for ONNX Runtime; al.load_classifier(FOLDER) loads it, too.

    Example: [bold]attnlab export movie-sentiment out/movies --quantize int8[/]
    """
    from attnlab import datasets
    from attnlab.classification import load_classifier
    from attnlab.classification.export_card import read_card
    from attnlab.classification.exporting import Quantize
    from attnlab.classification.saving import refuse_finished

    refuse_finished(folder, resume=False, overwrite=overwrite)  # before a model is loaded
    held_out = None
    if dataset is not None and is_file(dataset):
        held_out = OwnFile(text, label, encoding, delimiter, drop_missing).texts(dataset)
    elif dataset is not None:
        splits = datasets.load(dataset)
        held_out = splits.dev if len(splits.dev) else splits.test
    clf = load_classifier(model, device="cpu")
    clf.export(folder, cast("Quantize | None", quantize), overwrite, held_out)  # checked there
    card = read_card(folder)
    if accuracy := card["accuracy"]:
        say(
            f"{accuracy['n']:,} texts: {accuracy['before']:.1%} right before, "
            f"{accuracy['after']:.1%} after (difference {100 * accuracy['delta']:+.1f} points, "
            f"95 %: {100 * accuracy['ci_low']:+.1f} to {100 * accuracy['ci_high']:+.1f})"
        )
    say(
        f"{card['bytes'] / 1e6:.1f} MB ({card['quantize'] or 'float32'}) written to {folder}; "
        "export.md says how to run it"
    )
