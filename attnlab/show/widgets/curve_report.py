"""What the training curve shows of some runs, as plain numbers, lists and texts."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from attnlab.show import plots
from attnlab.show.plots.learning import accuracy_name, dev_accuracies, loss_floor, quality
from attnlab.show.wording import significant, with_interval
from attnlab.statistics import share_interval
from attnlab.training.history import History
from attnlab.training.recipe import Recipe

POINTS = 400  # of one line, at most: what is sent stays small however long a run is
EPOCHS = 200  # drawn, at most
COLUMNS = (
    "run",
    "epoch",
    "step",
    "loss",
    "dev {}",  # accuracy, or exact match
    "best (epoch)",
    "tokens/s",
    "memory",
    "elapsed",
    "left, about",
)


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def curve_report(
    histories: Mapping[str, History],
    steps: Mapping[str, int] | None = None,
    dev_texts: int | None = None,
    stopped: Collection[str] = (),
    guessing: float | None = None,
) -> dict[str, Any]:
    """Say all that a training curve shows of some runs.

    Parameters
    ----------
    histories : a name and what was seen so far, for each run
    steps : how many steps each run will have; default those it has had
    dev_texts : how many texts dev accuracy (a translator's exact match) is measured on; its
        95 % interval needs it
    stopped : names of runs that no longer train, whether they came to their end or not
    guessing : the loss of a model that guesses, such as ln 2 for two classes

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``runs``, for each: ``name``, ``state`` ("waiting", "training", "finished" or "stopped"),
          lines ``step``, ``loss``, ``smooth`` and ``rate`` (as a share of the highest), of `POINTS`
          points at most, ``epochs`` that have ended, and ``cells``, its row in the table under
          ``columns``
        - ``guessing``: that loss, or None
        - ``measured``: what is measured on dev, in words
        - ``axes``: for step, loss, rate, epoch and accuracy the limits, and ticks with their texts
        - ``remark``: how it stands, in words; ``alt``: each picture in words; ``note``: what its
          marks are

    Limits only ever grow while a history grows, so that nothing jumps.
    """
    steps = steps or {}
    runs = [
        _run(name, history, steps.get(name), dev_texts, name in stopped)
        for name, history in histories.items()
    ]
    if len(runs) == 1:
        _choose_labels(runs[0])
    name = accuracy_name(histories.values())
    return {
        "columns": [column.format(name) for column in COLUMNS],
        "runs": runs,
        "guessing": guessing,
        "measured": f"Dev {name}",
        "axes": _axes(runs, guessing),
        "remark": _remark(runs, name),
        "alt": _alternatives(runs, name, guessing),
        "note": "" if dev_texts is None else f"95\u00a0% bars, {dev_texts:,} texts",
    }


def _run(
    name: str, history: History, steps: int | None, dev_texts: int | None, stopped: bool
) -> dict[str, Any]:
    """Lines, epochs and table row of one run."""
    # a copy: the training thread may add to it meanwhile
    history = replace(history, rows=list(history.rows), steps=list(history.steps))
    noted = int(history.steps[-1]["step"]) if history.steps else 0
    total = max(steps or 0, noted)
    planned = history.epochs or None
    epochs = _epochs(history, dev_texts)
    known = [
        (history.merit(row), epoch)
        for row, epoch in zip(history.rows, epochs, strict=True)
        if epoch["accuracy"] is not None
    ]
    _, best = max(known, key=lambda chosen: chosen[0], default=(None, None))
    stride = math.ceil(len(epochs) / EPOCHS) or 1
    run: dict[str, Any] = {
        "name": name,
        "measured": accuracy_name([history]),
        "state": _state(history, planned, stopped),
        "total": total,
        "done": max(noted, total * len(epochs) // planned if planned else 0),
        "planned": planned,
        "ended": len(epochs),
        "best": best,
        "missing": sum(not math.isfinite(step["loss"]) for step in history.steps),
        "highest_rate": _highest_rate(history, total),
        "epochs": [
            epoch for number, epoch in enumerate(epochs, 1) if number % stride == 0 or epoch is best
        ],
        **_lines(history, total),
    }
    highest = run["highest_rate"] or 1.0
    run["rate"] = [None if rate is None else significant(rate / highest) for rate in run["rate"]]
    return run | {"cells": _cells(run, history)}


def _state(history: History, planned: int | None, stopped: bool) -> str:
    if not history.steps and not history.rows:
        return "waiting"
    if planned is not None and len(history.rows) >= planned:
        return "finished"
    return "stopped" if stopped else "training"


def _lines(history: History, total: int) -> dict[str, list[float | None]]:
    """Loss, smoothed loss and learning rate, as means over at most `POINTS` stretches of steps."""
    step = np.array([noted["step"] for noted in history.steps], dtype=float)
    place = ((step - 1) * POINTS // max(total, POINTS)).astype(int)
    columns = {"step": step}
    for name, key in (("loss", "loss"), ("rate", "learning_rate")):
        columns[name] = np.array([noted[key] for noted in history.steps], dtype=float)
    thin = {name: _means(values, place) for name, values in columns.items()}
    thin["smooth"] = plots.smoothed(thin["step"], thin["loss"], total)
    return {
        name: [significant(value) for value in values.tolist()] for name, values in thin.items()
    }


def _means(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Mean of the values in each place that has any; NaN where none of them is a number."""
    known, where = np.unique(place, return_inverse=True)
    finite = np.isfinite(values)
    sums = np.bincount(where[finite], values[finite], len(known))
    counts = np.bincount(where[finite], minlength=len(known))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _highest_rate(history: History, total: int) -> float:
    """The highest learning rate, while it still rises as a usual warm-up would let us expect."""
    rates = [step["learning_rate"] for step in history.steps]
    rates = [rate for rate in rates if math.isfinite(rate)]
    if not rates:
        return 0.0
    rises = len(rates) == 1 or rates[-1] > rates[-2]
    expected = rates[0] * max(1, round(Recipe.warmup * total)) / max(1, history.steps[0]["step"])
    return max(*rates, expected) if rises else max(rates)


def _epochs(history: History, dev_texts: int | None) -> list[dict[str, Any]]:
    """What was measured after each epoch, with an interval if the number of texts is known."""
    ends = plots.epoch_ends(history)
    measured = []
    shares = dev_accuracies(history).tolist()
    for row, share, step in zip(history.rows, shares, ends, strict=True):
        interval = None
        if dev_texts is not None and math.isfinite(share):
            interval = share_interval(round(share * dev_texts), dev_texts)
        text = _percent(share, interval)
        measured.append(
            {
                "epoch": int(row["epoch"]),
                "step": step,
                "accuracy": significant(share),
                "low": None if interval is None else significant(interval[0]),
                "high": None if interval is None else significant(interval[1]),
                "loss": significant(float(row.get("dev_loss", math.nan))),
                "text": text,
                "short": _percent(share, None),
                "quality": quality(history, row, text),
                "label": "",
            }
        )
    return measured


def _choose_labels(run: dict[str, Any]) -> None:
    """Give points their number in the picture: all if there is room, else the best and the last."""
    for epoch in run["epochs"]:
        if run["ended"] <= 6 or epoch is run["best"] or epoch is run["epochs"][-1]:
            known = epoch["accuracy"] is not None
            epoch["label"] = f"{100 * epoch['accuracy']:.1f}" if known else ""


# ── axes ───────────────────────────────────────────────────────────────────────────────────────


def _axes(runs: list[dict[str, Any]], guessing: float | None) -> dict[str, dict[str, Any]]:
    """Limits and ticks."""
    total = max((run["total"] for run in runs), default=0)
    losses = [loss for run in runs for loss in run["smooth"] if loss is not None]
    epochs = [epoch for run in runs for epoch in run["epochs"]]
    losses += [epoch["loss"] for epoch in epochs if epoch["loss"] is not None]
    rate = max((run["highest_rate"] for run in runs), default=0.0)
    highest = "100 %" if len(runs) > 1 else plots.brief(rate) if rate else ""
    last = max((run["planned"] or run["ended"] for run in runs), default=0)
    return {
        "step": _axis(0, total, _nice(0, total, 6) if total else [], "{:,.0f}"),
        "loss": _loss_axis(losses, guessing),
        "rate": {"from": 0.0, "to": 1.0, "ticks": [[0.0, "0"], [1.0, highest]]},
        "epoch": _axis(0.5, max(last, 1) + 0.5, _whole(last) if epochs else [], "{:.0f}"),
        "accuracy": _accuracy_axis(epochs),
    }


def _axis(low: float, high: float, ticks: list[float], text: str) -> dict[str, Any]:
    inside = [[tick, text.format(tick)] for tick in ticks if low <= tick <= high]
    return {"from": low, "to": max(high, low + 1e-9) if ticks else 1.0, "ticks": inside}


def _loss_axis(losses: list[float], guessing: float | None) -> dict[str, Any]:
    """Up to a round number above the highest; from 0 to 1 while nothing is known."""
    low = loss_floor(min(losses), guessing) if losses else 0.0
    high = max(*losses, guessing or 0.0) if losses else 0.0
    ticks = _nice(low, high + 0.05 * (high - low), 5) if high > 0 else [n / 5 for n in range(6)]
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return _axis(low, ticks[-1], ticks, f"{{:.{digits}f}}")


def _accuracy_axis(epochs: list[dict[str, Any]]) -> dict[str, Any]:
    """Wide enough for all epochs with their errors, by steps of 5 %, and never less than 10 %."""
    known = [epoch for epoch in epochs if epoch["accuracy"] is not None]
    if not known:
        return {"from": 0.0, "to": 1.0, "ticks": [[tick / 4, ""] for tick in range(5)]}
    low = min((epoch["accuracy"] if epoch["low"] is None else epoch["low"]) for epoch in known)
    high = max((epoch["high"] or epoch["accuracy"]) for epoch in known)
    high = min(20, max(math.ceil(20 * high + 0.2), 2))
    low = max(0, min(math.floor(20 * low - 0.2), high - 2))
    ticks = _nice(5 * low, 5 * high, 5)
    axis = _axis(5.0 * low, 5.0 * high, ticks, "{:.0f} %")
    return {
        "from": low / 20,
        "to": high / 20,
        "ticks": [[percent / 100, words] for percent, words in axis["ticks"]],
    }


def _nice(low: float, high: float, most: int) -> list[float]:
    places = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [round(float(place), 9) for place in places]


def _whole(last: int) -> list[float]:
    """Some whole numbers up to the last."""
    stride = max(1, math.ceil(last / 10))
    return [float(number) for number in range(stride, last + 1, stride)]


# ── what is said ───────────────────────────────────────────────────────────────────────────────


def _cells(run: dict[str, Any], history: History) -> list[str]:
    """The row of a run in the table; a dash where nothing is known yet."""
    if run["state"] == "waiting":
        return [run["name"], *["–"] * (len(COLUMNS) - 2), "waiting"]
    last = history.steps[-1] if history.steps else {}
    ended, best = run["ended"], run["best"]
    current = ended if run["state"] == "finished" else ended + (run["state"] == "training")
    planned = f" of {run['planned']}" if run["planned"] else ""
    smooth = next((loss for loss in reversed(run["smooth"]) if loss is not None), None)
    speeds = [step["tokens_per_second"] for step in history.steps[-10:]]
    return [
        run["name"],
        f"{current}{planned}",
        f"{run['done']:,} of {run['total']:,}" if run["total"] else "–",
        "–" if smooth is None else f"{smooth:.3f}",
        run["epochs"][-1]["short"] if run["epochs"] else "–",
        f"{_percent(best['accuracy'], None)} ({best['epoch']})" if best else "–",
        f"{np.median(speeds):,.0f}" if speeds else "–",
        _memory(last.get("memory_mb")),
        _clock(_elapsed(history)),
        _left(run, history),
    ]


def _elapsed(history: History) -> float:
    return max(
        (latest["seconds"] for latest in (*history.rows[-1:], *history.steps[-1:])), default=0.0
    )


def _left(run: dict[str, Any], history: History) -> str:
    """Time left, from the pace since the first step noted; dev is measured at that pace as well."""
    if run["state"] != "training":
        return run["state"]
    if len(history.steps) < 2:
        return "–"
    first = history.steps[0]
    over = run["done"] - first["step"]
    pace = (_elapsed(history) - first["seconds"]) / over if over > 0 else math.nan
    left = pace * (run["total"] - run["done"])
    return _clock(left) if math.isfinite(left) else "–"


def _remark(runs: list[dict[str, Any]], name: str) -> str:
    """How it stands, with this name for what is measured on dev.

    Read out by screen readers, so it changes when something has happened, not all the time.
    """
    begun = [run for run in runs if run["state"] != "waiting"]
    if not begun:
        return "Waiting for the first step."
    busy = [run for run in begun if run["state"] == "training"]
    if len(runs) == 1:
        words = _told(runs[0])
        told = [words[0].upper() + words[1:]]
    elif busy:
        told = [f"{run['name']}: {_told(run)}" for run in busy]
    else:
        told = [f"Best dev {name}: {', '.join(_shortly(run) for run in begun)}."]
    missing = sum(run["missing"] for run in runs)
    if missing:
        those = (
            "step has a loss that is not a number" if missing == 1 else "steps have no finite loss"
        )
        told.append(f"{missing:,} {those}: left out of the line.")
    return " ".join(told)


def _told(run: dict[str, Any]) -> str:
    """What there is to say of one run."""
    best, ended = run["best"], run["ended"]
    reached = f"best dev {best['quality']} at epoch {best['epoch']}" if best else ""
    if run["state"] == "finished":
        count = f"{ended} epoch{'s' if ended > 1 else ''}"
        return f"finished after {count}{': ' if best else ''}{reached}."
    if run["state"] == "stopped":
        words = f"stopped at step {run['done']:,} of {run['total']:,}"
        return f"{words}{'; ' if best else ''}{reached}."
    if not ended:
        return f"training; dev {run['measured']} follows at the end of each epoch."
    latest = run["epochs"][-1]
    of = f" of {run['planned']}" if run["planned"] else ""
    words = f"epoch {latest['epoch']}{of} has ended with dev {latest['quality']}"
    if ended == 1 or not best:
        return f"{words}."
    if best is latest:
        return f"{words}, the best so far."
    reached = best["quality"].removeprefix("accuracy ")
    return f"{words}; the best was {reached} at epoch {best['epoch']}."


def _shortly(run: dict[str, Any]) -> str:
    """What a run that is over has reached, beside others."""
    reached = run["best"]["text"] if run["best"] else "none"
    return f"{run['name']} {reached}" + (" (stopped)" if run["state"] == "stopped" else "")


def _alternatives(runs: list[dict[str, Any]], name: str, guessing: float | None) -> dict[str, str]:
    """Each picture in words, with its numbers and this name for what is measured on dev."""
    begun = [run for run in runs if run["state"] != "waiting"]
    if not begun:
        nothing = "Empty: waiting for the first step."
        return {
            "loss": f"Training loss over steps. {nothing}",
            "rate": f"Learning rate over steps. {nothing}",
            "accuracy": f"Dev {name} after each epoch. {nothing}",
        }
    losses, rates, accuracies = [], [], []
    for run in begun:
        known = [loss for loss in run["smooth"] if loss is not None]
        if known:
            now = (
                f"from {known[0]:.2f} to {known[-1]:.2f} at step {run['done']:,} of "
                f"{run['total']:,}"
            )
            losses.append(f"{run['name']} {now}")
        rates.append(f"{run['name']} up to {plots.brief(run['highest_rate'])}")
        measured = ", ".join(
            f"{epoch['text']} after epoch {epoch['epoch']}" for epoch in run["epochs"][-12:]
        )
        accuracies.append(f"{run['name']} {measured or 'not measured yet'}")
    level = "" if guessing is None else f" Grey line: guessing, {guessing:.2f}."
    lines = "; ".join(losses) or "none that is a number"
    return {
        "loss": f"Lines: training loss, smoothed: {lines}.{level}",
        "rate": f"Lines: learning rate over steps: {'; '.join(rates)}.",
        "accuracy": f"Points: dev {name}: {'; '.join(accuracies)}.",
    }


def _percent(share: float, interval: tuple[float, float] | None) -> str:
    if not math.isfinite(share):
        return "not a number"
    return f"{100 * share:.1f}\u00a0%" if interval is None else with_interval(share, interval)


def _memory(megabytes: float | None) -> str:
    if megabytes is None or not math.isfinite(megabytes):
        return "–"
    return f"{megabytes:,.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:,.1f} GB"


def _clock(seconds: float) -> str:
    """Seconds as 0:07, 12:30 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
