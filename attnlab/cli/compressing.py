"""The command that makes a classifier small: a chain of `attnlab.compression`, step by step."""

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from attnlab.cli.data import DATASET, OwnFile, reads_file
from attnlab.cli.options import Model, Overwrite, Quantize, Resume, Seed, refuse_own_place
from attnlab.cli.output import OUT, new_table, points, say
from attnlab.errors import AttnlabError, option

if TYPE_CHECKING:
    from attnlab.classification import exporting
    from attnlab.classification.classifier import Classifier
    from attnlab.datasets.splits import Splits

_CALIBRATION = 500  # training texts that choose what goes, and repair what stays


@dataclass(frozen=True)
class _Wish:
    """What is to go, as it was typed."""

    layers: str | None
    heads: float | None
    neurons: float | None
    trim: int | None

    def check(self) -> None:
        """Raise AttnlabError if nothing is to go, or if a share is none."""
        from attnlab.compression.removing import check_share

        if all(each is None for each in vars(self).values()):
            raise AttnlabError(
                "Say what is to go. --layers 0,2,5 keeps these layers, --layers 3 the three that "
                "matter most; --heads 0.25 and --neurons 0.5 remove that share; --trim 1 removes "
                "word pieces that no training text uses. For another number format alone, type "
                "attnlab export MODEL FOLDER --quantize int8."
            )
        if self.heads is not None:
            check_share(self.heads, all_may_go=True, name="heads")
        if self.neurons is not None:
            check_share(self.neurons, all_may_go=False, name="neurons")
        self.layers_of(math.inf)  # whether it can be read

    def layers_of(self, there: float) -> list[int] | int | None:
        """The layers that stay of those that are there, or how many."""
        if self.layers is None:
            return None
        parts = [part.strip() for part in self.layers.split(",")]
        numbers = [int(part) for part in parts if part.isdecimal()]
        listed, readable = len(parts) > 1, len(numbers) == sum(map(bool, parts)) > 0
        if readable and not listed and 1 <= numbers[0] <= there:
            return numbers[0]
        if readable and listed and numbers == sorted(set(numbers)) and numbers[-1] < there:
            return numbers
        which, many = (
            ("", "") if there == math.inf else (f" from 0 to {there - 1}", f", from 1 to {there}")
        )
        raise AttnlabError(
            f"{option('layers', self.layers)}: expected the layers that stay{which}, each once, in "
            f"order and with commas between, such as 0,2,5; or how many stay{many}."
        )

    @property
    def changes_answers(self) -> bool:
        """Whether training texts may be answered otherwise, so that there is something to learn."""
        return (self.layers, self.heads, self.neurons) != (None,) * 3 or (self.trim or 1) > 1


