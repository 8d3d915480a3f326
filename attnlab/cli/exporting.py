"""The command that hands a classifier to those who have no Python, or no PyTorch."""

from pathlib import Path
from typing import Annotated, cast

import typer

from attnlab.cli.data import DATASET, OwnFile, reads_file
from attnlab.cli.options import Model, Overwrite, Quantize
from attnlab.cli.output import say

_CALIBRATION = 500  # texts at most


@reads_file
def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Folder for the result.")],
    quantize: Quantize = None,
    overwrite: Overwrite = False,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--data", help=f"Measure accuracy before and after. {DATASET} Of a named one, its dev."
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="For int8: fix the ranges that activations are rounded by, as they are in up to "
            "500 texts, so that an answer does not depend on the texts beside it. Of a named data "
            "set its training texts, of a file all.",
        ),
    ] = None,
    *,
    own: OwnFile,
) -> None:
    """Write a classifier for ONNX Runtime; al.load_classifier(FOLDER) loads it, too.

    Example: [bold]attnlab export movie-sentiment out/movies --quantize int8[/]
    """
    from attnlab.classification import exporting, load_classifier
    from attnlab.classification.export_card import read_card
    from attnlab.classification.saving import refuse_finished

    exporting.check_quantize(quantize)  # before a model is loaded
    refuse_finished(folder, resume=False, overwrite=overwrite)
    held_out = None if dataset is None else own.held_out(dataset)
    texts = None if calibrate is None else own.training(calibrate).sample(_CALIBRATION).texts
    clf = load_classifier(model, device="cpu")
    kind = cast("exporting.Quantize | None", quantize)
    clf.export(folder, kind, overwrite, held_out, texts)
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
