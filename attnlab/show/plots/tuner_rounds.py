"""Picture of a tuner: its rounds on the guard part, and what is left of them on test."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attnlab.show.plots.learning import RUN_COLOURS, bars
from attnlab.show.plots.picture import HALO, Picture, style
from attnlab.show.wording import counted, folded, plain, signed_points

_BLUE, _ORANGE, _GREY = RUN_COLOURS[0], RUN_COLOURS[1], "0.35"


def tuning(tuned: Any, report: pd.DataFrame | None = None) -> Picture:
    """Draw the rounds of a tuner, kept and refused, and what is left of it on test.

    Parameters
    ----------
    tuned : a Tuner or a Tuned, or its list of Rounds
    report : of `Tuned.report`: before and after on data that nobody tuned on

    Left, accuracy on the guard part after each round, with the 95 % interval of its change; the
    line is the accuracy that was kept. Right, accuracy on test and its change, each with its 95 %
    interval.
    """
    rounds = _rounds_frame(tuned)
    if report is not None and report.empty:
        report = None
    with style():
        columns = 1 if report is None else 2
        width, height = (
            (6.4 if report is None else 9.4),
            (2.5 if _is_short(rounds, report) else 3.9),
        )
        figure = plt.figure(figsize=(width, height), layout="constrained")
        parts = figure.add_gridspec(1, columns, width_ratios=(1.15, 1)[:columns])
        _draw_rounds(figure.add_subplot(parts[0]), rounds)
        if report is not None:
            _draw_report(figure.add_subplot(parts[1]), report.reset_index(drop=True))
        sns.despine(figure)
    return Picture(figure, _describe_tuning(rounds, report))


def _is_short(rounds: pd.DataFrame, report: pd.DataFrame | None) -> bool:
    """Whether there is too little to draw for a tall picture."""
    return report is None and len(rounds) < 3


def _rounds_frame(tuned: Any) -> pd.DataFrame:
    """The rounds of a Tuner or a Tuned or of a list of Rounds, a row each, accuracies 0 to 1.

    ``before`` is the accuracy kept before a round.
    """
    rows = [
        {
            "number": each.number,
            "way": each.way,
            "accepted": bool(each.accepted),
            "accuracy": each.accuracy,
            "before": each.accuracy - each.delta,
            "low": each.accuracy - each.delta + each.ci[0],
            "high": each.accuracy - each.delta + each.ci[1],
        }
        for each in getattr(tuned, "rounds", tuned)
    ]
    return pd.DataFrame(rows)


# ── rounds ─────────────────────────────────────────────────────────────────────────────────────


def _draw_rounds(axes: Axes, rounds: pd.DataFrame) -> None:
    """Each round's accuracy on the guard part with its interval, and the accuracy that was kept."""
    if rounds.empty:
        axes.text(0.5, 0.5, "no round yet", ha="center", va="center", transform=axes.transAxes)
    else:
        handles = [_draw_kept(axes, rounds), *_draw_proposals(axes, rounds)]
        axes.legend(
            handles=handles,
            frameon=False,
            ncols=4,
            fontsize=9,
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            handletextpad=0.4,
            columnspacing=1.2,
        )
    axes.set_xlabel("round (bars: 95 % interval of the change)")
    axes.set_ylabel("accuracy on guard, %")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    low, high = axes.get_ylim()
    room = max(0.06 * (high - low), 1.5 - (high - low) / 2)
    axes.set_ylim(low - room, high + room)
    axes.grid(axis="y", color="0.93")
    axes.margins(x=0.06)


def _draw_kept(axes: Axes, rounds: pd.DataFrame) -> Line2D:
    """The accuracy that was kept, from before the first round; return the line for the legend."""
    start = rounds["before"][0]
    kept = rounds["accuracy"].where(rounds["accepted"]).ffill().fillna(start)
    numbers = [rounds["number"][0] - 1, *rounds["number"]]
    looks: dict[str, Any] = {"color": "0.45", "linewidth": 1.4}
    axes.step(numbers, 100 * np.array([start, *kept]), where="post", **looks)
    return Line2D([], [], label="kept", **looks)


