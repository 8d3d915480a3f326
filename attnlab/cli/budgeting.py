"""The command that finds the best classifier inside a budget: `attnlab.economics`, step by step."""

import contextlib
import importlib
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnlab.cli.data import DATASET, OwnFile, reads_file
from attnlab.cli.options import Model, Overwrite, Resume, Seed, refuse_own_place
from attnlab.cli.output import OUT, new_table, points, progress, say
from attnlab.errors import AttnlabError, option

if TYPE_CHECKING:
    from attnlab.classification.classifier import Classifier
    from attnlab.datasets.splits import Splits
    from attnlab.economics import Budget, SearchResult

_UNITS = {  # of each cost: the plural, the singular, and how many of the cost one unit is
    "parameters": ("million parameters", "million", 1e6),
    "flops": ("GFLOPs", "GFLOP", 1e9),
    "megabytes": ("MB", "MB", 1.0),
    "latency_ms": ("ms", "ms", 1.0),
}
_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_COUNTED = ("parameters", "flops")  # these may be typed with a prefix, such as 20M
_AMOUNT = re.compile(r"\s*([\d.]+(?:e[+-]?\d+)?)\s*(%|[kMG]?)\s*", re.IGNORECASE)
_SHARE = "; a share of the whole model, such as 50%, does, too."


@dataclass(frozen=True)
class _Amount:
    """A limit as it was typed: an amount, or a share of what the whole model costs."""

    value: float
    is_share: bool

    @classmethod
    def of(cls, name: str, text: str) -> "_Amount":
        """Read 1e9, 20M or 50%; AttnlabError for anything else."""
        found = _AMOUNT.fullmatch(text)
        number, unit = found.groups() if found else ("nan", "")
        unit = unit.upper().replace("K", "k")
        try:
            value = float(number)
        except ValueError:  # such as 1.2.3
            value = math.nan
        fits = unit in ("", "%") or name in _COUNTED
        if not (fits and 0 < value < math.inf) or (unit == "%" and value > 100):
            example = {"parameters": "20M", "flops": "1e9", "megabytes": "30"}.get(name, "5")
            raise AttnlabError(
                f"{option(name, text)} is no amount: expected a number above 0, such as "
                f"{option(name)} {example}, or a share of the whole model up to 100%, such as "
                f"{option(name)} 50%."
            )
        return cls(value / 100, True) if unit == "%" else cls(value * _PREFIXES[unit], False)


def _limit(of_what: str, example: str) -> Any:
    return typer.Option(metavar="AMOUNT", help=f"{of_what} at most, such as {example} or 50%.")


