"""The command that answers requests over HTTP, with a controller that keeps a promise."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli.data import DATASET, OwnFile, reads_file
from attnlab.cli.options import Model
from attnlab.cli.output import OUT, new_table, say
from attnlab.errors import AttnlabError, suggest

if TYPE_CHECKING:
    from attnlab.adaptive.controller import OperatingPoint, Policy
    from attnlab.datasets.splits import Splits

_STRATEGIES = ("adaptive", "fixed", "shedding")
_SECONDS = 4.0  # of timing


@reads_file
def serve(
    model: Model = "movie-sentiment",
    dataset: Annotated[
        str | None,
        typer.Option(
            "--data",
            help=f"What the ways to answer are fitted to and measured on. Default: the data set "
            f"that MODEL is named after. {DATASET}",
        ),
    ] = None,
    target: Annotated[
        float, typer.Option(min=1, help="Milliseconds within which 95 % of answers are to come.")
    ] = 200,
    floor: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracy that is kept whatever the load.")
    ] = 0,
    ways: Annotated[
        str,
        typer.Option(
            "--points",
            help="Ways to answer, with commas between: full, exit-ENTROPY, tokens-SHARE.",
        ),
    ] = "full,exit-0.3,exit-0.5,exit-0.6",
    strategy: Annotated[
        str,
        typer.Option(
            help="adaptive; fixed: always the first of the points; shedding: likewise, and what "
            "would be late is refused."
        ),
    ] = "adaptive",
    texts: Annotated[
        int, typer.Option(min=20, help="Held-out texts that the points are measured on.")
    ] = 400,
    fit: Annotated[
        int, typer.Option(min=20, help="Training texts that exits and scorers are fitted to.")
    ] = 1000,
    host: Annotated[str, typer.Option(help="127.0.0.1: for this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8900,
    batch: Annotated[int, typer.Option(min=1, help="Texts that are computed together.")] = 32,
    most_waiting: Annotated[
        int, typer.Option(min=1, help="Texts that may wait; others are refused at once.")
    ] = 256,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a request is given up.")
    ] = 5,
    threads: Annotated[int, typer.Option(min=1, help="That compute.")] = 1,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", hidden=True, help="End with the standard input.")
    ] = False,
    *,
    own: OwnFile,
) -> None:
    """Answer texts over HTTP and hold a latency: less attention for each while many wait.

    POST /predict takes {"texts": ["A fine film."]}; GET /metrics is for Prometheus, /healthz says
    whether requests are taken, /controller what is promised and done. Ctrl-C stops it.

    Example: [bold]attnlab serve movie-sentiment --target 200[/]
    """
    import torch

    from attnlab.adaptive.service import BatchingService
    from attnlab.adaptive.serving import listen, run
    from attnlab.adaptive.ways import check_ways

    data, names = _data(model, dataset), [name.strip() for name in ways.split(",")]
    check_ways(names)
    if strategy not in _STRATEGIES:
        raise AttnlabError(f"There is no strategy {strategy!r}. {suggest(strategy, _STRATEGIES)}")
    torch.set_num_threads(threads)
    bound = listen(host, port)  # before what takes long
    with bound:
        needed = names if strategy == "adaptive" else names[:1]  # others are never used
        points = _points(model, own.splits(data), needed, texts, fit)
        controller = _controller(strategy, points, target, floor)
        most_waiting = max(most_waiting, batch)
        service = BatchingService(
            controller, most_waiting=most_waiting, most_batch=batch, timeout_s=timeout
        )
        _print_points(points)
        run(service, bound, ready=lambda url: _say_where(model, url), owned=with_parent)
    say("stopped; every request that was taken has been answered")


def _data(model: str, dataset: str | None) -> str:
    """What the ways to answer are measured on."""
    from attnlab import datasets
    from attnlab.classification import adapters

    if dataset is None and model not in datasets.names():
        if not Path(model).exists():
            raise AttnlabError(
                f"There is no folder {model}, and it is none of ours. "
                f"{suggest(model, adapters())} For one from a hub, add --data."
            )
        raise AttnlabError(
            f"What is {model} to be measured on? Add --data with a data set or a file of labelled "
            "texts."
        )
    return dataset or model


def _points(
    model: str, splits: "Splits", names: list[str], texts: int, fit: int
) -> "list[OperatingPoint]":
    """The ways to answer, measured on held-out texts."""
    from attnlab.adaptive.measuring import measure_points
    from attnlab.adaptive.ways import ways
    from attnlab.classification.loading import load_classifier

    models = ways(load_classifier(model), names, splits, fit)
    held_out = splits.dev if len(splits.dev) else splits.test
    return measure_points(models, held_out.sample(min(texts, len(held_out))), seconds=_SECONDS)


def _controller(
    strategy: str, points: "list[OperatingPoint]", target: float, floor: float
) -> "Policy":
    from attnlab.adaptive.controller import Controller, FixedPoint, Shedding

    if strategy == "fixed":
        return FixedPoint(points[0])
    if strategy == "shedding":
        return Shedding(points[0], target)
    return Controller(points, target, floor)


def _print_points(points: "list[OperatingPoint]") -> None:
    table = new_table("point", "accuracy", "ms a text", "attention")
    for point in points:
        row = (f"{point.accuracy:.1%}", f"{point.ms:.2f}", f"{point.kept:.0%}")
        table.add_row(point.name, *row)
    OUT.print(table)


def _say_where(model: str, url: str) -> None:
    say(f"answering for {model} at {url}/predict; Ctrl-C stops it")