@reads_file
def compress(
    model: Model,
    dataset: Annotated[
        str,
        typer.Option(
            "--data",
            help=f"Training texts choose what goes and teach what stays, dev measures. {DATASET}",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the result.")],
    layers: Annotated[
        str | None,
        typer.Option(
            help="Layers that stay, such as 0,2,5; or how many, and those that matter most stay."
        ),
    ] = None,
    heads: Annotated[float | None, typer.Option(help="Share of the heads to remove.")] = None,
    neurons: Annotated[
        float | None, typer.Option(help="Share of the feed-forward neurons to remove.")
    ] = None,
    trim: Annotated[
        int | None,
        typer.Option(min=1, help="Remove word pieces that fewer than so many training texts use."),
    ] = None,
    distil: Annotated[
        bool | None,
        typer.Option(
            "--distil/--no-distil",
            help="Train what is left to answer as MODEL does. Default: unless nothing but unused "
            "word pieces went.",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Of distilling.")] = 3,
    quantize: Quantize = None,
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    *,
    own: OwnFile,
) -> None:
    """Make a classifier smaller, teach it, compare both; al.load_classifier(FOLDER) loads it.

    Layers go first, then heads, neurons and word pieces; what is left learns from MODEL.
    With --quantize the result is for ONNX Runtime, as attnlab export writes it.

    Example: [bold]attnlab compress movie-sentiment --data movie-sentiment --layers 0,2,5
    --neurons 0.67 --trim 1 --quantize int8 --out out/small[/]

    While it distils, FOLDER holds a checkpoint: after Ctrl-C or a kill the same command with
    --resume goes on. The result comes into FOLDER whole, at the end.
    """
    from attnlab.classification.fitting import usable
    from attnlab.classification.loading import load_classifier
    from attnlab.compression import distil as teach
    from attnlab.device import is_main_process
    from attnlab.training import ProgressBar

    wish = _Wish(layers, heads, neurons, trim)
    learns = wish.changes_answers if distil is None else distil
    _check_options(wish, model, out, quantize, learns, resume, overwrite)
    splits = usable(own.splits(dataset), "attnlab compress")
    clf = load_classifier(model)
    _check_model(clf, wish, splits)
    small = _smaller(clf, wish, splits, seed)
    if learns:
        small = teach(
            clf,
            small,
            splits,
            epochs=epochs,
            seed=seed,
            out=out,
            resume=resume,
            overwrite=overwrite,
            save=False,  # below, in the place of the checkpoint
            callbacks=[ProgressBar("distilling")],
        )
    # under accelerate launch or torchrun the first process speaks for all
    if not is_main_process():
        return
    if quantize is None:
        small.save(out)
    else:
        kind = cast("exporting.Quantize", quantize)
        small.to("cpu").export(out, kind, overwrite=True, data=splits.dev)
    _print_comparison(clf.to("cpu"), load_classifier(out, device="cpu"), splits)
    if learns:
        say("Careful: dev also chose the epoch that was kept. Publish figures of test.")
    say(f"written to {out}")


# --- before the work -----------------------------------------------------------------------------


def _check_options(
    wish: _Wish,
    model: str,
    out: Path,
    quantize: str | None,
    learns: bool,
    resume: bool,
    overwrite: bool,
) -> None:
    """Refuse what can be told before anything is loaded."""
    from attnlab.classification.exporting import check_quantize
    from attnlab.classification.saving import check_out

    wish.check()
    check_quantize(quantize)
    for package in (["onnx", "onnxruntime"] if quantize else []) + ["accelerate"] * learns:
        importlib.import_module(package)  # `main` says what to type for one that is missing
    if resume and not learns:
        raise AttnlabError(
            f"Nothing is distilled, so there is nothing to go on with: leave "
            f"{option('resume', True)} out."
        )
    refuse_own_place(model, out)
    check_out(out, resume, overwrite)


def _check_model(clf: "Classifier", wish: _Wish, splits: "Splits") -> None:
    """Refuse what the model does not have, or cannot lose; and texts of other labels."""
    from attnlab import heads
    from attnlab.classification.structure import neurons
    from attnlab.compression.vocabulary import check_vocabulary

    model = clf.model  # an exported one says that it has no weights
    heads.refuse_prefix(clf, "Compression")
    if wish.layers_of(clf.layers) is not None:
        heads.layer_list(model)
    if wish.neurons is not None:
        neurons(heads.model_of(model))
    if wish.trim is not None:
        check_vocabulary(clf)
    for part in (splits.train, splits.dev):
        part.labels_in(clf.label_names)


# --- the work ------------------------------------------------------------------------------------


def _smaller(clf: "Classifier", wish: _Wish, splits: "Splits", seed: int) -> "Classifier":
    """What is left once everything is gone that is to go."""
    from attnlab import compression

    some, small = splits.train.sample(_CALIBRATION, seed), clf
    chosen = {"data": some, "repair": some.texts}
    stay = wish.layers_of(clf.layers)
    if isinstance(stay, list):
        small = _told("layers", compression.prune_layers(small, keep=stay))
    elif stay is not None:
        small = _told("layers", compression.prune_layers(small, clf.layers - stay, data=some))
    if wish.heads is not None:
        small = _told("heads", compression.prune_heads(small, wish.heads, **chosen))
    if wish.neurons is not None:
        small = _told("neurons", compression.prune_neurons(small, wish.neurons, **chosen))
    if wish.trim is not None:
        trimmed = compression.trim_vocabulary(small, splits.train.texts, at_least=wish.trim)
        small = _told("word pieces", trimmed)
    return small


def _told(what: str, clf: "Classifier") -> "Classifier":
    """The same classifier, after a line that says what has gone."""
    from attnlab.device import is_main_process

    if is_main_process():
        say(f"{what}: {clf!r}")
    return clf


def _print_comparison(before: Any, after: Any, splits: "Splits") -> None:
    """Print what it cost and what it saves, measured on dev."""
    from attnlab import compression

    rows = compression.compare({"before": before, "after": after}, splits.dev, memory=False)
    columns = ("", "accuracy", "points (95 %)", "parameters", "MB", "ms, 1 text", "ms, 32")
    table = new_table(*columns)
    for row in rows.to_dict("records"):
        change = points(row["delta"], row["delta_low"], row["delta_high"])
        table.add_row(
            row["name"],
            f"{row['accuracy']:.1%}",
            "" if row["name"] == "before" else change,
            f"{row['parameters']:,.0f}",
            f"{row['megabytes']:.1f}",
            f"{row['ms_batch_1']:.2f}",
            f"{row['ms_batch_32']:.1f}",
        )
    OUT.print(table)
    say(f"{rows.attrs['texts']:,} dev texts; times on one thread of {rows.attrs['cpu']}")