@reads_file
def budget(
    model: Model,
    dataset: Annotated[
        str,
        typer.Option(
            "--data",
            help="Training texts say what matters, dev compares, test is opened once at the end. "
            f"{DATASET}",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the result.")],
    parameters: Annotated[str | None, _limit("Parameters", "20M")] = None,
    flops: Annotated[str | None, _limit("FLOPs of one forward pass", "1e9")] = None,
    megabytes: Annotated[str | None, _limit("Megabytes of weights", "30")] = None,
    latency_ms: Annotated[
        str | None, _limit("Milliseconds of one forward pass on this machine", "5")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Length of the texts that it is for.")] = 32,
    batch: Annotated[int, typer.Option(min=1, help="How many texts at once.")] = 1,
    minutes: Annotated[
        float, typer.Option(min=0.001, help="No sub-network begins after this time.")
    ] = 3,
    formats: Annotated[
        str,
        typer.Option(
            help="Number formats that may be chosen, with commas between: float32, int8. What is "
            "chosen in int8 is written for ONNX Runtime, as attnlab export writes it."
        ),
    ] = "float32",
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    *,
    own: OwnFile,
) -> None:
    """Find the best classifier inside a budget: heads, neurons and layers go, nothing is trained.

    An amount is a number, such as 1e9 or 20M, or a share of what MODEL costs, such as 50%.

    Example: [bold]attnlab budget movie-sentiment --data movie-sentiment --flops 50%
    --out out/half[/]

    Ctrl-C ends the search, and the best so far is written. The same command with --resume goes
    on, also after a kill or for more minutes.
    """
    from attnlab import economics
    from attnlab.classification.fitting import usable
    from attnlab.classification.loading import load_classifier
    from attnlab.classification.naming import SEARCH
    from attnlab.classification.saving import holds_model
    from attnlab.economics import searching

    typed = {
        "parameters": parameters,
        "flops": flops,
        "megabytes": megabytes,
        "latency_ms": latency_ms,
    }
    amounts = {name: _Amount.of(name, text) for name, text in typed.items() if text is not None}
    kinds = [name.strip() for name in formats.split(",") if name.strip()]
    _check_options(amounts, kinds, model, out, resume, overwrite)
    splits = usable(own.splits(dataset), "attnlab budget")
    clf = load_classifier(model)
    _check_model(clf, splits)
    _say_cost("whole model", economics.cost(clf, tokens, batch), tokens, batch)
    folder = out / SEARCH
    if overwrite and searching.is_there(folder):
        searching.forget(folder)
    limits, table = _limits(clf, amounts, tokens, batch, folder)
    allowed = economics.Budget(**limits, tokens=tokens, batch=batch)
    _say_budget(allowed, clf, table)
    try:
        result = _searched(
            clf,
            splits,
            allowed,
            latency=table,
            minutes=minutes,
            formats=kinds,
            folder=folder,
            resume=resume,
            seed=seed,
        )
    except KeyboardInterrupt:
        raise AttnlabError(
            "Stopped before a sub-network inside the budget was measured, so nothing is written. "
            + (
                f"The same command with {option('resume', True)} goes on."
                if searching.is_there(folder)
                else "Type the same command to begin again."
            )
        ) from None
    if result.interrupted:
        say(
            f"Stopped after {len(result.points)} sub-networks; the best so far is written. The "
            f"same command with {option('resume', True)} goes on."
        )
    opened_before = resume and holds_model(out)  # test is opened as soon as a result is written
    result.save(out, overwrite=True)
    _print_comparison(result)
    for name in allowed.limits:
        _print_frontier(result, name)
    _say_test(result, "again" if opened_before else "once")
    _say_written(out)


# --- before the work -----------------------------------------------------------------------------


def _check_options(
    amounts: dict[str, _Amount],
    formats: list[str],
    model: str,
    out: Path,
    resume: bool,
    overwrite: bool,
) -> None:
    """Refuse what can be told before anything is loaded."""
    from attnlab.classification.naming import SEARCH
    from attnlab.classification.saving import check_out
    from attnlab.economics.formats import check_formats
    from attnlab.economics.searching import is_there

    check_formats(formats)
    for package in ["optuna"] + ["onnx", "onnxruntime"] * ("int8" in formats):
        importlib.import_module(package)  # `main` says what to type for one that is missing
    if not amounts:
        raise AttnlabError(
            "Say what may be spent: --parameters 20M, --flops 1e9, --megabytes 30 or --latency-ms "
            f"5, one or more of them{_SHARE}"
        )
    if resume and overwrite:
        raise AttnlabError(
            f"{option('resume', True)} goes on with the search in {out}, and "
            f"{option('overwrite', True)} begins anew. Leave one of them out."
        )
    refuse_own_place(model, out)
    there = is_there(out / SEARCH)
    if resume and not there:
        raise AttnlabError(
            f"There is no search in {out} to go on with. Leave {option('resume', True)} out to "
            "begin."
        )
    if there and not (resume or overwrite):
        raise AttnlabError(
            f"There is a search in {out}. Add {option('resume', True)} to go on with it, "
            f"{option('overwrite', True)} to begin anew, or name another folder."
        )
    # a search that goes on puts its new result in the place of the one before
    check_out(out, resume=False, overwrite=overwrite or resume)


def _check_model(clf: "Classifier", splits: "Splits") -> None:
    """Refuse a model that cannot be taken apart, and texts of other labels."""
    from attnlab.economics import shape_of

    _ = clf.model  # an exported one says that it has no weights
    shape_of(clf)
    for part in (splits.train, splits.dev, splits.test):
        part.labels_in(clf.label_names)


# --- the work ------------------------------------------------------------------------------------


def _limits(
    clf: "Classifier", amounts: dict[str, _Amount], tokens: int, batch: int, folder: Path
) -> tuple[dict[str, float], Any]:
    """The limits by name, and the latency table that milliseconds go by, if they are limited."""
    from attnlab import economics
    from attnlab.economics import searching

    shape, table = economics.shape_of(clf), None
    if "latency_ms" in amounts:
        with progress("measuring milliseconds"):
            table = searching.latency_table(shape, tokens, batch, folder)
    whole = economics.costs_of(shape, tokens, batch, table)
    limits = {
        name: amount.value * (whole[name] if amount.is_share else 1)
        for name, amount in amounts.items()
    }
    return limits, table


def _searched(
    clf: "Classifier", splits: "Splits", allowed: "Budget", *, minutes: float, **options: Any
) -> "SearchResult":
    """Search, while a line says how far it is and what was found."""
    from attnlab import economics

    start, seconds = time.monotonic(), round(60 * minutes)
    with progress("measuring importance") as advance:

        def tell(result: "SearchResult") -> None:
            inside = [one.accuracy for one in result.points if allowed.allows(one.costs)]
            best = f", best {max(inside):.1%}" if inside else ""
            done = min(round(time.monotonic() - start), seconds)
            advance(done, seconds, f"{len(result.points)} sub-networks{best} (seconds)")

        return economics.search(clf, splits, allowed, minutes=minutes, callback=tell, **options)


# --- what is printed -----------------------------------------------------------------------------


def _say_cost(what: str, cost: Any, tokens: int, batch: int) -> None:
    texts = f"{tokens} tokens" if batch == 1 else f"{batch} texts of {tokens} tokens"
    say(
        f"{what}: {cost.parameters:,} parameters, {cost.megabytes:.4g} MB; for {texts} "
        f"{cost.flops / 1e9:.3g} GFLOPs, {cost.latency_quiet_ms:.3g} ms, at the peak "
        f"{cost.peak_mb:.4g} MB"
    )


def _say_budget(allowed: "Budget", clf: "Classifier", table: Any) -> None:
    from attnlab import economics

    whole = economics.costs_of(economics.shape_of(clf), allowed.tokens, allowed.batch, table)
    told = [
        f"{_amount(name, limit)} ({limit / whole[name]:.0%} of the whole)"
        for name, limit in allowed.limits.items()
    ]
    say(f"budget: at most {', '.join(told)}")
    if allowed.allows(whole):
        say("The whole model fits this budget as it is; smaller ones are searched all the same.")


def _amount(name: str, value: float) -> str:
    unit, _, size = _UNITS[name]
    return f"{value / size:.3g} {unit}"


def _print_comparison(result: "SearchResult") -> None:
    """Print the whole classifier, the chosen one and the best of chance side by side."""
    from attnlab import economics

    rows = {"whole": 0, "chosen": result.chosen}
    drawn = result.table.query("origin == 'random' and inside")
    if len(drawn):
        rows["best random"] = int(drawn["accuracy"].idxmax())
    allowed = result.budget
    with contextlib.ExitStack() as ready:
        models = {
            name: ready.enter_context(result.points[row].classifier(result.clf))
            for name, row in rows.items()
        }
        times = economics.latency(models, allowed.tokens, allowed.batch).set_index("name")
    columns = ("", "accuracy (95 %)", "parameters", "GFLOPs", "format", "MB", "ms", "heads")
    table = new_table(*columns, collapse_padding=True)
    for name, row in rows.items():
        found = result.table.loc[row]
        table.add_row(
            name,
            _accuracy(found),
            f"{found['parameters']:,.0f}",
            f"{found['flops'] / 1e9:.3g}",
            found["number_format"],
            f"{found['megabytes']:.4g}",
            f"{times.loc[name, 'ms_quiet']:.3g}",
            str(found["heads"]),
        )
    OUT.print(table)
    on_cpu = result.clf.device.type == "cpu"
    timed = "of the processor, on one thread" if on_cpu else "by the clock"
    say(
        f"{len(result.table):,} sub-networks, {len(result.dev):,} dev texts; the best of many "
        f"looks better on dev than it is. Times: {timed}"
    )
    if not len(drawn):
        say("No random sub-network inside the budget was drawn yet; more --minutes draw some.")
    elif len(drawn.query("spent >= 0.95")):
        difference = points(*result.above_chance(), unit=" points")
        say(f"chosen minus the mean of chance inside the budget: {difference}")
    predicted = result.table.loc[result.chosen, "latency_ms"]
    measured = times.loc["chosen", "ms_quiet"]
    if allowed.latency_ms is not None and measured > allowed.latency_ms:
        say(
            f"Careful: {predicted:.3g} ms were expected of the chosen one, {measured:.3g} ms "
            f"measured now. To be sure of {allowed.latency_ms:.3g} ms, type a lower limit."
        )


def _print_frontier(result: "SearchResult", name: str) -> None:
    """Print the frontier of a cost, and what one more unit of it buys from row to row."""
    unit, one, size = _UNITS[name]
    prices = result.prices(name).set_index("to")
    sizes = ("format", "layers", "heads", "neurons")
    columns = (one if size > 1 else unit, "accuracy (95 %)", *sizes, f"points for 1 {one} more")
    table = new_table(*columns, collapse_padding=True)
    for row, found in result.frontier(name).iterrows():
        bought = ""
        if row in prices.index:
            step = prices.loc[row, ["price", "price_low", "price_high"]]
            bought = points(*(step * size))
        table.add_row(
            f"{found[name] / size:.3g}",
            _accuracy(found),
            *(str(found[part]) for part in ("number_format", "layers", "heads", "neurons")),
            bought,
        )
    say(f"Frontier of accuracy and {unit}: what costs more is on it where the difference holds.")
    OUT.print(table)


def _say_test(result: "SearchResult", times: str) -> None:
    """Open test for the chosen one, and print the paired difference."""
    if not len(result.splits.test):
        say("There are no test texts, so that nothing is known but dev.")
        return
    found = result.on_test()
    say(
        f"test, opened {times}: chosen minus whole "
        f"{points(found.delta, *found.ci, unit=' points')}, {found.test.n:,} texts"
    )


def _say_written(out: Path) -> None:
    from attnlab.classification.naming import GRAPH

    file = out / GRAPH if (out / GRAPH).exists() else out / "model.safetensors"
    say(f"written to {out}: {file.name}, {file.stat().st_size / 1e6:.4g} MB")


def _accuracy(row: Any) -> str:
    low, high = 100 * row["ci_low"], 100 * row["ci_high"]
    return f"{row['accuracy']:.1%} ({low:.1f} to {high:.1f})"