def _draw_proposals(axes: Axes, rounds: pd.DataFrame) -> list[Line2D]:
    """A point with its interval for each round; return what the legend shows of them."""
    random, accepted = rounds["way"] == "random", rounds["accepted"]
    kinds: dict[str, tuple[pd.Series, dict[str, Any]]] = {
        "accepted": (accepted & ~random, {"color": _BLUE, "marker": "o"}),
        "refused": (~accepted & ~random, {"color": _ORANGE, "marker": "X"}),
        "random knobs": (random, {"color": _GREY, "marker": "D"}),
    }
    handles = []
    for name, (which, looks) in kinds.items():
        part = rounds[which]
        if part.empty:
            continue
        accuracy = 100 * part["accuracy"]
        bars = np.abs([accuracy - 100 * part["low"], 100 * part["high"] - accuracy])
        axes.errorbar(
            part["number"], accuracy, bars, linestyle="", capsize=3, markersize=7, **looks
        )
        handles.append(Line2D([], [], linestyle="", markersize=7, label=name, **looks))
    return handles


# ── test ───────────────────────────────────────────────────────────────────────────────────────


def _draw_report(axes: Axes, report: pd.DataFrame) -> None:
    """A row for each thing compared: accuracy on test with its 95 % interval, and its change."""
    low, high = 100 * report["accuracy"].min(), 100 * report["accuracy"].max()
    room = max(0.4 * (high - low), 3 - (high - low) / 2)
    axes.set_xlim(low - room, high + room)
    start = report.iloc[0]
    for place, row in enumerate(report.to_dict("records")):
        accuracy = 100 * row["accuracy"]
        color = _BLUE if place and "random" not in str(row["name"]) else _GREY
        error = 100 * bars([row["accuracy"]], _texts(report))
        axes.errorbar(accuracy, place, xerr=error, markersize=7, color=color, fmt="o", capsize=3)
        text = f"{accuracy:.1f}"
        if np.isfinite(row["delta"]) and row["name"] != start["name"]:
            delta, *ends = (signed_points(row[name]) for name in ("delta", "ci_low", "ci_high"))
            text += f"  ({delta}, {ends[0]} to {ends[1]})"
        # long text grows towards the middle, so that it ends inside
        along = (accuracy - low + room) / (high - low + 2 * room)
        side = "left" if along < 0.4 else "right" if along > 0.6 else "center"
        axes.annotate(
            text,
            (accuracy, place),
            xytext=({"left": -12, "center": 0, "right": 12}[side], 9),
            textcoords="offset points",
            ha=side,
            fontsize=9,
            path_effects=[HALO],
        )
    axes.axvline(100 * start["accuracy"], color="0.6", linewidth=1, linestyle=":")
    names = [folded(plain(str(name), 40), 16) for name in report["name"]]
    axes.set_yticks(range(len(report)), names)
    axes.set_ylim(len(report) - 0.5, -0.7)
    axes.set_xlabel("accuracy on test, %\n(bars: 95 % intervals)")
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _texts(report: pd.DataFrame) -> int:
    """On how many texts a report was measured; from its standard errors, if it does not say."""
    if "n" in report.attrs:
        return int(report.attrs["n"])
    row = report.loc[report["stderr"].idxmax()]
    return max(round(row["accuracy"] * (1 - row["accuracy"]) / max(row["stderr"], 1e-9) ** 2), 1)


def _describe_tuning(rounds: pd.DataFrame, report: pd.DataFrame | None) -> str:
    """Alt text: how many rounds were kept, and accuracies on guard and test."""
    if rounds.empty:
        told = "Rounds of the tuner: none yet."
    else:
        kept = rounds[rounds["accepted"]]
        start = rounds["before"][0]
        now = kept["accuracy"].iloc[-1] if len(kept) else start
        told = (
            f"{counted(len(rounds), 'round')} of the tuner, {len(kept)} accepted: accuracy on the "
            f"guard part from {start:.1%} to {now:.1%}."
        )
    if report is not None:
        rows = [f"{row['name']} {row['accuracy']:.1%}" for row in report.to_dict("records")]
        told += f" On {_texts(report):,} test texts: {', '.join(rows)}."
    return told
