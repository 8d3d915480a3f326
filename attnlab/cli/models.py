"""Commands that train a classifier and measure its heads."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from attnlab.cli.data import DATASET, Dataset, OwnFile, reads_file
from attnlab.cli.options import Base, Model, Overwrite, Resume, Seed
from attnlab.cli.output import OUT, progress, say
from attnlab.errors import AttnlabError

if TYPE_CHECKING:
    from attnlab.datasets.splits import Splits
    from attnlab.training.history import History


@reads_file
def finetune(
    dataset: Dataset,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the result.")],
    method: Annotated[
        str, typer.Option(help="full, frozen-embeddings, frozen, lora, adalora or prefix")
    ] = "lora",
    base: Base = "minilm",
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    learning_rate: Annotated[
        float | None, typer.Option(help="Default: what suits the method.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    rank: Annotated[int, typer.Option(min=1, help="Of the updates of lora and adalora.")] = 8,
    max_length: Annotated[
        int | None,
        typer.Option(help="Cut texts to so many tokens; default: what the encoder takes."),
    ] = None,
    seed: Seed = 0,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Give rare labels as much say as common ones.")
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16; default: what suits this processor."),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write the run to this folder, for TensorBoard.")
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    *,
    own: OwnFile,
) -> None:
    """Fine-tune a BERT-family encoder; the result loads with al.load_classifier(FOLDER).

    Examples: [bold]attnlab finetune movie-sentiment --out runs/movies[/],
    [bold]attnlab finetune reviews.csv --method full --out runs/mine[/]

    Ctrl-C stops after the step at hand; the same command with --resume goes on.
    """
    from attnlab.classification import finetuning
    from attnlab.device import is_main_process
    from attnlab.evaluation.evaluator import Evaluator
    from attnlab.show.wording import with_interval
    from attnlab.training import Callback, ProgressBar, TensorBoard

    splits = own.splits(dataset)
    if is_main_process():
        _say_what_was_read(dataset, splits)
    command = [f"attnlab finetune {shlex.quote(dataset)} --method {method}"]
    command += [f"--out {shlex.quote(out_folder.as_posix())}"]
    command += own.options()
    command += [f"--base {shlex.quote(base)}"] if base != "minilm" else []
    command += [f"--learning-rate {learning_rate:g}"] if learning_rate else []
    command += [f"--rank {rank}"] if rank != 8 else []
    command += [f"--max-length {max_length}"] if max_length else []
    command += ["--balanced"] if balanced else []
    command += [f"--dtype {dtype}"] if dtype else []
    command += [f"--epochs {epochs}", f"--batch-size {batch_size}", f"--seed {seed}"]
    callbacks: list[Callback] = [ProgressBar("fine-tuning")]
    if tensorboard:
        callbacks.append(TensorBoard(tensorboard))
    clf = finetuning.finetune(
        base,
        splits,
        cast("finetuning.Method", method),  # checked there
        out_folder,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        rank=rank,
        max_length=max_length,
        seed=seed,
        class_weights="balanced" if balanced else None,
        dtype=dtype,
        resume=resume,
        overwrite=overwrite,
        command=" ".join(command),
        callbacks=callbacks,
    )
    # under accelerate launch or torchrun the first process speaks for all
    if not is_main_process():
        return
    assert clf.history is not None  # it was trained just now
    OUT.print(clf.history.to_frame().to_string(index=False, float_format="{:.4f}".format))
    best, majority = clf.history.best, finetuning.majority(splits)
    say(
        f"kept epoch {best['epoch']:.0f}: dev {best['dev_accuracy']:.1%} "
        f"({len(splits.dev):,} texts); always {majority.label!r}: {majority.accuracy:.1%}"
    )
    if not finetuning.has_learned(clf.history, splits):
        _say_what_to_try(clf.history, splits, batch_size, majority.label)
    if len(splits.test):
        score = Evaluator(clf, splits.test).score()
        OUT.print(f"test {with_interval(score.accuracy, score.ci)}, {score.n:,} texts")
    say(f"written to {out_folder}")


@reads_file
def search(
    dataset: Dataset,
    folder: Annotated[
        Path, typer.Option("--out", help="Where trials are kept; the same folder goes on.")
    ],
    minutes: Annotated[float, typer.Option(min=0.1, help="No trial begins after this time.")] = 10,
    methods: Annotated[
        str, typer.Option(help="Which methods to try, with commas between.")
    ] = "lora,frozen-embeddings",
    texts: Annotated[int, typer.Option(min=2, help="Training texts for each trial.")] = 2000,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    base: Base = "minilm",
    seed: Seed = 0,
    *,
    own: OwnFile,
) -> None:
    """Search for a method, learning rate, batch size and rank that do well on dev.

    Ctrl-C ends the search and prints what was found; called again with the same folder it goes on.

    Example: [bold]attnlab search movie-sentiment --minutes 30 --out runs/search[/]
    """
    from attnlab.classification import majority
    from attnlab.classification import search as run_search
    from attnlab.training import ProgressBar

    splits = own.splits(dataset)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    found = run_search(
        splits,
        base,
        minutes=minutes,
        methods=names,
        texts=texts,
        epochs=epochs,
        folder=folder,
        seed=seed,
        callbacks=[ProgressBar("searching")],
    )
    say(found.trials.to_string(index=False, float_format="{:.4g}".format))
    chosen = found.best | {"base": base, "seed": seed}
    usual = {"base": "minilm", "seed": 0}
    options = " ".join(
        [
            f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
            for name, value in chosen.items()
            if usual.get(name) != value
        ]
        + own.options()
    )
    usual_answer = majority(splits)
    say(
        f"best on dev: {found.dev_accuracy:.1%}; always {usual_answer.label!r}: "
        f"{usual_answer.accuracy:.1%}. To train with it on all texts:"
    )
    say(f"attnlab finetune {shlex.quote(dataset)} {options} --out FOLDER")


@reads_file
def ablate(
    model: Model = "movie-sentiment",
    dataset: Annotated[
        str,
        typer.Option("--data", help=f"{DATASET} Of a named one, its dev part."),
    ] = "movie-sentiment",
    sentences: Annotated[
        int, typer.Option(min=1, help="How many of the sentences, at random.")
    ] = 200,
    target: Annotated[
        str, typer.Option(help="What is changed together: head, layer or all_but_one.")
    ] = "head",
    method: Annotated[
        str, typer.Option(help="How: zero, mean, uniform, scale or temperature.")
    ] = "zero",
    value: Annotated[
        float | None, typer.Option(help="What scale or temperature is set to.")
    ] = None,
    fast: Annotated[
        bool, typer.Option(help="Compute in bfloat16 where that pays, or in float32.")
    ] = True,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write the table to this CSV file.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write over the file of --to if it is there.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(help="Keep what is finished in this file, and go on from it."),
    ] = None,
    *,
    own: OwnFile,
) -> None:
    """Silence one head at a time and measure what held-out accuracy and loss do.

    Example: [bold]attnlab ablate movie-sentiment --sentences 1000 --to ablation.csv[/]
    """
    from attnlab.classification import load_classifier
    from attnlab.device import is_main_process
    from attnlab.evaluation import Evaluator
    from attnlab.evaluation import ablate as measure
    from attnlab.files import atomic_write
    from attnlab.show.wording import with_interval
    from attnlab.statistics import share_interval

    if to is not None and to.exists() and not overwrite:
        raise AttnlabError(
            f"{to} is there already. Add --overwrite to put the new table in its place, or name "
            "another file."
        )
    held_out = own.held_out(dataset).sample(sentences)
    evaluator = Evaluator(load_classifier(model), held_out, fast)
    with progress("sentences") as advance:
        # any word may be typed: `al.ablate` refuses what it does not know, and lists what there is
        words: dict[str, Any] = {"target": target, "method": method}
        table = measure(
            evaluator,
            **words,
            value=value,
            progress=lambda done, total: advance(done, total, f"{done} of {total} batches"),
            resume=resume,
        )
    if not is_main_process():
        return
    facts = table.attrs
    interval = share_interval(round(facts["accuracy"] * facts["n"]), facts["n"])
    alike = f", answers as in float32: {facts['agreement']:.1%}" if "agreement" in facts else ""
    say(
        f"{facts['n']} sentences, untouched {with_interval(facts['accuracy'], interval)}; "
        f"{facts['number_format']}{alike}"
    )
    if to:
        atomic_write(to, table.to_csv(index=False).encode())
        OUT.print(f"{len(table)} rows written to {to}", highlight=False)
    else:
        OUT.print(
            table.sort_values("loss_delta", ascending=False).to_string(
                index=False, float_format="{:.4f}".format
            )
        )


def _say_what_was_read(dataset: str, splits: "Splits") -> None:
    """Print how many texts there are, of which labels."""
    parts = [splits.train, splits.dev, splits.test]
    if not all(hasattr(part, "label_names") for part in parts):
        return  # `finetune` says that there are no labelled texts
    names = splits.train.label_names
    counts = {name: sum(part.labels.count(names.index(name)) for part in parts) for name in names}
    few = ", ".join(f"{count:,} {name!r}" for name, count in list(counts.items())[:6])
    say(
        f"{dataset}: {sum(map(len, parts)):,} texts ({few}{', ...' if len(counts) > 6 else ''}); "
        f"train {len(splits.train):,}, dev {len(splits.dev):,}, test {len(splits.test):,}"
    )


def _say_what_to_try(history: "History", splits: "Splits", batch_size: int, label: str) -> None:
    """Print that nothing was learned that dev shows, and what might help."""
    from attnlab.classification import majority

    steps = -(-len(splits.train) // batch_size) * len(history.rows)
    if history.best["dev_accuracy"] <= majority(splits).accuracy:
        why = f"this is no better than always answering {label!r}: it has learned nothing yet"
    else:
        why = (
            f"{len(splits.dev):,} dev texts do not show that this is better than always answering "
            f"{label!r}; it may be chance"
        )
    say(
        f"Careful: {why}. Try more steps (there were {steps:,}) with --epochs "
        f"{10 * len(history.rows)}{' or --batch-size 8' if batch_size > 8 else ''}; another "
        "--learning-rate; --method full; or bring more texts."
    )
